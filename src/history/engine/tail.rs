//! What a table has above the lake: rows that queries see although no file holds them yet.
//!
//! Rows gather in Rust and are moved into a DuckDB table in memory when a query comes or enough have gathered. A keyed table's
//! tail holds one row a key, in which later rows have been merged into earlier ones.

use super::arrow::{self, flag};
use super::error::EngineError;
use super::names::{HIDDEN, TAIL, ident, stored_type};
use crate::history::model::{Cell, Row, Table};
use crate::message::Seq;
use duckdb::Connection;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows that may wait outside of DuckDB; its vectors hold 2048.
const LOOSE_ROWS: usize = 4096;

#[derive(Debug, Clone)]
pub(super) struct TailRow {
    pub(super) cells: Vec<Cell>,
    /// Which columns the row set; see [`Row::named`].
    pub(super) named: Vec<bool>,
    pub(super) seq: Seq,
    pub(super) received_us: i64,
}

#[derive(Debug)]
pub(super) struct Tail {
    table: Arc<Table>,
    /// Append: rows not yet in DuckDB. Keyed: all rows, one a key.
    rows: Vec<TailRow>,
    /// Keyed: where a key's row is.
    places: HashMap<Vec<u8>, usize>,
    /// Append: rows in DuckDB.
    settled: usize,
    /// Whether DuckDB's table is behind.
    dirty: bool,
    bytes: usize,
    /// Latest receive time of any row.
    newest_us: i64,
}

impl Tail {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { table, rows: Vec::new(), places: HashMap::new(), settled: 0, dirty: false, bytes: 0, newest_us: i64::MIN }
    }

    fn keyed(&self) -> bool {
        !self.table.keys.is_empty()
    }

    /// Rows above the lake.
    pub(super) fn len(&self) -> usize {
        self.settled + self.rows.len()
    }

    /// Roughly what they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn newest_us(&self) -> i64 {
        self.newest_us
    }

    pub(super) fn push(&mut self, row: Row, seq: Seq, received_us: i64) {
        debug_assert_eq!(row.cells.len(), self.table.columns.len(), "a row has one cell for each column");
        self.newest_us = self.newest_us.max(received_us);
        self.dirty = true;
        let row = TailRow { cells: row.cells, named: row.named, seq, received_us };
        if !self.keyed() {
            self.bytes += weight(&row.cells);
            self.rows.push(row);
            return;
        }
        let key = key(&self.table, &row.cells);
        match self.places.get(&key).and_then(|&place| self.rows.get_mut(place)) {
            Some(older) => {
                self.bytes -= weight(&older.cells);
                merge(older, row);
                self.bytes += weight(&older.cells);
            }
            None => {
                self.bytes += weight(&row.cells);
                self.places.insert(key, self.rows.len());
                self.rows.push(row);
            }
        }
    }

    /// Whether enough rows have gathered to be moved without being asked.
    pub(super) fn is_heavy(&self) -> bool {
        !self.keyed() && self.rows.len() >= LOOSE_ROWS
    }

    /// Brings DuckDB's table up to date.
    pub(super) fn settle(&mut self, conn: &Connection) -> Result<(), EngineError> {
        if !self.dirty {
            return Ok(());
        }
        if self.keyed() {
            create(conn, &self.table)?;
        }
        let doing = "adding rows to the tail";
        let mut appender =
            conn.appender_to_catalog_and_db(&self.table.name, "memory", "tail").map_err(EngineError::sql(doing))?;
        // In pieces, because one frame may carry a million rows and the Arrow copy of them should not be another million.
        for rows in self.rows.chunks(2 * LOOSE_ROWS) {
            appender.append_record_batch(arrow::batch(&self.table, rows)?).map_err(EngineError::sql(doing))?;
        }
        appender.flush().map_err(EngineError::sql(doing))?;
        if !self.keyed() {
            self.settled += self.rows.len();
            self.rows.clear();
        }
        self.dirty = false;
        Ok(())
    }

    /// Forgets everything: the lake has it. Queries that already run keep what they see.
    pub(super) fn clear(&mut self, conn: &Connection) -> Result<(), EngineError> {
        create(conn, &self.table)?;
        *self = Self::new(self.table.clone());
        Ok(())
    }
}

/// Makes DuckDB's table for the tail of `table` anew.
pub(super) fn create(conn: &Connection, table: &Table) -> Result<(), EngineError> {
    let mut columns: Vec<String> =
        table.columns.iter().map(|c| format!("{} {}", ident(&c.name), stored_type(c.kind))).collect();
    columns.extend(HIDDEN.iter().map(|(name, sql, _)| format!("{name} {sql}")));
    if !table.keys.is_empty() {
        columns.extend((0..table.columns.len()).map(|i| format!("{} BOOLEAN", flag(i))));
    }
    conn.execute_batch(&format!("CREATE OR REPLACE TABLE {TAIL}.{} ({})", ident(&table.name), columns.join(", ")))
        .map_err(EngineError::sql("making the tail's table"))
}

/// A later row of the same key: what it names replaces what was there, the rest stays. A default that the older row carried
/// for a new key stays a default.
fn merge(older: &mut TailRow, newer: TailRow) {
    for (i, cell) in newer.cells.into_iter().enumerate() {
        if newer.named.get(i).copied().unwrap_or(true)
            && let (Some(place), Some(named)) = (older.cells.get_mut(i), older.named.get_mut(i))
        {
            *place = cell;
            *named = true;
        }
    }
    older.seq = newer.seq;
    older.received_us = newer.received_us;
}

/// The key's cells in bytes that are equal exactly when SQL finds the keys equal.
fn key(table: &Table, cells: &[Cell]) -> Vec<u8> {
    let mut out = Vec::new();
    for cell in table.keys.iter().filter_map(|&i| cells.get(i)) {
        match cell {
            Cell::Null => out.push(0),
            Cell::Boolean(value) => out.extend([1, u8::from(*value)]),
            Cell::Integer(value) => out.extend(value.to_le_bytes()),
            // SQL: 0.0 = -0.0, and every NaN equals every other.
            Cell::Float(value) if value.is_nan() => out.extend(f64::NAN.to_le_bytes()),
            Cell::Float(value) => out.extend((value + 0.0).to_le_bytes()),
            Cell::Text(value) => {
                out.extend((value.len() as u64).to_le_bytes());
                out.extend(value.as_bytes());
            }
            Cell::Blob(value) => {
                out.extend((value.len() as u64).to_le_bytes());
                out.extend(value);
            }
            Cell::Date(value) => out.extend(value.to_le_bytes()),
            Cell::Timestamp(value) => out.extend(value.to_le_bytes()),
        }
    }
    out
}

fn weight(cells: &[Cell]) -> usize {
    let long = |cell: &Cell| match cell {
        Cell::Text(value) => value.len(),
        Cell::Blob(value) => value.len(),
        _ => 0,
    };
    cells.iter().map(|cell| size_of::<Cell>() + long(cell)).sum()
}
