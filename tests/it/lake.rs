//! The lake as a whole: backups that can be restored, checks that find damage, upkeep on demand; with each store, whether the
//! gateway runs or not.

use crate::gateway::{Gateway, Plan, command, until};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use std::path::{Path, PathBuf};

fn plan(backend: &str) -> Plan {
    Plan::default().set("history.backend", backend).set("history.batch_rows", "10")
}

/// Publishes a range of numbers, ten of which make a batch.
async fn publish(gateway: &Gateway, numbers: std::ops::Range<i64>) {
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    for n in numbers {
        sensor.publish("a/counted", format!("{{\"n\":{n}}}")).await;
        // History has caught up, so each ten are a batch.
        assert_eq!(client.query_integers("counted", "n", &format!("n = {n}")).await, [n]);
    }
}

async fn counted(gateway: &Gateway) -> Vec<i64> {
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    let mut found = client.query_integers("counted", "n", "1=1").await;
    found.sort_unstable();
    found
}

/// The data files of a table.
fn files(data: &Path) -> Vec<PathBuf> {
    let mut folders = vec![data.join("lake/files/main/counted")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// As the README says it.
fn restore(backup: &Path, data: &Path) {
    std::fs::remove_dir_all(data.join("lake")).unwrap();
    assert!(std::process::Command::new("cp").arg("-r").arg(backup).arg(data.join("lake")).status().unwrap().success());
}

async fn a_backup_is_made_while_the_gateway_works_and_can_be_restored(backend: &str) {
    let gateway = plan(backend).start();
    publish(&gateway, 0..35).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let to = backup.to_str().unwrap();
    let (code, out, err) = gateway.ask(&["lake", "backup", to]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("bytes copied to"), "{out}");
    let copies = gateway.data().join("lake/copies");
    until("the copy of the catalog is gone", 20, || (std::fs::read_dir(&copies).unwrap().count() == 0).then_some(()));
    let (code, _, err) = gateway.ask(&["lake", "backup", to]);
    assert_eq!((code, err.contains("exists already")), (1, true), "{err}");
    publish(&gateway, 35..50).await;

    // Another gateway, which has no log: exactly what there was.
    let mut other = plan(backend).start();
    assert!(other.stop().success());
    restore(&backup, other.data());
    other.start_again();
    assert_eq!(counted(&other).await, (0..35).collect::<Vec<_>>());
    assert_eq!(other.ask(&["lake", "verify"]).0, 0);

    // The same gateway: its log brings what came later.
    let mut gateway = gateway;
    gateway.kill();
    restore(&backup, gateway.data());
    gateway.start_again();
    assert_eq!(counted(&gateway).await, (0..50).collect::<Vec<_>>());

    assert!(gateway.stop().success());
    let at_rest = place.path().join("at-rest");
    let (code, _, err) = gateway.ask(&["lake", "backup", at_rest.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    restore(&at_rest, other_data(&mut other));
    other.start_again();
    assert_eq!(counted(&other).await, (0..50).collect::<Vec<_>>());
}

fn other_data(other: &mut Gateway) -> &Path {
    assert!(other.stop().success());
    other.data()
}

async fn damage_is_found_whether_the_gateway_runs_or_not(backend: &str) {
    let mut gateway = plan(backend).start();
    publish(&gateway, 0..30).await;
    let (code, out, err) = gateway.ask(&["lake", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("counted: 3 files, 30 rows") && out.ends_with("everything is whole\n"), "{out}");

    // A flipped page in the middle, as a worn card gives it back: size and ends are as they should be.
    let broken = files(gateway.data()).into_iter().min().unwrap();
    let good = std::fs::read(&broken).unwrap();
    let mut bad = good.clone();
    bad[8..200].fill(0xa5);
    std::fs::write(&broken, &bad).unwrap();
    let (code, out, _) = gateway.ask(&["lake", "verify"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("FAIL") && out.contains(broken.file_name().unwrap().to_str().unwrap()), "{out}");
    std::fs::write(&broken, &good).unwrap();
    assert_eq!(gateway.ask(&["lake", "verify"]).0, 0);

    gateway.kill();
    assert_eq!(gateway.ask(&["lake", "verify"]).0, 0, "at rest, right after a crash");
    std::fs::write(&broken, &good[..good.len() - 1]).unwrap();
    let (code, out, err) = gateway.ask(&["lake", "verify"]);
    assert_eq!(code, 1, "{out}");
    let sizes = format!("has {} bytes instead of {}", good.len() - 1, good.len());
    assert!(out.contains(&sizes) && err.contains("1 of 3 files are damaged"), "{out}{err}");

    // The start repairs it from the log, and doctor says what happened.
    gateway.start_again();
    assert_eq!(counted(&gateway).await, (0..30).collect::<Vec<_>>());
    assert_eq!(gateway.ask(&["lake", "verify"]).0, 0);
    let (_, out, _) = gateway.ask(&["doctor"]);
    let line = out.lines().find(|line| line.contains("lake")).unwrap_or_else(|| panic!("{out}"));
    assert!(line.starts_with("WARN") && line.contains("10 rows") && line.contains("loaded again"), "{line}");
}

async fn upkeep_comes_when_it_is_asked_for(backend: &str) {
    let mut gateway = plan(backend).start();
    publish(&gateway, 0..45).await;
    assert_eq!(files(gateway.data()).len(), 4);
    let (code, out, err) = gateway.ask(&["lake", "compact"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("done; since the lake was opened: 1 merges"), "{out}");
    let live = |gateway: &Gateway| {
        let (_, out, _) = gateway.ask(&["lake", "verify"]);
        out.lines().find_map(|line| line.strip_prefix("counted: ")?.split(' ').next()?.parse::<usize>().ok()).unwrap()
    };
    assert_eq!(live(&gateway), 1, "the newest rows went along");
    assert_eq!(counted(&gateway).await, (0..45).collect::<Vec<_>>());

    publish(&gateway, 45..65).await;
    gateway.kill();
    assert_eq!(gateway.ask(&["lake", "compact"]).0, 2, "which tables?");
    let schema = crate::gateway::SCHEMA;
    let (code, out, err) = gateway.ask(&["lake", "compact", "--schema", schema]);
    // The default store of the command is not that of the lake.
    let code = if backend == "lite" && cfg!(feature = "duckdb") {
        assert_eq!(code, 1, "{out}{err}");
        let output = command()
            .args(["lake", "compact", "--schema", schema, "--data"])
            .arg(gateway.data())
            .env("REMBUS_GATEWAY_HISTORY_BACKEND", backend)
            .output()
            .unwrap();
        output.status.code().unwrap()
    } else {
        code
    };
    assert_eq!(code, 0, "{out}{err}");
    gateway.start_again();
    assert_eq!(counted(&gateway).await, (0..65).collect::<Vec<_>>());
    assert!(gateway.stop().success());
}

macro_rules! with_each_store {
    ($($name:ident),*) => {
        mod duckdb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name("duckdb").await;
            })*
        }
        mod lite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name("lite").await;
            })*
        }
    };
}

with_each_store!(
    a_backup_is_made_while_the_gateway_works_and_can_be_restored,
    damage_is_found_whether_the_gateway_runs_or_not,
    upkeep_comes_when_it_is_asked_for
);

#[test]
fn without_a_lake_the_commands_say_so() {
    let gateway = Plan::without_history().start();
    for arguments in [&["lake", "verify"][..], &["lake", "compact"], &["lake", "backup", "/tmp/never"]] {
        let (code, _, err) = gateway.ask(arguments);
        assert_eq!(code, 1);
        assert!(err.starts_with("this gateway keeps no tables"), "{err}");
    }
    let nowhere = command().args(["lake", "verify", "--data", "/nowhere"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&nowhere.stderr), "there is no data folder `/nowhere`\n");
}
