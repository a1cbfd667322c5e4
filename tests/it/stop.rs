//! The orderly end.

use crate::gateway::{Gateway, Plan};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::{RembusPeer, text};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_with_code_0_and_keeps_everything() {
    let mut gateway = Gateway::start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    for n in 0..50 {
        sensor.publish("s/counted", format!("{{\"n\":{n}}}")).await;
    }
    let begin = tokio::time::Instant::now();
    let code = gateway.stop();
    assert!(code.success(), "{code}");
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());

    gateway.start_again();
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    let mut found = client.query_integers("counted", "n", "source='s'").await;
    found.sort_unstable();
    assert_eq!(found, (0..50).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_told_that_the_gateway_stops() {
    let mut gateway = Plan::without_history().start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut component = RembusPeer::login(gateway.doors.rembus, "component").await;
    gateway.ask_to_stop();
    // MQTT 3.1.1 has no words for it; the connection just ends. WebSocket has.
    assert_eq!(sensor.receive().await, None);
    assert_eq!(component.receive().await, None);
    assert!(gateway.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_gateway_stops_in_time_without_losing_what_it_acknowledged() {
    let mut gateway = Gateway::start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "busy").await;
    let flood = tokio::spawn(async move {
        let mut acknowledged = 0_u64;
        let mut sent = 0;
        loop {
            while sent - acknowledged < 64 {
                let publish = sensor.publication("busy/counted", QoS::AtLeastOnce, format!("{{\"n\":{sent}}}"));
                if sensor.send(&[Packet::Publish(publish)]).await.is_err() {
                    return acknowledged;
                }
                sent += 1;
            }
            match sensor.receive().await {
                Some(Packet::PubAck(_)) => acknowledged += 1,
                _ => return acknowledged,
            }
        }
    });
    crate::gateway::until("some traffic", 20, || {
        (crate::http_peer::Metrics::read(gateway.doors.http).sum_or_zero("rembus_gateway_messages_received_total") > 200.0)
            .then_some(())
    });
    assert!(gateway.stop().success());
    let acknowledged = flood.await.unwrap();
    assert!(acknowledged > 100, "{acknowledged}");

    gateway.start_again();
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    let found = client.query_integers("counted", "n", "source='busy'").await.len() as u64;
    assert!(found >= acknowledged, "{found} of {acknowledged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_the_same_data_is_refused() {
    let gateway = Plan::without_history().start();
    let output = crate::gateway::command()
        .arg("run")
        .arg("--data")
        .arg(gateway.data())
        .args(["--mqtt", "127.0.0.1:0", "--rembus", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    assert_eq!(client.rpc("rid", vec![]).await, Ok(text("broker")));
}
