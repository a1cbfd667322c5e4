//! From nothing to a connection that the parent knows by name.

use super::super::forward::LinkError;
use super::super::settings::Parent;
use super::key::Key;
use crate::net::Stream;
use crate::rembus::cbor::Reader;
use crate::rembus::codec::{self, Frame, MessageId};
use crate::tls;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// For each step of the way: what a Rembus client gives a broker.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Statuses that matter here (section 4).
const OK: u64 = 0;
const CHALLENGE: u64 = 11;
const NAME_TAKEN: u64 = 60;
/// Ids of the login; those of publications are far above.
const REGISTER: MessageId = MessageId(1);
const IDENTITY: MessageId = MessageId(2);
const ATTESTATION: MessageId = MessageId(3);
/// The id of a challenge that nobody asked for (section 5.7).
const UNASKED: MessageId = MessageId(0x1234_5678_dead_beef);

/// A byte stream, with TLS or without.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Connects up to the WebSocket.
pub(super) async fn connect(parent: &Parent) -> Result<Socket, LinkError> {
    let link = &parent.link;
    let unreachable = |why: &dyn ToString| LinkError::Unreachable(why.to_string());
    let connecting = async {
        let tcp = TcpStream::connect((link.host.as_str(), link.port)).await.map_err(|error| unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let (scheme, stream): (_, Box<dyn Stream>) = match &link.tls {
            None => ("ws", Box::new(tcp)),
            Some(files) => {
                let client = files.client.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
                let config = tls::client::client_config(files.ca.as_deref(), client).map_err(LinkError::Local)?;
                let name = ServerName::try_from(link.host.clone()).map_err(|error| unreachable(&error))?;
                let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| unreachable(&error))?;
                ("wss", Box::new(stream))
            }
        };
        let host = if link.host.contains(':') { format!("[{}]", link.host) } else { link.host.clone() };
        let url = format!("{scheme}://{host}:{}/", link.port);
        let shaken = tokio_tungstenite::client_async(url, stream).await;
        shaken.map(|(socket, _)| socket).map_err(|error| unreachable(&error))
    };
    let outcome = tokio::time::timeout(STEP_MAX, connecting).await;
    outcome.unwrap_or_else(|_| Err(LinkError::Unreachable("it does not answer".to_owned())))
}

/// Says who the gateway is, and proves it if it is asked to.
pub(super) async fn log_in(socket: &mut Socket, parent: &Parent) -> Result<(), LinkError> {
    let name = parent.component.as_str();
    let key = match &parent.key {
        Some(path) => Some(read_key(path.clone()).await?),
        None => None,
    };
    // A parent that asks everybody has asked before it hears of the registration, and asks once.
    let mut challenge = None;
    if let (Some(pin), Some((public, kind))) = (&parent.pin, key.as_ref().and_then(Key::public)) {
        let pin = std::fs::read_to_string(pin).map_err(|error| LinkError::Local(format!("`{}`: {error}", pin.display())))?;
        say(socket, codec::register(REGISTER, name, pin.trim(), public.as_bytes(), kind)).await?;
        let (status, data) = loop {
            match hear(socket, REGISTER).await? {
                Heard::Unasked(asked) => challenge = Some(asked),
                Heard::Answer(status, data) => break (status, data),
            }
        };
        if status != OK && status != NAME_TAKEN {
            return Err(LinkError::Refused(format!("registering the key: {}", reason(status, &data))));
        }
    }
    let (id, challenge) = match challenge {
        Some(challenge) => (UNASKED, challenge),
        None => {
            say(socket, codec::identity(IDENTITY, name, &[0xa0])).await?;
            match hear(socket, IDENTITY).await? {
                // Who asks unasked wants its own id back (section 5.7).
                Heard::Unasked(challenge) => (UNASKED, challenge),
                Heard::Answer(CHALLENGE, challenge) => (ATTESTATION, challenge),
                Heard::Answer(OK, _) => return Ok(()),
                Heard::Answer(status, data) => return Err(LinkError::Refused(reason(status, &data))),
            }
        }
    };
    let Some(key) = key else {
        return Err(LinkError::Refused("it wants a proof, and this gateway has no key for it".to_owned()));
    };
    let challenge = Reader::new(&challenge).bytes().map_err(|error| LinkError::Broken(error.to_string()))?;
    let proof = key.answer(&challenge, name).map_err(LinkError::Local)?;
    say(socket, codec::attestation(id, name, &proof, &[0xa0])).await?;
    let (status, data) = answer(socket, id).await?;
    if status == OK { Ok(()) } else { Err(LinkError::Refused(reason(status, &data))) }
}

async fn read_key(path: PathBuf) -> Result<Key, LinkError> {
    let read = tokio::task::spawn_blocking(move || Key::open(&path)).await;
    read.map_err(|error| LinkError::Local(error.to_string()))?.map_err(LinkError::Local)
}

fn reason(status: u64, data: &[u8]) -> String {
    let text: String = ciborium::from_reader(data).unwrap_or_default();
    if text.is_empty() { format!("status {status}") } else { text }
}

pub(super) async fn say(socket: &mut Socket, message: Bytes) -> Result<(), LinkError> {
    let sent = tokio::time::timeout(STEP_MAX, socket.send(Message::Binary(message))).await;
    sent.map_err(|_| LinkError::Silent)?.map_err(|error| LinkError::Broken(error.to_string()))
}

/// The answer to a request; what else comes before it is of no interest yet.
pub(super) async fn answer(socket: &mut Socket, id: MessageId) -> Result<(u64, Bytes), LinkError> {
    loop {
        if let Heard::Answer(status, data) = hear(socket, id).await? {
            return Ok((status, data));
        }
    }
}

enum Heard {
    Answer(u64, Bytes),
    /// A challenge of a parent that asks everybody.
    Unasked(Bytes),
}

/// The answer to a request, or a challenge that comes before it.
async fn hear(socket: &mut Socket, id: MessageId) -> Result<Heard, LinkError> {
    let waiting = async {
        loop {
            match receive(socket).await? {
                Some(Frame::Response { id: UNASKED, status: CHALLENGE, data }) => return Ok(Heard::Unasked(data)),
                Some(Frame::Response { id: of, status, data }) if of == id => return Ok(Heard::Answer(status, data)),
                _ => {}
            }
        }
    };
    tokio::time::timeout(STEP_MAX, waiting).await.unwrap_or(Err(LinkError::Silent))
}

/// The next message; `None` for what WebSocket says to itself. Cancel safe.
pub(super) async fn receive(socket: &mut Socket) -> Result<Option<Frame>, LinkError> {
    match socket.next().await {
        Some(Ok(Message::Binary(message))) => {
            codec::decode(&message).map(Some).map_err(|error| LinkError::Broken(error.to_string()))
        }
        Some(Ok(Message::Close(frame))) => {
            let why = frame.map(|frame| format!("{} {}", u16::from(frame.code), frame.reason)).unwrap_or_default();
            Err(LinkError::Broken(format!("it closed the connection {why}").trim_end().to_owned()))
        }
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(LinkError::Broken(error.to_string())),
        None => Err(LinkError::Broken("it closed the connection".to_owned())),
    }
}
