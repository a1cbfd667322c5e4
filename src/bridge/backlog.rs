//! What a link has to send: a cursor on the durable log.
//!
//! ```text
//! log   ──────────────┬───────────────────┬───────────────┬──────────▶ written
//!              progress (held)          sent            read
//!                     └── window: sent, ──┴─ ready: read, ┘
//!                         not acknowledged   selected
//! ```
//! Records that the link has no interest in are passed over. The hold keeps the log from removing what is behind the progress
//! that is *on the disk*: after a restart the link goes on there.

use super::progress::Progress;
use super::stats::LinkStats;
use super::{BacklogLimits, LinkSettings, Surroundings};
use crate::clock::SharedClock;
use crate::message::{self, Message, Qos, Seq, kind};
use crate::wal::{Hold, LogHandle, Reader, Skipped, WalError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How much of the log is read at once.
const READ_BYTES: usize = 256 << 10;
/// Messages acknowledged since the progress was written, at which it is written again.
const SAVE_MESSAGES: u64 = 5_000;
/// Bytes of the log passed over without a message of interest, at which the progress is written.
const SAVE_BYTES: u64 = 4 << 20;

/// A message on its way to the far end.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) seq: Seq,
    pub(super) message: Arc<Message>,
    /// As it is called there.
    pub(super) topic: String,
    pub(super) qos: Qos,
}

impl Parcel {
    pub(super) fn bytes(&self) -> usize {
        self.topic.len() + self.message.payload.len()
    }
}

/// Which messages a link forwards.
pub(super) trait Select: Send {
    /// Topic and QoS at the far end; `None` to pass over the message.
    fn select(&mut self, message: &Message) -> Option<(String, Qos)>;
}

pub(super) struct Backlog {
    log: LogHandle,
    clock: SharedClock,
    stats: Arc<LinkStats>,
    limits: BacklogLimits,
    rate: u64,
    file: Progress,
    hold: Hold,
    select: Box<dyn Select>,
    /// Taken while it reads in a thread that may block.
    reader: Option<Reader>,
    skipped: Skipped,
    ready: VecDeque<Parcel>,
    /// Sent: number, and whether it is done with.
    window: VecDeque<(Seq, bool)>,
    /// Everything up to here was read.
    read: Seq,
    saved: Seq,
    /// Messages acknowledged since the progress was written.
    unsaved: u64,
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backlog").field("file", &self.file).field("read", &self.read).finish_non_exhaustive()
    }
}

impl Backlog {
    pub(super) fn new(
        around: &Surroundings,
        file: Progress,
        link: &LinkSettings,
        select: Box<dyn Select>,
        stats: Arc<LinkStats>,
    ) -> Self {
        let log = around.log.clone();
        let written = log.state().borrow().written;
        let known = file.load(log.identity());
        let saved = known.unwrap_or(written);
        let hold = log.hold(saved);
        let (clock, limits) = (Arc::clone(&around.clock), link.backlog);
        let mut backlog = Self {
            log,
            clock,
            stats,
            limits,
            rate: link.rate,
            file,
            hold,
            select,
            reader: None,
            skipped: Skipped::default(),
            ready: VecDeque::new(),
            window: VecDeque::new(),
            read: saved,
            saved,
            unsaved: 0,
        };
        if known.is_none() {
            // From now on it is not new: what comes before the first acknowledgement must not be missed after a restart.
            backlog.write(saved);
        }
        backlog
    }

    /// Bytes a second that may be sent.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// News of the log.
    pub(super) fn written(&self) -> tokio::sync::watch::Receiver<crate::wal::LogState> {
        self.log.state()
    }

    /// Begins again behind what was acknowledged.
    pub(super) fn rewind(&mut self) {
        self.read = self.progress();
        self.ready.clear();
        self.window.clear();
        self.reader = None;
    }

    /// Everything up to here is done with.
    pub(super) fn progress(&self) -> Seq {
        let pending = self.window.front().map(|(seq, _)| *seq).or_else(|| self.ready.front().map(|parcel| parcel.seq));
        pending.map_or(self.read, |seq| Seq(seq.0 - 1))
    }

    /// What is next to be sent, if something was read already.
    pub(super) fn peek(&self) -> Option<&Parcel> {
        self.ready.front()
    }

