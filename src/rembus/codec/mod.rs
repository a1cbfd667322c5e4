//! One binary WebSocket message is one Rembus message (`json` has the text form): a CBOR array whose first element is the type byte.
//!
//! ```text
//! bit 7   bit 6   bit 5   bit 4  │ bits 3..0        IDENTITY     0  id, cid, [meta]
//!  -      SLOT     QoS2    QoS1  │  type            PUB          1  [id if any flag is set], topic, data
//!                                                   RPC          2  id, topic, target or null, data
//! id: 8 bytes, little endian                        ADMIN        3  id, topic, data
//! topic, cid, target, pin: text                     RESPONSE     4  id, status, [data]
//! data: any value                                   ACK, ACK2  5, 6  id
//!                                                   UNREGISTER   9  id
//!                                                   REGISTER    10  id, cid, pin, pubkey, key type
//!                                                   ATTESTATION 11  id, cid, signature, [meta]
//! ```
//!
//! Decoding is lenient in spelling (indefinite lengths, wide integers, an outer tag 55799, extra trailing elements) and
//! strict in substance: ids have exactly 8 bytes, and the whole message is well-formed with valid UTF-8, because `data` is
//! relayed untouched and a broken value would otherwise hit every subscriber. Nothing is allocated from a declared length.

mod admin;
mod encode;
pub mod json;

#[cfg(test)]
mod tests;

use super::cbor::{CborError, NULL, Reader};
use bytes::Bytes;
use ciborium_ll::Header;

pub use admin::{AdminCommand, AdminError};
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use encode::whole;
pub use encode::{ack, ack2, admin, attestation, identity, pattern_data, publish, register, response, rpc, unregister};

/// Longest topic or component name; the log and MQTT count their length in 16 bits.
pub const NAME_MAX: usize = 65_535;

/// Chosen by the creator of a request, copied into its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub u64);

/// The high nibble of a publication's type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    pub const QOS1: Self = Self(0x10);
    pub const QOS2: Self = Self(0x30);
    pub const SLOT: Self = Self(0x40);
    const QOS2_BIT: u8 = 0x20;
    const LEVEL: u8 = 0x30;

    /// The level; the QoS 2 bit alone counts as QoS 2 (section 2 leaves the choice, and this is the safe one).
    #[must_use]
    pub fn qos(self) -> crate::message::Qos {
        match self.0 & Self::LEVEL {
            0 => crate::message::Qos::AtMostOnce,
            0x10 => crate::message::Qos::AtLeastOnce,
            bits => {
                debug_assert!(bits & Self::QOS2_BIT != 0, "only the QoS 2 bit is left");
                crate::message::Qos::ExactlyOnce
            }
        }
    }

    #[must_use]
    pub fn has_slot(self) -> bool {
        self.0 & Self::SLOT.0 != 0
    }

    #[must_use]
    pub fn of(qos: crate::message::Qos, slot: bool) -> Self {
        let level = match qos {
            crate::message::Qos::AtMostOnce => 0,
            crate::message::Qos::AtLeastOnce => Self::QOS1.0,
            crate::message::Qos::ExactlyOnce => Self::QOS2.0,
        };
        Self(level | if slot { Self::SLOT.0 } else { 0 })
    }
}

/// A decoded message. `data` and `meta` are CBOR, slices of the message they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Identity { id: MessageId, cid: String, meta: Bytes },
    Publish { id: Option<MessageId>, flags: Flags, topic: String, data: Bytes },
    Rpc { id: MessageId, topic: String, target: Option<String>, data: Bytes },
    Admin { id: MessageId, topic: String, data: Bytes },
    Response { id: MessageId, status: u64, data: Bytes },
    Ack { id: MessageId },
    Ack2 { id: MessageId },
    Unregister { id: MessageId },
    Register { id: MessageId, cid: String, pin: String, pubkey: Bytes, key_type: u64 },
    Attestation { id: MessageId, cid: String, signature: Bytes, meta: Bytes },
}

