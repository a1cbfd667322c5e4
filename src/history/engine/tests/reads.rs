//! What queries see.

use super::*;
use arrow_schema::DataType;

stories! {
    rows_are_seen_before_any_batch,
    a_view_stays_as_it_was_while_a_batch_moves_its_rows,
    a_map_updates_only_the_columns_it_names,
    a_null_that_is_named_replaces_and_a_default_fills_only_a_new_key,
    a_deletion_reaches_the_rows_before_it_and_not_those_after,
    deletions_add_up_and_a_whole_file_may_go,
    a_deletion_that_fails_changes_nothing_and_says_why,
    the_past_shows_what_had_been_received_by_then,
    the_past_of_a_keyed_table_is_that_of_its_batches,
    before_the_first_snapshot_there_is_nothing_to_see,
    every_type_comes_back_as_it_went_in,
    no_rows_are_a_frame_without_rows,
    a_result_beyond_the_cap_is_an_error_and_not_cut,
    a_stopped_query_ends_with_an_answer,
    a_column_is_added_and_widened_and_old_rows_are_readable,
}

fn readings_table() -> Arc<Table> {
    schema().tables[0].clone()
}

fn state(dn: &str, mode: Option<&str>, level: Option<i128>) -> Row {
    Row {
        cells: vec![text(dn), mode.map_or(Cell::Null, text), level.map_or(Cell::Null, Cell::Integer)],
        named: vec![true, mode.is_some(), level.is_some()],
    }
}

fn states(store: &mut dyn Store) -> Vec<String> {
    let cols = "dn || ' ' || coalesce(mode, '-') || ' ' || coalesce(level::TEXT, '-') AS s";
    texts(&ask(store, &schema().tables[1], cols, "1=1 ORDER BY dn", None).unwrap())
}

fn in_lake(store: &dyn Store, table: &str) -> u64 {
    store.figures().into_iter().find(|figures| figures.name == table).unwrap().rows_in_lake
}

async fn rows_are_seen_before_any_batch(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    add(store.as_mut(), 1);
    assert_eq!(readings(store.as_mut()), [1]);
    add(store.as_mut(), 2);
    assert_eq!(readings(store.as_mut()), [1, 2]);
    store.batch(Seq(2)).unwrap();
    add(store.as_mut(), 3);
    assert_eq!(readings(store.as_mut()), [1, 2, 3]);
    assert_eq!((store.tail_rows(), store.covered()), (1, Seq(2)));
}

async fn a_view_stays_as_it_was_while_a_batch_moves_its_rows(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    (1..=5).for_each(|seq| add(store.as_mut(), seq));
    let view = store.pin("readings", None).unwrap().unwrap();
    store.batch(Seq(5)).unwrap();
    add(store.as_mut(), 6);
    assert!(store.in_use());
    let counted = run(view, &query(&readings_table(), "count(*)", ""), &settings(dir.path())).unwrap();
    assert_eq!(numbers(&frame(&counted)), [5]);
    assert!(!store.in_use());
    assert_eq!(readings(store.as_mut()).len(), 6);
}

async fn a_map_updates_only_the_columns_it_names(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    let put = |store: &mut dyn Store, seq: u64, row: Row| store.append("state", vec![row], Seq(seq), 0).unwrap();
    put(store.as_mut(), 1, state("a", Some("on"), None));
    put(store.as_mut(), 2, state("a", None, Some(5)));
    put(store.as_mut(), 3, state("b", None, Some(1)));
    assert_eq!(states(store.as_mut()), ["a on 5", "b - 1"]);
    store.batch(Seq(3)).unwrap();
    assert_eq!(states(store.as_mut()), ["a on 5", "b - 1"]);

    put(store.as_mut(), 4, state("a", Some("off"), None));
    put(store.as_mut(), 5, state("c", Some("new"), None));
    assert_eq!(states(store.as_mut()), ["a off 5", "b - 1", "c new -"]);
    store.batch(Seq(5)).unwrap();
    assert_eq!(states(store.as_mut()), ["a off 5", "b - 1", "c new -"]);
    assert_eq!(in_lake(store.as_ref(), "state"), 3);
    drop(store);
    assert_eq!(states(open(dir.path(), backend).as_mut()), ["a off 5", "b - 1", "c new -"]);
}

