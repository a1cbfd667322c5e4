//! The packets a client sends after CONNECT.

use super::fields::{Fields, Property, misplaced, variable};
use super::reason::{Fault, ReasonCode, malformed, protocol_error};
use super::{Version, kind, topic};
use crate::message::{Properties, Qos};
use crate::router::RetainHandling;
use bytes::Bytes;

/// A packet's extent, known from its fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    /// Bytes of the fixed header.
    pub(crate) header: usize,
    /// Bytes of the whole packet.
    pub(crate) total: usize,
}

impl Frame {
    pub(crate) fn kind(self) -> u8 {
        self.first >> 4
    }
}

/// Reads the fixed header; `None` if it is not complete yet. What is wrong there is said before the rest is waited for: flags
/// \[MQTT-2.2.2-2\], \[MQTT-2.1.3-1\], types that only a server sends, and packets above `max_packet`.
pub(crate) fn frame(bytes: &[u8], max_packet: usize) -> Result<Option<Frame>, Fault> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (kind, flags) = (first >> 4, first & 0x0f);
    match kind {
        kind::PUBLISH => {
            // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
            if flags & 0x06 == 0x06 {
                return Err(malformed("QoS 3"));
            }
            if flags & 0x0e == 0x08 {
                return Err(malformed("DUP with QoS 0"));
            }
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE if flags != 0x02 => {
            return Err(malformed("reserved flags are not 2"));
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => {}
        kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => {
            return Err(protocol_error("a packet only a server may send"));
        }
        0 => return Err(malformed("packet type 0")),
        _ if flags != 0 => return Err(malformed("reserved flags are not 0")),
        _ => {}
    }
    let Some((remaining, length)) = variable(rest)? else {
        return Ok(None);
    };
    let header = 1 + length;
    let total = header + remaining as usize;
    if total > max_packet {
        return Err(Fault { reason: ReasonCode::PACKET_TOO_LARGE, what: "the packet is larger than `mqtt.max_packet`" });
    }
    Ok(Some(Frame { first, header, total }))
}

/// A packet of a connected client.
#[derive(Debug)]
pub(crate) enum Packet<'a> {
    Publish(Publish<'a>),
    Ack {
        kind: AckKind,
        id: u16,
        reason: ReasonCode,
    },
    Subscribe {
        id: u16,
        identifier: Option<u32>,
        filters: Filters<'a>,
    },
    Unsubscribe {
        id: u16,
        filters: Filters<'a>,
    },
    Ping,
    /// `session_expiry` as in 5.0 section 3.14.2.2.2.
    Disconnect {
        reason: ReasonCode,
        session_expiry: Option<u32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

#[derive(Debug)]
pub(crate) struct Publish<'a> {
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Empty only with an alias.
    pub(crate) topic: &'a str,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) alias: Option<u16>,
    pub(crate) properties: Option<Box<Properties>>,
    pub(crate) payload: &'a [u8],
}

/// The filters of SUBSCRIBE or UNSUBSCRIBE, already walked through once, so that reading them again cannot fail.
#[derive(Debug, Clone)]
pub(crate) struct Filters<'a> {
    fields: Fields<'a>,
    with_options: bool,
}

/// Subscription options (5.0 section 3.8.3.1); 3.1.1 has only the QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
}

