//! The durable log: every message once, in order, on the disk before anybody is told so.
//!
//! Knows no protocol: a record is a sequence number, a kind and bytes. Promises:
//!
//! * [`LogState::durable`] names a record only after `fdatasync` of everything up to it (and of the folder, when its segment
//!   is new).
//! * After a crash or a power cut the log opens, keeps every record that was durable, cuts a torn tail and says what it cost.
//! * After a failed write or sync it is *poisoned*: nothing is declared durable any more until the process restarts.
//! * Nothing is written while nothing happens.
//!
//! # Format, version 1
//!
//! The folder holds segments, written one after the other and never again once the next one is in use. Their names order
//! them: twenty digits and `.seg`. The number is the sequence number that was next when the file was made, so every record in
//! it has this number or a higher one, and (files are made ahead of need) the first one may be higher.
//!
//! ```text
//! segment = header (64 bytes), records side by side, zeros up to the preallocated size
//! header  = "REMBWAL\0" │ u32 version = 1 │ u32 zero │ u64 log_id │ u64 first │ u64 created │ 20 zeros │ u32 crc32c of the 60 before
//! record  = u32 len │ u32 crc32c of what follows │ u64 seq │ u8 kind │ body          len = 9 + length of the body
//! ```
//!
//! Integers are little endian. `log_id` is random, made with the folder, the same in every segment. `first`: no record of the
//! segment has a lower number; numbers never go back below it, whatever else is lost. `created`: ns since 1970.
//! A length of zero ends a segment. Records are numbered without gaps, and never straddle segments; a record larger than a
//! segment gets a larger segment.
//!
//! Beside the segments lies `log.id`, which says who the log is and where its starts began; see [`Identity`].
//!
//! Kinds 1 to 254 are the callers'; a reader must skip those it does not know. Two kinds belong to the log itself:
//!
//! * 0, a *mark*, with the seq of the record after it: the body is the u64 of the newest record that was durable when the mark was
//!   written. Marks tell damage to acknowledged records from what a power cut left half written.
//! * 255, a *void*: its body is zeros. With the seq of the record after it recovery put it over a hole between whole records that
//!   no mark covers, to remember that the numbers missing there were caught by a power cut. With seq 1 it only fills a page: a
//!   page that is synced before it is full is written twice, so a commit that would end in the second half of one fills it.
//!
//! # When the power goes
//!
//! A segment is synced completely before the first record of its successor is written, so only the newest segment that has
//! records can be torn. At start that one is read and verified to its end; for the older ones only header and first record are
//! looked at, because starting must not wait for reading hundreds of megabytes from a slow card. [`Reader`]s verify every
//! checksum anyway. What is whole is kept, also behind a hole: pages that were not synced reach the disk in any order, and cards
//! that lose their power garble what they wrote just before, acknowledged or not. No old segment is ever appended to.
//!
//! # When the disk is full
//!
//! The next segment is made as soon as the current one is three quarters full. If that would eat into the reserve, the log
//! says [`Health::Full`] while the last quarter still has room for what is under way. What does not fit waits in bounded
//! memory, unacknowledged, and is written when there is room again. It should not come to that: [`LogState::room`] says which
//! records still fit, so that a large one is refused before it stands in the way of small ones. Batches that may help to make
//! room ([`Batch::makes_room`]) get a quarter of the reserve. "No space" from a *write* is treated in the same way: the
//! kernel refused it at once, nothing of it was acknowledged, and the same bytes go to the same place later. "No space" from a
//! *sync* is not: pages that were accepted may be gone, so the log is poisoned.

mod batch;
mod cursor;
mod damage;
mod error;
mod format;
mod handle;
mod identity;
mod log;
mod pace;
mod reader;
mod recovery;
mod scan;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use crate::message::Seq;
use bytes::Bytes;
use std::time::Duration;

pub use batch::Batch;
pub use damage::{Damage, Recovery, TornTail};
pub use error::WalError;
pub use handle::{Hold, LogHandle};
pub use identity::{Identity, Stated};
pub use log::{Log, open};
pub use reader::{Reader, Skipped};

#[derive(Debug, Clone)]
pub struct Options {
    pub dir: std::path::PathBuf,
    /// Size to which a segment file is preallocated.
    pub segment_bytes: u64,
    /// How long the oldest waiting acknowledgement may wait for a commit.
    pub ack_delay_max: Duration,
    /// How long records that nobody waits for (QoS 0) may stay unsynced.
    pub idle_delay_max: Duration,
    /// Segments wholly older than this are removed once released by every hold.
    pub keep: Duration,
    /// Total size of segments beyond which the oldest are removed once released.
    pub keep_bytes: u64,
    /// Free room that the log leaves on the file system.
    pub reserve_bytes: u64,
}

impl Options {
    /// The defaults of the public contract, for a log in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<std::path::PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 8 << 20,
            ack_delay_max: Duration::from_millis(50),
            idle_delay_max: Duration::from_secs(1),
            keep: Duration::from_secs(24 * 60 * 60),
            keep_bytes: 512 << 20,
            reserve_bytes: 64 << 20,
        }
    }
}

/// How far the log is. Watched by the router (acknowledgements) and by readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// Newest record that readers can read.
    pub written: Seq,
    /// Newest record that survives a power cut.
    pub durable: Seq,
    pub health: Health,
    /// The largest record that surely fits now; `None` while there is room for any.
    pub room: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    #[default]
    Fine,
    /// No room beyond the reserve; appends are refused until there is.
    Full,
    /// A write or sync failed; the process must restart.
    Poisoned,
}

/// A record as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub seq: Seq,
    pub kind: u8,
    pub body: Bytes,
}

/// What the log did since it was opened, and what it holds; for `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    pub segments: u64,
    /// Bytes that the segments take on the file system, preallocated room included.
    pub bytes_on_disk: u64,
    /// Group commits: each made at least one record durable.
    pub commits: u64,
    /// Syncs of files and folders.
    pub syncs: u64,
    /// Write calls.
    pub writes: u64,
    pub bytes_written: u64,
    /// Oldest record still there; zero if there is none.
    pub oldest: Seq,
}
