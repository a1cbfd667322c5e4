//! What the door itself counts. Messages are counted by the router; these are about connections and about bytes that never
//! became messages.

use crate::clock::Clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the start, and two gauges. Each is exact; together they are not one moment's picture.
#[derive(Debug, Default)]
pub struct Stats {
    /// Sockets accepted.
    pub accepted: AtomicU64,
    /// Gauge: sockets that have not finished the handshake.
    pub half_open: AtomicU64,
    /// Gauge: components that are served.
    pub connected: AtomicU64,
    /// Sockets closed before the handshake was finished, or because there were too many.
    pub abandoned: AtomicU64,
    /// Connections closed because of a message that breaks the protocol or a limit.
    pub malformed: AtomicU64,
    /// Connections ended because nothing came, not even an answer to a ping.
    pub silent: AtomicU64,
    /// Connections ended because the peer did not read.
    pub stalled: AtomicU64,
    /// Failed accepts, for example because no file descriptor was left.
    pub accept_errors: AtomicU64,
    /// Warnings kept back because there were too many of them.
    pub warnings_suppressed: AtomicU64,
    /// When the last warning went out, in milliseconds of the process clock plus one.
    last_warning_ms: AtomicU64,
}

/// At most one warning in this time: a hostile peer must not fill the journal, which lives on the same card.
const WARNING_EVERY_MS: u64 = 1_000;

impl Stats {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Whether a warning may be logged now, and how many were kept back since the last one.
    pub(super) fn may_warn(&self, clock: &dyn Clock) -> Option<u64> {
        let now = clock.mono().0 / 1_000_000 + 1;
        let last = self.last_warning_ms.load(Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= WARNING_EVERY_MS;
        if due && self.last_warning_ms.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            return Some(self.warnings_suppressed.swap(0, Relaxed));
        }
        Self::count(&self.warnings_suppressed);
        None
    }
}

/// Counts one up in a gauge for as long as it lives.
#[derive(Debug)]
pub(super) struct Present<'a>(&'a AtomicU64);

impl<'a> Present<'a> {
    pub(super) fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
