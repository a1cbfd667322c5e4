//! Bytes that came from one peer and are not yet packets.

use super::codec::{Fault, Frame, Version, frame};
use bytes::{Buf, BytesMut};

/// The smallest and the largest amount asked from the socket at once.
const CHUNK_MIN: usize = 1 << 10;
const CHUNK_MAX: usize = 64 << 10;

/// A read buffer that follows the traffic: small while little comes, larger while reads fill it, and never larger than what
/// the peer has really sent, whatever length a packet claims.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: BytesMut,
    chunk: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), chunk: CHUNK_MIN }
    }

    /// The buffer to read into, with room.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.capacity() - self.bytes.len() < self.chunk / 2 {
            // Half a chunk beyond a packet's part that is already there, at most as much again: growth follows arrival.
            self.bytes.reserve(self.chunk);
        }
        &mut self.bytes
    }

    /// `count` bytes were read into the room.
    pub(crate) fn arrived(&mut self, count: usize) {
        if count >= self.chunk / 2 {
            self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        } else if count < self.chunk / 8 {
            self.chunk = (self.chunk / 2).max(CHUNK_MIN);
        }
    }

    /// The next whole packet, if it is there.
    pub(crate) fn next(&self, max_packet: usize) -> Result<Option<(Frame, &[u8])>, Fault> {
        Ok(match frame(&self.bytes, max_packet)? {
            Some(frame) => self.bytes.get(..frame.total).map(|packet| (frame, packet)),
            None => None,
        })
    }

    /// So that a peer of another protocol is not waited for.
    pub(crate) fn starts_with_other_than(&self, kind: u8) -> bool {
        self.bytes.first().is_some_and(|first| first >> 4 != kind)
    }

    pub(crate) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.bytes.starts_with(bytes)
    }

    /// The version of a CONNECT that is not here as a whole.
    pub(crate) fn version_of_connect(&self) -> Option<Version> {
        // The length takes up to four bytes, all but the last with the high bit.
        let rest = self.bytes.get(1..)?;
        let digits = rest.iter().take(4).position(|byte| byte & 0x80 == 0)?;
        match rest.get(digits + 1..)? {
            [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Some(Version::V5),
            [0, 4, b'M', b'Q', b'T', b'T', _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Some(Version::V311),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn consume(&mut self, frame: Frame) {
        self.bytes.advance(frame.total);
    }

    pub(crate) fn holds_idle_memory(&self) -> bool {
        self.bytes.is_empty() && self.bytes.capacity() > 2 * CHUNK_MIN
    }

    pub(crate) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            *self = Self::new();
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_allocates_nothing_before_the_bytes_come() {
        let mut inbox = Inbox::new();
        // PUBLISH of 2 MiB - 1 byte.
        inbox.room().extend_from_slice(&[0x30, 0xff, 0xff, 0x7f]);
        inbox.arrived(4);
        assert!(inbox.next(4 << 20).unwrap().is_none());
        inbox.room();
        assert!(inbox.capacity() <= 4 * CHUNK_MIN, "{}", inbox.capacity());
    }

    #[test]
    fn the_buffer_follows_the_traffic_and_shrinks_when_it_is_over() {
        let mut inbox = Inbox::new();
        for _ in 0..20 {
            let count = inbox.chunk;
            inbox.room().extend_from_slice(&vec![0; count]);
            inbox.arrived(count);
            inbox.bytes.clear();
        }
        assert_eq!(inbox.chunk, CHUNK_MAX);
        assert!(inbox.holds_idle_memory());
        inbox.shrink();
        assert!(inbox.room().capacity() <= 2 * CHUNK_MIN);
    }
}
