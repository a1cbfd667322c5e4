//! The two ways to a gateway: its control socket, or its Rembus door.

use super::component::Component;
use super::remote::{Gateway, Where};
use super::{Refusal, Streams};
use crate::mapping;
use crate::message::Qos;
use crate::visible;
use axum::body::{Body, BodyDataStream};
use axum::http::Method;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{self, Read};

/// Which gateway a command asks, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    #[command(flatten)]
    gateway: Where,
    /// Ask as a Rembus component, ws://HOST:PORT[/NAME], instead of through the control socket
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    url: Option<String>,
}

/// A gateway that can be asked.
#[derive(Debug)]
pub(super) struct Asked {
    gateway: Gateway,
    url: Option<String>,
}

impl Reach {
    pub(super) fn find(&self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Asked, Refusal> {
        let gateway = if self.url.is_some() { Gateway::elsewhere()? } else { self.gateway.find(env)? };
        Ok(Asked { gateway, url: self.url.clone() })
    }
}

/// The argument list as CBOR.
fn cbor(arguments: &[Value]) -> Bytes {
    mapping::json_to_cbor(&Value::Array(arguments.to_vec()))
}

impl Asked {
    /// Calls a method; the answer is CBOR.
    pub(super) fn rpc(&self, method: &str, target: Option<&str>, arguments: &[Value]) -> Result<Bytes, Refusal> {
        self.gateway.wait_for(async {
            match &self.url {
                Some(url) => Component::connect(url).await?.rpc(method, target, &cbor(arguments)).await,
                None => {
                    let body = json!({"method": method, "target": target, "arguments": arguments}).to_string();
                    let answer = self.gateway.client.send(Method::POST, "/rpc", body.into()).await?;
                    axum::body::to_bytes(answer.into_body(), usize::MAX).await.map_err(Refusal::failed)
                }
            }
        })
    }

    /// Returns when the message is on the disk, with QoS 1.
    pub(super) fn publish(&self, topic: &str, qos: Qos, arguments: &[Value]) -> Result<(), Refusal> {
        self.gateway.wait_for(async {
            match &self.url {
                Some(url) => Component::connect(url).await?.publish(topic, qos, &cbor(arguments)).await,
                None => {
                    let body = json!({"topic": topic, "qos": qos.level(), "arguments": arguments});
                    Ok(self.gateway.client.post("/pub", &body).await?)
                }
            }
        })
    }

    /// Writes a line for each message until `count` are there, or nobody reads.
    pub(super) fn subscribe(&self, pattern: &str, count: Option<u64>, streams: &mut Streams<'_>) -> Result<(), Refusal> {
        let mut left = count.unwrap_or(u64::MAX);
        self.gateway.wait_for(async {
            if let Some(url) = &self.url {
                let mut component = Component::connect(url).await?;
                component.subscribe(pattern).await?;
                streams.note("listening");
                while left > 0 {
                    streams.write(&format!("{}\n", component.message(pattern).await?))?;
                    left -= 1;
                }
                return Ok(());
            }
            let body = json!({"pattern": pattern}).to_string();
            let answer = self.gateway.client.send(Method::POST, "/sub", body.into()).await?;
            let mut lines = answer.into_body().into_data_stream();
            let mut text = Vec::new();
            while left > 0 {
                let Some(piece) = lines.next().await else {
                    return Err(Refusal::failed("the gateway has stopped"));
                };
                text.extend_from_slice(&piece.map_err(Refusal::failed)?);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    if line.len() == 1 {
                        // The subscription stands.
                        streams.note("listening");
                    } else if left > 0 {
                        streams.write(&String::from_utf8_lossy(&line))?;
                        left -= 1;
                    }
                }
            }
            Ok(())
        })
    }

    /// The Arrow stream of an answer to `query_T`.
    pub(super) fn query(&self, table: &str, arguments: Value) -> Result<Box<dyn Read + '_>, Refusal> {
        if self.url.is_some() {
            let data = self.rpc(&format!("query_{table}"), None, &[arguments])?;
            let frame: ciborium::Value = ciborium::from_reader(&data[..]).map_err(Refusal::failed)?;
            return match frame {
                ciborium::Value::Tag(80, bytes) => match *bytes {
                    ciborium::Value::Bytes(stream) => Ok(Box::new(io::Cursor::new(stream))),
                    _ => Err(Refusal::failed("the answer is not a table")),
                },
                _ => Err(Refusal::failed("the answer is not a table")),
            };
        }
        let body = json!({"table": table, "arguments": arguments}).to_string();
        let answer = self.gateway.wait_for(self.gateway.client.send(Method::POST, "/query", body.into()))?;
        Ok(Box::new(Pieces::new(&self.gateway, answer.into_body())))
    }
}

/// Reads the pieces of `/query` (`gateway/commands.rs`) as one stream.
#[derive(Debug)]
struct Pieces<'a> {
    gateway: &'a Gateway,
    body: BodyDataStream,
    /// Arrived and not taken apart.
    raw: bytes::BytesMut,
    piece: Bytes,
    ended: bool,
}

impl<'a> Pieces<'a> {
    fn new(gateway: &'a Gateway, body: Body) -> Self {
        let (raw, piece) = (bytes::BytesMut::new(), Bytes::new());
        Self { gateway, body: body.into_data_stream(), raw, piece, ended: false }
    }

    fn more(&mut self) -> io::Result<()> {
        loop {
            if let Some((head, rest)) = self.raw.split_first_chunk::<5>() {
                let [kind, a, b, c, d] = *head;
                let length = u32::from_le_bytes([a, b, c, d]) as usize;
                if rest.len() >= length {
                    self.raw.advance(5);
                    self.piece = self.raw.split_to(length).freeze();
                    self.ended = kind == 0;
                    return match kind {
                        0 | 1 => Ok(()),
                        _ => Err(io::Error::other(visible::one_line(String::from_utf8_lossy(&self.piece)))),
                    };
                }
            }
            match self.gateway.wait_for(self.body.next()) {
                Some(Ok(bytes)) => self.raw.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gateway broke off")),
            }
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if self.ended {
                return Ok(0);
            }
            self.more()?;
        }
        let taken = buf.len().min(self.piece.len());
        self.piece.split_to(taken).copy_to_slice(buf.get_mut(..taken).unwrap_or_default());
        Ok(taken)
    }
}
