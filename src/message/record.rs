//! A message as the body of a log record, and back.
//!
//! ```text
//! u8 version = 1 │ u8 dialect │ u8 flags │ u64 received (ns since 1970) │ [u32 slot] │
//! u16 len + publisher │ u32 len + topic │ u32 len + payload │ [u32 len + route] │ [properties]
//! flags: bits 0-1 QoS, bit 2 retain, bit 3 slot present, bit 4 payload is Rembus CBOR, bit 5 properties present,
//!        bit 6 route present (the router's own: which sessions get the message)
//! properties: (u8 tag │ u32 len │ len bytes) up to the end, tags unknown to a reader are skipped
//!     1 payload is text (empty)   2 content type   3 response topic   4 correlation data
//!     5 user property: u32 len + name, then the value   6 expiry: u32 seconds
//!     7 form: u8 values (0 pass, 1 wrap, 2 drop), u32 bytes that the payload may inflate to (0: it is not packed)
//! ```
//! Integers are little endian, text is UTF-8. The MQTT 5 properties are a list of their own rather than CBOR because a log
//! record is written and read for every message, and five optional fields need no map of names.

use super::{Dialect, Form, Message, Payload, Properties, Qos};
use crate::clock::Wall;
use bytes::{Buf, Bytes};
use std::sync::Arc;

