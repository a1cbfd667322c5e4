use super::*;
use crate::history::model::{ColumnKind, Schema};
use crate::history::schema;
use crate::message::{Dialect, Payload, Qos};
use bytes::Bytes;
use ciborium::Value;
use serde_json::json;

mod frames;
mod values;

use values::as_kind;

pub(super) fn cbor(value: impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).unwrap();
    bytes
}

pub(super) fn demo() -> Schema {
    schema::parse(
        r#"{"tables": [
          {"table": "sensor", "topic": ":site/:type/:dn/sensor", "keys": ["dn"], "columns": [
            {"col": "site", "type": "TEXT", "nullable": false}, {"col": "type", "type": "TEXT", "nullable": false},
            {"col": "dn", "type": "TEXT"}, {"col": "note", "type": "TEXT", "default": "none"}]},
          {"table": "telemetry", "topic": ":dn/telemetry", "extras": {"recv_ts": "ts", "slot": "time_bucket"}, "columns": [
            {"col": "dn", "type": "TEXT"}, {"col": "temperature", "type": "DOUBLE"}, {"col": "pressure", "type": "DOUBLE"}]},
          {"table": "one", "columns": [{"col": "a", "type": "INTEGER"}]}]}"#,
    )
    .unwrap()
}

fn message(topic: &str, data: Vec<u8>) -> Message {
    let payload = Payload::Rembus(Bytes::from(data));
    Message::new(topic.into(), payload, Qos::AtLeastOnce, Wall(1_000), Dialect::Rembus, "dev".into())
}

/// What a publication of `data` on `topic` adds to its table.
fn published_bytes(topic: &str, data: Vec<u8>) -> Rows {
    let schema = demo();
    let (table, variables) = schema.table_for(topic).expect("a table");
    rows(table, &variables, &message(topic, data))
}

fn published(topic: &str, data: serde_json::Value) -> Rows {
    published_bytes(topic, cbor(data))
}

fn cells(rows: Rows) -> Vec<Cell> {
    assert_eq!(rows.rejects, []);
    assert_eq!(rows.rows.len(), 1);
    rows.rows.into_iter().next().unwrap().cells
}

