//! Accepts for ever, and hands each socket off at once.

use super::{Arrival, Entrances, Entry, Gate, Stats};
use crate::clock::Clock;
use crate::net::Listener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The first and the longest pause after a failed accept. Out of file descriptors, accept fails at once and for as long as it
/// lasts; without a pause it would burn the processor that could end it.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Gives every socket to `attend`, which runs in a task of its own, until `stop` is true (or its sender gone). When this
/// returns nobody listens any more, and those inside are still there.
///
/// More than `places_max` sockets are not let in: they are closed unseen. While the gate is full of newcomers that have hardly
/// had time to speak, the next ones wait in the kernel.
pub(crate) async fn accept<L, F>(
    mut entrances: Entrances<L>,
    places_max: usize,
    gate: &Arc<Gate>,
    stats: &Stats,
    clock: &dyn Clock,
    mut stop: watch::Receiver<bool>,
    attend: impl Fn(Arrival<L::Stream>, Entry) -> F,
) -> Inside
where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let places_max = places_max.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places_max));
    let mut back_off = BACK_OFF_MIN;
    loop {
        let next = async {
            gate.room().await;
            entrances.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok(arrival) => {
                back_off = BACK_OFF_MIN;
                Stats::count(&stats.accepted);
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    Stats::count(&stats.abandoned);
                    if let Some(suppressed) = stats.may_warn(clock) {
                        let peer = arrival.addr;
                        log::warn!(peer:%, max = places_max, suppressed; "too many connections; one was turned away");
                    }
                    continue;
                };
                let attended = attend(arrival, gate.enter());
                tokio::spawn(async move {
                    attended.await;
                    drop(place);
                });
            }
            Err(error) => {
                Stats::count(&stats.accept_errors);
                if let Some(suppressed) = stats.may_warn(clock) {
                    log::warn!(error:%, suppressed; "a connection could not be accepted");
                }
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
    Inside { places, places_max }
}

/// Those who were let in.
#[derive(Debug)]
pub(crate) struct Inside {
    places: Arc<Semaphore>,
    places_max: usize,
}

impl Inside {
    /// Returns when the last one has left; each has its own limits for that.
    pub(crate) async fn left(self) {
        let all = u32::try_from(self.places_max).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }
}
