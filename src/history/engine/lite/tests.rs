//! Stories of this store alone.

use super::store::Lite;
use crate::clock::{SystemClock, Wall};
use crate::disk::SystemDisk;
use crate::history::engine::store::{Store, Upkeep};
use crate::history::engine::tests::{LOG, add, ask, delete, numbers, reading, readings, schema, settings};
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
