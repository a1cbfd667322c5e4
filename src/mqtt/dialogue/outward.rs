//! From the router to the client.

use super::{Dialogue, Ending, OwnAnswer};
use crate::door::Stats;
use crate::message::Qos;
use crate::mqtt::codec::{self, AckKind, Alias, Fault, OutgoingPublish, ReasonCode, Unsendable};
use crate::mqtt::outbox::Outbox;
use crate::router::{CloseReason, Delivery, DeliveryId, Inbound, Outbound, Refusal, Stage, Token};

impl Dialogue {
    /// Encodes the answers that need no router.
    pub(crate) fn write_own_answers(&mut self, outbox: &mut Outbox) -> Result<(), Ending> {
        let version = self.version;
        while outbox.has_room() {
            match self.own_answers.pop_front() {
                None => break,
                Some(OwnAnswer::Ping) => self.put(outbox, codec::pingresp)?,
                Some(OwnAnswer::Suback { id, codes }) => self.put(outbox, |out| codec::suback(out, version, id, &codes))?,
                Some(OwnAnswer::Unsuback { id, codes }) => self.put(outbox, |out| codec::unsuback(out, version, id, &codes))?,
            }
            self.answered();
        }
        Ok(())
    }

    /// Appends an answer that cannot be shorter. A client that takes no packet of that size \[MQTT-3.1.2-24\] can never hear what it
    /// asked for, so the connection ends.
    fn put(&self, outbox: &mut Outbox, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), Ending> {
        let out = outbox.gathered();
        let start = out.len();
        encode(out);
        if out.len() - start <= self.max_packet as usize {
            return Ok(());
        }
        out.truncate(start);
        let what = "an answer is larger than the client's maximum packet size";
        Err(Ending::Fault(Fault { reason: ReasonCode::PACKET_TOO_LARGE, what }))
    }

    fn put_ack(&self, outbox: &mut Outbox, kind: AckKind, id: u16, reason: ReasonCode) -> Result<(), Ending> {
        self.put(outbox, |out| codec::ack(out, self.version, kind, id, reason))
    }

