//! The connections that have not said who they are (MQTT CONNECT, WebSocket handshake).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How long everybody may stay, however many come after. A reconnect storm over slow links needs it; silent peers cost the
/// honest ones behind them no more than this for each gateful.
const GRACE: Duration = Duration::from_millis(500);

/// The newcomers, oldest first.
///
/// When there are too many the oldest is shown out, not the newest turned away: an honest peer is through in milliseconds, so
/// those who stay longest are the ones that mean to stay silent.
#[derive(Debug)]
pub(crate) struct Gate {
    max: usize,
    waiting: Mutex<Waiting>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    since: Instant,
    show_out: oneshot::Sender<()>,
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
        Arc::new(Self { max: max.max(1), waiting: Mutex::default(), left: Notify::new() })
    }

    /// Returns when one more may enter: there is room, or the oldest has had its time.
    pub(crate) async fn room(&self) {
        loop {
            let oldest = {
                let waiting = self.waiting();
                if waiting.by_age.len() < self.max {
                    return;
                }
                waiting.by_age.first_key_value().map(|(_, newcomer)| newcomer.since)
            };
            match oldest.map(|since| since + GRACE).filter(|until| *until > Instant::now()) {
                None => return,
                Some(until) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = self.left.notified() => {}
                },
            }
        }
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Entry {
        let (show_out, displaced) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.by_age.len() >= self.max
            && let Some((_, oldest)) = waiting.by_age.pop_first()
        {
            // It may have left just now.
            oldest.show_out.send(()).ok();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, Newcomer { since: Instant::now(), show_out });
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
        self.gate.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

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
    async fn nobody_is_shown_out_before_there_was_time_to_speak() {
        let gate = Gate::new(2);
        let (_first, second) = (gate.enter(), gate.enter());
        let start = Instant::now();
        gate.room().await;
        assert_eq!(start.elapsed(), GRACE);

        let third = gate.enter();
        let start = Instant::now();
        drop(second);
        gate.room().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "who leaves makes room at once");
        drop(third);
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
