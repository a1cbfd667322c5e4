//! How far a subscription of a component has come, in terms of the log: what its replay brings, and what it does not bring again.
//!
//! ```text
//! log   ──●──●──●──○──●──○──○────────▶        ● settled (written, acknowledged, given up)   ○ open (queued or sent)
//!                  │     └─ open          low: everything up to here is settled; it is what is kept over a restart,
//!            low ──┘     offered ──┘           together with what is settled `ahead` of it
//! ```
//!
//! While a component takes messages as they come, `offered` moves with the log by itself; the router says where it is
//! (`position`). When the link goes, what is open is lost, and `offered` falls back to `low`.
//!
//! `Now`, a window and `reactive`'s own bound pass over records without settling them: `passed` says since when nothing has been
//! brought though there may have been something. Who asks for more of the past later gets what lies behind it.

use super::event::{DeliveryId, Past};
use crate::clock::Wall;
use crate::message::{Qos, Seq};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

/// Settled records that are remembered behind an open one. A component that never acknowledges one message and acknowledges so
/// many after it will not get that one again.
const AHEAD_MAX: usize = 8_192;

/// A copy for a subscription, and the record of which it is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u32,
    pub(super) seq: Seq,
}

impl Mark {
    /// The number, as a parcel has it.
    pub(super) fn line(self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.number)
    }

    /// The number under which the copy is delivered: always the same, so that a peer that has a QoS 2 message knows it again after
    /// a restart of ours. Two of them are the same once in four billion.
    pub(super) fn delivery_id(self) -> DeliveryId {
        // The finalizer of splitmix64.
        let mut mixed = self.seq.0 ^ u64::from(self.number).rotate_right(16);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let id = u32::try_from((mixed ^ (mixed >> 31)) >> 32).expect("32 bits are left");
        DeliveryId(id.max(1))
    }
}

/// How far a subscription has come, as the log is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Everything up to here is settled or passed over.
    pub(super) upto: Seq,
    /// And these behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ahead: Vec<Seq>,
    /// What lies between this and `upto` was passed over, if there was anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) passed: Option<Seq>,
}

impl Progress {
    /// What was told a moment later.
    pub(super) fn extend(&mut self, later: &Self) {
        self.upto = later.upto;
        self.ahead.extend_from_slice(&later.ahead);
        self.passed = later.passed;
    }
}

#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) past: Past,
    /// Whatever it wants up to here was queued for it once.
    offered: Seq,
    /// In order.
    open: VecDeque<Seq>,
    ahead: BTreeSet<Seq>,
    /// Of `ahead`, what the log has not been told.
    fresh: Vec<Seq>,
    dirty: bool,
    /// Where it was when the component stopped taking messages. `Now` has no interest in what came after that, but what was
    /// under way then with QoS 1 or 2 is owed.
    left: Seq,
    /// `Now`: where the component began to take messages again.
    resumed: Seq,
    /// Only what was received after this.
    since: Wall,
    passed: Option<Seq>,
}

impl Trail {
    pub(super) fn new(past: Past, offered: Seq) -> Self {
        Self { past, offered, left: offered, resumed: offered, ..Self::default() }
    }

    /// Whether copies are tracked: a `Now` subscription is owed QoS 1 and 2 only.
    pub(super) fn tracks(&self, qos: Qos) -> bool {
        self.past != Past::Nothing || qos > Qos::AtMostOnce
    }

    /// Whether a stored message is still to be delivered.
    pub(super) fn wants(&self, seq: Seq, qos: Qos, received: Wall) -> bool {
        let too_old = seq <= self.resumed && received.0 <= self.since.0;
        if seq <= self.offered || too_old || self.ahead.contains(&seq) {
            return false;
        }
        self.past != Past::Nothing || seq > self.resumed || (seq <= self.left && qos > Qos::AtMostOnce)
    }

    /// Whether where the component stopped taking messages does not say it all: something offered before is open, or was passed over.
    pub(super) fn is_behind(&self) -> bool {
        self.low(Seq(0)) < self.left || self.passed.is_some()
    }

    pub(super) fn left(&self) -> Seq {
        self.left
    }

    /// Where reading has to begin: after this record.
    pub(super) fn offered(&self) -> Seq {
        self.offered
    }

    /// And not what was received before that, as far as it lies before this record: a clock may be set back later.
    pub(super) fn since(&self) -> (Wall, Seq) {
        (self.since, self.resumed)
    }

    /// A copy was queued.
    pub(super) fn offer(&mut self, seq: Seq) {
        debug_assert!(seq > self.offered, "copies are made in the order of the log");
        self.offered = seq;
        self.open.push_back(seq);
        self.bring(seq);
    }

