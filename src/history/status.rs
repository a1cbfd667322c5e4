//! What history tells about itself, for `/metrics` and `status`.

use crate::message::Seq;
use std::collections::BTreeMap;

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
    /// Log records that no part of history could read.
    pub unreadable_records: u64,
    pub queries: u64,
    pub queries_failed: u64,
    pub queries_busy: u64,
    pub commands: u64,
    pub commands_failed: u64,
    /// What went wrong last, for the operator.
    pub last_error: Option<String>,
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
    /// Why the table cannot be used, if so.
    pub refused: Option<String>,
}
