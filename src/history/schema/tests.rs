use super::*;
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind, ColumnSource};

const README: &str = include_str!("../../../schemas/telemetry.json");

fn errors(text: &str) -> String {
    parse(text).expect_err("a schema with mistakes").to_string()
}

fn warnings(text: &str) -> String {
    let (_, warnings) = parse_with_warnings(text).expect("a schema that works");
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn one(table: &str) -> String {
    format!("{{\"tables\": [{table}]}}")
}

/// A table with these columns and whatever else, on one line.
fn with(columns: &str, more: &str) -> String {
    one(&format!("{{\"table\": \"t\", \"columns\": [{columns}]{more}}}"))
}

#[test]
fn the_readme_s_schema_stores_what_the_readme_publishes() {
    let (schema, warnings) = parse_with_warnings(README).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let (table, variables) = schema.table_for("dev1/telemetry").unwrap();
    assert_eq!(table.name, "telemetry");
    assert_eq!(variables, [("dn".to_owned(), "dev1".to_owned())]);
    let names: Vec<_> = table.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
    let expected = [
        ("dn", ColumnKind::Text),
        ("temperature", ColumnKind::Double),
        ("pressure", ColumnKind::Double),
        ("ts", ColumnKind::UBigInt),
    ];
    assert_eq!(names, expected);
    assert_eq!(methods(&schema), ["delete_telemetry", "latest_telemetry", "query_telemetry", "tables", "upsert_telemetry"]);
}

#[test]
fn the_example_of_the_protocol_is_read_whole() {
    let schema = parse(
        r#"{"tables": [{
          "table": "telemetry", "topic": ":dn/telemetry",
          "columns": [{"col": "dn", "type": "TEXT"},
                      {"col": "temperature", "type": "DOUBLE", "nullable": true, "default": 0.0}],
          "keys": ["dn"],
          "extras": {"recv_ts": "ts", "slot": "time_bucket"},
          "delete_topic": "telemetry/delete"}]}"#,
    )
    .unwrap();
    let table = &schema.tables[0];
    assert_eq!(table.keys, [0]);
    assert_eq!(table.columns[1].default, Some(Cell::Float(0.0)));
    let sources: Vec<_> = table.columns.iter().map(|column| (column.source, column.nullable)).collect();
    let expected = [
        (ColumnSource::Payload, true),
        (ColumnSource::Payload, true),
        (ColumnSource::ReceiveTime, false),
        (ColumnSource::Slot, true),
    ];
    assert_eq!(sources, expected);
    assert_eq!(schema.delete_table_for("telemetry/delete").unwrap().name, "telemetry");
}

#[test]
fn topics_find_their_tables_as_the_reference_has_it() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/rembus.json")).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    let schema = parse(
        r#"{"tables": [
          {"table": "sensor", "topic": ":site/:type/:dn/sensor", "keys": ["dn"], "columns": [
            {"col": "site", "type": "TEXT", "nullable": false}, {"col": "type", "type": "TEXT", "nullable": false},
            {"col": "dn", "type": "TEXT"}]},
          {"table": "telemetry", "topic": ":dn/telemetry", "extras": {"recv_ts": "ts", "slot": "time_bucket"}, "columns": [
            {"col": "dn", "type": "TEXT"}, {"col": "temperature", "type": "DOUBLE"}, {"col": "pressure", "type": "DOUBLE"}]},
          {"table": "alarm", "columns": [{"col": "name", "type": "TEXT"}]}]}"#,
    )
    .unwrap();
    let mut seen = 0;
    for vector in vectors.iter().filter(|vector| vector["kind"] == "schema-topic") {
        let topic = vector["topic"].as_str().unwrap();
        let found = schema.table_for(topic);
        assert_eq!(found.as_ref().map(|(table, _)| table.name.as_str()), vector["table"].as_str(), "{topic}");
        let variables = found.map(|(_, variables)| variables).unwrap_or_default();
        let expected = vector["variables"].as_object().unwrap();
        assert_eq!(variables.len(), expected.len(), "{topic}");
        assert!(variables.iter().all(|(name, value)| expected[name] == value.as_str()), "{topic}");
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn the_first_table_of_the_file_that_matches_takes_the_topic() {
    let schema = parse(
        r#"{"tables": [
          {"table": "a", "topic": ":x/t", "columns": [{"col": "x", "type": "TEXT"}]},
          {"table": "b", "topic": "b/t", "columns": [{"col": "x", "type": "TEXT"}]},
          {"table": "c", "topic": "d/:x", "columns": [{"col": "x", "type": "TEXT"}]}]}"#,
    )
    .unwrap();
    let name = |topic| schema.table_for(topic).map(|(table, _)| table.name.as_str());
    assert_eq!(name("b/t"), Some("a"));
    assert_eq!(name("d/t"), Some("a"));
    assert_eq!(name("d/u"), Some("c"));
    // A topic that is a table's name, whatever its pattern; the case counts, as in every topic.
    assert_eq!(name("c"), Some("c"));
    assert_eq!(name("C"), None);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = r#"{"tables": [
  {
    "table": "2fast",
    "topic": ":/x",
    "columns": [
      {"col": "dn", "type": "TXET"},
      {"col": "DN", "type": "TEXT"},
      {"col": "_seq", "type": "INTEGER"},
      {"type": "INTEGER"},
      {"col": "price", "type": "DECIMAL(10,2)"},
      {"col": "level-1", "type": "INTEGER", "default": "low", "nullable": "yes"}
    ],
    "keys": ["nd"],
    "extras": {"received": "ts", "slot": "dn"}
  },
  {"tabel": "x"},
  7
]}"#;
    insta::assert_snapshot!(errors(text));
}

