//! Verifies segment files when the log opens.

use super::cursor::{Cursor, Step};
use super::format::{HEADER_BYTES, Header, MARK, VOID, decode_mark};
use crate::disk::DiskFile;
use crate::message::Seq;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// A file with a segment's name.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    pub(super) header: Option<Header>,
    /// No record of it has a lower number.
    pub(super) floor: Seq,
}

/// What verifying a segment to its end brought.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) first: Option<Seq>,
    pub(super) last: Seq,
    pub(super) records: u64,
    /// Whole records whose numbers were seen before or are too low for this file: copies.
    pub(super) ignored: u64,
    /// Behind the last whole record.
    pub(super) end: u64,
    /// Bytes behind it that are not zero.
    pub(super) garbage: u64,
    /// Where numbers are missing between whole records.
    pub(super) holes: Vec<Hole>,
    /// Missing numbers of which a void tells.
    pub(super) voided: u64,
    /// Something in front of the first whole record is not.
    pub(super) begins_with_hole: bool,
    /// Newest record of which a mark says that it was durable.
    pub(super) durable: Seq,
    pub(super) unreadable: u64,
    /// Where the first whole record begins of which no mark says that it was durable.
    pub(super) unsure: Option<u64>,
}

/// Something that is not a record, before one that is.
pub(super) struct Hole {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) first: Seq,
    /// The record behind it.
    pub(super) next: Seq,
}

/// The first record, or everything if that one is not whole or `wholly` is asked for.
pub(super) fn look_at(candidate: &Candidate, wholly: bool) -> Scan {
    if !wholly {
        let mut cursor = Cursor::peek(candidate.file.clone(), HEADER_BYTES);
        while let Step::Record { seq, kind, hole: 0, .. } = cursor.next(candidate.bytes, before(candidate.floor)) {
            if kind != MARK && kind != VOID && seq >= candidate.floor {
                return Scan { first: Some(seq), last: seq, ..Scan::default() };
            }
        }
    }
    verify(candidate)
}

pub(super) fn before(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1))
}

/// Reads every record.
pub(super) fn verify(candidate: &Candidate) -> Scan {
    let mut cursor = Cursor::new(candidate.file.clone(), HEADER_BYTES);
    let mut scan = Scan { end: HEADER_BYTES, last: before(candidate.floor), ..Scan::default() };
    let mut unsure = VecDeque::new();
    loop {
        match cursor.next(candidate.bytes, scan.last) {
            Step::Record { seq, kind, body, hole } => {
                let at = scan.end + hole;
                scan.end = cursor.at();
                scan.begins_with_hole |= hole > 0 && scan.first.is_none();
                if hole > 0 || (seq > scan.last.next() && kind != VOID && scan.first.is_some()) {
                    scan.holes.push(Hole { at: at - hole, bytes: hole, first: scan.last.next(), next: seq });
                }
                match kind {
                    MARK => {
                        scan.durable = scan.durable.max(decode_mark(&body).unwrap_or_default());
                        while unsure.pop_front_if(|(seq, _)| *seq <= scan.durable).is_some() {}
                        scan.last = scan.last.max(before(seq));
                        continue;
                    }
                    VOID => {
                        scan.voided += before(seq).0.saturating_sub(scan.last.0);
                        scan.last = scan.last.max(before(seq));
                        unsure.push_back((seq, at));
                        continue;
                    }
                    _ if seq <= scan.last => {
                        scan.ignored += 1;
                        continue;
                    }
                    _ => {}
                }
                scan.first.get_or_insert(seq);
                scan.last = seq;
                scan.records += 1;
                unsure.push_back((seq, at));
            }
            Step::End { hole } => {
                scan.garbage = hole;
                scan.unreadable = cursor.unreadable();
                scan.unsure = unsure.front().map(|(_, at)| *at);
                return scan;
            }
        }
    }
}
