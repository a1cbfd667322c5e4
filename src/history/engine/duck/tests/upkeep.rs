//! Merging, retention, old snapshots: what is left, and that nothing is lost on the way.

use super::*;
use crate::clock::Wall;
use crate::history::engine::store::Upkeep;
use crate::history::model::Limits;
use crate::history::settings::Settings;

const HOUR_US: i64 = 3600 * 1_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// Snapshots carry the machine's own time, so rows are received around it.
fn now_us() -> i64 {
    i64::try_from(crate::clock::SystemClock::shared().wall().0 / 1000).unwrap()
}

fn wall(us: i64) -> Wall {
    Wall(us.cast_unsigned() * 1000)
}

fn open_as(settings: &Settings) -> Lake {
    Lake::open(settings, &schema(), SystemDisk::shared(), LOG).unwrap().0
}

/// A whole pass.
fn pass(store: &mut Lake, now_us: i64) {
    let mut steps = 0;
    while store.upkeep(wall(now_us)).unwrap() == Upkeep::More {
        steps += 1;
        assert!(steps < 1_000_000, "a pass comes to an end");
        std::thread::yield_now();
    }
}

/// One batch for each of `seqs`, received at `at_us` and a microsecond later each.
fn batches(store: &mut Lake, seqs: std::ops::RangeInclusive<u64>, at_us: i64) {
    for seq in seqs {
        store.append("readings", vec![reading("a", seq.into())], Seq(seq), at_us + seq.cast_signed()).unwrap();
        store.batch(Seq(seq)).unwrap();
    }
}

#[test]
fn the_batches_of_an_hour_become_one_file_and_the_past_is_still_exact() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let start = now_us();
    batches(&mut store, 1..=10, start);
    assert_eq!(files(dir.path(), "readings").len(), 10);
    pass(&mut store, now_us());
    assert_eq!(files(dir.path(), "readings").len(), 1);
    assert_eq!(store.tidied().merges, 1);
    assert_eq!(readings(&mut store), (1..=10).collect::<Vec<_>>());
    let then = numbers(&ask_at(&mut store, "readings", "SELECT n FROM {} ORDER BY n", Some(start + 4)).unwrap());
    assert_eq!(then, [1, 2, 3, 4]);
    // The next hour's batches do not take the last hour's file along.
    batches(&mut store, 11..=13, start);
    let hour = files(dir.path(), "readings").into_iter().find(|path| path.to_string_lossy().contains("ducklake-")).unwrap();
    pass(&mut store, now_us());
    assert_eq!(files(dir.path(), "readings").len(), 2);
    assert!(hour.exists());
    drop(store);
    assert_eq!(readings(&mut open(dir.path())), (1..=13).collect::<Vec<_>>());
}

#[test]
fn a_day_that_is_over_becomes_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let now = now_us();
    for hour in 0..3 {
        batches(&mut store, hour * 3 + 1..=hour * 3 + 3, now);
        pass(&mut store, now);
    }
    assert_eq!(files(dir.path(), "readings").len(), 3, "a file an hour");
    pass(&mut store, now + DAY_US);
    assert_eq!(files(dir.path(), "readings").len(), 1);
    assert_eq!(readings(&mut store), (1..=9).collect::<Vec<_>>());
    let merges = store.tidied().merges;
    pass(&mut store, now + DAY_US);
    assert_eq!(store.tidied().merges, merges, "and that was that");
}

#[test]
fn rows_are_gone_when_their_day_is_too_old_and_their_files_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.limits.age = Some(Duration::from_secs(2 * 24 * 3600));
    settings.snapshots = Duration::ZERO;
    let mut store = open_as(&settings);
    let now = now_us();
    for day in 0..4 {
        batches(&mut store, day * 10 + 1..=day * 10 + 2, now - (3 - day.cast_signed()) * DAY_US);
    }
    assert_eq!(files(dir.path(), "readings").len(), 8);
    pass(&mut store, now);
    assert_eq!(readings(&mut store), [11, 12, 21, 22, 31, 32]);
    assert_eq!((store.tidied().rows_expired, store.figures()[0].rows_in_lake), (2, 6));
    // Their snapshots go by the machine's clock, which has not moved far.
    pass(&mut store, now_us() + 1_000_000);
    assert_eq!(files(dir.path(), "readings").len(), 3, "one for each day");
    let folders = dir.path().join("lake/files/main/readings").read_dir().unwrap().count();
    assert_eq!(folders, 3, "the folder of the day is gone");
    drop(store);
    assert_eq!(readings(&mut open_as(&settings)), [11, 12, 21, 22, 31, 32]);
}

