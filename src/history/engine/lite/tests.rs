//! Stories of this store alone.

use super::restamp::{self, Correction};
use super::store::Lite;
use crate::clock::{SystemClock, Wall};
use crate::disk::SystemDisk;
use crate::history::engine::error::EngineError;
use crate::history::engine::store::{BatchError, Store, Upkeep};
use crate::history::engine::tests::{
    LOG, add, ask, column, delete, numbers, reading, readings, row, schema, settings, table, text,
};
use crate::history::model::{Cell, Column, ColumnKind, ColumnSource, Schema};
use crate::message::Seq;
use std::path::Path;
use std::time::Duration;

#[test]
fn a_crash_after_the_files_are_written_costs_nothing_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Lite::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG).unwrap();
    (1..=10).for_each(|seq| add(&mut store, seq));
    assert_eq!(store.prepare(Seq(10)).unwrap().len(), 1);
    drop(store);

    let (mut store, opened) = Lite::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG).unwrap();
    assert_eq!((opened.orphans, store.covered()), (1, Seq(0)));
    (1..=10).for_each(|seq| add(&mut store, seq));
    assert_eq!(readings(&mut store), (1..=10).collect::<Vec<_>>());
}

fn pass(store: &mut Lite, now_us: i64) {
    let mut steps = 0;
    while store.upkeep(Wall(now_us.cast_unsigned() * 1000)).unwrap() == Upkeep::More {
        steps += 1;
        assert!(steps < 10_000, "a pass comes to an end");
    }
}

fn now_us() -> i64 {
    i64::try_from(SystemClock::shared().wall().0 / 1000).unwrap()
}

fn batches(store: &mut Lite, seqs: std::ops::RangeInclusive<u64>, at_us: i64) {
    for seq in seqs {
        store.append("readings", vec![reading("a", seq.into())], Seq(seq), at_us + seq.cast_signed()).unwrap();
        store.batch(Seq(seq)).unwrap();
    }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("lake/files/main/readings")).unwrap().count()
}

#[test]
fn the_batches_of_an_hour_become_one_file_and_the_past_is_still_exact() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Lite::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG).unwrap();
    let start = now_us();
    batches(&mut store, 1..=10, start);
    assert_eq!(files(dir.path()), 10);
    let middle = now_us();
    batches(&mut store, 11..=12, start);
    pass(&mut store, start);
    assert_eq!((files(dir.path()), store.tidied().merges), (1, 1));
    assert_eq!(readings(&mut store), (1..=12).collect::<Vec<_>>());
    let mut then = |at| numbers(&ask(&mut store, &schema().tables[0], "n", "1=1 ORDER BY n", Some(at)).unwrap());
    assert_eq!(then(middle), (1..=12).collect::<Vec<_>>(), "all had been received by then");
    drop(store);

    let (mut store, opened) = Lite::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG).unwrap();
    assert_eq!((opened.orphans, opened.damage.len(), store.covered()), (0, 0, Seq(12)));
    batches(&mut store, 13..=14, start);
    pass(&mut store, start);
    assert_eq!(files(dir.path()), 2, "the merged file of today is left alone");
    pass(&mut store, start + 86_400_000_000);
    assert_eq!(files(dir.path()), 1, "a day that is over becomes one file");
    assert_eq!(readings(&mut store), (1..=14).collect::<Vec<_>>());
}

#[test]
fn rows_beyond_their_age_go_and_their_files_with_the_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.limits.age = Some(Duration::from_secs(2 * 86_400));
    settings.snapshots = Duration::ZERO;
    let (mut store, _) = Lite::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap();
    let now = now_us();
    batches(&mut store, 1..=3, now - 5 * 86_400_000_000);
    batches(&mut store, 4..=5, now);
    delete(&mut store, &schema().tables[0], "n = 4", 6).unwrap();
    // What snapshots need, they need until a moment after they were made.
    pass(&mut store, now_us() + 2_000_000);
    pass(&mut store, now_us() + 2_000_000);
    assert_eq!(readings(&mut store), [5]);
    assert_eq!((files(dir.path()), store.tidied().rows_expired, store.covered()), (1, 3, Seq(6)));
    drop(store);
    let (mut store, opened) = Lite::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap();
    assert_eq!((opened.orphans, opened.damage.len(), store.covered()), (0, 0, Seq(6)));
    assert_eq!(readings(&mut store), [5]);
}

/// `stamped(n, ts)`, appended; `state(dn, ts)` by `dn`. Both have their receive time as a column.
fn stamped() -> Schema {
    let time = || Column { source: ColumnSource::ReceiveTime, ..column("ts", ColumnKind::UBigInt) };
    let stamped = table("stamped", vec![column("n", ColumnKind::BigInt), time()], vec![]);
    Schema { tables: vec![stamped, table("state", vec![column("dn", ColumnKind::Text), time()], vec![0])] }
}

