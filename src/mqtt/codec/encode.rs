//! The packets a server sends. Each encoder appends to a buffer that exists already, so that a delivery allocates nothing.

use super::decode::AckKind;
use super::{ReasonCode, Version, kind, topic};
use crate::message::Properties;

/// Largest remaining length (section 2.2.3).
const REMAINING_MAX: usize = 268_435_455;

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A length-prefixed field.
fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("fields came in by MQTT or are our own words, and topics are checked");
    put_u16(out, length);
    out.extend_from_slice(bytes);
}

fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// What a CONNACK says beyond its code. The properties are left out for 3.1.1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connack<'a> {
    pub(crate) session_present: bool,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_max: u16,
    pub(crate) max_packet: u32,
    /// Set if the client left its client id to us.
    pub(crate) assigned_id: Option<&'a str>,
    pub(crate) topic_alias_max: u16,
    /// Set if the client is to be heard more often than it wanted \[MQTT-3.1.2-21\].
    pub(crate) keep_alive: Option<u16>,
}

/// CONNACK. An error has no session and no properties but the reason in words, which are left out if the client could not take
/// them \[MQTT-3.2.2-19\]; so is the offer of topic aliases, which a client can do without. False, and nothing is appended, if even
/// the rest is larger than what the client takes \[MQTT-3.1.2-24\].
pub(crate) fn connack(
    out: &mut Vec<u8>,
    version: Version,
    outcome: Result<&Connack<'_>, (ReasonCode, &str)>,
    max_packet: u32,
) -> bool {
    let start = out.len();
    put_connack(out, version, outcome);
    let fits = |out: &Vec<u8>| out.len() - start <= max_packet as usize;
    if !fits(out) {
        out.truncate(start);
        match outcome {
            Ok(accepted) => put_connack(out, version, Ok(&Connack { topic_alias_max: 0, ..accepted.clone() })),
            Err((reason, _)) => put_connack(out, version, Err((reason, ""))),
        }
    }
    if !fits(out) {
        out.truncate(start);
        return false;
    }
    true
}

fn put_connack(out: &mut Vec<u8>, version: Version, outcome: Result<&Connack<'_>, (ReasonCode, &str)>) {
    let reason = outcome.as_ref().map_or_else(|(reason, _)| *reason, |_| ReasonCode::SUCCESS);
    // 3.1 has no session present flag; the byte is reserved.
    let session_present = version != Version::V31 && outcome.as_ref().is_ok_and(|accepted| accepted.session_present);
    out.push(kind::CONNACK << 4);
    if !version.is_5() {
        out.extend_from_slice(&[2, session_present.into(), reason.connect_return_code()]);
        return;
    }
    let mut properties = Vec::with_capacity(64);
    match outcome {
        Ok(accepted) => put_connack_properties(&mut properties, accepted),
        Err((_, what)) => put_reason_string(&mut properties, what),
    }
    put_variable(out, 2 + variable_len(properties.len()) + properties.len());
    out.extend_from_slice(&[session_present.into(), reason.0]);
    put_variable(out, properties.len());
    out.extend_from_slice(&properties);
}

/// 5.0 section 3.2.2.3. Retained messages, wildcards, subscription identifiers, shared subscriptions and QoS 2 work, which is what their absence means.
fn put_connack_properties(out: &mut Vec<u8>, accepted: &Connack<'_>) {
    if let Some(seconds) = accepted.session_expiry {
        out.push(17);
        put_u32(out, seconds);
    }
    out.push(33);
    put_u16(out, accepted.receive_max);
    out.push(39);
    put_u32(out, accepted.max_packet);
    if let Some(id) = accepted.assigned_id {
        out.push(18);
        put_binary(out, id.as_bytes());
    }
    // None is what its absence means.
    if accepted.topic_alias_max > 0 {
        out.push(34);
        put_u16(out, accepted.topic_alias_max);
    }
    if let Some(seconds) = accepted.keep_alive {
        out.push(19);
        put_u16(out, seconds);
    }
}

fn put_reason_string(out: &mut Vec<u8>, what: &str) {
    if !what.is_empty() {
        out.push(31);
        put_binary(out, what.as_bytes());
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP. Success is said in the short form, which both versions share.
pub(crate) fn ack(out: &mut Vec<u8>, version: Version, ack: AckKind, id: u16, reason: ReasonCode) {
    let first = match ack {
        AckKind::Puback => kind::PUBACK << 4,
        AckKind::Pubrec => kind::PUBREC << 4,
        AckKind::Pubrel => kind::PUBREL << 4 | 0x02,
        AckKind::Pubcomp => kind::PUBCOMP << 4,
    };
    let [high, low] = id.to_be_bytes();
    if reason == ReasonCode::SUCCESS || !version.is_5() {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        // 5.0 section 3.4.2.2.1: the property length may be left out below four bytes.
        out.extend_from_slice(&[first, 3, high, low, reason.0]);
    }
}

/// SUBACK, one code a filter, in the order of the filters \[MQTT-3.8.4-5\], \[MQTT-3.8.4-6\].
pub(crate) fn suback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[ReasonCode]) {
    out.push(kind::SUBACK << 4);
    put_variable(out, 2 + usize::from(version.is_5()) + codes.len());
    put_u16(out, id);
    if version.is_5() {
        out.push(0);
        out.extend(codes.iter().map(|code| code.0));
    } else {
        out.extend(codes.iter().map(|code| code.suback_code()));
    }
}

/// UNSUBACK; the codes are left out for 3.1.1.
pub(crate) fn unsuback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[ReasonCode]) {
    out.push(kind::UNSUBACK << 4);
    if version.is_5() {
        put_variable(out, 3 + codes.len());
        put_u16(out, id);
        out.push(0);
        out.extend(codes.iter().map(|code| code.0));
    } else {
        out.push(2);
        put_u16(out, id);
    }
}

