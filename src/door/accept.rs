//! Accepts for ever, and hands each socket off at once.

use super::places::Place;
use super::{Arrival, Entrances, Entry, Gate, Places, Stats};
use crate::clock::Clock;
use crate::net::{Listener, is_exhausted};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The first and the longest pause after a failed accept. Out of file descriptors, accept fails at once and for as long as it
/// lasts; without a pause it would burn the processor that could end it.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Gives every socket to `attend`, which runs in a task of its own, until `stop` is true (or its sender gone). When this
/// returns nobody listens any more, and those inside are still there.
///
/// More than `places_max` sockets are not let in, nor those for which `shared` has no place: one that has not said who it is gives
/// way, or else the new one is closed unseen. While the gate is full of newcomers that have hardly had time to speak, the next ones wait
/// in the kernel.
pub(crate) async fn accept<L, F>(
    mut entrances: Entrances<L>,
    (places_max, shared): (usize, &Places),
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
    let places = Places::new(places_max);
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
                let Some(taken) = both(&places, shared, gate).await else {
                    Stats::count(&stats.abandoned);
                    if let Some(suppressed) = stats.may_warn(clock) {
                        let peer = arrival.addr;
                        log::warn!(peer:%, max = places_max, suppressed; "too many connections; one was turned away");
                    }
                    continue;
                };
                let address = arrival.addr.ip();
                let attended = attend(arrival, gate.enter(address));
                tokio::spawn(async move {
                    attended.await;
                    drop(taken);
                });
            }
            Err(error) => {
                Stats::count(&stats.accept_errors);
                if let Some(suppressed) = stats.may_warn(clock) {
                    log::warn!(error:%, suppressed; "a connection could not be accepted");
                }
                if !is_exhausted(&error) {
                    // One that was gone before it was there. Whoever does that all the time must not close the door for others.
                    tokio::task::yield_now().await;
                    continue;
                }
                // Whoever does not say who he is holds a descriptor that others need.
                gate.show_one_out();
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
    Inside { places, places_max }
}

/// A place of the door, and one of those that all doors share.
async fn both(own: &Places, shared: &Places, gate: &Gate) -> Option<(Place, Place)> {
    Some((own.take(gate).await?, shared.take(gate).await?))
}

/// Those who were let in.
#[derive(Debug)]
pub(crate) struct Inside {
    places: Places,
    places_max: usize,
}

impl Inside {
    /// Returns when the last one has left; each has its own limits for that.
    pub(crate) async fn left(self) {
        self.places.all_back(self.places_max).await;
    }
}
