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
use crate::mapping::{Part, cbor_to_json, json_text_to_cbor};
use crate::rembus::cbor::{NULL, Reader};
use crate::router::Status;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ciborium_ll::Header;

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

/// Messages in one batch.
const BATCH_MAX: usize = 1_000;
/// An id as it is written.
const ID_MAX: usize = 64;
/// Most that is read of a key, a signature or a name, as they are written: an escape takes six bytes.
const TEXT_MAX: usize = 6 * NAME_MAX;

/// Reads one message and notes how the peer spells.
pub fn decode(text: &str, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    message(Part::of(text).ok_or(NOT_AN_OBJECT)?, spelling)
}

/// Reads a text that is a message, or a batch of them (JSON-RPC section 6); each is answered by itself.
pub fn decode_all(text: &str, spelling: &mut Spelling) -> Result<Vec<Frame>, FrameError> {
    let whole = Part::of(text).ok_or(NOT_AN_OBJECT)?;
    if !whole.is_array() {
        return Ok(vec![message(whole, spelling)?]);
    }
    match whole.elements().take(BATCH_MAX + 1).count() {
        0 => Err(FrameError::Json("an empty batch")),
        1..=BATCH_MAX => whole.elements().map(|part| message(part, spelling)).collect(),
        _ => Err(FrameError::Json("a batch of more than 1000 messages")),
    }
}

const NOT_AN_OBJECT: FrameError = FrameError::Json("not a JSON object");

fn cbor(part: Option<Part<'_>>) -> Result<Bytes, FrameError> {
    match part {
        Some(part) => json_text_to_cbor(part).ok_or(FrameError::Json("nested too deeply, or too many names")),
        None => Ok(Bytes::from_static(NULL)),
    }
}

/// The value as the only argument.
fn only_argument(part: Part<'_>) -> Result<Bytes, FrameError> {
    Ok([&[0x81][..], &cbor(Some(part))?].concat().into())
}

fn message(message: Part<'_>, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    if !message.is_object() {
        return Err(NOT_AN_OBJECT);
    }
    let [id, method, params, data, result, error] = message.members(["id", "method", "params", "data", "result", "error"]);
    const NO_ID: FrameError = FrameError::Json("the id is not an unsigned integer");
    let id = match id.filter(|id| !id.is_null()) {
        None => None,
        Some(id) if id.is_number() => {
            spelling.text_ids = false;
            Some(id.unsigned().ok_or(NO_ID)?)
        }
        Some(id) => {
            let digits = id.string(ID_MAX).ok_or(NO_ID)?;
            spelling.text_ids = true;
            Some(digits.parse().map_err(|_| NO_ID)?)
        }
    };
    match id.map(MessageId) {
        None | Some(MessageId(0)) => publication(method, id.map(MessageId), params, data, spelling),
        Some(id) => match (params, result, error) {
            (Some(params), ..) => request(method, id, params, spelling),
            (None, Some(result), _) => response(id, result, Status::OK, spelling),
            (None, None, Some(error)) => response(id, error, Status::METHOD_EXCEPTION, spelling),
            (None, None, None) => Ok(Frame::Rpc { id, topic: name(method)?, target: None, data: Bytes::from_static(NOTHING) }),
        },
    }
}

fn name(method: Option<Part<'_>>) -> Result<String, FrameError> {
    text(method, "the method is not a text")
}

fn text(part: Option<Part<'_>>, what: &'static str) -> Result<String, FrameError> {
    let part = part.filter(|part| part.text().starts_with('"')).ok_or(FrameError::Json(what))?;
    let text = part.string(TEXT_MAX).ok_or(FrameError::NameTooLong)?;
    if text.len() > NAME_MAX { Err(FrameError::NameTooLong) } else { Ok(text.into_owned()) }
}

/// The discriminator of a params, result or error object.
fn discriminator(object: Part<'_>, spelling: &mut Spelling) -> Result<Option<u64>, FrameError> {
    let [plain, dunder] = object.members(["type", "__type__"]);
    let (value, dunder) = match (plain, dunder) {
        // Named arguments may well include one called type.
        (Some(value), _) if value.is_number() => (value, false),
        (_, Some(value)) => (value, true),
        _ => return Ok(None),
    };
    spelling.dunder = dunder;
    value.unsigned().map(Some).ok_or(FrameError::Json("the type is not an unsigned integer"))
}

