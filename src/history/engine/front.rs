//! The engine's side of the thread boundary: admission, deadlines, and the conversation with the follower.

use super::answer::{Answer, timed_out};
use super::answer_memory::{AnswerMemory, AnswerPermit};
use super::damage;
use super::folders;
use super::follow::{Ask, Follower, Latest};
use super::hold::HeldLake;
use super::newest;
use super::store::{Stop, View};
use super::turns::{RUNNING, Turn, Turns, WAITING};
use crate::clock::SharedClock;
use crate::history::evolution::Remembered;
use crate::history::model::{CallError, Caller, Schema, Table};
use crate::history::settings::Settings;
use crate::history::sql::Query;
use crate::history::status::{Phase, SharedStatus, Tidied};
use crate::message::Seq;
use crate::wal::LogHandle;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// An answer that is read as it is made may take so long.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3600);
/// Changes that may wait for being applied.
const COMMANDS: usize = 64;
/// How often a query that should end is reminded.
const REMIND: Duration = Duration::from_millis(20);

/// What a view is wanted of.
#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Any,
    /// The newest row of each key.
    Latest(&'a Table),
}

/// Why there is no answer.
#[derive(Debug)]
struct Failed {
    error: CallError,
    /// There was not enough memory, and another query had some of it.
    starved: bool,
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self { error, starved: false }
    }
}

