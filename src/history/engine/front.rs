//! The engine's side of the thread boundary: admission, deadlines, and the conversation with the follower.

use super::answer::timed_out;
use super::follow::{Ask, Follower};
use super::store::{Stop, View};
use crate::clock::SharedClock;
use crate::history::model::{CallError, Schema};
use crate::history::settings::Settings;
use crate::history::sql::Query;
use crate::history::status::{Phase, SharedStatus};
use crate::message::Seq;
use crate::wal::LogHandle;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Queries that run at once: DuckDB has two threads.
const RUNNING: usize = 2;
/// Queries that may wait for their turn; one more is told that history is busy.
const WAITING: usize = 16;
/// Changes that may wait for being applied.
const COMMANDS: usize = 64;
/// How often a query that should end is reminded.
const REMIND: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Engine {
    settings: Arc<Settings>,
    log: LogHandle,
    status: SharedStatus,
    asks: mpsc::Sender<Ask>,
    /// Running and waiting.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    commands: Arc<Semaphore>,
}

impl Engine {
    pub(crate) fn start(
        settings: Settings,
        schema: Arc<Schema>,
        log: LogHandle,
        clock: SharedClock,
        status: SharedStatus,
    ) -> Self {
        let settings = Arc::new(settings);
        let (asks, inbox) = mpsc::channel(RUNNING + WAITING + COMMANDS + 1);
        let follower = Follower::new(settings.clone(), schema, log.clone(), clock, status.clone(), inbox);
        let started = tokio::runtime::Builder::new_current_thread().enable_time().build().and_then(|runtime| {
            std::thread::Builder::new().name("history".to_owned()).spawn(move || runtime.block_on(follower.run()))
        });
        if let Err(error) = started {
            log::error!(error:%; "history cannot start");
            status.update(|status| status.phase = Phase::Unavailable(format!("no thread for history: {error}")));
        }
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (admitted, running) = (semaphore(RUNNING + WAITING), semaphore(RUNNING));
        Self { settings, log, status, asks, admitted, running, commands: semaphore(COMMANDS) }
    }

    /// Answers a query from a view that has every record up to `upto`.
    pub(crate) async fn query(&self, table: &str, query: Query, upto: Seq) -> Result<Bytes, CallError> {
        let Ok(place) = self.admitted.clone().try_acquire_owned() else {
            self.status.update(|status| status.queries_busy += 1);
            return Err(CallError::exception(format!("history is busy: {RUNNING} queries run and {WAITING} wait")));
        };
        let timeout = tokio::time::sleep(self.settings.query_timeout);
        tokio::pin!(timeout);
        let prepared = async {
            let turn = self.running.clone().acquire_owned().await.map_err(|_| stopped())?;
            Ok((self.pin(table, &query, upto).await?, turn))
        };
        let (view, turn) = tokio::select! {
            prepared = prepared => prepared?,
            () = &mut timeout => return Err(self.not_in_time(upto)),
        };
        let stop = StopAtEnd(view.stop());
        let settings = self.settings.clone();
        let mut work = tokio::task::spawn_blocking(move || {
            let answer = view.run(&query, &settings);
            drop((place, turn));
            answer
        });
        tokio::select! {
            answer = &mut work => return answer.unwrap_or_else(|_| Err(stopped())),
            () = &mut timeout => {}
        }
        loop {
            stop.0.now();
            match tokio::time::timeout(REMIND, &mut work).await {
                Ok(answer) => return answer.unwrap_or_else(|_| Err(stopped())),
                Err(_) => continue,
            }
        }
    }

    async fn pin(&self, table: &str, query: &Query, upto: Seq) -> Result<Box<dyn View>, CallError> {
        self.log.flush(upto).await.map_err(|error| CallError::exception(format!("the log cannot be read: {error}")))?;
        let at_us = query.when().map(|when| i64::try_from(when.0 / 1000).unwrap_or(i64::MAX));
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Pin { table: table.to_owned(), at_us, upto, reply };
        self.asks.send(ask).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn not_in_time(&self, upto: Seq) -> CallError {
        let status = self.status.copy();
        let behind = upto.0.saturating_sub(status.ingested.0);
        match (status.trouble(), status.last_error) {
            (Some(trouble), _) => CallError::exception(trouble),
            (None, Some(error)) if behind > 0 => {
                CallError::exception(format!("history is {behind} records behind; its last trouble was: {error}"))
            }
            (None, _) => timed_out(&self.settings),
        }
    }

    /// Room for one more change to wait, unless it would wait for nothing.
    pub(crate) fn place_for_command(&self) -> Result<OwnedSemaphorePermit, CallError> {
        if let Phase::Unavailable(why) = self.status.copy().phase {
            return Err(CallError::exception(why));
        }
        let busy = |_| CallError::exception(format!("history is busy: {COMMANDS} changes wait"));
        self.commands.clone().try_acquire_owned().map_err(busy)
    }

    /// Waits until the change in record `seq` has been applied, and says how that went.
    pub(crate) async fn applied(&self, seq: Seq) -> Result<(), CallError> {
        let applied = async {
            let (reply, answer) = oneshot::channel();
            self.asks.send(Ask::Applied { seq, reply }).await.map_err(|_| stopped())?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        };
        let late = || CallError::exception("the change is accepted and will be applied, but not yet");
        tokio::time::timeout(self.settings.query_timeout, applied).await.unwrap_or_else(|_| Err(late()))
    }

    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.asks.send(Ask::Close { reply }).await.is_ok() {
            // Closed or gone, it has ended either way.
            let _ended = closed.await;
        }
    }
}

/// Ends the query when whoever asked is gone.
struct StopAtEnd(Box<dyn Stop>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.now();
    }
}

fn stopped() -> CallError {
    CallError::exception("history is closed")
}
