//! What travels: one message, whatever door it came through.

mod form;
mod record;

use crate::clock::Wall;
use crate::mapping;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

pub use form::{Form, Forms, Values};
pub use record::{RecordError, concerns_state, decode, decode_routed, encode, kind, peek};

/// Position in the durable log; the first message is 1. Also the order in which the router saw messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a message may arrive; the numbers are those of MQTT, and Rembus has the same three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos.level()
    }
}

impl TryFrom<u8> for Qos {
    type Error = &'static str;

    fn try_from(level: u8) -> Result<Self, Self::Error> {
        Self::from_level(level).ok_or("a QoS is 0, 1 or 2")
    }
}

impl Qos {
    #[must_use]
    pub fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    #[must_use]
    pub fn level(self) -> u8 {
        self as u8
    }
}

/// The dialect a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Dialect {
    Mqtt = 1,
    Rembus = 2,
    /// The gateway itself.
    Internal = 3,
    /// busrt and elbus programs on this machine.
    Bus = 4,
}

impl Dialect {
    /// The tenant of a peer with this name.
    #[must_use]
    pub fn tenant_of(self, name: &str) -> &str {
        match self {
            Self::Rembus => tenant(name),
            _ => COMMON,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Rembus => "rembus",
            Self::Internal => "gateway",
            Self::Bus => "bus",
        }
    }
}

/// How far a publication goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// To everybody, and into the log.
    #[default]
    Everywhere,
    /// To everybody who listens now, and never into the log: what is too much for a card, or worth nothing tomorrow.
    Live,
    /// To peers of the same dialect who listen now.
    Dialect,
}

/// Content in the form in which it arrived. The other form is made when somebody needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// An MQTT application message.
    Mqtt(Bytes),
    /// The CBOR encoding of a Rembus `data` value, usually an array of positional arguments.
    Rembus(Bytes),
}

impl Payload {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Mqtt(bytes) | Self::Rembus(bytes) => bytes.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// MQTT 5 properties that travel with a message to MQTT 5 subscribers (\[MQTT-3.3.2-4\] and following).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    pub payload_is_text: bool,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Bytes>,
    pub user: Vec<(String, String)>,
    /// Seconds from reception, as the publisher asked; `None` keeps for ever.
    pub expiry_s: Option<u32>,
}

/// What an allocation and the counters of an `Arc` or `Bytes` take beside what is in it.
pub(crate) const ALLOCATION: usize = 64;

impl Properties {
    fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.capacity() + ALLOCATION / 4);
        let correlation = self.correlation_data.as_ref().map_or(0, |data| data.len() + ALLOCATION);
        let pairs: usize = self.user.iter().map(|(key, value)| key.capacity() + value.capacity() + ALLOCATION / 2).sum();
        let list = self.user.capacity() * size_of::<(String, String)>();
        size_of::<Self>() + text(&self.content_type) + text(&self.response_topic) + correlation + pairs + list
    }
}

/// The tenant of everybody whose name says no other: MQTT clients, the gateway itself, components without a name or a dot in it.
pub const COMMON: &str = ".";

/// The tenant of a component: what follows the first dot of its name, or [`COMMON`] (`protocol/rembus.md` section 5.2).
#[must_use]
pub fn tenant(cid: &str) -> &str {
    cid.split_once('.').map_or(COMMON, |(_, tenant)| tenant)
}

/// One publication. Shared between queues by `Arc`; never changed after the router has seen it.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub payload: Payload,
    /// As published. A delivery may be lower.
    pub qos: Qos,
    /// Rembus time slot.
    pub slot: Option<u32>,
    /// MQTT retain flag as published.
    pub retain: bool,
    /// When the gateway received it.
    pub received: Wall,
    pub dialect: Dialect,
    /// Client id or component name of the publisher.
    pub publisher: Arc<str>,
    pub properties: Option<Box<Properties>>,
    /// Set by the router, by the rules of the configuration.
    pub form: Option<Arc<Form>>,
    /// Not in the log: what is there has gone everywhere.
    pub reach: Reach,
    /// busrt: its publisher asked for no delay. Not in the log.
    pub realtime: bool,
    converted: OnceLock<Converted>,
}

