//! Between an MQTT payload and a Rembus `data` value (`protocol/rembus.md` section 15).

use bytes::Bytes;

/// What a Rembus value becomes on MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttBody {
    pub bytes: Bytes,
    /// `application/json`, `application/octet-stream`, or none for an empty message.
    pub content_type: Option<&'static str>,
}

/// An MQTT payload as CBOR `data`.
#[must_use]
pub fn mqtt_to_rembus(_payload: &[u8]) -> Bytes {
    todo!()
}

/// CBOR `data` as an MQTT payload.
#[must_use]
pub fn rembus_to_mqtt(_data: &[u8]) -> MqttBody {
    todo!()
}
