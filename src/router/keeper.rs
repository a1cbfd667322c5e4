//! Keeps the router's state over a restart: reads it at start, and saves a snapshot when the log has grown.

use super::event::Now;
use super::{Restorer, Router, StateFolder};
use crate::message::Seq;
use crate::wal::{Hold, LogHandle, WalError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Log bytes between two snapshots: what a start has to read at most, about.
const EVERY: usize = 32 << 20;
/// Log bytes read at once.
const CHUNK: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the saved state cannot be read: {0}")]
    Files(#[from] io::Error),
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
}

#[derive(Debug)]
pub(super) struct Keeper {
    folder: StateFolder,
    log: LogHandle,
    /// What the snapshots on the disk do not say stays in the log.
    hold: Arc<Hold>,
    since: usize,
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
        let saved = folder.load()?;
        let mut restored = Restored::default();
        let mut restorer = Restorer::new(router, now);
        let mut take = |seq, kind, body: &_| {
            if let Err(error) = restorer.take(seq, kind, body) {
                restored.unreadable += 1;
                log::error!(seq:%, error:%; "a record of the router's state cannot be read; what it said is lost");
            }
        };
        let mut upto = Seq(0);
        let mut foreign = false;
        if let Some(saved) = saved {
            // Their order is that of their numbers; all are part of the snapshot.
            for (at, (kind, body)) in (0..).zip(&saved.records) {
                take(Seq(at), *kind, body);
            }
            foreign = saved.log_id != log.log_id() || saved.upto > last;
            if foreign {
                log::warn!(upto:% = saved.upto, last:%; "the saved state does not belong to this log; both are used");
            } else {
                upto = saved.upto;
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
        hold.release(upto);
        let keeper = Self { folder, log: log.clone(), hold: Arc::new(hold), since: 0, busy: Arc::default() };
        if foreign {
            let mut snapshot = router.snapshot();
            snapshot.upto = last;
            keeper.folder.replace(log.log_id(), &snapshot)?;
            keeper.hold.release(last);
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

    pub(super) fn is_due(&self) -> bool {
        self.since >= EVERY && !self.busy.load(Ordering::Acquire)
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
                    let log_id = log.log_id();
                    let save = move || folder.save(log_id, &snapshot);
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
