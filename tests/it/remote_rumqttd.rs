//! A link to a broker that is neither mosquitto nor a gateway: rumqttd, embedded in this process.

use crate::far_end::{Cable, free_port, rumqttd};
use crate::gateway::until;
use crate::mqtt_peer::MqttPeer;
use crate::remote::{OUT, assert_complete, metric, numbers_until, plan, publish_numbers};
use rumqttc::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::QoS as Level;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;

/// A client of the far end; rumqttd cannot tell 3.1.1 clients what has properties. Gives what it hears.
async fn client(addr: SocketAddr, name: &str, filter: &str) -> (AsyncClient, mpsc::Receiver<u32>) {
    let (client, mut events) = AsyncClient::new(MqttOptions::new(name, addr.ip().to_string(), addr.port()), 1_000);
    let (subscribed, mut ready) = mpsc::channel(1);
    let (to, heard) = mpsc::channel(10_000);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => subscribed.send(()).await.unwrap(),
                Event::Incoming(Packet::Publish(publish)) => {
                    let number = std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
                    to.send(number).await.unwrap();
                }
                _ => {}
            }
        }
    });
    client.subscribe(filter, Level::AtLeastOnce).await.unwrap();
    ready.recv().await.unwrap();
    (client, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttd_gets_what_waited_in_order_and_what_is_published_there_comes_here() {
    let far = free_port();
    rumqttd(far);
    let (archive, mut heard) = client(far, "archive", "site1/#").await;
    let cable = Cable::new().await;
    let both = format!(r#"[{{ from = "cloud", to = "local", filter = "commands/#" }}, {}"#, OUT.strip_prefix('[').unwrap());
    let mut gateway = plan(cable.addr, &both, "").start();
    let mut local = MqttPeer::connect(gateway.doors.mqtt, "plc").await;
    local.subscribe("commands/#", QoS::AtLeastOnce).await;

    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 0..1000).await;
    until("the backlog is told", 20, || (metric(&gateway, "waiting_records") == 1000).then_some(()));
    cable.plug_in(far);
    until("some have gone", 60, || (metric(&gateway, "forwarded") > 100).then_some(()));
    cable.pull();
    cable.plug_in(far);
    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 1000..2000).await;
    until("nothing waits", 60, || (metric(&gateway, "waiting_records") == 0).then_some(()));
    let mut numbers = Vec::new();
    while numbers.last() != Some(&1999) {
        let next = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
        numbers.push(next.expect("a message in time").unwrap());
    }
    assert_complete(&numbers, 2000);

    for n in 0..200 {
        archive.publish("commands/speed", Level::AtLeastOnce, false, n.to_string()).await.unwrap();
    }
    assert_eq!(numbers_until(&mut local, 199).await, (0..200).collect::<Vec<_>>());
    assert!(gateway.stop().success());
}
