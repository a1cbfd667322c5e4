//! Decides when a connection is dead: nothing heard although it was pinged, or nothing taken although bytes wait for it.

use super::Settings;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Ping,
    Silent,
    Stalled,
}

/// Looks at a connection's byte counters once a period; precise to one period, and costs nothing in between.
#[derive(Debug)]
pub(super) struct Watch {
    period: Duration,
    ping_interval: Duration,
    pong_timeout: Duration,
    write_stall: Duration,
    read: u64,
    written: u64,
    waiting: bool,
    /// For how long nothing came while we were listening.
    quiet: Duration,
    /// For how long nothing left while something waited.
    stuck: Duration,
    since_ping: Duration,
}

/// Looks per ping interval.
const LOOKS: u32 = 6;

impl Watch {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            period: settings.ping_interval.min(settings.write_stall) / LOOKS,
            ping_interval: settings.ping_interval,
            pong_timeout: settings.pong_timeout,
            write_stall: settings.write_stall,
            read: 0,
            written: 0,
            waiting: false,
            quiet: Duration::ZERO,
            stuck: Duration::ZERO,
            since_ping: Duration::ZERO,
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// `listening`: we read from the socket; `waiting`: bytes wait to be written.
    pub(super) fn tick(&mut self, (read, written): (u64, u64), listening: bool, waiting: bool) -> Verdict {
        // While we do not read, its silence says nothing. Nor while it works through what fills its socket: the ping waits
        // behind that. (Bytes that merely went into our own full-sized buffer are no sign of life.)
        let busy = waiting && self.waiting && written != self.written;
        let heard = read != self.read || !listening || busy;
        self.quiet = if heard { Duration::ZERO } else { self.quiet + self.period };
        let moved = written != self.written || !waiting;
        self.stuck = if moved { Duration::ZERO } else { self.stuck + self.period };
        self.since_ping += self.period;
        (self.read, self.written, self.waiting) = (read, written, waiting);
        if self.stuck >= self.write_stall {
            Verdict::Stalled
        } else if self.quiet >= self.ping_interval + self.pong_timeout {
            Verdict::Silent
        } else if self.since_ping >= self.ping_interval {
            self.since_ping = Duration::ZERO;
            Verdict::Ping
        } else {
            Verdict::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(watch: &mut Watch, count: usize, listening: bool, waiting: bool) -> Vec<Verdict> {
        (0..count).map(|_| watch.tick((7, 7), listening, waiting)).filter(|verdict| *verdict != Verdict::Fine).collect()
    }

    #[test]
    fn a_silent_peer_is_pinged_and_then_given_up() {
        let mut watch = Watch::new(&Settings::default());
        assert_eq!(watch.period(), Duration::from_secs(5));
        assert_eq!(watch.tick((7, 7), true, false), Verdict::Fine);
        assert_eq!(ticks(&mut watch, 9, true, false), [Verdict::Ping]);
        assert_eq!(watch.tick((7, 7), true, false), Verdict::Silent);
    }

    #[test]
    fn a_peer_that_answers_pings_stays() {
        let mut watch = Watch::new(&Settings::default());
        let mut read = 0;
        for _ in 0..100 {
            match watch.tick((read, 7), true, false) {
                Verdict::Ping => read += 6,
                verdict => assert_eq!(verdict, Verdict::Fine),
            }
        }
        assert!(read > 60);
    }

    #[test]
    fn a_peer_that_we_make_wait_is_not_blamed_for_its_silence() {
        let mut watch = Watch::new(&Settings::default());
        assert!(!ticks(&mut watch, 100, false, false).contains(&Verdict::Silent));
    }

    #[test]
    fn bytes_that_only_fill_our_own_buffers_are_no_sign_of_life() {
        let mut watch = Watch::new(&Settings::default());
        assert!((0..100).any(|written| watch.tick((7, written), true, false) == Verdict::Silent));
    }

    #[test]
    fn a_peer_that_takes_nothing_is_dropped_and_a_slow_one_is_not() {
        let mut watch = Watch::new(&Settings::default());
        for written in 0..100 {
            assert!(matches!(watch.tick((7, written), true, true), Verdict::Fine | Verdict::Ping));
        }
        let mut watch = Watch::new(&Settings::default());
        assert!((0..100).any(|read| watch.tick((read, 7), true, true) == Verdict::Stalled));
    }
}
