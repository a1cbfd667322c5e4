//! Topics whose messages have another form in the other world than by the general rules (`src/mapping`): topics of commlib
//! nodes, where only JSON objects may be said, and compressed payloads.
//!
//! Both are by rule and never by guess: two bytes that look like zlib would spoil a binary sensor.

use crate::commlib::names;
use bytes::Bytes;
use std::io::Read;
use std::sync::Arc;

/// What becomes of a Rembus value that is not an object, for MQTT subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Values {
    /// `{"value": …}`.
    Wrap,
    /// They do not get it.
    Drop,
    /// As everywhere.
    #[default]
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    pub values: Values,
    /// MQTT payloads are zlib streams; one that inflates to more bytes than this, or is none, stays as it is.
    pub inflate_max: Option<usize>,
}

/// The rules, by MQTT filters; the first of each kind that matches counts.
#[derive(Debug, Clone, Default)]
pub struct Forms {
    pub objects: Vec<(String, Values)>,
    pub zlib: Vec<(String, usize)>,
}

impl Forms {
    /// `None`: by the general rules.
    #[must_use]
    pub fn of(&self, topic: &str) -> Option<Arc<Form>> {
        if self.objects.is_empty() && self.zlib.is_empty() {
            return None;
        }
        let values = self.objects.iter().find(|(filter, _)| names::matches(filter, topic)).map(|(_, values)| *values);
        let inflate_max = self.zlib.iter().find(|(filter, _)| names::matches(filter, topic)).map(|(_, max)| *max);
        let form = Form { values: values.unwrap_or_default(), inflate_max };
        (form != Form::default()).then(|| Arc::new(form))
    }
}

impl Form {
    /// As the log has it.
    pub(super) fn encode(self) -> [u8; 5] {
        let values = match self.values {
            Values::Pass => 0,
            Values::Wrap => 1,
            Values::Drop => 2,
        };
        let max = u32::try_from(self.inflate_max.unwrap_or_default()).unwrap_or(u32::MAX).to_le_bytes();
        [values, max[0], max[1], max[2], max[3]]
    }

    /// `None` for one of a newer gateway.
    pub(super) fn decode(values: u8, max: u32) -> Option<Self> {
        let values = match values {
            0 => Values::Pass,
            1 => Values::Wrap,
            2 => Values::Drop,
            _ => return None,
        };
        Some(Self { values, inflate_max: (max > 0).then_some(max as usize) })
    }

    /// An MQTT payload as Rembus subscribers and history are to see it.
    #[must_use]
    pub fn unpack(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let max = self.inflate_max?;
        let mut out = Vec::new();
        // One byte more tells a payload that just fits from one that does not.
        let mut stream = flate2::read::ZlibDecoder::new(payload).take(max as u64 + 1);
        stream.read_to_end(&mut out).ok()?;
        (out.len() <= max).then_some(out)
    }

    /// What MQTT subscribers get instead of `body`, the JSON of a value unless `is_json` is false.
    #[must_use]
    pub fn wrap(&self, body: &Bytes, is_json: bool) -> Option<Bytes> {
        if self.values != Values::Wrap || is_object(body, is_json) {
            return None;
        }
        // What is JSON already goes in as it is: a tree of it would be many times as large.
        let base64;
        let value = match is_json {
            true => &body[..],
            false if body.is_empty() => b"null",
            false => {
                base64 = format!("\"{}\"", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, body));
                base64.as_bytes()
            }
        };
        Some([br#"{"value":"#, value, b"}"].concat().into())
    }
}

/// Whether a body is the JSON of an object.
#[must_use]
pub(super) fn is_object(body: &[u8], is_json: bool) -> bool {
    is_json && body.first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Message, Payload, Qos};
    use super::*;
    use crate::clock::Wall;
    use crate::mapping;
    use serde_json::json;

    fn forms() -> Forms {
        Forms {
            objects: vec![("sensors/#".into(), Values::Wrap), ("strict/#".into(), Values::Drop)],
            zlib: vec![("events/#".into(), 1000)],
        }
    }