#[derive(Debug, Clone)]
enum Converted {
    Rembus(Bytes),
    Mqtt(mapping::MqttBody),
}

impl Message {
    #[must_use]
    pub fn new(topic: String, payload: Payload, qos: Qos, received: Wall, dialect: Dialect, publisher: Arc<str>) -> Self {
        Self {
            topic,
            payload,
            qos,
            slot: None,
            retain: false,
            received,
            dialect,
            publisher,
            properties: None,
            form: None,
            reach: Reach::Everywhere,
            realtime: false,
            converted: OnceLock::new(),
        }
    }

    /// The Rembus `data` value in CBOR; converted once, however many subscribers ask.
    pub fn rembus_data(&self) -> &Bytes {
        match &self.payload {
            Payload::Rembus(data) => data,
            Payload::Mqtt(body) => match self.converted.get_or_init(|| Converted::Rembus(self.to_rembus(body))) {
                Converted::Rembus(data) => data,
                Converted::Mqtt(_) => unreachable!("an MQTT payload is only ever converted to Rembus"),
            },
        }
    }

    /// The MQTT application message; converted once, however many subscribers ask. The second value is the content type that
    /// the conversion knows, if there was one.
    pub fn mqtt_body(&self) -> (&Bytes, Option<&'static str>) {
        match &self.payload {
            Payload::Mqtt(body) => (body, None),
            Payload::Rembus(data) => match self.converted.get_or_init(|| Converted::Mqtt(self.to_mqtt(data))) {
                Converted::Mqtt(body) => (&body.bytes, body.content_type),
                Converted::Rembus(_) => unreachable!("a Rembus payload is only ever converted to MQTT"),
            },
        }
    }

    /// The tenant it was published in. Nobody of another tenant sees it. Only Rembus names have tenants.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.dialect.tenant_of(&self.publisher)
    }

    fn to_rembus(&self, body: &[u8]) -> Bytes {
        match self.form.as_ref().and_then(|form| form.unpack(body)) {
            Some(unpacked) => mapping::mqtt_to_rembus(&unpacked),
            None => mapping::mqtt_to_rembus(body),
        }
    }

    /// What history reads: as [`rembus_data`](Self::rembus_data), but large integers of JSON keep all their digits.
    #[must_use]
    pub fn exact_data(&self) -> Bytes {
        match &self.payload {
            Payload::Rembus(data) => data.clone(),
            Payload::Mqtt(body) => match self.form.as_ref().and_then(|form| form.unpack(body)) {
                Some(unpacked) => mapping::mqtt_to_exact(&unpacked),
                None => mapping::mqtt_to_exact(body),
            },
        }
    }

    fn to_mqtt(&self, data: &[u8]) -> mapping::MqttBody {
        let body = mapping::rembus_to_mqtt(data);
        let wrapped = self.form.as_ref().and_then(|form| form.wrap(&body.bytes, body.is_json()));
        wrapped.map_or(body, mapping::MqttBody::json)
    }

    /// MQTT subscribers do not get it: it is not an object, and on this topic it must be one.
    #[must_use]
    pub fn is_withheld_from_mqtt(&self) -> bool {
        let strict = self.form.as_ref().is_some_and(|form| form.values == Values::Drop);
        strict && matches!(self.payload, Payload::Rembus(_)) && {
            let (body, content_type) = self.mqtt_body();
            !form::is_object(body, content_type == Some(mapping::JSON))
        }
    }

    /// Bytes that a queue accounts for when it holds this message: all that it keeps alive, properties included.
    #[must_use]
    pub fn weight(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| properties.weight());
        self.topic.capacity() + self.payload.len() + properties + size_of::<Self>() + ALLOCATION
    }

    #[cfg(test)]
    pub(crate) fn is_converted(&self) -> bool {
        self.converted.get().is_some()
    }

    /// The same message without what was converted for those who got it: what is kept for long keeps one form.
    #[must_use]
    pub fn in_one_form(&self) -> Self {
        Self { converted: OnceLock::new(), ..self.clone() }
    }
}
