//! Damaged files whose rows the log still holds, and some whose rows it does not.

use super::faulty::{Faulty, Op};
use super::gateway::{Gateway, SCHEMA};
use super::*;
use ciborium::cbor;
use std::path::PathBuf;

stories! {
    the_rows_of_damaged_files_are_loaded_again_from_the_log,
    what_was_deleted_does_not_come_back_with_the_rest,
    a_keyed_table_comes_back_as_it_was,
    what_the_log_does_not_hold_is_told_exactly,
    a_publication_on_the_delete_topic_deletes_the_rows_it_names,
    a_damaged_keyed_file_stops_neither_other_tables_nor_its_own_next_batch,
    a_query_that_meets_damage_is_right_a_moment_later,
    a_flipped_bit_is_found_by_the_scrub,
    a_file_that_cannot_be_read_costs_nobody_else_and_comes_back,
    a_disk_that_refuses_everything_changes_nothing,
    what_the_catalog_forgot_and_the_log_let_go_comes_back_from_the_files,
    rows_of_a_table_that_the_lake_cannot_hold_are_refused_and_counted,
    a_repair_changes_no_row_that_was_not_damaged,
    a_deletion_waits_for_room_and_is_done_then,
    a_catalog_that_cannot_be_read_at_present_stays_where_it_is,
}

pub(super) fn files(dir: &Path, table: &str) -> Vec<PathBuf> {
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

pub(super) fn soon(settings: &mut Settings) {
    settings.batch_interval = Duration::from_millis(50);
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
pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Duration::from_secs(60);
    let all = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(deadline, all).await.expect("it comes to pass within a minute");
}

/// Zeros in the middle of a file, which keeps its size and its end.
fn zeros(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let end = bytes.len() / 2;
    bytes[4..end].fill(0);
    std::fs::write(path, bytes).unwrap();
}

/// A gateway whose checksums are all noted, in a folder with twenty readings in two files and two states; closed again.
pub(super) async fn filled(dir: &Path, backend: Backend) {
    let gateway = Gateway::start(dir, backend, small_batches);
    readings(&gateway, 2).await;
    gateway.close().await;
    let gateway = Gateway::start(dir, backend, soon);
    gateway.publish_all("a/state", (0..10).map(|n| format!(r#"{{"mode":"on","level":{n}}}"#))).await;
    gateway.publish_all("b/state", (0..10).map(|n| format!(r#"{{"mode":"off","level":{n}}}"#))).await;
    assert_eq!(gateway.states().await, ["a on 9", "b off 9"]);
    let upto = Seq(*gateway.last.lock().await);
    until(async || gateway.history.status().covered == upto).await;
    gateway.close().await;
    // Everything is read once, and its checksum noted.
    let gateway = Gateway::start(dir, backend, |settings| settings.scrub = Duration::from_secs(1));
    let files = files(dir, "readings").len() + files(dir, "state").len();
    until(async || gateway.history.status().files_scrubbed >= 2 * files as u64).await;
    gateway.close().await;
}

async fn a_damaged_keyed_file_stops_neither_other_tables_nor_its_own_next_batch(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), backend).await;
    files(dir.path(), "state").iter().filter(|path| path.to_string_lossy().contains("batch-")).for_each(|path| zeros(path));
    let gateway = Gateway::start(dir.path(), backend, soon);
    gateway.publish("a/state", r#"{"level":77}"#).await;
    gateway.publish_all("a/readings", (20..40).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    let upto = Seq(*gateway.last.lock().await);
    until(async || gateway.history.status().covered == upto).await;
    until(async || gateway.query("query_readings", "1=1", "n").await.is_ok()).await;
    assert_eq!(gateway.readings().await, (0..40).collect::<Vec<_>>());
    assert_eq!(gateway.states().await, ["a on 77", "b off 9"]);
    let losses = gateway.history.status().losses;
    assert!(!losses.is_empty() && losses.iter().all(|loss| loss.table == "state" && loss.reloaded == loss.rows), "{losses:?}");
    gateway.close().await;
}

async fn a_query_that_meets_damage_is_right_a_moment_later(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), backend).await;
    zeros(&files(dir.path(), "readings")[0]);
    let gateway = Gateway::start(dir.path(), backend, small_batches);
    assert!(gateway.query("query_readings", "1=1 ORDER BY n", "n").await.is_err(), "the damage is met");
    let all =
        async || gateway.query("query_readings", "1=1 ORDER BY n", "n").await.is_ok_and(|rows| numbers(&rows).len() == 20);
    until(all).await;
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>());
    assert_eq!(gateway.history.status().losses.len(), 1);
    gateway.close().await;
}

async fn a_flipped_bit_is_found_by_the_scrub(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), backend).await;
    let path = &files(dir.path(), "readings")[1];
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.scrub = Duration::from_secs(1));
    until(async || gateway.history.status().losses.len() == 1).await;
    until(async || gateway.query("query_readings", "1=1", "n").await.is_ok()).await;
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>());
    let [loss] = gateway.history.status().losses.try_into().unwrap();
    assert_eq!((loss.what.as_str(), loss.rows, loss.reloaded), ("has another checksum than when it was written", 10, 10));
    gateway.close().await;
}

