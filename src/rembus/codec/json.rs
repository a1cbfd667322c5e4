//! Text messages: a dialect of JSON-RPC 2.0 (section 3), read into the same [`Frame`]s and written from the same CBOR data.
//!
//! ```text
//! {"jsonrpc":"2.0","method":T,"params":[…]}                         PUB, QoS 0
//! {"jsonrpc":"2.0","id":N,"method":T,"params":{"type":16,"data":[…]}}  PUB; the type is the flags nibble: 16, 48, 64, 80, 112
//! {"jsonrpc":"2.0","id":N,"method":T,"params":[…]}                  RPC
//! {"jsonrpc":"2.0","id":N,"method":T,"params":{"type":3,"data":{…}}}   ADMIN; 0 IDENTITY, 9 UNREGISTER, 10 REGISTER, 11 ATTESTATION
//! {"jsonrpc":"2.0","id":N,"result":{"type":4,"sts":0,"data":…}}      RESPONSE; "error" for other statuses; 5 ACK, 6 ACK2
//! ```
//!
//! Python and Julia differ in two spellings: the discriminator is `type` or `__type__`, and ids are numbers or decimal texts.
//! Both are read; answers use what the peer used last. A batch is read message by message. Standard JSON-RPC is read where it fits (named arguments, plain results,
//! error objects).
//!
//! Publications are written with their payload twice, in `params` and in a member `data`: the decoder of the Python client
//! looks only there (`protocol/rembus.md` section 3, defect 1).

use super::{Flags, Frame, FrameError, MessageId, NAME_MAX};
use crate::mapping::{cbor_to_json, json_to_cbor};
use crate::rembus::cbor::{NULL, Reader};
use crate::router::Status;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ciborium_ll::Header;
use serde_json::{Map, Value};

/// How a peer spells what Python and Julia spell differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spelling {
    /// `__type__` instead of `type`.
    pub dunder: bool,
    /// Ids as decimal texts.
    pub text_ids: bool,
}

/// Empty arguments.
const NOTHING: &[u8] = &[0x80];

/// Reads one message and notes how the peer spells.
pub fn decode(text: &str, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    message(serde_json::from_str(text).unwrap_or_default(), spelling)
}

/// Reads a text that is a message, or a batch of them (JSON-RPC section 6); each is answered by itself.
pub fn decode_all(text: &str, spelling: &mut Spelling) -> Result<Vec<Frame>, FrameError> {
    match serde_json::from_str(text).unwrap_or_default() {
        Value::Array(batch) if batch.is_empty() => Err(FrameError::Json("an empty batch")),
        Value::Array(batch) => batch.into_iter().map(|value| message(value, spelling)).collect(),
        value => Ok(vec![message(value, spelling)?]),
    }
}

fn message(value: Value, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    let Value::Object(mut message) = value else { return Err(FrameError::Json("not a JSON object")) };
    let id = match message.get("id") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => {
            spelling.text_ids = false;
            Some(number.as_u64().ok_or(FrameError::Json("the id is not an unsigned integer"))?)
        }
        Some(Value::String(digits)) => {
            spelling.text_ids = true;
            Some(digits.parse().map_err(|_| FrameError::Json("the id is not an unsigned integer"))?)
        }
        Some(_) => return Err(FrameError::Json("the id is not an unsigned integer")),
    };
    let data = message.remove("data");
    let params = message.remove("params");
    match id.map(MessageId) {
        None | Some(MessageId(0)) => publication(&message, id.map(MessageId), params, data, spelling),
        Some(id) => match (params, message.remove("result"), message.remove("error")) {
            (Some(params), ..) => request(&message, id, params, spelling),
            (None, Some(result), _) => response(id, result, Status::OK, spelling),
            (None, None, Some(error)) => response(id, error, Status::METHOD_EXCEPTION, spelling),
            (None, None, None) => {
                Ok(Frame::Rpc { id, topic: method(&message)?, target: None, data: Bytes::from_static(NOTHING) })
            }
        },
    }
}

