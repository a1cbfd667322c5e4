//! A gateway with nothing to do: SD cards die of writes, and batteries of wakeups.

use crate::gateway::{Gateway, until};
use crate::mqtt_peer::MqttPeer;
use std::time::Duration;

/// Bytes that the process has caused to be written, and the CPU it has used in hundredths of a second.
fn use_of(gateway: &Gateway) -> (u64, u64) {
    let io = std::fs::read_to_string(format!("/proc/{}/io", gateway.pid())).unwrap();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2).map(|n| n.parse().unwrap()).collect();
    (written, fields[0] + fields[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_writes_nothing_and_hardly_wakes_up() {
    let gateway = Gateway::start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("a/telemetry", "{\"temperature\":1}").await;
    // What is under way when it starts ends by itself; then a whole second must pass without a byte.
    until("a second without a write", 20, || {
        let before = use_of(&gateway);
        std::thread::sleep(Duration::from_secs(1));
        let after = use_of(&gateway);
        (before.0 == after.0).then_some(())
    });
    let before = use_of(&gateway);
    std::thread::sleep(Duration::from_secs(2));
    let after = use_of(&gateway);
    assert_eq!(before.0, after.0, "bytes written while idle");
    assert!(after.1 - before.1 <= 4, "{} hundredths of a second of CPU in two idle seconds", after.1 - before.1);
}
