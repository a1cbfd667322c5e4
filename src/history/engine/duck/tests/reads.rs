//! What queries see.

use super::*;
use crate::history::engine::store::{DeleteError, View};
use arrow_schema::DataType;

fn state(dn: &str, mode: Option<&str>, level: Option<i128>) -> Row {
    Row {
        cells: vec![text(dn), mode.map_or(Cell::Null, text), level.map_or(Cell::Null, Cell::Integer)],
        named: vec![true, mode.is_some(), level.is_some()],
    }
}

fn states(store: &mut Lake) -> Vec<String> {
    let select = "SELECT dn || ' ' || coalesce(mode, '-') || ' ' || coalesce(level::TEXT, '-') FROM {} ORDER BY dn";
    texts(&ask(store, "state", select).unwrap())
}

fn delete(store: &mut Lake, table: &str, condition: &str, seq: u64) -> Result<(), DeleteError> {
    let predicate = predicate(store, table, condition);
    store.delete(table, &predicate, Seq(seq), None)
}

#[test]
fn rows_are_seen_before_any_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 1);
    assert_eq!(readings(&mut store), [1]);
    add(&mut store, 2);
    assert_eq!(readings(&mut store), [1, 2]);
    store.batch(Seq(2)).unwrap();
    add(&mut store, 3);
    assert_eq!(readings(&mut store), [1, 2, 3]);
    assert_eq!((store.tail_rows(), store.covered()), (1, Seq(2)));
}

#[test]
fn a_view_stays_as_it_was_while_a_batch_moves_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (1..=5).for_each(|seq| add(&mut store, seq));
    let pinned = store.pinned("readings", None).unwrap().unwrap();
    store.batch(Seq(5)).unwrap();
    add(&mut store, 6);
    assert!(store.in_use());
    let sql = format!("SELECT count(*) FROM {}", pinned.relation);
    let counted = pinned.run_whole(&sql, vec![], &settings(dir.path())).unwrap();
    assert_eq!(numbers(&frame(&counted)), [5]);
    assert!(!store.in_use());
    assert_eq!(readings(&mut store).len(), 6);
}

#[test]
fn a_map_updates_only_the_columns_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let put = |store: &mut Lake, seq: u64, row: Row| store.append("state", vec![row], Seq(seq), 0).unwrap();
    put(&mut store, 1, state("a", Some("on"), None));
    put(&mut store, 2, state("a", None, Some(5)));
    put(&mut store, 3, state("b", None, Some(1)));
    assert_eq!(states(&mut store), ["a on 5", "b - 1"]);
    store.batch(Seq(3)).unwrap();
    assert_eq!(states(&mut store), ["a on 5", "b - 1"]);

    put(&mut store, 4, state("a", Some("off"), None));
    put(&mut store, 5, state("c", Some("new"), None));
    assert_eq!(states(&mut store), ["a off 5", "b - 1", "c new -"]);
    store.batch(Seq(5)).unwrap();
    assert_eq!(states(&mut store), ["a off 5", "b - 1", "c new -"]);
    assert_eq!(store.usable()[1].rows_in_lake, 3);
    drop(store);
    assert_eq!(states(&mut open(dir.path())), ["a off 5", "b - 1", "c new -"]);
}

#[test]
fn a_null_that_is_named_replaces_and_a_default_fills_only_a_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.append("state", vec![state("a", Some("on"), Some(5))], Seq(1), 0).unwrap();
    store.batch(Seq(1)).unwrap();
    // The row builder puts the default into a column that is not named.
    let unnamed = |dn: &str| Row { cells: vec![text(dn), text("default"), Cell::Null], named: vec![true, false, true] };
    store.append("state", vec![unnamed("a"), unnamed("b")], Seq(2), 0).unwrap();
    assert_eq!(states(&mut store), ["a on -", "b default -"]);
    store.batch(Seq(2)).unwrap();
    assert_eq!(states(&mut store), ["a on -", "b default -"]);
}

