//! From a change to its record in the log.

use super::{Change, encode};
use crate::message::Seq;
use crate::router::core::{Held, Router};
use crate::router::event::{Effect, Entry};
use crate::router::session::{SessionId, SessionKey};
use crate::wal::Health;

/// Changes that may wait while the disk is full. Beyond, a snapshot says it all.
const PENDING_MAX: usize = 100_000;

/// Changes that are not in the log yet, and who waits for them.
#[derive(Debug, Default)]
pub(in crate::router) struct Pending {
    changes: Vec<Change>,
    held: Vec<Held>,
    /// Messages must not come before them in the log.
    ordered: bool,
    /// Not to be kept waiting for company.
    hurries: bool,
    /// Changes were let go; only a snapshot has them.
    pub(in crate::router) overflowed: bool,
}

impl Router {
    /// The session's number in the log, if it is kept.
    pub(in crate::router) fn kept(&self, key: SessionKey) -> Option<SessionId> {
        self.sessions.get(key)?.kept
    }

    pub(in crate::router) fn keeps_queue(&self, key: SessionKey) -> bool {
        self.sessions.get(key).is_some_and(crate::router::session::Session::keeps_queue)
    }

    /// Will be in the log at the end of this turn at the latest, together with others.
    pub(in crate::router) fn note(&mut self, change: Change) {
        if self.pending.changes.len() >= PENDING_MAX {
            self.pending.overflowed = true;
            self.pending.changes.clear();
        }
        // The frequent ones together.
        match (self.pending.changes.last_mut(), &change) {
            (Some(Change::Done { id: last, deliveries: known }), Change::Done { id, deliveries })
            | (Some(Change::Received { id: last, deliveries: known }), Change::Received { id, deliveries })
                if last == id =>
            {
                known.extend_from_slice(deliveries);
            }
            (Some(Change::Seen { id: last, number: line, progress: known }), Change::Seen { id, number, progress })
                if (&*last, &*line) == (id, number) =>
            {
                known.extend(progress);
            }
            _ => {
                let alone = matches!(
                    change,
                    Change::Done { .. } | Change::Received { .. } | Change::Release { .. } | Change::Seen { .. }
                );
                self.pending.ordered |= !alone;
                self.pending.changes.push(change);
            }
        }
    }

    /// And `held` is to happen once it is durable.
    pub(in crate::router) fn note_then(&mut self, change: Change, held: Held) {
        self.note(change);
        self.pending.held.push(held);
    }

    /// What is noted is worth a write of its own.
    pub(in crate::router) fn hurry(&mut self) {
        self.pending.hurries = true;
    }

    /// Happens once every change noted so far is durable; at once if there is none, or no room for it.
    pub(in crate::router) fn after_changes(&mut self, held: Held, effects: &mut Vec<Effect>) {
        if self.pending.changes.is_empty() || !self.can_keep() {
            return self.fulfil(held, effects);
        }
        self.pending.held.push(held);
    }

    /// Whether a change that somebody waits for can be written.
    pub(in crate::router) fn can_keep(&self) -> bool {
        self.log.health == Health::Fine
    }

    /// Before a message is logged that a session gets, so must be what made it get it.
    pub(in crate::router) fn commit_what_comes_before_messages(&mut self, effects: &mut Vec<Effect>) {
        if self.pending.ordered {
            self.commit(effects);
        }
    }

    /// Writes what was noted. Until the disk has room again it waits, and so does whoever waits for it.
    pub(in crate::router) fn commit(&mut self, effects: &mut Vec<Effect>) -> Option<Seq> {
        if self.pending.changes.is_empty() || self.log.health != Health::Fine {
            return None;
        }
        let changes = std::mem::take(&mut self.pending.changes);
        let held = std::mem::take(&mut self.pending.held);
        self.pending.ordered = false;
        let ack_waits = std::mem::take(&mut self.pending.hurries) || !held.is_empty();
        self.last = self.last.next();
        effects.push(Effect::Append { seq: self.last, entry: Entry::State(encode(&changes)), ack_waits });
        for held in held {
            self.gate.hold(self.last, held);
        }
        Some(self.last)
    }
}
