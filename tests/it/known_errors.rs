//! One story for each bug ever fixed, so that it stays fixed: what went wrong, in which version, and what happens now.
//!
//! Add one whenever a bug is found that the other stories let pass; name it after what a user would have seen.

use crate::gateway::Plan;
use crate::mqtt_peer::MqttPeer;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::AsyncWriteExt;

/// Before 0.1.0: `mosquitto_pub -q 0` was heard almost never. The note that a link is gone overtook what the link had sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_publishes_and_hangs_up_is_heard() {
    let gateway = Plan::without_history().start();
    let mut reader = MqttPeer::connect(gateway.doors.mqtt, "reader").await;
    reader.subscribe("#", QoS::AtMostOnce).await;
    for n in 0..50 {
        let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "").await;
        let publish = Packet::Publish(sensor.publication("t", QoS::AtMostOnce, format!("{n}")));
        let packets = if n % 2 == 0 { vec![publish, Packet::Disconnect] } else { vec![publish] };
        sensor.send(&packets).await.unwrap();
        sensor.stream.shutdown().await.unwrap();
        drop(sensor);
        assert_eq!(reader.delivery().await.payload, format!("{n}"));
    }
}

/// A merge once took `examples/` away, and every other test still passed.
#[test]
fn every_file_that_the_readme_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let separators = |c: char| c.is_whitespace() || "`()\"'".contains(c);
    let files: std::collections::BTreeSet<&str> = readme
        .split(separators)
        .filter(|word| ["examples/", "schemas/", "scripts/", "systemd/", "docs/"].iter().any(|dir| word.starts_with(dir)))
        .map(|word| word.trim_end_matches([',', '.', ';']))
        .collect();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        assert!(root.join(file).exists(), "README.md names {file}");
    }
}