#[test]
fn a_deletion_reaches_the_rows_before_it_and_not_those_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (1..=5).for_each(|seq| add(&mut store, seq));
    store.batch(Seq(5)).unwrap();
    delete(&mut store, "readings", "n < 3", 6).unwrap();
    store.append("readings", vec![reading("late", 1)], Seq(7), 0).unwrap();
    assert_eq!(readings(&mut store), [1, 3, 4, 5]);
    assert_eq!((store.covered(), store.usable()[0].rows_in_lake), (Seq(6), 3));
    drop(store);
    assert_eq!(open(dir.path()).covered(), Seq(6));
}

#[test]
fn a_deletion_that_fails_changes_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 1);
    store.batch(Seq(1)).unwrap();
    let error = delete(&mut store, "readings", "CAST(dn AS INTEGER) = 1", 2).unwrap_err();
    assert!(format!("{error:?}").contains("Conversion Error"), "{error:?}");
    assert_eq!(readings(&mut store), [1]);
    delete(&mut store, "readings", "", 3).unwrap();
    assert!(readings(&mut store).is_empty());
}

#[test]
fn the_past_shows_what_had_been_received_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let second = Duration::from_secs(1);
    let start = now_us();
    // Received at start + 1 s, 2 s, 3 s: after the table's first snapshot, which is now.
    for seq in 1..=3 {
        store
            .append("readings", vec![reading("a", i128::from(seq))], Seq(seq), start + us(second) * seq.cast_signed())
            .unwrap();
    }
    let seen = |store: &mut Lake, at: i64| {
        let batches = ask_at(store, "readings", "SELECT n FROM {} ORDER BY n", Some(at)).unwrap();
        numbers(&batches)
    };
    assert_eq!(seen(&mut store, start + 2_500_000), [1, 2], "in the tail");
    store.batch(Seq(3)).unwrap();
    let batched = now_us();
    assert_eq!(seen(&mut store, start + us(second) * 60), [1, 2, 3], "in the lake");
    delete(&mut store, "readings", "", 4).unwrap();
    assert_eq!(seen(&mut store, batched), [1, 2, 3], "deleted since");
    assert_eq!(seen(&mut store, now_us()), [0; 0]);
}

#[test]
fn the_past_of_a_keyed_table_is_that_of_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let seen = |store: &mut Lake, at: i64| texts(&ask_at(store, "state", "SELECT mode FROM {}", Some(at)).unwrap());
    store.append("state", vec![state("a", Some("on"), None)], Seq(1), now_us()).unwrap();
    store.batch(Seq(1)).unwrap();
    let first = now_us();
    store.append("state", vec![state("a", Some("off"), None)], Seq(2), now_us()).unwrap();
    assert_eq!(seen(&mut store, first), ["on"], "the tail is later");
    assert_eq!(seen(&mut store, now_us()), ["off"], "now is now");
    store.batch(Seq(2)).unwrap();
    assert_eq!(seen(&mut store, first), ["on"]);
    assert_eq!(seen(&mut store, now_us()), ["off"]);
}

