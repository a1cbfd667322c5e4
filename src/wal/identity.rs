//! Who the log is, and where each of its starts began: `log.id`, beside the segments.
//!
//! Whoever stores a sequence number elsewhere (a lake, a link, a snapshot) stores the log's id and the present start beside it
//! ([`Stated`]), and asks [`Identity::place_of`] later how much of that still holds. Two things can have happened meanwhile:
//!
//! * It is another log: nothing holds. The id is in every segment header and in this file, so that one damaged header does not
//!   make a known log a new one. If not one of them can be read the log gets a new id and is the *heir* of whatever was stated.
//! * The log lost its newest records (a damaged card, a backup put back) and gave their numbers to other messages. Then only what
//!   was stated up to the loss holds. Each start notes the newest record that it found, on the disk before the first number is
//!   given out: so this can be told at every later start too, not only at the one that comes right behind the loss.
//!
//! ```text
//! {"version":1,"log_id":"9f3c…","heir":false,"starts":[["51d0…",0],["7a11…",5120]]}
//! crc32c 1a2b3c4d
//! ```
//! `starts`: a random number, and the newest record at that start; oldest first.

use crate::disk::Disk;
use crate::message::Seq;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file in the log's folder.
pub(super) const FILE: &str = "log.id";
const VERSION: u32 = 1;
/// Starts that are remembered; what was stated before the oldest of them is compared with the present start only.
const STARTS: usize = 256;

/// A place in the log as somebody stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    pub log_id: u64,
    /// The start of the log during which it was stored; not known of what an older release stored.
    pub start: Option<u64>,
    pub seq: Seq,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    log_id: u64,
    heir: bool,
    /// Oldest first; the present one is the last.
    starts: Vec<(u64, Seq)>,
    /// Whether the present start is on the disk.
    kept: bool,
}

/// A log of which no start is known.
impl From<u64> for Identity {
    fn from(log_id: u64) -> Self {
        Self::new(log_id)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    log_id: String,
    #[serde(default)]
    heir: bool,
    starts: Vec<(String, u64)>,
}

impl Identity {
    /// A log that nobody knows.
    #[must_use]
    pub fn new(log_id: u64) -> Self {
        Self { log_id, heir: false, starts: Vec::new(), kept: false }
    }

    /// Random, made with the folder.
    #[must_use]
    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// How a place is to be stored, so that [`place_of`](Self::place_of) knows later what it is worth.
    #[must_use]
    pub fn stated(&self, seq: Seq) -> Stated {
        let start = self.starts.last().filter(|_| self.kept).map(|(start, _)| *start);
        Stated { log_id: self.log_id, start, seq }
    }

    /// Up to where a place that was stored holds; `None` if it belongs to another log.
    #[must_use]
    pub fn place_of(&self, stated: Stated) -> Option<Seq> {
        if stated.log_id != self.log_id && !self.heir {
            return None;
        }
        let known = stated.start.and_then(|start| self.starts.iter().position(|(known, _)| *known == start));
        // Of a start that is not known only the present one is surely later.
        let later = known.map_or(self.starts.len().saturating_sub(1), |place| place + 1);
        let lost_behind = self.starts.iter().skip(later).map(|(_, last)| *last).min();
        Some(lost_behind.map_or(stated.seq, |last| stated.seq.min(last)))
    }

    /// Nobody can say who the log was.
    pub(super) fn inherit(&mut self) {
        self.heir = true;
    }

    /// A new start that found `last` as the newest record. On the disk when this returns, or said that it is not.
    pub(super) fn begin(&mut self, disk: &dyn Disk, dir: &Path, last: Seq) -> io::Result<()> {
        self.starts.push((uuid::Uuid::new_v4().as_u64_pair().0, last));
        let excess = self.starts.len().saturating_sub(STARTS);
        self.starts.drain(..excess);
        let written = disk.replace(&path(dir), &self.encode());
        self.kept = written.is_ok();
        written
    }

    fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            version: VERSION,
            log_id: format!("{:016x}", self.log_id),
            heir: self.heir,
            starts: self.starts.iter().map(|(start, last)| (format!("{start:016x}"), last.0)).collect(),
        };
        let mut text = serde_json::to_string(&stored).expect("numbers and texts are always JSON");
        text.push_str(&format!("\ncrc32c {:08x}\n", crc32c::crc32c(text.as_bytes())));
        text.into_bytes()
    }

    /// `None` for what is not whole.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (json, sum) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split_once('\n')?;
        let sum = u32::from_str_radix(sum.strip_prefix("crc32c ")?, 16).ok()?;
        if crc32c::crc32c(json.as_bytes()) != sum {
            return None;
        }
        let Stored { version: VERSION, log_id, heir, starts } = serde_json::from_str(json).ok()? else { return None };
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let starts = starts.iter().map(|(start, last)| Some((number(start)?, Seq(*last)))).collect::<Option<_>>()?;
        Some(Self { log_id: number(&log_id)?, heir, starts, kept: false })
    }
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// What the file says; `None` if it is not there, which is how every log begins, or says nothing that can be believed.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, String> {
    match disk.read(&path(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("it cannot be read: {error}")),
        Ok(bytes) => Identity::decode(&bytes).map(Some).ok_or_else(|| "it is damaged".to_owned()),
    }
}

/// Whose segments these are: the ids of their headers vote, and so does the file, which also decides when they are equal.
pub(super) fn elect(headers: impl Iterator<Item = u64>, file: Option<u64>) -> Option<u64> {
    let mut votes: Vec<(u64, u32)> = Vec::new();
    for id in file.into_iter().chain(headers) {
        match votes.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => *count += 1,
            None => votes.push((id, 1)),
        }
    }
    // The first of those with the most.
    votes.iter().rev().max_by_key(|(_, count)| *count).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(starts: &[(u64, u64)]) -> Identity {
        let starts = starts.iter().map(|(start, last)| (*start, Seq(*last))).collect();
        Identity { log_id: 7, heir: false, starts, kept: true }
    }

    #[test]
    fn what_was_stated_before_a_loss_holds_up_to_the_loss_at_every_later_start() {
        let identity = started(&[(1, 0), (2, 100), (3, 40), (4, 300)]);
        let place = |start, seq| identity.place_of(Stated { log_id: 7, start, seq: Seq(seq) });
        assert_eq!(place(Some(1), 90), Some(Seq(40)), "of start 1, before the log fell back to 40");
        assert_eq!(place(Some(2), 150), Some(Seq(40)));
        assert_eq!(place(Some(2), 30), Some(Seq(30)));
        assert_eq!(place(Some(3), 290), Some(Seq(290)), "stated behind the loss");
        assert_eq!(place(Some(4), 999), Some(Seq(999)), "of this start");
        assert_eq!(place(None, 999), Some(Seq(300)), "an older release did not say when");
        assert_eq!(place(Some(77), 200), Some(Seq(200)), "of a start that is not remembered any more");
        assert_eq!(identity.place_of(Stated { log_id: 8, start: Some(4), seq: Seq(5) }), None, "another log");
    }

    #[test]
    fn an_identity_comes_back_as_it_was_written_and_a_flipped_bit_is_noticed() {
        let whole = started(&[(1, 0), (2, 100)]);
        let bytes = whole.encode();
        assert_eq!(Identity::decode(&bytes), Some(Identity { kept: false, ..whole }));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // The case of a hexadecimal digit of the checksum says nothing.
            let same = Identity::decode(&bad).is_none_or(|read| read.encode() == bytes);
            assert!(same, "bit {bit}");
        }
    }

    #[test]
    fn the_majority_says_whose_segments_these_are() {
        assert_eq!(elect([].into_iter(), None), None);
        assert_eq!(elect([].into_iter(), Some(1)), Some(1));
        assert_eq!(elect([2, 1].into_iter(), None), Some(2), "the oldest of equals");
        assert_eq!(elect([2].into_iter(), Some(1)), Some(1), "the file decides between equals");
        assert_eq!(elect([2, 1, 2, 2].into_iter(), Some(1)), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = Identity::decode(&bytes);
        }
    }
}
