//! Frames: what the bytes mean, and nothing else.

use bytes::{Buf, Bytes, BytesMut};

pub const GREETING: [u8; 3] = [0xEB, 1, 0];
/// Header of a client's frame.
pub const HEADER: usize = 9;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    Exclude,
    Unexclude,
    PublishFor,
    Message,
    Broadcast,
}

impl Op {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x01 => Self::Publish,
            0x02 => Self::Subscribe,
            0x03 => Self::Unsubscribe,
            0x04 => Self::Exclude,
            0x05 => Self::Unexclude,
            0x06 => Self::PublishFor,
            0x12 => Self::Message,
            0x13 => Self::Broadcast,
            _ => return None,
        })
    }
}

/// An operation's frame without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client's own number; the acknowledgement carries it back.
    pub id: u32,
    pub op: Op,
    /// QoS bit 0: wants an acknowledgement.
    pub ack: bool,
    /// QoS bit 1: to be written at once.
    pub realtime: bool,
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub header: Header,
    pub body: Bytes,
}

/// Why a connection ends: such a peer cannot be followed any more, and the protocol has no words to tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("operation {0:#04x} is not known")]
    Op(u8),
    #[error("a frame of {claimed} bytes is announced; at most {max} are taken")]
    TooLong { claimed: usize, max: usize },
    #[error("a frame has no zero byte behind its {0}")]
    Cut(&'static str),
    #[error("a {0} is not UTF-8")]
    NotText(&'static str),
}

/// Takes the next whole frame, if it is there. Nothing is allocated for what is only announced.
pub fn next(bytes: &mut BytesMut, max_frame: usize) -> Result<Option<Frame>, Broken> {
    let Some((&[a, b, c, d, flags, e, f, g, h], _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let id = u32::from_le_bytes([a, b, c, d]);
    // Of a ping only this byte counts: no body follows, whatever its length says.
    if flags == 0 {
        bytes.advance(HEADER);
        let header = Header { id, op: Op::Ping, ack: false, realtime: false };
        return Ok(Some(Frame { header, body: Bytes::new() }));
    }
    let op = Op::from_code(flags & 0b0011_1111).ok_or(Broken::Op(flags & 0b0011_1111))?;
    let claimed = u32::from_le_bytes([e, f, g, h]) as usize;
    if claimed > max_frame {
        return Err(Broken::TooLong { claimed, max: max_frame });
    }
    if bytes.len() - HEADER < claimed {
        return Ok(None);
    }
    bytes.advance(HEADER);
    let body = bytes.split_to(claimed).freeze();
    Ok(Some(Frame { header: Header { id, op, ack: flags & 0x40 != 0, realtime: flags & 0x80 != 0 }, body }))
}

/// Splits off a text that ends with a zero byte.
pub fn text<'a>(body: &mut &'a [u8], what: &'static str) -> Result<&'a str, Broken> {
    let end = body.iter().position(|byte| *byte == 0).ok_or(Broken::Cut(what))?;
    let (text, rest) = body.split_at(end);
    *body = rest.get(1..).unwrap_or_default();
    std::str::from_utf8(text).map_err(|_| Broken::NotText(what))
}

/// Texts with zero bytes between.
pub fn texts(body: &[u8]) -> Result<Vec<&str>, Broken> {
    body.split(|byte| *byte == 0).map(|text| std::str::from_utf8(text).map_err(|_| Broken::NotText("topic"))).collect()
}

/// What the broker answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u8);

impl Code {
    pub const OK: Self = Self(0x01);
    pub const NOT_REGISTERED: Self = Self(0x71);
    pub const DATA: Self = Self(0x72);
    pub const IO: Self = Self(0x73);
    pub const NOT_SUPPORTED: Self = Self(0x75);
    pub const BUSY: Self = Self(0x76);
    pub const NOT_DELIVERED: Self = Self(0x77);
    pub const TIMEOUT: Self = Self(0x78);
    pub const ACCESS: Self = Self(0x79);
}

/// What reaches a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Publication = 0x01,
    Message = 0x12,
    Broadcast = 0x13,
}

pub const NOP: [u8; 6] = [0; 6];

#[must_use]
pub fn ack(id: u32, code: Code) -> [u8; 6] {
    let [a, b, c, d] = id.to_le_bytes();
    [0xFE, a, b, c, d, code.0]
}

/// The header of a frame to a client; `len` counts everything behind it.
#[must_use]
pub fn head(kind: Kind, len: usize, realtime: bool) -> [u8; 6] {
    let [a, b, c, d] = u32::try_from(len).expect("frames are bounded far below 4 GiB").to_le_bytes();
    [kind as u8, a, b, c, d, u8::from(realtime)]
}

/// Publications: `sender 00 topic 00 payload`; everything else: `sender 00 payload`. The parts of the frame in front of its
/// payload.
#[must_use]
pub fn prefix(kind: Kind, sender: &str, topic: Option<&str>, payload_len: usize, realtime: bool) -> Vec<u8> {
    let names = sender.len() + 1 + topic.map_or(0, |topic| topic.len() + 1);
    let mut out = Vec::with_capacity(6 + names);
    out.extend_from_slice(&head(kind, names + payload_len, realtime));
    out.extend_from_slice(sender.as_bytes());
    out.push(0);
    if let Some(topic) = topic {
        out.extend_from_slice(topic.as_bytes());
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_claimed_length_is_refused_before_anything_is_kept_for_it() {
        let mut bytes = BytesMut::from(&[1, 0, 0, 0, 0x12, 0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(next(&mut bytes, 1 << 20), Err(Broken::TooLong { claimed: u32::MAX as usize, max: 1 << 20 }));
        let mut bytes = BytesMut::from(&[1, 0, 0, 0, 0x12, 0, 0, 0x10, 0][..]);
        let before = bytes.capacity();
        assert_eq!(next(&mut bytes, 1 << 20), Ok(None));
        assert_eq!(bytes.capacity(), before);
    }

    #[test]
    fn of_a_ping_only_its_fifth_byte_counts() {
        let mut bytes = BytesMut::from(&[9, 9, 9, 9, 0, 9, 9, 9, 9, 7][..]);
        assert_eq!(next(&mut bytes, 100).unwrap().unwrap().header.op, Op::Ping);
        assert_eq!(&bytes[..], [7]);
    }

    proptest! {
        #[test]
        fn garbage_in_any_pieces_is_read_alike_and_never_panics(garbage: Vec<u8>, cuts: Vec<u8>) {
            let all = |feed: &mut dyn Iterator<Item = &[u8]>| {
                let (mut bytes, mut seen) = (BytesMut::new(), Vec::new());
                for piece in feed {
                    bytes.extend_from_slice(piece);
                    loop {
                        match next(&mut bytes, 64) {
                            Ok(Some(frame)) => seen.push(Ok(frame)),
                            Ok(None) => break,
                            Err(broken) => {
                                seen.push(Err(broken));
                                return seen;
                            }
                        }
                    }
                }
                seen
            };
            let whole = all(&mut std::iter::once(&garbage[..]));
            let mut rest = &garbage[..];
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, left) = rest.split_at(usize::from(cut).min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.push(rest);
            prop_assert_eq!(all(&mut pieces.into_iter()), whole);
        }
    }
}
