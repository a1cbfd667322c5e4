//! Stories of the engine, and what those of the stores share.

/// Each story once with every store.
macro_rules! stories {
    ($($name:ident,)*) => {
        #[cfg(feature = "duckdb")]
        mod duckdb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::history::Backend::Duckdb).await;
                }
            )*
        }
        mod lite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::history::Backend::Lite).await;
                }
            )*
        }
    };
}

mod calls;
mod conformance;
mod crash;
mod damage;
#[cfg(feature = "duckdb")]
mod differential;
mod faults;
mod faulty;
mod following;
mod gateway;
mod losing;
mod measure;
mod reads;
mod values;
mod widening;

use super::answer::Answer;
use super::store::{self, DeleteError, Opened, Store, View};
use crate::clock::Wall;
use crate::disk::SystemDisk;
use crate::history::model::{CallError, Cell, Column, ColumnKind, ColumnSource, Limits, Row, Schema, Table, TopicSegment};
use crate::history::settings::{Backend, Settings};
use crate::history::sql::{Predicate, Query};
use crate::message::Seq;
use arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type};
use bytes::Bytes;
use ciborium::cbor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::history::engine) const LOG: u64 = 0xabcd_0000_0000_0001;

pub(in crate::history::engine) fn settings(dir: &Path) -> Settings {
    let history = crate::config::History {
        schema: None,
        backend: "auto".to_owned(),
        catalog: "duckdb".to_owned(),
        lake_data: None,
        s3_endpoint: None,
        s3_region: "us-east-1".to_owned(),
        s3_key: None,
        s3_secret: None,
        batch_interval: Duration::from_secs(3600),
        batch_rows: 20_000,
        memory_limit: 128 << 20,
        query_timeout: Duration::from_secs(30),
        query_rows: 1_000_000,
        limits: Limits::default(),
        maintenance: Duration::from_secs(3600),
        snapshots: Duration::from_secs(7 * 24 * 3600),
        scrub: Duration::from_secs(7 * 24 * 3600),
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

pub(in crate::history::engine) fn open(dir: &Path, backend: Backend) -> Box<dyn Store> {
    let (store, opened) = open_with(dir, backend, &schema());
    assert!(opened.damage.is_empty() && opened.fresh.is_none(), "{opened:?}");
    store
}

pub(in crate::history::engine) fn open_with(dir: &Path, backend: Backend, schema: &Schema) -> (Box<dyn Store>, Opened) {
    let settings = Settings { backend, ..settings(dir) };
    store::open(&settings, schema, SystemDisk::shared(), LOG).unwrap()
}

/// Adds one reading as record `seq`, received at `seq` seconds.
pub(in crate::history::engine) fn add(store: &mut dyn Store, seq: u64) {
    let n = i128::from(seq);
    store.append("readings", vec![reading("a", n)], Seq(seq), seq.cast_signed() * 1_000_000).unwrap();
}

/// The readings' numbers, sorted.
pub(in crate::history::engine) fn readings(store: &mut dyn Store) -> Vec<i64> {
    numbers(&ask(store, &schema().tables[0], "n", "1=1 ORDER BY n", None).unwrap())
}

/// What a caller of `query_T` gets.
pub(in crate::history::engine) fn ask(
    store: &mut dyn Store,
    table: &Table,
    cols: &str,
    condition: &str,
    at: Option<i64>,
) -> Result<Vec<RecordBatch>, CallError> {
    let dir = tempfile::tempdir().unwrap();
    let view = store.pin(&table.name, at).unwrap()?;
    run(view, &query(table, cols, condition), &settings(dir.path())).map(|bytes| frame(&bytes))
}

/// The data of an answer.
pub(in crate::history::engine) fn run(view: Box<dyn View>, query: &Query, settings: &Settings) -> Result<Bytes, CallError> {
    let mut answer = Answer::frame(settings);
    view.run(query, settings, &mut answer)?;
    answer.finish()
}

pub(in crate::history::engine) fn query(table: &Table, cols: &str, condition: &str) -> Query {
    Query::parse(table, &cbor(&cbor!([{ "cols" => cols, "where" => condition }]).unwrap()), Wall(0)).unwrap()
}

/// Deletes as a caller of `delete_T` does.
pub(in crate::history::engine) fn delete(
    store: &mut dyn Store,
    table: &Table,
    condition: &str,
    seq: u64,
) -> Result<(), DeleteError> {
    store.delete(&table.name, &predicate(table, condition), Seq(seq), None)
}

pub(in crate::history::engine) fn predicate(table: &Table, condition: &str) -> Predicate {
    Predicate::parse(table, &cbor(&cbor!([{ "where" => condition }]).unwrap()), Wall(0)).unwrap()
}

fn cbor(value: &ciborium::Value) -> Vec<u8> {
    let mut data = Vec::new();
    ciborium::into_writer(value, &mut data).unwrap();
    data
}
