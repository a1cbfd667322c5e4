//! What the log has lost, or forgot about itself, costs no row that it still has.

use super::gateway::Gateway;
use super::*;
use crate::wal;

stories! {
    a_log_without_rows_is_released_by_its_bytes,
    rows_between_much_else_are_written_before_they_hold_up_the_log,
    rows_are_appended_once_whatever_the_log_is_called,
    rows_with_numbers_that_the_log_had_lost_are_kept_also_when_the_lake_was_locked_at_the_start_behind,
}

/// The only segment with records in the log of a gateway that was closed.
fn only_segment(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
    let written = |path: &std::path::PathBuf| std::fs::read(path).unwrap()[64..].iter().any(|byte| *byte != 0);
    let mut segments: Vec<_> = segments.filter(written).collect();
    assert_eq!(segments.len(), 1);
    segments.remove(0)
}

async fn rows_are_appended_once_whatever_the_log_is_called(backend: Backend) {
    for forgets in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(dir.path(), backend, |_| {});
        gateway.publish_all("a/readings", (0..5).map(|n| format!(r#"{{"n":{n}}}"#))).await;
        gateway.close().await;
        let segment = only_segment(dir.path());
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[20] ^= 4;
        std::fs::write(&segment, &bytes).unwrap();
        for file in std::fs::read_dir(dir.path().join("wal")).unwrap().map(|entry| entry.unwrap().path()) {
            // With `forgets` as it was left by a release that had one place for it.
            if file != segment && (forgets || file.extension().is_some_and(|ending| ending == "seg")) {
                std::fs::remove_file(file).unwrap();
            }
        }
        for n in 5..8 {
            let gateway = Gateway::start(dir.path(), backend, |_| {});
            gateway.publish("a/readings", &format!(r#"{{"n":{n}}}"#)).await;
            assert_eq!(gateway.readings().await, (0..=n).collect::<Vec<_>>(), "forgets: {forgets}");
            gateway.close().await;
        }
    }
}

async fn rows_with_numbers_that_the_log_had_lost_are_kept_also_when_the_lake_was_locked_at_the_start_behind(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish_all("a/readings", (0..10).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    assert_eq!(gateway.readings().await.len(), 10);
    gateway.close().await;
    // The card forgot the newest seven.
    let segment = only_segment(dir.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|part| part == br#"{"n":3}"#).unwrap();
    bytes.truncate(at - 40);
    std::fs::write(&segment, &bytes).unwrap();
    for file in std::fs::read_dir(dir.path().join("wal")).unwrap().map(|entry| entry.unwrap().path()) {
        if file != segment && file.extension().is_some_and(|ending| ending == "seg") {
            std::fs::remove_file(file).unwrap();
        }
    }
    // A start at which the lake cannot be opened, which takes seven others and ends like a kill.
    let (lake, aside) = (dir.path().join("lake"), dir.path().join("aside"));
    crate::disk::Disk::rename(&SystemDisk, &lake, &aside).unwrap();
    std::fs::write(&lake, b"in the way").unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert!(*gateway.last.lock().await < 10, "the log has lost some");
    let last = gateway.publish_all("a/readings", (10..17).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    gateway.log().sync(last).await.unwrap();
    assert!(last >= Seq(10), "their numbers are those of rows that the lake has");
    gateway.abandon().await;
    std::fs::remove_file(&lake).unwrap();
    crate::disk::Disk::rename(&SystemDisk, &aside, &lake).unwrap();

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..17).collect::<Vec<_>>());
    gateway.close().await;
}

/// A log of 256 KiB in segments of 64 KiB.
fn small(dir: &Path) -> wal::Options {
    wal::Options { segment_bytes: 64 << 10, keep_bytes: 256 << 10, reserve_bytes: 0, ..wal::Options::new(dir.join("wal")) }
}

/// Waits until the log is as small as it is meant to be.
async fn shrunk(gateway: &Gateway) {
    let began = gateway.clock.mono();
    while gateway.log().stats().bytes_on_disk > (256 << 10) + (64 << 10) {
        assert!(gateway.clock.mono().since(began) < Duration::from_secs(10), "{:?}", gateway.log().stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_log_without_rows_is_released_by_its_bytes(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    for _life in 0..2 {
        let gateway = Gateway::start_on(small(dir.path()), dir.path(), backend, |_| {});
        for _ in 0..20 {
            let last = gateway.publish_all("somewhere/else", (0..10).map(|_| "x".repeat(8 << 10))).await;
            gateway.log().sync(last).await.unwrap();
        }
        shrunk(&gateway).await;
        gateway.abandon().await;
    }
}

async fn rows_between_much_else_are_written_before_they_hold_up_the_log(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_on(small(dir.path()), dir.path(), backend, |_| {});
    for n in 0..20 {
        gateway.publish("a/readings", &format!(r#"{{"n":{n}}}"#)).await;
        let last = gateway.publish_all("somewhere/else", (0..10).map(|_| "x".repeat(8 << 10))).await;
        gateway.log().sync(last).await.unwrap();
    }
    shrunk(&gateway).await;
    assert_eq!(gateway.readings().await, (0..20).collect::<Vec<_>>());
    gateway.close().await;
}
