//! What a program's frames mean.

use super::announce;
use super::board::Board;
use super::broker;
use super::call::{Asked, COMPONENT, GATEWAY};
use super::client::{Client, Sent, Wanted};
use super::frame::{self, Broken, Code, Frame, Header, Kind, Op};
use super::outbox::Origin;
use super::rpc::{self, Rpc};
use crate::access::{Action, Identity};
use crate::mapping;
use crate::message::{Dialect, Message, Payload, Qos, Reach};
use crate::router::{Filter, Inbound, Subscription, Token};
use ahash::AHashMap;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// In a token: the operation wants an acknowledgement.
pub(super) const ACK: u64 = 1 << 32;

/// A change to what a program wants, of which the router has to approve.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) op: Op,
    pub(super) topics: Vec<String>,
}

/// One program's side of the conversation.
#[derive(Debug)]
pub(super) struct Dialogue {
    pub(super) board: Arc<Board>,
    pub(super) client: Arc<Client>,
    identity: Identity,
    /// For the router.
    pub(super) batch: Vec<Inbound>,
    /// Programs whose outbox was filled and not flushed.
    touched: Vec<Arc<Client>>,
    /// Requests that the router has not answered.
    pub(super) unanswered: usize,
    /// In the order of their answers.
    pub(super) changes: VecDeque<Change>,
    pub(super) calls: AHashMap<u64, Asked>,
    pub(super) next_call: u64,
    /// The newest call that this program was asked to serve.
    pub(super) last_request: u64,
    /// Router frames that could not be said, and count as written.
    pub(super) unsaid: u32,
    subject: String,
}

impl Dialogue {
    pub(super) fn new(board: Arc<Board>, client: Arc<Client>, identity: Identity) -> Self {
        Self {
            board,
            client,
            identity,
            batch: Vec::new(),
            touched: Vec::new(),
            unanswered: 0,
            changes: VecDeque::new(),
            calls: AHashMap::new(),
            next_call: 0,
            last_request: 0,
            unsaid: 0,
            subject: String::new(),
        }
    }

    /// Whether the next frame may be looked at: the program reads what it gets, and the router keeps up.
    pub(super) fn may_hear(&self) -> bool {
        self.unanswered < self.board.settings.unanswered_max && !self.client.is_full()
    }

    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Writes to everybody who got something, this program included.
    pub(super) fn flush(&mut self) {
        for client in self.touched.drain(..) {
            client.flush();
        }
        self.client.flush();
    }

    pub(super) fn hear(&mut self, frame: Frame) -> Result<(), Broken> {
        let Frame { header, body } = frame;
        if header.op == Op::Ping {
            return Ok(());
        }
        self.client.read.add(body.len());
        self.client.counts.read.add(body.len());
        match header.op {
            Op::Ping => Ok(()),
            Op::Message => self.message(header, body),
            Op::Publish => self.publish(header, body),
            Op::PublishFor => self.publish_for(header, body),
            Op::Broadcast => self.broadcast(header, body),
            Op::Subscribe | Op::Unsubscribe | Op::Exclude | Op::Unexclude => self.change(header, &body),
        }
    }

    pub(super) fn acknowledge(&self, header: Header, code: Code) {
        if header.ack {
            self.client.put(&frame::ack(header.id, code), &Bytes::new(), Origin::Other);
        }
    }

    /// Programs are called, and written to, as `bus/NAME`.
    fn may_reach(&mut self, target: &str) -> bool {
        self.subject.clear();
        self.subject.push_str("bus/");
        self.subject.push_str(target);
        let may = self.identity.may(Action::Call, &self.subject);
        if !may {
            self.client.counts.denied.fetch_add(1, Relaxed);
        }
        may
    }

    fn message(&mut self, header: Header, mut body: Bytes) -> Result<(), Broken> {
        let target = split(&mut body, "target")?;
        let target = text(&target, "target")?;
        if target == announce::BROKER {
            self.ask_broker(header, &body);
        } else if target == GATEWAY || target.starts_with(COMPONENT) {
            self.ask(target, header, &body);
        } else {
            let code = self.send(target, header, &body);
            self.acknowledge(header, code);
        }
        Ok(())
    }

    fn send(&mut self, target: &str, header: Header, payload: &Bytes) -> Code {
        let counts = Arc::clone(&self.client.counts);
        counts.messages.fetch_add(1, Relaxed);
        if !rpc::is_answer(payload) && !self.may_reach(target) {
            return Code::ACCESS;
        }
        let Some(receiver) = self.board.get(target) else {
            counts.nobody.fetch_add(1, Relaxed);
            return Code::NOT_REGISTERED;
        };
        let (sender, realtime) = (&*self.client.name, header.realtime);
        let sent = Sent { kind: Kind::Message, sender, topic: None, payload, realtime };
        match self.board.offer(&receiver, &sent) {
            Ok(()) => {
                self.touch(receiver);
                Code::OK
            }
            Err(code) => code,
        }
    }

    fn touch(&mut self, client: Arc<Client>) {
        if !Arc::ptr_eq(&client, &self.client) && !self.touched.iter().any(|known| Arc::ptr_eq(known, &client)) {
            self.touched.push(client);
        }
    }

