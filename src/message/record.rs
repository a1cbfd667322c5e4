//! A message as the body of a log record, and back.
//!
//! ```text
//! u8 version = 1 │ u8 dialect │ u8 flags │ u64 received (ns since 1970) │ [u32 slot] │
//! u16 len + publisher │ u32 len + topic │ u32 len + payload │ [properties, CBOR]
//! flags: bits 0-1 QoS, bit 2 retain, bit 3 slot present, bit 4 payload is Rembus CBOR, bit 5 properties present
//! ```
//! Integers are little endian, text is UTF-8.

use super::Message;
use bytes::Bytes;

/// Kinds of log records. A reader skips kinds it does not know.
pub mod kind {
    /// A [`Message`](super::Message).
    pub const MESSAGE: u8 = 1;
    /// A change to a table asked for by RPC (`delete_T`, `upsert_T`); the body is history's own.
    pub const TABLE_COMMAND: u8 = 2;
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record ends inside its {field}")]
    Short { field: &'static str },
    #[error("record version {0} was written by a newer gateway")]
    Version(u8),
    #[error("the record's {field} is not valid")]
    Invalid { field: &'static str },
}

/// Appends the record body of `message` to `out`.
pub fn encode(_message: &Message, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads a record body.
pub fn decode(_body: &Bytes) -> Result<Message, RecordError> {
    todo!()
}
