//! For `fuzz/`: rows out of any payload, and out of any Arrow frame.

use super::{row, schema};
use crate::clock::Wall;
use crate::message::{Dialect, Message, Payload, Qos};
use bytes::Bytes;
use ciborium::Value;

/// Every type of column, so that each reader of a frame's columns is met.
const SCHEMA: &str = r#"{"tables": [{"table": "t", "topic": ":dn/t", "keys": ["dn"],
  "extras": {"recv_ts": "ts", "slot": "time_bucket"}, "columns": [
    {"col": "dn", "type": "TEXT", "nullable": false}, {"col": "a", "type": "BOOLEAN"}, {"col": "b", "type": "TINYINT"},
    {"col": "c", "type": "UBIGINT"}, {"col": "d", "type": "DOUBLE"}, {"col": "e", "type": "TIMESTAMP"},
    {"col": "f", "type": "BLOB"}, {"col": "g", "type": "TEXT", "default": "none"}, {"col": "h", "type": "FLOAT"},
    {"col": "i", "type": "DATE"}]}]}"#;

/// A frame's dictionaries can name rows that have no bytes of their own; this is the reader's own limit.
const ROWS_MAX: usize = 1_000_000;

/// The rows of a publication with this payload, or with a frame of these bytes; must return.
pub fn rows_of(is_frame: bool, bytes: &[u8]) {
    let schema = schema::parse(SCHEMA).expect("the schema above is one");
    let (table, variables) = schema.table_for("dev/t").expect("the topic above is its");
    let mut data = bytes.to_vec();
    if is_frame {
        data.clear();
        let frame = Value::Array(vec![Value::Tag(80, Box::new(Value::Bytes(bytes.to_vec())))]);
        ciborium::into_writer(&frame, &mut data).expect("memory takes everything");
    }
    let payload = Payload::Rembus(Bytes::from(data));
    let message = Message::new("dev/t".into(), payload, Qos::AtLeastOnce, Wall(1_000), Dialect::Rembus, "dev".into());
    let rows = row::rows(table, &variables, &message);
    assert!(rows.rows.len() <= ROWS_MAX);
    assert!(rows.rows.iter().all(|row| row.cells.len() == table.columns.len()));
    drop(row::records(table, &row::Item::Frame(bytes.into()), Wall(1_000)));
}