#[test]
fn before_the_first_snapshot_there_is_nothing_to_see() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 1);
    let error = ask_at(&mut store, "readings", "SELECT n FROM {}", Some(1_577_836_800_000_000)).unwrap_err();
    assert_eq!(error.text, "No snapshot found at timestamp 2020-01-01 00:00:00");
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = [
        (ColumnKind::Boolean, Cell::Boolean(true), "true"),
        (ColumnKind::TinyInt, Cell::Integer(-128), "-128"),
        (ColumnKind::SmallInt, Cell::Integer(-32768), "-32768"),
        (ColumnKind::Integer, Cell::Integer(-2_147_483_648), "-2147483648"),
        (ColumnKind::BigInt, Cell::Integer(i64::MIN.into()), "-9223372036854775808"),
        (ColumnKind::HugeInt, Cell::Integer(i128::MAX), "170141183460469231731687303715884105727"),
        (ColumnKind::UTinyInt, Cell::Integer(255), "255"),
        (ColumnKind::USmallInt, Cell::Integer(65535), "65535"),
        (ColumnKind::UInteger, Cell::Integer(4_294_967_295), "4294967295"),
        (ColumnKind::UBigInt, Cell::Integer(u64::MAX.into()), "18446744073709551615"),
        (ColumnKind::UHugeInt, Cell::Integer(i128::MAX), "170141183460469231731687303715884105727"),
        (ColumnKind::Float, Cell::Float(1.5), "1.5"),
        (ColumnKind::Double, Cell::Float(0.1), "0.1"),
        (ColumnKind::Text, text("naïve 'quote'"), "naïve 'quote'"),
        (ColumnKind::Blob, Cell::Blob(vec![0, 255]), "\\x00\\xFF"),
        (ColumnKind::Date, Cell::Date(18262), "2020-01-01"),
        (ColumnKind::Timestamp, Cell::Timestamp(1_577_836_800_000_001), "2020-01-01 00:00:00.000001"),
    ];
    let columns = kinds.iter().enumerate().map(|(i, (kind, ..))| column(&format!("c{i}"), *kind)).collect();
    let schema = Schema { tables: vec![table("select", columns, vec![])] };
    let (mut store, _) = open_with(dir.path(), &schema);
    let cells: Vec<Cell> = kinds.iter().map(|(_, cell, _)| cell.clone()).collect();
    let nulls = vec![Cell::Null; cells.len()];
    store.append("select", vec![row(cells), row(nulls)], Seq(1), 0).unwrap();
    for step in ["tail", "lake"] {
        for (i, (kind, _, shown)) in kinds.iter().enumerate() {
            let select = format!("SELECT c{i}::TEXT FROM {{}} ORDER BY 1 NULLS LAST");
            assert_eq!(texts(&ask(&mut store, "select", &select).unwrap()), [*shown, "-"], "{kind:?} in the {step}");
        }
        let all = ask(&mut store, "select", "SELECT * EXCLUDE (_recv) FROM {}").unwrap();
        assert_eq!(all[0].num_columns(), kinds.len(), "only the receive time is there for queries to use");
        if step == "tail" {
            store.batch(Seq(1)).unwrap();
        }
    }
    delete(&mut store, "select", "c5 > 5 AND c0", 2).unwrap();
    assert_eq!(store.usable()[0].rows_in_lake, 1);
}

#[test]
fn no_rows_are_a_frame_without_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let pinned = store.pinned("readings", None).unwrap().unwrap();
    let sql = format!("SELECT * EXCLUDE (_recv) FROM {}", pinned.relation);
    let bytes = pinned.run_whole(&sql, vec![], &settings(dir.path())).unwrap();
    let value: ciborium::Value = ciborium::from_reader(bytes.as_ref()).unwrap();
    let ciborium::Value::Tag(80, inner) = value else { panic!("not tag 80") };
    let stream = inner.into_bytes().unwrap();
    let reader = arrow_ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    let types: Vec<DataType> = reader.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Utf8, DataType::Int64]);
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 0);
}

#[test]
fn a_result_beyond_the_cap_is_an_error_and_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (1..=11).for_each(|seq| add(&mut store, seq));
    let mut settings = settings(dir.path());
    settings.query_rows = 10;
    let mut run = |limit: usize| {
        let pinned = store.pinned("readings", None).unwrap().unwrap();
        let sql = format!("SELECT n FROM {} LIMIT {limit}", pinned.relation);
        pinned.run_whole(&sql, vec![], &settings)
    };
    assert!(run(10).is_ok());
    assert_eq!(run(11).unwrap_err().text, "the result has more than 10 rows; narrow it");
}

