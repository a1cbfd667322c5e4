//! What a door itself counts. Messages are counted by the router; these are about connections and about bytes that never
//! became messages.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the start, and two gauges. Each is exact; together they are not one moment's picture.
#[derive(Debug, Default)]
pub struct Stats {
    /// Sockets accepted.
    pub accepted: AtomicU64,
    /// Gauge: sockets that have not said who they are.
    pub half_open: AtomicU64,
    /// Gauge: peers that are served.
    pub connected: AtomicU64,
    /// Peers told no (MQTT CONNACK).
    pub refused: AtomicU64,
    /// Connections that never got to speak: a failed TLS or WebSocket handshake, a missing PROXY header.
    pub transport: AtomicU64,
    /// Sockets closed before they said who they are: silent too long, displaced by newer ones, too many, or another protocol.
    pub abandoned: AtomicU64,
    /// Connections ended because of a message that breaks the protocol or a limit.
    pub malformed: AtomicU64,
    /// Connections ended because nothing came in time: one and a half keep alives of MQTT, an answer to a WebSocket ping.
    pub silent: AtomicU64,
    /// Connections ended because the peer did not read.
    pub stalled: AtomicU64,
    /// Deliveries that cannot be said to that peer: an MQTT topic with wildcards, larger than its maximum packet size.
    pub undeliverable: AtomicU64,
    /// Failed accepts, for example because no file descriptor was left.
    pub accept_errors: AtomicU64,
    /// Warnings kept back because there were too many of them.
    pub warnings_suppressed: AtomicU64,
    /// When the last warning went out, in milliseconds of the process clock.
    last_warning_ms: AtomicU64,
}

/// At most one warning in this time: a hostile peer must not fill the journal, which lives on the same card.
const WARNING_EVERY_MS: u64 = 1_000;

impl Stats {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Whether a warning may be logged now, and how many were kept back since the last one.
    pub(crate) fn may_warn(&self, clock: &dyn crate::clock::Clock) -> Option<u64> {
        // Offset by one, so that 0 means never.
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
pub(crate) struct Present<'a>(&'a AtomicU64);

impl<'a> Present<'a> {
    pub(crate) fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }

    /// Like `new`, unless `max` are there already.
    pub(crate) fn within(gauge: &'a AtomicU64, max: usize) -> Option<Self> {
        let present = Self::new(gauge);
        (gauge.load(Relaxed) <= max as u64).then_some(present)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_warnings_becomes_one_a_second_with_a_count() {
        let (stats, clock) = (Stats::default(), SystemClock::shared());
        assert_eq!(stats.may_warn(&*clock), Some(0));
        assert_eq!(stats.may_warn(&*clock), None);
        assert_eq!(stats.may_warn(&*clock), None);

        tokio::time::advance(Duration::from_millis(WARNING_EVERY_MS)).await;
        assert_eq!(stats.may_warn(&*clock), Some(2));
    }

    #[test]
    fn a_gauge_refuses_the_one_too_many_and_forgets_it() {
        let gauge = AtomicU64::default();
        let first = Present::within(&gauge, 1);
        assert!(first.is_some());
        assert!(Present::within(&gauge, 1).is_none());
        drop(first);
        assert_eq!(gauge.load(Relaxed), 0);
        assert!(Present::within(&gauge, 1).is_some());
    }
}