fn method(message: &Map<String, Value>) -> Result<String, FrameError> {
    let method = message.get("method").and_then(Value::as_str).ok_or(FrameError::Json("the method is not a text"))?;
    if method.len() > NAME_MAX { Err(FrameError::NameTooLong) } else { Ok(method.to_owned()) }
}

/// The discriminator of a params, result or error object.
fn discriminator(object: &Map<String, Value>, spelling: &mut Spelling) -> Result<Option<u64>, FrameError> {
    let (value, dunder) = match (object.get("type"), object.get("__type__")) {
        // Named arguments may well include one called type.
        (Some(value @ Value::Number(_)), _) => (value, false),
        (_, Some(value)) => (value, true),
        _ => return Ok(None),
    };
    spelling.dunder = dunder;
    value.as_u64().map(Some).ok_or(FrameError::Json("the type is not an unsigned integer"))
}

fn publication(
    message: &Map<String, Value>,
    id: Option<MessageId>,
    params: Option<Value>,
    data: Option<Value>,
    spelling: &mut Spelling,
) -> Result<Frame, FrameError> {
    let topic = method(message)?;
    let mut flags = Flags::default();
    let data = match params {
        Some(Value::Object(mut params)) => match discriminator(&params, spelling)? {
            Some(kind) => {
                flags = flags_of(kind).ok_or(FrameError::Type(kind))?;
                params.remove("data").or(data).unwrap_or_default()
            }
            None => Value::Array(vec![Value::Object(params)]),
        },
        Some(value @ (Value::Array(_) | Value::Null)) => value,
        Some(value) => Value::Array(vec![value]),
        None => data.unwrap_or_else(|| Value::Array(Vec::new())),
    };
    if id.is_none() && flags != Flags::default() {
        return Err(FrameError::Short { kind: 1, missing: "id" });
    }
    let id = id.filter(|_| flags != Flags::default());
    Ok(Frame::Publish { id, flags, topic, data: json_to_cbor(&data) })
}

/// A type that says PUB: the flags nibble alone.
fn flags_of(kind: u64) -> Option<Flags> {
    u8::try_from(kind).ok().filter(|kind| kind & 0x0f == 0).map(Flags)
}

fn request(message: &Map<String, Value>, id: MessageId, params: Value, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    let topic = method(message)?;
    let mut params = match params {
        Value::Object(params) => params,
        Value::Array(_) | Value::Null => return Ok(Frame::Rpc { id, topic, target: None, data: json_to_cbor(&params) }),
        _ => return Err(FrameError::Json("params is neither an array nor an object")),
    };
    let Some(kind) = discriminator(&params, spelling)? else {
        let arguments = if params.is_empty() { Vec::new() } else { vec![Value::Object(params)] };
        return Ok(Frame::Rpc { id, topic, target: None, data: json_to_cbor(&Value::Array(arguments)) });
    };
    let text = |name: &'static str| {
        let text = params.get(name).and_then(Value::as_str).ok_or(FrameError::Json(name))?;
        if text.len() > NAME_MAX { Err(FrameError::NameTooLong) } else { Ok(text.to_owned()) }
    };
    let bytes = |name: &'static str| {
        let text = params.get(name).and_then(Value::as_str).ok_or(FrameError::Json(name))?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|_| FrameError::Json(name))
    };
    let meta = || params.get("meta").map_or(Bytes::from_static(NULL), json_to_cbor);
    Ok(match kind {
        0 => Frame::Identity { id, cid: text("cid")?, meta: meta() },
        3 => Frame::Admin { id, topic, data: json_to_cbor(&params.remove("data").unwrap_or_default()) },
        9 => Frame::Unregister { id },
        10 => Frame::Register {
            id,
            cid: topic,
            pin: text("pin")?,
            pubkey: bytes("key_val")?,
            key_type: params.get("key_type").and_then(Value::as_u64).ok_or(FrameError::Json("key_type"))?,
        },
        11 => Frame::Attestation { id, cid: topic, signature: bytes("signature")?, meta: meta() },
        kind => match flags_of(kind) {
            Some(flags) => {
                let data = params.remove("data").unwrap_or_default();
                Frame::Publish { id: Some(id), flags, topic, data: json_to_cbor(&data) }
            }
            None => return Err(FrameError::Type(kind)),
        },
    })
}

