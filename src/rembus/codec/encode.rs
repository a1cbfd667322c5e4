//! Messages to bytes: definite lengths, shortest integers, `data` as it came.

#[cfg(any(test, feature = "fuzzing"))]
use super::Frame;
use super::{Flags, MessageId};
use crate::rembus::cbor::{NULL, Reader, Writer};
use crate::router::Status;
use bytes::Bytes;
use ciborium_ll::Header;

/// Heads, type byte, id and status of any message fit in here.
const FRAMING: usize = 40;

fn start(len: usize, first: u8, id: MessageId, room: usize) -> Writer {
    let mut writer = Writer::with_capacity(FRAMING + room);
    writer.array(len).unsigned(first.into()).bytes(&id.0.to_le_bytes());
    writer
}

#[must_use]
pub fn identity(id: MessageId, cid: &str, meta: &[u8]) -> Bytes {
    let mut writer = start(4, 0, id, cid.len() + meta.len());
    writer.text(cid).encoded(meta);
    writer.finish().into()
}

/// A publication; `id` is left out of the message when no flag is set.
#[must_use]
pub fn publish(flags: Flags, id: MessageId, topic: &str, data: &[u8]) -> Bytes {
    let room = topic.len() + data.len();
    let mut writer = if flags == Flags::default() {
        let mut writer = Writer::with_capacity(FRAMING + room);
        writer.array(3).unsigned(1);
        writer
    } else {
        start(4, flags.0 | 1, id, room)
    };
    writer.text(topic).encoded(data);
    writer.finish().into()
}

/// The data that a subscriber of a pattern gets (section 7.1): the actual topic, then the arguments. The arguments are
/// spliced, not decoded; a value that is not an array counts as the only argument. Returns what comes first, and where in
/// `data` the rest starts.
#[must_use]
pub fn pattern_data(topic: &str, data: &[u8]) -> (Vec<u8>, usize) {
    let mut reader = Reader::new(data);
    let mut writer = Writer::with_capacity(FRAMING + topic.len());
    let from = match reader.header() {
        Ok(Header::Array(len)) => {
            writer.header(Header::Array(len.map(|len| len + 1)));
            reader.offset()
        }
        _ => {
            writer.array(2);
            0
        }
    };
    writer.text(topic);
    (writer.finish(), from)
}

#[must_use]
pub fn rpc(id: MessageId, topic: &str, target: Option<&str>, data: &[u8]) -> Bytes {
    let mut writer = start(5, 2, id, topic.len() + target.map_or(0, str::len) + data.len());
    writer.text(topic);
    match target {
        Some(target) => writer.text(target),
        None => writer.encoded(NULL),
    };
    writer.encoded(data);
    writer.finish().into()
}

#[must_use]
pub fn admin(id: MessageId, topic: &str, data: &[u8]) -> Bytes {
    let mut writer = start(4, 3, id, topic.len() + data.len());
    writer.text(topic).encoded(data);
    writer.finish().into()
}

#[must_use]
pub fn response(id: MessageId, status: Status, data: &[u8]) -> Bytes {
    let mut writer = start(4, 4, id, data.len());
    writer.unsigned(status.0.into()).encoded(data);
    writer.finish().into()
}

#[must_use]
pub fn ack(id: MessageId) -> Bytes {
    start(2, 5, id, 0).finish().into()
}

#[must_use]
pub fn ack2(id: MessageId) -> Bytes {
    start(2, 6, id, 0).finish().into()
}

#[must_use]
pub fn unregister(id: MessageId) -> Bytes {
    start(2, 9, id, 0).finish().into()
}

#[must_use]
pub fn register(id: MessageId, cid: &str, pin: &str, pubkey: &[u8], key_type: u64) -> Bytes {
    let mut writer = start(6, 10, id, cid.len() + pin.len() + pubkey.len());
    writer.text(cid).text(pin).bytes(pubkey).unsigned(key_type);
    writer.finish().into()
}

#[must_use]
pub fn attestation(id: MessageId, cid: &str, signature: &[u8], meta: &[u8]) -> Bytes {
    let mut writer = start(5, 11, id, cid.len() + signature.len() + meta.len());
    writer.text(cid).bytes(signature).encoded(meta);
    writer.finish().into()
}

/// What a message says, written again: for tests, which read and write whatever comes.
#[cfg(any(test, feature = "fuzzing"))]
#[must_use]
pub(in crate::rembus) fn whole(frame: &Frame) -> Bytes {
    match frame {
        Frame::Identity { id, cid, meta } => identity(*id, cid, meta),
        Frame::Publish { id, flags, topic, data } => publish(*flags, id.unwrap_or(MessageId(0)), topic, data),
        Frame::Rpc { id, topic, target, data } => rpc(*id, topic, target.as_deref(), data),
        Frame::Admin { id, topic, data } => admin(*id, topic, data),
        Frame::Response { id, status, data } => {
            response(*id, u8::try_from(*status).map_or(Status::METHOD_EXCEPTION, Status), data)
        }
        Frame::Ack { id } => ack(*id),
        Frame::Ack2 { id } => ack2(*id),
        Frame::Unregister { id } => unregister(*id),
        Frame::Register { id, cid, pin, pubkey, key_type } => register(*id, cid, pin, pubkey, *key_type),
        Frame::Attestation { id, cid, signature, meta } => attestation(*id, cid, signature, meta),
    }
}
