//! A small Rembus component, for commands that ask a gateway elsewhere with `--url ws://HOST:PORT[/NAME]`.

use super::Refusal;
use crate::mapping;
use crate::message::Qos;
use crate::rembus::codec::{self, Flags, Frame, MessageId};
use crate::visible;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The client's own limit for an answer; the gateway's are shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Component {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
}

impl Component {
    pub(super) async fn connect(url: &str) -> Result<Self, Refusal> {
        let Some(rest) = url.strip_prefix("ws://") else {
            return Err(Refusal::wrong_use(format!("`{url}` is not an address; --url takes ws://HOST:PORT[/NAME]")));
        };
        let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:8338") };
        let failed = |why: String| Refusal::failed(format!("`{url}` cannot be reached: {why}"));
        let connecting = async {
            let stream = TcpStream::connect(&address).await.map_err(|error| failed(error.to_string()))?;
            let shaken = tokio_tungstenite::client_async(format!("ws://{address}/"), stream).await;
            shaken.map(|(socket, _)| socket).map_err(|error| failed(error.to_string()))
        };
        let timeout = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let socket = timeout.unwrap_or_else(|_| Err(failed("it does not answer".to_owned())))?;
        let mut component = Self { socket, last_id: u64::from(u32::MAX) };
        if !name.is_empty() {
            let id = component.id();
            component.send(codec::identity(id, name, &[0xa0])).await?;
            component.answer(id).await?;
        }
        Ok(component)
    }

    fn id(&mut self) -> MessageId {
        // Below 2^32 an id can be taken for a slot.
        self.last_id += 1;
        MessageId(self.last_id)
    }

    pub(super) async fn rpc(&mut self, method: &str, target: Option<&str>, data: &[u8]) -> Result<Bytes, Refusal> {
        let id = self.id();
        self.send(codec::rpc(id, method, target, data)).await?;
        self.answer(id).await
    }

    pub(super) async fn publish(&mut self, topic: &str, qos: Qos, data: &[u8]) -> Result<(), Refusal> {
        let id = self.id();
        self.send(codec::publish(Flags::of(qos, false), id, topic, data)).await?;
        if qos == Qos::AtMostOnce {
            return self.socket.close(None).await.map_err(broken);
        }
        loop {
            match self.receive().await? {
                Frame::Ack { id: of } if of == id => return Ok(()),
                _ => {}
            }
        }
    }

    /// Subscribes; messages come with [`message`](Self::message).
    pub(super) async fn subscribe(&mut self, pattern: &str) -> Result<(), Refusal> {
        for (topic, command) in [(pattern, json!({"cmd": "subscribe"})), ("", json!({"cmd": "reactive", "status": true}))] {
            let id = self.id();
            self.send(codec::admin(id, topic, &mapping::json_to_cbor(&command))).await?;
            self.answer(id).await?;
        }
        Ok(())
    }

    /// The next message as a line of JSON.
    pub(super) async fn message(&mut self, pattern: &str) -> Result<String, Refusal> {
        loop {
            if let Frame::Publish { id, flags, topic, data } = self.next().await? {
                if let Some(id) = id.filter(|_| flags.qos() != Qos::AtMostOnce) {
                    self.send(codec::ack(id)).await?;
                }
                let mut data: serde_json::Value = serde_json::from_str(&mapping::cbor_to_json(&data)).unwrap_or_default();
                let mut from = serde_json::Value::from(topic.as_str());
                // Matched by a pattern, the topic is the first argument (section 7.1).
                if topic == pattern
                    && pattern.contains('*')
                    && let Some(arguments) = data.as_array_mut().filter(|arguments| !arguments.is_empty())
                {
                    from = arguments.remove(0);
                }
                return Ok(json!({"topic": from, "data": data}).to_string());
            }
        }
    }

    async fn answer(&mut self, id: MessageId) -> Result<Bytes, Refusal> {
        loop {
            match self.receive().await? {
                Frame::Response { id: of, status: 0, data } if of == id => return Ok(data),
                Frame::Response { id: of, status, data } if of == id => {
                    let text: String = ciborium::from_reader(&data[..]).unwrap_or_default();
                    let text = visible::one_line(text);
                    return Err(Refusal::failed(match status {
                        42 => format!("nobody offers a method `{text}`"),
                        43 => format!("whoever offers `{text}` is not there at present"),
                        45 => format!("there is no component `{text}`"),
                        _ if text.is_empty() => format!("refused with status {status}"),
                        _ => text,
                    }));
                }
                _ => {}
            }
        }
    }

    async fn send(&mut self, message: Bytes) -> Result<(), Refusal> {
        self.socket.send(Message::Binary(message)).await.map_err(broken)
    }

    async fn receive(&mut self) -> Result<Frame, Refusal> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.next()).await;
        answer.unwrap_or_else(|_| Err(Refusal::failed("the gateway does not answer")))
    }

    async fn next(&mut self) -> Result<Frame, Refusal> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(message))) => return codec::decode(&message).map_err(Refusal::failed),
                Some(Ok(Message::Close(_))) | None => return Err(Refusal::failed("the gateway closed the connection")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
            }
        }
    }
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Refusal {
    Refusal::failed(format!("the connection broke: {error}"))
}
