//! How much a link may send: a bucket that fills with time.

use crate::clock::Mono;
use std::time::Duration;

/// What a message costs at least, in bytes: small ones cost the processor more than the wire.
const COST_MIN: u64 = 512;
/// How long a full bucket lasts.
const BURST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes a second.
    per_second: u64,
    /// Bytes that may be sent at once; below zero after a message that was larger than what was left.
    left: i128,
    filled: Mono,
}

impl Rate {
    pub(super) fn new(per_second: u64, now: Mono) -> Self {
        Self { per_second: per_second.max(1), left: 0, filled: now }
    }

    /// Notes a message that is sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left -= i128::from((bytes as u64).max(COST_MIN));
    }

    /// How long to wait before the next message may be sent; zero if it may be now.
    pub(super) fn wait(&mut self, now: Mono) -> Duration {
        let burst = self.bytes_in(BURST).max(i128::from(COST_MIN));
        self.left = (self.left + self.bytes_in(now.since(self.filled))).min(burst);
        self.filled = now;
        if self.left > 0 {
            return Duration::ZERO;
        }
        let nanos = ((1 - self.left) * 1_000_000_000).div_euclid(i128::from(self.per_second)) + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn bytes_in(&self, time: Duration) -> i128 {
        let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / i128::from(u64::MAX));
        i128::from(self.per_second) * nanos / 1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_second_no_more_goes_out_than_was_allowed() {
        let mut now = Mono(0);
        let mut rate = Rate::new(1 << 20, now);
        let mut sent = 0;
        while now < Mono(0).plus(Duration::from_secs(10)) {
            let wait = rate.wait(now);
            if wait.is_zero() {
                rate.spend(2000);
                sent += 2000;
            } else {
                now = now.plus(wait);
            }
        }
        let allowed = 10 << 20;
        assert!(sent <= allowed + (allowed / 50) && sent >= allowed - (allowed / 50), "{sent}");
    }

    #[test]
    fn small_messages_cost_as_half_a_kibibyte_and_large_ones_pass_whole() {
        let mut rate = Rate::new(512, Mono(0));
        let second = Mono(0).plus(Duration::from_secs(1));
        assert!(rate.wait(second).is_zero());
        rate.spend(1);
        assert!(rate.wait(second) > Duration::ZERO);
        let mut rate = Rate::new(1000, Mono(0));
        assert!(rate.wait(second).is_zero());
        rate.spend(10_000);
        assert!(rate.wait(second) > Duration::from_secs(9), "the next one pays for it");
    }
}
