//! Stories with the real DuckDB.

mod crash;
mod pressure;
mod reads;
mod upkeep;

use super::lake;
use super::query::Pinned;
use super::store::Lake;
use crate::disk::SystemDisk;
use crate::history::engine::store::{Opened, Store};
use crate::history::engine::tests::{LOG, column, frame, numbers, reading, row, schema, settings, table, text, texts};
use crate::history::model::{CallError, Cell, ColumnKind, Row, Schema};
use crate::history::sql::Predicate;
use crate::message::Seq;
use arrow_array::RecordBatch;
use ciborium::cbor;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The files of a table, those of its days too.
pub(super) fn files(dir: &Path, table: &str) -> Vec<PathBuf> {
    let folder = dir.join("lake/files/main").join(table);
    if !folder.exists() {
        return Vec::new();
    }
    let mut all = super::batch::files_below(&SystemDisk, &folder).unwrap();
    all.sort();
    all
}

pub(super) fn open(dir: &Path) -> Lake {
    let (store, opened) = open_with(dir, &schema());
    assert!(opened.damage.is_empty() && opened.fresh.is_none(), "{opened:?}");
    store
}

pub(super) fn open_with(dir: &Path, schema: &Schema) -> (Lake, Opened) {
    Lake::open(&settings(dir), schema, SystemDisk::shared(), LOG).unwrap()
}

/// Adds one reading as record `seq`, received at `seq` seconds.
pub(super) fn add(store: &mut Lake, seq: u64) {
    let n = i128::from(seq);
    store.append("readings", vec![reading("a", n)], Seq(seq), seq.cast_signed() * 1_000_000).unwrap();
}

pub(super) fn ask(store: &mut Lake, table: &str, select: &str) -> Result<Vec<RecordBatch>, CallError> {
    ask_at(store, table, select, None)
}

pub(super) fn ask_at(store: &mut Lake, table: &str, select: &str, at: Option<i64>) -> Result<Vec<RecordBatch>, CallError> {
    let dir = tempfile::tempdir().unwrap();
    let pinned = pinned(store, table, at)?;
    let sql = select.replace("{}", &pinned.relation);
    let bytes = pinned.run_whole(&sql, vec![], &settings(dir.path()))?;
    Ok(frame(&bytes))
}

/// A view, for statements that no caller could ask for.
pub(super) fn pinned(store: &mut Lake, table: &str, at: Option<i64>) -> Result<Pinned, CallError> {
    store.pinned(table, at).unwrap()
}

/// The condition as a caller gives it.
pub(super) fn predicate(store: &Lake, table: &str, condition: &str) -> Predicate {
    let table = &store.usable().iter().find(|known| known.table.name == table).unwrap().table;
    let mut data = Vec::new();
    ciborium::into_writer(&cbor!([{ "where" => condition }]).unwrap(), &mut data).unwrap();
    Predicate::parse(table, &data, crate::clock::Wall(0)).unwrap()
}

/// The readings' numbers, sorted.
pub(super) fn readings(store: &mut Lake) -> Vec<i64> {
    numbers(&ask(store, "readings", "SELECT n FROM {} ORDER BY n").unwrap())
}

/// Fills `readings` with the hours of a gateway that takes fifty rows a second from twenty devices, for measurements.
pub(in crate::history::engine) fn fill(settings: &crate::history::settings::Settings, rows: u64) {
    let conn = lake::open(settings).unwrap();
    conn.execute_batch(
        "CREATE TABLE lake.main.readings (dn TEXT, n BIGINT, _seq BIGINT, _recv TIMESTAMP, _day DATE);
         ALTER TABLE lake.main.readings SET PARTITIONED BY (_day);",
    )
    .unwrap();
    for first in (0..rows).step_by(180_000) {
        let last = rows.min(first + 180_000);
        conn.execute_batch(&format!(
            "INSERT INTO lake.main.readings SELECT 'device' || (i % 20), i, i + 1, t, CAST(t AS DATE) FROM (SELECT i, \
             TIMESTAMP '2026-11-01' + to_milliseconds(i * 20) AS t FROM range({first}, {last}) r(i))"
        ))
        .unwrap();
    }
}
