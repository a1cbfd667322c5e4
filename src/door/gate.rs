//! The connections that have not said who they are (MQTT CONNECT, WebSocket handshake).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The newcomers, oldest first.
///
/// When there are too many the oldest is shown out, not the newest turned away: an honest peer is through in milliseconds, so
/// those who stay longest are the ones that mean to stay silent.
#[derive(Debug)]
pub(crate) struct Gate {
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
pub(crate) struct Entry {
    gate: Arc<Gate>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl Gate {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), waiting: Mutex::default() })
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Entry {
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
        Entry { gate: self.clone(), number, displaced }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Returns when a newer connection needs the place.
    pub(crate) async fn displaced(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, timeout};

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_for_the_newest() {
        let gate = Gate::new(2);
        let (mut first, mut second) = (gate.enter(), gate.enter());
        let mut third = gate.enter();

        first.displaced().await;
        for staying in [&mut second, &mut third] {
            assert!(timeout(Duration::from_secs(60), staying.displaced()).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_left_needs_no_room() {
        let gate = Gate::new(1);
        drop(gate.enter());
        let mut second = gate.enter();
        assert!(timeout(Duration::from_secs(60), second.displaced()).await.is_err());
        drop(second);
        assert!(gate.waiting().by_age.is_empty());
    }
}
