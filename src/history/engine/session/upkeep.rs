//! Room on the disk, and upkeep of the lake: a step at a time, when nothing else is to be done.

use super::super::error::EngineError;
use super::super::follow::Follower;
use super::super::store::{Freed, Upkeep};
use super::Session;
use crate::clock::Wall;
use crate::wal::Health;
use std::time::Duration;

/// How often the room on the disk is looked at while rows come.
const ROOM_EVERY: Duration = Duration::from_secs(1);
/// And again, if a query stood in the way.
const ROOM_SOON: Duration = Duration::from_millis(20);
/// Between two steps of upkeep: so many times of what the first one took, within bounds.
const PAUSE_TIMES: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Session {
    /// The disk is looked at every few seconds while rows come or the log is full.
    pub(super) fn room_is_due(&self, follower: &Follower) -> bool {
        let full = self.state.borrow().health == Health::Full;
        (full || self.store.tail_rows() > 0) && follower.clock.mono() >= self.room
    }

    /// Gives something up if the disk is nearly full and a table's policy allows it. `true` if it did, and may have to again.
    pub(super) fn make_room(&mut self, follower: &Follower) -> Result<bool, EngineError> {
        let freed = self.store.make_room()?;
        let now = follower.clock.mono();
        match freed {
            None => {
                self.room = now.plus(ROOM_EVERY);
                if let Some((table, rows)) = self.evicted.take() {
                    log::warn!(table, rows; "the disk is full: the oldest rows were removed");
                }
                Ok(false)
            }
            Some(Freed::Later) => {
                self.room = now.plus(ROOM_SOON);
                Ok(false)
            }
            Some(freed) => {
                self.room = now;
                self.retry = None;
                if let Freed::Rows { table, rows } = freed {
                    self.newest.forget(&table);
                    follower.status.update(|status| status.tables.entry(table.clone()).or_default().rows_evicted += rows);
                    let sum = self.evicted.take().filter(|(of, _)| *of == table).map_or(0, |(_, rows)| rows);
                    self.evicted = Some((table, sum + rows));
                }
                Ok(true)
            }
        }
    }

    /// Upkeep waits while there is something to read or to answer, or while batches fail.
    pub(super) fn upkeep_is_due(&self, follower: &Follower) -> bool {
        if !self.compacting.is_empty() {
            return follower.clock.mono() >= self.upkeep;
        }
        let quiet = self.records.is_empty() && !self.has_news() && follower.waiting.is_empty() && self.retry.is_none();
        let at = follower.clock.mono();
        let overdue = at >= self.upkeep.plus(follower.settings.maintenance / 4);
        at >= self.upkeep && (quiet || overdue)
    }

    /// One step of upkeep. The pause after it is longer the longer it took, so that disk and processor are mostly free.
    pub(super) fn upkeep(&mut self, follower: &Follower) -> Result<(), EngineError> {
        let began = follower.clock.mono();
        // A time that cannot be trusted makes nothing old.
        let now = if follower.clock.is_trusted() { follower.clock.wall() } else { Wall(0) };
        let expired = self.store.tidied().rows_expired;
        let done = self.store.upkeep(now)?;
        if self.store.tidied().rows_expired > expired {
            self.newest.forget_all();
        }
        let ended = follower.clock.mono();
        self.tidying = done == Upkeep::More;
        if done == Upkeep::Done {
            for (passes, _) in &mut self.compacting {
                *passes -= 1;
            }
            for (_, reply) in self.compacting.extract_if(.., |(passes, _)| *passes == 0) {
                // Whoever asked may have given up.
                let _gone = reply.send(self.store.tidied());
            }
        }
        self.upkeep = ended.plus(match done {
            // Somebody waits for it.
            _ if !self.compacting.is_empty() => PAUSE_MIN,
            Upkeep::More => (ended.since(began) * PAUSE_TIMES).clamp(PAUSE_MIN, PAUSE_MAX),
            Upkeep::Done => follower.settings.maintenance,
        });
        Ok(())
    }
}
