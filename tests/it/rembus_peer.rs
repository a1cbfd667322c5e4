//! A Rembus component under full control: CBOR arrays over WebSocket, as `protocol/rembus.md` section 2 lays them out.

use arrow_array::RecordBatch;
use ciborium::Value;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const PUB: u64 = 1;
const IDENTITY: u64 = 0;
const RPC: u64 = 2;
const ADMIN: u64 = 3;
pub(crate) const RESPONSE: u64 = 4;
pub(crate) const ACK: u64 = 5;

#[derive(Debug)]
pub(crate) struct RembusPeer {
    pub(crate) socket: WebSocketStream<TcpStream>,
    next_id: u64,
}

/// A message as it came: its type and flags, and everything behind them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) kind: u64,
    pub(crate) flags: u64,
    pub(crate) rest: Vec<Value>,
}

impl Received {
    /// The message id, where there is one.
    pub(crate) fn id(&self) -> u64 {
        u64::from_le_bytes(self.rest[0].as_bytes().unwrap().as_slice().try_into().unwrap())
    }
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(crate) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

pub(crate) fn id_bytes(id: u64) -> Value {
    Value::Bytes(id.to_le_bytes().to_vec())
}

pub(crate) fn encode(parts: Vec<Value>) -> Message {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Array(parts), &mut bytes).unwrap();
    Message::binary(bytes)
}

/// A publication as it goes over the wire.
pub(crate) fn publication(id: Option<u64>, qos: u64, topic: &str, arguments: Vec<Value>) -> Message {
    let flags = [0, 0x10, 0x30][usize::try_from(qos).unwrap()];
    let mut parts = vec![Value::from(PUB | flags)];
    parts.extend(id.map(id_bytes));
    parts.extend([text(topic), Value::Array(arguments)]);
    encode(parts)
}

impl RembusPeer {
    /// Connects without a name.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_as(addr, None).await
    }

    /// The same with HTTP's login, as `user:password` in base 64.
    pub(crate) async fn connect_as(addr: SocketAddr, login: Option<&str>) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{addr}/").into_client_request().unwrap();
        if let Some(login) = login {
            request.headers_mut().insert("authorization", format!("Basic {login}").parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self { socket, next_id: 0x1000_0000_0000 }
    }

    /// Connects and logs in.
    pub(crate) async fn login(addr: SocketAddr, name: &str) -> Self {
        let mut peer = Self::connect(addr).await;
        let id = peer.id();
        peer.send(encode(vec![IDENTITY.into(), id_bytes(id), text(name), Value::Map(vec![])])).await;
        peer.response(id).await.unwrap();
        peer
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next message of the gateway; `None` when the connection is over.
    pub(crate) async fn receive(&mut self) -> Option<Received> {
        tokio::time::timeout(DEADLINE, self.receive_when_it_comes()).await.expect("a message in time")
    }

    pub(crate) async fn receive_when_it_comes(&mut self) -> Option<Received> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => {
                    let value: Value = ciborium::from_reader(bytes.as_ref()).unwrap();
                    let mut parts = value.into_array().unwrap();
                    let head = u64::try_from(parts.remove(0).as_integer().unwrap()).unwrap();
                    return Some(Received { kind: head & 0x0f, flags: head & 0xf0, rest: parts });
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits for the answer to a request; anything else is an error of the gateway's.
    async fn response(&mut self, id: u64) -> Result<Value, (u64, Value)> {
        let answer = self.receive().await.expect("an answer");
        assert_eq!((answer.kind, answer.id()), (RESPONSE, id), "{answer:?}");
        let status = u64::try_from(answer.rest[1].as_integer().unwrap()).unwrap();
        let data = answer.rest.get(2).cloned().unwrap_or(Value::Null);
        if status == 0 { Ok(data) } else { Err((status, data)) }
    }

    pub(crate) async fn rpc(&mut self, method: &str, arguments: Vec<Value>) -> Result<Value, (u64, Value)> {
        let id = self.id();
        self.send(encode(vec![RPC.into(), id_bytes(id), text(method), Value::Null, Value::Array(arguments)])).await;
        self.response(id).await
    }

    pub(crate) async fn admin(&mut self, topic: &str, command: Value) {
        self.try_admin(topic, command).await.unwrap();
    }

    /// An admin command that may be refused.
    pub(crate) async fn try_admin(&mut self, topic: &str, command: Value) -> Result<Value, (u64, Value)> {
        let id = self.id();
        self.send(encode(vec![ADMIN.into(), id_bytes(id), text(topic), command])).await;
        self.response(id).await
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        self.admin(topic, map([("cmd", text("subscribe"))])).await;
    }

    pub(crate) async fn reactive(&mut self) {
        self.admin("__config__", map([("cmd", text("reactive")), ("status", Value::Bool(true))])).await;
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub(crate) async fn publish(&mut self, topic: &str, arguments: Vec<Value>) {
        let id = self.id();
        self.send(publication(Some(id), 1, topic, arguments)).await;
        let ack = self.receive().await.expect("an acknowledgement");
        assert_eq!((ack.kind, ack.id()), (ACK, id));
    }

    /// Rows of a table of the history.
    pub(crate) async fn query(&mut self, table: &str, query: Value) -> Vec<RecordBatch> {
        let answer = self.rpc(&format!("query_{table}"), vec![query]).await.unwrap();
        let Value::Tag(80, inner) = answer else { panic!("no frame: {answer:?}") };
        let bytes = inner.into_bytes().unwrap();
        arrow_ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect()
    }

    /// All values of an integer column, in order of the answer.
    pub(crate) async fn query_integers(&mut self, table: &str, column: &str, condition: &str) -> Vec<i64> {
        let query = map([("where", text(condition)), ("cols", Value::Array(vec![text(column)]))]);
        let mut values = Vec::new();
        for batch in self.query(table, query).await {
            let column = batch.column_by_name(column).unwrap();
            let column = column.as_any().downcast_ref::<arrow_array::Int64Array>().unwrap();
            values.extend(column.iter().map(Option::unwrap));
        }
        values
    }
}
