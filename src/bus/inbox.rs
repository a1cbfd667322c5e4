//! Bytes that came from one program and are not yet frames.

use super::frame::{self, Broken, Frame};
use bytes::BytesMut;

/// The smallest and the largest amount asked from the socket at once.
const CHUNK_MIN: usize = 4 << 10;
const CHUNK_MAX: usize = 64 << 10;

/// A read buffer that follows the traffic, and is never much larger than what the peer has really sent.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: BytesMut,
    chunk: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: BytesMut::new(), chunk: CHUNK_MIN }
    }

    /// The buffer to read into, with room.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.capacity() - self.bytes.len() < self.chunk / 2 {
            self.bytes.reserve(self.chunk);
        }
        &mut self.bytes
    }

    /// `count` bytes were read into the room.
    pub(super) fn arrived(&mut self, count: usize) {
        if count >= self.chunk / 2 {
            self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        } else if count < self.chunk / 8 {
            self.chunk = (self.chunk / 2).max(CHUNK_MIN);
        }
    }

    pub(super) fn next(&mut self, max_frame: usize) -> Result<Option<Frame>, Broken> {
        frame::next(&mut self.bytes, max_frame)
    }

    /// Whether a frame has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Gives the memory of a busy time back.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 2 * CHUNK_MIN {
            *self = Self::new();
        }
    }
}