/// One row of each table for each record, which is received at as many seconds.
fn stamp(store: &mut Lite, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let (at_us, number) = (seq.cast_signed() * 1_000_000, Cell::Integer(seq.into()));
        let time = || Cell::Integer(i128::from(at_us) * 1000);
        store.append("stamped", vec![row(vec![number, time()])], Seq(seq), at_us).unwrap();
        store.append("state", vec![row(vec![text(&format!("d{seq}")), time()])], Seq(seq), at_us).unwrap();
        store.batch(Seq(seq)).unwrap();
    }
}

/// The seconds of every row of a table, in order.
fn seconds(store: &mut Lite, table: usize, at: Option<i64>) -> Vec<i64> {
    numbers(&ask(store, &stamped().tables[table], "CAST(ts // 1000000000 AS BIGINT) AS s", "1=1 ORDER BY ts", at).unwrap())
}

#[test]
fn times_are_corrected_once_in_merged_files_and_beside_deleted_rows() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Lite::open(&settings(dir.path()), &stamped(), SystemDisk::shared(), LOG).unwrap();
    let (mut store, _) = open();
    stamp(&mut store, 1..=4);
    pass(&mut store, now_us());
    stamp(&mut store, 5..=7);
    delete(&mut store, &stamped().tables[0], "n = 3 OR n = 5", 8).unwrap();
    let before = now_us();
    store.restamp(Seq(2), 100_000_000, Seq(9)).unwrap();
    stamp(&mut store, 10..=10);
    let check = |store: &mut Lite| {
        assert_eq!(seconds(store, 0, None), [1, 10, 102, 104, 106, 107]);
        assert_eq!(seconds(store, 1, None), [1, 10, 102, 103, 104, 105, 106, 107]);
        assert_eq!(store.figures().iter().map(|table| table.rows_in_lake).collect::<Vec<_>>(), [6, 8]);
        assert_eq!(store.sequences("stamped", (Seq(1), Seq(10))).unwrap(), [1, 2, 4, 6, 7, 10]);
    };
    check(&mut store);
    drop(store);

    let (mut store, opened) = open();
    assert_eq!((opened.orphans, opened.damage.len(), store.covered()), (0, 0, Seq(10)));
    check(&mut store);
    assert_eq!(seconds(&mut store, 1, Some(before)), [1, 2, 3, 4, 5, 6, 7], "the past is what was said then");
    pass(&mut store, now_us() + 86_400_000_000);
    check(&mut store);
}

#[test]
fn a_correction_without_rows_is_covered_too() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Lite::open(&settings(dir.path()), &stamped(), SystemDisk::shared(), LOG).unwrap().0;
    open().restamp(Seq(1), 1_000_000, Seq(1)).unwrap();
    let mut store = open();
    assert_eq!(store.covered(), Seq(1));
    stamp(&mut store, 2..=3);
    store.restamp(Seq(4), 1_000_000, Seq(5)).unwrap();
    assert_eq!((seconds(&mut store, 0, None), open().covered()), (vec![2, 3], Seq(5)));
}

#[test]
fn a_crash_before_the_catalog_knows_of_a_correction_leaves_the_old_times() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Lite::open(&settings(dir.path()), &stamped(), SystemDisk::shared(), LOG).unwrap();
    let (mut store, _) = open();
    stamp(&mut store, 1..=2);
    let correction = Correction { from: Seq(1), before: Seq(3), delta_us: 100_000_000 };
    assert_eq!(restamp::changes(&mut store, correction).unwrap().len(), 4);
    drop(store);

    let (mut store, opened) = open();
    assert_eq!((opened.orphans, store.covered()), (4, Seq(2)));
    assert_eq!(seconds(&mut store, 0, None), [1, 2]);
    store.restamp(Seq(1), 100_000_000, Seq(3)).unwrap();
    assert_eq!((seconds(&mut store, 0, None), store.covered()), (vec![101, 102], Seq(3)));
}

#[test]
fn the_past_stays_when_files_are_merged_while_the_time_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Lite::open(&settings(dir.path()), &schema(), SystemDisk::shared(), LOG).unwrap();
    // Records of 1970, merged by an upkeep that is not told the time.
    batches(&mut store, 1..=3, -90_000_000_000);
    pass(&mut store, 0);
    assert_eq!(store.tidied().merges, 1);
    let long_ago = ask(&mut store, &schema().tables[0], "n", "", Some(1_000_000_000)).unwrap_err();
    assert!(long_ago.text.contains("No snapshot found"), "{}", long_ago.text);
}

#[test]
fn a_batch_leaves_half_of_the_reserve_and_its_rows_wait() {
    let dir = tempfile::tempdir().unwrap();
    let full = crate::history::Settings { reserve: u64::MAX, ..settings(dir.path()) };
    let (mut store, _) = Lite::open(&full, &schema(), SystemDisk::shared(), LOG).unwrap();
    add(&mut store, 1);
    assert!(matches!(store.batch(Seq(1)), Err(BatchError::Again(EngineError::NoRoom { .. }))));
    assert_eq!((readings(&mut store), store.covered()), (vec![1], Seq(0)));
}
