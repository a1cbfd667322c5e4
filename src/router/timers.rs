//! Deadlines, in order. A timer that is not needed any more is not searched for: it finds nothing to do when it is due.

use super::event::{CallId, DeliveryId, LinkId};
use super::session::SessionKey;
use crate::clock::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Rembus: send an unacknowledged delivery again.
    Resend(SessionKey, DeliveryId),
    /// An exposer has had its time.
    Call(CallId),
    /// A session has been alone long enough; the number is that of the leaving.
    Session(SessionKey, u32),
    /// A will is due, likewise.
    Will(SessionKey, u32),
    /// Retained messages may have expired.
    Retained,
    /// `$SYS` wants figures.
    System,
    /// A link whose name somebody claims has had its time to show that it lives.
    Probe(LinkId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Mono, Timer)>>,
}

impl Timers {
    pub(super) fn set(&mut self, due: Mono, timer: Timer) {
        self.heap.push(Reverse((due, timer)));
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Timer> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, timer)) = self.heap.pop()?;
        if self.heap.is_empty() && self.heap.capacity() > 1024 {
            self.heap = BinaryHeap::new();
        }
        Some(timer)
    }
}
