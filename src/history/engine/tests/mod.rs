//! Stories of the engine, and what those of the stores share.

mod damage;
mod gateway;
mod measure;

use crate::disk::SystemDisk;
use crate::history::model::{CallError, Cell, Column, ColumnKind, ColumnSource, Limits, Row, Schema, Table, TopicSegment};
use crate::history::settings::Settings;
use crate::message::Seq;
use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::history::engine) const LOG: u64 = 0xabcd_0000_0000_0001;

pub(in crate::history::engine) fn settings(dir: &Path) -> Settings {
    let history = crate::config::History {
        schema: None,
        batch_interval: Duration::from_secs(3600),
        batch_rows: 20_000,
        memory_limit: 128 << 20,
        query_timeout: Duration::from_secs(30),
        query_rows: 1_000_000,
        limits: Limits::default(),
        maintenance: Duration::from_secs(3600),
        snapshots: Duration::from_secs(7 * 24 * 3600),
    };
    Settings::new(dir, &history)
}

pub(in crate::history::engine) fn column(name: &str, kind: ColumnKind) -> Column {
    Column { name: name.to_owned(), kind, nullable: true, default: None, source: ColumnSource::Payload }
}

pub(in crate::history::engine) fn table(name: &str, columns: Vec<Column>, keys: Vec<usize>) -> Arc<Table> {
    let topic = vec![TopicSegment::Literal(name.to_owned())];
    Arc::new(Table { name: name.to_owned(), topic, columns, keys, delete_topic: None, limits: Limits::default() })
}

/// `readings(dn TEXT, n BIGINT)`, appended; `state(dn TEXT, mode TEXT, level BIGINT)` by `dn`.
pub(in crate::history::engine) fn schema() -> Schema {
    let readings = vec![column("dn", ColumnKind::Text), column("n", ColumnKind::BigInt)];
    let state = vec![column("dn", ColumnKind::Text), column("mode", ColumnKind::Text), column("level", ColumnKind::BigInt)];
    Schema { tables: vec![table("readings", readings, vec![]), table("state", state, vec![0])] }
}

pub(in crate::history::engine) fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

pub(in crate::history::engine) fn row(cells: Vec<Cell>) -> Row {
    let named = vec![true; cells.len()];
    Row { cells, named }
}

pub(in crate::history::engine) fn reading(dn: &str, n: i128) -> Row {
    row(vec![text(dn), Cell::Integer(n)])
}

/// What a client does with an answer.
pub(in crate::history::engine) fn frame(bytes: &[u8]) -> Vec<RecordBatch> {
    let value: ciborium::Value = ciborium::from_reader(bytes).unwrap();
    let ciborium::Value::Tag(80, inner) = value else { panic!("not tag 80") };
    let stream = inner.into_bytes().unwrap();
    arrow_ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every value of the first column, an integer, in order.
pub(in crate::history::engine) fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Every value of the first column, a text; null is `-`.
pub(in crate::history::engine) fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let column = batch.column(0).as_string::<i32>();
        all.extend((0..column.len()).map(|i| if column.is_null(i) { "-".to_owned() } else { column.value(i).to_owned() }));
    }
    all
}
