//! How everybody else uses the log.

use super::format::HEADER_BYTES;
use super::log::Request;
use super::shared::{PENDING_BYTES_MAX, Shared};
use super::{Batch, Identity, LogState, LogStats, Reader, WalError};
use crate::message::Seq;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use tokio::sync::{mpsc, oneshot, watch};

/// A way to the log; cheap to clone. The log ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

impl LogHandle {
    pub(super) fn new(shared: Arc<Shared>, requests: mpsc::Sender<Request>) -> Self {
        Self { shared, requests }
    }

    /// How far the log is, and news of it.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LogState> {
        self.shared.state.subscribe()
    }

    /// Bytes appended and not yet written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.shared.pending.load(Acquire)
    }

    /// Hands records over. Waits while 4 MiB are pending; a larger batch waits until nothing is. There is one order of records,
    /// so appends must not race with each other: one task appends.
    pub async fn append(&self, batch: Batch) -> Result<(), WalError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let room = self.shared.room.acquire_many(permits(batch.len())).await.map_err(|_| self.shared.stopped())?;
        let slot = self.requests.reserve().await.map_err(|_| self.shared.stopped())?;
        let expected = Seq(self.shared.appended.load(Acquire)).next();
        if first != expected {
            return Err(WalError::OutOfOrder { expected, got: first });
        }
        room.forget();
        self.shared.appended.store(last.0, std::sync::atomic::Ordering::Release);
        self.shared.pending.fetch_add(batch.len(), AcqRel);
        slot.send(Request::Append(batch));
        Ok(())
    }

    /// Waits until readers see everything appended up to `upto` (all of it with `Seq(u64::MAX)`), without waiting for the disk.
    /// Returns how much of it they see: less only if the disk has no room for the rest, none of which was acknowledged.
    pub async fn flush(&self, upto: Seq) -> Result<Seq, WalError> {
        if self.shared.state.borrow().written < upto {
            self.ask(|done| Request::Flush { upto, done }).await?;
        }
        Ok(self.shared.state.borrow().written.min(upto))
    }

    /// Waits until the log has seen this question, whatever it can or cannot do at present; for watchdogs.
    pub async fn ping(&self) -> Result<(), WalError> {
        self.ask(|done| Request::Flush { upto: Seq(0), done }).await
    }

    /// Waits until everything appended up to `upto` (all of it with `Seq(u64::MAX)`) survives a power cut.
    pub async fn sync(&self, upto: Seq) -> Result<(), WalError> {
        if self.shared.state.borrow().durable >= upto {
            return Ok(());
        }
        self.ask(|done| Request::Sync { upto, done }).await
    }

    /// A cursor of its own, beginning with record `from` or the oldest that is still there.
    #[must_use]
    pub fn reader(&self, from: Seq) -> Reader {
        Reader::new(self.shared.clone(), from)
    }

    /// Keeps every record after `upto` until the hold releases it or is dropped. Without holds, age and size alone decide.
    #[must_use]
    pub fn hold(&self, upto: Seq) -> Hold {
        let place = self.shared.holds().insert(upto);
        Hold { shared: Arc::clone(&self.shared), place }
    }

    /// Whether whoever holds the records after `upto` should release some: they alone keep the log larger than it is meant to be.
    #[must_use]
    pub fn is_held_up_by(&self, upto: Seq) -> bool {
        self.shared.wanted() > upto
    }

    /// How many bytes of records the log has after record `seq`; in segments of an earlier life it may be up to a segment too much.
    #[must_use]
    pub fn bytes_after(&self, seq: Seq) -> u64 {
        let segments = self.shared.segments();
        let mut following = None;
        let mut bytes = 0;
        for segment in segments.iter().rev() {
            let Some(first) = segment.first() else { continue };
            if following.is_some_and(|following| following <= seq.next()) {
                break;
            }
            let from = if first > seq { HEADER_BYTES } else { segment.place_of(seq.next()).unwrap_or(HEADER_BYTES) };
            bytes += segment.end().saturating_sub(from);
            following = Some(first);
        }
        bytes
    }

    /// Likewise, from after `from` up to `upto`.
    #[must_use]
    pub fn bytes_between(&self, from: Seq, upto: Seq) -> u64 {
        self.bytes_after(from).saturating_sub(self.bytes_after(upto))
    }

    /// Random, made with the folder; whoever stores a sequence number elsewhere stores this beside it.
    #[must_use]
    pub fn log_id(&self) -> u64 {
        self.shared.identity.log_id()
    }

    /// Who the log is, and what a sequence number is worth that somebody stored earlier.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Writes and syncs what was appended, then ends the log. Returns when it has ended.
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.requests.send(Request::Close { done }).await.is_ok() {
            // The sender is dropped when the log ends, whichever way it does.
            let _ended = ended.await;
        }
    }

    /// Commits become so many times rarer than the options say; acknowledgements wait a second at most nevertheless.
    pub fn stretch_commits(&self, times: f64) {
        // A share of a thousandth does not matter, and below one there is nothing to stretch.
        let thousandths = (times.clamp(1.0, 1000.0) * 1000.0) as u64;
        self.shared.stretch.store(thousandths, Relaxed);
    }

    /// So many times rarer are commits at present.
    #[must_use]
    pub fn stretch(&self) -> f64 {
        self.shared.stretch.load(Relaxed) as f64 / 1000.0
    }

    #[must_use]
    pub fn stats(&self) -> LogStats {
        let segments = self.shared.segments();
        let counters = &self.shared.counters;
        LogStats {
            segments: segments.len() as u64,
            bytes_on_disk: segments.iter().map(|segment| segment.size()).sum(),
            commits: counters.commits.load(Relaxed),
            syncs: counters.syncs.load(Relaxed),
            writes: counters.writes.load(Relaxed),
            bytes_written: counters.bytes.load(Relaxed),
            oldest: segments.iter().find_map(|segment| segment.first()).unwrap_or_default(),
        }
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Result<(), WalError>>) -> Request) -> Result<(), WalError> {
        let (done, answer) = oneshot::channel();
        self.requests.send(request(done)).await.map_err(|_| self.shared.stopped())?;
        answer.await.unwrap_or_else(|_| Err(self.shared.stopped()))
    }
}

/// The claim of a reader that must not miss anything; a segment goes when every hold has released it and it is old enough.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    place: usize,
}

impl Hold {
    /// Records up to `upto` are not needed any more. Never goes back.
    pub fn release(&self, upto: Seq) {
        let moved = {
            let mut holds = self.shared.holds();
            let held = holds.get_mut(self.place).expect("a hold has its place until it is dropped");
            let moved = *held < upto;
            *held = upto.max(*held);
            moved
        };
        if moved {
            self.shared.wake.notify_one();
        }
    }
}

impl Hold {
    /// Up to where it was released.
    #[must_use]
    pub fn released(&self) -> Seq {
        self.shared.holds().get(self.place).copied().expect("a hold has its place until it is dropped")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.holds().remove(self.place);
        self.shared.wake.notify_one();
    }
}

/// What a batch takes of the bound on pending bytes; one above the bound takes all of it.
pub(super) fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(PENDING_BYTES_MAX)).expect("the bound is far below u32")
}
