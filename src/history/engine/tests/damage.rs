//! Damaged files whose rows the log still holds, and some whose rows it does not.

use super::faulty::{Faulty, Op};
use super::gateway::Gateway;
use super::*;
use ciborium::cbor;
use std::path::PathBuf;

stories! {
    the_rows_of_damaged_files_are_loaded_again_from_the_log,
    what_was_deleted_does_not_come_back_with_the_rest,
    a_keyed_table_comes_back_as_it_was,
    what_the_log_does_not_hold_is_told_exactly,
    a_publication_on_the_delete_topic_deletes_the_rows_it_names,
    a_repair_changes_no_row_that_was_not_damaged,
    a_deletion_waits_for_room_and_is_done_then,
    a_catalog_that_cannot_be_read_at_present_stays_where_it_is,
}

fn files(dir: &Path, table: &str) -> Vec<PathBuf> {
    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() { below(&entry.path(), found) } else { found.push(entry.path()) }
        }
    }
    let mut found = Vec::new();
    below(&dir.join("lake/files/main").join(table), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    found.sort();
    found
}

fn small_batches(settings: &mut Settings) {
    settings.batch_rows = 10;
}

/// Publishes `rounds` times ten readings, each in a batch of its own.
async fn readings(gateway: &Gateway, rounds: i64) {
    for round in 0..rounds {
        gateway.publish_all("a/readings", (0..10).map(|n| format!(r#"{{"n":{}}}"#, round * 10 + n))).await;
        assert_eq!(gateway.readings().await.len() as i64, round * 10 + 10);
    }
}

async fn the_rows_of_damaged_files_are_loaded_again_from_the_log(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, small_batches);
    readings(&gateway, 5).await;
    gateway.close().await;
    let all = files(dir.path(), "readings");
    assert!(all.len() >= 5, "{all:?}");
    std::fs::write(&all[1], b"").unwrap();
    std::fs::remove_file(&all[3]).unwrap();

    for life in 0..2 {
        let gateway = Gateway::start(dir.path(), backend, small_batches);
        assert_eq!(gateway.readings().await, (0..50).collect::<Vec<_>>(), "life {life}");
        let losses = gateway.history.status().losses;
        assert_eq!(losses.len(), 2);
        assert!(losses.iter().all(|loss| loss.reloaded == loss.rows && !loss.pending && loss.from_us > 0), "{losses:?}");
        gateway.close().await;
    }
}

async fn what_was_deleted_does_not_come_back_with_the_rest(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, small_batches);
    readings(&gateway, 2).await;
    gateway.call("delete_readings", cbor!([{ "where" => "n < 5 OR n = 15" }]).unwrap()).await.unwrap();
    gateway.publish("a/readings", r#"{"n":3}"#).await;
    gateway.close().await;
    let all = files(dir.path(), "readings");
    let first = all.iter().find(|path| path.to_string_lossy().contains("-10-")).unwrap();
    std::fs::write(first, b"PAR1").unwrap();

    let gateway = Gateway::start(dir.path(), backend, small_batches);
    let expected: Vec<i64> = (0..20).filter(|n| (*n >= 5 && *n != 15) || *n == 3).collect();
    assert_eq!(gateway.readings().await, expected);
    gateway.close().await;
}

async fn a_keyed_table_comes_back_as_it_was(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.batch_rows = 1);
    for (dn, json) in [
        ("a", r#"{"mode":"on","level":1}"#),
        ("b", r#"{"mode":"on"}"#),
        ("a", r#"{"level":2}"#),
        ("b", r#"{"level":7}"#),
        ("c", r#"{"mode":"off"}"#),
    ] {
        gateway.publish(&format!("{dn}/state"), json).await;
        gateway.states().await;
    }
    gateway.call("delete_state", cbor!([{ "where" => "dn = 'b'" }]).unwrap()).await.unwrap();
    let before = gateway.states().await;
    assert_eq!(before, ["a on 2", "c off -"]);
    gateway.close().await;
    for file in files(dir.path(), "state") {
        std::fs::write(file, b"").unwrap();
    }
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.states().await, before);
    gateway.close().await;
}

async fn what_the_log_does_not_hold_is_told_exactly(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, small_batches);
    readings(&gateway, 3).await;
    gateway.close().await;
    std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
    std::fs::write(&files(dir.path(), "readings")[0], b"").unwrap();

    let gateway = Gateway::start(dir.path(), backend, small_batches);
    assert_eq!(gateway.readings().await.len(), 20);
    let [loss] = gateway.history.status().losses.try_into().unwrap();
    assert_eq!((loss.table.as_str(), loss.rows, loss.reloaded, loss.pending), ("readings", 10, 0, false));
    assert!(loss.from_us > 0 && loss.until_us >= loss.from_us, "{loss:?}");
    gateway.close().await;
}

async fn a_publication_on_the_delete_topic_deletes_the_rows_it_names(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, small_batches);
    readings(&gateway, 1).await;
    gateway.publish("b/readings", r#"{"n":100}"#).await;
    gateway.publish("readings/delete", r#"{"dn":"a","n":4}"#).await;
    assert_eq!(gateway.readings().await, [0, 1, 2, 3, 5, 6, 7, 8, 9, 100]);
    gateway.publish("readings/delete", "{}").await;
    gateway.publish("readings/delete", r#"{"dn":"a"}"#).await;
    assert_eq!(gateway.readings().await, [100]);
    assert_eq!(gateway.history.status().tables["readings"].rejected["shape"], 1);
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), backend, small_batches);
    assert_eq!(gateway.readings().await, [100]);
    gateway.close().await;
}

async fn a_repair_changes_no_row_that_was_not_damaged(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    // Each life writes one batch, whatever it counts from the start of the process on.
    for life in 0..2 {
        let gateway = Gateway::start(dir.path(), backend, small_batches);
        gateway.publish_all("a/readings", (0..10).map(|n| format!(r#"{{"n":{}}}"#, life * 10 + n))).await;
        assert_eq!(gateway.readings().await.len(), life * 10 + 10);
        gateway.close().await;
    }
    let all = files(dir.path(), "readings");
    let first = all.iter().find(|path| path.to_string_lossy().contains("-10-")).unwrap();
    let others: Vec<_> = all.iter().filter(|path| *path != first).map(|path| (path, std::fs::read(path).unwrap())).collect();
    std::fs::write(first, b"").unwrap();

    let gateway = Gateway::start(dir.path(), backend, small_batches);
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>());
    assert!(others.iter().all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes), "what was whole is as it was");
    gateway.close().await;
}

async fn a_deletion_waits_for_room_and_is_done_then(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::shared();
    let gateway = Gateway::start(dir.path(), backend, |settings| {
        settings.disk = disk.clone();
        settings.query_timeout = Duration::from_secs(3);
    });
    gateway.publish_all("a/readings", (0..10).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    until(async || gateway.query("query_readings", "1=1", "n").await.is_ok()).await;
    disk.refuse(Op::Sync, "-delete.parquet", rustix::io::Errno::NOSPC);
    let told = gateway.call("delete_readings", cbor!([{ "where" => "n < 5" }]).unwrap()).await.unwrap_err();
    assert!(disk.refused() > 0, "the fault was met");
    assert!(told.text.contains("accepted") || told.text.contains("not available"), "{}", told.text);
    disk.heal();
    until(async || {
        gateway.query("query_readings", "1=1 ORDER BY n", "n").await.is_ok_and(|rows| numbers(&rows) == [5, 6, 7, 8, 9])
    })
    .await;
    gateway.close().await;
}

async fn a_catalog_that_cannot_be_read_at_present_stays_where_it_is(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let name = if backend == Backend::Lite { "catalog.sqlite" } else { "catalog.ducklake" };
    let mut store = open(dir.path(), backend);
    add(store.as_mut(), 1);
    store.batch(Seq(1)).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    let catalog = dir.path().join("lake").join(name);
    let whole = std::fs::read(&catalog).unwrap();
    // What a bad sector looks like to the library, and what the system says of it.
    std::fs::write(&catalog, vec![7; 20_000]).unwrap();
    for errno in [rustix::io::Errno::IO, rustix::io::Errno::ACCESS, rustix::io::Errno::MFILE, rustix::io::Errno::ROFS] {
        let disk = Faulty::shared();
        disk.refuse(Op::Open, name, errno);
        let settings = Settings { backend, ..settings(dir.path()) };
        let error = store::open(&settings, &schema(), disk.clone(), LOG).unwrap_err();
        assert!(matches!(error, super::super::error::EngineError::Io { .. }), "{error}");
        assert!(disk.refused() > 0);
    }
    assert!(!dir.path().join("lake/quarantine").exists());
    std::fs::write(&catalog, whole).unwrap();
    assert_eq!(super::readings(open(dir.path(), backend).as_mut()), [1]);
}

/// Waits for what must come.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Duration::from_secs(60);
    let all = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(deadline, all).await.expect("it comes to pass within a minute");
}
