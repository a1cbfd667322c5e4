//! Frames: those that real clients sent, those that arrow writes, and those that nobody should.

use super::*;
use crate::history::model::{Column, Table};
use arrow_array::types::Int8Type;
use arrow_array::*;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use std::sync::Arc;

fn table(columns: &[(&str, ColumnKind)]) -> Table {
    let column = |(name, kind): &(&str, ColumnKind)| Column {
        name: (*name).to_owned(),
        kind: *kind,
        nullable: true,
        default: None,
        source: ColumnSource::Payload,
    };
    Table {
        name: "t".into(),
        topic: Vec::new(),
        columns: columns.iter().map(column).collect(),
        keys: Vec::new(),
        delete_topic: None,
        limits: Default::default(),
    }
}

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    batches(&[batch])
}

fn batches(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn read(table: &Table, stream: &[u8]) -> Rows {
    let extras = Extras { received: Wall(5), slot: None };
    frame::rows(table, stream, extras, Absent::Refused)
}

/// The only column's cells.
fn column(kind: ColumnKind, array: ArrayRef) -> Vec<Cell> {
    let rows = read(&table(&[("a", kind)]), &stream(vec![("a", array)]));
    assert_eq!(rows.rejects, []);
    rows.rows.into_iter().map(|row| row.cells.into_iter().next().unwrap()).collect()
}

/// The Arrow stream in a recorded message, wherever it is.
fn frame_in(item: &Item<'_>) -> Option<Vec<u8>> {
    match item {
        Item::Frame(stream) => Some(stream.to_vec()),
        Item::List(raw) => {
            let mut children = Children::of(raw);
            while let Ok(Some(child)) = children.next_item() {
                if let Some(stream) = frame_in(&child) {
                    return Some(stream);
                }
            }
            None
        }
        _ => None,
    }
}

fn vectors() -> Vec<serde_json::Value> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../../tests/vectors/rembus.json")).unwrap();
    file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "dataframe").cloned().collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap()).collect()
}

fn recorded(name: &str) -> Vec<u8> {
    let vector = vectors().into_iter().find(|vector| vector["name"] == name).unwrap();
    let message = bytes_of(vector["hex"].as_str().unwrap());
    frame_in(&Reader::single(&message).unwrap()).unwrap()
}

/// `$dataframe` somewhere in a meaning.
fn meaning(value: &serde_json::Value) -> Option<&serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map.get("$dataframe").or_else(|| map.values().find_map(meaning)),
        serde_json::Value::Array(list) => list.iter().find_map(meaning),
        _ => None,
    }
}

fn kind_of(polars: &str) -> Option<ColumnKind> {
    Some(match polars {
        "Int8" => ColumnKind::TinyInt,
        "Int16" => ColumnKind::SmallInt,
        "Int32" => ColumnKind::Integer,
        "Int64" => ColumnKind::BigInt,
        "UInt8" => ColumnKind::UTinyInt,
        "UInt16" => ColumnKind::USmallInt,
        "UInt32" => ColumnKind::UInteger,
        "UInt64" => ColumnKind::UBigInt,
        "Float32" => ColumnKind::Float,
        "Float64" => ColumnKind::Double,
        "String" => ColumnKind::Text,
        "Boolean" => ColumnKind::Boolean,
        "Binary" => ColumnKind::Blob,
        "Date" => ColumnKind::Date,
        datetime if datetime.starts_with("Datetime") => ColumnKind::Timestamp,
        _ => return None,
    })
}