    fn ask_broker(&self, header: Header, payload: &Bytes) {
        let Some(Rpc::Request { id, method, parameters }) = rpc::parse(payload) else {
            return self.acknowledge(header, Code::NOT_SUPPORTED);
        };
        self.acknowledge(header, Code::OK);
        let answer = match broker::answer(&self.board, &method, &parameters) {
            Ok(result) => rpc::reply(id, &result),
            Err(code) => rpc::error(id, code, ""),
        };
        if id > 0 {
            let prefix = frame::prefix(Kind::Message, announce::BROKER, None, answer.len(), false);
            self.client.put(&prefix, &answer.into(), Origin::Other);
        }
    }

    fn broadcast(&mut self, header: Header, mut body: Bytes) -> Result<(), Broken> {
        let mask = split(&mut body, "mask")?;
        let mask = text(&mask, "mask")?;
        self.client.counts.broadcasts.fetch_add(1, Relaxed);
        let code = if self.may_reach(mask) {
            let (sender, realtime) = (&*self.client.name, header.realtime);
            let sent = Sent { kind: Kind::Broadcast, sender, topic: None, payload: &body, realtime };
            for client in self.board.broadcast(mask, &sent) {
                self.touch(client);
            }
            Code::OK
        } else {
            Code::ACCESS
        };
        self.acknowledge(header, code);
        Ok(())
    }

    fn publish_for(&mut self, header: Header, mut body: Bytes) -> Result<(), Broken> {
        let topic = split(&mut body, "topic")?;
        let topic = text(&topic, "topic")?;
        let receiver = split(&mut body, "receiver")?;
        let receiver = text(&receiver, "receiver")?;
        let code = if is_own(topic) || !self.identity.may(Action::Publish, topic) {
            self.client.counts.denied.fetch_add(1, Relaxed);
            Code::ACCESS
        } else {
            let (sender, realtime) = (&*self.client.name, header.realtime);
            let sent = Sent { kind: Kind::Publication, sender, topic: Some(topic), payload: &body, realtime };
            for client in self.board.publish_for(receiver, &sent) {
                self.touch(client);
            }
            Code::OK
        };
        self.acknowledge(header, code);
        Ok(())
    }

    fn publish(&mut self, header: Header, mut body: Bytes) -> Result<(), Broken> {
        let topic = split(&mut body, "topic")?;
        let topic = text(&topic, "topic")?;
        if is_own(topic) {
            self.client.counts.denied.fetch_add(1, Relaxed);
            self.acknowledge(header, Code::ACCESS);
            return Ok(());
        }
        let settings = &self.board.settings;
        let reach = settings.reach(topic);
        let packed = reach != Reach::Dialect && settings.messagepack.matches(topic);
        let payload = match packed.then(|| mapping::pack_to_arguments(&body)).flatten() {
            Some(arguments) => Payload::Rembus(arguments),
            None => Payload::Mqtt(body),
        };
        let qos = if header.ack { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let (now, publisher) = (self.board.clock.wall(), Arc::clone(&self.client.name));
        let mut message = Message::new(topic.to_owned(), payload, qos, now, Dialect::Bus, publisher);
        message.reach = reach;
        message.realtime = header.realtime;
        self.unanswered += usize::from(header.ack);
        self.batch.push(Inbound::Publish { message, token: token(header) });
        Ok(())
    }

    fn change(&mut self, header: Header, body: &[u8]) -> Result<(), Broken> {
        let topics = frame::texts(body)?;
        let adds = matches!(header.op, Op::Subscribe | Op::Exclude);
        let (known, max) = (self.client.wanted().len() + self.waiting(), self.board.settings.max_subscriptions);
        if adds && known + topics.len() > max && self.adds(header.op, &topics) {
            self.acknowledge(header, Code::BUSY);
            return Ok(());
        }
        let (op, token) = (header.op, token(header));
        let filters = || topics.iter().map(|topic| Filter::Bus((*topic).to_owned()));
        self.batch.push(match op {
            Op::Subscribe => {
                let filters = topics.iter().map(|topic| Subscription::bus((*topic).to_owned())).collect();
                Inbound::Subscribe { token, filters }
            }
            Op::Unsubscribe => Inbound::Unsubscribe { token, filters: filters().collect() },
            Op::Exclude => Inbound::Exclude { token, filters: filters().collect() },
            _ => Inbound::Include { token, filters: filters().collect() },
        });
        self.unanswered += 1;
        self.changes.push_back(Change { op, topics: topics.into_iter().map(str::to_owned).collect() });
        Ok(())
    }

    /// Topics that the router has not approved of yet.
    fn waiting(&self) -> usize {
        let adds = |change: &&Change| matches!(change.op, Op::Subscribe | Op::Exclude);
        self.changes.iter().filter(adds).map(|change| change.topics.len()).sum()
    }

    /// Whether there is a new one among them.
    fn adds(&self, op: Op, topics: &[&str]) -> bool {
        let wanted = self.client.wanted();
        let Wanted { subscribed, excluded } = &*wanted;
        let known = if op == Op::Subscribe { subscribed } else { excluded };
        topics.iter().any(|topic| !known.contains(*topic))
    }
}

/// The gateway's own topics: what is announced there cannot be made up by others.
fn is_own(topic: &str) -> bool {
    topic == announce::BROKER || topic.starts_with(announce::OWN)
}

fn token(header: Header) -> Token {
    Token(u64::from(header.id) | if header.ack { ACK } else { 0 })
}

/// Splits off what stands in front of the next zero byte.
fn split(body: &mut Bytes, what: &'static str) -> Result<Bytes, Broken> {
    let end = body.iter().position(|byte| *byte == 0).ok_or(Broken::Cut(what))?;
    let front = body.split_to(end);
    body.advance(1);
    Ok(front)
}

fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| Broken::NotText(what))
}
