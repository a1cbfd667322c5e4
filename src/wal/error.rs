//! What can go wrong with the log, said to whoever must act on it.

use crate::message::Seq;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// Never retried: pages may already be gone. The process restarts and recovers.
    #[error("the disk refused a write or a flush; the log takes no more records until restart")]
    Poisoned(#[source] Arc<io::Error>),
    #[error("no room for the log in {dir}; {bytes} bytes were never acknowledged and are given up at stop", dir = dir.display())]
    DiskFull { dir: PathBuf, bytes: usize },
    #[error("the log was closed")]
    Closed,
    /// A mistake of the caller; the batch was not taken.
    #[error("record {got} was appended where {expected} comes next")]
    OutOfOrder { expected: Seq, got: Seq },
    #[error("the log in {path} cannot be used", path = path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
}

impl WalError {
    pub(super) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source: Arc::new(source) }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Not now: the disk has no room. Nothing was lost.
    NoRoom,
    /// Not now: no file descriptor is left. Nothing was lost.
    NoFiles,
    /// Not ever.
    Broken(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error {
            error if is_no_space(&error) => Self::NoRoom,
            error if is_out_of_files(&error) => Self::NoFiles,
            error => Self::Broken(error),
        }
    }
}

/// True if the process or the machine has no file descriptor left, which passes when others close theirs.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// True if the disk (or the user's share of it) is full, as opposed to broken.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