    fn message(topic: &str, payload: Payload) -> Message {
        let mut message = Message::new(topic.into(), payload, Qos::AtMostOnce, Wall(0), Dialect::Rembus, "x".into());
        message.form = forms().of(topic);
        message
    }

    fn to_mqtt(topic: &str, arguments: serde_json::Value) -> String {
        let message = message(topic, Payload::Rembus(mapping::json_to_cbor(&arguments)));
        String::from_utf8(message.mqtt_body().0.to_vec()).unwrap()
    }

    #[test]
    fn only_objects_are_said_to_commlib_nodes() {
        assert_eq!(to_mqtt("sensors/a", json!([21.5])), r#"{"value":21.5}"#);
        assert_eq!(to_mqtt("sensors/a", json!([1, 2])), r#"{"value":[1,2]}"#);
        assert_eq!(to_mqtt("sensors", json!([])), r#"{"value":null}"#);
        assert_eq!(to_mqtt("sensors/a", json!([{"distance": 2.0}])), r#"{"distance":2.0}"#);
        assert_eq!(to_mqtt("elsewhere", json!([21.5])), "21.5");
        let bytes = message("sensors/a", Payload::Rembus(Bytes::from_static(&[0x81, 0x43, 0x41, 0x42, 0x43])));
        assert_eq!(bytes.mqtt_body(), (&Bytes::from_static(br#"{"value":"QUJD"}"#), Some("application/json")));
    }

    #[test]
    fn what_is_not_an_object_is_known_where_it_is_dropped() {
        for (arguments, is_object) in [(json!([{}]), true), (json!([1]), false), (json!([]), false), (json!([{}, {}]), false)] {
            let message = message("strict/a", Payload::Rembus(mapping::json_to_cbor(&arguments)));
            assert_eq!(message.is_withheld_from_mqtt(), !is_object, "{arguments}");
        }
        assert!(!message("strict/a", Payload::Mqtt("1".into())).is_withheld_from_mqtt());
    }

    #[test]
    fn the_form_is_in_the_log_with_its_message() {
        for topic in ["sensors/a", "strict/a", "events/a", "elsewhere"] {
            let message = message(topic, Payload::Mqtt("1".into()));
            let mut record = Vec::new();
            super::super::encode(&message, b"", &mut record);
            let back = super::super::decode(&record.into()).unwrap();
            assert_eq!((back.form, back.properties), (message.form, None), "{topic}");
        }
    }

    #[test]
    fn payloads_are_inflated_by_rule_and_up_to_a_limit() {
        let zlib = |body: &[u8]| {
            let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut out, body).unwrap();
            Payload::Mqtt(out.finish().unwrap().into())
        };
        let seen = |topic: &str, payload: Payload| mapping::cbor_to_json(message(topic, payload).rembus_data());
        assert_eq!(seen("events/a", zlib(br#"{"a":1}"#)), r#"[{"a":1}]"#);
        assert!(seen("other/a", zlib(br#"{"a":1}"#)).starts_with("[\""));
        assert_eq!(seen("events/a", Payload::Mqtt("{\"a\":1}".into())), r#"[{"a":1}]"#);
        // A bomb stays packed, and so does a stream that is cut off.
        assert!(seen("events/a", zlib(&[b' '; 1001])).len() < 100);
        assert_eq!(seen("events/a", zlib(&[b' '; 1000])).len(), 1004);
        let Payload::Mqtt(whole) = zlib(&[b'x'; 500]) else { unreachable!("it was made so") };
        assert!(seen("events/a", Payload::Mqtt(whole.slice(..whole.len() - 4))).len() < 100);
        // MQTT subscribers get what was published.
        let packed = zlib(b"1");
        assert_eq!(
            *message("events/a", packed.clone()).mqtt_body().0,
            match packed {
                Payload::Mqtt(bytes) | Payload::Rembus(bytes) => bytes,
            }
        );
    }
}
