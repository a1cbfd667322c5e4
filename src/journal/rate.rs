//! No place in the code may fill the journal, which lives on the same card as the log, whatever makes it speak: each has a number
//! of lines that it may say at once, and a few for each second after that. What is kept back is counted, and told with the next
//! line of that place.
//!
//! This is the last line of defence, for all lines there are and will be. Where a peer causes a line, its door has a tighter limit
//! of its own ([`crate::door::Stats`]) that knows the peer.

use crate::clock::Mono;
use ahash::AHashMap;
use log::{Level, Record};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Lines of one place at once: a start with many tables, doors or damaged files says each.
const BURST: u64 = 300;
/// A line is earned each so many nanoseconds.
const EARNED_EVERY_NS: u64 = 1_000_000_000;
/// Places that are told apart; there are fewer in our code. Beyond, they share one allowance.
const PLACES_MAX: usize = 1_024;

/// Lines kept back since the start.
static KEPT_BACK: AtomicU64 = AtomicU64::new(0);

/// Lines kept back since the start, for the metrics.
#[must_use]
pub fn lines_kept_back() -> u64 {
    KEPT_BACK.load(Relaxed)
}

/// Where a line is said: file and line, or the target of a library that does not tell.
type Place = (String, u32);

#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<AHashMap<Place, Allowance>>);

#[derive(Debug, Clone, Copy)]
struct Allowance {
    lines: u64,
    /// Since when the next line is being earned.
    since: Mono,
    kept_back: u64,
}

impl Rate {
    /// Whether a line may be said now, and how many of its place were kept back before it. Whoever asks for `debug` or `trace` wants
    /// all of them.
    pub(super) fn may_say(&self, record: &Record<'_>, now: Mono) -> Option<u64> {
        if record.level() > Level::Info {
            return Some(0);
        }
        let place = (record.file().unwrap_or(record.target()).to_owned(), record.line().unwrap_or_default());
        // Nothing in here can panic half way.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = if places.len() < PLACES_MAX || places.contains_key(&place) { place } else { Place::default() };
        let allowance = places.entry(place).or_insert(Allowance { lines: BURST, since: now, kept_back: 0 });
        let earned = now.0.saturating_sub(allowance.since.0) / EARNED_EVERY_NS;
        allowance.lines = allowance.lines.saturating_add(earned).min(BURST);
        allowance.since = Mono(allowance.since.0 + earned * EARNED_EVERY_NS);
        if allowance.lines == 0 {
            allowance.kept_back += 1;
            KEPT_BACK.fetch_add(1, Relaxed);
            return None;
        }
        allowance.lines -= 1;
        Some(std::mem::take(&mut allowance.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rate: &Rate, line: u32, level: Level, now: Mono) -> Option<u64> {
        rate.may_say(&Record::builder().level(level).file(Some("src/a.rs")).line(Some(line)).build(), now)
    }

    #[test]
    fn a_place_that_is_made_to_speak_without_end_says_one_line_a_second_and_how_many_it_did_not() {
        let rate = Rate::default();
        let lines = |from: u64| (0..100_000).filter(|_| said(&rate, 1, Level::Warn, Mono(from)).is_some()).count() as u64;
        assert_eq!(lines(0), BURST);
        assert_eq!(lines(EARNED_EVERY_NS * 3), 3);
        assert_eq!(said(&rate, 1, Level::Warn, Mono(EARNED_EVERY_NS * 4)), Some(100_000 - 3), "told with the next line");
        // Others are not silenced by it, and who asks for everything gets it.
        assert_eq!(said(&rate, 2, Level::Error, Mono(EARNED_EVERY_NS * 4)), Some(0));
        assert!((0..1_000).all(|_| said(&rate, 3, Level::Debug, Mono(0)).is_some()));
    }

    #[test]
    fn a_place_that_was_quiet_may_say_as_much_as_at_first_and_no_more() {
        let rate = Rate::default();
        let lines = |at: u64| (0..10 * BURST).filter(|_| said(&rate, 1, Level::Info, Mono(at)).is_some()).count() as u64;
        assert_eq!((lines(0), lines(1 << 60)), (BURST, BURST));
    }

    #[test]
    fn places_do_not_fill_memory() {
        let rate = Rate::default();
        for line in 0..10 * PLACES_MAX as u32 {
            said(&rate, line, Level::Warn, Mono(0));
        }
        assert!(rate.0.lock().unwrap().len() <= PLACES_MAX + 1);
    }
}