async fn a_null_that_is_named_replaces_and_a_default_fills_only_a_new_key(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    store.append("state", vec![state("a", Some("on"), Some(5))], Seq(1), 0).unwrap();
    store.batch(Seq(1)).unwrap();
    // The row builder puts the default into a column that is not named.
    let unnamed = |dn: &str| Row { cells: vec![text(dn), text("default"), Cell::Null], named: vec![true, false, true] };
    store.append("state", vec![unnamed("a"), unnamed("b")], Seq(2), 0).unwrap();
    assert_eq!(states(store.as_mut()), ["a on -", "b default -"]);
    store.batch(Seq(2)).unwrap();
    assert_eq!(states(store.as_mut()), ["a on -", "b default -"]);
}

async fn a_deletion_reaches_the_rows_before_it_and_not_those_after(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    (1..=5).for_each(|seq| add(store.as_mut(), seq));
    store.batch(Seq(5)).unwrap();
    delete(store.as_mut(), &readings_table(), "n < 3", 6).unwrap();
    store.append("readings", vec![reading("late", 1)], Seq(7), 0).unwrap();
    assert_eq!(readings(store.as_mut()), [1, 3, 4, 5]);
    assert_eq!((store.covered(), in_lake(store.as_ref(), "readings")), (Seq(6), 3));
    drop(store);
    assert_eq!(open(dir.path(), backend).covered(), Seq(6));
}

async fn deletions_add_up_and_a_whole_file_may_go(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    (1..=5).for_each(|seq| add(store.as_mut(), seq));
    store.batch(Seq(5)).unwrap();
    (6..=9).for_each(|seq| add(store.as_mut(), seq));
    store.batch(Seq(9)).unwrap();
    delete(store.as_mut(), &readings_table(), "n = 2", 10).unwrap();
    delete(store.as_mut(), &readings_table(), "n = 4 OR n = 7", 11).unwrap();
    assert_eq!(readings(store.as_mut()), [1, 3, 5, 6, 8, 9]);
    delete(store.as_mut(), &readings_table(), "n <= 5", 12).unwrap();
    assert_eq!(readings(store.as_mut()), [6, 8, 9]);
    assert_eq!(in_lake(store.as_ref(), "readings"), 3);
    drop(store);
    assert_eq!(readings(open(dir.path(), backend).as_mut()), [6, 8, 9]);
}

async fn a_deletion_that_fails_changes_nothing_and_says_why(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    add(store.as_mut(), 1);
    store.batch(Seq(1)).unwrap();
    let error = delete(store.as_mut(), &readings_table(), "CAST(dn AS INTEGER) = 1", 2).unwrap_err();
    assert!(format!("{error:?}").contains("Conversion Error"), "{error:?}");
    assert_eq!(readings(store.as_mut()), [1]);
    delete(store.as_mut(), &readings_table(), "", 3).unwrap();
    assert!(readings(store.as_mut()).is_empty());
}

async fn the_past_shows_what_had_been_received_by_then(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    let start = now_us();
    // Received at start + 1 s, 2 s, 3 s: after the table's first snapshot, which is now.
    for seq in 1..=3_u64 {
        let received = start + 1_000_000 * seq.cast_signed();
        store.append("readings", vec![reading("a", i128::from(seq))], Seq(seq), received).unwrap();
    }
    let seen =
        |store: &mut dyn Store, at: i64| numbers(&ask(store, &readings_table(), "n", "1=1 ORDER BY n", Some(at)).unwrap());
    assert_eq!(seen(store.as_mut(), start + 2_500_000), [1, 2], "in the tail");
    store.batch(Seq(3)).unwrap();
    let batched = now_us();
    assert_eq!(seen(store.as_mut(), start + 60_000_000), [1, 2, 3], "in the lake");
    delete(store.as_mut(), &readings_table(), "", 4).unwrap();
    assert_eq!(seen(store.as_mut(), batched), [1, 2, 3], "deleted since");
    assert_eq!(seen(store.as_mut(), now_us()), [0; 0]);
}

