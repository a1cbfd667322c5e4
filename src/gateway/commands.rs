//! What the commands `query`, `rpc`, `pub` and `sub` ask on the control socket.
//!
//! | path | body | answer |
//! |---|---|---|
//! | `/query` | `{"table": …, "arguments": {…}}` | pieces, see below |
//! | `/rpc` | `{"method": …, "target": null, "arguments": […]}` | CBOR data |
//! | `/inventory` (GET) | | `{"exposers": {method: [component]}, "subscribers": {topic: [component]}}` |
//! | `/pub` | `{"topic": …, "arguments": […], "qos": 0 or 1}` | `null` when the message is on the disk |
//! | `/sub` | `{"pattern": …}` | a line of JSON for each message, `{"topic": …, "data": …}` |
//!
//! Except for `/query` each is a link of its own, as a component's would be. It ends with the request, and so does what was asked.
//!
//! ```text
//! piece = u8 kind: 1 Arrow IPC stream, 2 error text, 0 end │ u32 length, little endian │ bytes
//! ```

use crate::access::Identity;
use crate::clock::SharedClock;
use crate::control::Failure;
use crate::history::History;
use crate::history::model::Caller;
use crate::mapping;
use crate::message::{Dialect, Message, Payload, Qos};
use crate::router::{
    Delivery, HubHandle, HubStopped, Inbound, Link, LinkInfo, LinkReceiver, LinkSender, Outbound, Past, Status, Subscription,
    Token,
};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Who publishes: seen by subscribers and in the log.
const PUBLISHER: &str = "rembus-gateway pub";
const TOKEN: Token = Token(1);
/// Pieces that wait for the command to read them.
const PIECES: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub(super) hub: HubHandle,
    pub(super) history: Option<Arc<History>>,
    pub(super) clock: SharedClock,
}

/// The routes of this file.
pub(super) fn routes(commands: Commands) -> axum::Router {
    axum::Router::new()
        .route("/query", post(query))
        .route("/rpc", post(rpc))
        .route("/pub", post(publish))
        .route("/sub", post(subscribe))
        .route("/inventory", get(inventory))
        .with_state(commands)
}

#[derive(Debug, Deserialize)]
struct Query {
    table: String,
    arguments: serde_json::Value,
}

async fn query(State(commands): State<Commands>, Json(query): Json<Query>) -> Result<Body, Failure> {
    let Some(history) = commands.history.clone() else {
        return Err(Failure::missing("this gateway keeps no tables").hint("start it with `--schema FILE`"));
    };
    let data = mapping::json_to_cbor(&serde_json::Value::Array(vec![query.arguments]));
    let (to, mut arrow) = mpsc::channel(PIECES);
    let mut asking = Box::pin(async move { history.stream(Caller::OPERATOR, &query.table, data, to).await });
    let mut done = None;
    // The first piece tells whether it works; before that a refusal is an answer of its own.
    let first = tokio::select! {
        biased;
        piece = arrow.recv() => piece,
        ended = &mut asking => match ended {
            Ok(()) => {
                done = Some(Ok(()));
                arrow.recv().await
            }
            Err(error) => return Err(Failure::wrong(error.text)),
        },
    };
    let (out, pieces) = mpsc::channel(PIECES);
    let relay = async move {
        let mut next = first;
        loop {
            if let Some(bytes) = next
                && out.send(piece(1, &bytes)).await.is_err()
            {
                return;
            }
            next = tokio::select! {
                biased;
                piece = arrow.recv() => match piece {
                    Some(piece) => Some(piece),
                    None => break,
                },
                ended = &mut asking, if done.is_none() => {
                    done = Some(ended);
                    None
                }
            };
        }
        let done = match done {
            Some(done) => done,
            None => asking.await,
        };
        let last = match done {
            Ok(()) => piece(0, b""),
            Err(error) => piece(2, error.text.as_bytes()),
        };
        // The command may have gone.
        out.send(last).await.ok();
    };
    Ok(streamed(pieces, relay))
}

fn piece(kind: u8, bytes: &[u8]) -> Bytes {
    let mut piece = BytesMut::with_capacity(bytes.len() + 5);
    piece.put_u8(kind);
    piece.put_u32_le(u32::try_from(bytes.len()).expect("pieces are small"));
    piece.put_slice(bytes);
    piece.freeze()
}

/// A body that `work` fills; both end together.
fn streamed(mut pieces: mpsc::Receiver<Bytes>, work: impl Future<Output = ()> + Send + 'static) -> Body {
    let mut work = Some(Box::pin(work));
    Body::from_stream(futures_util::stream::poll_fn(move |context| {
        if let Some(working) = &mut work
            && working.as_mut().poll(context).is_ready()
        {
            work = None;
        }
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    }))
}

#[derive(Debug, Deserialize)]
struct Rpc {
    method: String,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    arguments: Vec<serde_json::Value>,
}

async fn rpc(State(commands): State<Commands>, Json(rpc): Json<Rpc>) -> Result<impl IntoResponse, Failure> {
    let (mut sender, mut inbox) = commands.open().await?;
    let data = mapping::json_to_cbor(&serde_json::Value::Array(rpc.arguments));
    let Rpc { method, target, .. } = rpc;
    sender.send(vec![Inbound::Call { token: TOKEN, method, target, data }]).await.map_err(stopping)?;
    loop {
        match inbox.next().await? {
            Outbound::Response { status: Status::OK, data, .. } => return Ok(data),
            Outbound::Response { status, data, .. } => return Err(refused(status, &data)),
            _ => {}
        }
    }
}

