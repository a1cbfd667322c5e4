//! What is written to the card, and how to write less when a day's budget is short.
//!
//! Cards die of writes. So the bytes that the process has caused to be written (`/proc/self/io`) and those that the device has
//! taken (`/sys/dev/block/…/stat`, whoever wrote them) are counted. With `[wal] write_budget` a bucket is filled by what the
//! process writes and emptied at the budget's even rate; an hour's share is there from the start, so that bursts cost nothing.
//!
//! ```text
//! level ≤ 0: as configured ── an hour's share: commits and batches become rarer, up to STRETCH_MAX times ──▶ and stay there
//! ```
//! Acknowledgements wait longer then, but never longer than a second, and nothing is refused.

use crate::clock::{Mono, SharedClock};
use crate::wal::LogHandle;
use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the counters are read.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Commits and batches become at most so many times rarer.
pub const STRETCH_MAX: f64 = 20.0;
const HOURS: usize = 24;
const HOUR_S: u64 = 3600;

/// One look at what is written.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// By this process since it started; `None` where the kernel does not tell.
    pub process_bytes: Option<u64>,
    /// To the device of the data folder since the machine started, by anybody.
    pub device_bytes: Option<u64>,
    /// By this process in the last 24 hours, or since it started.
    pub day_bytes: u64,
    /// What may be written in a day.
    pub budget: Option<u64>,
    /// So many times rarer than configured are commits and batches now.
    pub stretch: f64,
}

/// The figures, kept up to date by [`watch`].
#[derive(Debug, Clone)]
pub struct Wear(Arc<Mutex<Figures>>);

impl Wear {
    #[must_use]
    pub fn figures(&self) -> Figures {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches what is written below `data` as long as the runtime lives, and slows the log's commits when the budget is short.
#[must_use]
pub fn watch(data: &Path, budget: Option<u64>, log: LogHandle, clock: SharedClock) -> Wear {
    let wear = Wear(Arc::new(Mutex::new(Figures { budget, stretch: 1.0, ..Figures::default() })));
    let (shared, device) = (Arc::clone(&wear.0), device_of(data));
    tokio::spawn(async move {
        let mut ledger = Ledger::new(clock.mono(), process_bytes().unwrap_or(0));
        loop {
            let (process, device) = (process_bytes(), device.as_deref().and_then(device_bytes));
            ledger.note(clock.mono(), process.unwrap_or(0), budget);
            let stretch = ledger.stretch(budget);
            log.stretch_commits(stretch);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) =
                Figures { process_bytes: process, device_bytes: device, day_bytes: ledger.day(), budget, stretch };
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    wear
}

/// What was written when, and how far that is above the budget.
#[derive(Debug)]
struct Ledger {
    last: (Mono, u64),
    /// Bytes above the even rate; an hour's share below zero is saved at most.
    level: f64,
    /// Bytes in each of the last hours, the newest last.
    hours: VecDeque<u64>,
    hour_began: Mono,
}

impl Ledger {
    fn new(now: Mono, written: u64) -> Self {
        Self { last: (now, written), level: f64::MIN, hours: VecDeque::from([0]), hour_began: now }
    }

    fn note(&mut self, now: Mono, written: u64, budget: Option<u64>) {
        let (before, had) = self.last;
        self.last = (now, written);
        let bytes = written.saturating_sub(had);
        while now.since(self.hour_began).as_secs() >= HOUR_S {
            self.hour_began = self.hour_began.plus(Duration::from_secs(HOUR_S));
            self.hours.push_back(0);
            if self.hours.len() > HOURS {
                self.hours.pop_front();
            }
        }
        if let Some(hour) = self.hours.back_mut() {
            *hour += bytes;
        }
        if let Some(budget) = budget {
            let share = hour_share(budget);
            let passed = now.since(before).as_secs_f64() / 3600.0;
            self.level = (self.level + bytes as f64 - share * passed).max(-share);
        }
    }

    fn day(&self) -> u64 {
        self.hours.iter().sum()
    }

    fn stretch(&self, budget: Option<u64>) -> f64 {
        let Some(budget) = budget else { return 1.0 };
        (1.0 + (STRETCH_MAX - 1.0) * self.level / hour_share(budget)).clamp(1.0, STRETCH_MAX)
    }
}

fn hour_share(budget: u64) -> f64 {
    (budget as f64 / 24.0).max(1.0)
}

/// What the kernel says about this process; see proc(5).
fn process_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// The statistics of the device that `path` is on.
fn device_of(path: &Path) -> Option<std::path::PathBuf> {
    let device = std::fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = std::path::PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
    stat.exists().then_some(stat)
}

/// Its seventh field: sectors of 512 bytes written.
fn device_bytes(stat: &Path) -> Option<u64> {
    let stat = std::fs::read_to_string(stat).ok()?;
    stat.split_whitespace().nth(6)?.parse::<u64>().ok().map(|sectors| sectors * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 24 << 30;

    fn at(minutes: u64) -> Mono {
        Mono(minutes * 60 * 1_000_000_000)
    }

    #[test]
    fn an_even_rate_and_a_burst_are_within_the_budget() {
        let mut ledger = Ledger::new(at(0), 0);
        for minute in 1..=600 {
            ledger.note(at(minute), minute * ((1 << 30) / 60), Some(BUDGET));
        }
        assert!(ledger.stretch(Some(BUDGET)) < 1.01);
        let mut ledger = Ledger::new(at(0), 0);
        ledger.note(at(1), 1 << 30, Some(BUDGET));
        assert!(ledger.stretch(Some(BUDGET)) < 1.01, "an hour's share at once");
    }

    #[test]
    fn whoever_writes_twice_as_much_waits_longer_and_longer_and_recovers() {
        let mut ledger = Ledger::new(at(0), 0);
        let (mut written, mut last) = (0, 0.0);
        for minute in 1..=180 {
            written += 2 * (1 << 30) / 60;
            ledger.note(at(minute), written, Some(BUDGET));
            let stretch = ledger.stretch(Some(BUDGET));
            assert!(stretch >= last);
            last = stretch;
        }
        assert!((last - STRETCH_MAX).abs() < 1e-9, "{last}");
        ledger.note(at(180 + 24 * 60), written, Some(BUDGET));
        assert!((ledger.stretch(Some(BUDGET)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_day_is_the_last_24_hours() {
        let mut ledger = Ledger::new(at(0), 0);
        for hour in 1..=30 {
            ledger.note(at(hour * 60 - 1), hour * 100, None);
        }
        assert_eq!(ledger.day(), 2400);
        assert!((ledger.stretch(None) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_kernel_tells_what_this_process_writes() {
        assert!(process_bytes().is_some());
    }
}
