//! The lake from outside: a stock DuckDB with the official extension opens what a stopped gateway leaves.

use crate::gateway::Plan;
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_duckdb_opens_the_lake_and_the_gateway_goes_on_with_it() {
    let mut gateway = Plan::default().set("history.batch_rows", "10").start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    for n in 0..40 {
        sensor.publish("a/counted", format!("{{\"n\":{n}}}")).await;
        if n % 10 == 9 {
            // History has caught up, so each ten are a batch.
            assert_eq!(client.query_integers("counted", "n", &format!("n = {n}")).await, [n]);
        }
    }
    assert!(gateway.stop().success());
    let root = env!("CARGO_MANIFEST_DIR");
    let extension = format!("{root}/.duckdb/{}/ducklake.duckdb_extension", std::env::consts::ARCH);
    let program = Command::new(format!("{root}/.venv/bin/python"))
        .arg(format!("{root}/tests/clients/lake_outside.py"))
        .arg(gateway.data())
        .arg(extension)
        .output()
        .unwrap();
    assert!(program.status.success(), "{}", String::from_utf8_lossy(&program.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&program.stdout).unwrap();
    assert_eq!(seen["rows"], serde_json::json!([40, 40]), "{seen}");
    assert_eq!(seen["after"], serde_json::json!([40, 40]), "{seen}");
    assert_eq!(seen["past"].as_array().unwrap().last().unwrap(), 40, "{seen}");
    assert!(seen["merged"].as_u64().unwrap() > 0, "{seen}");

    gateway.start_again();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("a/counted", "{\"n\":40}").await;
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    let mut found = client.query_integers("counted", "n", "1=1").await;
    found.sort_unstable();
    assert_eq!(found, (0..=40).collect::<Vec<_>>(), "also after somebody else merged its files");
}
