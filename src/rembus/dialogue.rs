//! What is said on one connection: messages to [`Inbound`], [`Outbound`] to messages. Plain state, no socket.
//!
//! A connection begins anonymous and may do everything at once, unless a login is needed (`login.rs`). Requests carry the peer's own
//! id, which is the router's [`Token`]; calls to the peer carry the [`CallId`], and deliveries the [`DeliveryId`] in the high
//! half of the id and the slot in the low one.

use super::codec::json::{self, Spelling};
use super::codec::{self, AdminCommand, AdminError, Frame, MessageId};
use super::login::{Entry, Login, Verdict};
use super::packet::{Packet, Voice};
use super::{Settings, cbor};
use crate::access::policy::Change;
use crate::access::{Action, Identity, Registration};
use crate::clock::SharedClock;
use crate::message::{Dialect, Message, Payload, Qos};
use crate::router::{
    CallId, CloseReason, Delivery, DeliveryId, Filter, Inbound, LinkId, Outbound, Past, Refusal, Stage, Status, Subscription,
    Token,
};
use ahash::AHashMap;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Data up to this size is copied out of the socket's buffer when the router may keep it: a slice would hold the whole buffer.
const COPY_MAX: usize = 32 << 10;
/// QoS 2 deliveries remembered until they are released; the router's window is far smaller.
const EXACTLY_ONCE_MAX: usize = 8_192;

/// Why and how a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Farewell {
    pub(super) code: CloseCode,
    pub(super) reason: String,
}

