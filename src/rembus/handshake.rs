//! From an accepted socket to a served connection. In its own task: nothing a peer does or leaves undone here delays others.

use super::Settings;
use super::connection::Connection;
use super::dialogue::Dialogue;
use super::traffic::Metered;
use super::watch::Watch;
use crate::access::Identity;
use crate::clock::SharedClock;
use crate::door::{Entry, Gate};
use crate::door::{Present, Stats};
use crate::message::Dialect;
use crate::net::Stream;
use crate::router::{HubHandle, LinkInfo};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// Read buffer of a connection, allocated as long as it lives; larger messages get their own.
const READ_BUFFER: usize = 8 << 10;
/// What gathers before it is written without a flush.
const WRITE_BUFFER: usize = 64 << 10;
/// Bytes that may wait in the socket's buffer; only pongs of a peer that does not read can fill it.
const WRITE_BUFFER_MAX: usize = 2 << 20;

/// What all connections of a door share.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) hub: HubHandle,
    pub(super) settings: Arc<Settings>,
    pub(super) clock: SharedClock,
    pub(super) gate: Arc<Gate>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Serves one accepted socket to its end.
pub(super) async fn attend<S: Stream>(stream: S, peer: SocketAddr, door: Arc<Door>, entry: Entry) {
    let stats = Arc::clone(&door.settings.stats);
    let Some(mut socket) = shake_hands(stream, &door, entry).await else {
        Stats::count(&stats.abandoned);
        return;
    };
    if !door.settings.anonymous {
        let frame = CloseFrame { code: CloseCode::Policy, reason: "anonymous access is off".into() };
        // It may be gone already.
        tokio::time::timeout(door.settings.farewell, socket.close(Some(frame))).await.ok();
        return;
    }
    let Ok(link) = door.hub.open(LinkInfo { dialect: Dialect::Rembus, peer, identity: Identity::default() }).await else {
        return;
    };
    let _present = Present::new(&stats.connected);
    let dialogue = Dialogue::new(Arc::clone(&door.settings), Arc::clone(&door.clock), link.sender.id());
    let watch = Watch::new(&door.settings);
    Connection::new(socket, link, dialogue, Arc::clone(&door.settings), watch).serve(door.stop.clone()).await;
}

/// The WebSocket handshake; `None` if it failed, took too long, or others needed the place.
async fn shake_hands<S: Stream>(stream: S, door: &Door, mut entry: Entry) -> Option<WebSocketStream<Metered<S>>> {
    let settings = &door.settings;
    let _half_open = Present::new(&settings.stats.half_open);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(Some(settings.max_message))
        .max_frame_size(Some(settings.max_message));
    let mut stop = door.stop.clone();
    tokio::select! {
        accepted = accept_async_with_config(Metered::new(stream), Some(config)) => accepted.ok(),
        () = entry.displaced() => None,
        () = tokio::time::sleep(settings.handshake_timeout) => None,
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

/// A close reason has at most 123 bytes (RFC 6455, 5.5).
pub(super) fn short(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}
