//! A Rembus component that costs little.

use ciborium::Value;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub(crate) struct Component {
    pub(crate) socket: WebSocketStream<TcpStream>,
    next: u64,
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

impl Component {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://{addr}/"), stream).await.unwrap();
        Self { socket, next: 1 << 40 }
    }

    /// Gives it a name.
    pub(crate) async fn login(&mut self, name: &str) {
        let message = self.message(0, [text(name), Value::Map(Vec::new())]);
        self.socket.send(message).await.unwrap();
        self.receive().await;
    }

    /// A message with a fresh id after its type.
    pub(crate) fn message(&mut self, kind: u64, rest: impl IntoIterator<Item = Value>) -> Message {
        self.next += 1;
        let mut parts = vec![Value::from(kind), Value::Bytes(self.next.to_le_bytes().to_vec())];
        parts.extend(rest);
        encode(parts)
    }

    pub(crate) fn rpc(&mut self, method: &str, arguments: Vec<Value>) -> Message {
        self.message(2, [text(method), Value::Null, Value::Array(arguments)])
    }

    pub(crate) async fn admin(&mut self, topic: &str, entries: &[(&str, Value)]) {
        let command = Value::Map(entries.iter().map(|(k, v)| (text(k), v.clone())).collect());
        let message = self.message(3, [text(topic), command]);
        self.socket.send(message).await.unwrap();
        self.receive().await;
    }

    pub(crate) async fn listen(&mut self, topic: &str) {
        self.admin(topic, &[("cmd", text("subscribe"))]).await;
        self.admin("__config__", &[("cmd", text("reactive")), ("status", Value::Bool(true))]).await;
    }

    /// The next binary message.
    pub(crate) async fn receive(&mut self) -> bytes::Bytes {
        loop {
            if let Message::Binary(bytes) = self.socket.next().await.unwrap().unwrap() {
                return bytes;
            }
        }
    }

    /// A message that is there already.
    pub(crate) fn arrived(&mut self) -> Option<bytes::Bytes> {
        self.receive().now_or_never()
    }

    /// Answer data of a call.
    pub(crate) async fn call(&mut self, method: &str, arguments: Vec<Value>) -> Value {
        let message = self.rpc(method, arguments);
        self.socket.send(message).await.unwrap();
        let value: Value = ciborium::from_reader(self.receive().await.as_ref()).unwrap();
        value.into_array().unwrap().pop().unwrap()
    }
}

pub(crate) fn encode(parts: Vec<Value>) -> Message {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Array(parts), &mut bytes).unwrap();
    Message::binary(bytes)
}