fn refused(rows: &Rows) -> &Reject {
    assert_eq!(rows.rows, []);
    assert_eq!(rows.rejects.len(), 1);
    &rows.rejects[0]
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

const TS: Cell = Cell::Integer(1_000);

#[test]
fn a_map_fills_columns_by_name_and_the_topic_fills_the_rest() {
    let rows = published("dev1/telemetry", json!([{"temperature": 21.5, "pressure": 980, "unknown": [1]}]));
    assert_eq!(rows.rows[0].named, [true, true, true, true, false]);
    assert_eq!(cells(rows), [text("dev1"), Cell::Float(21.5), Cell::Float(980.0), TS, Cell::Null]);
}

#[test]
fn a_map_that_is_not_in_a_list_is_one_argument() {
    let rows = published("dev1/telemetry", json!({"temperature": 1}));
    assert_eq!(cells(rows)[1], Cell::Float(1.0));
}

#[test]
fn the_payload_wins_over_the_topic() {
    let rows = published("dev1/telemetry", json!([{"dn": "other"}]));
    assert_eq!(cells(rows)[0], text("other"));
}

#[test]
fn a_column_not_named_takes_its_default_and_says_so() {
    let rows = published("x/y/z/sensor", json!([{}]));
    assert_eq!(rows.rows[0].named, [true, true, true, false]);
    assert_eq!(cells(rows), [text("x"), text("y"), text("z"), text("none")]);
}

#[test]
fn an_explicit_null_is_kept_instead_of_the_default() {
    let rows = published("x/y/z/sensor", json!([{"note": null}]));
    assert_eq!(rows.rows[0].named, [true, true, true, true]);
    assert_eq!(cells(rows)[3], Cell::Null);
}

#[test]
fn an_empty_publication_on_a_matching_topic_is_an_empty_map() {
    assert_eq!(cells(published("s/t/d/sensor", json!([]))), [text("s"), text("t"), text("d"), text("none")]);
}

#[test]
fn an_empty_publication_without_variables_is_refused() {
    assert_eq!(refused(&published("sensor", json!([]))).cause, Cause::Shape);
    assert_eq!(refused(&published("/telemetry", json!([]))).cause, Cause::Shape);
}

#[test]
fn values_by_position_fill_every_column_and_ignore_the_topic() {
    let rows = published("telemetry", json!(["dev2", 1.5, 2.5]));
    assert_eq!(cells(rows), [text("dev2"), Cell::Float(1.5), Cell::Float(2.5), TS, Cell::Null]);
    let rows = published("dev1/telemetry", json!(["dev2", 1.5, null]));
    assert_eq!(cells(rows)[..3], [text("dev2"), Cell::Float(1.5), Cell::Null]);
    let short = published("dev1/telemetry", json!([1.5]));
    insta::assert_snapshot!(refused(&short), @"1 value given by position, but table `telemetry` has 3 columns");
    assert_eq!(cells(published("one", json!(7))), [Cell::Integer(7)]);
}

#[test]
fn the_slot_goes_into_its_column() {
    let schema = demo();
    let (table, variables) = schema.table_for("d/telemetry").unwrap();
    let mut message = message("d/telemetry", cbor(json!([{}])));
    message.slot = Some(1_795_208_400);
    let rows = rows(table, &variables, &message);
    assert!(rows.rows[0].named[4]);
    assert_eq!(rows.rows[0].cells[4], Cell::Integer(1_795_208_400));
}

#[test]
fn a_null_key_is_refused() {
    let rows = published("x/y/z/sensor", json!([{"dn": null}]));
    insta::assert_snapshot!(refused(&rows), @"column `dn`: a key is never null");
    let missing = published("sensor", json!([{"site": "x", "type": "y"}]));
    insta::assert_snapshot!(refused(&missing), @"column `dn`: no value, no topic variable and no default");
}

#[test]
fn not_null_is_kept_by_the_gateway_itself() {
    let rows = published("x/y/z/sensor", json!([{"site": null}]));
    assert_eq!(refused(&rows).cause, Cause::Null);
    insta::assert_snapshot!(refused(&rows), @"column `site`: null, but the column is NOT NULL");
}

#[test]
fn a_reason_never_tells_the_value() {
    let rows = published("d/telemetry", json!([{"temperature": "secret"}]));
    insta::assert_snapshot!(refused(&rows), @"column `temperature`: a text of 6 bytes does not become DOUBLE");
}

#[test]
fn the_last_of_a_repeated_name_wins_and_names_that_are_no_text_are_ignored() {
    let pairs = vec![
        (Value::from("temperature"), Value::from(1)),
        (Value::from(5), Value::from(6)),
        (Value::from("temperature"), Value::from(2)),
        (Value::Null, Value::Null),
    ];
    let rows = published_bytes("d/telemetry", cbor(Value::Map(pairs)));
    assert_eq!(cells(rows)[1], Cell::Float(2.0));
}

#[test]
fn the_case_of_names_counts_in_payloads() {
    let rows = published("d/telemetry", json!([{"Temperature": 1}]));
    assert_eq!(cells(rows)[1], Cell::Null);
}

#[test]
fn bytes_that_are_no_cbor_are_refused_with_the_place() {
    let rows = published_bytes("d/telemetry", vec![0x81, 0xa1, 0x61]);
    assert_eq!(refused(&rows).cause, Cause::Malformed);
    insta::assert_snapshot!(refused(&rows), @"the payload is not valid CBOR at byte 3");
}

#[test]
fn extras_are_the_gateway_s_and_not_the_payload_s() {
    let rows = published("d/telemetry", json!([{"ts": 5, "time_bucket": 6}]));
    assert_eq!(cells(rows)[3..], [TS, Cell::Null]);
}

#[test]
fn the_readme_s_mqtt_message_becomes_the_readme_s_row() {
    let schema = schema::parse(include_str!("../../../schemas/telemetry.json")).unwrap();
    let body = Bytes::from_static(br#"{"temperature":21.5,"pressure":980}"#);
    let topic = "dev1/telemetry".to_owned();
    let message = Message::new(topic, Payload::Mqtt(body), Qos::AtMostOnce, Wall(1_000), Dialect::Mqtt, "m".into());
    let (table, variables) = schema.table_for(&message.topic).unwrap();
    let expected = [text("dev1"), Cell::Float(21.5), Cell::Float(980.0), TS];
    assert_eq!(cells(rows(table, &variables, &message)), expected);
}

#[test]
fn what_mqtt_devices_send_instead_of_json_is_refused_with_a_reason() {
    let schema = demo();
    let refused_as = |body: &'static [u8]| {
        let topic = "dev1/telemetry".to_owned();
        let payload = Payload::Mqtt(Bytes::from_static(body));
        let message = Message::new(topic, payload, Qos::AtMostOnce, Wall(1_000), Dialect::Mqtt, "m".into());
        let (table, variables) = schema.table_for(&message.topic).unwrap();
        let rows = rows(table, &variables, &message);
        refused(&rows).cause
    };
    assert_eq!(refused_as(b"hello"), Cause::Shape);
    assert_eq!(refused_as(b"\xff\xfe"), Cause::Shape);
    assert_eq!(refused_as(b"21.5"), Cause::Shape);
    assert_eq!(refused_as(b"{\"temperature\": \"warm\"}"), Cause::Cast);
}

fn upserted(table: &str, object: serde_json::Value) -> Option<Rows> {
    let schema = demo();
    let bytes = cbor(object);
    records(schema.table(table).unwrap(), &Reader::single(&bytes).unwrap(), Wall(7))
}

#[test]
fn an_upserted_map_has_nulls_for_what_it_does_not_name() {
    let rows = upserted("telemetry", json!({"dn": "a", "bad": 1})).unwrap();
    assert_eq!(rows.rows[0].named, [true, false, false, true, false]);
    assert_eq!(cells(rows), [text("a"), Cell::Null, Cell::Null, Cell::Integer(7), Cell::Null]);
}

#[test]
fn defaults_are_not_for_upserts_and_keys_are_asked_for() {
    let rows = upserted("sensor", json!([{"dn": "a", "site": "s", "type": "t"}, {"site": "s", "type": "t"}, 5])).unwrap();
    assert_eq!(rows.rows[0].cells[3], Cell::Null);
    let texts: Vec<_> = rows.rejects.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["column `dn`: a key is never null", "an element of the list is an integer, not a map"]);
}