/// Reads one whole packet. CONNECT is not among them: the first is read by [`super::read_connect`], a second is a protocol
/// error \[MQTT-3.1.0-2\].
pub(crate) fn decode<'a>(version: Version, frame: Frame, packet: &'a [u8]) -> Result<Packet<'a>, Fault> {
    let body = packet.get(frame.header..frame.total).expect("the caller waited for the whole packet");
    let mut fields = Fields::new(body);
    match frame.kind() {
        kind::PUBLISH => Ok(Packet::Publish(read_publish(version, frame.first, fields)?)),
        kind::PUBACK => read_ack(version, AckKind::Puback, fields),
        kind::PUBREC => read_ack(version, AckKind::Pubrec, fields),
        kind::PUBREL => read_ack(version, AckKind::Pubrel, fields),
        kind::PUBCOMP => read_ack(version, AckKind::Pubcomp, fields),
        kind::SUBSCRIBE => {
            let id = fields.packet_id()?;
            let identifier = if version.is_5() { read_subscribe_properties(&mut fields)? } else { None };
            let filters = Filters::check(fields, version, true)?;
            Ok(Packet::Subscribe { id, identifier, filters })
        }
        kind::UNSUBSCRIBE => {
            let id = fields.packet_id()?;
            if version.is_5() {
                only_user_properties(&mut fields)?;
            }
            let filters = Filters::check(fields, version, false)?;
            Ok(Packet::Unsubscribe { id, filters })
        }
        kind::PINGREQ => {
            fields.end()?;
            Ok(Packet::Ping)
        }
        kind::DISCONNECT => read_disconnect(version, fields),
        kind::CONNECT => Err(protocol_error("a second CONNECT")),
        kind::AUTH if version.is_5() => Err(protocol_error("AUTH without an authentication method")),
        _ => Err(malformed("unknown packet type")),
    }
}

fn read_publish(version: Version, first: u8, mut fields: Fields<'_>) -> Result<Publish<'_>, Fault> {
    let qos = Qos::from_level((first >> 1) & 0x03).ok_or(malformed("QoS 3"))?;
    let topic = fields.text()?;
    let id = if qos == Qos::AtMostOnce { 0 } else { fields.packet_id()? };
    let mut publish = Publish { qos, retain: first & 0x01 != 0, topic, id, alias: None, properties: None, payload: &[] };
    if version.is_5() {
        read_publish_properties(&mut fields, &mut publish)?;
    }
    // 5.0 section 3.3.2.1: an empty name needs an alias; a name never has wildcards [MQTT-3.3.2-2].
    if topic.is_empty() && publish.alias.is_none() {
        return Err(protocol_error("an empty topic"));
    }
    if !topic.is_empty() && !topic::is_name(topic) {
        return Err(malformed("wildcards in a topic name"));
    }
    publish.payload = fields.rest();
    Ok(publish)
}

fn read_publish_properties<'a>(fields: &mut Fields<'a>, publish: &mut Publish<'a>) -> Result<(), Fault> {
    for property in fields.properties()? {
        let property = property?;
        if let Property::TopicAlias(alias) = property {
            publish.alias = Some(alias);
            continue;
        }
        // Misplaced is also the subscription identifier, which only a server sends with PUBLISH [MQTT-3.3.4-6].
        keep_property(property, publish.properties.get_or_insert_default())?;
    }
    Ok(())
}

/// A property that travels with a message, or with a will until it is one.
pub(super) fn keep_property(property: Property<'_>, kept: &mut Properties) -> Result<(), Fault> {
    match property {
        Property::PayloadFormat(0) => {}
        Property::PayloadFormat(1) => kept.payload_is_text = true,
        Property::PayloadFormat(_) => return Err(protocol_error("the payload format is neither 0 nor 1")),
        Property::MessageExpiry(seconds) => kept.expiry_s = Some(seconds),
        Property::ContentType(text) => kept.content_type = Some(text.to_owned()),
        // [MQTT-3.3.2-14]
        Property::ResponseTopic(name) if !topic::is_name(name) => {
            return Err(protocol_error("the response topic is not a topic name"));
        }
        Property::ResponseTopic(name) => kept.response_topic = Some(name.to_owned()),
        Property::CorrelationData(data) => kept.correlation_data = Some(Bytes::copy_from_slice(data)),
        Property::User(name, value) => kept.user.push((name.to_owned(), value.to_owned())),
        _ => return Err(misplaced()),
    }
    Ok(())
}