#[test]
fn a_stopped_query_ends_with_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.append("readings", (0..20_000).map(|n| reading("a", n)).collect(), Seq(1), 0).unwrap();
    let settings = settings(dir.path());
    let pinned = store.pinned("readings", None).unwrap().unwrap();
    let stop = View::stop(&pinned);
    let sql = format!("SELECT sum(a.n * b.n) FROM {0}, {0} AS b(d, n)", pinned.relation.replace(" AS \"readings\"", ""))
        .replacen(", (", " AS a, (", 1);
    let worker = std::thread::spawn(move || pinned.run_whole(&sql, vec![], &settings));
    while !worker.is_finished() {
        stop.now();
        std::thread::yield_now();
    }
    assert_eq!(worker.join().unwrap().unwrap_err().text, "the query took longer than 30s");
    assert_eq!(readings(&mut store).len(), 20_000);
}

#[test]
fn statements_can_reach_nothing_but_the_lake() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for sql in
        ["SELECT * FROM read_text('/etc/hostname')", "COPY (SELECT 1) TO '/tmp/leak.csv'", "SET threads = 9", "INSTALL httpfs"]
    {
        let error = ask(&mut store, "readings", sql).unwrap_err();
        assert!(error.text.contains("disabled by configuration") || error.text.contains("locked"), "{sql}: {}", error.text);
    }
}

#[test]
fn a_query_larger_than_the_memory_limit_spills() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.memory_limit = 64 << 20;
    let (mut store, _) = Lake::open(&settings, &schema(), SystemDisk::shared(), LOG).unwrap();
    let pinned = store.pinned("readings", None).unwrap().unwrap();
    // Some 100 MB to sort.
    let sql = "SELECT count(*) FROM (SELECT t, row_number() OVER (ORDER BY t) n FROM \
               (SELECT repeat(hash(i)::TEXT, 5) t FROM range(1000000) r(i))) WHERE n % 2 = 0 AND t > ''";
    let answer = pinned.run_whole(sql, vec![], &settings).unwrap();
    assert_eq!(numbers(&frame(&answer)), [500_000]);
}

#[test]
fn a_column_is_added_and_a_changed_type_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    add(&mut store, 1);
    store.batch(Seq(1)).unwrap();
    drop(store);

    let wider = vec![column("dn", ColumnKind::Text), column("n", ColumnKind::BigInt), column("extra", ColumnKind::Text)];
    let (mut store, _) = open_with(dir.path(), &Schema { tables: vec![table("readings", wider, vec![])] });
    store.append("readings", vec![row(vec![text("a"), Cell::Integer(2), text("x")])], Seq(2), 0).unwrap();
    store.batch(Seq(2)).unwrap();
    assert_eq!(texts(&ask(&mut store, "readings", "SELECT extra FROM {} ORDER BY n").unwrap()), ["-", "x"]);
    drop(store);

    // A column that the schema no longer has stays in the lake, out of sight.
    let mut store = open(dir.path());
    add(&mut store, 3);
    store.batch(Seq(3)).unwrap();
    assert_eq!(readings(&mut store), [1, 2, 3]);
    drop(store);

    let other = vec![column("dn", ColumnKind::Text), column("n", ColumnKind::Text)];
    let fine = vec![column("x", ColumnKind::Text)];
    let tables = vec![
        table("readings", other, vec![]),
        table("fine", fine, vec![]),
        table("bad", vec![column("_SEQ", ColumnKind::Text)], vec![]),
    ];
    let (mut store, _) = open_with(dir.path(), &Schema { tables });
    let error = ask(&mut store, "readings", "SELECT 1 FROM {}").unwrap_err();
    assert_eq!(
        error.text,
        "table readings is not available: column `n` is kept as int64, which the schema now wants as varchar"
    );
    assert!(ask(&mut store, "bad", "SELECT 1 FROM {}").is_err());
    assert!(ask(&mut store, "fine", "SELECT 1 FROM {}").is_ok());
    assert_eq!(store.refused().len(), 2);
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}

/// Snapshots carry the machine's own time.
fn now_us() -> i64 {
    i64::try_from(crate::clock::SystemClock::shared().wall().0 / 1000).unwrap()
}
