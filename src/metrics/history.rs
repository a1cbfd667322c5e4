//! The numbers of history.

use super::exposition::{Kind, Page};
use crate::message::Seq;
use std::collections::BTreeMap;

/// One look at history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Why it does not work at present; `None` if it does.
    pub trouble: Option<String>,
    /// Newest record read from the log.
    pub ingested: Seq,
    /// Newest record whose rows are in the lake's files.
    pub covered: Seq,
    /// Records written to the log and not read yet.
    pub lag: u64,
    pub batches: u64,
    pub batch_failures: u64,
    pub unreadable_records: u64,
    pub queries: u64,
    pub queries_failed: u64,
    pub queries_busy: u64,
    pub commands: u64,
    pub commands_failed: u64,
    /// Rows that were in damaged files and could not be loaded again.
    pub rows_lost: u64,
    /// Files of the lake that were read to their end and were whole.
    pub files_scrubbed: u64,
    pub passes: u64,
    pub merges: u64,
    pub rows_expired: u64,
    pub files_removed: u64,
    pub tables: BTreeMap<String, Table>,
}

/// One table of the lake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    pub rows_in_lake: u64,
    pub rows_in_tail: u64,
    pub rows_taken: u64,
    /// By reason.
    pub rejected: BTreeMap<String, u64>,
    pub rows_evicted: u64,
    /// Why the table takes no rows, if so.
    pub refused: Option<String>,
}

pub(super) fn render(page: &mut Page, history: &History, written: Seq) {
    page.one("history_up", Kind::Gauge, "1 if history takes rows and answers queries.", u64::from(history.trouble.is_none()));
    page.one("history_ingested_seq", Kind::Gauge, "Newest log record that history has read.", history.ingested.0);
    page.one("history_covered_seq", Kind::Gauge, "Newest log record whose rows are in files of the lake.", history.covered.0);
    page.one("history_lag_records", Kind::Gauge, "Log records that history has not read yet.", history.lag);
    page.one(
        "history_uncovered_records",
        Kind::Gauge,
        "Log records whose rows are not in files of the lake yet; the log keeps them and queries see them.",
        written.0.saturating_sub(history.covered.0),
    );
    page.one("history_batches_total", Kind::Counter, "Batches written to the lake.", history.batches);
    page.one("history_batch_failures_total", Kind::Counter, "Batches that failed and are tried again.", history.batch_failures);
    page.one(
        "history_unreadable_records_total",
        Kind::Counter,
        "Log records that history could not read.",
        history.unreadable_records,
    );
    page.one(
        "history_rows_lost",
        Kind::Gauge,
        "Rows of damaged files that the log did not hold any more; lake/damage.json says which.",
        history.rows_lost,
    );
    page.one(
        "history_files_scrubbed_total",
        Kind::Counter,
        "Files of the lake that were read to their end and were whole.",
        history.files_scrubbed,
    );
    page.one(
        "history_maintenance_passes_total",
        Kind::Counter,
        "Passes of maintenance that came to their end.",
        history.passes,
    );
    page.one("history_merges_total", Kind::Counter, "Times that the files of a table were merged.", history.merges);
    page.one("history_rows_expired_total", Kind::Counter, "Rows that retention removed.", history.rows_expired);
    page.one("history_files_removed_total", Kind::Counter, "Files that no snapshot needs any more.", history.files_removed);
    page.one("history_queries_total", Kind::Counter, "Queries answered or refused.", history.queries);
    page.one("history_queries_failed_total", Kind::Counter, "Queries that ended with an error.", history.queries_failed);
    page.one("history_queries_busy_total", Kind::Counter, "Queries turned away because too many ran.", history.queries_busy);
    page.one("history_commands_total", Kind::Counter, "Upserts and deletes asked for by call.", history.commands);
    page.one(
        "history_commands_failed_total",
        Kind::Counter,
        "Upserts and deletes that ended with an error.",
        history.commands_failed,
    );
    tables(page, &history.tables);
}

fn tables(page: &mut Page, tables: &BTreeMap<String, Table>) {
    let mut rows = page.family("history_rows", Kind::Gauge, "Rows by place: files of the lake, or the tail in memory.");
    for (name, table) in tables {
        rows.labelled(&[("table", name), ("place", "lake")], table.rows_in_lake);
        rows.labelled(&[("table", name), ("place", "tail")], table.rows_in_tail);
    }
    let mut refused =
        page.family("history_table_refused", Kind::Gauge, "1 if the lake cannot hold the table as its schema wants it.");
    for (name, table) in tables {
        refused.labelled(&[("table", name)], u64::from(table.refused.is_some()));
    }
    let mut taken = page.family("history_rows_taken_total", Kind::Counter, "Rows taken from messages since the start.");
    for (name, table) in tables {
        taken.labelled(&[("table", name)], table.rows_taken);
    }
    let mut evicted = page.family("history_rows_evicted_total", Kind::Counter, "Rows removed because the disk was full.");
    for (name, table) in tables {
        evicted.labelled(&[("table", name)], table.rows_evicted);
    }
    let mut rejected =
        page.family("history_rows_rejected_total", Kind::Counter, "Rows that did not fit their table, by reason.");
    for (name, table) in tables {
        for (reason, count) in &table.rejected {
            rejected.labelled(&[("table", name), ("reason", reason)], count);
        }
    }
}
