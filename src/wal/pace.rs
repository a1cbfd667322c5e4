//! When to commit: a page's worth of records or the oldest waiting acknowledgement decides, whichever is first.
//!
//! Cards die of writes, and a sync writes at least one 4 KiB page. So small records gather for a page or for `ack_delay_max`;
//! records that nobody waits for gather much longer, and nothing at all is written while nothing happens. A page that is synced
//! before it is full is written twice, so a commit ends at the end of a page where nobody waits too long for that: see
//! [`Pace::cut`]. A write budget that is short stretches both: see [`Pace::stretch`].

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// A commit that fills a page costs the card no more than a smaller one.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Of commits with more pages the last one matters little: then everything goes at once.
const PAGES_CUT: u64 = 4;
/// What a power cut may take of messages that nobody waits for.
const IDLE_BYTES: u64 = 64 << 10;
/// The longest wait that a short write budget may cause.
const STRETCHED_MAX: Duration = Duration::from_secs(1);

/// What gathered since the last sync. Places count the bytes of all records since the log was opened.
#[derive(Debug)]
pub(super) struct Pace {
    ack_delay_max: Duration,
    idle_delay_max: Duration,
    added: u64,
    synced: u64,
    /// Where records that came together end, and when they came; those that are not synced.
    came: VecDeque<(u64, Instant)>,
    /// The same of records that somebody waits for.
    acks: VecDeque<(u64, Instant)>,
    /// In thousandths.
    stretch: u64,
}

/// How much of what waits a commit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it.
    Everything,
    /// Whole pages, so many bytes from here; the rest is young and goes with the next page.
    Pages(u64),
}

impl Pace {
    pub(super) fn new(ack_delay_max: Duration, idle_delay_max: Duration) -> Self {
        let (came, acks) = (VecDeque::new(), VecDeque::new());
        Self { ack_delay_max, idle_delay_max, added: 0, synced: 0, came, acks, stretch: 1000 }
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
        self.added += bytes as u64;
        for gathered in std::iter::once(&mut self.came).chain(ack_waits.then_some(&mut self.acks)) {
            match gathered.back_mut().filter(|(_, at)| *at == now) {
                Some((end, _)) => *end = self.added,
                None => gathered.push_back((self.added, now)),
            }
        }
    }

    /// All but the newest `left` bytes are on the disk.
    pub(super) fn synced(&mut self, left: usize) {
        self.synced = self.added.saturating_sub(left as u64);
        for gathered in [&mut self.came, &mut self.acks] {
            while gathered.pop_front_if(|(end, _)| *end <= self.synced).is_some() {}
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let page = PAGE_BYTES.saturating_mul(self.stretch) / 1000;
        let enough = if self.acks.is_empty() { IDLE_BYTES.max(page) } else { page };
        self.added - self.synced >= enough || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// When a commit becomes due if nothing more comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.came.front().map(|(_, since)| *since + self.stretched(self.idle_delay_max));
        let ack = self.acks.front().map(|(_, since)| *since + self.stretched(self.ack_delay_max));
        [idle, ack].into_iter().flatten().min()
    }

    /// How much of the `waiting` bytes that are not written a commit takes that begins at byte `at` of a page and is due.
    pub(super) fn cut(&self, at: u64, waiting: u64, now: Instant) -> Cut {
        let end = at % PAGE_BYTES + waiting;
        let (pages, rest) = (end / PAGE_BYTES, end % PAGE_BYTES);
        let late = |(end, since): &&(u64, Instant), delay| (*since + self.stretched(delay) <= now).then_some(*end);
        let late_acks = self.acks.iter().map_while(|gathered| late(&gathered, self.ack_delay_max)).last();
        let late_all = self.came.iter().map_while(|gathered| late(&gathered, self.idle_delay_max)).last();
        let must = late_acks.max(late_all).unwrap_or(0);
        // What does not fit into the pages as a whole is left too.
        let left = rest + PAGE_BYTES / 8;
        let bytes = (pages * PAGE_BYTES).saturating_sub(at % PAGE_BYTES);
        if pages > PAGES_CUT || bytes < PAGE_BYTES / 8 || must + left > self.added {
            return Cut::Everything;
        }
        Cut::Pages(bytes)
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
        pace.synced(0);
        assert_eq!(pace.deadline(), None);
    }

    #[test]
    fn a_commit_ends_with_a_page_unless_somebody_waits_too_long_for_the_next() {
        let (mut pace, now) = pace();
        let later = |ms| now + Duration::from_millis(ms);
        pace.add(3000, true, now);
        pace.add(1200, true, later(40));
        assert_eq!(pace.cut(0, 4200, later(50)), Cut::Pages(4096), "the rest is ten milliseconds old");
        assert_eq!(pace.cut(500, 4200, later(50)), Cut::Pages(3596));
        assert_eq!(pace.cut(0, 4200, later(90)), Cut::Everything, "the rest waits for fifty");
        pace.synced(1200);
        assert_eq!(pace.deadline(), Some(later(90)), "what is left has a wait of its own");
        assert_eq!(pace.cut(0, 1200, later(90)), Cut::Everything, "less than a page goes when its time has come");
        pace.add(100_000, true, later(41));
        assert_eq!(pace.cut(0, 101_200, later(41)), Cut::Everything, "one page of many is not worth a wait");
    }
}