pub(crate) fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind::PINGRESP << 4, 0]);
}

/// DISCONNECT of a server, which only 5.0 has. The reason in words is left out if the peer could not take it \[MQTT-3.14.2-3\].
pub(crate) fn disconnect(out: &mut Vec<u8>, reason: ReasonCode, what: &str, max_packet: u32) {
    let mut properties = Vec::new();
    put_reason_string(&mut properties, what);
    // Fixed header, reason and property length take at most 5 bytes: our sentences are short.
    if properties.len() + 5 > max_packet as usize {
        properties.clear();
    }
    match max_packet {
        // Not even the reason: then the connection ends without words [MQTT-3.1.2-24].
        0..=2 => return,
        // Section 3.14.2.2.1: without properties their length may be left out.
        3 => return out.extend_from_slice(&[kind::DISCONNECT << 4, 1, reason.0]),
        _ => {}
    }
    out.push(kind::DISCONNECT << 4);
    put_variable(out, 1 + variable_len(properties.len()) + properties.len());
    out.push(reason.0);
    put_variable(out, properties.len());
    out.extend_from_slice(&properties);
}

/// The number that stands for a topic on one connection (5.0 section 3.3.2.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) number: u16,
    /// It goes with the topic for the first time; from then on it goes alone.
    pub(crate) is_new: bool,
}

/// A PUBLISH on its way to a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutgoingPublish<'a> {
    pub(crate) topic: &'a str,
    pub(crate) alias: Option<Alias>,
    pub(crate) qos: u8,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) payload_len: usize,
    /// These three are left out for 3.1.1.
    pub(crate) properties: Option<&'a Properties>,
    /// If the publisher named none.
    pub(crate) content_type: Option<&'a str>,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) identifiers: &'a [u32],
}

/// Why a message cannot be told to this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    #[error("the topic cannot be said in MQTT")]
    Topic,
    #[error("the message is larger than the client's maximum packet size")]
    TooLarge,
}

/// Everything of a PUBLISH up to its payload, which the caller puts behind it. Nothing is appended on an error.
pub(crate) fn publish(
    out: &mut Vec<u8>,
    version: Version,
    publish: &OutgoingPublish<'_>,
    max_packet: u32,
) -> Result<(), Unsendable> {
    if !topic::is_sendable(publish.topic) {
        return Err(Unsendable::Topic);
    }
    let topic = if publish.alias.is_some_and(|alias| !alias.is_new) { "" } else { publish.topic };
    let properties_len = if version.is_5() { properties_len(publish) } else { 0 };
    let prefix = if version.is_5() { variable_len(properties_len) } else { 0 };
    let id_len = if publish.qos > 0 { 2 } else { 0 };
    let remaining = 2 + topic.len() + id_len + prefix + properties_len + publish.payload_len;
    if remaining > REMAINING_MAX || 1 + variable_len(remaining) + remaining > max_packet as usize {
        return Err(Unsendable::TooLarge);
    }
    out.push(kind::PUBLISH << 4 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain));
    put_variable(out, remaining);
    put_binary(out, topic.as_bytes());
    if publish.qos > 0 {
        put_u16(out, publish.id);
    }
    if version.is_5() {
        put_variable(out, properties_len);
        put_publish_properties(out, publish);
    }
    Ok(())
}

fn properties_len(publish: &OutgoingPublish<'_>) -> usize {
    let field = |text: &[u8]| 3 + text.len();
    let mut length = publish.expiry_s.map_or(0, |_| 5) + publish.alias.map_or(0, |_| 3);
    length += publish.identifiers.iter().map(|id| 1 + variable_len(*id as usize)).sum::<usize>();
    let mut content_type = publish.content_type;
    if let Some(kept) = publish.properties {
        length += if kept.payload_is_text { 2 } else { 0 };
        length += kept.response_topic.as_ref().map_or(0, |topic| field(topic.as_bytes()));
        length += kept.correlation_data.as_ref().map_or(0, |data| field(data));
        length += kept.user.iter().map(|(name, value)| 5 + name.len() + value.len()).sum::<usize>();
        content_type = kept.content_type.as_deref().or(content_type);
    }
    length + content_type.map_or(0, |text| field(text.as_bytes()))
}

fn put_publish_properties(out: &mut Vec<u8>, publish: &OutgoingPublish<'_>) {
    let kept = publish.properties;
    if kept.is_some_and(|kept| kept.payload_is_text) {
        out.extend_from_slice(&[1, 1]);
    }
    if let Some(seconds) = publish.expiry_s {
        out.push(2);
        put_u32(out, seconds);
    }
    if let Some(alias) = publish.alias {
        out.push(35);
        put_u16(out, alias.number);
    }
    if let Some(topic) = kept.and_then(|kept| kept.response_topic.as_ref()) {
        out.push(8);
        put_binary(out, topic.as_bytes());
    }
    if let Some(data) = kept.and_then(|kept| kept.correlation_data.as_ref()) {
        out.push(9);
        put_binary(out, data);
    }
    for (name, value) in kept.map_or(&[][..], |kept| &kept.user) {
        out.push(38);
        put_binary(out, name.as_bytes());
        put_binary(out, value.as_bytes());
    }
    for id in publish.identifiers {
        out.push(11);
        put_variable(out, *id as usize);
    }
    if let Some(text) = kept.and_then(|kept| kept.content_type.as_deref()).or(publish.content_type) {
        out.push(3);
        put_binary(out, text.as_bytes());
    }
}
