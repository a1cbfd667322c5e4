//! Runs one query on a pinned view.

use crate::history::engine::answer::{Answer, timed_out};
use crate::history::engine::store;
use crate::history::model::{CallError, Cell};
use crate::history::settings::Settings;
use crate::history::sql::Query;
use arrow_array::RecordBatch;
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, InterruptHandle, params_from_iter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A connection inside a read transaction that sees lake and tail as they were at one moment.
pub(super) struct Pinned {
    conn: Connection,
    /// The table as SQL, for [`crate::history::sql`] to select from.
    pub(super) relation: String,
    stop: Stop,
    /// Tells the engine that its database is in use as long as this lives.
    _in_use: Arc<()>,
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
    }
}

/// Ends a query that runs on another thread.
#[derive(Clone)]
pub(super) struct Stop {
    /// Checked between chunks, because an interrupt only hits a running statement.
    flag: Arc<AtomicBool>,
    /// Present while the connection is.
    handle: Arc<Mutex<Option<Arc<InterruptHandle>>>>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").field("flag", &self.flag).finish_non_exhaustive()
    }
}

impl store::Stop for Stop {
    fn now(&self) {
        self.flag.store(true, Ordering::Relaxed);
        if let Some(handle) = self.lock().as_ref() {
            handle.interrupt();
        }
    }
}

impl Stop {
    fn asked(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
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
    pub(super) fn new(conn: Connection, relation: String, in_use: Arc<()>) -> Self {
        let handle = Arc::new(Mutex::new(Some(conn.interrupt_handle())));
        Self { conn, relation, stop: Stop { flag: Arc::default(), handle }, _in_use: in_use }
    }

    pub(super) fn run_sql(
        self,
        sql: &str,
        cells: Vec<Cell>,
        settings: &Settings,
        answer: &mut Answer,
    ) -> Result<(), CallError> {
        let tell = |error: duckdb::Error| self.explain(&error, settings);
        let mut statement = self.conn.prepare(sql).map_err(tell)?;
        // The iterator that this returns panics when a chunk fails, an interrupted one for example; so its steps are taken by hand.
        drop(statement.stream_arrow(params_from_iter(cells.into_iter().map(value))).map_err(tell)?);
        let schema = statement.schema();
        answer.begin(&schema)?;
        while let Some(chunk) = statement.step().map_err(tell)? {
            if self.stop.asked() {
                return Err(timed_out(settings));
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
            return timed_out(settings);
        }
        let text = settings.without_paths(error);
        CallError::exception(text.lines().next().unwrap_or_default().chars().take(300).collect::<String>())
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
