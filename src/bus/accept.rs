//! The door opens: every socket gets its own task at once.

use super::board::Board;
use super::handshake::{Door, attend};
use super::socket::BusListener;
use crate::door::{self, Entrance, Entrances, Gate};
use crate::router::HubHandle;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves programs until `stop` is true, then tells them (`.broker/warn`), lets answers that are under way leave, closes, and
/// returns. A dropped `stop` sender counts as a stop. `path` is what `client.list` says of those who came over the unix socket.
pub async fn serve(listeners: Vec<BusListener>, path: &Path, hub: HubHandle, board: Arc<Board>, stop: watch::Receiver<bool>) {
    let settings = Arc::clone(&board.settings);
    // Those above `max_clients` are answered, so they need to come in.
    let places_max = settings.max_clients.saturating_add(settings.max_half_open);
    let gate = Gate::new(settings.max_half_open);
    let shared = settings.places.clone();
    let clock = Arc::clone(&board.clock);
    let path = path.to_string_lossy().as_ref().into();
    let door = Arc::new(Door { hub, board, stop: stop.clone(), path });
    let attend = |arrival: door::Arrival<_>, entry| attend(arrival.stream, arrival.addr, Arc::clone(&door), entry);
    let entrances = Entrances::new(listeners.into_iter().map(Entrance::plain).collect());
    door::accept(entrances, (places_max, &shared), &gate, &settings.stats, &*clock, stop, attend).await.left().await;
}