    /// Takes what is next to be sent; it waits for [`done`](Self::done) from now on.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        let parcel = self.ready.pop_front()?;
        self.window.push_back((parcel.seq, false));
        Some(parcel)
    }

    /// How many are sent and not done with.
    pub(super) fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// The oldest that is sent and not done with.
    pub(super) fn oldest_in_flight(&self) -> Option<Seq> {
        self.window.front().map(|(seq, _)| *seq)
    }

    /// Whether something behind the oldest in flight is done with already.
    pub(super) fn is_overtaken(&self) -> bool {
        self.window.iter().any(|(_, done)| *done)
    }

    /// The far end has it, or it is given up: then `dropped` says why.
    pub(super) fn done(&mut self, seq: Seq, dropped: Option<&'static str>) {
        let Ok(place) = self.window.binary_search_by_key(&seq, |(seq, _)| *seq) else { return };
        let Some((_, done @ false)) = self.window.get_mut(place) else { return };
        *done = true;
        self.unsaved += 1;
        match dropped {
            Some(reason) => self.stats.dropped(reason, 1),
            None => self.stats.update(|report| report.forwarded += 1),
        }
        while self.window.pop_front_if(|(_, done)| *done).is_some() {}
    }

    /// Reads on if nothing is ready. False if there is nothing to read.
    pub(super) async fn fill(&mut self) -> Result<bool, WalError> {
        while self.ready.is_empty() {
            if self.log.state().borrow().written <= self.read {
                return Ok(false);
            }
            let mut reader = self.reader.take().unwrap_or_else(|| self.log.reader(self.read.next()));
            let (reader, records) = tokio::task::spawn_blocking(move || {
                let records = reader.read(READ_BYTES);
                (reader, records)
            })
            .await
            .map_err(|_| WalError::Closed)?;
            self.count_skipped(reader.skipped());
            let position = reader.position();
            self.reader = Some(reader);
            let records = records?;
            if records.is_empty() {
                // Voids and damage at the end move the position without a record.
                self.read = self.read.max(Seq(position.0.saturating_sub(1)));
                return Ok(false);
            }
            for record in records {
                self.read = record.seq;
                if record.kind != kind::MESSAGE {
                    continue;
                }
                match message::decode(&record.body) {
                    Ok(message) => {
                        if let Some((topic, qos)) = self.select.select(&message) {
                            self.ready.push_back(Parcel { seq: record.seq, message: Arc::new(message), topic, qos });
                        }
                    }
                    Err(error) => {
                        log::warn!(seq:% = record.seq, error:%; "a link cannot read a message of the log");
                        self.stats.dropped("damaged", 1);
                    }
                }
            }
            // A long way without a message of interest must not hold up the others.
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    fn count_skipped(&mut self, now: Skipped) {
        // A reader counts from its start, and there is a new one after each rewind.
        let before = std::mem::replace(&mut self.skipped, now);
        let more = |now: u64, before: u64| if now >= before { now - before } else { now };
        self.stats.dropped("removed", more(now.removed, before.removed));
        self.stats.dropped("damaged", more(now.damaged, before.damaged));
    }

    /// Gives up the oldest that is beyond the limits. Only what is not in flight: that comes to its end by itself.
    pub(super) async fn trim(&mut self) -> Result<(), WalError> {
        if !self.window.is_empty() {
            return Ok(());
        }
        let mut given_up = [("backlog_size", 0), ("backlog_age", 0)];
        loop {
            let too_large = self.log.bytes_after(self.progress()) > self.limits.bytes;
            if self.ready.is_empty() && (too_large || self.limits.age.is_some()) && !self.fill().await? {
                break;
            }
            if too_large {
                // All of what was read at once: looking at the size for each message would cost more than it is worth.
                given_up[0].1 += self.ready.len() as u64;
                self.ready.clear();
                continue;
            }
            let old = self.ready.iter().take_while(|parcel| self.is_too_old(parcel)).count();
            given_up[1].1 += old as u64;
            let rest = self.ready.len() > old;
            self.ready.drain(..old);
            if rest || old == 0 {
                break;
            }
        }
        for (reason, count) in given_up.into_iter().filter(|(_, count)| *count > 0) {
            let link = self.stats.report().name;
            log::warn!(link = link.as_str(), reason, count; "messages of a link's backlog are given up");
            self.stats.dropped(reason, count);
            self.unsaved += count;
        }
        Ok(())
    }

    fn is_too_old(&self, parcel: &Parcel) -> bool {
        let Some(max) = self.limits.age else { return false };
        self.clock.is_trusted() && parcel.message.received.is_set() && self.age(parcel) > max
    }

    fn age(&self, parcel: &Parcel) -> Duration {
        Duration::from_nanos(self.clock.wall().0.saturating_sub(parcel.message.received.0))
    }

    /// Tells how much waits and for how long.
    pub(super) fn report(&self) {
        let progress = self.progress();
        let written = self.log.state().borrow().written;
        let waiting = self.ready.front().map(|parcel| self.age(parcel).as_secs()).unwrap_or_default();
        let bytes = if progress < written { self.log.bytes_after(progress) } else { 0 };
        self.stats.update(|report| {
            report.waiting_records = written.0.saturating_sub(progress.0);
            report.waiting_bytes = bytes;
            report.waiting_s = waiting;
        });
    }

    /// Whether so much was acknowledged that the progress should be written before its time.
    pub(super) fn wants_save(&self) -> bool {
        self.unsaved >= SAVE_MESSAGES || (self.log.is_held_up_by(self.saved) && self.progress() > self.saved)
    }

    /// Writes the progress if it is worth it; `last` if there will be no other chance.
    pub(super) async fn save(&mut self, last: bool) {
        // Never beyond what survives a power cut: those numbers may be given to other messages after it.
        let progress = self.progress().min(self.log.state().borrow().durable);
        let moved = progress > self.saved;
        let held_up = self.log.is_held_up_by(self.saved);
        if !moved || !(last || held_up || self.unsaved > 0 || self.log.bytes_between(self.saved, progress) > SAVE_BYTES) {
            return;
        }
        let (file, log) = (self.file.clone(), self.log.clone());
        let written = tokio::task::spawn_blocking(move || file.store(log.identity(), progress)).await;
        self.took(progress, written.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into())));
    }

    fn write(&mut self, progress: Seq) {
        let written = self.file.store(self.log.identity(), progress);
        self.took(progress, written);
    }

    fn took(&mut self, progress: Seq, written: std::io::Result<()>) {
        match written {
            Ok(()) => {
                self.saved = progress;
                self.unsaved = 0;
                self.hold.release(progress);
            }
            // The old one stays, and with it what the log holds: after a restart more is sent twice.
            Err(error) => log::error!(error:%; "a link cannot write its progress"),
        }
    }
}