fn publication(
    method: Option<Part<'_>>,
    id: Option<MessageId>,
    params: Option<Part<'_>>,
    data: Option<Part<'_>>,
    spelling: &mut Spelling,
) -> Result<Frame, FrameError> {
    let topic = name(method)?;
    let mut flags = Flags::default();
    let data = match params {
        Some(params) if params.is_object() => match discriminator(params, spelling)? {
            Some(kind) => {
                flags = flags_of(kind).ok_or(FrameError::Type(kind))?;
                let [own] = params.members(["data"]);
                cbor(own.or(data))?
            }
            None => only_argument(params)?,
        },
        Some(params) if params.is_array() || params.is_null() => cbor(Some(params))?,
        Some(params) => only_argument(params)?,
        None => match data {
            Some(data) => cbor(Some(data))?,
            None => Bytes::from_static(NOTHING),
        },
    };
    if id.is_none() && flags != Flags::default() {
        return Err(FrameError::Short { kind: 1, missing: "id" });
    }
    let id = id.filter(|_| flags != Flags::default());
    Ok(Frame::Publish { id, flags, topic, data })
}

/// A type that says PUB: the flags nibble alone.
fn flags_of(kind: u64) -> Option<Flags> {
    u8::try_from(kind).ok().filter(|kind| kind & 0x0f == 0).map(Flags)
}

fn request(method: Option<Part<'_>>, id: MessageId, params: Part<'_>, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    let topic = name(method)?;
    if params.is_array() || params.is_null() {
        return Ok(Frame::Rpc { id, topic, target: None, data: cbor(Some(params))? });
    }
    if !params.is_object() {
        return Err(FrameError::Json("params is neither an array nor an object"));
    }
    let Some(kind) = discriminator(params, spelling)? else {
        let data = if params.is_empty() { Bytes::from_static(NOTHING) } else { only_argument(params)? };
        return Ok(Frame::Rpc { id, topic, target: None, data });
    };
    let [data, cid, meta, pin, key, key_type, signature] =
        params.members(["data", "cid", "meta", "pin", "key_val", "key_type", "signature"]);
    let bytes = |part: Option<Part<'_>>, what: &'static str| {
        let text = part.and_then(|part| part.string(TEXT_MAX)).ok_or(FrameError::Json(what))?;
        BASE64_STANDARD.decode(&*text).map(Bytes::from).map_err(|_| FrameError::Json(what))
    };
    Ok(match kind {
        0 => Frame::Identity { id, cid: text(cid, "cid")?, meta: cbor(meta)? },
        3 => Frame::Admin { id, topic, data: cbor(data)? },
        9 => Frame::Unregister { id },
        10 => Frame::Register {
            id,
            cid: topic,
            pin: text(pin, "pin")?,
            pubkey: bytes(key, "key_val")?,
            key_type: key_type.and_then(Part::unsigned).ok_or(FrameError::Json("key_type"))?,
        },
        11 => Frame::Attestation { id, cid: topic, signature: bytes(signature, "signature")?, meta: cbor(meta)? },
        kind => match flags_of(kind) {
            Some(flags) => Frame::Publish { id: Some(id), flags, topic, data: cbor(data)? },
            None => return Err(FrameError::Type(kind)),
        },
    })
}

/// `status` is what a plain JSON-RPC answer means.
fn response(id: MessageId, answer: Part<'_>, status: Status, spelling: &mut Spelling) -> Result<Frame, FrameError> {
    let plain = |part| Ok(Frame::Response { id, status: status.0.into(), data: cbor(Some(part))? });
    if !answer.is_object() {
        return plain(answer);
    }
    let [own_status, data, message] = answer.members(["sts", "data", "message"]);
    Ok(match discriminator(answer, spelling)? {
        Some(4) => {
            let status = own_status.and_then(Part::unsigned).ok_or(FrameError::Json("sts"))?;
            Frame::Response { id, status, data: cbor(data)? }
        }
        Some(5) => Frame::Ack { id },
        Some(6) => Frame::Ack2 { id },
        Some(kind) => return Err(FrameError::Type(kind)),
        // The standard error object speaks in its message.
        None if status != Status::OK => return plain(message.unwrap_or(answer)),
        None => return plain(data.unwrap_or(answer)),
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
