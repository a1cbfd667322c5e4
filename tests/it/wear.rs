//! A card that must last: a day's budget of writes, and what happens when it is short.

use crate::gateway::{Gateway, Plan};
use crate::http_peer::Metrics;
use crate::mqtt_peer::MqttPeer;
use std::time::Duration;

fn stretch(gateway: &Gateway) -> f64 {
    Metrics::read(gateway.doors.http).sum("rembus_gateway_commit_stretch")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_write_budget_makes_commits_rarer_and_refuses_nothing() {
    let short = Plan::without_history().set("wal.write_budget", "16MiB").start();
    let ample = Plan::without_history().set("wal.write_budget", "100GiB").start();
    let mut sensor = MqttPeer::connect(short.doors.mqtt, "sensor").await;
    let mut other = MqttPeer::connect(ample.doors.mqtt, "sensor").await;
    let spending = async {
        while stretch(&short) <= 1.0 {
            sensor.publish("dev1/telemetry", vec![b'7'; 10_000]).await;
            other.publish("dev1/telemetry", vec![b'7'; 10_000]).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), spending).await;
    in_time.expect("an hour's share was written again and again, and commits became rarer");
    assert!(stretch(&ample) <= 1.0, "who has enough does not save");
    for _ in 0..5 {
        sensor.publish("dev1/telemetry", "still acknowledged").await;
    }
    let figures = Metrics::read(short.doors.http);
    assert!((figures.sum("rembus_gateway_write_budget_bytes") - f64::from(16 << 20)).abs() < 0.5);
    assert!(figures.sum("rembus_gateway_written_bytes_last_day") > f64::from(16 << 20) / 24.0, "{figures:?}");
    let (code, status, _) = short.ask(&["status"]);
    assert!(code == 0 && status.contains("written in the last 24 h, of 16.0 MiB that may be"), "{status}");
}