async fn the_past_of_a_keyed_table_is_that_of_its_batches(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    let seen = |store: &mut dyn Store, at: i64| texts(&ask(store, &schema().tables[1], "mode", "", Some(at)).unwrap());
    store.append("state", vec![state("a", Some("on"), None)], Seq(1), now_us()).unwrap();
    store.batch(Seq(1)).unwrap();
    let first = now_us();
    store.append("state", vec![state("a", Some("off"), None)], Seq(2), now_us()).unwrap();
    assert_eq!(seen(store.as_mut(), first), ["on"], "the tail is later");
    assert_eq!(seen(store.as_mut(), now_us()), ["off"], "now is now");
    store.batch(Seq(2)).unwrap();
    assert_eq!(seen(store.as_mut(), first), ["on"]);
    assert_eq!(seen(store.as_mut(), now_us()), ["off"]);
}

async fn before_the_first_snapshot_there_is_nothing_to_see(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    add(store.as_mut(), 1);
    let error = ask(store.as_mut(), &readings_table(), "n", "", Some(1_577_836_800_000_000)).unwrap_err();
    assert_eq!(error.text, "No snapshot found at timestamp 2020-01-01 00:00:00");
}

async fn every_type_comes_back_as_it_went_in(backend: Backend) {
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
    let known = &schema.tables[0];
    let (mut store, _) = open_with(dir.path(), backend, &schema);
    let cells: Vec<Cell> = kinds.iter().map(|(_, cell, _)| cell.clone()).collect();
    let nulls = vec![Cell::Null; cells.len()];
    store.append("select", vec![row(cells), row(nulls)], Seq(1), 0).unwrap();
    for step in ["tail", "lake"] {
        for (i, (kind, _, shown)) in kinds.iter().enumerate() {
            let found = ask(store.as_mut(), known, &format!("c{i}::TEXT AS c"), "1=1 ORDER BY 1 NULLS LAST", None).unwrap();
            assert_eq!(texts(&found), [*shown, "-"], "{kind:?} in the {step}");
        }
        let all = ask(store.as_mut(), known, "*", "", None).unwrap();
        assert_eq!(all[0].num_columns(), kinds.len(), "hidden columns stay hidden");
        let types: Vec<String> = all[0].schema().fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(
            types.join(" "),
            "Boolean Int8 Int16 Int32 Int64 Decimal128(38, 0) UInt8 UInt16 UInt32 UInt64 Decimal128(38, 0) Float32 Float64 Utf8 \
             Binary Date32 Timestamp(µs)"
        );
        if step == "tail" {
            store.batch(Seq(1)).unwrap();
        }
    }
    delete(store.as_mut(), known, "c5 > 5 AND c0", 2).unwrap();
    assert_eq!(in_lake(store.as_ref(), "select"), 1);
}

async fn no_rows_are_a_frame_without_rows(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    let view = store.pin("readings", None).unwrap().unwrap();
    let bytes = run(view, &query(&readings_table(), "*", ""), &settings(dir.path())).unwrap();
    let value: ciborium::Value = ciborium::from_reader(bytes.as_ref()).unwrap();
    let ciborium::Value::Tag(80, inner) = value else { panic!("not tag 80") };
    let stream = inner.into_bytes().unwrap();
    let reader = arrow_ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    let types: Vec<DataType> = reader.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Utf8, DataType::Int64]);
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 0);
}

