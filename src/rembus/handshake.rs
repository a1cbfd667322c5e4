//! From an accepted socket to a served connection. In its own task: nothing a peer does or leaves undone here delays others.

use super::Settings;
use super::carrier::Carrier;
use super::connection::Connection;
use super::dialogue::Dialogue;
use super::login::Entry;
use super::tcp::Framed;
use super::traffic::Metered;
use super::watch::Watch;
use crate::access::{Admission, Admits, Credentials, Denied, Identity, Refused, basic};
use crate::clock::SharedClock;
use crate::door::{self, Arrival, Line, Peer, Present, Stats, TransportError, is_near};
use crate::message::Dialect;
use crate::mqtt::websocket::forbidden;
use crate::net::Stream;
use crate::router::{HubHandle, LinkInfo};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// Read buffer of a connection, allocated as long as it lives; larger messages get their own.
const READ_BUFFER: usize = 8 << 10;
/// What gathers before it is written without a flush.
const WRITE_BUFFER: usize = 64 << 10;
/// Bytes that may wait in the socket's buffer; only pongs of a peer that does not read can fill it.
const WRITE_BUFFER_MAX: usize = 2 << 20;

/// What a newcomer hears whose place another one needs.
pub(super) const DISPLACED: &str = "too many connections that have not logged in";

/// How long a parting peer gets to read why. Whoever is displaced must not keep the place meanwhile.
pub(super) fn patience(settings: &Settings, why: &str) -> Duration {
    if why == DISPLACED { settings.farewell.min(Duration::from_millis(50)) } else { settings.farewell }
}

/// What all connections of a door share.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) hub: HubHandle,
    pub(super) settings: Arc<Settings>,
    pub(super) clock: SharedClock,
    pub(super) stop: watch::Receiver<bool>,
}

/// Serves one accepted socket to its end.
pub(super) async fn attend<S: Stream>(arrival: Arrival<S>, door: Arc<Door>, entry: door::Entry) {
    // Boxed, so that what it needs is gone when it is done.
    let mut entry = entry;
    let Some((carried, peer, authorization)) = Box::pin(shake_hands(arrival, &door, &mut entry)).await else { return };
    match carried {
        Carried::WebSocket(socket) => serve(*socket, peer, authorization, &door, entry).await,
        Carried::Plain(stream) => serve(Framed::new(stream, door.settings.max_message), peer, None, &door, entry).await,
    }
}

/// From a carrier that is ready to the end.
async fn serve<C: Carrier>(mut carrier: C, peer: Peer, authorization: Option<String>, door: &Door, mut newcomer: door::Entry) {
    let stats = Arc::clone(&door.settings.stats);
    let half_open = Present::new(&stats.half_open);
    let logging_in = Box::pin(login(&door.settings, &peer, authorization));
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(door.settings.handshake_timeout, logging_in) => outcome.unwrap_or(Err("the login took too long")),
        () = newcomer.displaced() => Err(DISPLACED),
    };
    drop(half_open);
    let (Admission { identity, seat: _seat }, entry) = match outcome {
        Ok(admission) => admission,
        Err(why) => {
            Stats::count(&stats.refused);
            let frame = CloseFrame { code: CloseCode::Policy, reason: why.into() };
            let patience = patience(&door.settings, why);
            // It may be gone already.
            tokio::time::timeout(patience, carrier.part(frame, false)).await.ok();
            return;
        }
    };
    let addr = peer.addr;
    let info = LinkInfo { dialect: Dialect::Rembus, peer: addr, identity: identity.clone() };
    drop(peer);
    let Ok(link) = door.hub.open(info).await else {
        return;
    };
    let _present = Present::new(&stats.connected);
    // Who still has to log in keeps his place among the newcomers until he has.
    let newcomer = (entry != Entry::Free).then_some(newcomer);
    if newcomer.is_none() {
        carrier.is_known();
    }
    let (settings, clock) = (Arc::clone(&door.settings), Arc::clone(&door.clock));
    let dialogue = Dialogue::new(settings, clock, (link.sender.id(), addr), identity, entry);
    let watch = Watch::new(&door.settings);
    let settings = Arc::clone(&door.settings);
    Connection::new(carrier, link, dialogue, settings, watch, newcomer).serve(door.stop.clone()).await;
}

/// What carries messages once transport and handshake are done.
enum Carried<S> {
    WebSocket(Box<WebSocketStream<Metered<Line<S>>>>),
    Plain(Metered<Line<S>>),
}

