//! Stories with the real DuckDB.

mod crash;
mod gateway;
mod measure;
mod reads;

use super::store::{Opened, Store};
use crate::disk::SystemDisk;
use crate::history::model::{CallError, Cell, Column, ColumnKind, ColumnSource, Row, Schema, Table, TopicSegment};
use crate::history::settings::Settings;
use crate::message::Seq;
use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) const LOG: u64 = 0xabcd_0000_0000_0001;

pub(super) fn settings(dir: &Path) -> Settings {
    let history = crate::config::History {
        schema: None,
        batch_interval: Duration::from_secs(3600),
        batch_rows: 20_000,
        memory_limit: 128 << 20,
        query_timeout: Duration::from_secs(30),
        query_rows: 1_000_000,
    };
    Settings::new(dir, &history)
}

pub(super) fn column(name: &str, kind: ColumnKind) -> Column {
    Column { name: name.to_owned(), kind, nullable: true, default: None, source: ColumnSource::Payload }
}

pub(super) fn table(name: &str, columns: Vec<Column>, keys: Vec<usize>) -> Arc<Table> {
    let topic = vec![TopicSegment::Literal(name.to_owned())];
    Arc::new(Table { name: name.to_owned(), topic, columns, keys, delete_topic: None })
}

/// `readings(dn TEXT, n BIGINT)`, appended; `state(dn TEXT, mode TEXT, level BIGINT)` by `dn`.
pub(super) fn schema() -> Schema {
    let readings = vec![column("dn", ColumnKind::Text), column("n", ColumnKind::BigInt)];
    let state = vec![column("dn", ColumnKind::Text), column("mode", ColumnKind::Text), column("level", ColumnKind::BigInt)];
    Schema { tables: vec![table("readings", readings, vec![]), table("state", state, vec![0])] }
}

pub(super) fn open(dir: &Path) -> Store {
    let (store, opened) = open_with(dir, &schema());
    assert!(opened.damage.is_empty() && opened.fresh.is_none(), "{opened:?}");
    store
}

pub(super) fn open_with(dir: &Path, schema: &Schema) -> (Store, Opened) {
    Store::open(&settings(dir), schema, SystemDisk::shared(), LOG).unwrap()
}

pub(super) fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

pub(super) fn row(cells: Vec<Cell>) -> Row {
    let named = vec![true; cells.len()];
    Row { cells, named }
}

pub(super) fn reading(dn: &str, n: i128) -> Row {
    row(vec![text(dn), Cell::Integer(n)])
}

/// Adds one reading as record `seq`, received at `seq` seconds.
pub(super) fn add(store: &mut Store, seq: u64) {
    let n = i128::from(seq);
    store.append("readings", vec![reading("a", n)], Seq(seq), seq.cast_signed() * 1_000_000).unwrap();
}

pub(super) fn ask(store: &mut Store, table: &str, select: &str) -> Result<Vec<RecordBatch>, CallError> {
    ask_at(store, table, select, None)
}

pub(super) fn ask_at(store: &mut Store, table: &str, select: &str, at: Option<i64>) -> Result<Vec<RecordBatch>, CallError> {
    let dir = tempfile::tempdir().unwrap();
    let pinned = store.pin(table, at).unwrap()?;
    let sql = select.replace("{}", &pinned.relation);
    let bytes = pinned.run(&sql, vec![], &settings(dir.path()))?;
    Ok(frame(&bytes))
}

/// What a client does with an answer.
pub(super) fn frame(bytes: &[u8]) -> Vec<RecordBatch> {
    let value: ciborium::Value = ciborium::from_reader(bytes).unwrap();
    let ciborium::Value::Tag(80, inner) = value else { panic!("not tag 80") };
    let stream = inner.into_bytes().unwrap();
    arrow_ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every value of the first column, an integer, in order.
pub(super) fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Every value of the first column, a text; null is `-`.
pub(super) fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let column = batch.column(0).as_string::<i32>();
        all.extend((0..column.len()).map(|i| if column.is_null(i) { "-".to_owned() } else { column.value(i).to_owned() }));
    }
    all
}

/// The readings' numbers, sorted.
pub(super) fn readings(store: &mut Store) -> Vec<i64> {
    numbers(&ask(store, "readings", "SELECT n FROM {} ORDER BY n").unwrap())
}
