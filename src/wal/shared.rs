//! What the writer, the handles and the readers have in common.

use super::identity::Identity;
use super::segment::Segment;
use super::{Health, LogState, WalError};
use crate::disk::SharedDisk;
use crate::message::Seq;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{Notify, Semaphore, watch};

/// Bytes that may be appended and not yet written. More waits, and so the publishers do.
pub(super) const PENDING_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: SharedDisk,
    pub(super) dir: PathBuf,
    pub(super) identity: Identity,
    segments: Mutex<VecDeque<Arc<Segment>>>,
    pub(super) state: watch::Sender<LogState>,
    /// One permit for each byte that may still be pending.
    pub(super) room: Semaphore,
    pub(super) pending: AtomicUsize,
    /// Number of the newest record that was appended.
    pub(super) appended: AtomicU64,
    /// What each reader that must not miss anything still needs: the newest record that it does not need any more.
    holds: Mutex<Slab<Seq>>,
    /// Up to here the holds should release, so that the log can be as small as it is meant to be; zero if it can.
    wanted: AtomicU64,
    /// Wakes the writer to look at [`released`](Self::released).
    pub(super) wake: Notify,
    pub(super) fatal: OnceLock<Arc<io::Error>>,
    pub(super) counters: Counters,
    /// In thousandths: so many times rarer than configured are commits.
    pub(super) stretch: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(disk: SharedDisk, dir: PathBuf, identity: Identity, segments: VecDeque<Arc<Segment>>, last: Seq) -> Self {
        Self {
            disk,
            dir,
            identity,
            segments: Mutex::new(segments),
            state: watch::Sender::new(LogState { written: last, durable: last, ..LogState::default() }),
            room: Semaphore::new(PENDING_BYTES_MAX),
            pending: AtomicUsize::new(0),
            appended: AtomicU64::new(last.0),
            holds: Mutex::default(),
            wanted: AtomicU64::new(0),
            wake: Notify::new(),
            fatal: OnceLock::new(),
            counters: Counters::default(),
            stretch: AtomicU64::new(1000),
        }
    }

    /// The segments, oldest first. The lock is held for a few instructions only, never during I/O.
    pub(super) fn segments(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn holds(&self) -> MutexGuard<'_, Slab<Seq>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody needs records up to here any more.
    pub(super) fn released(&self) -> Seq {
        self.holds().iter().map(|(_, upto)| *upto).min().unwrap_or(Seq(u64::MAX - 1))
    }

    /// Up to where holds stand in the way.
    pub(super) fn wanted(&self) -> Seq {
        Seq(self.wanted.load(Relaxed))
    }

    /// Tells those who hold, if it is more than before.
    pub(super) fn want(&self, upto: Seq) {
        if self.wanted.swap(upto.0, Relaxed) < upto.0 {
            self.state.send_modify(|_| {});
        }
    }

    /// Why nothing can be appended any more.
    pub(super) fn stopped(&self) -> WalError {
        self.fatal.get().map_or(WalError::Closed, |error| WalError::Poisoned(error.clone()))
    }

    pub(super) fn set_health(&self, health: Health) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.health, health) != health);
    }
}
