//! Bytes on their way to one peer: what is small is gathered, what is large is shared with everybody who gets it.

use bytes::{Buf, Bytes};
use std::io::IoSlice;

/// Payloads from this size on are not copied, so that a thousand slow subscribers of one large message hold it once.
const SHARED_FROM: usize = 16 << 10;
/// Gathered bytes after which no more packets are encoded until the socket took them.
const GATHER_MAX: usize = 32 << 10;
/// Capacity that an idle connection keeps.
const IDLE_CAPACITY: usize = 1 << 10;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    gathered: Vec<u8>,
    /// How much of `gathered` is written.
    at: usize,
    /// Comes after `gathered`; nothing may be added behind it.
    tail: Bytes,
}

impl Outbox {
    /// Where packets are encoded to. Only while there is [`room`](Self::has_room).
    pub(crate) fn gathered(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.tail.is_empty(), "nothing can follow a shared payload until it is written");
        &mut self.gathered
    }

    pub(crate) fn payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARED_FROM {
            self.gathered.extend_from_slice(payload);
        } else {
            self.tail = payload.clone();
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.tail.is_empty() && self.gathered.len() < GATHER_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.gathered.len() && self.tail.is_empty()
    }

    /// What to write next, in order.
    pub(crate) fn slices(&self) -> [IoSlice<'_>; 2] {
        let gathered = self.gathered.get(self.at..).unwrap_or_default();
        if gathered.is_empty() {
            [IoSlice::new(&self.tail), IoSlice::new(&[])]
        } else {
            [IoSlice::new(gathered), IoSlice::new(&self.tail)]
        }
    }

    /// The socket took so many bytes.
    pub(crate) fn written(&mut self, count: usize) {
        let from_gathered = count.min(self.gathered.len() - self.at);
        self.at += from_gathered;
        self.tail.advance(count - from_gathered);
        if self.is_empty() {
            self.gathered.clear();
            self.at = 0;
            self.tail = Bytes::new();
        }
    }

    /// Appends last words behind everything, whatever that costs.
    pub(crate) fn append_last(&mut self, words: &[u8]) {
        if self.tail.is_empty() {
            self.gathered.extend_from_slice(words);
        } else {
            self.tail = [&self.tail[..], words].concat().into();
        }
    }

    pub(crate) fn holds_idle_memory(&self) -> bool {
        self.is_empty() && self.gathered.capacity() > IDLE_CAPACITY
    }

    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.gathered = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let first = outbox.slices()[0].to_vec();
            let count = first.len().min(step);
            all.extend_from_slice(&first[..count]);
            outbox.written(count);
        }
        all
    }

    #[test]
    fn a_large_payload_is_shared_and_comes_out_in_order() {
        let payload = Bytes::from(vec![7; SHARED_FROM]);
        let mut outbox = Outbox::default();
        outbox.gathered().extend_from_slice(b"head");
        outbox.payload(&payload);

        assert!(!outbox.has_room());
        assert_eq!(outbox.tail.as_ptr(), payload.as_ptr());
        assert_eq!(drain(&mut outbox, 1000), [b"head".as_slice(), &payload].concat());
        assert!(outbox.has_room());
    }

    #[test]
    fn a_write_may_end_inside_either_part() {
        let mut outbox = Outbox::default();
        outbox.gathered().extend_from_slice(b"abc");
        outbox.payload(&Bytes::from(vec![1; SHARED_FROM]));
        outbox.written(5);
        assert_eq!(outbox.slices()[0].len(), SHARED_FROM - 2);
        outbox.append_last(b"z");
        assert_eq!(drain(&mut outbox, usize::MAX).last(), Some(&b'z'));
    }

    #[test]
    fn an_idle_outbox_gives_its_memory_back() {
        let mut outbox = Outbox::default();
        outbox.gathered().resize(GATHER_MAX, 0);
        assert!(!outbox.has_room() && !outbox.holds_idle_memory());
        outbox.written(GATHER_MAX);
        assert!(outbox.holds_idle_memory());
        outbox.shrink();
        assert!(!outbox.holds_idle_memory());
    }
}
