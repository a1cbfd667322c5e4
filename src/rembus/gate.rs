//! The connections that have not finished the WebSocket handshake, oldest first.
//!
//! When there are too many the oldest is shown out, not the newest turned away: an honest peer is through in milliseconds, so
//! those who stay longest are the ones that mean to stay silent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct Gate {
    max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One connection's place at the gate; dropping it leaves.
#[derive(Debug)]
pub(super) struct Entry {
    gate: Arc<Gate>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl Gate {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), waiting: Mutex::default() })
    }

    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let (show_out, displaced) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.by_age.len() >= self.max
            && let Some((_, oldest)) = waiting.by_age.pop_first()
        {
            // It may have left just now.
            oldest.send(()).ok();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, show_out);
        drop(waiting);
        Entry { gate: Arc::clone(self), number, displaced }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Returns when a newer connection needs the place.
    pub(super) async fn displaced(&mut self) {
        // The sender lives in the gate until it is used or this entry is dropped.
        if (&mut self.displaced).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.gate.waiting().by_age.remove(&self.number);
    }
}
