//! Between an MQTT payload and a Rembus `data` value (`protocol/rembus.md` section 15).
//!
//! | MQTT payload | Rembus data | | Rembus data | MQTT payload | content type |
//! |---|---|---|---|---|---|
//! | empty | `[]` | | `[]`, null | empty | none |
//! | JSON array | its elements | | `[v]`, `v` | JSON of v | `application/json` |
//! | other JSON | `[value]` | | `[a, b, …]` | JSON array | `application/json` |
//! | other UTF-8 | `[text]` | | `[bytes]`, bytes | the bytes | `application/octet-stream` |
//! | other bytes | `[bytes]` | | `[frame]`, frame | JSON array of row objects | `application/json` |
//!
//! Both ways go in one pass from bytes to bytes, without a tree of values in between.
//!
//! JSON to CBOR: integers up to 64 bits are exact; larger ones become floats, as in the reference, but history gets all their
//! digits ([`mqtt_to_exact`]). Of equal keys the last wins. `NaN` is not JSON and travels as text, and so does JSON nested deeper than 127 levels.
//!
//! CBOR to JSON: NaN and infinities become null, integers beyond 64 bits decimal strings, bytes within other values base64,
//! keys that are not text become text, tags are dropped except for numbers (2, 3) and frames (80). A frame (an Arrow IPC
//! stream) is unpacked when it is an argument itself; one that cannot be read goes as its bytes.
//!
//! MessagePack (busrt) is between the two: everything has a form there but integers beyond 64 bits (decimal strings) and frames
//! (arrays of row maps). From it, a time (extension -1) becomes seconds since 1970, any other extension its bytes.

mod frame;
mod from_json;
pub(crate) mod number;
mod pack;
mod parts;
mod rows;
mod to_json;

#[cfg(test)]
mod tests;

use crate::rembus::cbor::Writer;
use bytes::Bytes;
use from_json::Large;

pub use frame::{FrameError, read_frame};
pub use pack::{arguments_to_pack, cbor_to_pack, pack_to_arguments, pack_to_cbor, parameters_to_pack};
pub use parts::{Part, Parts, tree_of};

/// What a Rembus value becomes on MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttBody {
    pub bytes: Bytes,
    /// `application/json`, `application/octet-stream`, or none for an empty message.
    pub content_type: Option<&'static str>,
}

/// The content type of JSON.
pub const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

impl MqttBody {
    pub(crate) fn json(bytes: Bytes) -> Self {
        Self { bytes, content_type: Some(JSON) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.content_type == Some(JSON)
    }
}

/// An MQTT payload as CBOR `data`.
#[must_use]
pub fn mqtt_to_rembus(payload: &[u8]) -> Bytes {
    to_rembus(payload, Large::Floats)
}

/// The same with every digit of integers beyond 64 bits, for history: a table may have a column for them.
#[must_use]
pub fn mqtt_to_exact(payload: &[u8]) -> Bytes {
    to_rembus(payload, Large::Exact)
}

fn to_rembus(payload: &[u8], large: Large) -> Bytes {
    let mut writer = Writer::with_capacity(payload.len() + payload.len() / 4 + 8);
    if payload.is_empty() {
        writer.array(0);
    } else if !from_json::arguments(payload, large, &mut writer) {
        writer.truncate(0);
        match std::str::from_utf8(payload) {
            Ok(text) => writer.array(1).text(text),
            Err(_) => writer.array(1).bytes(payload),
        };
    }
    writer.finish().into()
}

/// CBOR `data` as an MQTT payload. Total: what cannot be read goes as it is.
#[must_use]
pub fn rembus_to_mqtt(data: &[u8]) -> MqttBody {
    match to_json::body(data) {
        Ok(to_json::Body::Empty) => MqttBody { bytes: Bytes::new(), content_type: None },
        Ok(to_json::Body::Json(text)) => MqttBody { bytes: text.into(), content_type: Some(JSON) },
        Ok(to_json::Body::Octets(bytes)) => MqttBody { bytes: Bytes::copy_from_slice(&bytes), content_type: Some(OCTETS) },
        Err(_) => MqttBody { bytes: Bytes::copy_from_slice(data), content_type: Some(OCTETS) },
    }
}

/// The rows of a batch as a JSON array of objects.
pub fn batch_to_json(batch: &arrow_array::RecordBatch) -> Result<Vec<u8>, FrameError> {
    rows::of_batch(batch)
}

/// A JSON value as CBOR.
#[must_use]
pub fn json_to_cbor(value: &serde_json::Value) -> Bytes {
    let mut writer = Writer::default();
    from_json::tree(value, &mut writer);
    writer.finish().into()
}

/// A JSON text as CBOR, in one pass; `None` if it is nested too deeply, or has too many names in one object.
#[must_use]
pub fn json_text_to_cbor(part: Part<'_>) -> Option<Bytes> {
    let mut writer = Writer::with_capacity(part.text().len() + 8);
    from_json::value(part.text().as_bytes(), Large::Floats, &mut writer).then(|| writer.finish().into())
}

/// A JSON text as CBOR arguments: an array has them, any other value is the only one. `None` as above.
#[must_use]
pub fn json_text_to_arguments(text: &[u8]) -> Option<Bytes> {
    let mut writer = Writer::with_capacity(text.len() + 8);
    from_json::arguments(text, Large::Floats, &mut writer).then(|| writer.finish().into())
}

/// CBOR data as JSON text, with frames as rows where they are arguments. Total: what cannot be read becomes null.
#[must_use]
pub fn cbor_to_json(data: &[u8]) -> String {
    to_json::text(data).unwrap_or_else(|| "null".into())
}