    /// The copy that was queued last was taken back: it has not been offered.
    pub(super) fn take_back(&mut self, seq: Seq) {
        if let Ok(at) = self.open.binary_search(&seq) {
            self.open.remove(at);
        }
        self.offered = self.offered.min(Seq(seq.0.saturating_sub(1)));
    }

    /// A record was brought, tracked or not. Between it and where the component resumed, more may have been passed over.
    pub(super) fn bring(&mut self, seq: Seq) {
        self.passed = self.passed.filter(|_| seq < self.resumed).map(|_| seq);
    }

    /// A copy has found its end.
    pub(super) fn settle(&mut self, seq: Seq) {
        let Ok(at) = self.open.binary_search(&seq) else { return };
        self.open.remove(at);
        self.dirty = true;
        if at > 0 {
            self.ahead.insert(seq);
            self.fresh.push(seq);
            if self.ahead.len() > AHEAD_MAX {
                self.open.pop_front();
            }
        }
        self.forget_behind();
    }

    fn forget_behind(&mut self) {
        match self.open.front() {
            Some(open) => {
                while self.ahead.first().is_some_and(|first| first < open) {
                    self.ahead.pop_first();
                }
            }
            None => self.ahead.clear(),
        }
    }

    /// Everything up to here is settled; `position` is how far the component has been served.
    pub(super) fn low(&self, position: Seq) -> Seq {
        match self.open.front() {
            Some(open) => Seq(open.0.saturating_sub(1)),
            None => self.offered.max(position),
        }
    }

