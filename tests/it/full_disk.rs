//! A disk that runs full: what each policy does, and that everything goes on by itself when there is room again.
//!
//! The disk is a small one in memory, which only root may mount; elsewhere these stories say that they were skipped.

use crate::gateway::{Gateway, Plan, until};
use crate::http_peer;
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCHEMA: &str = r#"{"tables": [{"table": "samples", "topic": ":dn/samples", "when_full": "POLICY", "columns": [
    {"col": "dn", "type": "TEXT"}, {"col": "n", "type": "BIGINT"}, {"col": "noise", "type": "TEXT"}]}]}"#;

/// A disk of 96 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn on(dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(dir).output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Self(dir.to_path_buf()));
        }
        eprintln!("skipped: no disk can be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn start(policy: &str) -> Option<(Gateway, SmallDisk, tempfile::TempDir)> {
    let data = tempfile::tempdir().unwrap();
    let disk = SmallDisk::on(data.path())?;
    let other = tempfile::tempdir().unwrap();
    let schema = other.path().join("schema.json");
    std::fs::write(&schema, SCHEMA.replace("POLICY", policy)).unwrap();
    let plan = Plan::default()
        .schema(schema)
        .set("wal.reserve", "8MiB")
        .set("wal.keep_size", "16MiB")
        .set("history.batch_interval", "200ms")
        .set("history.batch_rows", "200");
    Some((plan.start_in(data), disk, other))
}

/// A sample of 8 KiB that does not compress.
fn sample(n: u64) -> String {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = String::with_capacity(8192);
    while noise.len() < 8192 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise += &format!("{state:016x}");
    }
    format!(r#"{{"n":{n},"noise":"{noise}"}}"#)
}

fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Publishes as a device does: refused, because it was faster than the oldest rows could go, it connects and tries again.
async fn insist(gateway: &Gateway, sensor: &mut MqttPeer, n: u64) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let publish = sensor.publication("a/samples", QoS::AtLeastOnce, sample(n));
        if sensor.send(&[Packet::Publish(publish)]).await.is_ok() && matches!(sensor.receive().await, Some(Packet::PubAck(_))) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "no room came");
        *sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_rows_go_and_the_newest_find_room() {
    let Some((gateway, _disk, _other)) = start("evict-oldest") else { return };
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    // Half a random hex digit a bit: about 4 KiB a sample in Parquet, so some 80 MiB. Not faster than this machine makes tables.
    for n in 0..20_000 {
        insist(&gateway, &mut sensor, n).await;
        if n % 200 == 199 {
            assert_eq!(client.query_integers("samples", "n", &format!("n = {n}")).await.len(), 1);
        }
    }
    let mut kept = client.query_integers("samples", "n", "1=1").await;
    kept.sort_unstable();
    let oldest = *kept.first().unwrap();
    assert_eq!(kept, (oldest..20_000).collect::<Vec<_>>(), "no hole in what is kept");
    assert!(oldest > 0, "nothing was evicted: the story proves little");
    let page = http_peer::get(gateway.doors.http, "/metrics").1;
    assert!((metric(&page, "rembus_gateway_history_rows_evicted_total") - oldest as f64).abs() < 0.5, "{oldest}\n{page}");
    until("the log is fine", 30, || {
        let page = http_peer::get(gateway.doors.http, "/metrics").1;
        (metric(&page, "rembus_gateway_log_health{state=\"fine\"}") > 0.5).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_eviction_publishers_are_refused_and_everybody_else_is_served() {
    let Some((gateway, _disk, _other)) = start("refuse") else { return };
    let filler = gateway.data().join("filler");
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("a/samples", sample(0)).await;
    let free = rustix::fs::statvfs(gateway.data()).unwrap();
    let free = usize::try_from(free.f_bavail * free.f_frsize).unwrap();
    std::fs::write(&filler, vec![1; free - (6 << 20)]).unwrap();
    let mut acknowledged = 1_u64;
    loop {
        let publish = sensor.publication("a/samples", QoS::AtLeastOnce, sample(acknowledged));
        if sensor.send(&[Packet::Publish(publish)]).await.is_err() || !matches!(sensor.receive().await, Some(Packet::PubAck(_)))
        {
            break;
        }
        acknowledged += 1;
        assert!(acknowledged < 20_000, "the disk never was full");
    }
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    let found = client.query_integers("samples", "n", "1=1").await;
    assert!(found.len() as u64 >= acknowledged, "{} of {acknowledged}", found.len());
    std::fs::remove_file(&filler).unwrap();
    until("publishers are welcome again", 30, || gateway.log().contains("the log has room again").then_some(()));
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    // The router hears of the room a moment after the log has said so.
    insist(&gateway, &mut sensor, 99_999).await;
    let found = client.query_integers("samples", "n", "n = 99999").await;
    assert_eq!(found, [99_999]);
}
