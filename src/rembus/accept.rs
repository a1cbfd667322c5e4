//! Accepts for ever, and hands each socket off at once.

use super::Settings;
use super::gate::Gate;
use super::handshake::{Door, attend};
use super::stats::Stats;
use crate::clock::SharedClock;
use crate::net::Listener;
use crate::router::HubHandle;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The first and the longest pause after a failed accept. Out of file descriptors, accept fails at once and for as long as it
/// lasts; without a pause it would burn the processor that could end it.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Serves components until `stop` is true, then stops listening, lets answers that are under way leave, closes every
/// connection with 1001, and returns. A dropped `stop` sender counts as a stop.
///
/// The order matters: a Python client redials the moment its link closes, and one that gets through to a broker on its way
/// out gives up for good.
pub async fn serve<L: Listener>(
    mut listener: L,
    hub: HubHandle,
    settings: Arc<Settings>,
    clock: SharedClock,
    mut stop: watch::Receiver<bool>,
) {
    let stats = Arc::clone(&settings.stats);
    let places_max = settings.max_connections.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places_max));
    let gate = Gate::new(settings.max_half_open);
    // Not `stop` itself: connections must not close before the listener has.
    let (close, closing) = watch::channel(false);
    let door = Arc::new(Door { hub, settings, clock, gate, stop: closing });
    let mut back_off = BACK_OFF_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_MIN;
                Stats::count(&stats.accepted);
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    Stats::count(&stats.abandoned);
                    if let Some(suppressed) = stats.may_warn(&*door.clock) {
                        log::warn!(peer:%, max = places_max, suppressed; "too many Rembus connections; one was turned away");
                    }
                    continue;
                };
                let (door, entry) = (Arc::clone(&door), door.gate.enter());
                tokio::spawn(async move {
                    attend(stream, peer, door, entry).await;
                    drop(place);
                });
            }
            Err(error) => {
                Stats::count(&stats.accept_errors);
                if let Some(suppressed) = stats.may_warn(&*door.clock) {
                    log::warn!(error:%, suppressed; "a connection could not be accepted");
                }
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
    drop(listener);
    close.send_replace(true);
    // Every place is back when every connection has ended; each has its own limits for that.
    let all = u32::try_from(places_max).unwrap_or(u32::MAX);
    drop(places.acquire_many(all).await);
}