#[test]
fn a_clock_that_was_never_set_lets_nothing_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.limits.age = Some(Duration::from_secs(3600));
    let mut store = open_as(&settings);
    batches(&mut store, 1..=2, now_us());
    pass(&mut store, 5_000_000);
    assert_eq!(readings(&mut store), [1, 2]);
}

#[test]
fn a_table_beyond_its_size_loses_its_oldest_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let mut store = open_as(&settings);
    let now = now_us();
    batches(&mut store, 1..=2, now - DAY_US);
    batches(&mut store, 3..=8, now);
    let size: u64 = files(dir.path(), "readings").iter().map(|path| path.metadata().unwrap().len()).max().unwrap();
    drop(store);
    settings.limits.bytes = Some(size * 4);
    let mut store = open_as(&settings);
    pass(&mut store, now);
    assert_eq!(readings(&mut store), [5, 6, 7, 8], "first the day before, then the oldest files of this one");
}

#[test]
fn a_row_of_a_keyed_table_goes_when_nobody_has_set_it_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let mut schema = schema();
    let mut table = schema.tables[1].as_ref().clone();
    table.limits = Limits { age: Some(Duration::from_secs(3600)), ..Limits::default() };
    schema.tables[1] = std::sync::Arc::new(table);
    settings.snapshots = Duration::ZERO;
    let (mut store, _) = Lake::open(&settings, &schema, SystemDisk::shared(), LOG).unwrap();
    let now = now_us();
    let state = |dn: &str, level: i128| row(vec![text(dn), text("on"), Cell::Integer(level)]);
    for (seq, dn, at) in [(1, "a", now - 3 * HOUR_US), (2, "b", now - 3 * HOUR_US), (3, "b", now), (4, "c", now)] {
        store.append("state", vec![state(dn, seq.into())], Seq(seq), at).unwrap();
        store.batch(Seq(seq)).unwrap();
    }
    pass(&mut store, now);
    pass(&mut store, now_us() + HOUR_US / 2);
    let rows = "SELECT dn || level FROM {} ORDER BY 1";
    assert_eq!(texts(&ask(&mut store, "state", rows).unwrap()), ["b3", "c4"]);
    assert!(files(dir.path(), "state").len() <= 2, "{:?}", files(dir.path(), "state"));
}

#[test]
fn what_the_lake_covers_outlives_its_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.snapshots = Duration::ZERO;
    let mut store = open_as(&settings);
    let start = now_us();
    batches(&mut store, 1..=30, start);
    for _ in 0..2 {
        pass(&mut store, now_us() + HOUR_US);
    }
    assert!(store.tidied().snapshots_expired > 25, "{:?}", store.tidied());
    drop(store);
    let mut store = open_as(&settings);
    assert_eq!(store.covered(), Seq(30));
    assert_eq!(readings(&mut store).len(), 30);
    let then = ask_at(&mut store, "readings", "SELECT n FROM {} ORDER BY n", Some(start + 4)).unwrap();
    assert_eq!(numbers(&then), [1, 2, 3, 4], "when a row was received is known without its snapshot");
    assert_eq!(files(dir.path(), "readings").len(), 1);
}

#[test]
fn old_snapshots_become_one_an_hour_and_stay_exact() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut store = open_as(&settings);
    let start = now_us();
    batches(&mut store, 1..=20, start);
    pass(&mut store, start + 2 * DAY_US);
    assert!(store.tidied().snapshots_expired >= 15, "{:?}", store.tidied());
    batches(&mut store, 21..=22, start);
    store.delete("readings", &predicate(&store, "readings", "n = 21"), Seq(23), None).unwrap();
    let seen = |store: &mut Lake, at| numbers(&ask_at(store, "readings", "SELECT n FROM {} ORDER BY n", Some(at)).unwrap());
    let after = now_us();
    assert_eq!(seen(&mut store, after), (1..=20).chain([22]).collect::<Vec<_>>());
}

