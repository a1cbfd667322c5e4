//! The follower's work while the lake is open, one turn at a time.

mod asks;
mod batches;
mod scrub;
mod upkeep;

use super::effect::{self, Effect};
use super::error::EngineError;
use super::follow::{Ask, Follower};
use super::loss;
use super::newest::Newest;
use super::scrub::Scrub;
use super::store::{DeleteError, Store};
use crate::clock::Mono;
use crate::history::model::{CallError, Schema};
use crate::history::row::Reject;
use crate::history::status::Tidied;
use crate::message::{Seq, kind};
use crate::wal::{Health, LogState, Reader, Record};
use batches::{batch_interval, tail_bytes};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Bytes of the log that are taken at once, so that asks are answered in between.
const READ_BYTES: usize = 256 << 10;
/// Asks that are held at once. The front's semaphores keep those that somebody still waits for below it.
const ASKS: usize = 128;
/// While batches fail, rows gather up to so many times of what a batch has.
const BACKLOG: usize = 4;
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Rejected rows are summed up for so long before they are told again.
const REJECTS_EVERY: Duration = Duration::from_secs(60);
/// The log hears that records without rows are not needed after so many of them, so many bytes, or so long.
const RELEASE_EVERY: u64 = 4096;
const RELEASE_BYTES: usize = 1 << 20;
const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// And the lake hears so seldom how many of them there were.
const PROGRESS_EVERY: u64 = 100_000;
/// The first pass of upkeep comes so long after the start, when everybody has reconnected.
const UPKEEP_FIRST: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) enum Turn {
    Goes,
    /// Nobody is there any more.
    Abandoned,
    /// Another schema was given. What is above the lake comes again from the log.
    Schema(Arc<Schema>, oneshot::Sender<()>),
    /// The last batch is written; the one who asked waits to hear that the lake is closed.
    Closed(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) store: Box<dyn Store>,
    reader: Reader,
    state: watch::Receiver<LogState>,
    /// Read and not yet applied.
    records: VecDeque<Record>,
    ingested: Seq,
    released: Seq,
    /// Bytes of records that were read since, and when that was.
    unreleased: usize,
    released_at: Mono,
    /// When the oldest row above the lake came.
    oldest: Option<Mono>,
    /// After a failed batch: not before then, and how long to wait after the next failure.
    retry: Option<Mono>,
    retry_pause: Duration,
    /// Batches that have failed since one succeeded.
    failures: u32,
    /// By table and cause: how many, and the first one's words.
    rejects: BTreeMap<(String, &'static str), (u64, String)>,
    rejects_told: Option<Mono>,
    /// When the next step of upkeep is due.
    upkeep: Mono,
    /// When the disk's room is looked at again.
    room: Mono,
    /// A table and its rows that were evicted and not yet told of.
    evicted: Option<(String, u64)>,
    newest: Newest,
    /// Tables that the lake cannot hold, and why: rows for them are refused and counted.
    refused: HashMap<String, String>,
    scrub: Scrub,
    /// Files that could not be read when the lake was opened, and when they are tried again.
    in_place: usize,
    again: Mono,
    /// Whether a pass of upkeep has begun and not ended.
    tidying: bool,
    /// Who waits for so many passes to end.
    compacting: Vec<(u32, oneshot::Sender<Tidied>)>,
}

impl Session {
    pub(super) fn new(follower: &mut Follower, store: Box<dyn Store>) -> Result<Self, EngineError> {
        let scrub = Scrub::new(&follower.settings, store.named()?, follower.clock.mono());
        let in_place = loss::in_place(&follower.settings).len();
        let covered = store.covered();
        follower.hold.release(covered);
        let refused = store.refused().into_iter().map(|(table, why)| (table.to_owned(), why.to_owned())).collect();
        let mut session = Self {
            refused,
            reader: follower.log.reader(covered.next()),
            state: follower.log.state(),
            records: VecDeque::new(),
            ingested: covered,
            released: covered,
            unreleased: 0,
            released_at: follower.clock.mono(),
            oldest: None,
            retry: None,
            retry_pause: RETRY_MIN,
            failures: 0,
            rejects: BTreeMap::new(),
            rejects_told: None,
            upkeep: follower.clock.mono().plus(UPKEEP_FIRST.min(follower.settings.maintenance)),
            room: Mono::default(),
            evicted: None,
            newest: Newest::default(),
            scrub,
            in_place,
            again: follower.clock.mono().plus(self::scrub::AGAIN),
            tidying: false,
            compacting: Vec::new(),
            store,
        };
        for table in std::mem::take(&mut follower.suspects) {
            session.suspect(follower, &table);
        }
        Ok(session)
    }

    /// Takes some records if there are any, else waits for something to happen.
    pub(super) async fn turn(&mut self, follower: &mut Follower) -> Result<Turn, EngineError> {
        follower.status.update(|status| status.turns += 1);
        self.take(follower).await?;
        let wants_room = self.room_is_due(follower);
        if wants_room && self.make_room(follower)? {
            // One thing at a time: what was given up may be enough.
        } else if self.scrub.has_suspects() {
            self.scrub(follower)?;
        } else if self.batch_is_due(follower) {
            self.batch(follower).await?;
        } else if self.upkeep_is_due(follower) {
            self.upkeep(follower)?;
            self.read_back();
            self.store.suspects().iter().for_each(|table| self.suspect(follower, table));
        } else if self.scrub_is_due(follower) {
            self.scrub(follower)?;
        }
        self.tell(follower);
        self.settle_for_asks(follower).await?;
        self.answer(follower)?;
        // A record that waits for the next attempt is not worked at again before that.
        let blocked = !self.records.is_empty() && self.retry.is_some_and(|retry| follower.clock.mono() < retry);
        let idle = blocked || self.records.is_empty() && !self.has_news();
        let next = if idle || !self.may_take(follower) {
            let wake = self.next_wake(follower);
            tokio::select! {
                ask = follower.asks.recv(), if follower.waiting.len() < ASKS => Some(ask),
                news = self.state.changed(), if !blocked && self.may_take(follower) => {
                    if news.is_err() {
                        return Ok(Turn::Abandoned);
                    }
                    None
                }
                () = tokio::time::sleep(wake) => None,
            }
        } else {
            None
        };
        match next {
            None => {}
            Some(None) => return Ok(Turn::Abandoned),
            Some(Some(ask)) => follower.waiting.push(ask),
        }
        while follower.waiting.len() < ASKS
            && let Ok(ask) = follower.asks.try_recv()
        {
            follower.waiting.push(ask);
        }
        let schema = follower.waiting.iter().position(|ask| matches!(ask, Ask::Schema { .. }));
        if let Some(Ask::Schema { schema, reply }) = schema.map(|place| follower.waiting.swap_remove(place)) {
            return Ok(Turn::Schema(schema, reply));
        }
        let closing = follower.waiting.iter().position(|ask| matches!(ask, Ask::Close { .. }));
        match closing.map(|place| follower.waiting.swap_remove(place)) {
            Some(Ask::Close { reply }) => {
                self.close(follower).await;
                Ok(Turn::Closed(reply))
            }
            _ => Ok(Turn::Goes),
        }
    }

    fn has_news(&self) -> bool {
        self.state.has_changed().unwrap_or(false)
    }

    /// Whether more rows may gather.
    fn may_take(&self, follower: &Follower) -> bool {
        self.store.tail_rows() < BACKLOG * follower.settings.batch_rows
            && self.store.tail_bytes() < BACKLOG * tail_bytes(follower)
    }

    /// Reads from the log and applies what was read, until there is a reason to stop.
    async fn take(&mut self, follower: &mut Follower) -> Result<(), EngineError> {
        if self.records.is_empty() && self.may_take(follower) {
            let written = self.state.borrow_and_update().written;
            self.records = self.reader.read(READ_BYTES)?.into();
            // Caught up. Records that are damaged or gone have no number here, so the log's own count is the one that tells.
            if self.records.is_empty() {
                self.ingested = self.ingested.max(written);
            } else {
                // More may have been written than was read; look again before waiting.
                self.state.mark_changed();
            }
        }
        while let Some(record) = self.records.front() {
            let (seq, bytes) = (record.seq, record.body.len());
            if !self.apply(follower).await? {
                break;
            }
            self.unreleased += bytes;
            self.records.pop_front();
            self.ingested = self.ingested.max(seq);
            if self.store.tail_rows() >= BACKLOG * follower.settings.batch_rows {
                break;
            }
        }
        if self.store.tail_rows() == 0 && self.release_is_due(follower) {
            self.release(follower, self.ingested);
            if self.ingested.0 >= self.store.covered().0 + PROGRESS_EVERY {
                self.note_progress(follower).await?;
            }
        }
        Ok(())
    }

    fn release_is_due(&self, follower: &Follower) -> bool {
        self.ingested > self.released
            && (self.ingested.0 >= self.released.0 + RELEASE_EVERY
                || self.unreleased >= RELEASE_BYTES
                || follower.clock.mono().since(self.released_at) >= RELEASE_AFTER
                || follower.log.is_held_up_by(self.released))
    }

    /// The log need not keep records up to here for history.
    fn release(&mut self, follower: &Follower, upto: Seq) {
        follower.hold.release(upto);
        (self.released, self.unreleased, self.released_at) = (upto, 0, follower.clock.mono());
    }

    /// Stores how far the log was read although nothing came of it, so that the next start need not read it again.
    async fn note_progress(&mut self, follower: &Follower) -> Result<(), EngineError> {
        // What the lake covers, the log must have: else a power cut could bring a number a second time.
        follower.log.sync(self.ingested).await?;
        self.store.restate(self.ingested)
    }

    /// Applies the first record; `false` if it has to wait for a batch that fails at present.
    async fn apply(&mut self, follower: &mut Follower) -> Result<bool, EngineError> {
        let Some(record) = self.records.front() else { return Ok(true) };
        let (seq, is_command) = (record.seq, record.kind == kind::TABLE_COMMAND);
        let outcome = match effect::of(&follower.schema, record) {
            Effect::Nothing => return Ok(true),
            Effect::Rows { table, rows, received_us } => {
                let taken = rows.rows.len() as u64;
                for reject in rows.rejects {
                    self.count_reject(follower, &table.name, reject);
                }
                if let Some(why) = self.refused.get(&table.name).filter(|_| taken > 0).cloned() {
                    self.count_reject(follower, &table.name, Reject::of_table(rows.rows.len(), &why));
                    Err(CallError::exception(format!("table {} is not available: {why}", table.name)))
                } else if taken > 0 {
                    self.newest.append(&table, &rows.rows, received_us);
                    self.store.append(&table.name, rows.rows, seq, received_us)?;
                    self.grown(follower);
                    follower.status.update(|status| status.tables.entry(table.name.clone()).or_default().rows_taken += taken);
                    Ok(())
                } else {
                    Ok(())
                }
            }
            Effect::Delete { table, predicate } => {
                let waits = self.retry.is_some_and(|retry| follower.clock.mono() < retry);
                if waits || self.store.tail_rows() > 0 && !self.batch(follower).await? {
                    return Ok(false);
                }
                self.newest.forget(&table.name);
                match self.store.delete(&table.name, &predicate, seq, None) {
                    Ok(()) => {
                        (self.retry, self.retry_pause) = (None, RETRY_MIN);
                        Ok(())
                    }
                    Err(DeleteError::Refused(error)) => {
                        log::warn!(table = table.name, seq:%, error:%; "rows could not be deleted");
                        Err(error)
                    }
                    Err(DeleteError::Again(error)) => {
                        self.suspect(follower, &table.name);
                        self.put_off(
                            follower,
                            &error,
                            "rows cannot be deleted at present; the deletion is kept and tried again",
                        );
                        return Ok(false);
                    }
                    Err(DeleteError::Reopen(error)) => return Err(error),
                }
            }
            Effect::Correction(correction) => {
                if self.store.tail_rows() > 0 && !self.batch(follower).await? {
                    return Ok(false);
                }
                let delta_us = correction.delta_ns / 1000;
                log::info!(from:% = correction.from, seconds = delta_us / 1_000_000;
                    "the time is known: rows that were received before are stamped again");
                self.newest.forget_all();
                self.store.restamp(correction.from, delta_us, seq)?;
                Ok(())
            }
            Effect::Refused { table, reject } => {
                self.count_reject(follower, &table.name, reject);
                return Ok(true);
            }
            Effect::Unreadable => {
                follower.status.update(|status| status.unreadable_records += 1);
                return Ok(true);
            }
            Effect::Outdated(error) => {
                log::warn!(seq:%, error:%; "a change in the log cannot be applied");
                follower.status.update(|status| status.unreadable_records += 1);
                Err(CallError::exception(error.to_string()))
            }
        };
        if is_command {
            follower.outcomes.add(seq, outcome);
        }
        Ok(true)
    }

    /// How long nothing needs to be done if nothing happens.
    fn next_wake(&self, follower: &Follower) -> Duration {
        let now = follower.clock.mono();
        let due = self.oldest.map(|oldest| oldest.plus(batch_interval(follower)));
        // A failed batch is tried again at its time; otherwise when the oldest row is old enough.
        let batch = match (self.retry, due) {
            (Some(retry), _) => Some(retry),
            (None, due) => due,
        };
        let rejects = (!self.rejects.is_empty()).then(|| self.rejects_told.map_or(now, |told| told.plus(REJECTS_EVERY)));
        let full = self.state.borrow().health == Health::Full;
        let room = (full || self.store.tail_rows() > 0).then_some(self.room);
        let next = [batch, rejects, Some(self.upkeep), room, self.scrub_wake(follower)].into_iter().flatten().min();
        next.map_or(Duration::from_secs(3600), |at| at.since(now).max(Duration::from_millis(1)))
    }

    fn count_reject(&mut self, follower: &Follower, table: &str, reject: Reject) {
        let count = reject.rows as u64;
        let cause = reject.cause.name();
        let entry = self.rejects.entry((table.to_owned(), cause)).or_insert((0, reject.text));
        entry.0 += count;
        follower.status.update(|status| {
            *status.tables.entry(table.to_owned()).or_default().rejected.entry(cause.to_owned()).or_default() += count;
        });
    }

    /// Keeps the status fresh, and sums up rejected rows for the log.
    fn tell(&mut self, follower: &Follower) {
        let now = follower.clock.mono();
        if !self.rejects.is_empty() && self.rejects_told.is_none_or(|told| now.since(told) >= REJECTS_EVERY) {
            for ((table, cause), (count, first)) in std::mem::take(&mut self.rejects) {
                log::warn!(table, cause, count, first; "rows do not fit their table and were left out");
            }
            self.rejects_told = Some(now);
        }
        follower.status.update(|status| {
            (status.ingested, status.covered) = (self.ingested, self.store.covered());
            status.tidied = self.store.tidied();
            for table in self.store.figures() {
                if let Some(shown) = status.tables.get_mut(table.name) {
                    (shown.rows_in_lake, shown.rows_in_tail) = (table.rows_in_lake, table.rows_in_tail);
                }
            }
        });
    }

    /// The last batch. What cannot be written now is still in the log.
    async fn close(&mut self, follower: &mut Follower) {
        self.retry = None;
        let done: Result<(), EngineError> = async {
            loop {
                self.take(follower).await?;
                // It waits for another attempt, which the next start makes: the log has it.
                if !self.records.is_empty() && self.retry.is_some() {
                    break;
                }
                let caught_up = self.records.is_empty() && !self.has_news();
                if self.store.tail_rows() > 0 && (caught_up || self.batch_is_due(follower)) && !self.batch(follower).await? {
                    break;
                }
                if caught_up {
                    break;
                }
            }
            if self.store.tail_rows() == 0 {
                follower.hold.release(self.ingested);
                if self.ingested > self.store.covered() {
                    self.note_progress(follower).await?;
                }
            }
            self.answer(follower)?;
            self.store.checkpoint()
        }
        .await;
        if let Err(error) = done {
            log::warn!(error:%; "history could not write its last batch; the log has its rows");
        }
        self.tell(follower);
    }
}
