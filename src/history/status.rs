//! What history tells about itself, for `/metrics` and `status`.

use crate::message::Seq;
use crate::metrics;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One consistent look at the engine.
#[derive(Debug, Clone, Default)]
pub struct HistoryStatus {
    pub phase: Phase,
    pub tables: BTreeMap<String, TableStatus>,
    /// Newest record read from the log.
    pub ingested: Seq,
    /// Newest record whose rows are in the lake's files.
    pub covered: Seq,
    /// Records written to the log and not read yet.
    pub lag: u64,
    pub batches: u64,
    pub batch_failures: u64,
    /// How often the engine looked whether there is something to do.
    pub turns: u64,
    /// Log records that no part of history could read.
    pub unreadable_records: u64,
    pub queries: u64,
    pub queries_failed: u64,
    pub queries_busy: u64,
    pub commands: u64,
    pub commands_failed: u64,
    pub tidied: Tidied,
    /// Files that were found damaged, oldest first, and what became of their rows.
    pub losses: Vec<Loss>,
    /// Files that were read to their end and were whole, since the process started.
    pub files_scrubbed: u64,
    /// What went wrong last, for the operator.
    pub last_error: Option<String>,
}

/// What upkeep did since the lake was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    pub passes: u64,
    /// Times that files of a table were merged.
    pub merges: u64,
    /// Merges that met a change of the same table, and are tried again.
    pub merge_conflicts: u64,
    /// Rows that were too old, or beyond the table's size.
    pub rows_expired: u64,
    pub snapshots_expired: u64,
    pub files_removed: u64,
}

/// A damaged file of the lake, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Loss {
    pub table: String,
    /// Relative to the lake's folder; what is left of it is in `quarantine`.
    pub file: String,
    /// What was wrong with it.
    pub what: String,
    pub rows: u64,
    /// Rows that the log still held.
    pub reloaded: u64,
    #[serde(with = "seq")]
    pub first: Seq,
    #[serde(with = "seq")]
    pub last: Seq,
    /// When its rows were received, microseconds since 1970.
    pub from_us: i64,
    pub until_us: i64,
    /// Whether its rows are still to be loaded again.
    pub pending: bool,
    /// Whether the file is where it was: it could not be read, and gives its rows back when it can be again.
    #[serde(default)]
    pub in_place: bool,
}

mod seq {
    use crate::message::Seq;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(super) fn serialize<S: Serializer>(seq: &Seq, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(seq.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Seq, D::Error> {
        u64::deserialize(from).map(Seq)
    }
}

/// Where the engine is in its life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// The lake is being opened and checked; queries wait.
    #[default]
    Opening,
    Running,
    /// History cannot work at present; the text says why.
    Unavailable(String),
    Closed,
}

#[derive(Debug, Clone, Default)]
pub struct TableStatus {
    pub rows_in_lake: u64,
    pub rows_in_tail: u64,
    /// Rows taken since the process started.
    pub rows_taken: u64,
    pub rejected: BTreeMap<String, u64>,
    /// Rows that were removed because the disk was full.
    pub rows_evicted: u64,
    /// Why the table cannot be used, if so.
    pub refused: Option<String>,
}

/// The one copy that the engine writes and others read.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedStatus(Arc<Mutex<HistoryStatus>>);

impl SharedStatus {
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut HistoryStatus) -> T) -> T {
        // A panic while it is held leaves plain numbers behind, each of them whole.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn copy(&self) -> HistoryStatus {
        self.update(|status| status.clone())
    }
}

impl HistoryStatus {
    /// Why history does not work at present; `None` if it does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.phase {
            Phase::Opening => Some("the lake is being opened".to_owned()),
            Phase::Running => None,
            Phase::Unavailable(why) => Some(why.clone()),
            Phase::Closed => Some("history is closed".to_owned()),
        }
    }
}

impl From<HistoryStatus> for metrics::History {
    fn from(status: HistoryStatus) -> Self {
        let table = |table: TableStatus| metrics::Table {
            rows_in_lake: table.rows_in_lake,
            rows_in_tail: table.rows_in_tail,
            rows_taken: table.rows_taken,
            rejected: table.rejected,
            rows_evicted: table.rows_evicted,
            refused: table.refused,
        };
        Self {
            trouble: status.trouble(),
            ingested: status.ingested,
            covered: status.covered,
            lag: status.lag,
            batches: status.batches,
            batch_failures: status.batch_failures,
            unreadable_records: status.unreadable_records,
            queries: status.queries,
            queries_failed: status.queries_failed,
            queries_busy: status.queries_busy,
            commands: status.commands,
            commands_failed: status.commands_failed,
            rows_lost: status.losses.iter().map(|loss| loss.rows.saturating_sub(loss.reloaded)).sum(),
            files_scrubbed: status.files_scrubbed,
            passes: status.tidied.passes,
            merges: status.tidied.merges,
            rows_expired: status.tidied.rows_expired,
            files_removed: status.tidied.files_removed,
            tables: status.tables.into_iter().map(|(name, status)| (name, table(status))).collect(),
        }
    }
}