#[test]
fn every_recorded_frame_is_read_as_its_client_meant_it() {
    let mut compared = 0;
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let Some(frame) = meaning(&vector["meaning"]) else { continue };
        let columns: Vec<(&str, Option<ColumnKind>)> = frame["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c[0].as_str().unwrap(), kind_of(c[1].as_str().unwrap())))
            .collect();
        let known: Vec<(&str, ColumnKind)> = columns.iter().filter_map(|(name, kind)| Some((*name, (*kind)?))).collect();
        let rows = read(&table(&known), &recorded(name));
        if name.ends_with("lz4") {
            assert_eq!(rows.rejects[0].text, "the frame is compressed, which is not supported");
            continue;
        }
        assert_eq!(rows.rejects, [], "{name}");
        let expected = frame["rows"].as_array().unwrap();
        assert_eq!(rows.rows.len(), expected.len(), "{name}");
        for (row, expected) in rows.rows.iter().zip(expected) {
            let values = columns.iter().zip(expected.as_array().unwrap()).filter(|((_, kind), _)| kind.is_some());
            for ((cell, (_, kind)), (_, expected)) in row.cells.iter().zip(&known).zip(values) {
                let bytes = match (expected.get("$bytes"), expected.get("$int")) {
                    (Some(hex), _) => cbor(Value::Bytes(bytes_of(hex.as_str().unwrap()))),
                    (_, Some(digits)) => cbor(digits),
                    _ => cbor(expected),
                };
                assert_eq!(Ok(cell.clone()), as_kind(&bytes, *kind), "{name}");
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "{compared} values were compared");
}

#[test]
fn the_example_frame_of_integers_goes_into_double_columns() {
    let schema = demo();
    let stream = Value::Tag(80, Box::new(Value::Bytes(recorded("dataframe/polars-telemetry"))));
    let rows = published_bytes("telemetry", cbor(vec![stream.clone()]));
    assert_eq!(rows.rows.len(), 2);
    assert_eq!(rows.rows[0].cells, [text("s1"), Cell::Float(15.0), Cell::Float(900.0), TS, Cell::Null]);
    // The whole data may be the tag as well, and a call's record is it always.
    assert_eq!(published_bytes("telemetry", cbor(&stream)).rows.len(), 2);
    let bytes = cbor(&stream);
    let upserted = records(schema.table("telemetry").unwrap(), &Reader::single(&bytes).unwrap(), Wall(7)).unwrap();
    assert_eq!(upserted.rows[1].cells[3], Cell::Integer(7));
}

#[test]
fn a_frame_names_every_column_or_is_refused() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let bytes = stream(vec![("a", array), ("extra", Arc::new(Int64Array::from(vec![2])))]);
    assert_eq!(read(&table(&[("a", ColumnKind::Integer)]), &bytes).rows.len(), 1);
    let rows = read(&table(&[("a", ColumnKind::Integer), ("b", ColumnKind::Integer)]), &bytes);
    insta::assert_snapshot!(refused(&rows), @"column `b`: not in the frame");
    let extras = Extras { received: Wall(5), slot: None };
    let upsert = frame::rows(&table(&[("b", ColumnKind::Integer), ("a", ColumnKind::Integer)]), &bytes, extras, Absent::Null);
    assert_eq!(upsert.rows[0].cells, [Cell::Null, Cell::Integer(1)]);
    assert_eq!(upsert.rows[0].named, [false, true]);
}

#[test]
fn a_frame_may_bring_its_own_extras() {
    let schema = demo();
    let bytes = stream(vec![
        ("ts", Arc::new(Int64Array::from(vec![77]))),
        ("dn", Arc::new(StringArray::from(vec!["x"]))),
        ("temperature", Arc::new(Float32Array::from(vec![1.5]))),
        ("pressure", Arc::new(NullArray::new(1))),
    ]);
    let rows = read(schema.table("telemetry").unwrap(), &bytes);
    assert_eq!(rows.rows[0].cells, [text("x"), Cell::Float(1.5), Cell::Null, Cell::Integer(77), Cell::Null]);
}

#[test]
fn one_bad_row_of_a_frame_costs_one_row() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1 << 40), None, Some(2), Some(1 << 41)]));
    let rows = read(&table(&[("a", ColumnKind::Integer)]), &stream(vec![("a", array)]));
    assert_eq!(rows.rows.len(), 3);
    let reject = &rows.rejects[0];
    assert_eq!((rows.rejects.len(), reject.rows, reject.cause), (1, 2, Cause::Cast));
    insta::assert_snapshot!(reject, @"column `a`: an integer is out of range for INTEGER");
}

#[test]
fn text_is_read_in_all_its_forms() {
    let long = "a text longer than twelve bytes";
    let words = vec![Some("x"), None, Some(long), Some("")];
    let expected = [text("x"), Cell::Null, text(long), text("")];
    assert_eq!(column(ColumnKind::Text, Arc::new(StringArray::from(words.clone()))), expected);
    assert_eq!(column(ColumnKind::Text, Arc::new(LargeStringArray::from(words.clone()))), expected);
    assert_eq!(column(ColumnKind::Text, Arc::new(StringViewArray::from(words.clone()))), expected);
    let dictionary: DictionaryArray<Int8Type> = words.into_iter().collect();
    assert_eq!(column(ColumnKind::Text, Arc::new(dictionary)), expected);
}