/// `status` is what a plain JSON-RPC answer means.
fn response(id: MessageId, answer: Value, status: Status, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    let plain = |value: &Value| Frame::Response { id, status: status.0.into(), data: json_to_cbor(value) };
    let Value::Object(mut answer) = answer else { return Ok(plain(&answer)) };
    Ok(match discriminator(&answer, spelling)? {
        Some(4) => {
            let status = answer.get("sts").and_then(Value::as_u64).ok_or(FrameError::Json("sts"))?;
            Frame::Response { id, status, data: json_to_cbor(&answer.remove("data").unwrap_or_default()) }
        }
        Some(5) => Frame::Ack { id },
        Some(6) => Frame::Ack2 { id },
        Some(kind) => return Err(FrameError::Type(kind)),
        // The standard error object speaks in its message.
        None if status != Status::OK => match answer.remove("message") {
            Some(message) => plain(&message),
            None => plain(&Value::Object(answer)),
        },
        None => match answer.remove("data") {
            Some(data) => plain(&data),
            None => plain(&Value::Object(answer)),
        },
    })
}

/// Writes messages as text.
impl Spelling {
    fn start(self, id: Option<MessageId>) -> String {
        match id {
            None => r#"{"jsonrpc":"2.0""#.into(),
            Some(MessageId(id)) if self.text_ids => format!(r#"{{"jsonrpc":"2.0","id":"{id}""#),
            Some(MessageId(id)) => format!(r#"{{"jsonrpc":"2.0","id":{id}"#),
        }
    }

    fn member(self) -> &'static str {
        if self.dunder { "__type__" } else { "type" }
    }

    /// A publication; the id is left out when no flag is set. Whoever writes `type` gets no SLOT flag: the decoder of the Python
    /// client takes 64, 80 and 112 for an invalid message and closes (the slot stays readable in an id with QoS 1 and 2).
    #[must_use]
    pub fn publish(self, flags: Flags, id: MessageId, topic: &str, data: &[u8]) -> String {
        let flags = if self.dunder { flags } else { Flags(flags.0 & !Flags::SLOT.0) };
        let (topic, data) = (quoted(topic), arguments(data));
        if flags == Flags::default() {
            format!(r#"{},"method":{topic},"params":{data},"data":{data}}}"#, self.start(None))
        } else {
            let (start, member, flags) = (self.start(Some(id)), self.member(), flags.0);
            format!(r#"{start},"method":{topic},"params":{{"{member}":{flags},"data":{data}}},"data":{data}}}"#)
        }
    }

    #[must_use]
    pub fn rpc(self, id: MessageId, topic: &str, data: &[u8]) -> String {
        format!(r#"{},"method":{},"params":{}}}"#, self.start(Some(id)), quoted(topic), arguments(data))
    }

    #[must_use]
    pub fn response(self, id: MessageId, status: Status, data: &[u8]) -> String {
        let member = match status.0 {
            0 | 11 => "result",
            _ => "error",
        };
        let (start, kind, status, data) = (self.start(Some(id)), self.member(), status.0, cbor_to_json(data));
        format!(r#"{start},"{member}":{{"{kind}":4,"sts":{status},"data":{data}}}}}"#)
    }

    #[must_use]
    pub fn ack(self, id: MessageId) -> String {
        format!(r#"{},"result":{{"{}":5}}}}"#, self.start(Some(id)), self.member())
    }

    #[must_use]
    pub fn ack2(self, id: MessageId) -> String {
        format!(r#"{},"result":{{"{}":6}}}}"#, self.start(Some(id)), self.member())
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// Params are an array: a value that is none is the only argument.
fn arguments(data: &[u8]) -> String {
    let json = cbor_to_json(data);
    match Reader::new(data).header() {
        Ok(Header::Array(_)) => json,
        _ => format!("[{json}]"),
    }
}
