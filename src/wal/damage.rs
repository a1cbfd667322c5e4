//! What recovery says it found.

use crate::message::Seq;
use std::fmt;
use std::path::PathBuf;

/// What was found at start, for the log line and `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Newest number ever used, as far as the log can know. The next append begins with the one after it.
    pub last: Seq,
    /// Oldest record that is still there; zero if there is none.
    pub oldest: Seq,
    /// Records that can be read (those in older segments are taken to be whole, see the module).
    pub records: u64,
    pub segments: usize,
    pub log_id: u64,
    /// The folder was new, or had no segment of ours.
    pub is_new: bool,
    pub torn: Option<TornTail>,
    pub damaged: Vec<Damage>,
}

/// The end of the newest data was not whole and was cut off. Nothing in it had been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub file: PathBuf,
    pub at: u64,
    pub bytes: u64,
    /// Records kept before it, in this file.
    pub kept: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, bytes, kept } = self;
        write!(f, "`{}` was cut short at byte {at}: {bytes} bytes removed, {kept} records kept", file.display())
    }
}

/// Something that is not as the log left it. The log works around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Records are missing between others that are whole. `acknowledged`: they were surely durable once. Else a power cut most
    /// likely caught them on their way.
    Records { file: PathBuf, first: Seq, last: Seq, acknowledged: bool },
    /// The header cannot be read; the records are used nevertheless.
    Header { file: PathBuf },
    /// The disk could not read so many bytes.
    Unreadable { file: PathBuf, bytes: u64 },
    /// No record could be found in a file that should have some.
    Empty { file: PathBuf },
    /// Belongs to another log; ignored.
    OtherLog { file: PathBuf, log_id: u64 },
    /// Written by a newer gateway; ignored.
    Newer { file: PathBuf, version: u32 },
    /// Not a segment; ignored.
    NotOurs { file: PathBuf },
    /// The operating system does not let us use it. It stays where it is, and is tried again at the next start.
    Refused { file: PathBuf, error: String },
    /// The file that says who the log is; the segments say it too.
    Identity { file: PathBuf, why: String },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records { file, first, last, acknowledged } => {
                let records = last.0 - first.0 + 1;
                let told = if *acknowledged { "acknowledged" } else { "written just before a power cut" };
                write!(f, "`{}`: {records} records ({first} to {last}, {told}) are damaged", file.display())
            }
            Self::Header { file } => write!(f, "`{}`: the header is damaged, its records are used", file.display()),
            Self::Unreadable { file, bytes } => write!(f, "`{}`: the disk cannot read {bytes} bytes", file.display()),
            Self::Empty { file } => write!(f, "`{}`: no record could be read", file.display()),
            Self::OtherLog { file, log_id } => {
                write!(f, "`{}` belongs to another log ({log_id:016x}) and is ignored", file.display())
            }
            Self::Newer { file, version } => {
                write!(f, "`{}` has format {version} of a newer gateway and is ignored", file.display())
            }
            Self::NotOurs { file } => write!(f, "`{}` is not a log segment and is ignored", file.display()),
            Self::Refused { file, error } => {
                write!(f, "`{}` cannot be used now and is left as it is; the next start tries again: {error}", file.display())
            }
            Self::Identity { file, why } => write!(f, "`{}`, which says who the log is: {why}", file.display()),
        }
    }
}
