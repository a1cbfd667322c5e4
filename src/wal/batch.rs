//! Records on their way into the log.

use super::format;
use crate::message::Seq;

/// Records of one router turn, encoded side by side in one buffer, so that the log's thread only copies bytes.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    first: Seq,
    last: Seq,
    ack_waits: bool,
    makes_room: bool,
}

impl Batch {
    /// Adds a record; `body` appends the body to the buffer it is given. Sequence numbers rise by one from record to record.
    /// `ack_waits` says that somebody waits for it to become durable. Kinds 0 and 255 are the log's own.
    pub fn push(&mut self, seq: Seq, kind: u8, ack_waits: bool, body: impl FnOnce(&mut Vec<u8>)) {
        assert!(kind != format::MARK && kind != format::VOID, "these kinds belong to the log");
        if self.bytes.is_empty() {
            self.first = seq;
        } else {
            assert!(seq == self.last.next(), "the router numbers records without gaps");
        }
        self.last = seq;
        self.ack_waits |= ack_waits;
        format::encode_record(&mut self.bytes, seq, kind, body);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes this batch will take in the log.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Number of the first record, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        (!self.is_empty()).then_some(self.first)
    }

    /// Number of the last record, if there is one.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        (!self.is_empty()).then_some(self.last)
    }

    /// It has a record that may help to make room, like a deletion: such may use a part of the reserve.
    pub fn makes_room(&mut self) {
        self.makes_room = true;
    }

    pub(super) fn may_make_room(&self) -> bool {
        self.makes_room
    }

    pub(super) fn ack_waits(&self) -> bool {
        self.ack_waits
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