/// Kinds of log records. A reader skips kinds it does not know. Kind 0 belongs to the log itself.
pub mod kind {
    /// A [`Message`](super::Message).
    pub const MESSAGE: u8 = 1;
    /// A change to a table asked for by RPC (`delete_T`, `upsert_T`); the body is history's own.
    pub const TABLE_COMMAND: u8 = 2;
    /// Changes of the router's sessions (`src/router/state`).
    pub const STATE: u8 = 3;
    /// A message that was logged before, routed to further sessions; the body is that of a message.
    pub const COPY: u8 = 4;
    /// A [`Message`](super::Message) between two peers, such as the answer to a call: for sessions, not for history.
    pub const CONVERSATION: u8 = 5;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record ends inside its {field}")]
    Short { field: &'static str },
    #[error("record version {0} was written by a newer gateway")]
    Version(u8),
    #[error("the record's {field} is not valid")]
    Invalid { field: &'static str },
}

const VERSION: u8 = 1;

const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const SLOT: u8 = 1 << 3;
const REMBUS_PAYLOAD: u8 = 1 << 4;
const PROPERTIES: u8 = 1 << 5;
const ROUTE: u8 = 1 << 6;

mod tag {
    pub(super) const PAYLOAD_IS_TEXT: u8 = 1;
    pub(super) const CONTENT_TYPE: u8 = 2;
    pub(super) const RESPONSE_TOPIC: u8 = 3;
    pub(super) const CORRELATION_DATA: u8 = 4;
    pub(super) const USER: u8 = 5;
    pub(super) const EXPIRY: u8 = 6;
    pub(super) const FORM: u8 = 7;
}

/// Appends the record body of `message` to `out`, with the router's note of where it goes; that is empty mostly.
pub fn encode(message: &Message, route: &[u8], out: &mut Vec<u8>) {
    let (payload, payload_flag) = match &message.payload {
        Payload::Mqtt(bytes) => (bytes, 0),
        Payload::Rembus(bytes) => (bytes, REMBUS_PAYLOAD),
    };
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    let flags = message.qos.level()
        | flag(message.retain, RETAIN)
        | flag(message.slot.is_some(), SLOT)
        | payload_flag
        | flag(!route.is_empty(), ROUTE)
        | flag(message.properties.is_some() || message.form.is_some(), PROPERTIES);
    // Client ids are at most 65535 bytes on MQTT; a longer Rembus name is cut, at a character, rather than refused.
    let publisher = &message.publisher.as_bytes()[..message.publisher.floor_char_boundary(usize::from(u16::MAX))];

    out.reserve(24 + publisher.len() + message.topic.len() + payload.len());
    out.extend_from_slice(&[VERSION, message.dialect as u8, flags]);
    out.extend_from_slice(&message.received.0.to_le_bytes());
    if let Some(slot) = message.slot {
        out.extend_from_slice(&slot.to_le_bytes());
    }
    out.extend_from_slice(&u16::try_from(publisher.len()).expect("it was cut to this length").to_le_bytes());
    out.extend_from_slice(publisher);
    put(out, message.topic.as_bytes());
    put(out, payload);
    if !route.is_empty() {
        put(out, route);
    }
    if let Some(properties) = &message.properties {
        encode_properties(properties, out);
    }
    if let Some(form) = &message.form {
        out.push(tag::FORM);
        put(out, &form.encode());
    }
}

fn encode_properties(properties: &Properties, out: &mut Vec<u8>) {
    let mut field = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        put(out, bytes);
    };
    if properties.payload_is_text {
        field(tag::PAYLOAD_IS_TEXT, &[]);
    }
    if let Some(content_type) = &properties.content_type {
        field(tag::CONTENT_TYPE, content_type.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        field(tag::RESPONSE_TOPIC, topic.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        field(tag::CORRELATION_DATA, data);
    }
    if let Some(seconds) = properties.expiry_s {
        field(tag::EXPIRY, &seconds.to_le_bytes());
    }
    for (name, value) in &properties.user {
        let mut pair = Vec::with_capacity(4 + name.len() + value.len());
        put(&mut pair, name.as_bytes());
        pair.extend_from_slice(value.as_bytes());
        field(tag::USER, &pair);
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("doors bound what they accept far below this").to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Whether a record body says something of retained messages or sessions; cheaper than decoding it.
#[must_use]
pub fn concerns_state(body: &[u8]) -> bool {
    body.get(2).is_some_and(|flags| flags & (RETAIN | ROUTE) != 0)
}

/// Topic and time of a record body, without the rest.
pub fn peek(body: &[u8]) -> Result<(&str, Wall), RecordError> {
    let mut rest = body;
    match rest.try_get_u8() {
        Ok(VERSION) => {}
        Ok(newer) => return Err(RecordError::Version(newer)),
        Err(_) => return Err(RecordError::Short { field: "version" }),
    }
    rest.try_get_u8().map_err(|_| RecordError::Short { field: "dialect" })?;
    let flags = rest.try_get_u8().map_err(|_| RecordError::Short { field: "flags" })?;
    let received = Wall(rest.try_get_u64_le().map_err(|_| RecordError::Short { field: "time" })?);
    if flags & SLOT != 0 {
        rest.try_get_u32_le().map_err(|_| RecordError::Short { field: "slot" })?;
    }
    let publisher = rest.try_get_u16_le().map_err(|_| RecordError::Short { field: "publisher" })?;
    rest = rest.get(usize::from(publisher)..).ok_or(RecordError::Short { field: "publisher" })?;
    let len = rest.try_get_u32_le().map_err(|_| RecordError::Short { field: "topic" })?;
    let topic = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or(RecordError::Short { field: "topic" })?;
    let topic = std::str::from_utf8(topic).map_err(|_| RecordError::Invalid { field: "topic" })?;
    Ok((topic, received))
}

/// Reads a record body. The payload is a slice of `body`, not a copy.
pub fn decode(body: &Bytes) -> Result<Message, RecordError> {
    decode_routed(body).map(|(message, _)| message)
}

/// Reads a record body and the router's note, which is empty mostly.
pub fn decode_routed(body: &Bytes) -> Result<(Message, Bytes), RecordError> {
    let mut rest = body.clone();
    match byte(&mut rest, "version")? {
        VERSION => {}
        newer => return Err(RecordError::Version(newer)),
    }
    let dialect = match byte(&mut rest, "dialect")? {
        1 => Dialect::Mqtt,
        2 => Dialect::Rembus,
        3 => Dialect::Internal,
        4 => Dialect::Bus,
        _ => return Err(RecordError::Invalid { field: "dialect" }),
    };
    let flags = byte(&mut rest, "flags")?;
    let qos = Qos::from_level(flags & QOS_BITS).ok_or(RecordError::Invalid { field: "flags" })?;
    let received = Wall(rest.try_get_u64_le().map_err(|_| RecordError::Short { field: "time" })?);
    let slot = if flags & SLOT == 0 { None } else { Some(number(&mut rest, "slot")?) };
    let publisher_len = rest.try_get_u16_le().map_err(|_| RecordError::Short { field: "publisher" })?;
    let publisher: Arc<str> = text(take(&mut rest, usize::from(publisher_len), "publisher")?, "publisher")?.into();
    let topic = text(get(&mut rest, "topic")?, "topic")?;
    let payload = get(&mut rest, "payload")?;
    let payload = if flags & REMBUS_PAYLOAD == 0 { Payload::Mqtt(payload) } else { Payload::Rembus(payload) };

    let route = if flags & ROUTE == 0 { Bytes::new() } else { get(&mut rest, "route")? };

    let mut message = Message::new(topic, payload, qos, received, dialect, publisher);
    message.slot = slot;
    message.retain = flags & RETAIN != 0;
    if flags & PROPERTIES != 0 {
        let (properties, form) = decode_properties(rest)?;
        message.properties = (form.is_none() || properties != Properties::default()).then(|| Box::new(properties));
        message.form = form.map(Arc::new);
    }
    Ok((message, route))
}

fn decode_properties(mut rest: Bytes) -> Result<(Properties, Option<Form>), RecordError> {
    const FIELD: &str = "properties";
    let mut properties = Properties::default();
    let mut form = None;
    while !rest.is_empty() {
        let tag = byte(&mut rest, FIELD)?;
        let mut value = get(&mut rest, FIELD)?;
        match tag {
            tag::PAYLOAD_IS_TEXT => properties.payload_is_text = true,
            tag::CONTENT_TYPE => properties.content_type = Some(text(value, FIELD)?),
            tag::RESPONSE_TOPIC => properties.response_topic = Some(text(value, FIELD)?),
            tag::CORRELATION_DATA => properties.correlation_data = Some(value),
            tag::EXPIRY => properties.expiry_s = Some(number(&mut value, FIELD)?),
            tag::USER => {
                let name = text(get(&mut value, FIELD)?, FIELD)?;
                properties.user.push((name, text(value, FIELD)?));
            }
            tag::FORM => form = Form::decode(byte(&mut value, FIELD)?, number(&mut value, FIELD)?),
            // Of a newer gateway.
            _ => {}
        }
    }
    Ok((properties, form))
}

fn byte(rest: &mut Bytes, field: &'static str) -> Result<u8, RecordError> {
    rest.try_get_u8().map_err(|_| RecordError::Short { field })
}

fn number(rest: &mut Bytes, field: &'static str) -> Result<u32, RecordError> {
    rest.try_get_u32_le().map_err(|_| RecordError::Short { field })
}

/// A length and that many bytes.
fn get(rest: &mut Bytes, field: &'static str) -> Result<Bytes, RecordError> {
    let len = number(rest, field)?;
    take(rest, usize::try_from(len).map_err(|_| RecordError::Short { field })?, field)
}

fn take(rest: &mut Bytes, len: usize, field: &'static str) -> Result<Bytes, RecordError> {
    if rest.len() < len { Err(RecordError::Short { field }) } else { Ok(rest.split_to(len)) }
}

fn text(bytes: Bytes, field: &'static str) -> Result<String, RecordError> {
    String::from_utf8(bytes.into()).map_err(|_| RecordError::Invalid { field })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Message> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let properties =
            (
                any::<bool>(),
                any::<Option<String>>(),
                any::<Option<String>>(),
                proptest::option::of(bytes()),
                any::<Vec<(String, String)>>(),
                any::<Option<u32>>(),
            )
                .prop_map(|(payload_is_text, content_type, response_topic, correlation_data, user, expiry_s)| {
                    Properties { payload_is_text, content_type, response_topic, correlation_data, user, expiry_s }
                });
        let head = (any::<String>(), bytes(), any::<bool>(), 0u8..3, any::<u64>(), 1u8..4, any::<String>());
        (head, any::<Option<u32>>(), any::<bool>(), proptest::option::of(properties)).prop_map(
            |((topic, payload, is_rembus, qos, received, dialect, publisher), slot, retain, properties)| {
                let payload = if is_rembus { Payload::Rembus(payload) } else { Payload::Mqtt(payload) };
                let dialect = [Dialect::Mqtt, Dialect::Rembus, Dialect::Internal, Dialect::Bus][usize::from(dialect) - 1];
                let qos = Qos::from_level(qos).unwrap();
                let mut message = Message::new(topic, payload, qos, Wall(received), dialect, publisher.into());
                message.slot = slot;
                message.retain = retain;
                message.properties = properties.map(Box::new);
                message
            },
        )
    }

    fn encoded(message: &Message) -> Bytes {
        let mut out = Vec::new();
        encode(message, &[], &mut out);
        out.into()
    }

    fn plain() -> Message {
        let payload = Payload::Mqtt(Bytes::from_static(b"21.5"));
        Message::new("dev1/t".to_owned(), payload, Qos::AtLeastOnce, Wall(258), Dialect::Mqtt, "pi".into())
    }

    #[test]
    fn the_bytes_in_the_log_are_the_documented_ones() {
        assert_eq!(
            encoded(&plain())[..],
            *b"\x01\x01\x01\x02\x01\0\0\0\0\0\0\x02\0pi\x06\0\0\0dev1/t\x04\0\0\x0021.5",
            "changing this needs a new version"
        );
    }

    #[test]
    fn the_payload_is_not_copied() {
        let body = encoded(&plain());
        let message = decode(&body).unwrap();
        let Payload::Mqtt(payload) = &message.payload else { panic!("it was an MQTT payload") };
        assert!(body.as_ptr_range().contains(&payload.as_ptr()));
    }

    #[test]
    fn a_newer_version_is_named_as_such() {
        let mut body = encoded(&plain()).to_vec();
        body[0] = 9;
        assert_eq!(decode(&body.into()).unwrap_err(), RecordError::Version(9));
    }

    #[test]
    fn an_unknown_property_of_a_newer_gateway_is_skipped() {
        let mut message = plain();
        message.properties = Some(Box::new(Properties { expiry_s: Some(7), ..Properties::default() }));
        let mut body = encoded(&message).to_vec();
        body.extend_from_slice(b"\xfe\x02\0\0\0ab");
        assert_eq!(decode(&body.into()).unwrap().properties, message.properties);
    }

    #[test]
    fn a_publisher_name_beyond_all_bounds_is_cut_at_a_character() {
        let mut message = plain();
        message.publisher = "é".repeat(40_000).into();
        let publisher = decode(&encoded(&message)).unwrap().publisher;
        assert_eq!(publisher.len(), 65_534);
        assert!(message.publisher.starts_with(&*publisher));
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_went_in(message in message()) {
            let back = decode(&encoded(&message)).unwrap();
            prop_assert_eq!(&back.topic, &message.topic);
            let body = encoded(&message);
            prop_assert_eq!(peek(&body).unwrap(), (message.topic.as_str(), message.received));
            prop_assert_eq!(&back.payload, &message.payload);
            prop_assert_eq!(back.qos, message.qos);
            prop_assert_eq!(back.slot, message.slot);
            prop_assert_eq!(back.retain, message.retain);
            prop_assert_eq!(back.received, message.received);
            prop_assert_eq!(back.dialect, message.dialect);
            prop_assert_eq!(&back.publisher, &message.publisher);
            prop_assert_eq!(&back.properties, &message.properties);
        }

        #[test]
        fn a_record_cut_anywhere_is_an_error_or_lacks_properties_but_never_panics(message in message(), cut: usize) {
            let body = encoded(&message);
            let cut = cut % body.len();
            if let Ok(short) = decode(&body.slice(..cut)) {
                prop_assert_ne!(short.properties, message.properties);
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            peek(&bytes).ok();
            decode(&bytes.into()).ok();
        }

        #[test]
        fn garbage_behind_a_good_version_never_panics(mut bytes: Vec<u8>, flags: u8) {
            bytes.splice(0..0, [1, 1, flags & 0b11_1110]);
            peek(&bytes).ok();
            decode(&bytes.into()).ok();
        }
    }
}
