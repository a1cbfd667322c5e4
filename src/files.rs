//! File descriptors: as many as the machine gives, and some of them kept back from connections.
//!
//! Linux starts processes with a soft limit of 1,024 although most machines allow far more; where that is used up nothing can be
//! opened: no segment of the log, no file of the lake, no command. So the soft limit is raised to the hard one at the start, and
//! all doors together take no more connections than there are descriptors beside this reserve:
//!
//! | for | descriptors |
//! |---|---|
//! | the log, snapshots, users and keys, the process itself | 48 |
//! | history: Parquet files, catalogs, queries | 112 |
//! | commands (`status`, `admin`, `query` …) | 64 |
//! | HTTP: pages and API, which have a bound of their own | 64 |
//! | links to other brokers | 32 |
//!
//! Where the limit is so low that this is more than half of it, half of it is kept back.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// Descriptors that no connection gets.
const RESERVE: u64 = 48 + 112 + 64 + 64 + 32;
/// What an unlimited process takes for its limit.
const UNLIMITED: u64 = 1 << 20;

/// How many descriptors there are, and for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Files {
    /// Open at once, by the kernel's word.
    pub limit: u64,
    /// Kept back for everything but connections.
    pub reserve: u64,
    /// Open at the moment.
    pub open: u64,
}

impl Files {
    /// Raises the soft limit as far as it goes. A limit that cannot be raised is told, and lived with.
    #[must_use]
    pub fn claim() -> Self {
        let before = getrlimit(Resource::Nofile);
        let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
        if before.current != before.maximum
            && let Err(error) = setrlimit(Resource::Nofile, wanted)
        {
            log::warn!(error:%, limit = before.current.unwrap_or(UNLIMITED); "the limit of open files cannot be raised");
        }
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED))
    }

    fn of(limit: u64) -> Self {
        Self { limit, reserve: RESERVE.min(limit / 2), open: 0 }
    }

    /// Connections of all doors together.
    #[must_use]
    pub fn connections(self) -> usize {
        usize::try_from(self.limit - self.reserve.min(self.limit)).unwrap_or(usize::MAX)
    }

    /// Connections of one door that have not said who they are: a quarter of the places at most.
    #[must_use]
    pub fn newcomers(self, max: usize) -> usize {
        max.min(self.connections() / 4).max(1)
    }

    /// With what is open now.
    #[must_use]
    pub fn now(self) -> Self {
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
        Self { open, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_log_and_the_others() {
        let usual = Files::of(1024);
        assert_eq!((usual.reserve, usual.connections(), usual.newcomers(256)), (320, 704, 176));
        let large = Files::of(65_536);
        assert_eq!((large.connections(), large.newcomers(256)), (65_216, 256));
        let tiny = Files::of(64);
        assert_eq!((tiny.reserve, tiny.connections(), tiny.newcomers(256)), (32, 32, 8));
        assert_eq!(Files::default().connections(), 0);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
        assert_eq!(Files::claim().limit, hard);
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED), hard);
        assert!(Files::claim().now().open > 2);
    }
}
