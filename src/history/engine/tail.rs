//! What a table has above the lake: rows that queries see although no file holds them yet.
//!
//! A keyed table's tail holds one row a key, in which later rows have been merged into earlier ones. The rows of an append table
//! may be taken over by the store, which then only has them counted here.

use crate::history::model::{Cell, Row, Table};
use crate::message::Seq;
use std::collections::HashMap;
use std::sync::Arc;

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
    /// Append: rows that the store has not taken over. Keyed: all rows, one a key.
    rows: Vec<TailRow>,
    /// Keyed: where a key's row is.
    places: HashMap<Vec<u8>, usize>,
    /// Append: rows that the store has taken over.
    settled: usize,
    /// Whether the store has not seen every row.
    dirty: bool,
    bytes: usize,
    /// Of them, what the rows take that the store has not taken over.
    loose: usize,
    /// Latest receive time of any row.
    newest_us: i64,
}

impl Tail {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            rows: Vec::new(),
            places: HashMap::new(),
            settled: 0,
            dirty: false,
            bytes: 0,
            loose: 0,
            newest_us: i64::MIN,
        }
    }

    pub(super) fn keyed(&self) -> bool {
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
            self.loose += weight(&row.cells);
            self.rows.push(row);
            return;
        }
        let key = key(&self.table.keys, &row.cells);
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

    /// Rows that the store has not taken over.
    pub(super) fn rows(&self) -> &[TailRow] {
        &self.rows
    }

    /// Whether rows came since the store last took them over.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What the rows take that the store has not taken over.
    #[cfg(feature = "duckdb")]
    pub(super) fn loose_bytes(&self) -> usize {
        self.loose
    }

    /// The store holds an append table's rows itself from now on, all of them in so many bytes, and has seen a keyed one's.
    pub(super) fn taken_over(&mut self, bytes: usize) {
        if !self.keyed() {
            self.settled += self.rows.len();
            // The room goes too: it was made for a burst.
            self.rows = Vec::new();
            (self.bytes, self.loose) = (bytes, 0);
        }
        self.dirty = false;
    }

    /// Forgets everything: the lake has it.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.table.clone());
    }
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
pub(super) fn key(places: &[usize], cells: &[Cell]) -> Vec<u8> {
    let mut out = Vec::new();
    for cell in places.iter().filter_map(|&i| cells.get(i)) {
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

pub(super) fn weight(cells: &[Cell]) -> usize {
    let long = |cell: &Cell| match cell {
        Cell::Text(value) => value.len(),
        Cell::Blob(value) => value.len(),
        _ => 0,
    };
    cells.iter().map(|cell| size_of::<Cell>() + long(cell)).sum()
}
