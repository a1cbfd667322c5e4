//! Follows the log: opens the lake, takes records in order, decides when a batch is due, answers what queries ask for.
//!
//! ```text
//!            ┌────────── pause, longer each time ◀──────────┐
//!            ▼                                              │
//! start ─▶ open the lake ─▶ read · apply · batch · answer ─▶ something failed of which only a new opening tells the extent
//!            └─ fails ─▶ unavailable, said to callers ──────┘
//! ```
//! A batch that fails without changing anything (no room, for example) is tried again without opening anew; rows gather meanwhile
//! up to a bound, then they wait in the log.

use super::adopt;
use super::damage::{Damage, FileKind};
use super::error::EngineError;
use super::hold::HeldLake;
use super::loss;
use super::session::{Session, Turn};
use super::store::{self, Store, View};
use crate::clock::{Mono, SharedClock};
use crate::history::model::{CallError, Cell, Schema};
use crate::history::settings::Settings;
use crate::history::status::{Phase, SharedStatus, Tidied};
use crate::message::Seq;
use crate::wal::{Hold, LogHandle};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const SUSPECT_ALL_EVERY: Duration = Duration::from_secs(3600);
/// Outcomes of changes that are remembered for callers who ask late.
const OUTCOMES: usize = 1024;

/// What the front asks for. Its semaphores bound how many there are.
#[derive(Debug)]
pub(super) enum Ask {
    /// A view that has every record up to `upto`.
    Pin { table: String, at_us: Option<i64>, upto: Seq, reply: oneshot::Sender<Result<Box<dyn View>, CallError>> },
    /// The newest row of each key of a table, with every record up to `upto`.
    Latest { table: String, upto: Seq, reply: oneshot::Sender<Result<Latest, CallError>> },
    /// What a query found that was to make them known.
    Filled { table: String, filling: u64, rows: Option<Vec<Vec<Cell>>> },
    /// A query of this table failed for a reason that may be one of its files.
    Suspect { table: String },
    /// How the change in record `seq` went.
    Applied { seq: Seq, reply: oneshot::Sender<Result<(), CallError>> },
    /// The lake held still, with every record up to `upto` in its files.
    Hold { upto: Seq, reply: oneshot::Sender<Result<HeldLake, CallError>> },
    /// A whole pass of upkeep now, with every record up to `upto` in files before it begins.
    Compact { upto: Seq, reply: oneshot::Sender<Tidied> },
    /// Goes on with another schema; the answer comes when the lake is open with it.
    Schema { schema: Arc<Schema>, reply: oneshot::Sender<()> },
    /// A last batch, then the end.
    Close { reply: oneshot::Sender<()> },
}

/// What `latest_T` is answered from.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) view: Box<dyn View>,
    /// A view of everything for a query that makes the rows known, and its number.
    pub(super) filling: Option<(Box<dyn View>, u64)>,
}

/// Why the work with an open lake came to its end.
enum Ended {
    /// Somebody asked for the end, or nobody is there any more.
    Closed(Option<oneshot::Sender<()>>),
    /// The lake is to be opened with this schema.
    Schema(Arc<Schema>, oneshot::Sender<()>),
}

/// How changes went, newest last.
#[derive(Debug, Default)]
pub(super) struct Outcomes(VecDeque<(Seq, Result<(), CallError>)>);

impl Outcomes {
    pub(super) fn add(&mut self, seq: Seq, outcome: Result<(), CallError>) {
        if self.0.len() >= OUTCOMES {
            self.0.pop_front();
        }
        self.0.push_back((seq, outcome));
    }

    pub(super) fn find(&self, seq: Seq) -> Option<Result<(), CallError>> {
        self.0.iter().rev().find(|(of, _)| *of == seq).map(|(_, outcome)| outcome.clone())
    }
}

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) settings: Arc<Settings>,
    pub(super) schema: Arc<Schema>,
    pub(super) log: LogHandle,
    /// What is not in the lake yet stays in the log.
    pub(super) hold: Hold,
    pub(super) clock: SharedClock,
    pub(super) status: SharedStatus,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// Asks that cannot be answered yet.
    pub(super) waiting: Vec<Ask>,
    pub(super) outcomes: Outcomes,
    /// Tables whose files are to be checked when the lake is open again: something failed, and nobody knows with which.
    pub(super) suspects: Vec<String>,
    suspected: Option<Mono>,
}

