//! From the accepted socket to CONNACK, then on to [`Connection`].

use super::Settings;
use super::codec::{self, Connack, Connect, ConnectError, ReasonCode, Version, kind, protocol_error};
use super::connection::Connection;
use super::dialogue::{Dialogue, Ending};
use super::farewell::farewell;
use super::hub::{Hub, Receiver, Sender};
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::websocket;
use crate::access::{Admission, Admits, Credentials, Denied, Identity, Refused as LoginRefused, Seat};
use crate::clock::{SharedClock, Wall};
use crate::door::{Arrival, Entry, Line, Origin, Peer, Present, Stats, TransportError};
use crate::message::Dialect;
use crate::message::{Message, Payload};
use crate::names::NameLimits;
use crate::net::Stream;
use crate::router::{Attach, CloseReason, Expiry, Inbound, LinkInfo, OnConflict, Outbound, Will};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// What all connections of the door share.
#[derive(Debug)]
pub(crate) struct Door<H> {
    pub(crate) hub: H,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: SharedClock,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Why there is no connection.
#[derive(Debug)]
enum Refused {
    /// Nothing can or needs to be said.
    Silently(&'static str),
    /// It never got to MQTT.
    Transport(TransportError),
    /// CONNACK with this reason \[MQTT-3.2.2-4\] of 3.1.1, \[MQTT-3.1.4-2\] of 5.0.
    With { form: Form, reason: ReasonCode, what: &'static str },
    /// The same, and access has counted and logged it.
    Login { form: Form, why: LoginRefused },
}

/// What a CONNACK for this client may look like.
#[derive(Debug, Clone, Copy)]
struct Form {
    version: Version,
    /// The largest packet the client takes.
    max_packet: u32,
}

impl Form {
    fn of(connect: &Connect) -> Self {
        Self { version: connect.version, max_packet: connect.max_packet.unwrap_or(u32::MAX) }
    }
}

/// An accepted CONNECT.
struct Admitted<H: Hub> {
    connect: Connect,
    dialogue: Dialogue,
    link: (H::Sender, H::Receiver),
    seat: Option<Seat>,
    connack: Outbox,
    /// What the router sent right behind its answer.
    waiting: VecDeque<Outbound>,
}

/// Serves one socket from beginning to end.
pub(crate) async fn attend<S: Stream, H: Hub>(arrival: Arrival<S>, door: Arc<Door<H>>, mut entry: Entry) {
    let (settings, stats) = (&door.settings, &*door.settings.stats);
    let half_open = Present::new(&stats.half_open);
    let deadline = Instant::now() + settings.connect_timeout;
    let mut inbox = Inbox::new();
    let (mut stop, mut name) = (door.stop.clone(), String::new());
    let (mut seat, mut stream, mut peer) = (None, None, arrival.addr);
    let origin = entry.origin();
    // Boxed, so that what it needs is gone when it is done: the task keeps room for its largest part for as long as it lives.
    let shaking = Box::pin(async {
        let (mut line, mut newcomer) = arrival.carry().await.map_err(Refused::Transport)?;
        peer = newcomer.addr;
        origin.is(peer.ip());
        if newcomer.transport.is_web_socket() {
            line = websocket::upgrade(line, &settings.origins, &mut newcomer).await.map_err(Refused::Transport)?;
        }
        shake_hands(stream.insert(line), (&mut inbox, &origin), &newcomer, &door, &mut name, &mut seat).await
    });
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        () = tokio::time::sleep_until(deadline) => Err(Refused::Silently("CONNECT took too long")),
        () = entry.displaced() => Err(Refused::Silently("too many connections before CONNECT")),
        _ = stop.wait_for(|stop| *stop) => Err(Refused::Silently("the gateway stops")),
    };
    drop((entry, half_open));
    match (shaken, stream) {
        (Ok(admitted), Some(stream)) => {
            let version = admitted.connect.version.name();
            log::debug!(client_id = name.as_str(), peer:%, version, keep_alive_s = admitted.connect.keep_alive; "client connected");
            let read_already = (inbox, admitted.connack, admitted.waiting);
            let Admitted { connect, dialogue, link, seat: _seat, .. } = admitted;
            let connection =
                Connection::<S, H>::new(stream, link, &connect, dialogue, read_already, settings.clone(), door.clock.clone());
            drop(connect);
            connection.run(stop, |ending| report(&door, ending, &name, peer)).await;
        }
        (Err(Refused::With { form, reason, what }), Some(stream)) => {
            Stats::count(&stats.refused);
            if let Some(suppressed) = stats.may_warn(&*door.clock) {
                log::warn!(client_id = name.as_str(), peer:%, reason = what, code = reason.0, suppressed; "client refused");
            }
            say_no(stream, form, reason, what, settings).await;
        }
        (Err(Refused::Login { form, why }), Some(stream)) => {
            Stats::count(&stats.refused);
            say_no(stream, form, why.into(), why.why(), settings).await;
        }
        (Err(Refused::Transport(error)), _) => error.report("mqtt", peer, stats, &*door.clock),
        (Err(Refused::Silently(reason)), _) => {
            Stats::count(&stats.abandoned);
            log::debug!(peer:%, reason; "connection closed before CONNECT was answered");
        }
        (Ok(_) | Err(Refused::With { .. } | Refused::Login { .. }), None) => {
            unreachable!("nobody speaks MQTT before the transport is there")
        }
    }
    drop(seat);
}

/// CONNACK with an error, then the end.
async fn say_no<S: Stream>(stream: Line<S>, form: Form, reason: ReasonCode, what: &'static str, settings: &Settings) {
    let mut outbox = Outbox::default();
    codec::connack(outbox.gathered(), form.version, Err((reason, what)), form.max_packet);
    Box::pin(farewell(stream, outbox, Ending::Closed(CloseReason::ProtocolError), settings.farewell)).await;
}

/// Counts and logs how a served connection ended.
fn report<H>(door: &Door<H>, ending: Ending, client_id: &str, peer: SocketAddr) {
    let stats = &*door.settings.stats;
    let (counter, reason) = match ending {
        Ending::Goodbye(_) => (None, "the client disconnected"),
        Ending::Lost => (None, "the connection broke"),
        Ending::Closed(CloseReason::TakenOver) => (None, "a newer connection has the client id"),
        Ending::Closed(CloseReason::ShuttingDown) => (None, "the gateway stops"),
        Ending::Closed(CloseReason::Silent) => (None, "the client showed no sign of life"),
        Ending::Closed(CloseReason::TooSlow) => (Some(&stats.stalled), "the client reads too slowly"),
        Ending::Closed(CloseReason::NotAuthorized) => (None, "the user was removed or disabled, or has another password"),
        Ending::Closed(CloseReason::QuotaExceeded) => (None, "its user has the largest part of what is used up"),
        Ending::Closed(CloseReason::ProtocolError) => (Some(&stats.malformed), "the client broke the protocol"),
        Ending::Closed(CloseReason::PublishRefused) => (Some(&stats.refused), "a publication was refused"),
        Ending::Stalled => (Some(&stats.stalled), "the client does not read"),
        Ending::Fault(fault) if fault.reason == ReasonCode::KEEP_ALIVE_TIMEOUT => (Some(&stats.silent), fault.what),
        Ending::Fault(fault) => (Some(&stats.malformed), fault.what),
    };
    let Some(counter) = counter else {
        log::debug!(client_id, peer:%, reason; "client gone");
        return;
    };
    Stats::count(counter);
    if let Some(suppressed) = stats.may_warn(&*door.clock) {
        log::warn!(client_id, peer:%, reason, suppressed; "connection closed");
    }
}

async fn shake_hands<'a, S: Stream, H: Hub>(
    stream: &mut Line<S>,
    (inbox, origin): (&mut Inbox, &Origin),
    peer: &Peer,
    door: &'a Door<H>,
    name: &mut String,
    seat: &mut Option<Present<'a>>,
) -> Result<Admitted<H>, Refused> {
    let settings = &door.settings;
    let mut connect = read_first(stream, inbox, origin, settings).await?;
    if settings.names.allow(&connect.client_id) {
        name.clone_from(&connect.client_id);
    }
    admit(&connect, settings.names)?;
    let (version, form) = (connect.version, Form::of(&connect));
    let Admission { identity, seat: user_seat } = login(&connect, peer, settings).await?;
    let refuse = |reason, what| Refused::With { form, reason, what };
    *seat = Present::within(&settings.stats.connected, settings.max_connections);
    if seat.is_none() {
        return Err(refuse(ReasonCode::SERVER_BUSY, "`mqtt.max_connections` is reached"));
    }
    // 3.1.1 knows only "with the connection" and "for ever".
    let asked = match (version.is_5(), connect.clean) {
        (true, _) => connect.session_expiry,
        (false, true) => 0,
        (false, false) => u32::MAX,
    };
    let expiry = settings.expiry(asked);
    let granted = match expiry {
        Expiry::After(seconds) if seconds < asked => Some(seconds),
        Expiry::WithLink | Expiry::Never | Expiry::After(_) => None,
    };
    // Random, so that it cannot meet the session of one who was given an id earlier [MQTT-3.1.3-6].
    let client_id = if connect.client_id.is_empty() { format!("auto-{}", Uuid::new_v4()) } else { connect.client_id.clone() };
    // A 3.1.1 client cannot be told.
    let keep_alive = settings.keep_alive_max.filter(|max| version.is_5() && !(1..=*max).contains(&connect.keep_alive));
    let accepted = Connack {
        session_present: false,
        // [MQTT-3.1.2-23], section 3.2.2.3.2: told if it is less than asked for.
        session_expiry: granted,
        receive_max: settings.receive_max,
        max_packet: u32::try_from(settings.max_packet).unwrap_or(u32::MAX),
        assigned_id: connect.client_id.is_empty().then_some(&*client_id),
        topic_alias_max: settings.topic_alias_max,
        keep_alive,
    };
    // Before the router hears of it: a session must not be taken over by a client that can never be told so.
    if !codec::connack(&mut Vec::new(), version, Ok(&accepted), form.max_packet) {
        return Err(Refused::Silently("CONNACK is larger than the client's maximum packet size"));
    }
    let stopping = |_| refuse(ReasonCode::SERVER_UNAVAILABLE, "the gateway stops");
    let (mut sender, mut receiver) = door
        .hub
        .open(LinkInfo { dialect: Dialect::Mqtt, peer: peer.addr, identity: identity.clone() })
        .await
        .map_err(stopping)?;
    let identity = if connect.client_id.is_empty() { identity.named(&client_id) } else { identity };
    let attach = Attach {
        name: client_id.clone(),
        on_conflict: OnConflict::TakeOver,
        clean: connect.clean,
        receive_max: connect.receive_max,
        expiry,
        will: connect.will.take().map(|will| Box::new(will_of(will, &client_id))),
        packet_max: connect.max_packet.unwrap_or(u32::MAX),
        resend_after: None,
        identity,
    };
    sender.send(vec![Inbound::Attach(attach)]).await.map_err(stopping)?;
    let mut waiting: VecDeque<Outbound> = loop {
        let batch = receiver.recv().await.ok_or(refuse(ReasonCode::SERVER_UNAVAILABLE, "the gateway stops"))?;
        if !batch.is_empty() {
            break batch.into();
        }
    };
    let (session_present, assigned) = match waiting.pop_front() {
        Some(Outbound::Attached { session_present, name }) => (session_present, name),
        Some(Outbound::Refused(refusal)) => return Err(refuse(refusal.into(), "the router refused the session")),
        Some(Outbound::Close(reason)) => return Err(refuse(reason.into(), "the session was closed at once")),
        other => unreachable!("the router answers Attach before anything else, not with {other:?}"),
    };
    name.clear();
    name.push_str(&assigned);
    let mut outbox = Outbox::default();
    let accepted = Connack { session_present, assigned_id: connect.client_id.is_empty().then_some(&*assigned), ..accepted };
    codec::connack(outbox.gathered(), version, Ok(&accepted), form.max_packet);
    connect.keep_alive = keep_alive.unwrap_or(connect.keep_alive);
    let dialogue = Dialogue::new(&connect, assigned, settings.clone());
    Ok(Admitted { connect, dialogue, link: (sender, receiver), seat: user_seat, connack: outbox, waiting })
}

/// What the router publishes in the client's name if it vanishes.
fn will_of(will: codec::Will, client_id: &str) -> Will {
    let codec::Will { topic, qos, retain, payload, properties, delay_s } = will;
    let payload = Payload::Mqtt(payload);
    let mut message = Message::new(topic, payload, qos, Wall::default(), Dialect::Mqtt, client_id.into());
    message.retain = retain;
    message.properties = properties;
    Will { message, delay: Duration::from_secs(delay_s.into()) }
}

/// A will may be as large as a packet by itself, and is not: nothing that large is held for somebody nobody knows.
const CONNECT_TOO_LARGE: &str = "a CONNECT, its will included, has at most 64 KiB";
/// Bytes of a CONNECT by which it has said its version.
const VERSION_WITHIN: usize = 16;

/// Waits for the first packet, which must be CONNECT \[MQTT-3.1.0-1\].
async fn read_first<S: Stream>(
    stream: &mut Line<S>,
    inbox: &mut Inbox,
    origin: &Origin,
    settings: &Settings,
) -> Result<Connect, Refused> {
    let max = settings.max_connect.min(settings.max_packet);
    loop {
        // The record header of TLS, whose first byte would pass for a CONNECT.
        if inbox.starts_with(&[0x16, 0x03]) {
            return Err(Refused::Transport(TransportError::TlsUnasked));
        }
        match inbox.next(max) {
            Ok(Some((frame, packet))) if frame.kind() == kind::CONNECT => {
                let connect = codec::read_connect(packet.get(frame.header..).unwrap_or_default());
                inbox.consume(frame);
                return connect.map_err(|ConnectError { fault, answer }| match answer {
                    // What it takes is not known of a client that cannot be understood.
                    Some(version) => {
                        Refused::With { form: Form { version, max_packet: u32::MAX }, reason: fault.reason, what: fault.what }
                    }
                    None => Refused::Silently(fault.what),
                });
            }
            Ok(Some(_)) => return Err(Refused::Silently(protocol_error("the first packet is not CONNECT").what)),
            Ok(None) if inbox.starts_with_other_than(kind::CONNECT) => {
                return Err(Refused::Silently(protocol_error("the first packet is not CONNECT").what));
            }
            Ok(None) => {}
            Err(fault) if fault.reason == ReasonCode::PACKET_TOO_LARGE => match inbox.version_of_connect() {
                Some(version) => {
                    let form = Form { version, max_packet: u32::MAX };
                    return Err(Refused::With { form, reason: fault.reason, what: CONNECT_TOO_LARGE });
                }
                None if inbox.len() < VERSION_WITHIN => {}
                None => return Err(Refused::Silently(fault.what)),
            },
            Err(fault) => return Err(Refused::Silently(fault.what)),
        }
        if inbox.len() > VERSION_WITHIN && origin.has_sent(inbox.len()).is_err() {
            return Err(Refused::Silently("too many bytes of connections without CONNECT"));
        }
        match stream.read_buf(inbox.room()).await {
            Ok(count @ 1..) => inbox.arrived(count),
            Ok(0) | Err(_) => return Err(Refused::Silently("the connection broke")),
        }
    }
}

/// Whom the client acts for: user and password of CONNECT, or the certificate that the transport has verified.
async fn login(connect: &Connect, peer: &Peer, settings: &Settings) -> Result<Admission, Refused> {
    let form = Form::of(connect);
    let here = settings.anonymous_everywhere || !peer.forwarded;
    let admits = if settings.anonymous && here { Admits::Everybody } else { Admits::Users };
    let credentials = Credentials {
        user: connect.user.as_deref(),
        password: connect.password.as_deref(),
        certificate: peer.certificate.as_deref(),
        client: Some(&connect.client_id),
    };
    match &settings.access {
        Some(access) => {
            access.login("mqtt", admits, peer.addr, credentials).await.map_err(|Denied(why)| Refused::Login { form, why })
        }
        None if settings.anonymous => Ok(Admission { identity: Identity::default(), seat: None }),
        None => Err(Refused::Login { form, why: LoginRefused::Anonymous }),
    }
}

/// What the packet itself says against coming in.
fn admit(connect: &Connect, names: NameLimits) -> Result<(), Refused> {
    let (version, form) = (connect.version, Form::of(connect));
    let refuse = |reason, what| Err(Refused::With { form, reason, what });
    if connect.authentication_method.is_some() {
        // [MQTT-4.12.0-1]
        return refuse(ReasonCode::BAD_AUTHENTICATION_METHOD, "enhanced authentication is not supported");
    }
    // [MQTT-3.1.3-8] of 3.1.1; 3.1 wants a name in any case; 5.0 always takes an empty one [MQTT-3.1.3-6].
    let nameless = connect.client_id.is_empty();
    if nameless && (version == Version::V31 || (version == Version::V311 && !connect.clean)) {
        return refuse(ReasonCode::CLIENT_ID_NOT_VALID, "a session that is to stay needs a client id");
    }
    if !names.allow(&connect.client_id) {
        return refuse(ReasonCode::CLIENT_ID_NOT_VALID, "the client id is longer than `mqtt.max_topic` or has too many levels");
    }
    if connect.will.as_ref().is_some_and(|will| !names.allow(&will.topic)) {
        return refuse(ReasonCode::TOPIC_NAME_INVALID, "the will topic is longer than `mqtt.max_topic` or has too many levels");
    }
    Ok(())
}
