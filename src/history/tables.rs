//! The answer of `tables`: one map for each table of the schema.
//!
//! ```text
//! {"table": "telemetry", "topic": ":dn/telemetry", "columns": [{"name": "dn", "type": "TEXT", "nullable": false}, …],
//!  "keys": [], "time": "ts", "rows": 1234, "first": "2026-11-21T12:00:00", "last": "2026-11-21T13:00:00", "bytes": 56789}
//! ```
//! `time` is the column by which rows are found by time, null where that is the hidden receive time. `rows`, `first` and `last`
//! are as of the call, `bytes` what the table's files take in the lake. A table that cannot be read has `error` instead.

use super::kind;
use super::model::{CallError, Column, Table, TopicSegment};
use super::sql;
use crate::mapping;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// One table; `figures` is the answer to [`Query::figures`](super::sql::Query::figures).
pub(super) fn describe(table: &Table, figures: Result<Bytes, CallError>, bytes: Option<u64>) -> Value {
    let segment = |segment: &TopicSegment| match segment {
        TopicSegment::Literal(text) => text.clone(),
        TopicSegment::Variable(name) => format!(":{name}"),
    };
    let column = |column: &Column| json!({"name": column.name, "type": kind::name(column.kind), "nullable": column.nullable});
    let name = |place: &usize| table.columns.get(*place).map(|column| column.name.as_str());
    let mut all = Map::new();
    all.insert("table".into(), table.name.as_str().into());
    all.insert("topic".into(), table.topic.iter().map(segment).collect::<Vec<_>>().join("/").into());
    all.insert("columns".into(), table.columns.iter().map(column).collect());
    all.insert("keys".into(), table.keys.iter().filter_map(name).collect());
    all.insert("time".into(), sql::time_column(table).into());
    match figures {
        Ok(frame) => {
            let rows: Value = serde_json::from_str(&mapping::cbor_to_json(&frame)).unwrap_or_default();
            all.extend(rows.get(0).and_then(Value::as_object).cloned().unwrap_or_default());
            all.insert("bytes".into(), bytes.into());
        }
        Err(error) => drop(all.insert("error".into(), error.text.into())),
    }
    Value::Object(all)
}