#[test]
fn bytes_are_read_in_all_their_forms() {
    let words: Vec<Option<&[u8]>> = vec![Some(b"\0\xff"), None, Some(b"a blob longer than twelve bytes")];
    let expected = [Cell::Blob(vec![0, 255]), Cell::Null, Cell::Blob(words[2].unwrap().to_vec())];
    assert_eq!(column(ColumnKind::Blob, Arc::new(BinaryArray::from(words.clone()))), expected);
    assert_eq!(column(ColumnKind::Blob, Arc::new(LargeBinaryArray::from(words.clone()))), expected);
    assert_eq!(column(ColumnKind::Blob, Arc::new(BinaryViewArray::from(words))), expected);
    let fixed = FixedSizeBinaryArray::try_from_iter([[1_u8, 2], [3, 4]].iter()).unwrap();
    assert_eq!(column(ColumnKind::Blob, Arc::new(fixed)), [Cell::Blob(vec![1, 2]), Cell::Blob(vec![3, 4])]);
}

#[test]
fn times_are_read_in_every_unit_and_dates_in_both() {
    let at = [Cell::Timestamp(1_500_000), Cell::Timestamp(-1_000_000)];
    assert_eq!(column(ColumnKind::Timestamp, Arc::new(TimestampMillisecondArray::from(vec![1_500, -1_000]))), at);
    assert_eq!(column(ColumnKind::Timestamp, Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, -1_000_000]))), at);
    let nanos = TimestampNanosecondArray::from(vec![1_500_000_999, -1_000_000_000]).with_timezone("Europe/Rome");
    assert_eq!(column(ColumnKind::Timestamp, Arc::new(nanos)), at);
    assert_eq!(column(ColumnKind::Timestamp, Arc::new(TimestampSecondArray::from(vec![2]))), [Cell::Timestamp(2_000_000)]);
    assert_eq!(column(ColumnKind::Date, Arc::new(Date32Array::from(vec![-1, 19_724]))), [Cell::Date(-1), Cell::Date(19_724)]);
    assert_eq!(column(ColumnKind::Date, Arc::new(Date64Array::from(vec![86_400_000]))), [Cell::Date(1)]);
    assert_eq!(column(ColumnKind::Text, Arc::new(Date32Array::from(vec![0]))), [text("1970-01-01")]);
}

#[test]
fn numbers_of_every_width_and_booleans_are_read() {
    assert_eq!(column(ColumnKind::BigInt, Arc::new(Int8Array::from(vec![-1]))), [Cell::Integer(-1)]);
    assert_eq!(column(ColumnKind::BigInt, Arc::new(Int16Array::from(vec![-300]))), [Cell::Integer(-300)]);
    assert_eq!(column(ColumnKind::UBigInt, Arc::new(UInt64Array::from(vec![u64::MAX]))), [Cell::Integer(u64::MAX.into())]);
    assert_eq!(column(ColumnKind::Float, Arc::new(Float32Array::from(vec![0.1]))), [Cell::Float(f64::from(0.1_f32))]);
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    assert_eq!(column(ColumnKind::Boolean, flags), [Cell::Boolean(true), Cell::Null, Cell::Boolean(false)]);
}

#[test]
fn several_batches_and_none_are_read() {
    let batch = |values: Vec<i64>| RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap();
    let table = table(&[("a", ColumnKind::Integer)]);
    let rows = read(&table, &batches(&[batch(vec![1, 2]), batch(vec![]), batch(vec![3])]));
    assert_eq!(rows.rows.iter().map(|row| row.cells[0].clone()).collect::<Vec<_>>(), [1, 2, 3].map(Cell::Integer));
    assert_eq!(read(&table, &batches(&[batch(vec![])])), Rows::default());
}

#[test]
fn columns_that_cannot_be_stored_are_passed_over_unless_the_table_wants_them() {
    let list = ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>([Some([Some(1), None]), None]);
    let words = DictionaryArray::<Int8Type>::from_iter(["u", "v"]);
    let parts = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Utf8View, true)),
        Arc::new(StringViewArray::from(vec!["a text longer than twelve bytes", "b"])) as ArrayRef,
    )]);
    let bytes = stream(vec![
        ("list", Arc::new(list)),
        ("parts", Arc::new(parts)),
        ("words", Arc::new(words)),
        ("d", Arc::new(Decimal128Array::from(vec![1, 2]))),
        ("a", Arc::new(Int32Array::from(vec![5, 6]))),
        ("v", Arc::new(StringViewArray::from(vec!["another text of many bytes", "c"]))),
    ]);
    let rows = read(&table(&[("v", ColumnKind::Text), ("a", ColumnKind::Integer)]), &bytes);
    assert_eq!(rows.rejects, []);
    assert_eq!(rows.rows[1].cells, [text("c"), Cell::Integer(6)]);
    let refused_rows = read(&table(&[("list", ColumnKind::Text)]), &bytes);
    insta::assert_snapshot!(refused(&refused_rows), @"column `list`: the frame's column has a type that cannot be stored");
}

