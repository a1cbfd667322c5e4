//! From the router to a program.

use super::announce;
use super::call::COMPONENT;
use super::dialogue::{ACK, Dialogue};
use super::frame::{self, Code, Kind, Op};
use super::outbox::Origin;
use crate::door::Stats;
use crate::mapping;
use crate::message::{Dialect, Message, Payload};
use crate::router::{CloseReason, Delivery, Inbound, Outbound, Refusal, Token};
use bytes::Bytes;

impl Dialogue {
    /// Says what the router wants said. An error is its wish to end.
    pub(super) fn say(&mut self, outbound: Outbound) -> Result<(), CloseReason> {
        match outbound {
            Outbound::Deliver(delivery) => self.deliver(&delivery),
            Outbound::Accepted { token, outcome, .. } => {
                self.answered();
                self.acknowledge_token(token, outcome.map_or_else(refused, |()| Code::OK));
            }
            Outbound::Subscribed { token, outcomes } => {
                self.answered();
                let refusal = outcomes.iter().find_map(|outcome| outcome.err());
                self.changed(outcomes.iter().map(Result::is_ok));
                self.acknowledge_token(token, refusal.map_or(Code::OK, refused));
            }
            Outbound::Unsubscribed { token, outcomes } => {
                self.answered();
                self.changed(outcomes.iter().map(|_| true));
                self.acknowledge_token(token, Code::OK);
            }
            Outbound::Response { token, status, data } => self.respond(token, status, &data),
            Outbound::Request { call, method, data, .. } => self.request(call, &method, &data),
            Outbound::Close(reason) => return Err(reason),
            Outbound::Probe => self.batch.push(Inbound::Alive),
            Outbound::Attached { .. }
            | Outbound::Refused(_)
            | Outbound::Completed { .. }
            | Outbound::Release { .. }
            | Outbound::Asked { .. }
            | Outbound::Offered { .. } => {
                log::error!(client = &*self.client.name; "the router sent an answer to what a bus link never asks");
            }
        }
        Ok(())
    }

    fn acknowledge_token(&self, token: Token, code: Code) {
        if token.0 & ACK > 0 {
            let id = u32::try_from(token.0 & u64::from(u32::MAX)).expect("the rest is masked");
            self.client.put(&frame::ack(id, code), &Bytes::new(), Origin::Other);
        }
    }

    /// The oldest change was carried out, as far as it was approved of.
    fn changed(&mut self, approved: impl Iterator<Item = bool>) {
        let Some(change) = self.changes.pop_front() else { return };
        let mut wanted = self.client.wanted();
        for (topic, _) in change.topics.into_iter().zip(approved).filter(|(_, approved)| *approved) {
            match change.op {
                Op::Subscribe => drop(wanted.subscribed.insert(topic)),
                Op::Unsubscribe => drop(wanted.subscribed.remove(&topic)),
                Op::Exclude => drop(wanted.excluded.insert(topic)),
                _ => drop(wanted.excluded.remove(&topic)),
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let message = &*delivery.message;
        let packed = message.reach != crate::message::Reach::Dialect && self.board.settings.messagepack.matches(&message.topic);
        let owned;
        let payload = match &message.payload {
            Payload::Mqtt(bytes) if !packed || message.dialect == Dialect::Bus => bytes,
            _ if packed => {
                owned = Bytes::from(mapping::arguments_to_pack(message.rembus_data()));
                &owned
            }
            _ => message.mqtt_body().0,
        };
        let sender = sender(message);
        // A zero byte would end the name or the topic early; only Rembus can have one.
        if sender.contains('\0') || message.topic.contains('\0') {
            Stats::count(&self.board.settings.stats.undeliverable);
            self.batch.push(Inbound::Unsendable { count: 1 });
            self.pretend_written();
            return;
        }
        let topic = Some(message.topic.as_str());
        let prefix = frame::prefix(Kind::Publication, &sender, topic, payload.len(), message.realtime);
        self.client.put(&prefix, payload, Origin::Router);
    }

    /// A frame of the router that is not sent: its place in the window is free all the same.
    pub(super) fn pretend_written(&mut self) {
        self.unsaid += 1;
    }
}

/// Programs by their name; others by one that no program can have, and that a component can be called by.
fn sender(message: &Message) -> std::borrow::Cow<'_, str> {
    match message.dialect {
        Dialect::Bus => (&*message.publisher).into(),
        Dialect::Rembus => format!("{COMPONENT}{}", message.publisher).into(),
        Dialect::Mqtt => format!(".mqtt.{}", message.publisher).into(),
        Dialect::Internal => announce::BROKER.into(),
    }
}

fn refused(refusal: Refusal) -> Code {
    match refusal {
        Refusal::NotAuthorized | Refusal::Reserved => Code::ACCESS,
        Refusal::DiskFull | Refusal::LogFailed => Code::IO,
        Refusal::LimitReached | Refusal::TooManyCalls | Refusal::NameInUse | Refusal::AlreadyNamed => Code::BUSY,
        Refusal::NameInvalid | Refusal::NameTooLong | Refusal::TopicTooLong | Refusal::FilterTooLong => Code::DATA,
    }
}
