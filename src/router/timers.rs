//! Deadlines, in order.
//!
//! A timer whose time may be far away is cancelled when it is not needed any more, or else everybody who comes and goes would
//! leave one behind. Others find nothing to do when they are due.

use super::event::{CallId, DeliveryId, LinkId};
use super::session::SessionKey;
use crate::clock::Mono;
use std::collections::BTreeSet;

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
    /// A search among the retained messages goes on.
    Backfill(SessionKey),
    /// Filters of sessions that are gone are to be taken out.
    Filters,
    /// `$SYS` wants figures.
    System,
    /// A link whose name somebody claims has had its time to show that it lives.
    Probe(LinkId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Mono, Timer)>,
}

impl Timers {
    pub(super) fn set(&mut self, due: Mono, timer: Timer) {
        self.due.insert((due, timer));
    }

    pub(super) fn cancel(&mut self, due: Mono, timer: Timer) {
        self.due.remove(&(due, timer));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Timer> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
