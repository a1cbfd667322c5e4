//! Bytes of segment headers and record heads; see the format in [`super`].

use super::LogState;
use crate::clock::Wall;
use crate::message::Seq;

pub(super) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"REMBWAL\0";
const VERSION: u32 = 1;

/// `len` and `crc`, then what they cover begins.
pub(super) const PREFIX_BYTES: usize = 8;
/// Everything before the body.
pub(super) const HEAD_BYTES: usize = 17;
/// Far above any payload the doors accept; a larger length is garbage.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;
/// Kind of records that say how far the log was durable.
pub(super) const MARK: u8 = 0;
/// Kind of records that cover what a power cut left half written.
pub(super) const VOID: u8 = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) log_id: u64,
    pub(super) first: Seq,
    pub(super) created: Wall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not ours, cut short, or a checksum that does not fit.
    Damaged,
    /// Written by a gateway that is newer than this one.
    Newer(u32),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.log_id.to_le_bytes());
        out[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.created.0.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER_BYTES as usize] = bytes.try_into().map_err(|_| BadHeader::Damaged)?;
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(BadHeader::Damaged);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self { log_id: u64_at(bytes, 16), first: Seq(u64_at(bytes, 24)), created: Wall(u64_at(bytes, 32)) }),
            newer => Err(BadHeader::Newer(newer)),
        }
    }
}

/// The 17 bytes before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    len: u32,
    crc: u32,
    pub(super) seq: Seq,
    pub(super) kind: u8,
}

impl Head {
    /// Reads a head whose length is possible.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEAD_BYTES>()?;
        let head = Self { len: u32_at(bytes, 0), crc: u32_at(bytes, 4), seq: Seq(u64_at(bytes, 8)), kind: bytes[16] };
        (HEAD_BYTES..=RECORD_BYTES_MAX).contains(&head.record_bytes()).then_some(head)
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(&self) -> usize {
        PREFIX_BYTES + self.len as usize
    }

    /// True if the whole record, of which this is the head, is as it was written.
    pub(super) fn fits(&self, record: &[u8]) -> bool {
        record.get(PREFIX_BYTES..self.record_bytes()).is_some_and(|covered| crc32c::crc32c(covered) == self.crc)
    }
}

/// Appends a record to `out`; `body` appends the body.
pub(super) fn encode_record(out: &mut Vec<u8>, seq: Seq, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.extend_from_slice(&seq.0.to_le_bytes());
    out.push(kind);
    body(out);
    let covered = &out[start + PREFIX_BYTES..];
    assert!(covered.len() + PREFIX_BYTES <= RECORD_BYTES_MAX, "doors refuse payloads long before this size");
    let len = u32::try_from(covered.len()).expect("checked in the line above");
    let crc = crc32c::crc32c(covered);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Bytes of a mark in the log.
pub(super) const MARK_BYTES: usize = HEAD_BYTES + 8;

/// Appends a mark that says how far `state` was durable; `next` is the record that follows.
pub(super) fn encode_mark(out: &mut Vec<u8>, next: Seq, state: &LogState) {
    encode_record(out, next, MARK, |body| body.extend_from_slice(&state.durable.0.to_le_bytes()));
}

/// What a mark says was durable.
pub(super) fn decode_mark(body: &[u8]) -> Option<Seq> {
    Some(Seq(u64::from_le_bytes(body.try_into().ok()?)))
}

/// A record that takes exactly `bytes` and says that the numbers before `next` are missing here. None if it does not fit.
pub(super) fn encode_void(bytes: u64, next: Seq) -> Option<Vec<u8>> {
    let body = usize::try_from(bytes).ok()?.checked_sub(HEAD_BYTES)?;
    let mut out = Vec::with_capacity(HEAD_BYTES + body);
    encode_record(&mut out, next, VOID, |out| out.resize(out.len() + body, 0));
    Some(out)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("callers pass arrays that are long enough"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("callers pass arrays that are long enough"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header = Header { log_id: 7, first: Seq(9), created: Wall(11) };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn one_flipped_bit_in_a_header_is_noticed() {
        let good = Header { log_id: 7, first: Seq(9), created: Wall(11) }.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), Err(BadHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn the_bytes_on_disk_are_the_documented_ones() {
        let mut out = Vec::new();
        encode_record(&mut out, Seq(258), 1, |body| body.extend_from_slice(b"hi"));
        let covered = [2, 1, 0, 0, 0, 0, 0, 0, 1, b'h', b'i'];
        assert_eq!(out[..4], [11, 0, 0, 0]);
        assert_eq!(out[4..8], crc32c::crc32c(&covered).to_le_bytes());
        assert_eq!(out[8..], covered);
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            Header::decode(&bytes).ok();
            let _ = Head::parse(&bytes).map(|head| head.fits(&bytes));
            let _ = decode_mark(&bytes);
        }
    }
}
