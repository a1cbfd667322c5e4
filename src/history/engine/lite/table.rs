//! A table of the lite store: what its files hold, and what is above them.

use super::files::DataFile;
use super::rows::Rows;
use super::schema::Stored;
use super::view::Part;
use crate::history::engine::arrow;
use crate::history::engine::error::EngineError;
use crate::history::engine::tail::{Tail, TailRow};
use crate::history::model::Table;
use arrow_array::RecordBatch;
use std::sync::Arc;

/// Rows that may wait as they came; more are packed into Arrow, which is smaller.
pub(super) const LOOSE_ROWS: usize = 4096;

/// A schema table and its place in the lake.
#[derive(Debug)]
pub(super) struct LakeTable {
    pub(super) table: Arc<Table>,
    pub(super) stored: Arc<Stored>,
    pub(super) tail: Tail,
    /// Append: rows of the tail that are packed.
    pub(super) packed: Vec<RecordBatch>,
    /// Keyed: the tail as the last view saw it.
    pub(super) seen: Option<Arc<Vec<TailRow>>>,
    pub(super) files: Arc<Vec<Arc<DataFile>>>,
}

impl LakeTable {
    pub(super) fn rows_in_lake(&self) -> u64 {
        self.files.iter().map(|file| file.live_rows()).sum()
    }

    /// Packs what came since.
    pub(super) fn settle(&mut self) -> Result<(), EngineError> {
        if !self.tail.is_dirty() {
            return Ok(());
        }
        if self.tail.keyed() {
            self.seen = None;
        } else {
            for rows in self.tail.rows().chunks(2 * LOOSE_ROWS) {
                self.packed.push(arrow::batch(&self.table, rows)?);
            }
        }
        let bytes = self.tail.bytes();
        self.tail.taken_over(bytes);
        Ok(())
    }

    /// What a query of now sees.
    pub(super) fn parts_now(&mut self) -> Vec<Part> {
        let mut parts = vec![Part::Files { files: self.files.clone(), version: None, only: None }];
        if self.tail.len() == 0 {
            return parts;
        }
        if self.tail.keyed() {
            let rows = self.seen.get_or_insert_with(|| Arc::new(self.tail.rows().to_vec()));
            parts.push(Part::Keyed(rows.clone()));
        } else {
            parts.push(Part::Tail { rows: self.tail_rows(), received_until: None });
        }
        parts
    }

    /// Append: the rows of the tail.
    pub(super) fn tail_rows(&self) -> Vec<Rows> {
        self.packed.iter().map(|batch| Rows::of(batch, &self.stored)).collect()
    }
}