#[test]
fn only_maps_lists_and_frames_can_be_upserted() {
    assert_eq!(upserted("one", json!(1)), None);
    assert_eq!(upserted("one", json!(null)), None);
    assert_eq!(upserted("one", json!([])), Some(Rows::default()));
}

#[test]
fn a_list_of_a_million_empty_maps_is_refused_before_it_is_rows() {
    let schema = demo();
    let bytes = cbor(vec![Value::Map(vec![]); RECORDS_MAX + 1]);
    let rows = records(schema.table("one").unwrap(), &Reader::single(&bytes).unwrap(), Wall(7)).unwrap();
    insta::assert_snapshot!(refused(&rows), @"more than 100000 rows in one list");
}

#[test]
fn julia_s_long_integers_and_indefinite_lengths_are_read() {
    // [{"temperature": 21}] with every length indefinite and the integer in nine bytes.
    let bytes = b"\x9f\xbf\x7f\x64temp\x67erature\xff\x1b\0\0\0\0\0\0\0\x15\xff\xff".to_vec();
    assert_eq!(cells(published_bytes("d/telemetry", bytes))[1], Cell::Float(21.0));
}

#[test]
fn section_21_an_object_of_julia_is_nothing_but_the_values_it_is_written_with() {
    // 27(["Main.Danger", "x"]): a type's name and its fields.
    let bytes = b"\x81\xa1\x64note\xd8\x1b\x82\x6bMain.Danger\x61x";
    let mut data = b"\x81\xa3\x64site\x61s\x64type\x61t".to_vec();
    data.extend(&bytes[2..]);
    let rows = published_bytes("s/t/d/sensor", data);
    assert_eq!(cells(rows)[3], text(r#"["Main.Danger","x"]"#));
}

#[test]
fn half_floats_are_read() {
    assert_eq!(Reader::single(&[0xf9, 0x3c, 0x00]), Ok(Item::Float(1.0)));
    assert_eq!(Reader::single(&[0xf9, 0xc5, 0x40]), Ok(Item::Float(-5.25)));
    assert_eq!(Reader::single(&[0xf9, 0x00, 0x01]), Ok(Item::Float(2f64.powi(-24))));
    assert_eq!(Reader::single(&[0xf9, 0xfc, 0x00]), Ok(Item::Float(f64::NEG_INFINITY)));
    assert!(matches!(Reader::single(&[0xf9, 0x7e, 0x00]), Ok(Item::Float(nan)) if nan.is_nan()));
}

#[test]
fn lengths_that_lie_and_bottomless_nests_are_refused() {
    let huge = |major: u8| vec![major << 5 | 27, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for major in 2..=5 {
        assert!(Reader::single(&huge(major)).is_err(), "{major}");
    }
    assert!(Reader::single(&vec![0x81; 100_000]).is_err());
    assert!(Reader::single(&vec![0xc1; 100_000]).is_err());
    assert!(Reader::single(&vec![0x9f; 100_000]).is_err());
    // A break where none may be, an odd map, text that is no UTF-8, trailing bytes, reserved lengths.
    for bad in
        [&b"\xff"[..], b"\x81\xff", b"\xc1\xff", b"\xa1\x01\xff", b"\x61\xff", b"\x01\x01", b"\x1c", b"\x5f\x61a\xff", b"\x1f"]
    {
        assert!(Reader::single(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_odd_number_of_values_in_an_indefinite_map_is_refused() {
    let rows = published_bytes("d/telemetry", b"\xbf\x61a\xff".to_vec());
    assert_eq!(refused(&rows).cause, Cause::Malformed);
}

#[test]
fn sixty_million_nulls_cost_no_more_memory_than_they_take() {
    let mut data = vec![0x9f];
    data.resize(1_000_000, 0xf6);
    data.push(0xff);
    let Arguments { first, count } = arguments(&data, 4).unwrap();
    assert_eq!((first.len(), count), (4, 999_999));
}

fn any_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        (any::<u64>(), any::<i64>()).prop_map(|(tag, value)| Value::Tag(tag, Box::new(value.into()))),
        any::<Vec<u8>>().prop_map(|bytes| Value::Tag(80, Box::new(Value::Bytes(bytes)))),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        drop(published_bytes("d/telemetry", bytes.clone()));
        drop(published_bytes("s/t/d/sensor", bytes));
    }

    #[test]
    fn every_publication_is_rows_or_reasons(value in any_value()) {
        for topic in ["d/telemetry", "telemetry", "s/t/d/sensor", "one"] {
            let rows = published_bytes(topic, cbor(&value));
            proptest::prop_assert!(!rows.rows.is_empty() || !rows.rejects.is_empty());
        }
    }

    #[test]
    fn what_ciborium_writes_is_read_as_it_reads_it(value in any_value()) {
        let bytes = cbor(&value);
        if let Ok(item) = Reader::single(&bytes) {
            let same = match (&item, &value) {
                (Item::Text(text), Value::Text(expected)) => text == expected,
                (Item::Integer(number), Value::Integer(expected)) => *number == i128::from(*expected),
                (Item::Float(number), Value::Float(expected)) => number == expected || expected.is_nan(),
                (Item::Bytes(bytes), Value::Bytes(expected)) => bytes.as_ref() == expected,
                (Item::List(raw), Value::Array(list)) => {
                    let mut children = Children::of(raw);
                    let mut count = 0;
                    while let Ok(Some(_)) = children.next_item() { count += 1; }
                    count == list.len()
                }
                _ => true,
            };
            proptest::prop_assert!(same, "{:?} is not {:?}", item, value);
        }
    }
}

/// `cargo test --release --lib row::tests::rate -- --ignored --nocapture`; the target is 60,000 rows/s on a slow core.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "measures the machine")]
fn rate() {
    let schema = demo();
    let data = cbor(json!([{"temperature": 21.5, "pressure": 980}]));
    let count = 1_000_000_u32;
    let start = std::time::Instant::now();
    let mut kept = 0;
    for _ in 0..count {
        let message = message("dev1/telemetry", data.clone());
        let (table, variables) = schema.table_for(&message.topic).unwrap();
        kept += rows(table, &variables, &message).rows.len();
    }
    let took = start.elapsed().as_secs_f64();
    println!("{kept} rows by name, {:.0} rows/s", f64::from(count) / took);
}