/// Why a message closes its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error(transparent)]
    Cbor(#[from] CborError),
    #[error("message type {0} is unknown")]
    Type(u64),
    #[error("a message of type {kind} ends before its {missing}")]
    Short { kind: u8, missing: &'static str },
    #[error("a message id has 8 bytes, not {0}")]
    Id(usize),
    /// What is wrong, or the name of the member that is missing or of another type.
    #[error("the JSON message is not valid: {0}")]
    Json(&'static str),
    #[error("a name is longer than {NAME_MAX} bytes")]
    NameTooLong,
}

/// Reads one message.
pub fn decode(message: &Bytes) -> Result<Frame, FrameError> {
    let mut reader = Reader::new(message);
    while let Header::Tag(SELF_DESCRIBED) = reader.peek()? {
        reader.header()?;
        if reader.offset() > SELF_DESCRIBED_MAX {
            return Err(CborError::TooDeep.into());
        }
    }
    let items = reader.array()?;
    let mut elements = Elements { message, reader, items, kind: 0 };
    let frame = elements.frame()?;
    elements.finish()?;
    Ok(frame)
}

/// "This is CBOR"; may stand around the message.
const SELF_DESCRIBED: u64 = 55_799;
const SELF_DESCRIBED_MAX: usize = 64;

/// The elements of a message's array, one after the other.
struct Elements<'a> {
    message: &'a Bytes,
    reader: Reader<'a>,
    items: super::cbor::Items,
    kind: u8,
}

impl Elements<'_> {
    fn frame(&mut self) -> Result<Frame, FrameError> {
        let first = self.first()?;
        self.kind = first & 0x0f;
        let flags = Flags(first & 0xf0);
        Ok(match self.kind {
            0 => Frame::Identity { id: self.id()?, cid: self.name("cid")?, meta: self.optional_data()? },
            1 => {
                let id = if flags == Flags::default() { None } else { Some(self.id()?) };
                Frame::Publish { id, flags, topic: self.name("topic")?, data: self.data("data")? }
            }
            2 => {
                let (id, topic) = (self.id()?, self.name("topic")?);
                self.need("target")?;
                let target = if self.reader.null()? { None } else { Some(self.text()?) };
                Frame::Rpc { id, topic, target, data: self.data("data")? }
            }
            3 => Frame::Admin { id: self.id()?, topic: self.name("topic")?, data: self.data("data")? },
            4 => {
                let id = self.id()?;
                self.need("status")?;
                Frame::Response { id, status: self.reader.unsigned()?, data: self.optional_data()? }
            }
            5 => Frame::Ack { id: self.id()? },
            6 => Frame::Ack2 { id: self.id()? },
            9 => Frame::Unregister { id: self.id()? },
            10 => Frame::Register {
                id: self.id()?,
                cid: self.name("cid")?,
                pin: self.name("pin")?,
                pubkey: self.bytes("public key")?,
                key_type: {
                    self.need("key type")?;
                    self.reader.unsigned()?
                },
            },
            11 => Frame::Attestation {
                id: self.id()?,
                cid: self.name("cid")?,
                signature: self.bytes("signature")?,
                meta: self.optional_data()?,
            },
            other => return Err(FrameError::Type(other.into())),
        })
    }

    fn first(&mut self) -> Result<u8, FrameError> {
        self.need("type byte")?;
        let value = self.reader.unsigned()?;
        u8::try_from(value).map_err(|_| FrameError::Type(value))
    }

    fn need(&mut self, missing: &'static str) -> Result<(), FrameError> {
        if self.reader.more(&mut self.items)? { Ok(()) } else { Err(FrameError::Short { kind: self.kind, missing }) }
    }

    fn id(&mut self) -> Result<MessageId, FrameError> {
        self.need("id")?;
        let id = self.reader.bytes()?;
        let bytes: [u8; 8] = id.as_ref().try_into().map_err(|_| FrameError::Id(id.len()))?;
        Ok(MessageId(u64::from_le_bytes(bytes)))
    }

    fn name(&mut self, missing: &'static str) -> Result<String, FrameError> {
        self.need(missing)?;
        self.text()
    }

    fn text(&mut self) -> Result<String, FrameError> {
        let text = self.reader.text()?;
        if text.len() > NAME_MAX {
            return Err(FrameError::NameTooLong);
        }
        Ok(text.into_owned())
    }

    fn bytes(&mut self, missing: &'static str) -> Result<Bytes, FrameError> {
        self.need(missing)?;
        Ok(match self.reader.bytes()? {
            std::borrow::Cow::Borrowed(slice) => self.message.slice_ref(slice),
            std::borrow::Cow::Owned(joined) => Bytes::from(joined),
        })
    }

    fn data(&mut self, missing: &'static str) -> Result<Bytes, FrameError> {
        self.need(missing)?;
        let range = self.reader.skip()?;
        Ok(self.message.slice(range))
    }

    fn optional_data(&mut self) -> Result<Bytes, FrameError> {
        if self.reader.more(&mut self.items)? {
            let range = self.reader.skip()?;
            Ok(self.message.slice(range))
        } else {
            Ok(Bytes::from_static(NULL))
        }
    }

    /// Later versions may append elements; they are checked and ignored.
    fn finish(mut self) -> Result<(), FrameError> {
        while self.reader.more(&mut self.items)? {
            self.reader.skip()?;
        }
        Ok(self.reader.end()?)
    }
}
