//! Damaged files whose rows the log still holds, and some whose rows it does not.

use super::gateway::Gateway;
use super::*;
use ciborium::cbor;
use std::path::PathBuf;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_damaged_files_are_loaded_again_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    readings(&gateway, 5).await;
    gateway.close().await;
    let all = files(dir.path(), "readings");
    assert!(all.len() >= 5, "{all:?}");
    std::fs::write(&all[1], b"").unwrap();
    std::fs::remove_file(&all[3]).unwrap();

    for life in 0..2 {
        let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
        assert_eq!(gateway.readings().await, (0..50).collect::<Vec<_>>(), "life {life}");
        let losses = gateway.history.status().losses;
        assert_eq!(losses.len(), 2);
        assert!(losses.iter().all(|loss| loss.reloaded == loss.rows && !loss.pending && loss.from_us > 0), "{losses:?}");
        gateway.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_does_not_come_back_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    readings(&gateway, 2).await;
    gateway.call("delete_readings", cbor!([{ "where" => "n < 5 OR n = 15" }]).unwrap()).await.unwrap();
    gateway.publish("a/readings", r#"{"n":3}"#).await;
    gateway.close().await;
    let all = files(dir.path(), "readings");
    let first = all.iter().find(|path| path.to_string_lossy().contains("-10-")).unwrap();
    std::fs::write(first, b"PAR1").unwrap();

    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    let expected: Vec<i64> = (0..20).filter(|n| (*n >= 5 && *n != 15) || *n == 3).collect();
    assert_eq!(gateway.readings().await, expected);
    gateway.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_table_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), |settings| settings.batch_rows = 1);
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
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), |_| {});
    assert_eq!(gateway.states().await, before);
    gateway.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_does_not_hold_is_told_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    readings(&gateway, 3).await;
    gateway.close().await;
    std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
    std::fs::write(&files(dir.path(), "readings")[0], b"").unwrap();

    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    assert_eq!(gateway.readings().await.len(), 20);
    let [loss] = gateway.history.status().losses.try_into().unwrap();
    assert_eq!((loss.table.as_str(), loss.rows, loss.reloaded, loss.pending), ("readings", 10, 0, false));
    assert!(loss.from_us > 0 && loss.until_us >= loss.from_us, "{loss:?}");
    gateway.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_on_the_delete_topic_deletes_the_rows_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    readings(&gateway, 1).await;
    gateway.publish("b/readings", r#"{"n":100}"#).await;
    gateway.publish("readings/delete", r#"{"dn":"a","n":4}"#).await;
    assert_eq!(gateway.readings().await, [0, 1, 2, 3, 5, 6, 7, 8, 9, 100]);
    gateway.publish("readings/delete", "{}").await;
    gateway.publish("readings/delete", r#"{"dn":"a"}"#).await;
    assert_eq!(gateway.readings().await, [100]);
    assert_eq!(gateway.history.status().tables["readings"].rejected["shape"], 1);
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), crate::history::Backend::of("auto"), small_batches);
    assert_eq!(gateway.readings().await, [100]);
    gateway.close().await;
}