#[test]
fn a_deletion_that_comes_while_files_are_merged_wins() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let now = now_us();
    batches(&mut store, 1..=5, now);
    let mut deleted = false;
    let mut steps = 0;
    while store.upkeep(wall(now)).unwrap() == Upkeep::More {
        steps += 1;
        // Retention of two tables and its end come first, then a merge begins.
        if steps == 4 {
            store.delete("readings", &predicate(&store, "readings", "n = 3"), Seq(6), None).unwrap();
            deleted = true;
        }
        std::thread::yield_now();
    }
    assert!(deleted);
    assert_eq!((store.tidied().merges, store.tidied().merge_conflicts), (0, 1), "{:?}", store.tidied());
    assert_eq!(readings(&mut store), [1, 2, 4, 5]);
    pass(&mut store, now);
    assert_eq!(store.tidied().merges, 1);
    assert_eq!(readings(&mut store), [1, 2, 4, 5]);
    drop(store);
    let (mut store, opened) = open_with(dir.path(), &schema());
    assert_eq!((opened.orphans, readings(&mut store)), (0, vec![1, 2, 4, 5]), "what the first merge left is gone");
}

#[test]
fn batches_and_queries_go_on_while_files_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let now = now_us();
    batches(&mut store, 1..=5, now);
    let mut seq = 5;
    while store.upkeep(wall(now)).unwrap() == Upkeep::More {
        if seq < 30 {
            seq += 1;
            batches(&mut store, seq..=seq, now);
        }
        assert_eq!(readings(&mut store).len() as u64, seq);
    }
    assert_eq!(store.tidied().merge_conflicts, 0);
    assert!(store.tidied().merges >= 1);
    assert_eq!(readings(&mut store), (1..=i64::try_from(seq).unwrap()).collect::<Vec<_>>());
}

#[test]
fn a_lake_of_the_first_release_gets_days_and_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let conn = lake::open(&settings(dir.path())).unwrap();
    let columns = "dn TEXT, n BIGINT, _seq BIGINT, _recv TIMESTAMP";
    let insert = "INSERT INTO lake.main.readings VALUES ('a', 1, 1, TIMESTAMP '2026-11-20 10:00:00')";
    conn.execute_batch(&format!("CREATE TABLE lake.main.readings ({columns}); {insert}")).unwrap();
    drop(conn);
    let mut store = open(dir.path());
    assert_eq!(readings(&mut store), [1]);
    let now = now_us();
    batches(&mut store, 2..=3, now);
    pass(&mut store, now);
    assert_eq!(readings(&mut store), [1, 2, 3]);
    let day = files(dir.path(), "readings")[0].parent().unwrap().to_path_buf();
    assert!(crate::history::engine::folders::is_day(&day), "{}", day.display());
}

#[test]
fn files_from_before_a_wider_type_are_merged_with_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let of = |kind| Schema { tables: vec![table("readings", vec![column("dn", ColumnKind::Text), column("n", kind)], vec![])] };
    let (mut store, _) = open_with(dir.path(), &of(ColumnKind::Integer));
    let now = now_us();
    batches(&mut store, 1..=2, now);
    drop(store);
    let (mut store, _) = open_with(dir.path(), &of(ColumnKind::BigInt));
    batches(&mut store, 3..=4, now);
    assert_eq!(readings(&mut store), [1, 2, 3, 4]);
    for day in 0..3 {
        pass(&mut store, now + day * DAY_US);
    }
    assert_eq!(readings(&mut store), [1, 2, 3, 4]);
    assert!(files(dir.path(), "readings").len() <= 2, "{:?}", files(dir.path(), "readings"));
    drop(store);
    let (mut store, _) = open_with(dir.path(), &of(ColumnKind::Integer));
    let refused = ask(&mut store, "readings", "SELECT 1 FROM {}").unwrap_err();
    assert!(refused.text.contains("kept as int64"), "{}", refused.text);
}

#[test]
fn a_new_column_with_a_default_has_it_in_the_rows_that_were_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    batches(&mut store, 1..=1, now_us());
    drop(store);
    let mut unit = column("unit", ColumnKind::Text);
    (unit.default, unit.nullable) = (Some(text("it's °C")), false);
    let columns = vec![column("dn", ColumnKind::Text), column("n", ColumnKind::BigInt), unit];
    let (mut store, opened) = open_with(dir.path(), &Schema { tables: vec![table("readings", columns, vec![])] });
    assert!(opened.damage.is_empty());
    store.append("readings", vec![row(vec![text("a"), Cell::Integer(2), text("K")])], Seq(2), now_us()).unwrap();
    store.batch(Seq(2)).unwrap();
    pass(&mut store, now_us());
    assert_eq!(texts(&ask(&mut store, "readings", "SELECT unit FROM {} ORDER BY n").unwrap()), ["it's °C", "K"]);
}
