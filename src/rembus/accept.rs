//! The door opens: every socket gets its own task at once.

use super::Settings;
use super::handshake::{Door, attend};
use crate::clock::SharedClock;
use crate::door::{self, Entrance, Entrances, Gate};
use crate::net::Listener;
use crate::router::HubHandle;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves components until `stop` is true, then stops listening, lets answers that are under way leave, closes every
/// connection with 1001, and returns. A dropped `stop` sender counts as a stop.
///
/// The order matters: a Python client redials the moment its link closes, and one that gets through to a broker on its way
/// out gives up for good.
pub async fn serve<L: Listener>(
    entrances: Vec<Entrance<L>>,
    hub: HubHandle,
    settings: Arc<Settings>,
    clock: SharedClock,
    stop: watch::Receiver<bool>,
) {
    let stats = Arc::clone(&settings.stats);
    let places_max = settings.max_connections;
    // Of few places not all are for those who have not said who they are.
    let gate = Gate::new(settings.max_half_open.min(settings.max_connections.div_ceil(2)));
    let shared = settings.places.clone();
    // Not `stop` itself: connections must not close before the listener has.
    let (close, closing) = watch::channel(false);
    let door = Arc::new(Door { hub, settings, clock: Arc::clone(&clock), stop: closing });
    let attend = |arrival, entry| attend(arrival, Arc::clone(&door), entry);
    let entrances = Entrances::new(entrances);
    let inside = door::accept(entrances, (places_max, &shared), &gate, &stats, &*clock, stop, attend).await;
    close.send_replace(true);
    inside.left().await;
}
