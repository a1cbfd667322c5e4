//! When to commit: a page's worth of records or the oldest waiting acknowledgement decides, whichever is first.
//!
//! A write budget that is short stretches both: see [`Pace::stretch`]. Cards die of writes, and a sync writes at least one 4 KiB page. So small records gather for a page or for `ack_delay_max`;
//! records that nobody waits for gather much longer, and nothing at all is written while nothing happens.

use std::time::Duration;
use tokio::time::Instant;

/// A commit that fills a page costs the card no more than a smaller one.
const PAGE_BYTES: usize = 4096;
/// What a power cut may take of messages that nobody waits for.
const IDLE_BYTES: usize = 64 << 10;
/// The longest wait that a short write budget may cause.
const STRETCHED_MAX: Duration = Duration::from_secs(1);

/// What gathered since the last sync.
#[derive(Debug)]
pub(super) struct Pace {
    ack_delay_max: Duration,
    idle_delay_max: Duration,
    bytes: usize,
    /// When the oldest unsynced record came.
    since: Option<Instant>,
    /// When the oldest unsynced record that somebody waits for came.
    ack_since: Option<Instant>,
    /// In thousandths.
    stretch: u64,
}

impl Pace {
    pub(super) fn new(ack_delay_max: Duration, idle_delay_max: Duration) -> Self {
        Self { ack_delay_max, idle_delay_max, bytes: 0, since: None, ack_since: None, stretch: 1000 }
    }

    /// Makes commits rarer: so many thousandths of the bytes and the time. Nobody waits longer than a second for that reason.
    pub(super) fn stretch(&mut self, thousandths: u64) {
        self.stretch = thousandths;
    }

    fn stretched(&self, wait: Duration) -> Duration {
        let longer = wait.saturating_mul(u32::try_from(self.stretch).unwrap_or(u32::MAX)) / 1000;
        longer.min(STRETCHED_MAX).max(wait)
    }

    pub(super) fn add(&mut self, bytes: usize, ack_waits: bool, now: Instant) {
        self.bytes += bytes;
        self.since.get_or_insert(now);
        if ack_waits {
            self.ack_since.get_or_insert(now);
        }
    }

    /// Everything that was added is on the disk.
    pub(super) fn synced(&mut self) {
        (self.bytes, self.since, self.ack_since) = (0, None, None);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let page = PAGE_BYTES.saturating_mul(usize::try_from(self.stretch).unwrap_or(usize::MAX)) / 1000;
        let enough = if self.ack_since.is_some() { page } else { IDLE_BYTES.max(page) };
        self.bytes >= enough || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// When a commit becomes due if nothing more comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.since.map(|since| since + self.stretched(self.idle_delay_max));
        let ack = self.ack_since.map(|since| since + self.stretched(self.ack_delay_max));
        [idle, ack].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> (Pace, Instant) {
        (Pace::new(Duration::from_millis(50), Duration::from_secs(1)), Instant::now())
    }

    #[test]
    fn nothing_is_due_while_nothing_happens() {
        let (pace, now) = pace();
        assert!(!pace.is_due(now + Duration::from_secs(3600)));
        assert_eq!(pace.deadline(), None);
    }

    #[test]
    fn a_small_record_waits_for_company_but_not_longer_than_the_oldest_ack_may() {
        let (mut pace, now) = pace();
        pace.add(100, true, now);
        pace.add(100, true, now + Duration::from_millis(40));
        assert!(!pace.is_due(now + Duration::from_millis(49)));
        assert!(pace.is_due(now + Duration::from_millis(50)));
    }

    #[test]
    fn a_full_page_with_an_ack_waiting_goes_at_once() {
        let (mut pace, now) = pace();
        pace.add(4000, false, now);
        assert!(!pace.is_due(now));
        pace.add(96, true, now);
        assert!(pace.is_due(now));
    }

    #[test]
    fn a_short_budget_stretches_pages_and_waits_up_to_a_second() {
        let (mut pace, now) = pace();
        pace.stretch(10_000);
        pace.add(5000, true, now);
        assert!(!pace.is_due(now + Duration::from_millis(499)));
        assert!(pace.is_due(now + Duration::from_millis(500)));
        pace.stretch(100_000);
        assert_eq!(pace.deadline(), Some(now + Duration::from_secs(1)));
        pace.stretch(1000);
        assert!(pace.is_due(now));
    }

    #[test]
    fn records_that_nobody_waits_for_gather_longer() {
        let (mut pace, now) = pace();
        pace.add(60 << 10, false, now);
        assert!(!pace.is_due(now + Duration::from_millis(999)));
        assert!(pace.is_due(now + Duration::from_secs(1)));
        pace.add(4 << 10, false, now);
        assert!(pace.is_due(now));
        pace.synced();
        assert_eq!(pace.deadline(), None);
    }
}
