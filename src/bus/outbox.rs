//! Frames on their way to one program: small ones are gathered, large payloads shared with everybody who gets them.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Payloads from this size on are not copied.
const SHARED_FROM: usize = 16 << 10;
/// Slices written at once.
pub(super) const SLICES: usize = 16;
/// Capacity that an idle program keeps.
const IDLE_CAPACITY: usize = 4 << 10;

/// What a frame is, as far as somebody waits for it to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of the router: it wants to know when it is in the socket.
    Router,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    len: usize,
    origin: Origin,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// In front of what is gathered.
    ready: VecDeque<Bytes>,
    gathered: BytesMut,
    bytes: usize,
    frames: VecDeque<Mark>,
    /// How much of the first frame is written.
    part: usize,
    /// Frames of the router that were written and not yet reported.
    reported: u32,
    /// Bytes taken by the socket since the beginning.
    taken: u64,
    /// The socket takes nothing at the moment; its own task waits for it.
    pub(super) blocked: bool,
    /// The connection is over: nothing is taken any more.
    pub(super) closed: bool,
}

impl Outbox {
    /// Adds a frame, in two parts.
    pub(super) fn push(&mut self, prefix: &[u8], payload: &Bytes, origin: Origin) {
        if self.closed {
            return;
        }
        self.gathered.extend_from_slice(prefix);
        if payload.len() < SHARED_FROM {
            self.gathered.extend_from_slice(payload);
        } else {
            let before = self.gathered.split().freeze();
            self.ready.push_back(before);
            self.ready.push_back(payload.clone());
        }
        let len = prefix.len() + payload.len();
        self.bytes += len;
        self.frames.push_back(Mark { len, origin });
    }

    /// Whether another frame of `len` bytes would go beyond a limit; one may always go alone.
    pub(super) fn is_full(&self, len: usize, frames_max: usize, bytes_max: usize) -> bool {
        self.frames.len() >= frames_max || (self.bytes + len > bytes_max && self.bytes > 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What to write next, in order; unused slices are empty.
    pub(super) fn slices(&self) -> [IoSlice<'_>; SLICES] {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let parts = self.ready.iter().map(|part| &part[..]).chain(std::iter::once(&self.gathered[..]));
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        slices
    }

    /// The socket took so many bytes.
    pub(super) fn written(&mut self, count: usize) {
        self.taken += count as u64;
        self.bytes -= count;
        let mut left = count;
        while let Some(part) = self.ready.front_mut() {
            let here = left.min(part.len());
            part.advance(here);
            left -= here;
            if !part.is_empty() {
                break;
            }
            self.ready.pop_front();
        }
        self.gathered.advance(left);
        let mut left = count;
        while let Some(first) = self.frames.front() {
            let missing = first.len - self.part;
            if left < missing {
                self.part += left;
                break;
            }
            left -= missing;
            self.part = 0;
            self.reported += u32::from(first.origin == Origin::Router);
            self.frames.pop_front();
        }
    }

    /// Nobody reads any more: nothing is kept from now on.
    pub(super) fn discard(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    /// Frames of the router that are in the socket since it was asked last.
    pub(super) fn take_reported(&mut self) -> u32 {
        std::mem::take(&mut self.reported)
    }

    pub(super) fn has_to_report(&self) -> bool {
        self.reported > 0
    }

    /// Gives the memory of a busy time back.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.gathered.capacity() + self.frames.capacity() > IDLE_CAPACITY {
            self.gathered = BytesMut::new();
            self.frames = VecDeque::new();
            self.ready = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_large_payload_is_shared() {
        let payload = Bytes::from(vec![7; SHARED_FROM]);
        let mut outbox = Outbox::default();
        outbox.push(b"head", &payload, Origin::Other);
        assert_eq!(outbox.slices()[1].as_ptr(), payload.as_ptr());
    }

    #[test]
    fn one_frame_may_always_go_alone() {
        let mut outbox = Outbox::default();
        assert!(!outbox.is_full(100, 2, 10));
        outbox.push(b"x", &Bytes::new(), Origin::Other);
        assert!(outbox.is_full(10, 2, 10) && !outbox.is_full(9, 2, 10));
        outbox.push(b"x", &Bytes::new(), Origin::Other);
        assert!(outbox.is_full(0, 2, 10));
    }

    proptest! {
        #[test]
        fn everything_comes_out_in_order_whatever_the_socket_takes(
            frames in proptest::collection::vec((1usize..9, prop_oneof![0usize..50, Just(SHARED_FROM)], any::<bool>()), 0..30),
            steps in proptest::collection::vec(1usize..40_000, 1..20),
        ) {
            let (mut outbox, mut expected, mut routed) = (Outbox::default(), Vec::new(), 0);
            for (at, (prefix, payload, router)) in frames.iter().enumerate() {
                let (prefix, payload) = (vec![at as u8; *prefix], Bytes::from(vec![at as u8 ^ 0x80; *payload]));
                outbox.push(&prefix, &payload, if *router { Origin::Router } else { Origin::Other });
                expected.extend_from_slice(&prefix);
                expected.extend_from_slice(&payload);
                routed += u32::from(*router);
            }
            let (mut seen, mut steps) = (Vec::new(), steps.iter().cycle());
            while !outbox.is_empty() {
                let there = outbox.slices().iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<_>>();
                let count = there.len().min(*steps.next().unwrap());
                seen.extend_from_slice(&there[..count]);
                outbox.written(count);
            }
            prop_assert_eq!(seen, expected);
            prop_assert_eq!((outbox.take_reported(), outbox.len()), (routed, 0));
        }
    }
}