#[test]
fn broken_json_is_one_mistake_with_its_place() {
    insta::assert_snapshot!(errors("{\"tables\": [\n  {\"table\": \"t\",}\n]}"), @"2:17: this is not JSON: trailing comma");
    insta::assert_snapshot!(errors(""), @"1:1: this is not JSON: EOF while parsing a value");
    insta::assert_snapshot!(errors("[]"), @"1:1: expected an object with `tables`, found a list");
}

#[test]
fn what_has_no_effect_is_said_and_starts_anyway() {
    let text = r#"{"version": 1, "tables": [
  {"table": "t", "topic": "a/+/:nd", "format": "dataframe", "colums": [],
   "columns": [{"col": "dn", "type": "TEXT", "nulable": false}]},
  {"table": "u", "topic": "a/+/:dn", "columns": [{"col": "dn", "type": "TEXT"}]}
]}"#;
    insta::assert_snapshot!(warnings(text));
}

#[test]
fn names_must_be_identifiers() {
    for bad in ["", "a b", "a\\\"b", "a;drop", "é", "1a", "_recv", "_SEQ"] {
        let columns = format!(r#"{{"col": "{bad}", "type": "TEXT"}}"#);
        assert!(parse(&with(&columns, "")).is_err(), "{bad}");
    }
    let column = |name: &str| format!(r#"{{"col": "{name}", "type": "TEXT"}}"#);
    assert!(parse(&with(&column(&"a".repeat(63)), "")).is_ok());
    assert!(parse(&with(&column(&"a".repeat(64)), "")).is_err());
    assert!(parse(&with(&column("order"), "")).is_ok(), "words of SQL are fine, names are always quoted");
}

#[test]
fn tables_have_different_names_and_columns_do_too() {
    let column = r#"{"col": "a", "type": "TEXT"}"#;
    let two =
        one(&format!(r#"{{"table": "t", "columns": [{column}]}}, {{"table": "T", "topic": "x", "columns": [{column}]}}"#));
    insta::assert_snapshot!(errors(&two), @"1:82: tables[1].table: there is already a table `t`, and names that differ only in case are the same");
    let twice = with(column, r#", "extras": {"recv_ts": "A"}"#);
    insta::assert_snapshot!(errors(&twice), @"1:93: tables[0].extras.recv_ts: there is already a column `a`, and names that differ only in case are the same");
}

#[test]
fn a_default_must_fit_its_column() {
    let with_default =
        |kind: &str, default: &str| with(&format!(r#"{{"col": "a", "type": "{kind}", "default": {default}}}"#), "");
    let cell = |kind, default| parse(&with_default(kind, default)).map(|schema| schema.tables[0].columns[0].default.clone());
    assert_eq!(cell("INTEGER", "2.7"), Ok(Some(Cell::Integer(3))));
    assert_eq!(cell("TEXT", "7"), Ok(Some(Cell::Text("7".into()))));
    assert_eq!(cell("BOOLEAN", "true"), Ok(Some(Cell::Boolean(true))));
    assert_eq!(cell("TIMESTAMP", "\"2024-01-02 03:04:05\""), Ok(Some(Cell::Timestamp(1_704_164_645_000_000))));
    assert_eq!(cell("UBIGINT", "18446744073709551615"), Ok(Some(Cell::Integer(u64::MAX.into()))));
    assert_eq!(cell("INTEGER", "null"), Ok(None));
    let wrong = with_default("UTINYINT", "300");
    insta::assert_snapshot!(errors(&wrong), @"1:84: tables[0].columns[0].default: an integer is out of range for UTINYINT");
    assert!(cell("TEXT", "[1]").is_err());
}

#[test]
fn a_key_twice_in_one_object_is_a_mistake() {
    let text = one(r#"{"table": "t", "table": "u", "columns": [{"col": "a", "type": "TEXT"}]}"#);
    insta::assert_snapshot!(errors(&text), @"1:28: tables[0].table: `table` is given twice");
}

#[test]
fn a_schema_without_tables_keeps_nothing_and_is_fine() {
    assert_eq!(parse("{\"tables\": []}").unwrap().table_for("a").map(|(table, _)| table.name.clone()), None);
    insta::assert_snapshot!(errors("{}"), @"
    1:1: `tables` is missing
      hint: write {\"tables\": […]}
    ");
}

proptest::proptest! {
    #[test]
    fn whatever_the_file_says_the_check_ends(
        name in r#"[a-zA-Z_:/ é"\\]{0,8}"#, kind in "[A-Z()0-9,]{0,10}", default in r#"(null|[0-9.e-]{1,6}|"[a-z]*")"#,
    ) {
        let name = serde_json::Value::from(name);
        let text = format!(
            r#"{{"tables": [{{"table": {name}, "topic": {name}, "columns": [{{"col": {name}, "type": "{kind}", "default": {default}}}],
               "keys": [{name}], "extras": {{"slot": {name}}}}}]}}"#
        );
        match parse(&text) {
            Ok(schema) => proptest::prop_assert!(schema.tables.iter().all(|table| !table.name.is_empty())),
            Err(errors) => proptest::prop_assert!(!errors.0.is_empty()),
        }
    }

    #[test]
    fn a_topic_matches_as_one_thinks_of_it(topic in "[ab/]{0,6}") {
        let schema = parse(r#"{"tables": [{"table": "t", "topic": "a/:x/b", "columns": [{"col": "x", "type": "TEXT"}]}]}"#).unwrap();
        let segments: Vec<&str> = topic.split('/').collect();
        let expected = matches!(segments.as_slice(), ["a", _, "b"]);
        let found = schema.table_for(&topic);
        proptest::prop_assert_eq!(found.is_some(), expected);
        if let Some((_, variables)) = found {
            let value = segments[1];
            proptest::prop_assert_eq!(variables.first().map(|(_, value)| value.as_str()), (!value.is_empty()).then_some(value));
        }
    }
}

#[test]
fn what_editors_are_told_is_what_the_gateway_takes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/telemetry.schema.json");
    let editors: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let keys = |of: &str| editors["$defs"][of]["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let nulls = |keys: Vec<String>, given: &[&str]| {
        let rest = keys.into_iter().filter(|key| !given.contains(&key.as_str()));
        rest.map(|key| format!(r#", "{key}": null"#)).collect::<String>()
    };
    let table = nulls(keys("table"), &["table", "columns", "format"]);
    let column = nulls(keys("column"), &["col", "type", "nullable"]);
    let text = format!(
        r#"{{"$schema": "x", "tables": [{{"table": "t"{table}, "columns": [{{"col": "a", "type": "TEXT", "nullable": true{column}}}]}}]}}"#
    );
    let (_, warnings) = parse_with_warnings(&text).unwrap();
    assert_eq!(warnings, [], "{text}");
    for name in editors["$defs"]["column"]["properties"]["type"]["examples"].as_array().unwrap() {
        assert!(kind::parse(name.as_str().unwrap()).is_some(), "{name}");
    }
}

#[test]
fn a_table_may_have_limits_of_its_own() {
    let of = |limits: &str| {
        parse(&format!(r#"{{"tables": [{{"table": "t", "columns": [{{"col": "a", "type": "TEXT"}}], {limits}}}]}}"#))
    };
    let schema = of(r#""retention": "90d", "max_size": "8GiB", "when_full": "evict-oldest""#).unwrap();
    let limits = schema.tables[0].limits;
    assert_eq!(limits.age, Some(std::time::Duration::from_secs(90 * 24 * 3600)));
    assert_eq!((limits.bytes, limits.when_full), (Some(8 << 30), Some(crate::history::model::WhenFull::EvictOldest)));
    for wrong in [r#""retention": "5m""#, r#""retention": 90"#, r#""max_size": "100""#, r#""when_full": "evict""#] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
}