#[test]
fn what_is_no_stream_is_refused_whole() {
    let table = table(&[("a", ColumnKind::Integer)]);
    let whole = stream(vec![("a", Arc::new(Int64Array::from(vec![1, 2, 3])))]);
    let why = |bytes: &[u8]| refused(&read(&table, bytes)).text.clone();
    insta::assert_snapshot!(why(b""), @"the frame ends inside its schema");
    insta::assert_snapshot!(why(b"hello"), @"the frame ends inside its metadata");
    insta::assert_snapshot!(why(&recorded("dataframe/arrow-file-format")), @"the frame is in Arrow's file format, only the stream format is read");
    for cut in 1..whole.len() - 8 {
        let rows = read(&table, &whole[..cut]);
        assert!(rows.rows.is_empty() || rows.rejects.is_empty(), "cut at {cut}: half a frame is nothing");
    }
}

#[test]
fn a_frame_of_nothing_but_a_row_count_is_refused() {
    let schema = Arc::new(ArrowSchema::new(vec![Field::new("a", DataType::Null, true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(NullArray::new(50_000_000))]).unwrap();
    let rows = read(&table(&[("a", ColumnKind::Integer)]), &batches(&[batch]));
    insta::assert_snapshot!(refused(&rows), @"the frame has 50000000 rows, more than its size allows");
}

#[test]
fn a_dictionary_that_would_fill_the_memory_is_refused() {
    let entry = "x".repeat(1 << 20);
    let keys = Int8Array::from(vec![0; 1_000]);
    let values: ArrayRef = Arc::new(StringArray::from(vec![entry.as_str()]));
    let dictionary = DictionaryArray::<Int8Type>::new(keys, values);
    let rows = read(&table(&[("a", ColumnKind::Text)]), &stream(vec![("a", Arc::new(dictionary))]));
    insta::assert_snapshot!(refused(&rows), @"the frame's texts take more than 67108864 bytes when written out");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(2_000))]
    #[test]
    fn a_damaged_frame_never_panics(damage in proptest::collection::vec((0_usize..2_000, proptest::prelude::any::<u8>()), 1..4)) {
        let words: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a text longer than twelve bytes"), None]));
        let dictionary: DictionaryArray<Int8Type> = vec![Some("u"), None].into_iter().collect();
        let mut bytes = stream(vec![
            ("a", Arc::new(Int64Array::from(vec![1, 2]))),
            ("s", Arc::new(StringArray::from(vec!["x", "y"]))),
            ("w", words),
            ("d", Arc::new(dictionary)),
            ("n", Arc::new(NullArray::new(2))),
            ("t", Arc::new(TimestampSecondArray::from(vec![1, 2]))),
        ]);
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let columns = [
            ("a", ColumnKind::BigInt), ("s", ColumnKind::Text), ("w", ColumnKind::Text), ("d", ColumnKind::Text),
            ("n", ColumnKind::Integer), ("t", ColumnKind::Timestamp),
        ];
        drop(read(&table(&columns), &bytes));
    }
}

#[test]
fn a_frame_whose_rows_would_take_more_memory_than_there_is_for_them_is_refused() {
    let columns: Vec<_> = (0..40).map(|n| format!("c{n}")).collect();
    let wide: Vec<_> = columns.iter().map(|name| (name.as_str(), ColumnKind::TinyInt)).collect();
    let frame = stream(vec![("c0", Arc::new(Int8Array::from(vec![1; 900_000])) as ArrayRef)]);
    assert!(frame.len() < 1_100_000);
    let rows = frame::rows(&table(&wide), &frame, Extras { received: Wall(5), slot: None }, Absent::Null);
    assert_eq!(rows.rows.len(), 0);
    insta::assert_snapshot!(rows.rejects[0], @"its rows would take more than 128 MiB of memory; send them in parts");
}

#[test]
fn a_frame_has_only_so_many_columns() {
    let column = Arc::new(BooleanArray::from(vec![true])) as ArrayRef;
    let names: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    let frame = stream(names.iter().map(|name| (name.as_str(), Arc::clone(&column))).collect());
    let rows = read(&table(&[("0", ColumnKind::Boolean)]), &frame);
    insta::assert_snapshot!(rows.rejects[0], @"the frame has too many columns");
}
