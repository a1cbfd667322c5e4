//! The HTTP door, and the books that the gateway keeps: whatever comes in is delivered, kept, expired or dropped with a reason.

use crate::gateway::{Gateway, Plan, until};
use crate::http_peer::{Metrics, get};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use rumqttc::mqttbytes::QoS;

#[test]
fn health_and_readiness_answer() {
    let gateway = Gateway::start();
    assert_eq!(get(gateway.doors.http, "/healthz").0, 200);
    until("ready", 20, || (get(gateway.doors.http, "/readyz").0 == 200).then_some(()));
    assert_eq!(get(gateway.doors.http, "/nothing/here").0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance_after_traffic() {
    let gateway = Plan::default().start();
    let mut reader = MqttPeer::connect(gateway.doors.mqtt, "reader").await;
    reader.subscribe("#", QoS::AtLeastOnce).await;
    let mut gone = MqttPeer::connect(gateway.doors.mqtt, "gone").await;
    gone.subscribe("a/#", QoS::AtLeastOnce).await;
    let mut component = RembusPeer::login(gateway.doors.rembus, "component").await;
    component.subscribe("**/telemetry").await;
    component.reactive().await;
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut other = RembusPeer::login(gateway.doors.rembus, "other").await;
    for n in 0..50 {
        sensor.publish("a/telemetry", format!("{{\"temperature\":{n}}}")).await;
        other.publish("b", vec![n.into()]).await;
        reader.delivery().await;
        reader.delivery().await;
    }
    drop(gone); // with everything unacknowledged
    sensor.publish("a/last", "1").await;
    reader.delivery().await;

    let metrics = Metrics::read(gateway.doors.http);
    metrics.assert_balance();
    assert_eq!(metrics.sum("rembus_gateway_messages_received_total"), 101.0);
    assert_eq!(metrics.sum("rembus_gateway_messages_logged_total"), 101.0);
    // 101 to `reader`, and what `gone` did not acknowledge ended with its connection.
    until("the end of `gone` in the books", 20, || {
        let metrics = Metrics::read(gateway.doors.http);
        metrics.assert_balance();
        let ends =
            metrics.sum("rembus_gateway_copies_delivered_total") + metrics.sum_or_zero("rembus_gateway_copies_dropped_total");
        // `component` acknowledges nothing.
        let open = metrics.sum("rembus_gateway_copies_in_flight") + metrics.sum("rembus_gateway_copies_queued");
        (ends >= 151.0 && open == 50.0).then_some(())
    });
}
