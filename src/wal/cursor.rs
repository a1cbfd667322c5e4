//! Walks the records of one segment file, verifying each; recovery and [`Reader`](super::Reader) share it.

use super::format::{HEAD_BYTES, Head};
use crate::disk::DiskFile;
use crate::message::Seq;
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;

/// How much is read at once. Bodies handed out share the chunk they came in.
const CHUNK_BYTES: usize = 256 << 10;
/// What is given up when the disk cannot read it.
const PAGE_BYTES: usize = 4096;
const READ_TRIES: usize = 3;

#[derive(Debug)]
pub(super) struct Cursor {
    file: Arc<dyn DiskFile>,
    /// Where the next record is expected.
    at: u64,
    chunk: Bytes,
    chunk_at: u64,
    /// How much is read at once.
    step: usize,
    /// Bytes that the disk could not read; they count as zeros.
    unreadable: u64,
}

#[derive(Debug)]
pub(super) enum Step {
    /// A whole record; `hole` bytes before it were not.
    Record { seq: Seq, kind: u8, body: Bytes, hole: u64 },
    /// No record follows. `hole` bytes, up to the last that is not zero, are not a record.
    End { hole: u64 },
}

impl Cursor {
    pub(super) fn new(file: Arc<dyn DiskFile>, at: u64) -> Self {
        Self { file, at, chunk: Bytes::new(), chunk_at: at, step: CHUNK_BYTES, unreadable: 0 }
    }

    /// For a look at what is there, not for reading on: a slow card is asked for one page only.
    pub(super) fn peek(file: Arc<dyn DiskFile>, at: u64) -> Self {
        Self { step: PAGE_BYTES, ..Self::new(file, at) }
    }

    /// Where the next record is expected: right behind the last one.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next whole record before `limit`. At the place where a record is expected any that fits its checksum is taken; behind
    /// a hole only one whose number can follow `after`: payloads may contain what looks like records.
    pub(super) fn next(&mut self, limit: u64, after: Seq) -> Step {
        if let Some((head, body)) = self.record_at(self.at, limit, |_| true) {
            self.at += head.record_bytes() as u64;
            return Step::Record { seq: head.seq, kind: head.kind, body, hole: 0 };
        }
        let newest = after.0.saturating_add(1).saturating_add(limit / HEAD_BYTES as u64);
        let (start, mut garbage_end) = (self.at, self.at);
        let mut at = self.skip_zeros(start, limit);
        while at < limit {
            if let Some((head, body)) = self.record_at(at, limit, |seq| seq > after && seq.0 <= newest) {
                self.at = at + head.record_bytes() as u64;
                return Step::Record { seq: head.seq, kind: head.kind, body, hole: at - start };
            }
            if self.view(at, 1, limit).first().is_some_and(|byte| *byte != 0) {
                garbage_end = at + 1;
                at += 1;
            } else {
                at = self.skip_zeros(at + 1, limit);
            }
        }
        Step::End { hole: garbage_end - start }
    }

    fn record_at(&mut self, at: u64, limit: u64, number_fits: impl FnOnce(Seq) -> bool) -> Option<(Head, Bytes)> {
        let head = Head::parse(self.view(at, HEAD_BYTES, limit))?;
        if head.record_bytes() as u64 > limit - at || !number_fits(head.seq) {
            return None;
        }
        let record = self.view(at, head.record_bytes(), limit);
        if !head.fits(record) {
            return None;
        }
        let start = usize::try_from(at - self.chunk_at).expect("the view begins inside the chunk");
        Some((head, self.chunk.slice(start + HEAD_BYTES..start + head.record_bytes())))
    }

    /// The place, from `from` on, where a record with a non-zero byte could begin; `limit` if all is zero.
    fn skip_zeros(&mut self, from: u64, limit: u64) -> u64 {
        let mut at = from;
        while at < limit {
            let view = self.view(at, 1, limit);
            if view.is_empty() {
                return limit;
            }
            let zeros = leading_zeros(view);
            let all = zeros == view.len();
            at += zeros as u64;
            if !all {
                // A length is little endian and below 2^32, so up to three bytes of it can be zeros.
                return at.saturating_sub(3).max(from);
            }
        }
        limit
    }

    /// At least `want` bytes from `at` on, as far as there are so many before `limit` and in the file.
    fn view(&mut self, at: u64, want: usize, limit: u64) -> &[u8] {
        let want = usize::try_from(limit.saturating_sub(at)).map_or(want, |there| there.min(want));
        if want == 0 {
            return &[];
        }
        let cached = at.checked_sub(self.chunk_at).and_then(|skip| usize::try_from(skip).ok());
        let have = cached.and_then(|skip| self.chunk.len().checked_sub(skip)).unwrap_or(0);
        if have < want {
            let there = usize::try_from(limit - at).unwrap_or(usize::MAX);
            self.chunk = self.load(at, want.max(self.step).min(there));
            self.chunk_at = at;
        }
        let skip = usize::try_from(at - self.chunk_at).expect("the chunk was just made to cover this place");
        let end = usize::try_from(limit - self.chunk_at).map_or(self.chunk.len(), |end| end.min(self.chunk.len()));
        self.chunk.get(skip..end).unwrap_or_default()
    }

    /// Reads a piece of the file. What the disk cannot read, page by page and tried again, counts as zeros.
    fn load(&mut self, at: u64, len: usize) -> Bytes {
        let mut buffer = BytesMut::zeroed(len);
        if let Ok(n) = self.file.read_at(&mut buffer, at) {
            buffer.truncate(n);
            return buffer.freeze();
        }
        let mut done = 0;
        while done < len {
            let place = at + done as u64;
            let page_rest = PAGE_BYTES - usize::try_from(place % PAGE_BYTES as u64).expect("less than a page");
            let end = len.min(done + page_rest);
            let page = &mut buffer[done..end];
            let read = read_stubbornly(self.file.as_ref(), page, place).unwrap_or_else(|_| {
                page.fill(0);
                self.unreadable += page.len() as u64;
                page.len()
            });
            done += read;
            if done < end {
                break;
            }
        }
        buffer.truncate(done);
        buffer.freeze()
    }
}

/// Reads a few times before giving up: cards do recover from a bad read.
pub(super) fn read_stubbornly(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut tries = 1;
    loop {
        match file.read_at(buffer, at) {
            Err(_) if tries < READ_TRIES => tries += 1,
            other => return other,
        }
    }
}

fn leading_zeros(bytes: &[u8]) -> usize {
    const STEP: usize = 64;
    let blocks = bytes.chunks_exact(STEP).take_while(|block| **block == [0; STEP]).count() * STEP;
    blocks + bytes[blocks..].iter().take_while(|byte| **byte == 0).count()
}