async fn inventory(State(commands): State<Commands>) -> Result<Json<serde_json::Value>, Failure> {
    let (mut sender, mut inbox) = commands.open().await?;
    sender.send(vec![Inbound::Inventory { token: TOKEN }]).await.map_err(stopping)?;
    loop {
        match inbox.next().await? {
            Outbound::Response { status: Status::OK, data, .. } => {
                let json = serde_json::from_str(&mapping::cbor_to_json(&data));
                return Ok(Json(json.map_err(|error| Failure::failed(error.to_string()))?));
            }
            Outbound::Response { status, data, .. } => return Err(refused(status, &data)),
            _ => {}
        }
    }
}

/// A status and its text, as a sentence.
fn refused(status: Status, data: &[u8]) -> Failure {
    let text: String = ciborium::from_reader(data).unwrap_or_default();
    match status {
        Status::METHOD_NOT_FOUND => Failure::missing(format!("nobody offers a method `{text}`")),
        Status::METHOD_UNAVAILABLE => Failure::failed(format!("whoever offers `{text}` is not there at present")),
        Status::TARGET_NOT_FOUND => Failure::missing(format!("there is no component `{text}`")),
        _ => Failure::wrong(text),
    }
}

#[derive(Debug, Deserialize)]
struct Publication {
    topic: String,
    #[serde(default)]
    arguments: Vec<serde_json::Value>,
    #[serde(default)]
    qos: u8,
}

async fn publish(State(commands): State<Commands>, Json(publication): Json<Publication>) -> Result<Json<()>, Failure> {
    let qos = match publication.qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        other => return Err(Failure::wrong(format!("QoS {other} is not possible here, 0 and 1 are"))),
    };
    let (mut sender, mut inbox) = commands.open().await?;
    let data = mapping::json_to_cbor(&serde_json::Value::Array(publication.arguments));
    let (received, publisher) = (commands.clock.wall(), PUBLISHER.into());
    let message = Message::new(publication.topic, Payload::Rembus(data), qos, received, Dialect::Rembus, publisher);
    sender.send(vec![Inbound::Publish { message, token: TOKEN }]).await.map_err(stopping)?;
    if qos == Qos::AtMostOnce {
        return Ok(Json(()));
    }
    loop {
        match inbox.next().await? {
            Outbound::Accepted { outcome: Ok(()), .. } => return Ok(Json(())),
            Outbound::Accepted { outcome: Err(why), .. } => {
                return Err(Failure::failed(format!("the message was refused: {why:?}")));
            }
            _ => {}
        }
    }
}

#[derive(Debug, Deserialize)]
struct Pattern {
    pattern: String,
}

async fn subscribe(State(commands): State<Commands>, Json(wanted): Json<Pattern>) -> Result<Body, Failure> {
    let (mut sender, mut inbox) = commands.open().await?;
    let filter = Subscription { qos: Qos::AtMostOnce, ..Subscription::rembus(wanted.pattern) };
    let subscribe = Inbound::Subscribe { token: TOKEN, filters: vec![filter] };
    sender.send(vec![subscribe, Inbound::Reactive { token: TOKEN, on: true, reach: Past::Unseen }]).await.map_err(stopping)?;
    loop {
        match inbox.next().await? {
            Outbound::Subscribed { outcomes, .. } => {
                if let Some(why) = outcomes.into_iter().find_map(Result::err) {
                    return Err(Failure::wrong(format!("the subscription was refused: {why:?}")));
                }
            }
            Outbound::Response { .. } => break,
            _ => {}
        }
    }
    let (out, lines) = mpsc::channel(PIECES);
    Ok(streamed(lines, relay(sender, inbox, out)))
}

/// Until the command or the gateway goes.
async fn relay(mut sender: LinkSender, mut inbox: Inbox, out: mpsc::Sender<Bytes>) {
    // An empty line says that the subscription stands.
    let mut lines = BytesMut::from(&b"\n"[..]);
    let mut written = 0;
    loop {
        if !lines.is_empty() && out.send(lines.split().freeze()).await.is_err() {
            return;
        }
        if written > 0 && sender.send(vec![Inbound::Written { count: written }]).await.is_err() {
            return;
        }
        written = 0;
        let Ok(mut outbound) = inbox.next().await else { return };
        loop {
            match outbound {
                Outbound::Deliver(delivery) => {
                    lines.put_slice(&line(&delivery));
                    written += 1;
                }
                Outbound::Close(_) => return,
                _ => {}
            }
            let Some(more) = inbox.waiting.pop_front() else { break };
            outbound = more;
        }
    }
}

fn line(delivery: &Delivery) -> Vec<u8> {
    let message = &delivery.message;
    let topic = serde_json::Value::from(message.topic.as_str());
    format!("{{\"topic\":{topic},\"data\":{}}}\n", mapping::cbor_to_json(message.rembus_data())).into_bytes()
}

impl Commands {
    async fn open(&self) -> Result<(LinkSender, Inbox), Failure> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Whoever may use the control socket may do everything.
        let info = LinkInfo { dialect: Dialect::Rembus, peer, identity: Identity::default() };
        let Link { sender, receiver } = self.hub.open(info).await.map_err(stopping)?;
        Ok((sender, Inbox { receiver, waiting: VecDeque::new() }))
    }
}

/// What the router says, one by one.
#[derive(Debug)]
struct Inbox {
    receiver: LinkReceiver,
    waiting: VecDeque<Outbound>,
}

impl Inbox {
    async fn next(&mut self) -> Result<Outbound, Failure> {
        loop {
            if let Some(outbound) = self.waiting.pop_front() {
                return Ok(outbound);
            }
            self.waiting.extend(self.receiver.recv().await.ok_or_else(|| stopping(HubStopped))?);
        }
    }
}

fn stopping(stopped: HubStopped) -> Failure {
    Failure::failed(stopped.to_string())
}