async fn a_file_that_cannot_be_read_costs_nobody_else_and_comes_back(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), backend).await;
    // Without the log the file is all there is of its rows.
    std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
    let path = files(dir.path(), "readings")[0].clone();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    for errno in [rustix::io::Errno::IO, rustix::io::Errno::ACCESS] {
        let disk = Faulty::shared();
        disk.refuse(Op::Open, &name, errno);
        let gateway = Gateway::start(dir.path(), backend, |settings| settings.disk = disk.clone());
        assert_eq!(gateway.readings().await.len(), 10, "{errno}");
        assert_eq!(gateway.states().await.len(), 2);
        assert!(disk.refused() > 0 && path.exists(), "it is where it was");
        let losses = gateway.history.status().losses;
        assert!(losses.iter().any(|loss| loss.in_place && loss.reloaded == 0 && loss.rows == 10), "{losses:?}");
        gateway.close().await;
    }
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>());
    assert!(gateway.history.status().losses.iter().all(|loss| loss.reloaded == loss.rows && !loss.in_place));
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>(), "and once only");
    gateway.close().await;
}

async fn a_disk_that_refuses_everything_changes_nothing(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), backend).await;
    let lake = Settings { backend, ..settings(dir.path()) };
    let schema = crate::history::schema::parse(SCHEMA).unwrap();
    for errno in [
        rustix::io::Errno::IO,
        rustix::io::Errno::ACCESS,
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOMEM,
    ] {
        let disk = Faulty::shared();
        disk.refuse(Op::Open, ".parquet", errno);
        assert!(store::open(&lake, &schema, disk.clone(), LOG).is_err(), "{errno}");
        assert!(disk.refused() > 0);
    }
    assert!(!dir.path().join("lake/quarantine").exists() && !dir.path().join("lake/damage.json").exists());
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>());
    assert!(gateway.history.status().losses.is_empty());
    gateway.close().await;
}

async fn what_the_catalog_forgot_and_the_log_let_go_comes_back_from_the_files(backend: Backend) {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = open(dir.path(), backend);
    let (lake, old) = (dir.path().join("lake"), tempfile::tempdir().unwrap());
    let copy = |to: &Path| {
        let copied = std::process::Command::new("cp").arg("-r").arg(&lake).arg(to).status().unwrap();
        assert!(copied.success());
    };
    for seq in 1..=6 {
        add(store.as_mut(), seq);
        store.append("state", vec![row(vec![text("a"), text("on"), Cell::Integer(seq.into())])], Seq(seq), 0).unwrap();
        store.batch(Seq(seq)).unwrap();
        if seq == 2 {
            copy(old.path());
        }
    }
    // The disk at this moment, with the catalog as a damaged byte in its own log leaves it: everything behind that is gone.
    copy(other.path());
    let entries = std::fs::read_dir(old.path().join("lake")).unwrap().map(Result::unwrap);
    for entry in entries.filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), other.path().join("lake").join(entry.file_name())).unwrap();
    }

    let settings = Settings { backend, log_first: Seq(6), ..settings(other.path()) };
    let (mut store, opened) = store::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap();
    assert_eq!((opened.orphans, store.covered()), (0, Seq(2)), "nothing that the catalog forgot is removed");
    super::super::adopt::lost(store.as_mut(), &settings, &schema(), LOG, Seq(6)).unwrap();
    // The log has the rest.
    assert_eq!((super::readings(store.as_mut()), store.covered()), (vec![1, 2, 3, 4, 5], Seq(5)));
    let level = numbers(&ask(store.as_mut(), &schema().tables[1], "level", "1=1", None).unwrap());
    assert_eq!(level, [5]);
    drop(store);
    let (mut store, opened) = store::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap();
    assert_eq!((opened.orphans, opened.damage.len()), (0, 0));
    assert_eq!(super::readings(store.as_mut()), [1, 2, 3, 4, 5]);
    assert!(other.path().join("lake/quarantine").read_dir().unwrap().count() >= 8, "they are kept");
}

async fn rows_of_a_table_that_the_lake_cannot_hold_are_refused_and_counted(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    // The lake has the readings' number as a text.
    let mut other = schema();
    other.tables[0] = table("readings", vec![column("dn", ColumnKind::Text), column("n", ColumnKind::Text)], vec![]);
    drop(open_with(dir.path(), backend, &other));
    let gateway = Gateway::start(dir.path(), backend, soon);
    gateway.publish_all("a/readings", (0..10).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    gateway.publish("a/state", r#"{"mode":"on"}"#).await;
    assert_eq!(gateway.states().await, ["a on -"]);
    let status = gateway.history.status();
    let readings = &status.tables["readings"];
    assert!(readings.refused.as_ref().is_some_and(|why| why.contains('n')), "{readings:?}");
    assert_eq!((readings.rows_taken, readings.rejected["refused"]), (0, 10));
    let shown = crate::metrics::History::from(status);
    assert!(shown.tables["readings"].refused.is_some());
    gateway.close().await;
}
