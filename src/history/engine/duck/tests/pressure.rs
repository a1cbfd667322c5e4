//! Queries that want more memory than there is.

use super::*;
use crate::history::engine::store::BatchError;
use crate::history::settings::Settings;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn notes() -> Schema {
    Schema { tables: vec![table("notes", vec![column("dn", ColumnKind::Text), column("s", ColumnKind::Text)], vec![])] }
}

/// A lake of so little memory that counting distinct texts does not fit into it twice.
fn pressed(dir: &Path, rows: u64, limit: u64) -> (Lake, Settings) {
    let settings = Settings { memory_limit: limit, ..settings(dir) };
    let (mut store, _) = Lake::open(&settings, &notes(), SystemDisk::shared(), LOG).unwrap();
    for seq in 1..=rows {
        let note = format!("{seq:08}-{}", "lorem ipsum dolor sit amet ".repeat(4));
        let rows = (0..50).map(|n| row(vec![text("a"), text(&format!("{n:03}{note}"))])).collect();
        store.append("notes", rows, Seq(seq), 1).unwrap();
        if seq % 400 == 0 {
            store.batch(Seq(seq)).unwrap();
        }
    }
    store.batch(Seq(rows)).unwrap();
    (store, settings)
}

/// Repeats a query on views of the store until told to stop; how many ended well and how many in an error.
fn repeat(store: &Arc<std::sync::Mutex<Lake>>, settings: &Settings, sql: &str, over: &AtomicBool) -> (u32, u32) {
    let (mut good, mut bad) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let pinned = store.lock().unwrap().pinned("notes", None);
        let Ok(Ok(pinned)) = pinned else {
            bad += 1;
            continue;
        };
        let sql = sql.replace("{}", &pinned.relation);
        match pinned.run_whole(&sql, vec![], settings) {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
    }
    (good, bad)
}

#[test]
fn queries_that_want_too_much_fail_alone_and_batches_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let seconds = std::env::var("SECONDS").map_or(4, |text| text.parse().unwrap());
    let (store, settings) = pressed(dir.path(), 2000, 24 << 20);
    let store = Arc::new(std::sync::Mutex::new(store));
    let over = Arc::new(AtomicBool::new(false));
    let greedy =
        ["SELECT count(DISTINCT s) FROM {}", "SELECT s, count(*) FROM {} GROUP BY s ORDER BY s DESC LIMIT 1"].map(|sql| {
            let (store, settings, over) = (store.clone(), settings.clone(), over.clone());
            std::thread::spawn(move || repeat(&store, &settings, sql, &over))
        });
    let began = tokio::time::Instant::now();
    let mut seq = 2000;
    while began.elapsed() < Duration::from_secs(seconds) {
        seq += 1;
        let mut store = store.lock().unwrap();
        store.append("notes", vec![row(vec![text("b"), text("new")])], Seq(seq), 1).unwrap();
        match store.batch(Seq(seq)) {
            Ok(()) | Err(BatchError::Again(_)) => {}
            // A commit that found no memory: whether it was made only the lake can say, so the engine opens it anew.
            Err(BatchError::Reopen(error)) => {
                assert!(error.to_string().contains("committing"), "{error}");
                break;
            }
        }
        drop(store);
        std::thread::sleep(Duration::from_millis(50));
    }
    over.store(true, Ordering::Relaxed);
    let ended = greedy.map(|thread| thread.join().unwrap());
    println!("{} batches; good and bad queries: {ended:?}", seq - 2000);
    assert!(ended.iter().any(|(_, bad)| *bad > 0), "nothing ran out of memory: {ended:?}");
    println!("{} ended for the engine", store.lock().unwrap().ended_for_memory());
    drop(store);
    let (mut store, _) = Lake::open(&settings, &notes(), SystemDisk::shared(), LOG).unwrap();
    // What the lake covers is in it, each row once; what is above comes from the log.
    let covered = store.covered().0;
    assert!(covered >= 2000 && covered <= seq, "{covered} of {seq}");
    let all = numbers(&ask(&mut store, "notes", "SELECT count(*) FROM {}").unwrap());
    assert_eq!(all, [(2000 * 50 + covered - 2000).cast_signed()]);
}
