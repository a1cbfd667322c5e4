//! A link to a broker that is neither mosquitto nor a gateway: rumqttd, embedded in this process.

use crate::far_end::{Cable, free_port, rumqttd};
use crate::gateway::until;
use crate::mqtt_peer::MqttPeer;
use crate::remote::{OUT, assert_complete, metric, numbers_until, plan, publish_numbers};
use rumqttc::mqttbytes::QoS;

#[tokio::test(flavor = "multi_thread")]
async fn rumqttd_gets_what_waited_in_order_and_what_is_published_there_comes_here() {
    let (v5, v4) = (free_port(), free_port());
    rumqttd(v5, v4);
    let mut archive = MqttPeer::connect(v4, "archive").await;
    archive.subscribe("site1/#", QoS::AtLeastOnce).await;
    let cable = Cable::new().await;
    let both = format!(r#"[{{ from = "cloud", to = "local", filter = "commands/#" }}, {}"#, &OUT[1..]);
    let mut gateway = plan(cable.addr, &both, "").start();
    let mut local = MqttPeer::connect(gateway.doors.mqtt, "plc").await;
    local.subscribe("commands/#", QoS::AtLeastOnce).await;

    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 0..1000).await;
    until("the backlog is told", 20, || (metric(&gateway, "waiting_records") == 1000).then_some(()));
    cable.plug_in(v5);
    until("some have gone", 60, || (metric(&gateway, "forwarded") > 100).then_some(()));
    cable.pull();
    cable.plug_in(v5);
    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 1000..2000).await;
    until("nothing waits", 60, || (metric(&gateway, "waiting_records") == 0).then_some(()));
    assert_complete(&numbers_until(&mut archive, 1999).await, 2000);

    publish_numbers(v4, "commands/speed", 0..200).await;
    assert_eq!(numbers_until(&mut local, 199).await, (0..200).collect::<Vec<_>>());
    assert!(gateway.stop().success());
}