async fn a_result_beyond_the_cap_is_an_error_and_not_cut(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    (1..=11).for_each(|seq| add(store.as_mut(), seq));
    let mut settings = settings(dir.path());
    settings.query_rows = 10;
    let mut limited = |limit: usize| {
        let view = store.pin("readings", None).unwrap().unwrap();
        run(view, &query(&readings_table(), "n", &format!("1=1 LIMIT {limit}")), &settings)
    };
    assert!(limited(10).is_ok());
    assert_eq!(limited(11).unwrap_err().text, "the result has more than 10 rows; narrow it");
}

async fn a_stopped_query_ends_with_an_answer(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), backend);
    store.append("readings", (0..200_000).map(|n| reading("a", n)).collect(), Seq(1), 0).unwrap();
    let settings = settings(dir.path());
    let view = store.pin("readings", None).unwrap().unwrap();
    let stop = view.stop();
    stop.now();
    let powers = (0..40).map(|n| format!("sum(pow(n, 1.{n:02}))")).collect::<Vec<_>>().join(", ");
    let query = query(&readings_table(), &powers, "");
    let worker = std::thread::spawn(move || run(view, &query, &settings));
    while !worker.is_finished() {
        stop.now();
        std::thread::yield_now();
    }
    assert_eq!(worker.join().unwrap().unwrap_err().text, "the query took longer than 30s");
    assert_eq!(readings(store.as_mut()).len(), 200_000);
}

async fn a_column_is_added_and_widened_and_old_rows_are_readable(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let narrow = [("n", ColumnKind::Integer), ("f", ColumnKind::Float), ("i", ColumnKind::Integer), ("d", ColumnKind::Date)];
    let narrow = table("t", narrow.iter().map(|(name, kind)| column(name, *kind)).collect(), vec![]);
    let (mut store, _) = open_with(dir.path(), backend, &Schema { tables: vec![narrow] });
    store.append("t", vec![row(vec![Cell::Integer(1), Cell::Float(0.5), Cell::Integer(7), Cell::Date(1)])], Seq(1), 0).unwrap();
    store.batch(Seq(1)).unwrap();
    drop(store);

    let mut extra = column("extra", ColumnKind::Text);
    extra.default = Some(text("none"));
    let wide = [("n", ColumnKind::BigInt), ("f", ColumnKind::Double), ("i", ColumnKind::Double), ("d", ColumnKind::Timestamp)];
    let wide = wide.iter().map(|(name, kind)| column(name, *kind)).chain([extra]).collect();
    let wide = table("t", wide, vec![]);
    let (mut store, _) = open_with(dir.path(), backend, &Schema { tables: vec![wide.clone()] });
    let cells = vec![Cell::Integer(1 << 40), Cell::Float(0.1), Cell::Float(7.5), Cell::Timestamp(5), text("x")];
    store.append("t", vec![row(cells)], Seq(2), 0).unwrap();
    for _ in ["tail", "lake"] {
        let all = ask(
            store.as_mut(),
            &wide,
            "n || ' ' || f || ' ' || (i + 1) || ' ' || d || ' ' || extra AS s",
            "n > 0 ORDER BY n",
            None,
        );
        let expected = ["1 0.5 8.0 1970-01-02 00:00:00 none", "1099511627776 0.1 8.5 1970-01-01 00:00:00.000005 x"];
        assert_eq!(texts(&all.unwrap()), expected);
        store.batch(Seq(2)).unwrap();
    }
    drop(store);

    let other = table("t", vec![column("n", ColumnKind::Text)], vec![]);
    let (store, _) = open_with(dir.path(), backend, &Schema { tables: vec![other] });
    assert_eq!(store.refused(), [("t", "column `n` is kept as int64, which the schema now wants as varchar")]);
}

/// Snapshots carry the machine's own time.
fn now_us() -> i64 {
    i64::try_from(crate::clock::SystemClock::shared().wall().0 / 1000).unwrap()
}
