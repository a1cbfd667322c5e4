//! Accepts for ever, and hands each socket off at once.

use super::gate::Gate;
use super::handshake::{Door, attend};
use super::hub::Hub;
use super::{Settings, Stats};
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

/// Serves clients until `stop` is true, then lets acknowledgements that are under way leave, tells every client, closes, and
/// returns. A dropped `stop` sender counts as a stop.
pub async fn serve<L: Listener>(
    listener: L,
    hub: HubHandle,
    settings: Arc<Settings>,
    clock: SharedClock,
    stop: watch::Receiver<bool>,
) {
    serve_with(listener, hub, settings, clock, stop).await;
}

pub(super) async fn serve_with<L: Listener, H: Hub>(
    mut listener: L,
    hub: H,
    settings: Arc<Settings>,
    clock: SharedClock,
    mut stop: watch::Receiver<bool>,
) {
    let stats = settings.stats.clone();
    // All sockets together. Beyond, they are closed unseen: those above `max_connections` were already answered with CONNACK.
    let places_max = (settings.max_connections + settings.max_half_open).min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places_max));
    let gate = Gate::new(settings.max_half_open);
    let door = Arc::new(Door { hub, settings, clock, gate, stop: stop.clone() });
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
                let Ok(place) = places.clone().try_acquire_owned() else {
                    Stats::count(&stats.abandoned);
                    continue;
                };
                let (door, entry) = (door.clone(), door.gate.enter());
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
    // Every place is back when every connection has ended; each has its own limit for that.
    let all = u32::try_from(places_max).unwrap_or(u32::MAX);
    drop(places.acquire_many(all).await);
}