    /// What the log should be told, if there is news.
    pub(super) fn news(&mut self, position: Seq) -> Option<Progress> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let upto = self.low(position);
        let mut ahead = std::mem::take(&mut self.fresh);
        ahead.retain(|seq| *seq > upto);
        Some(Progress { upto, ahead, passed: self.passed })
    }

    /// The same from the beginning.
    pub(super) fn all(&self, position: Seq) -> Progress {
        Progress { upto: self.low(position), ahead: self.ahead.iter().copied().collect(), passed: self.passed }
    }

    /// The component was served up to here and takes no more for now.
    pub(super) fn pause(&mut self, position: Seq) {
        self.offered = self.offered.max(position);
        self.left = self.offered;
    }

    /// What is open will never be answered: the link is gone.
    pub(super) fn lose(&mut self) {
        self.offered = self.low(self.offered);
        self.open = VecDeque::new();
        self.fresh = Vec::new();
        self.dirty = false;
        self.ahead = self.ahead.split_off(&self.offered.next());
    }

    /// The component takes messages from now on; `last` is the newest record. `reach` bounds how far back it wants to go.
    pub(super) fn resume(&mut self, reach: Past, last: Seq, now: Wall) {
        let back = |past| match past {
            Past::Window(ns) if now.is_set() => Wall(now.0.saturating_sub(ns)),
            // Without knowing the time, everything.
            Past::Window(_) | Past::Unseen | Past::Nothing => Wall(0),
        };
        self.since = Wall(back(self.past).0.max(back(reach).0));
        self.resumed = last;
        if self.past == Past::Nothing || self.since.is_set() {
            self.pass();
        }
        let owes_nothing = self.past == Past::Nothing && self.offered >= self.left;
        if owes_nothing || reach == Past::Nothing {
            self.skip_to(last);
        }
    }

    /// Something behind what was offered may go by.
    fn pass(&mut self) {
        self.dirty |= self.passed.is_none();
        self.passed.get_or_insert(self.offered);
    }

    /// The component, which was served up to `position`, asks for another part of the past: what was passed over was not offered.
    pub(super) fn look_back(&mut self, position: Seq) {
        self.pause(position);
        if let Some(passed) = self.passed.take() {
            self.offered = passed;
            self.dirty = true;
        }
    }

    /// Nothing up to here is wanted for now.
    pub(super) fn skip_to(&mut self, seq: Seq) {
        self.pass();
        self.dirty |= self.offered < seq;
        self.offered = self.offered.max(seq);
        self.left = self.left.max(seq);
        if self.open.is_empty() {
            self.ahead = self.ahead.split_off(&self.offered.next());
        }
    }

    /// As the log says.
    pub(super) fn restore(&mut self, Progress { upto, ahead, passed }: Progress) {
        self.offered = upto;
        self.ahead.extend(ahead);
        self.ahead = self.ahead.split_off(&upto.next());
        self.passed = passed;
    }

    /// As the log says: the component was served up to `position` when it left.
    pub(super) fn restore_left(&mut self, position: Seq) {
        self.offered = self.offered.max(position);
        self.left = self.offered;
        self.ahead.clear();
        self.passed = None;
    }

    /// The component was still there when the process ended with `last`.
    pub(super) fn restore_cut_off(&mut self, last: Seq) {
        self.left = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONG_AGO: Wall = Wall(1);
    const NOW: Wall = Wall(1_800_000_000_000_000_000);

    fn seqs(trail: &Trail, upto: u64) -> Vec<u64> {
        (1..=upto).filter(|seq| trail.wants(Seq(*seq), Qos::AtLeastOnce, Wall(NOW.0 - 1))).collect()
    }

    #[test]
    fn what_was_settled_does_not_come_again_and_what_was_open_does() {
        let mut trail = Trail::new(Past::Unseen, Seq(0));
        trail.resume(Past::Unseen, Seq(0), NOW);
        for seq in [2, 4, 5, 7] {
            trail.offer(Seq(seq));
        }
        trail.settle(Seq(2));
        trail.settle(Seq(5));
        assert_eq!(trail.news(Seq(8)), Some(Progress { upto: Seq(3), ahead: vec![Seq(5)], passed: None }));
        assert_eq!(trail.news(Seq(8)), None, "told once");
        trail.pause(Seq(8));
        trail.lose();
        trail.resume(Past::Unseen, Seq(9), NOW);
        assert_eq!(seqs(&trail, 9), [4, 6, 7, 8, 9]);
    }

    #[test]
    fn now_is_owed_what_was_under_way_and_nothing_of_what_came_while_it_was_away() {
        let mut trail = Trail::new(Past::Nothing, Seq(0));
        trail.offer(Seq(1));
        trail.offer(Seq(2));
        trail.settle(Seq(1));
        trail.pause(Seq(3));
        trail.lose();
        trail.resume(Past::Unseen, Seq(10), NOW);
        assert!(trail.wants(Seq(2), Qos::ExactlyOnce, NOW) && !trail.wants(Seq(2), Qos::AtMostOnce, NOW));
        assert_eq!(seqs(&trail, 12), [2, 3, 11, 12], "3 was not for it, or had been settled if it was");
    }

    #[test]
    fn a_window_and_the_bound_of_reactive_both_count() {
        let mut trail = Trail::new(Past::Window(100), Seq(0));
        trail.resume(Past::Unseen, Seq(9), NOW);
        assert!(trail.wants(Seq(5), Qos::AtMostOnce, Wall(NOW.0 - 99)));
        assert!(!trail.wants(Seq(5), Qos::AtMostOnce, Wall(NOW.0 - 100)));
        trail.resume(Past::Window(10), Seq(9), NOW);
        assert!(!trail.wants(Seq(5), Qos::AtMostOnce, Wall(NOW.0 - 99)));
        trail.resume(Past::Nothing, Seq(9), NOW);
        assert!(!trail.wants(Seq(9), Qos::AtLeastOnce, NOW) && trail.wants(Seq(10), Qos::AtMostOnce, NOW));
    }

    #[test]
    fn one_message_that_is_never_answered_does_not_fill_the_memory() {
        let mut trail = Trail::new(Past::Unseen, Seq(0));
        for seq in 1..=3 * AHEAD_MAX as u64 {
            trail.offer(Seq(seq));
            if seq > 1 {
                trail.settle(Seq(seq));
            }
        }
        assert!(trail.ahead.len() <= AHEAD_MAX && trail.open.is_empty());
    }

    proptest! {
        /// Against a plain list: whatever happens, exactly what was not settled comes again, also when only the log's word is left.
        #[test]
        fn nothing_is_skipped_and_nothing_settled_comes_again(
            steps in proptest::collection::vec((0u8..4, any::<proptest::sample::Index>()), 0..200),
            restart: bool,
        ) {
            let mut trail = Trail::new(Past::Unseen, Seq(0));
            let mut told = Progress::default();
            let (mut open, mut last) = (Vec::new(), 0);
            let mut settled = std::collections::BTreeSet::new();
            for (step, index) in steps {
                match step {
                    0 | 1 => {
                        last += 1;
                        trail.offer(Seq(last));
                        open.push(last);
                    }
                    2 if !open.is_empty() => {
                        let seq = open.remove(index.index(open.len()));
                        trail.settle(Seq(seq));
                        settled.insert(seq);
                    }
                    _ => {}
                }
                if let Some(news) = trail.news(Seq(last)) {
                    told.extend(&news);
                }
            }
            if restart {
                trail = Trail::new(Past::Unseen, Seq(0));
                trail.restore(told);
            } else {
                trail.pause(Seq(last));
                trail.lose();
            }
            trail.resume(Past::Unseen, Seq(last), NOW);
            for seq in 1..=last {
                prop_assert_eq!(trail.wants(Seq(seq), Qos::AtMostOnce, LONG_AGO), !settled.contains(&seq), "{}", seq);
            }
        }
    }
}