#[derive(Debug)]
pub(crate) struct Engine {
    settings: Arc<Settings>,
    log: LogHandle,
    status: SharedStatus,
    asks: mpsc::Sender<Ask>,
    turns: Turns,
    memory: AnswerMemory,
    commands: Arc<Semaphore>,
    /// For what is done to the lake as a whole.
    whole: Arc<Semaphore>,
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
        let (asks, inbox) = mpsc::channel(RUNNING + WAITING + COMMANDS + 3);
        let follower = Follower::new(settings.clone(), schema, log.clone(), clock, status.clone(), inbox);
        let started = tokio::runtime::Builder::new_current_thread().enable_time().build().and_then(|runtime| {
            std::thread::Builder::new().name("history".to_owned()).spawn(move || runtime.block_on(follower.run()))
        });
        if let Err(error) = started {
            log::error!(error:%; "history cannot start");
            status.update(|status| status.phase = Phase::Unavailable(format!("no thread for history: {error}")));
        }
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            settings,
            log,
            status,
            asks,
            turns: Turns::default(),
            memory: AnswerMemory::default(),
            commands: semaphore(COMMANDS),
            whole: semaphore(1),
        }
    }

    /// Answers a query from a view that has every record up to `upto`.
    pub(crate) async fn query(&self, caller: Caller, table: &str, query: Query, upto: Seq) -> Result<Bytes, CallError> {
        self.frame(caller, table, query, upto, Kind::Any).await
    }

    /// Answers `latest_T`, from memory if it is there.
    pub(crate) async fn newest(&self, caller: Caller, table: &Table, query: Query, upto: Seq) -> Result<Bytes, CallError> {
        self.frame(caller, &table.name, query, upto, Kind::Latest(table)).await
    }

    async fn frame(&self, caller: Caller, table: &str, query: Query, upto: Seq, kind: Kind<'_>) -> Result<Bytes, CallError> {
        let until = Instant::now() + self.settings.query_timeout;
        let frame = || Answer::frame(&self.settings);
        let done = match self.answer((caller, false), table, query.clone(), upto, frame(), until, kind).await {
            // The memory that it lacked may have been another's.
            Err(Failed { starved: true, .. }) => self.answer((caller, true), table, query, upto, frame(), until, kind).await,
            done => done,
        };
        let (bytes, turn) = done.map_err(|failed| failed.error)?;
        let permit = self.memory.take(caller, bytes.len()).await;
        drop(turn);
        Ok(Bytes::from_owner(Kept { bytes, _permit: permit? }))
    }

    /// As [`query`](Self::query), but the Arrow stream goes out in pieces as it is made, of any length, as fast as `to` is read.
    pub(crate) async fn stream(
        &self,
        caller: Caller,
        table: &str,
        query: Query,
        upto: Seq,
        to: mpsc::Sender<Bytes>,
    ) -> Result<(), CallError> {
        let until = Instant::now() + STREAM_TIMEOUT;
        let done = self.answer((caller, false), table, query, upto, Answer::stream(to), until, Kind::Any).await;
        done.map(|_| ()).map_err(|failed| failed.error)
    }

    #[expect(clippy::too_many_arguments, reason = "one query is as many things, and three callers differ in each")]
    async fn answer(
        &self,
        (caller, alone): (Caller, bool),
        table: &str,
        query: Query,
        upto: Seq,
        mut answer: Answer,
        until: Instant,
        kind: Kind<'_>,
    ) -> Result<(Bytes, Turn), Failed> {
        let place = if alone { self.turns.enter_alone(caller) } else { self.turns.enter(caller) };
        let mut place = place.inspect_err(|_| self.status.update(|status| status.queries_busy += 1))?;
        let timeout = tokio::time::sleep_until(until);
        // A view that does not come is late however long the answer may take.
        let pinning = tokio::time::sleep_until(until.min(Instant::now() + self.settings.query_timeout));
        tokio::pin!(timeout, pinning);
        let prepared = async {
            let turn = place.turn().await.ok_or_else(stopped)?;
            let view = match kind {
                Kind::Any => self.pin(table, &query, upto).await?,
                Kind::Latest(table) => self.latest(table, upto).await?,
            };
            Ok::<_, CallError>((view, turn))
        };
        let (view, turn) = tokio::select! {
            prepared = prepared => prepared?,
            () = &mut pinning => return Err(self.not_in_time(upto).into()),
        };
        drop(place);
        let (stop, asked) = (view.stop(), view.stop());
        let settings = self.settings.clone();
        let (ended, end) = oneshot::channel::<()>();
        let mut work = tokio::task::spawn_blocking(move || {
            let done = view.run(&query, &settings, &mut answer).and_then(|()| answer.finish());
            drop(ended);
            match done {
                Ok(bytes) => Ok((bytes, turn)),
                Err(error) => Err(Failed { error, starved: asked.wanted_memory() && turn.was_shared() }),
            }
        });
        // Whoever asked may go at any moment, which drops this future.
        let mut stopper = Stopper { stop: Some(stop), end: Some(end) };
        tokio::select! {
            done = &mut work => {
                stopper.stop = None;
                let done = done.unwrap_or_else(|_| Err(stopped().into()));
                if done.as_ref().is_err_and(|failed| damage::may_be_of_a_file(&failed.error.text)) {
                    // Whoever follows is busy then, and the next query says it again.
                    drop(self.asks.try_send(Ask::Suspect { table: table.to_owned() }));
                }
                return done;
            }
            () = &mut timeout => drop(stopper),
        }
        work.await.unwrap_or_else(|_| Err(stopped().into()))
    }

    /// A view of the newest rows; a query that makes them known is started if need be.
    async fn latest(&self, table: &Table, upto: Seq) -> Result<Box<dyn View>, CallError> {
        let upto = self.readable(upto).await?;
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Latest { table: table.name.clone(), upto, reply }).await.map_err(|_| stopped())?;
        let Latest { view, filling } = answer.await.unwrap_or_else(|_| Err(stopped()))?;
        if let Some((view, filling)) = filling {
            self.fill(table, view, filling);
        }
        Ok(view)
    }

    /// Reads the newest row of every key beside whatever else is done; as a query of the gateway's own, with a deadline.
    fn fill(&self, table: &Table, view: Box<dyn View>, filling: u64) {
        let (settings, asks, turns) = (self.settings.clone(), self.asks.clone(), self.turns.clone());
        let (known, table) = (table.clone(), table.name.clone());
        tokio::spawn(async move {
            let mut turn = None;
            if let Ok(mut place) = turns.enter(Caller::GATEWAY) {
                turn = place.turn().await;
            }
            let stop = view.stop();
            let rows = if turn.is_some() {
                let limits = settings.clone();
                let mut work = tokio::task::spawn_blocking(move || {
                    let mut answer = Answer::frame(&limits);
                    view.run(&Query::newest_of_all(&known), &limits, &mut answer).ok()?;
                    newest::cells(&known, &answer.finish().ok()?)
                });
                match tokio::time::timeout(settings.query_timeout, &mut work).await {
                    Ok(rows) => rows.ok().flatten(),
                    Err(_) => {
                        stop.now();
                        work.await.ok().flatten()
                    }
                }
            } else {
                None
            };
            drop(turn);
            // Without an engine there is nobody who wants to know.
            asks.send(Ask::Filled { table, filling, rows }).await.ok();
        });
    }

    /// Waits until the log can be read up to `upto`, or as far as it has room for it: what comes behind that was acknowledged to nobody.
    async fn readable(&self, upto: Seq) -> Result<Seq, CallError> {
        self.log.flush(upto).await.map_err(|error| CallError::exception(format!("the log cannot be read: {error}")))
    }

    async fn pin(&self, table: &str, query: &Query, upto: Seq) -> Result<Box<dyn View>, CallError> {
        let upto = self.readable(upto).await?;
        let at_us = query.when().map(|when| i64::try_from(when.0 / 1000).unwrap_or(i64::MAX));
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Pin { table: table.to_owned(), at_us, upto, reply };
        self.asks.send(ask).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// What the files of a table take; `None` if that cannot be found out.
    pub(crate) fn bytes_on_disk(&self, table: &str) -> Option<u64> {
        if self.settings.data.is_remote() {
            return None;
        }
        let mut folders = vec![folders::files(&self.settings).join("main").join(table)];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).ok()? {
                let entry = entry.ok()?;
                let about = entry.metadata().ok()?;
                bytes += if about.is_dir() { 0 } else { about.len() };
                if about.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Some(bytes)
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

    /// The lake held still, with every record up to `upto`. One at a time.
    pub(crate) async fn hold(&self, upto: Seq) -> Result<(HeldLake, OwnedSemaphorePermit), CallError> {
        let place = self.place_for_whole()?;
        let held = self.ask_whole(upto, |upto, reply| Ask::Hold { upto, reply });
        let held = tokio::time::timeout(self.settings.query_timeout, held).await.map_err(|_| self.not_in_time(upto))??;
        Ok((held?, place))
    }

    /// A whole pass of upkeep, now.
    pub(crate) async fn compact(&self, upto: Seq) -> Result<Tidied, CallError> {
        let _place = self.place_for_whole()?;
        let done = self.ask_whole(upto, |upto, reply| Ask::Compact { upto, reply });
        tokio::time::timeout(STREAM_TIMEOUT, done).await.map_err(|_| timed_out(&self.settings))?
    }

    async fn ask_whole<T>(&self, upto: Seq, ask: impl FnOnce(Seq, oneshot::Sender<T>) -> Ask) -> Result<T, CallError> {
        let upto = self.readable(upto).await?;
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(upto, reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| CallError::exception(self.status.copy().trouble().unwrap_or_else(|| "try again".to_owned())))
    }

    fn place_for_whole(&self) -> Result<OwnedSemaphorePermit, CallError> {
        let busy = |_| CallError::exception("another command works on the whole lake; try again when it is done");
        self.whole.clone().try_acquire_owned().map_err(busy)
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

    /// Opens the lake with another schema; blocks until it is open.
    pub(crate) fn take_schema(&self, schema: Arc<Schema>) -> Result<(), String> {
        let conflicts = Remembered::read(&self.settings.lake).conflicts(&schema);
        if let Some(first) = conflicts.first() {
            return Err(format!("table `{}`: {}", first.table, first.reason));
        }
        let (reply, taken) = oneshot::channel();
        self.asks.blocking_send(Ask::Schema { schema, reply }).map_err(|_| stopped().text)?;
        taken.blocking_recv().map_err(|_| stopped().text)
    }

    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.asks.send(Ask::Close { reply }).await.is_ok() {
            // Closed or gone, it has ended either way.
            let _ended = closed.await;
        }
    }
}

/// Bytes of an answer, and the room that they take until the last of them is sent.
struct Kept {
    bytes: Bytes,
    _permit: AnswerPermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Ends a query when nobody waits for it any more: at its deadline, or when whoever asked is gone.
struct Stopper {
    stop: Option<Box<dyn Stop>>,
    end: Option<oneshot::Receiver<()>>,
}

impl Drop for Stopper {
    fn drop(&mut self) {
        let (Some(stop), Some(mut end)) = (self.stop.take(), self.end.take()) else { return };
        stop.now();
        // Without a runtime the process is about to end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                while tokio::time::timeout(REMIND, &mut end).await.is_err() {
                    stop.now();
                }
            });
        }
    }
}

fn stopped() -> CallError {
    CallError::exception("history is closed")
}