fn read_ack(version: Version, kind: AckKind, mut fields: Fields<'_>) -> Result<Packet<'_>, Fault> {
    let id = fields.packet_id()?;
    let mut reason = ReasonCode::SUCCESS;
    // 5.0 sections 3.4 to 3.7: reason and properties may be left out, the properties also alone.
    if version.is_5() && !fields.is_empty() {
        reason = ReasonCode(fields.u8()?);
        let known = match kind {
            AckKind::Puback | AckKind::Pubrec => {
                matches!(reason.0, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            AckKind::Pubrel | AckKind::Pubcomp => matches!(reason.0, 0x00 | 0x92),
        };
        if !known {
            return Err(protocol_error("an acknowledgement has an unknown reason code"));
        }
        if !fields.is_empty() {
            reason_and_user_properties(&mut fields)?;
        }
    }
    fields.end()?;
    Ok(Packet::Ack { kind, id, reason })
}

fn read_subscribe_properties(fields: &mut Fields<'_>) -> Result<Option<u32>, Fault> {
    let mut identifier = None;
    for property in fields.properties()? {
        match property? {
            Property::SubscriptionIdentifier(0) => return Err(protocol_error("subscription identifier 0")),
            Property::SubscriptionIdentifier(value) => identifier = Some(value),
            Property::User(..) => {}
            _ => return Err(misplaced()),
        }
    }
    Ok(identifier)
}

fn read_disconnect(version: Version, mut fields: Fields<'_>) -> Result<Packet<'_>, Fault> {
    let (mut reason, mut session_expiry) = (ReasonCode::SUCCESS, None);
    if version.is_5() && !fields.is_empty() {
        reason = ReasonCode(fields.u8()?);
        // 5.0 table 3-13, those that a client may send; the others are a server's, or nobody's.
        if !matches!(reason.0, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
            return Err(protocol_error("DISCONNECT has an unknown reason code"));
        }
        if !fields.is_empty() {
            for property in fields.properties()? {
                match property? {
                    Property::SessionExpiry(seconds) => session_expiry = Some(seconds),
                    Property::ReasonString(_) | Property::User(..) => {}
                    _ => return Err(misplaced()),
                }
            }
        }
    }
    fields.end()?;
    Ok(Packet::Disconnect { reason, session_expiry })
}

fn only_user_properties(fields: &mut Fields<'_>) -> Result<(), Fault> {
    for property in fields.properties()? {
        let Property::User(..) = property? else {
            return Err(misplaced());
        };
    }
    Ok(())
}

fn reason_and_user_properties(fields: &mut Fields<'_>) -> Result<(), Fault> {
    for property in fields.properties()? {
        let (Property::ReasonString(_) | Property::User(..)) = property? else {
            return Err(misplaced());
        };
    }
    Ok(())
}

impl<'a> Filters<'a> {
    fn check(fields: Fields<'a>, version: Version, with_options: bool) -> Result<Self, Fault> {
        // [MQTT-3.8.3-3] and [MQTT-3.10.3-2] of 3.1.1, [MQTT-3.8.3-2] and [MQTT-3.10.3-2] of 5.0
        if fields.is_empty() {
            return Err(protocol_error("no filter in the packet"));
        }
        let mut walk = fields;
        while !walk.is_empty() {
            let filter = walk.text()?;
            if !with_options {
                continue;
            }
            let options = walk.u8()?;
            // [MQTT-3-8.3-4] of 3.1.1, [MQTT-3.8.3-5] of 5.0; QoS 3 and retain handling 3 do not exist.
            let reserved = if version.is_5() { 0xc0 } else { 0xfc };
            if options & reserved != 0 || options & 0x03 == 0x03 || options & 0x30 == 0x30 {
                return Err(malformed("subscription options are not valid"));
            }
            // [MQTT-3.8.3-4] of 5.0
            if options & 0x04 != 0 && topic::is_shared(filter) {
                return Err(protocol_error("no local on a shared subscription"));
            }
        }
        Ok(Self { fields, with_options })
    }
}

impl<'a> Iterator for Filters<'a> {
    type Item = (&'a str, Options);

    fn next(&mut self) -> Option<Self::Item> {
        if self.fields.is_empty() {
            return None;
        }
        let filter = self.fields.text().ok()?;
        let byte = if self.with_options { self.fields.u8().ok()? } else { 0 };
        let options = Options {
            qos: Qos::from_level(byte & 0x03)?,
            no_local: byte & 0x04 != 0,
            retain_as_published: byte & 0x08 != 0,
            retain_handling: match byte & 0x30 {
                0x00 => RetainHandling::Send,
                0x10 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        };
        Some((filter, options))
    }
}
