//! From the client to the router.

use super::{Dialogue, Ending, OwnAnswer, Verdicts};
use crate::clock::Wall;
use crate::message::{Dialect, Message, Payload, Qos};
use crate::mqtt::codec::{AckKind, Fault, Filters, Packet, Publish, ReasonCode, protocol_error, topic};
use crate::router::{Closed, DeliveryId, Inbound, Past, Stage, Subscription, Token};
use bytes::Bytes;

impl Dialogue {
    /// Translates one packet.
    pub(crate) fn read(&mut self, packet: Packet<'_>, now: Wall, batch: &mut Vec<Inbound>) -> Result<(), Ending> {
        match packet {
            Packet::Publish(publish) => batch.push(self.publish(publish, now)?),
            Packet::Ack { kind, id, reason } => batch.push(self.acknowledgement(kind, id, reason)),
            Packet::Subscribe { id, identifier, filters } => self.subscribe(id, identifier, filters, batch),
            Packet::Unsubscribe { id, filters } => self.unsubscribe(id, filters, batch),
            Packet::Ping => {
                self.unanswered += 1;
                self.own_answers.push_back(OwnAnswer::Ping);
            }
            Packet::Disconnect { reason, session_expiry } => {
                // [MQTT-3.1.2-23] of 5.0, section 3.14.2.2.2
                if self.session_ends_with_connection && session_expiry.is_some_and(|seconds| seconds > 0) {
                    return Err(Ending::Fault(protocol_error("DISCONNECT revives a session that was to end")));
                }
                if let Some(seconds) = session_expiry {
                    batch.push(Inbound::Expire { expiry: self.settings.expiry(seconds) });
                }
                // Only a normal DISCONNECT withdraws the will [MQTT-3.14.4-3].
                let closed = if reason == ReasonCode::SUCCESS { Closed::Orderly } else { Closed::Lost };
                return Err(Ending::Goodbye(closed));
            }
        }
        Ok(())
    }

    fn publish(&mut self, publish: Publish<'_>, now: Wall) -> Result<Inbound, Ending> {
        if publish.qos != Qos::AtMostOnce {
            self.unanswered += 1;
            self.in_flight += 1;
            // [MQTT-3.3.4-9] of 5.0
            if self.version.is_5() && self.in_flight > self.settings.receive_max.into() {
                let what = "more unacknowledged publications than the receive maximum";
                return Err(Ending::Fault(Fault { reason: ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, what }));
            }
        }
        let topic = match publish.alias {
            None => publish.topic.to_owned(),
            Some(alias) => self.aliased(alias, publish.topic).map_err(Ending::Fault)?,
        };
        let payload = Payload::Mqtt(Bytes::copy_from_slice(publish.payload));
        let mut message = Message::new(topic, payload, publish.qos, now, Dialect::Mqtt, self.publisher.clone());
        message.retain = publish.retain;
        message.properties = publish.properties;
        log::trace!(client_id = &*self.publisher, topic = message.topic.as_str(), qos = publish.qos.level(); "published");
        Ok(Inbound::Publish { message, token: Token(publish.id.into()) })
    }

    /// 5.0 section 3.3.2.3.4: a name sets the alias, an empty name uses it.
    fn aliased(&mut self, alias: u16, name: &str) -> Result<String, Fault> {
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        if alias == 0 || alias > self.settings.topic_alias_max {
            return Err(Fault { reason: ReasonCode::TOPIC_ALIAS_INVALID, what: "topic alias 0 or above the maximum" });
        }
        if self.aliases.is_empty() {
            self.aliases.resize(self.settings.topic_alias_max.into(), None);
        }
        let known = &mut self.aliases[usize::from(alias) - 1];
        if !self.settings.names.allow(name) {
            // The router refuses it, and it is no alias.
            return Ok(name.to_owned());
        }
        if !name.is_empty() {
            *known = Some(name.to_owned());
        }
        known.clone().ok_or(protocol_error("a topic alias that was never set"))
    }

    fn acknowledgement(&mut self, kind: AckKind, id: u16, reason: ReasonCode) -> Inbound {
        let stage = match kind {
            AckKind::Pubrel => {
                self.unanswered += 1;
                return Inbound::Release { token: Token(id.into()) };
            }
            AckKind::Puback | AckKind::Pubrec if reason.is_error() => Stage::Refused,
            AckKind::Pubrec => Stage::Received,
            AckKind::Puback | AckKind::Pubcomp => Stage::Done,
        };
        Inbound::Delivered { id: DeliveryId(id.into()), stage }
    }

    fn subscribe(&mut self, id: u16, identifier: Option<u32>, filters: Filters<'_>, batch: &mut Vec<Inbound>) {
        self.unanswered += 1;
        let (mut codes, mut wanted) = (Vec::new(), Vec::new());
        for (filter, options) in filters {
            codes.push(match topic::parse(filter) {
                None => Some(ReasonCode::TOPIC_FILTER_INVALID),
                Some(_) if wanted.len() >= self.settings.max_filters => Some(ReasonCode::QUOTA_EXCEEDED),
                Some(filter) => {
                    wanted.push(Subscription {
                        filter,
                        qos: options.qos,
                        no_local: options.no_local,
                        retain_as_published: options.retain_as_published,
                        retain_handling: options.retain_handling,
                        identifier,
                        past: Past::Nothing,
                        number: 0,
                    });
                    None
                }
            });
        }
        if wanted.is_empty() {
            let codes = codes.into_iter().flatten().collect();
            self.own_answers.push_back(OwnAnswer::Suback { id, codes });
            return;
        }
        self.remember(id, true, codes);
        batch.push(Inbound::Subscribe { token: Token(id.into()), filters: wanted });
    }

    fn unsubscribe(&mut self, id: u16, filters: Filters<'_>, batch: &mut Vec<Inbound>) {
        self.unanswered += 1;
        let (mut codes, mut wanted) = (Vec::new(), Vec::new());
        for (filter, _) in filters {
            // What cannot have been subscribed does not bother the router.
            let parsed = topic::parse(filter);
            codes.push(parsed.is_none().then_some(ReasonCode::NO_SUBSCRIPTION_EXISTED));
            wanted.extend(parsed);
        }
        if wanted.is_empty() {
            let codes = codes.into_iter().flatten().collect();
            self.own_answers.push_back(OwnAnswer::Unsuback { id, codes });
            return;
        }
        self.remember(id, false, codes);
        batch.push(Inbound::Unsubscribe { token: Token(id.into()), filters: wanted });
    }

    /// Keeps verdicts of the door until the router's come. There are as many at most as unanswered packets.
    fn remember(&mut self, id: u16, subscribing: bool, codes: Vec<Option<ReasonCode>>) {
        if codes.iter().any(Option::is_some) {
            self.verdicts.push(Verdicts { id, subscribing, codes });
        }
    }
}
