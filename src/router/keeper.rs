//! Keeps the router's state over a restart: reads it at start, and saves a snapshot when the log has grown.

use super::event::Now;
use super::{Restorer, Router, StateFolder};
use crate::clock::Mono;
use crate::message::Seq;
use crate::wal::{Hold, LogHandle, WalError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Log bytes between two snapshots: what a start has to read at most, about.
const EVERY: usize = 32 << 20;
/// A log that is too large is not answered with more snapshots than this.
const URGED_EVERY: Duration = Duration::from_secs(2);
/// Log bytes read at once.
const CHUNK: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the log cannot be read: {0}")]
    Log(#[from] WalError),
}

/// What was found at start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub sessions: u64,
    pub retained: u64,
    pub queued: u64,
    /// Records read behind the snapshot.
    pub records: u64,
    /// Records of the state that could not be understood.
    pub unreadable: u64,
    /// Snapshots of the state that could not be used.
    pub unusable: u64,
}

#[derive(Debug)]
pub(super) struct Keeper {
    folder: StateFolder,
    log: LogHandle,
    /// What the snapshots on the disk do not say stays in the log.
    hold: Arc<Hold>,
    since: usize,
    /// When it was last saved because the log wants it.
    urged: Option<Mono>,
    busy: Arc<AtomicBool>,
}

impl Keeper {
    pub(super) fn restore(
        router: &mut Router,
        folder: StateFolder,
        log: &LogHandle,
        now: Now,
    ) -> Result<(Self, Restored), KeepError> {
        let hold = log.hold(Seq(0));
        let last = log.state().borrow().written;
        let found = folder.load();
        let mut restored = Restored { unusable: found.unusable, ..Restored::default() };
        let mut restorer = Restorer::new(router, now);
        let mut take = |seq, kind, body: &_| {
            if let Err(error) = restorer.take(seq, kind, body) {
                restored.unreadable += 1;
                log::error!(seq:%, error:%; "a record of the router's state cannot be read; what it said is lost");
            }
        };
        let mut upto = Seq(0);
        let mut foreign = false;
        if let Some(saved) = found.saved {
            // Their order is that of their numbers; all are part of the snapshot.
            for (at, (kind, body)) in (0..).zip(&saved.records) {
                take(Seq(at), *kind, body);
            }
            // What it says of a log that has lost its end, or of another one, holds; but its number is one of others now.
            let place = log.identity().place_of(saved.stated).map(|place| place.min(last));
            upto = place.unwrap_or_default();
            foreign = place != Some(saved.stated.seq);
            if foreign {
                let saved = saved.stated.seq;
                log::warn!(saved:%, upto:%; "the saved state does not belong to this log as it is now; both are used");
            }
        }
        let mut reader = log.reader(upto.next());
        loop {
            let records = reader.read(CHUNK)?;
            if records.is_empty() {
                break;
            }
            restored.records += records.len() as u64;
            for record in &records {
                take(record.seq, record.kind, &record.body);
            }
        }
        restorer.finish();
        // The snapshot before the newest needs more of the log, and may have to stand in for it at the next start.
        hold.release(upto.min(found.covered));
        let keeper = Self { folder, log: log.clone(), hold: Arc::new(hold), since: 0, urged: None, busy: Arc::default() };
        if foreign {
            let mut snapshot = router.snapshot();
            snapshot.upto = last;
            match keeper.folder.replace(log.identity(), &snapshot) {
                Ok(()) => keeper.hold.release(last),
                // The next start finds what this one found, and reads the log behind it.
                Err(error) => log::error!(error:%; "the router's state cannot be saved at present; the log still has it"),
            }
        }
        let report = router.report();
        restored.sessions = report.sessions;
        restored.retained = report.retained;
        restored.queued = report.queued;
        Ok((keeper, restored))
    }

    /// So many bytes went to the log.
    pub(super) fn appended(&mut self, bytes: usize) {
        self.since += bytes;
    }

    /// Also when the log is larger than it is meant to be because of what the snapshots do not say.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        if self.busy.load(Ordering::Acquire) {
            return false;
        }
        let urged =
            self.log.is_held_up_by(self.hold.released()) && self.urged.is_none_or(|last| now.since(last) >= URGED_EVERY);
        if urged {
            self.urged = Some(now);
        }
        urged || self.since >= EVERY
    }

    /// Saves the state beside the router. To be called between turns. `done` is dropped at the end, whichever it is.
    pub(super) fn save(&mut self, router: &Router, done: Option<oneshot::Sender<()>>) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.since = 0;
        let snapshot = router.snapshot();
        let (folder, log, hold, busy) = (self.folder.clone(), self.log.clone(), Arc::clone(&self.hold), Arc::clone(&self.busy));
        tokio::spawn(async move {
            // What a snapshot says must not be taken back by a power cut.
            let outcome = match log.sync(snapshot.upto).await {
                Ok(()) => {
                    let save = move || {
                        let upto = folder.save(log.identity(), &snapshot)?;
                        // The one before is worth less than room for new messages.
                        if log.is_held_up_by(upto) { folder.forget_older(snapshot.upto) } else { Ok(upto) }
                    };
                    tokio::task::spawn_blocking(save).await.unwrap_or_else(|error| Err(io::Error::other(error)))
                }
                Err(error) => Err(io::Error::other(error)),
            };
            match outcome {
                Ok(upto) => hold.release(upto),
                Err(error) => log::warn!(error:%; "the router's state could not be saved; the log still has it"),
            }
            busy.store(false, Ordering::Release);
            drop(done);
        });
    }
}
