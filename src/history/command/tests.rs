use super::*;
use crate::history::model::Cell;
use crate::history::schema;
use serde_json::json;

fn demo() -> Schema {
    schema::parse(
        r#"{"tables": [
          {"table": "sensor", "keys": ["dn"], "extras": {"recv_ts": "ts", "slot": "s"}, "columns": [
            {"col": "dn", "type": "TEXT"}, {"col": "site", "type": "TEXT", "default": "none"}, {"col": "n", "type": "INTEGER"}]},
          {"table": "delete_me", "columns": [{"col": "a", "type": "INTEGER", "nullable": false}]}]}"#,
    )
    .unwrap()
}

const NOW: Wall = Wall(1_000);

fn cbor(value: impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).unwrap();
    bytes
}

fn call(method: &str, data: serde_json::Value) -> Result<Command, CallError> {
    Command::prepare(&demo(), method, &cbor(data), NOW)
}

fn upserted(data: serde_json::Value) -> Vec<Row> {
    match call("upsert_sensor", data).unwrap().action {
        Action::Upsert(rows) => rows,
        Action::Delete(_) => panic!("an upsert"),
    }
}

fn refused(method: &str, data: serde_json::Value) -> String {
    let error = call(method, data).unwrap_err();
    assert_eq!(error.status.0, 40);
    error.text
}

#[test]
fn a_command_comes_back_from_the_log_as_it_went_in() {
    let calls = [
        ("delete_sensor", json!([{"where": "n > 5 and site = 'x'"}])),
        ("delete_sensor", json!([])),
        ("upsert_sensor", json!([{"dn": "a", "n": 1}, {"nulls": true}])),
        ("upsert_delete_me", json!([[{"a": 1}, {"a": 2}]])),
    ];
    for (method, data) in calls {
        let command = call(method, data).unwrap();
        let again = Command::decode(&demo(), &command.encode()).unwrap();
        assert_eq!(again.action, command.action);
        assert_eq!((again.table.name.as_str(), again.received), (command.table.name.as_str(), NOW));
        assert_eq!(again.encode(), command.encode());
    }
}

#[test]
fn the_format_of_the_record_does_not_change_by_accident() {
    let command = call("delete_sensor", json!([{"where": "n=1"}])).unwrap();
    insta::assert_snapshot!(command.encode().escape_ascii(), @r"\x01\x01\xe8\x03\x00\x00\x00\x00\x00\x00\x06sensor\x81\xa1ewherecn=1");
}

#[test]
fn a_command_for_a_table_that_is_gone_is_an_error_and_no_panic() {
    let body = call("delete_sensor", json!([])).unwrap().encode();
    let empty = schema::parse("{\"tables\": []}").unwrap();
    assert_eq!(Command::decode(&empty, &body).unwrap_err(), CommandError::TableGone("sensor".into()));
    let other = r#"{"tables": [{"table": "sensor", "columns": [{"col": "dn", "type": "TEXT"}]}]}"#;
    let body = call("delete_sensor", json!([{"where": "n=1"}])).unwrap().encode();
    let error = Command::decode(&schema::parse(other).unwrap(), &body).unwrap_err();
    insta::assert_snapshot!(error, @"the command does not fit the schema any more: where: there is no column `n` in table `sensor`; its columns are dn");
}

#[test]
fn records_that_are_cut_or_newer_are_errors() {
    let body = call("upsert_sensor", json!([{"dn": "a"}])).unwrap().encode();
    for cut in 0..body.len() {
        assert!(Command::decode(&demo(), &body[..cut]).is_err(), "{cut}");
    }
    let mut newer = body.clone();
    newer[0] = 2;
    assert_eq!(Command::decode(&demo(), &newer).unwrap_err(), CommandError::Version(2));
    let mut odd = body;
    odd[1] = 9;
    assert_eq!(Command::decode(&demo(), &odd).unwrap_err(), CommandError::Invalid("action"));
}

#[test]
fn upserted_rows_name_what_they_change_and_are_dated() {
    let rows = upserted(json!([{"dn": "a", "n": "7", "unknown": 1}]));
    assert_eq!(rows.len(), 1);
    let cells = [Cell::Text("a".into()), Cell::Null, Cell::Integer(7), Cell::Integer(1_000), Cell::Null];
    assert_eq!(rows[0].cells, cells);
    assert_eq!(rows[0].named, [true, false, true, true, false]);
}

#[test]
fn a_null_changes_nothing_unless_it_is_asked_for() {
    assert_eq!(upserted(json!([{"dn": "a", "n": null}]))[0].named, [true, false, false, true, false]);
    assert_eq!(upserted(json!([{"dn": "a", "n": null}, {"nulls": true}]))[0].named, [true; 5]);
    assert!(!upserted(json!([{"dn": "a", "n": null}, {"nulls": false, "other": 1}]))[0].named[2]);
    assert!(!upserted(json!([{"dn": "a"}, null]))[0].named[2]);
}

#[test]
fn an_upsert_is_done_whole_or_not_at_all() {
    insta::assert_snapshot!(refused("upsert_sensor", json!([[{"dn": "a"}, {"dn": "b", "n": "x"}]])),
        @"upsert failed: column `n`: a text of 1 byte does not become INTEGER");
    insta::assert_snapshot!(refused("upsert_sensor", json!([{"site": "x"}])), @"upsert failed: column `dn`: a key is never null");
    insta::assert_snapshot!(refused("upsert_delete_me", json!([{"bad": 1}])), @"upsert failed: column `a`: null, but the column is NOT NULL");
    insta::assert_snapshot!(refused("upsert_sensor", json!([1])), @"upsert failed: invalid record type: an integer");
    insta::assert_snapshot!(refused("upsert_sensor", json!([])), @"upsert failed: the record is missing");
    insta::assert_snapshot!(refused("upsert_sensor", json!([{}, 5])), @"upsert failed: options are a map, not an integer");
    insta::assert_snapshot!(refused("upsert_sensor", json!([{}, {"nulls": 1}])), @"upsert failed: option nulls is true or false, not an integer");
    insta::assert_snapshot!(refused("upsert_sensor", json!([{}, {}, {}])), @"upsert failed: a record and options are possible, 3 arguments were given");
}

#[test]
fn nothing_to_upsert_is_fine() {
    assert_eq!(upserted(json!([[]])), []);
}

#[test]
fn methods_of_no_table_are_not_found() {
    for method in ["query_sensor", "delete_nothing", "upsert_", "delete_Sensor", "truncate_sensor", ""] {
        assert_eq!(call(method, json!([])).unwrap_err().status.0, 42, "{method}");
    }
    // A table may be called like a method.
    assert_eq!(call("delete_delete_me", json!([])).unwrap().table.name, "delete_me");
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(body: Vec<u8>, data: Vec<u8>) {
        drop(Command::decode(&demo(), &body));
        let mut framed = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 6];
        framed.extend_from_slice(b"sensor");
        framed.extend_from_slice(&data);
        drop(Command::decode(&demo(), &framed));
        drop(Command::prepare(&demo(), "delete_sensor", &data, NOW));
        drop(crate::history::sql::Query::parse(&demo().tables[0], &data, Wall(0)));
    }
}
