//! What the follower needs of a store, whichever keeps the lake: `duck` with DuckDB, `lite` without.
//!
//! A store takes rows and deletions in the order of the log, and gives views to queries. It runs on the engine's one thread, which
//! alone changes lake and tail, and alone pins views, between two changes: so a view never sees half a batch, without any lock.
//! Views are used on other threads.
//!
//! What every store promises:
//!
//! * [`batch`](Store::batch) writes the tail's rows and how far they cover the log in one transaction, after the files that it
//!   names are on the disk: a crash at any moment leaves both or neither.
//! * A view sees lake and tail as they were when it was pinned, each row once, whatever happens meanwhile.
//! * The lake is DuckLake 1.0, with `_seq` and `_recv` (see [`columns`](super::columns)) in every table.

use super::answer::Answer;
use super::damage::{Bad, Damage};
use super::error::EngineError;
use super::hold::Named;
use crate::clock::Wall;
use crate::disk::SharedDisk;
use crate::history::model::{CallError, Row, Schema};
use crate::history::settings::{Backend, Settings};
use crate::history::sql::{Predicate, Query};
use crate::history::status::Tidied;
use crate::message::Seq;
use crate::wal::Identity;
use std::path::Path;
use std::sync::Arc;

/// A lake and the rows above it.
pub(super) trait Store: std::fmt::Debug {
    /// Newest log record that the lake's files hold; the log is read from the next one on.
    fn covered(&self) -> Seq;

    /// Says anew how far the lake covers the log, without rows, and stores it at once. Higher: what was read made no rows. Lower:
    /// the log was damaged and goes on there, and the next start must not take its new records for those that the lake has. The
    /// tail is empty.
    fn restate(&mut self, upto: Seq) -> Result<(), EngineError>;

    /// The schema's tables that the lake can hold.
    fn figures(&self) -> Vec<TableFigures<'_>>;

    /// Tables that the lake cannot hold, and why.
    fn refused(&self) -> Vec<(&str, &str)>;

    fn tail_rows(&self) -> usize;

    fn tail_bytes(&self) -> usize;

    /// Takes rows of log record `seq`. Rows of a refused table go nowhere; its refusal was said at the start.
    fn append(&mut self, table: &str, rows: Vec<Row>, seq: Seq, received_us: i64) -> Result<(), EngineError>;

    /// Moves the tail into the lake, which then covers the log up to `upto`.
    fn batch(&mut self, upto: Seq) -> Result<(), BatchError>;

    /// Deletes what a predicate finds, as log record `seq`; only rows of the records in `only`, if it is given. The tail must be
    /// empty.
    fn delete(&mut self, table: &str, predicate: &Predicate, seq: Seq, only: Option<(Seq, Seq)>) -> Result<(), DeleteError>;

    /// Records in a range, both ends included, of which the lake has rows.
    fn sequences(&mut self, table: &str, range: (Seq, Seq)) -> Result<Vec<u64>, EngineError>;

    /// A view of `table` as it is now, or as it was `at_us` (microseconds since 1970).
    fn pin(&mut self, table: &str, at_us: Option<i64>) -> Result<Result<Box<dyn View>, CallError>, EngineError>;

    /// Whether a view is still there. The lake must not be opened a second time meanwhile.
    fn in_use(&self) -> bool;

    /// Adds so many microseconds to the receive times of the rows of records from `from` on, as log record `seq`. The tail is empty.
    fn restamp(&mut self, from: Seq, delta_us: i64, seq: Seq) -> Result<(), EngineError>;

    /// Takes one short step of what keeps the lake small and tidy; asked for again until it says that all is done. An error means
    /// that only opening anew tells what the lake has.
    fn upkeep(&mut self, now: Wall) -> Result<Upkeep, EngineError>;

    /// Makes some room when the disk is nearly full: removes files that nobody needs, then the oldest rows of tables that are
    /// to be evicted. `None`: there is room, or nothing that may go.
    fn make_room(&mut self) -> Result<Option<Freed>, EngineError>;

    /// What upkeep did since the lake was opened.
    fn tidied(&self) -> Tidied;

