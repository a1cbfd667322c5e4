//! The durable log: every message once, in order, on the disk before anybody is told so.
//!
//! Knows no protocol: a record is a sequence number, a kind and bytes. Promises:
//!
//! * [`LogState::durable`] names a record only after `fdatasync` of everything up to it (and of the folder, when its segment
//!   is new).
//! * After a crash or a power cut the log opens, keeps every record that was durable, cuts a torn tail and says what it cost.
//! * After a failed write or sync it is *poisoned*: nothing is declared durable any more until the process restarts.
//! * Nothing is written while nothing happens.

use crate::message::Seq;
use bytes::Bytes;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Options {
    pub dir: std::path::PathBuf,
    /// Size to which a segment file is preallocated.
    pub segment_bytes: u64,
    /// How long the oldest waiting acknowledgement may wait for a commit.
    pub ack_delay_max: Duration,
    /// How long records that nobody waits for (QoS 0) may stay unsynced.
    pub idle_delay_max: Duration,
    /// Segments wholly older than this are removed once released by every reader.
    pub keep: Duration,
    /// Total size of segments beyond which the oldest are removed once released.
    pub keep_bytes: u64,
    /// Free room that the log leaves on the file system.
    pub reserve_bytes: u64,
}

/// How far the log is. Watched by the router (acknowledgements) and by readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// Newest record that readers can read.
    pub written: Seq,
    /// Newest record that survives a power cut.
    pub durable: Seq,
    pub health: Health,
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

/// Records of one router turn, encoded side by side in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    // the wal author defines this
}

impl Batch {
    /// Adds a record; `body` appends the body to the buffer it is given. Sequence numbers rise by one from record to record.
    /// `ack_waits` says that somebody waits for it to become durable.
    pub fn push(&mut self, _seq: Seq, _kind: u8, _ack_waits: bool, _body: impl FnOnce(&mut Vec<u8>)) {
        todo!()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Bytes this batch will take in the log.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }
}

/// A record as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub seq: Seq,
    pub kind: u8,
    pub body: Bytes,
}

// Agreed between the parts (the author of wal/ fills it in and may add, not rename):
//
//   pub fn open(disk: SharedDisk, clock: SharedClock, options: Options) -> Result<(Log, LogHandle, Recovery), WalError>
//       Recovery { last: Seq, records: u64, torn: Option<…>, damaged: Vec<…>, log_id: u64, … } tells what was found, for the log line
//       and /metrics.
//   impl Log       { pub async fn run(self) }  // until every LogHandle is gone or close() was called. Production runs it on its own
//                                              // thread with a current-thread runtime; the simulation spawns it as a task.
//   impl LogHandle (Clone) {
//       pub fn state(&self) -> tokio::sync::watch::Receiver<LogState>
//       pub fn pending_bytes(&self) -> usize                       // appended, not yet written
//       pub async fn append(&self, batch: Batch) -> Result<(), WalError>   // waits while more than a bound is pending
//       pub async fn flush(&self, upto: Seq) -> Result<(), WalError>       // written: readers see it (no sync)
//       pub async fn sync(&self, upto: Seq) -> Result<(), WalError>        // durable
//       pub fn reader(&self, from: Seq) -> Reader
//       pub fn release(&self, upto: Seq)                            // history is done with records up to here
//       pub fn log_id(&self) -> u64                                 // random, made with the folder; the lake stores it beside the seq
//       pub async fn close(&self)                                   // write, sync, end run()
//       pub fn stats(&self) -> LogStats                             // segments, bytes on disk, commits, syncs, bytes written, oldest seq
//   }
//   impl Reader    { pub fn read(&mut self, bytes_max: usize) -> Result<Vec<Record>, WalError>   // empty: caught up
//                    pub fn position(&self) -> Seq }                // next seq it will return
#[derive(Debug, Clone)]
pub struct LogHandle;
#[derive(Debug)]
pub struct Tmp;
impl LogHandle {
    pub fn state(&self) -> tokio::sync::watch::Receiver<LogState> {
        todo!()
    }
    pub fn pending_bytes(&self) -> usize {
        0
    }
    pub async fn append(&self, _b: Batch) -> Result<(), Tmp> {
        Ok(())
    }
}
