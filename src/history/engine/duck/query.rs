//! Runs one query on a pinned view.

use super::running::{Entry, Running, is_out_of_memory};
use super::tail::Shown;
use crate::history::engine::answer::{Answer, timed_out};
use crate::history::engine::store;
use crate::history::model::{CallError, Cell};
use crate::history::settings::Settings;
use crate::history::sql::Query;
use arrow_array::RecordBatch;
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, InterruptHandle, params_from_iter};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A connection inside a read transaction that sees lake and tail as they were at one moment.
pub(super) struct Pinned {
    /// Present until the end.
    conn: Option<Connection>,
    /// The table as SQL, for [`crate::history::sql`] to select from.
    pub(super) relation: String,
    stop: Stop,
    running: Running,
    /// What the relation reads of the tail.
    _tail: Option<Shown>,
    /// Tells the engine that its database is in use as long as this lives.
    in_use: Arc<()>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").field("relation", &self.relation).finish_non_exhaustive()
    }
}

impl Drop for Pinned {
    /// The crate frees the connection first and tells its interrupt handle afterwards: an interrupt in between is a use after
    /// free (seen as a crash). So nobody can interrupt any more when the connection goes.
    fn drop(&mut self) {
        *self.stop.lock() = None;
        if let Some(conn) = self.conn.take() {
            self.running.end(conn, self.in_use.clone());
        }
    }
}

/// Why a query should end.
const LATE: u8 = 1;
const MEMORY: u8 = 2;
/// And why it did, if memory was the reason.
const STARVED: u8 = 3;

/// Ends a query that runs on another thread.
#[derive(Clone)]
pub(super) struct Stop {
    /// Checked between chunks, because an interrupt only hits a running statement.
    why: Arc<AtomicU8>,
    /// Present while the connection is.
    handle: Arc<Mutex<Option<Arc<InterruptHandle>>>>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").field("why", &self.why).finish_non_exhaustive()
    }
}

impl store::Stop for Stop {
    fn now(&self) {
        self.ask(LATE);
    }

    fn wanted_memory(&self) -> bool {
        self.why.load(Ordering::Relaxed) == STARVED
    }
}

impl Stop {
    /// The engine needs the memory that the query has.
    pub(super) fn for_memory(&self) {
        self.ask(MEMORY);
    }

    fn ask(&self, why: u8) {
        // The first reason is the one that is told.
        let _first = self.why.compare_exchange(0, why, Ordering::Relaxed, Ordering::Relaxed);
        if let Some(handle) = self.lock().as_ref() {
            handle.interrupt();
        }
    }

    fn asked(&self) -> bool {
        matches!(self.why.load(Ordering::Relaxed), LATE | MEMORY)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<InterruptHandle>>> {
        // Nothing that holds it can panic half way.
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl store::View for Pinned {
    fn stop(&self) -> Box<dyn store::Stop> {
        Box::new(self.stop.clone())
    }

    fn run(self: Box<Self>, query: &Query, settings: &Settings, answer: &mut Answer) -> Result<(), CallError> {
        let (sql, cells) = query.render(&self.relation);
        self.run_sql(&sql, cells, settings, answer)
    }
}

impl Pinned {
    pub(super) fn new(conn: Connection, relation: String, tail: Option<Shown>, running: Running, in_use: Arc<()>) -> Self {
        let handle = Arc::new(Mutex::new(Some(conn.interrupt_handle())));
        let stop = Stop { why: Arc::default(), handle };
        Self { conn: Some(conn), relation, stop, running, _tail: tail, in_use }
    }

    pub(super) fn run_sql(
        self,
        sql: &str,
        cells: Vec<Cell>,
        settings: &Settings,
        answer: &mut Answer,
    ) -> Result<(), CallError> {
        // Leaves the list after the connection is gone, and with it the memory.
        let _entry: Entry = self.running.enter(self.stop.clone());
        let view = self;
        let Some(conn) = &view.conn else { return Ok(()) };
        let tell = |error: duckdb::Error| view.explain(&error, settings);
        let mut statement = conn.prepare(sql).map_err(tell)?;
        // The iterator that this returns panics when a chunk fails, an interrupted one for example; so its steps are taken by hand.
        drop(statement.stream_arrow(params_from_iter(cells.into_iter().map(value))).map_err(tell)?);
        let schema = statement.schema();
        answer.begin(&schema)?;
        while let Some(chunk) = statement.step().map_err(tell)? {
            if view.stop.asked() {
                return Err(view.ended(settings));
            }
            answer.add(&RecordBatch::from(&chunk))?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn run_whole(self, sql: &str, cells: Vec<Cell>, settings: &Settings) -> Result<bytes::Bytes, CallError> {
        let mut answer = Answer::frame(settings);
        self.run_sql(sql, cells, settings, &mut answer)?;
        answer.finish()
    }

    /// DuckDB's text for the caller: its first line, without the names of our files.
    fn explain(&self, error: &duckdb::Error, settings: &Settings) -> CallError {
        if self.stop.asked() {
            return self.ended(settings);
        }
        if is_out_of_memory(error) {
            self.stop.why.store(STARVED, Ordering::Relaxed);
            return CallError::exception(format!(
                "the query needs more memory than there is for queries ({} MiB, `[history] memory_limit`): ask for less at once",
                settings.memory_limit >> 20
            ));
        }
        let text = settings.without_paths(error);
        CallError::exception(text.lines().next().unwrap_or_default().chars().take(300).collect::<String>())
    }

    /// What somebody wanted to end.
    fn ended(&self, settings: &Settings) -> CallError {
        if self.stop.why.load(Ordering::Relaxed) == MEMORY {
            return CallError::exception(
                "the query was ended: its memory was needed to write new rows (`[history] memory_limit`); ask for less at once",
            );
        }
        timed_out(settings)
    }
}

pub(super) fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Boolean(value) => Value::Boolean(value),
        Cell::Integer(value) => i64::try_from(value).map_or(Value::HugeInt(value), Value::BigInt),
        Cell::Float(value) => Value::Double(value),
        Cell::Text(value) => Value::Text(value),
        Cell::Blob(value) => Value::Blob(value),
        Cell::Date(value) => Value::Date32(value),
        Cell::Timestamp(value) => Value::Timestamp(TimeUnit::Microsecond, value),
    }
}