    /// The files that the catalog names.
    fn named(&self) -> Result<Vec<Named>, EngineError>;

    /// Whether this store can decode a file, to its end: how many rows it has.
    fn decodes(&self, path: &Path) -> Result<u64, String>;

    /// Takes bad files out of the catalog, as a start does; returns those that it still named. The lake is to be opened anew then.
    fn set_aside(&mut self, bad: &[Bad]) -> Result<Vec<Damage>, EngineError>;

    /// Tables with which a step of upkeep had trouble since this was asked last.
    fn suspects(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Writes a copy of the catalog as it is now into an empty folder, and says which files it names.
    fn copy_catalog(&self, to: &Path) -> Result<Vec<Named>, EngineError>;

    /// As long as this lives no file is removed that a catalog of today names.
    fn hold(&self) -> Arc<()>;

    /// Tidies up before the end.
    fn checkpoint(&self) -> Result<(), EngineError>;
}

/// A table as it was at one moment.
pub(super) trait View: std::fmt::Debug + Send {
    /// Ends [`run`](Self::run) from another thread.
    fn stop(&self) -> Box<dyn Stop>;

    /// Gives the rows to `answer`.
    fn run(self: Box<Self>, query: &Query, settings: &Settings, answer: &mut Answer) -> Result<(), CallError>;
}

/// Ends a query that runs on another thread.
pub(super) trait Stop: std::fmt::Debug + Send + Sync {
    /// To be repeated until the query has returned: an interrupt between two statements hits nothing.
    fn now(&self);

    /// Whether the query has ended because there was not enough memory, so that it may succeed when it is alone.
    fn wanted_memory(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct TableFigures<'a> {
    pub(super) name: &'a str,
    pub(super) rows_in_lake: u64,
    pub(super) rows_in_tail: u64,
}

/// Room beyond the reserve at which eviction begins, before the log refuses publishers: a segment of 8 MiB that the log makes ahead,
/// and some batches.
pub(super) const EVICTION_MARGIN: u64 = 24 << 20;

/// What was given up for room on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Freed {
    /// Nothing yet: a query still reads what could go.
    Later,
    /// Files or snapshots that no query of today needs.
    Files,
    /// The oldest rows of a table.
    Rows { table: String, rows: u64 },
}

/// What a step of upkeep says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// There is more to do, after a pause.
    More,
    /// Everything is as it should be, until the next pass.
    Done,
}

/// What opening found; said once, in the log.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) damage: Vec<Damage>,
    pub(super) orphans: usize,
    /// Why the old catalog is now in the quarantine, if it is.
    pub(super) fresh: Option<String>,
    /// The record up to which the lake covers the log, if the log has lost some of them.
    pub(super) beyond: Option<Seq>,
}

/// What a batch left behind when it failed.
#[derive(Debug)]
pub(super) enum BatchError {
    /// Nothing has changed; it can be tried again.
    Again(EngineError),
    /// It may or may not have happened; only opening anew tells.
    Reopen(EngineError),
}

#[derive(Debug)]
pub(super) enum DeleteError {
    /// Nothing was deleted, and nothing ever will be; the caller should know why.
    Refused(CallError),
    /// Nothing was deleted for a reason that can go away, such as a full disk: it is still owed.
    Again(EngineError),
    /// It may or may not have happened.
    Reopen(EngineError),
}

/// Opens the lake, checks its files and makes its tables fit the schema. `log` is the one that rows will come from.
pub(super) fn open(
    settings: &Settings,
    schema: &Schema,
    disk: SharedDisk,
    log: impl Into<Identity>,
) -> Result<(Box<dyn Store>, Opened), EngineError> {
    super::hold::forget_copies(settings);
    match settings.backend {
        #[cfg(feature = "duckdb")]
        Backend::Duckdb => {
            let (store, opened) = super::duck::Lake::open(settings, schema, disk, log)?;
            Ok((Box::new(store), opened))
        }
        Backend::Lite => {
            let (store, opened) = super::lite::Lite::open(settings, schema, disk, log)?;
            Ok((Box::new(store), opened))
        }
    }
}
