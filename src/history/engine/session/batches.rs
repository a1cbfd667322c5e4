//! When the tail goes into the lake, and what happens when it does not.

use super::super::error::EngineError;
use super::super::follow::Follower;
use super::super::store::BatchError;
use super::{BACKLOG, RETRY_MIN, Session};
use std::time::Duration;

const RETRY_MAX: Duration = Duration::from_secs(60);
/// After so many failures in a row the lake is opened anew: what is wrong may be in what is open, and only the disk's room is not.
const REOPEN_AFTER: u32 = 4;
/// A short write budget makes batches no rarer than this.
const STRETCHED_INTERVAL_MAX: Duration = Duration::from_secs(600);

impl Session {
    pub(super) fn grown(&mut self, follower: &Follower) {
        if self.oldest.is_none() {
            self.oldest = Some(follower.clock.mono());
        }
    }

    pub(super) fn batch_is_due(&self, follower: &Follower) -> bool {
        let now = follower.clock.mono();
        if self.store.tail_rows() == 0 || self.retry.is_some_and(|retry| now < retry) {
            return false;
        }
        self.store.tail_rows() >= batch_rows(follower)
            || self.store.tail_bytes() >= tail_bytes(follower)
            // The rows are few, but the log is full of what came between them.
            || follower.log.is_held_up_by(self.released)
            || self.oldest.is_some_and(|oldest| now.since(oldest) >= batch_interval(follower))
    }

    /// Moves the tail into the lake. `false` if that failed and will be tried again.
    pub(super) async fn batch(&mut self, follower: &mut Follower) -> Result<bool, EngineError> {
        if self.retry.is_some_and(|retry| follower.clock.mono() < retry) {
            return Ok(false);
        }
        let upto = self.ingested;
        // What the lake has, the log must have: else a power cut could bring a sequence number a second time.
        follower.log.sync(upto).await?;
        match self.store.batch(upto) {
            Ok(()) => {
                self.release(follower, upto);
                self.room = follower.clock.mono();
                (self.oldest, self.retry, self.retry_pause, self.failures) = (None, None, RETRY_MIN, 0);
                self.read_back();
                follower.status.update(|status| status.batches += 1);
                Ok(true)
            }
            Err(BatchError::Reopen(error)) => {
                follower.status.update(|status| status.batch_failures += 1);
                Err(error)
            }
            Err(BatchError::Again(error)) => {
                follower.status.update(|status| status.batch_failures += 1);
                self.failures += 1;
                if self.failures >= REOPEN_AFTER && error.may_heal_by_opening() {
                    return Err(error);
                }
                self.suspect_batch(follower);
                self.put_off(follower, &error, "a batch could not be written; its rows stay in the log and in memory");
                Ok(false)
            }
        }
    }

    /// What failed is tried again later, with longer pauses each time.
    pub(super) fn put_off(&mut self, follower: &Follower, error: &EngineError, what: &str) {
        let (rows, retry_s) = (self.store.tail_rows(), self.retry_pause.as_secs());
        log::error!(error:%, rows, retry_s; "{what}");
        follower.status.update(|status| status.last_error = Some(follower.settings.without_paths(error)));
        self.retry = Some(follower.clock.mono().plus(self.retry_pause));
        self.retry_pause = (self.retry_pause * 2).min(RETRY_MAX);
    }
}

/// Bytes of rows that make a batch at once: rows may be as large as messages.
pub(super) fn tail_bytes(follower: &Follower) -> usize {
    usize::try_from(follower.settings.memory_limit / 8).unwrap_or(usize::MAX).max(1 << 20)
}

/// A short write budget makes batches larger; memory bounds them in any case.
fn batch_rows(follower: &Follower) -> usize {
    let rows = follower.settings.batch_rows as f64 * follower.log.stretch().min(BACKLOG as f64 / 2.0);
    rows as usize
}

/// And rarer.
pub(super) fn batch_interval(follower: &Follower) -> Duration {
    let interval = follower.settings.batch_interval;
    interval.mul_f64(follower.log.stretch()).min(STRETCHED_INTERVAL_MAX).max(interval)
}
