//! At work with a parent: publications go out, acknowledgements and calls come in.

use super::super::backlog::Parcel;
use super::super::forward::{self, Happened, LinkError};
use super::super::port::{Heard, Port};
use super::super::settings::Parent;
use super::super::stats::LinkStats;
use super::login::{Socket, answer, receive, say};
use crate::mapping;
use crate::message::{Qos, Seq};
use crate::rembus::codec::{self, Flags, Frame, MessageId};
use crate::router::{Status, Token};
use ahash::AHashMap;
use bytes::Bytes;
use futures_util::SinkExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// Publications under way. A Python broker takes them one by one anyhow; this hides the way there and back.
const WINDOW: usize = 64;
/// A broker acknowledges within milliseconds; the published client gives it two seconds, eleven times.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls of the parent's components that may wait for an answer; more are told that the method is not available.
const CALLS_MAX: usize = 64;
/// The parent is asked for a sign of life this often; without one of any kind in twice the time it is gone.
const PING: Duration = Duration::from_secs(15);
/// The parent's own limit is as large; a larger one would end the connection each time.
const MESSAGE_MAX: usize = 60 << 20;
const GOODBYE: Duration = Duration::from_secs(1);

pub(in crate::bridge) struct Session {
    socket: Socket,
    port: Port,
    parent: Arc<Parent>,
    stats: Arc<LinkStats>,
    last_id: u64,
    /// Publications that are not acknowledged.
    sent: AHashMap<MessageId, Seq>,
    /// Calls that the router works on, and the parent's number for each.
    calls: AHashMap<Token, MessageId>,
    heard: Instant,
    ping: tokio::time::Interval,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("parent", &self.parent.link.name).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(socket: Socket, port: Port, parent: Arc<Parent>, stats: Arc<LinkStats>) -> Self {
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            socket,
            port,
            parent,
            stats,
            last_id: u64::from(u32::MAX),
            sent: AHashMap::new(),
            calls: AHashMap::new(),
            heard: Instant::now(),
            ping,
        }
    }

    /// An id; with a slot it has that in its lower half (section 8).
    fn id(&mut self, slot: Option<u32>) -> MessageId {
        self.last_id += 1;
        match slot {
            // Half a number is left for the order; it is never shorter than the window.
            Some(slot) => MessageId((self.last_id << 32) | u64::from(slot)),
            None => MessageId(self.last_id),
        }
    }

    /// Offers the methods.
    pub(super) async fn expose(&mut self) -> Result<(), LinkError> {
        let parent = Arc::clone(&self.parent);
        for exposure in &parent.expose {
            let id = self.id(None);
            let command = mapping::json_to_cbor(&serde_json::json!({"cmd": "expose"}));
            say(&mut self.socket, codec::admin(id, &exposure.name, &command)).await?;
            let (status, _) = answer(&mut self.socket, id).await?;
            if status != 0 {
                log::warn!(parent = parent.link.name.as_str(), method = exposure.name.as_str(), status; "the parent does not take a method");
            }
        }
        Ok(())
    }

    async fn frame(&mut self, frame: Frame) -> Result<Happened, LinkError> {
        match frame {
            Frame::Ack { id } => Ok(self.sent.remove(&id).map_or(Happened::Nothing, Happened::Acknowledged)),
            Frame::Rpc { id, topic, data, .. } => {
                self.called(id, &topic, data).await?;
                Ok(Happened::Nothing)
            }
            // Nothing was subscribed; but a publisher must not wait for us.
            Frame::Publish { id: Some(id), flags, .. } if flags.qos() > Qos::AtMostOnce => {
                say(&mut self.socket, codec::ack(id)).await?;
                Ok(Happened::Nothing)
            }
            // A broker passes commands of others on to those that might be brokers too; it wants to hear something.
            Frame::Admin { id, .. } => {
                say(&mut self.socket, codec::response(id, Status::OK, NULL)).await?;
                Ok(Happened::Nothing)
            }
            _ => Ok(Happened::Nothing),
        }
    }

    async fn called(&mut self, id: MessageId, topic: &str, data: Bytes) -> Result<(), LinkError> {
        let exposure = self.parent.expose.iter().find(|exposure| exposure.name == topic);
        let refusal = match exposure {
            None => Status::METHOD_NOT_FOUND,
            Some(_) if self.calls.len() >= CALLS_MAX => Status::METHOD_UNAVAILABLE,
            Some(exposure) => {
                let token = self.port.call(exposure.method.clone(), data).await?;
                self.calls.insert(token, id);
                self.stats.update(|report| report.calls += 1);
                return Ok(());
            }
        };
        let text = mapping::json_to_cbor(&topic.into());
        say(&mut self.socket, codec::response(id, refusal, &text)).await
    }

    async fn port_says(&mut self, heard: Heard) -> Result<(), LinkError> {
        match heard {
            Heard::Response(token, status, data) => {
                let Some(id) = self.calls.remove(&token) else { return Ok(()) };
                say(&mut self.socket, codec::response(id, status, &data)).await
            }
            Heard::Delivery(_) => self.port.written().await,
            Heard::Accepted(..) | Heard::Request(..) => Ok(()),
        }
    }
}

const NULL: &[u8] = &[0xf6];

/// What a session waits for.
#[derive(Debug)]
pub(in crate::bridge) enum Event {
    /// `None`: a ping or pong.
    Frame(Option<Frame>),
    Port(Heard),
    Ping,
}

impl forward::Session for Session {
    type Event = Event;

    fn window(&self) -> usize {
        WINDOW
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    async fn send(&mut self, parcel: Parcel) -> Result<Happened, LinkError> {
        let data = parcel.message.rembus_data();
        if data.len() + parcel.topic.len() + 64 > MESSAGE_MAX {
            return Ok(Happened::Refused(parcel.seq, "too_large"));
        }
        let slot = parcel.message.slot;
        let id = self.id(slot);
        let frame = codec::publish(Flags::of(parcel.qos, slot.is_some()), id, &parcel.topic, data);
        self.sent.insert(id, parcel.seq);
        say(&mut self.socket, frame).await?;
        Ok(Happened::Nothing)
    }

    async fn hear(&mut self) -> Result<Event, LinkError> {
        tokio::select! {
            frame = receive(&mut self.socket) => frame.map(Event::Frame),
            heard = self.port.hear() => heard.map(Event::Port),
            _ = self.ping.tick() => Ok(Event::Ping),
        }
    }

    async fn act(&mut self, event: Event) -> Result<Happened, LinkError> {
        match event {
            Event::Frame(frame) => {
                self.heard = Instant::now();
                match frame {
                    Some(frame) => self.frame(frame).await,
                    None => Ok(Happened::Nothing),
                }
            }
            Event::Port(heard) => self.port_says(heard).await.map(|()| Happened::Nothing),
            Event::Ping if self.heard.elapsed() > 2 * PING => Err(LinkError::Silent),
            Event::Ping => {
                let sent = tokio::time::timeout(PING, self.socket.send(Message::Ping(Bytes::new()))).await;
                sent.map_err(|_| LinkError::Silent)?.map_err(|error| LinkError::Broken(error.to_string()))?;
                Ok(Happened::Nothing)
            }
        }
    }

    async fn close(mut self) {
        // It may be gone already.
        tokio::time::timeout(GOODBYE, self.socket.close(None)).await.ok();
    }
}
