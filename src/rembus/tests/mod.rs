//! Stories at the door: a WebSocket client on one side, the test in the router's place on the other.

mod broken;
mod json;
mod living;
mod streams;
mod talking;

use super::codec::{self, Flags, MessageId};
use super::{Settings, serve};
use crate::clock::SystemClock;
use crate::door::{Entrance, Way};
use crate::message::Qos;
use crate::net::Listener;
use crate::router::stand_in::StandIn;
use crate::router::{Inbound, LinkId, Outbound, Status, Token};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A listener whose connections the test makes up.
struct Corridor(mpsc::Receiver<io::Result<DuplexStream>>);

impl Listener for Corridor {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream?, SocketAddr::from(([127, 0, 0, 1], 4711)))),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 8338)))
    }
}

struct World {
    router: StandIn,
    corridor: mpsc::Sender<io::Result<DuplexStream>>,
    stop: watch::Sender<bool>,
    door: JoinHandle<()>,
    settings: Arc<Settings>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self::behind(settings, Way { web_socket: true, ..Way::default() })
    }

    fn behind(settings: Settings, way: Way) -> Self {
        let (router, hub) = StandIn::new();
        let (corridor, listener) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let settings = Arc::new(settings);
        let door = tokio::spawn(serve(
            vec![Entrance::new(Corridor(listener), way)],
            hub,
            Arc::clone(&settings),
            SystemClock::shared(),
            stopped,
        ));
        Self { router, corridor, stop, door, settings }
    }

    /// A raw connection with room for `buffer` bytes on its way.
    async fn dial(&self, buffer: usize) -> DuplexStream {
        let (near, far) = tokio::io::duplex(buffer);
        self.corridor.send(Ok(far)).await.unwrap();
        near
    }

    async fn connect(&mut self) -> Client {
        self.connect_with(64 << 10).await
    }

    async fn connect_with(&mut self, buffer: usize) -> Client {
        let stream = self.dial(buffer).await;
        let (socket, _) = tokio_tungstenite::client_async("ws://gateway/", stream).await.unwrap();
        let (link, _) = self.router.opened().await;
        Client { socket, link }
    }

    /// The next event; of a single link, so its number does not matter.
    async fn hear(&mut self) -> Inbound {
        self.router.hear().await.1
    }

    async fn say(&mut self, link: LinkId, out: Outbound) {
        self.router.say(link, vec![out]).await;
    }
}

struct Client {
    socket: WebSocketStream<DuplexStream>,
    link: LinkId,
}

impl Client {
    async fn send(&mut self, message: impl Into<Bytes>) {
        self.socket.send(Message::Binary(message.into())).await.unwrap();
    }

    async fn send_hex(&mut self, hex: &str) {
        self.send(unhex(hex)).await;
    }

    /// The next binary message.
    async fn next(&mut self) -> Bytes {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(message))) => return message,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a message was expected, not {other:?}"),
            }
        }
    }

    /// Code and reason of the close frame, which must be next.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.as_str().into()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a close frame was expected, not {other:?}"),
            }
        }
    }
}

const ID: MessageId = MessageId(0x1122_3344_5566_7788);

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The encoding of a command with text values.
fn command(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = super::cbor::Writer::default();
    writer.map(fields.len());
    for (key, value) in fields {
        writer.text(key).text(value);
    }
    writer.finish()
}

fn publish(qos: Qos, id: MessageId, topic: &str) -> Bytes {
    codec::publish(Flags::of(qos, false), id, topic, &[0x81, 0x01])
}

fn ok(token: Token) -> Outbound {
    Outbound::Response { token, status: Status::OK, data: Bytes::from_static(super::cbor::NULL) }
}