impl Farewell {
    pub(super) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// What an [`Outbound`] means for the socket.
#[derive(Debug)]
pub(super) enum Said {
    Nothing,
    Answer(Packet),
    /// Counted by [`Inbound::Written`] once it is in the socket.
    Delivery(Packet),
    /// How a login ended.
    Verdict(Verdict),
    /// An answer, and something to tell the router.
    Reconsidered(Packet, Inbound),
    /// No answer yet: the router is asked for something else.
    Redirected(Inbound),
    /// Find out whether the peer lives.
    Probe,
    Close(Farewell),
}

/// What a JSON call was as well, if there is no such method (section 3).
#[derive(Debug)]
struct Doubt {
    /// `target/method` for a direct call.
    method: String,
    data: Bytes,
    /// That was tried already.
    is_direct: bool,
}

impl Doubt {
    /// Methods have slashes too, so their names come first.
    fn direct(&self) -> Option<(&str, &str)> {
        self.method.rsplit_once('/').filter(|(target, method)| !self.is_direct && !target.is_empty() && !method.is_empty())
    }
}

/// The slot of what may have been a publication with QoS 0: it looks like a call, but for its small id.
fn slot_of(token: Token) -> Option<u32> {
    u32::try_from(token.0).ok()
}

#[derive(Debug)]
pub(super) struct Dialogue {
    pub(super) settings: Arc<Settings>,
    clock: SharedClock,
    /// Whom the connection acts for.
    pub(super) identity: Identity,
    pub(super) peer: SocketAddr,
    pub(super) login: Login,
    pub(super) voice: Voice,
    spelling: Spelling,
    /// JSON calls that may have been something else.
    doubts: AHashMap<Token, Doubt>,
    /// The peer's name as publisher.
    pub(super) publisher: Arc<str>,
    /// Requests that the router has not answered.
    pub(super) unanswered: usize,
    /// Deliveries that the peer acknowledges in two steps, and the ids they went out with: a slot is part of the id.
    exactly_once: BTreeMap<DeliveryId, MessageId>,
}

impl Dialogue {
    pub(super) fn new(
        settings: Arc<Settings>,
        clock: SharedClock,
        (link, peer): (LinkId, SocketAddr),
        identity: Identity,
        entry: Entry,
    ) -> Self {
        let login = Login::new(entry, settings.challenge_timeout, settings.handshake_timeout);
        Self {
            settings,
            clock,
            identity,
            peer,
            login,
            voice: Voice::Cbor,
            spelling: Spelling::default(),
            doubts: AHashMap::new(),
            publisher: format!("~{}", link.0).into(),
            unanswered: 0,
            exactly_once: BTreeMap::new(),
        }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The peer's name, for log lines.
    pub(super) fn peer_name(&self) -> &str {
        &self.publisher
    }

    /// A binary message from the peer. Events for the router go to `batch`, answers that need no router to `answers`; both
    /// hold also when the connection must end.
    pub(super) fn hear(
        &mut self,
        message: &Bytes,
        batch: &mut Vec<Inbound>,
        answers: &mut Vec<Packet>,
    ) -> Result<(), Farewell> {
        let frame = codec::decode(message).map_err(malformed)?;
        self.voice = Voice::Cbor;
        self.understand(frame, batch, answers)
    }

    /// A text message: from now on the peer is answered in JSON.
    pub(super) fn hear_text(
        &mut self,
        text: &str,
        batch: &mut Vec<Inbound>,
        answers: &mut Vec<Packet>,
    ) -> Result<(), Farewell> {
        let frames = json::decode_all(text, &mut self.spelling).map_err(malformed)?;
        self.voice = Voice::Json(self.spelling);
        for frame in frames {
            // What is refused before the login is forgotten at once.
            if !self.is_deaf()
                && let Frame::Rpc { id, topic, data, .. } = &frame
                && (slot_of(Token(id.0)).is_some() || topic.contains('/'))
            {
                let doubt = Doubt { method: topic.clone(), data: data.clone(), is_direct: false };
                self.doubts.insert(Token(id.0), doubt);
            }
            self.understand(frame, batch, answers)?;
        }
        Ok(())
    }

    fn understand(&mut self, frame: Frame, batch: &mut Vec<Inbound>, answers: &mut Vec<Packet>) -> Result<(), Farewell> {
        let inbound = match frame {
            Frame::Identity { id, cid, .. } => return self.identify(id, cid, batch, answers),
            Frame::Publish { topic, .. } if self.must_log_in(Action::Publish, &topic) => return Ok(()),
            Frame::Publish { id, flags, topic, data } => {
                let qos = flags.qos();
                let slot = id.filter(|_| flags.has_slot()).map(low_half);
                let message = self.publication(topic, own(data), qos, slot);
                let token = Token(id.map_or(0, |id| id.0));
                batch.push(Inbound::Publish { message, token });
                self.unanswered += usize::from(qos != Qos::AtMostOnce);
                return Ok(());
            }
            Frame::Rpc { id, topic, .. } if self.must_log_in(Action::Call, &topic) => {
                answers.push(self.answer(id, Status::METHOD_NOT_FOUND, cbor::text(&topic)));
                return Ok(());
            }
            Frame::Rpc { id, topic, target, data } => {
                Inbound::Call { token: Token(id.0), method: topic, target, data: own(data) }
            }
            Frame::Admin { id, topic, .. } if self.must_log_in(Action::Subscribe, &topic) => {
                answers.push(self.answer(id, Status::GENERIC_ERROR, cbor::text(Refusal::NotAuthorized.text())));
                return Ok(());
            }
            Frame::Admin { id, topic, data } => match self.administer(id, topic, &data) {
                Ok(Some(inbound)) => inbound,
                Ok(None) => return Ok(()),
                Err((status, reason)) => {
                    answers.push(self.answer(id, status, reason.map_or_else(|| cbor::NULL.to_vec(), cbor::text)));
                    return Ok(());
                }
            },
            Frame::Response { .. } | Frame::Ack { .. } | Frame::Ack2 { .. } if self.is_deaf() => return Ok(()),
            Frame::Response { id, status, data } => {
                // A status beyond a byte is nobody's: the caller's client could not even print it.
                let status = u8::try_from(status).map_or(Status::METHOD_EXCEPTION, Status);
                batch.push(Inbound::Return { call: CallId(id.0), status, data: own(data) });
                return Ok(());
            }
            Frame::Ack { id } => {
                if let Some(id) = delivery_id(id) {
                    let stage = if self.exactly_once.contains_key(&id) { Stage::Received } else { Stage::Done };
                    batch.push(Inbound::Delivered { id, stage });
                }
                return Ok(());
            }
            Frame::Ack2 { id } => Inbound::Release { token: Token(id.0) },
            Frame::Unregister { id } => {
                // A stranger has proven no name, and is refused for that.
                let _stranger = self.must_log_in(Action::Call, "__unregister__");
                self.unregister(id, answers);
                return Ok(());
            }
            Frame::Register { id, cid, pin, pubkey, key_type } => {
                self.register(id, Registration { cid, pin, key: own(pubkey), key_type }, answers);
                return Ok(());
            }
            Frame::Attestation { id, cid, signature, .. } => return self.attest(id, cid, own(signature), answers),
        };
        batch.push(inbound);
        self.unanswered += 1;
        Ok(())
    }

    fn publication(&self, topic: String, data: Bytes, qos: Qos, slot: Option<u32>) -> Message {
        let (received, publisher) = (self.clock.wall(), Arc::clone(&self.publisher));
        let mut message = Message::new(topic, Payload::Rembus(data), qos, received, Dialect::Rembus, publisher);
        message.slot = slot;
        message
    }

    /// What an admin command is to the router. `None`: it is an errand, and answered when it is done.
    fn administer(
        &mut self,
        id: MessageId,
        topic: String,
        data: &[u8],
    ) -> Result<Option<Inbound>, (Status, Option<&'static str>)> {
        let token = Token(id.0);
        let command = AdminCommand::parse(data).map_err(|AdminError(reason)| (Status::GENERIC_ERROR, reason))?;
        Ok(Some(match command {
            AdminCommand::Subscribe { msg_from } => {
                let wanted = Subscription { past: Past::from_ns(msg_from), ..Subscription::rembus(topic) };
                Inbound::Subscribe { token, filters: vec![wanted] }
            }
            AdminCommand::Unsubscribe => Inbound::Unsubscribe { token, filters: vec![Filter::Rembus(topic)] },
            AdminCommand::Expose => Inbound::Expose { token, method: topic },
            AdminCommand::Unexpose => Inbound::Unexpose { token, method: topic },
            AdminCommand::Reactive { on, msg_from } => Inbound::Reactive { token, on, reach: Past::from_ns(msg_from) },
            AdminCommand::Setup { exposers, subscribers } => Inbound::Setup { token, exposers, subscribers },
            AdminCommand::Unknown(_) => return Err((Status::UNKNOWN_ADMIN_COMMAND, None)),
            privileged => {
                let access = self.as_admin().map_err(|reason| (Status::GENERIC_ERROR, reason))?;
                let change = match privileged {
                    AdminCommand::PrivateTopic => Change::PrivateTopic { topic },
                    AdminCommand::PublicTopic => Change::PublicTopic { topic },
                    AdminCommand::Authorize { cid } => Change::Authorize { topic, name: cid },
                    AdminCommand::Unauthorize { cid } => Change::Unauthorize { topic, name: cid },
                    AdminCommand::PrivateTopicsConfig => {
                        self.tell_private_topics(id, &access);
                        return Ok(None);
                    }
                    _ => return Ok(Some(Inbound::Inventory { token })),
                };
                self.change(id, access, change);
                return Ok(None);
            }
        }))
    }

    /// What the router wants said.
    pub(super) fn say(&mut self, outbound: Outbound) -> Said {
        match outbound {
            Outbound::Deliver(delivery) => return Said::Delivery(self.deliver(&delivery)),
            Outbound::Request { call, method, data, .. } => {
                return Said::Delivery(Packet::request(self.voice, MessageId(call.0), &method, &data));
            }
            Outbound::Release { id } => {
                let sent_as = self.exactly_once.remove(&id).unwrap_or(MessageId(u64::from(id.0) << 32));
                return Said::Answer(Packet::ack2(self.voice, sent_as));
            }
            Outbound::Probe => return Said::Probe,
            Outbound::Close(reason) => return Said::Close(farewell(reason)),
            // Everything else answers a request.
            _ => self.unanswered = self.unanswered.saturating_sub(1),
        }
        let voice = self.voice;
        let respond = |token: Token, outcome: Result<(), Refusal>| {
            let (status, data) = match outcome {
                Ok(()) => (Status::OK, cbor::NULL.to_vec()),
                Err(refusal) => (Status::GENERIC_ERROR, cbor::text(refusal.text())),
            };
            Said::Answer(Packet::response(voice, MessageId(token.0), status, &data.into()))
        };
        match outbound {
            Outbound::Attached { name, .. } => self.concluded(Ok(name)).map_or(Said::Nothing, Said::Verdict),
            Outbound::Refused(refusal) => self.concluded(Err(refusal.text())).map_or(Said::Nothing, Said::Verdict),
            Outbound::Accepted { token, outcome: Ok(()), .. } => Said::Answer(Packet::ack(voice, MessageId(token.0))),
            // Deliberately no answer: the Python client takes any RESPONSE to a publication, an error too, for success. Without
            // one it sends again (and may succeed by then), and after 11 times, 22 s, `publish` fails with a timeout.
            Outbound::Accepted { outcome: Err(_), .. } => Said::Nothing,
            Outbound::Subscribed { token, outcomes } => {
                respond(token, outcomes.into_iter().find_map(Result::err).map_or(Ok(()), Err))
            }
            // Also when it had not been subscribed.
            Outbound::Unsubscribed { token, .. } => respond(token, Ok(())),
            Outbound::Response { token, status, data } => self.respond(token, status, &data),
            // Nothing answers an ACK2; the others are for parts of the gateway.
            Outbound::Completed { .. } | Outbound::Asked { .. } | Outbound::Offered { .. } => Said::Nothing,
            Outbound::Deliver(_)
            | Outbound::Request { .. }
            | Outbound::Release { .. }
            | Outbound::Probe
            | Outbound::Close(_) => unreachable!("said above"),
        }
    }

    fn respond(&mut self, token: Token, status: Status, data: &Bytes) -> Said {
        let answer = |status, data: &Bytes| Packet::response(self.voice, MessageId(token.0), status, data);
        let missing = if self.doubts.get(&token).is_some_and(|doubt| doubt.is_direct) {
            Status::TARGET_NOT_FOUND
        } else {
            Status::METHOD_NOT_FOUND
        };
        let Some(mut doubt) = self.doubts.remove(&token).filter(|_| status == missing) else {
            return Said::Answer(answer(status, data));
        };
        if let Some((target, method)) = doubt.direct() {
            let (target, method, data) = (Some(target.to_owned()), method.to_owned(), doubt.data.clone());
            doubt.is_direct = true;
            self.doubts.insert(token, doubt);
            self.unanswered += 1;
            return Said::Redirected(Inbound::Call { token, method, target, data });
        }
        let answer = answer(Status::METHOD_NOT_FOUND, &cbor::text(&doubt.method).into());
        match slot_of(token) {
            // The Python client, which wrote it as a publication, does not mind the answer.
            Some(slot) => {
                let message = self.publication(doubt.method, own(doubt.data), Qos::AtMostOnce, Some(slot));
                Said::Reconsidered(answer, Inbound::Publish { message, token })
            }
            None => Said::Answer(answer),
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> Packet {
        let message = &delivery.message;
        let (flags, id) = match delivery.id.filter(|_| delivery.qos != Qos::AtMostOnce) {
            None => {
                (codec::Flags::of(Qos::AtMostOnce, message.slot.is_some()), MessageId(message.slot.unwrap_or_default().into()))
            }
            Some(id) => {
                let message_id = message_id(id, message);
                if delivery.qos == Qos::ExactlyOnce {
                    self.exactly_once.insert(id, message_id);
                    if self.exactly_once.len() > EXACTLY_ONCE_MAX {
                        self.exactly_once.pop_first();
                    }
                }
                (codec::Flags::of(delivery.qos, message.slot.is_some()), message_id)
            }
        };
        Packet::publish(self.voice, flags, id, &message.topic, delivery.pattern.as_deref(), message.rembus_data())
    }
}

fn malformed(error: codec::FrameError) -> Farewell {
    Farewell::new(CloseCode::Protocol, format!("malformed message: {error}"))
}

/// A slot is the low half. Without one that is free: then it says more of the message, because a peer that missed an ACK2 remembers
/// the id of a QoS 2 message for ever, and must not take another for it.
fn message_id(id: DeliveryId, message: &Message) -> MessageId {
    let low = message.slot.map_or(message.received.0 & 0xffff_ffff, u64::from);
    MessageId(u64::from(id.0) << 32 | low)
}

/// The delivery that an acknowledgement means; none has the number 0.
fn delivery_id(id: MessageId) -> Option<DeliveryId> {
    let high = u32::try_from(id.0 >> 32).expect("32 bits are left");
    (high != 0).then_some(DeliveryId(high))
}

fn low_half(id: MessageId) -> u32 {
    u32::try_from(id.0 & 0xffff_ffff).expect("32 bits are left")
}

fn own(data: Bytes) -> Bytes {
    if data.len() <= COPY_MAX { Bytes::copy_from_slice(&data) } else { data }
}

fn farewell(reason: CloseReason) -> Farewell {
    match reason {
        // The client does not come back by itself after this one.
        CloseReason::TakenOver => Farewell::new(CloseCode::from(4000), "overwritten"),
        CloseReason::ShuttingDown => Farewell::new(CloseCode::Away, "the gateway stops"),
        // Should it live after all, it may come back.
        CloseReason::Silent => Farewell::new(CloseCode::Away, "no answer to a ping while the name was claimed"),
        CloseReason::TooSlow => Farewell::new(CloseCode::Policy, "too slow"),
        CloseReason::NotAuthorized => Farewell::new(CloseCode::Policy, "no longer allowed"),
        CloseReason::QuotaExceeded => Farewell::new(CloseCode::Policy, "quota exceeded"),
        CloseReason::ProtocolError => Farewell::new(CloseCode::Protocol, "protocol error"),
        CloseReason::PublishRefused => Farewell::new(CloseCode::Error, "publication refused"),
    }
}