impl Follower {
    pub(super) fn new(
        settings: Arc<Settings>,
        schema: Arc<Schema>,
        log: LogHandle,
        clock: SharedClock,
        status: SharedStatus,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        let hold = log.hold(Seq(0));
        let (waiting, outcomes) = (Vec::new(), Outcomes::default());
        Self { settings, schema, log, hold, clock, status, asks, waiting, outcomes, suspects: Vec::new(), suspected: None }
    }

    /// Until somebody closes it, or everybody who could is gone.
    pub(super) async fn run(mut self) {
        let closing = self.work().await;
        self.status.update(|status| status.phase = Phase::Closed);
        if let Some(reply) = closing
            && reply.send(()).is_err()
        {
            log::debug!("nobody waited for history to close");
        }
    }

    async fn work(&mut self) -> Option<oneshot::Sender<()>> {
        let mut pause = PAUSE_MIN;
        let mut taken: Option<oneshot::Sender<()>> = None;
        loop {
            let failed = match self.open() {
                Ok(store) => {
                    // Whoever asked may have given up.
                    taken.take().map(|reply| reply.send(()));
                    let began = self.clock.mono();
                    match self.follow(store).await {
                        Ok(Ended::Closed(closing)) => return closing,
                        Ok(Ended::Schema(schema, reply)) => {
                            self.schema = schema;
                            self.status.update(|status| status.phase = Phase::Opening);
                            taken = Some(reply);
                            continue;
                        }
                        // What was bad is not in it any more: it works again at once.
                        Err(EngineError::SetAside(_)) => {
                            self.status.update(|status| status.phase = Phase::Opening);
                            continue;
                        }
                        Err(error) => {
                            self.suspect_all(&error);
                            if self.clock.mono().since(began) > PAUSE_MAX {
                                pause = PAUSE_MIN;
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            log::error!(error:% = failed, retry_s = pause.as_secs(); "history is not available");
            let why = format!("history is not available: {}", self.settings.without_paths(&failed));
            self.status.update(|status| {
                status.last_error = Some(why.clone());
                status.phase = Phase::Unavailable(why.clone());
            });
            if let Some(closing) = self.rest(pause, &why).await {
                return closing;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// What failed at work may have met a bad file. Not more often than once an hour: that reads the whole lake.
    fn suspect_all(&mut self, error: &EngineError) {
        let now = self.clock.mono();
        let known = matches!(error, EngineError::Log(_) | EngineError::NoRoom { .. });
        if known || self.suspected.is_some_and(|suspected| now.since(suspected) < SUSPECT_ALL_EVERY) {
            return;
        }
        self.suspected = Some(now);
        self.suspects = self.schema.tables.iter().map(|table| table.name.clone()).collect();
    }

    fn open(&self) -> Result<Box<dyn Store>, EngineError> {
        let began = self.clock.mono();
        let settings = Settings { log_first: self.log_first(), ..Settings::clone(&self.settings) };
        let log = self.log.identity().clone();
        let (mut store, opened) = store::open(&settings, &self.schema, self.settings.disk.clone(), log)?;
        if let Some(stated) = opened.beyond {
            let last = store.covered();
            log::error!(covered:% = stated, last:%;
                "the log has lost records that the lake already has; its next records are taken as new ones");
            // What an older release wrote does not say when, and is only found out at the first start behind the loss.
            store.restate(last)?;
        }
        if let Some(why) = &opened.fresh {
            log::error!(why:%; "the lake's catalog cannot be read: moved to `lake/quarantine` with its files, a fresh lake was \
                started and takes what the log still has");
        }
        self.tell_damage(&opened.damage);
        for (table, why) in store.refused() {
            log::error!(table, why; "history of this table is refused: the lake has it otherwise than the schema wants it");
        }
        let milliseconds = self.clock.mono().since(began).as_millis();
        log::info!(covered:% = store.covered(), tables = store.figures().len(), leftovers = opened.orphans, milliseconds;
            "the lake is open");
        self.status.update(|status| {
            status.phase = Phase::Running;
            status.covered = store.covered();
            status.ingested = store.covered();
            for table in store.figures() {
                let shown = status.tables.entry(table.name.to_owned()).or_default();
                (shown.rows_in_lake, shown.rows_in_tail, shown.refused) = (table.rows_in_lake, 0, None);
            }
            for (table, why) in store.refused() {
                status.tables.entry(table.to_owned()).or_default().refused = Some(why.to_owned());
            }
        });
        Ok(store)
    }

    /// The oldest record that the log has; the next one if it has none.
    fn log_first(&self) -> Seq {
        match self.log.stats().oldest {
            Seq(0) => self.log.state().borrow().written.next(),
            oldest => oldest,
        }
    }

    /// Says what was found and what was done about it.
    pub(super) fn tell_damage(&self, damage: &[Damage]) {
        for damage in damage {
            let (file, what) = (damage.file.display(), &damage.what);
            let where_to = if damage.in_place { "left where it is, and tried again" } else { "moved to `lake/quarantine`" };
            match damage.kind {
                FileKind::Rows => {
                    log::error!(table = damage.table, file:%, rows = damage.rows; "a file of the lake {what}: {where_to}");
                }
                FileKind::Deletions => log::error!(table = damage.table, file:%, rows_back = damage.rows;
                    "a file of deletions {what}: {where_to}; the rows it deleted are back"),
            }
        }
    }

    /// Works with an open lake, and closes it. `Ok`: somebody asked for the end, or nobody is there any more.
    async fn follow(&mut self, store: Box<dyn Store>) -> Result<Ended, EngineError> {
        let mut store = store;
        let losses =
            loss::make_good(store.as_mut(), &self.settings, &self.schema, &self.log, self.settings.disk.as_ref()).await?;
        adopt::lost(store.as_mut(), &self.settings, &self.schema, self.log.log_id(), self.log_first())?;
        self.status.update(|status| status.losses = losses);
        let mut session = Session::new(self, store)?;
        let ended = loop {
            match session.turn(self).await {
                Ok(Turn::Goes) => {}
                Ok(Turn::Abandoned) => break Ok(Ended::Closed(None)),
                Ok(Turn::Closed(reply)) => break Ok(Ended::Closed(Some(reply))),
                Ok(Turn::Schema(schema, reply)) => break Ok(Ended::Schema(schema, reply)),
                Err(error) => break Err(error),
            }
        };
        // The lake is not opened again under a running query. Each has its deadline, so this ends.
        while !matches!(ended, Ok(Ended::Closed(_))) && session.store.in_use() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ended
    }

    /// Says no to everybody for a while. Returns something when the end came meanwhile: as [`follow`](Self::follow).
    async fn rest(&mut self, pause: Duration, why: &str) -> Option<Option<oneshot::Sender<()>>> {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        loop {
            let ask = match waiting.next() {
                Some(ask) => ask,
                None => tokio::select! {
                    () = &mut over => return None,
                    ask = self.asks.recv() => match ask {
                        Some(ask) => ask,
                        None => return Some(None),
                    },
                },
            };
            // Whoever asked may have given up.
            let told = match ask {
                Ask::Pin { reply, .. } => reply.send(Err(CallError::exception(why))).is_ok(),
                Ask::Applied { reply, .. } => reply.send(Err(CallError::exception(why))).is_ok(),
                Ask::Hold { reply, .. } => reply.send(Err(CallError::exception(why))).is_ok(),
                Ask::Latest { reply, .. } => reply.send(Err(CallError::exception(why))).is_ok(),
                Ask::Filled { .. } | Ask::Suspect { .. } => false,
                // Whoever asked hears that there is no answer.
                Ask::Compact { .. } => false,
                Ask::Schema { schema, reply } => {
                    self.schema = schema;
                    reply.send(()).is_ok()
                }
                Ask::Close { reply } => return Some(Some(reply)),
            };
            log::trace!(told; "refused without a lake");
        }
    }
}
