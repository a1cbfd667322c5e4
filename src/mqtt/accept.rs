//! The door opens: every socket gets its own task at once.

use super::Settings;
use super::handshake::{Door, attend};
use super::hub::Hub;
use crate::clock::SharedClock;
use crate::door::{self, Entrance, Entrances, Gate};
use crate::net::Listener;
use crate::router::HubHandle;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves clients until `stop` is true, then lets acknowledgements that are under way leave, tells every client, closes, and
/// returns. A dropped `stop` sender counts as a stop.
pub async fn serve<L: Listener>(
    entrances: Vec<Entrance<L>>,
    hub: HubHandle,
    settings: Arc<Settings>,
    clock: SharedClock,
    stop: watch::Receiver<bool>,
) {
    serve_with(entrances, hub, settings, clock, stop).await;
}

pub(super) async fn serve_with<L: Listener, H: Hub>(
    entrances: Vec<Entrance<L>>,
    hub: H,
    settings: Arc<Settings>,
    clock: SharedClock,
    stop: watch::Receiver<bool>,
) {
    let stats = Arc::clone(&settings.stats);
    // Those above `max_connections` are answered with CONNACK, so they need to come in.
    let places_max = settings.max_connections.saturating_add(settings.max_half_open);
    let gate = Gate::new(settings.max_half_open);
    let shared = settings.places.clone();
    let door = Arc::new(Door { hub, settings, clock: Arc::clone(&clock), stop: stop.clone() });
    let attend = |arrival, entry| attend(arrival, Arc::clone(&door), entry);
    let entrances = Entrances::new(entrances);
    door::accept(entrances, (places_max, &shared), &gate, &stats, &*clock, stop, attend).await.left().await;
}
