//! One story for each bug ever fixed, so that it stays fixed: what went wrong, in which version, and what happens now.
//!
//! Add one whenever a bug is found that the other stories let pass; name it after what a user would have seen.

use crate::gateway::Plan;
use crate::mqtt_peer::MqttPeer;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::path::{Path, PathBuf};
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

/// `(path, text)` of every file below a folder of the project with this ending.
fn files(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == ending) {
                found.push((entry.clone(), std::fs::read_to_string(entry).unwrap()));
            }
        }
    }
    found
}

/// A table of proofs is worth as much as the tests it names.
#[test]
fn every_test_that_is_named_against_the_defects_of_the_reference_is_there() {
    let table = include_str!("../../docs/rembus-defects.md");
    let rust = files("src", "rs").into_iter().chain(files("tests", "rs"));
    let sources: Vec<String> = rust.chain(files("tests", "py")).map(|(_, text)| text).collect();
    let rows = table.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | ").nth(2));
    let names: Vec<&str> = rows.flat_map(|tests| tests.split('`').skip(1).step_by(2)).filter(|name| name.len() > 18).collect();
    assert!(names.len() > 40, "{}", names.len());
    for name in names {
        let there = sources.iter().any(|text| text.contains(&format!("fn {name}(")) || text.contains(&format!("def {name}(")));
        assert!(there, "there is no test `{name}`");
    }
}

/// Section 20.13 of the protocol reference: a login took as long as a name server that does not answer.
#[test]
fn no_door_asks_a_name_server() {
    for (path, text) in files("src", "rs") {
        for word in ["lookup_host", "to_socket_addrs", "lookup_addr", "getnameinfo", "hickory", "dns_lookup"] {
            assert!(!text.contains(word), "{} asks with `{word}`", path.display());
        }
    }
}