    /// Encodes what the router wants sent. `batch` gets what the router must know if it cannot be sent.
    pub(crate) fn write(&mut self, outbound: Outbound, outbox: &mut Outbox, batch: &mut Vec<Inbound>) -> Result<(), Ending> {
        match outbound {
            Outbound::Deliver(delivery) => self.deliver(&delivery, outbox, batch),
            Outbound::Accepted { token, qos, outcome } => return self.accepted(token, qos, outcome, outbox),
            Outbound::Completed { token, known } => {
                self.answered();
                self.in_flight = self.in_flight.saturating_sub(1);
                // [MQTT-4.3.3-11]; 3.1.1 answers in any case.
                let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_ID_NOT_FOUND };
                self.put_ack(outbox, AckKind::Pubcomp, packet_id(token), reason)?;
            }
            Outbound::Release { id } => {
                self.put_ack(outbox, AckKind::Pubrel, delivery_packet_id(id), ReasonCode::SUCCESS)?;
            }
            Outbound::Subscribed { token, outcomes } => {
                let codes = outcomes.into_iter().map(|outcome| match outcome {
                    Ok(qos) => ReasonCode(qos.level()),
                    Err(refusal) => refusal.into(),
                });
                let codes = self.merge(token, true, codes);
                self.answered();
                self.put(outbox, |out| codec::suback(out, self.version, packet_id(token), &codes))?;
            }
            Outbound::Unsubscribed { token, outcomes } => {
                let codes = outcomes
                    .into_iter()
                    .map(|existed| if existed { ReasonCode::SUCCESS } else { ReasonCode::NO_SUBSCRIPTION_EXISTED });
                let codes = self.merge(token, false, codes);
                self.answered();
                self.put(outbox, |out| codec::unsuback(out, self.version, packet_id(token), &codes))?;
            }
            Outbound::Close(reason) => return Err(Ending::Closed(reason)),
            Outbound::Attached { .. }
            | Outbound::Refused(_)
            | Outbound::Request { .. }
            | Outbound::Asked { .. }
            | Outbound::Offered { .. }
            | Outbound::Response { .. }
            | Outbound::Probe => {
                log::error!(client_id = &*self.publisher; "the router sent an answer to what an MQTT link never asks");
            }
        }
        Ok(())
    }

    fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// PUBACK or PUBREC, after the disk.
    fn accepted(&mut self, token: Token, qos: Qos, outcome: Result<(), Refusal>, outbox: &mut Outbox) -> Result<(), Ending> {
        self.answered();
        let reason = match outcome {
            Ok(()) => ReasonCode::SUCCESS,
            // 3.1.1 can only acknowledge or end the connection [MQTT-3.3.5-2].
            Err(_) if !self.version.is_5() => return Err(Ending::Closed(CloseReason::PublishRefused)),
            Err(refusal) => refusal.into(),
        };
        let kind = if qos == Qos::ExactlyOnce { AckKind::Pubrec } else { AckKind::Puback };
        // A PUBREC with an error ends the exchange as PUBACK does (5.0 section 4.9).
        if kind == AckKind::Puback || reason.is_error() {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        self.put_ack(outbox, kind, packet_id(token), reason)
    }

    fn deliver(&mut self, delivery: &Delivery, outbox: &mut Outbox, batch: &mut Vec<Inbound>) {
        // Sent or not: its place in the router's window is free once what stands before it is written.
        self.delivered += 1;
        let message = &*delivery.message;
        let (payload, content_type) = message.mqtt_body();
        let properties = message.properties.as_deref();
        let mut publish = OutgoingPublish {
            topic: &message.topic,
            alias: self.alias(&message.topic),
            qos: delivery.qos.level(),
            id: delivery.id.map_or(0, delivery_packet_id),
            dup: delivery.dup,
            retain: delivery.retain,
            payload_len: payload.len(),
            properties,
            content_type,
            expiry_s: delivery.expiry_s,
            identifiers: &delivery.identifiers,
        };
        let mut written = codec::publish(outbox.gathered(), self.version, &publish, self.max_packet);
        match publish.alias {
            // Its three bytes may be what is too much.
            Some(Alias { is_new: true, .. }) if written.is_err() => {
                publish.alias = None;
                written = codec::publish(outbox.gathered(), self.version, &publish, self.max_packet);
            }
            Some(Alias { number, is_new: true }) => drop(self.told.insert(message.topic.clone(), number)),
            _ => {}
        }
        match written {
            Ok(()) => outbox.payload(payload),
            Err(why) => self.undeliverable(delivery, why, batch),
        }
    }

    /// The number that this client knows a topic by, or will. Never more than it wants \[MQTT-3.1.2-26\].
    fn alias(&self, topic: &str) -> Option<Alias> {
        if self.told_max == 0 {
            return None;
        }
        let known = self.told.get(topic).map(|number| Alias { number: *number, is_new: false });
        known.or_else(|| {
            let next = u16::try_from(self.told.len()).ok()?.checked_add(1)?;
            (next <= self.told_max).then_some(Alias { number: next, is_new: true })
        })
    }

    /// 5.0 \[MQTT-3.1.2-25\]: too large is dropped as if delivered. A topic of Rembus with `+` or `#` would be read as a
    /// filter, so it is dropped too.
    fn undeliverable(&self, delivery: &Delivery, why: Unsendable, batch: &mut Vec<Inbound>) {
        Stats::count(&self.settings.stats.undeliverable);
        log::debug!(client_id = &*self.publisher, topic = delivery.message.topic.as_str(), reason:% = why; "delivery dropped");
        batch.push(match delivery.id {
            Some(id) => Inbound::Delivered { id, stage: Stage::Refused },
            None => Inbound::Unsendable { count: 1 },
        });
    }

    /// The router's codes at the places the door left open.
    fn merge(&mut self, token: Token, subscribing: bool, codes: impl Iterator<Item = ReasonCode>) -> Vec<ReasonCode> {
        let id = packet_id(token);
        let own = self.verdicts.iter().position(|verdicts| verdicts.id == id && verdicts.subscribing == subscribing);
        let Some(own) = own.map(|at| self.verdicts.remove(at)) else {
            return codes.collect();
        };
        let mut codes = codes;
        own.codes.into_iter().filter_map(|verdict| verdict.or_else(|| codes.next())).collect()
    }
}

/// Tokens of an MQTT link are packet identifiers.
fn packet_id(token: Token) -> u16 {
    u16::try_from(token.0).expect("the token of an MQTT link is a packet identifier")
}

fn delivery_packet_id(id: DeliveryId) -> u16 {
    u16::try_from(id.0).expect("the router numbers MQTT deliveries with 16 bits")
}
