//! Queries that run on the engine's database, and how their connections end.
//!
//! DuckDB has one budget of memory for a database, so a query can take what the engine needs for a batch. The engine comes first:
//! when it finds no memory, the query that runs longest is ended, and the engine tries again.
//!
//! A connection that goes with a transaction open rolls back in its destructor, where an error ends the process: out of memory there
//! was SIGABRT. So a transaction is always ended by a statement, whose error is taken; where even that fails, the connection is kept
//! until it succeeds.

use super::query::Stop;
use crate::history::engine::error::EngineError;
use duckdb::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a query that should end is waited for, in steps.
const PATIENCE: u32 = 1000;
const STEP: Duration = Duration::from_millis(5);

/// Shared by the engine and the views it has given out.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last: u64,
    /// In the order in which they began.
    queries: Vec<(u64, Stop)>,
    /// Connections whose transaction could not be ended, each with its share in the database.
    aside: Vec<(Connection, Arc<()>)>,
    ended_for_memory: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("queries", &self.queries.len()).field("aside", &self.aside.len()).finish_non_exhaustive()
    }
}

/// A query on the list; it leaves the list with this.
#[derive(Debug)]
pub(super) struct Entry {
    running: Running,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().queries.retain(|(number, _)| *number != self.number);
    }
}

impl Running {
    pub(super) fn enter(&self, stop: Stop) -> Entry {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.queries.push((number, stop));
        Entry { running: self.clone(), number }
    }

    /// Ends the query that runs longest, and waits until it has. `false`: there is none, or it does not end.
    pub(super) fn relieve(&self) -> bool {
        let Some((number, stop)) = self.lock().queries.first().cloned() else { return false };
        log::warn!("a query was ended: its memory is needed for what the engine does");
        self.lock().ended_for_memory += 1;
        for _ in 0..PATIENCE {
            if self.lock().queries.iter().all(|(other, _)| *other != number) {
                return true;
            }
            stop.for_memory();
            std::thread::sleep(STEP);
        }
        false
    }

    /// Runs `work`; while it finds no memory, queries are ended for it. `work` must leave nothing behind when it fails.
    pub(super) fn with_memory<T>(&self, mut work: impl FnMut() -> Result<T, EngineError>) -> Result<T, EngineError> {
        loop {
            self.retry();
            match work() {
                Err(error) if error.is_out_of_memory() && self.relieve() => {}
                done => return done,
            }
        }
    }

    /// Ends a transaction and lets its connection go, or keeps it until that succeeds.
    pub(super) fn end(&self, conn: Connection, in_use: Arc<()>) {
        if let Err(error) = roll_back(&conn) {
            log::warn!(error:% = error; "a read transaction could not be ended yet; its connection is kept until it can");
            self.lock().aside.push((conn, in_use));
        }
        self.retry();
    }

    /// Ends the transaction of a connection that is about to go; queries end for it, if need be.
    pub(super) fn end_before_close(&self, conn: &Connection) {
        for _ in 0..PATIENCE {
            match roll_back(conn) {
                Ok(()) => return,
                Err(error) if !self.relieve() => {
                    log::debug!(error:% = error; "no memory yet to end a transaction");
                    std::thread::sleep(STEP);
                }
                Err(_) => {}
            }
        }
    }

    /// Tries again to end what could not be ended.
    pub(super) fn retry(&self) {
        // Whatever goes, goes without the lock: it may take its time.
        let aside = std::mem::take(&mut self.lock().aside);
        let (still, ended): (Vec<_>, Vec<_>) = aside.into_iter().partition(|(conn, _)| roll_back(conn).is_err());
        self.lock().aside.extend(still);
        drop(ended);
    }

    /// Queries that were ended because the engine needed their memory.
    #[cfg(test)]
    pub(super) fn ended_for_memory(&self) -> u64 {
        self.lock().ended_for_memory
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the transaction of a connection, if it has one. An error means that it is still open for want of memory.
fn roll_back(conn: &Connection) -> Result<(), duckdb::Error> {
    match conn.execute_batch("ROLLBACK") {
        // Whatever else is wrong does not get better by waiting; "no transaction is active" is as good as an end.
        Err(error) if is_out_of_memory(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether it is memory that DuckDB lacks.
pub(in crate::history::engine) fn is_out_of_memory(error: &duckdb::Error) -> bool {
    let text = error.to_string();
    text.contains("Out of Memory Error") || text.contains("could not allocate block") || text.contains("bad allocation")
}
