//! What is known about one segment file, shared by the writer and all readers.

use crate::clock::Wall;
use crate::message::Seq;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError};

/// Distance of the places that are remembered, so that a reader need not walk a whole segment to find its position.
const INDEX_STEP: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// No record in it has a lower number.
    pub(super) floor: Seq,
    /// Number of its first record; zero while it has none.
    first: AtomicU64,
    /// Records are read up to here.
    end: AtomicU64,
    /// Size of the file.
    size: AtomicU64,
    /// When it was made; zero if that is not known.
    pub(super) created: Wall,
    /// When its last record was written, or somewhat later.
    ended: AtomicU64,
    /// Places of some records: ascending in both.
    index: Mutex<Vec<(Seq, u64)>>,
}

impl Segment {
    pub(super) fn new(path: PathBuf, floor: Seq, created: Wall, end: u64, size: u64) -> Self {
        Self {
            path,
            floor,
            first: AtomicU64::new(0),
            end: AtomicU64::new(end),
            size: AtomicU64::new(size),
            created,
            ended: AtomicU64::new(0),
            index: Mutex::default(),
        }
    }

    pub(super) fn first(&self) -> Option<Seq> {
        Some(Seq(self.first.load(Acquire))).filter(|first| *first > Seq(0))
    }

    pub(super) fn set_first(&self, first: Seq) {
        self.first.store(first.0, Release);
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Acquire)
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    pub(super) fn set_size(&self, size: u64) {
        self.size.store(size, Relaxed);
    }

    pub(super) fn ended(&self) -> Wall {
        Wall(self.ended.load(Relaxed))
    }

    pub(super) fn set_ended(&self, ended: Wall) {
        self.ended.store(ended.0, Relaxed);
    }

    /// Shows readers what was written: records from `first` on, between the old end and `end`.
    pub(super) fn publish(&self, first: Seq, end: u64) {
        let at = self.end();
        {
            let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            if index.last().is_none_or(|(_, last)| at - last >= INDEX_STEP) {
                index.push((first, at));
            }
        }
        self.end.store(end, Release);
        if self.first().is_none() {
            self.set_first(first);
        }
    }

    /// A place from which on `seq` will be found, if such a place is known.
    pub(super) fn place_of(&self, seq: Seq) -> Option<u64> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let before = index.partition_point(|(first, _)| *first <= seq);
        before.checked_sub(1).map(|i| index[i].1)
    }
}

/// Name of a segment file.
pub(super) fn file_name(floor: Seq) -> String {
    format!("{floor:020}.seg", floor = floor.0)
}

/// The number in a segment's file name; `None` for files that are not ours.
pub(super) fn parse_name(name: &std::path::Path) -> Option<Seq> {
    let digits = name.to_str()?.strip_suffix(".seg")?;
    let number = digits.parse().ok().filter(|_| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    // Nobody writes that many messages; a number near the end of the range would leave none for new ones.
    (number < u64::MAX / 2).then_some(Seq(number))
}