/// Whom the component acts for: user and password of the HTTP upgrade (`ws://user:password@…`), or the certificate that the
/// transport has verified. Without either, where one is needed, it may still prove its name with a key, over Rembus itself.
async fn login(settings: &Settings, peer: &Peer, authorization: Option<String>) -> Result<(Admission, Entry), &'static str> {
    let said = authorization.as_deref().map(|header| basic(header).ok_or(()));
    let anonymous = settings.anonymous && (settings.anonymous_everywhere || !peer.forwarded);
    let admits = if anonymous { Admits::Everybody } else { Admits::Users };
    let (user, password) = match &said {
        Some(Ok((user, password))) => (Some(user.as_str()), Some(password.as_slice())),
        // Whoever tries to log in must not be let in as somebody who did not.
        Some(Err(())) => (Some(""), None),
        None => (None, None),
    };
    let Some(access) = &settings.access else {
        let nobody = Admission { identity: Identity::default(), seat: None };
        return if anonymous { Ok((nobody, Entry::Free)) } else { Err(Refused::Anonymous.why()) };
    };
    if said.is_none() && peer.certificate.is_none() && (settings.authenticated || !anonymous) {
        let entry = if settings.authenticated { Entry::Challenge } else { Entry::Login };
        return Ok((access.newcomer(), entry));
    }
    let credentials = Credentials { user, password, certificate: peer.certificate.as_deref(), client: None };
    match access.login("rembus", admits, peer.addr, credentials).await {
        // An anonymous peer with a certificate that names no user has proven nothing yet.
        Ok(admission) if settings.authenticated && admission.identity.user.is_none() => Ok((admission, Entry::Challenge)),
        Ok(admission) => Ok((admission, Entry::Free)),
        // The certificate let it through the transport, and names no user; a key may.
        Err(Denied(Refused::Certificate)) if settings.authenticated => Ok((access.newcomer(), Entry::Challenge)),
        Err(Denied(Refused::Certificate)) => Ok((access.newcomer(), Entry::Login)),
        Err(Denied(why)) => Err(why.why()),
    }
}

/// Transport and WebSocket handshake, and the `Authorization` header; `None` if one failed, took too long, or others needed the place.
async fn shake_hands<S: Stream>(
    arrival: Arrival<S>,
    door: &Door,
    entry: &mut door::Entry,
) -> Option<(Carried<S>, Peer, Option<String>)> {
    let (settings, stats) = (&door.settings, &*door.settings.stats);
    let _half_open = Present::new(&stats.half_open);
    let (mut stop, mut addr) = (door.stop.clone(), arrival.addr);
    let origin = entry.origin();
    let shaking = async {
        let (line, mut peer) = arrival.carry().await?;
        addr = peer.addr;
        origin.is(addr.ip());
        if !peer.transport.is_web_socket() {
            return Ok((Carried::Plain(Metered::of_newcomer(line, origin.clone())), peer, None));
        }
        let (mut authorization, mut refused) = (None, None);
        #[expect(clippy::result_large_err, reason = "the type is the library's")]
        let look = |request: &Request, response: Response| {
            if let Err(foreign) = settings.origins.check(request.headers(), addr.ip()) {
                refused = Some(foreign);
                return Err(forbidden(foreign));
            }
            peer.forwarded = addr.ip().to_canonical().is_loopback() && !is_near(request.headers(), addr.ip());
            let header = request.headers().get(AUTHORIZATION);
            // What is no text is no login either.
            authorization = header.map(|value| value.to_str().unwrap_or_default().to_owned());
            Ok(response)
        };
        let metered = Metered::of_newcomer(line, origin.clone());
        let accepted = accept_hdr_async_with_config(metered, look, Some(web_socket(settings))).await;
        if let Some(foreign) = refused {
            return Err(foreign.into());
        }
        Ok((Carried::WebSocket(Box::new(accepted.map_err(no_web_socket)?)), peer, authorization))
    };
    let shaken: Option<Result<_, TransportError>> = tokio::select! {
        shaken = shaking => Some(shaken),
        () = entry.displaced() => None,
        () = tokio::time::sleep(settings.handshake_timeout) => None,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    match shaken {
        Some(Ok(shaken)) => return Some(shaken),
        Some(Err(error)) => error.report("rembus", addr, stats, &*door.clock),
        None => Stats::count(&stats.abandoned),
    }
    None
}

fn web_socket(settings: &Settings) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(Some(settings.max_message))
        .max_frame_size(Some(settings.max_message))
}

fn no_web_socket(error: Error) -> TransportError {
    match error {
        Error::Io(_) | Error::ConnectionClosed | Error::Protocol(ProtocolError::HandshakeIncomplete) => TransportError::Lost,
        Error::Protocol(ProtocolError::HttparseError(_)) => TransportError::NotHttp,
        other => TransportError::WebSocket(other.to_string()),
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
