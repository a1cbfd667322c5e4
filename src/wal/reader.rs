//! A cursor on the log: reads from the files what is written, in order, verifying every checksum.

use super::cursor::{Cursor, Step};
use super::format::{HEADER_BYTES, MARK, VOID};
use super::segment::Segment;
use super::shared::Shared;
use super::{Record, WalError};
use crate::message::Seq;
use std::io;
use std::sync::Arc;

/// An independent cursor. Bodies are slices of the chunks they were read in; nothing is copied.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: Seq,
    open: Option<Open>,
    skipped: Skipped,
}

/// Records that a reader could not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// Removed by retention before they were read.
    pub removed: u64,
    /// Damaged on the disk.
    pub damaged: u64,
    /// Never made durable before a power cut that spared later ones.
    pub unsaved: u64,
}

#[derive(Debug)]
struct Open {
    segment: Arc<Segment>,
    cursor: Cursor,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Seq) -> Self {
        Self { shared, next: from.max(Seq(1)), open: None, skipped: Skipped::default() }
    }

    /// The number of the next record it will return, if that is still there.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.next
    }

    /// What was skipped so far.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Records with bodies of about `bytes_max` in all, at least one; none means that it has caught up. Damage and records that
    /// retention removed are skipped and counted. An error leaves the position where it was.
    pub fn read(&mut self, bytes_max: usize) -> Result<Vec<Record>, WalError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max.max(1) {
            let next = self.next;
            let Some(open) = self.open_at_position()? else { break };
            let limit = open.segment.end();
            match open.cursor.next(limit, Seq(next.max(open.segment.floor).0.saturating_sub(1))) {
                Step::Record { kind: MARK, .. } => {}
                Step::Record { kind: VOID, seq, .. } => {
                    self.skipped.unsaved += seq.0.saturating_sub(self.next.0);
                    self.next = self.next.max(seq);
                }
                // Behind a seek, or a second copy: both were seen already.
                Step::Record { seq, .. } if seq < self.next => {}
                Step::Record { seq, kind, body, .. } => {
                    self.count_damaged(seq);
                    self.next = seq.next();
                    bytes += body.len().max(1);
                    records.push(Record { seq, kind, body });
                }
                Step::End { .. } if !self.step_over(limit) => break,
                Step::End { .. } => {}
            }
        }
        Ok(records)
    }

    /// The cursor in the segment that has the next record.
    fn open_at_position(&mut self) -> Result<Option<&mut Open>, WalError> {
        while self.open.is_none() {
            let found = {
                let segments = self.shared.segments();
                let with_records = || segments.iter().filter_map(|segment| Some((segment.first()?, segment)));
                let holding = with_records().take_while(|(first, _)| *first <= self.next).last();
                holding.or_else(|| with_records().next()).map(|(first, segment)| (first, segment.clone()))
            };
            let Some((first, segment)) = found else { break };
            match self.shared.disk.open(&segment.path) {
                Ok(file) => {
                    if first > self.next {
                        log::warn!(from:% = self.next, to:% = first; "records were removed before they were read");
                        self.skipped.removed += first.0 - self.next.0;
                        self.next = first;
                    }
                    let cursor = Cursor::new(file, segment.place_of(self.next).unwrap_or(HEADER_BYTES));
                    self.open = Some(Open { segment, cursor });
                }
                // Retention was faster; the list no longer has it, or will not soon.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_listed(&segment) => {}
                Err(error) => return Err(WalError::io(&segment.path, error)),
            }
        }
        Ok(self.open.as_mut())
    }

    fn is_listed(&self, segment: &Arc<Segment>) -> bool {
        self.shared.segments().iter().any(|listed| Arc::ptr_eq(listed, segment))
    }

    /// Goes on to the segment behind the current one, which was read up to `limit`. False if there is nothing to read behind it.
    fn step_over(&mut self, limit: u64) -> bool {
        let Some(open) = &self.open else { return true };
        let following = {
            let segments = self.shared.segments();
            match segments.iter().position(|segment| Arc::ptr_eq(segment, &open.segment)) {
                Some(here) => segments.iter().skip(here + 1).find_map(|segment| segment.first()),
                // Removed while we read it: what follows is found by number.
                None => segments.iter().find_map(|segment| segment.first()),
            }
        };
        let Some(first) = following else { return false };
        // The writer fills a segment before it begins the next one, but may have done both since we looked.
        if open.segment.end() > limit {
            return true;
        }
        if first > self.next && self.is_listed(&open.segment) {
            self.count_damaged(first);
            self.next = first;
        }
        self.open = None;
        true
    }

    fn count_damaged(&mut self, upto: Seq) {
        if upto > self.next {
            log::warn!(from:% = self.next, before:% = upto; "records in the log are damaged or missing");
            self.skipped.damaged += upto.0 - self.next.0;
        }
    }
}
