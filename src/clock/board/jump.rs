//! A clock that jumps years ahead and comes back: what was stamped meanwhile.

use super::{BoardClock, CLOCK_IS_SET, Correction, JUMP, STEP, Watched, nanos};
use crate::clock::Wall;
use crate::disk::Disk;
use crate::message::Seq;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A clock that is back may be a little behind where it left: a service sets it.
const TOLERANCE: Duration = Duration::from_secs(24 * 3600);

/// `clock-jump.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    #[serde(default)]
    pub(super) jump: Option<Jump>,
    #[serde(default)]
    pub(super) wrong: Option<Wrong>,
}

/// Where a jump began that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Jump {
    /// The first record that was stamped behind it.
    pub(super) from: u64,
    /// The time before it, and how far ahead it went.
    pub(super) before_ns: u64,
    pub(super) delta_ns: i64,
}

/// Records up to `upto` may have been stamped ahead of the time, which was `wall_ns` when that was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wrong {
    pub(super) upto: u64,
    pub(super) wall_ns: u64,
}

impl BoardClock {
    /// What the newest record says about the time, given what is remembered of jumps.
    pub(super) fn settle_jump(&self, disk: &dyn Disk, newest: (Seq, Wall), machine: Wall) -> (Seq, Wall) {
        let (last, mut floor) = newest;
        let mut watched = self.watching();
        watched.last = last;
        watched.memory = disk.read(&self.memory).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        if let Some(wrong) = watched.memory.wrong.filter(|wrong| last.0 <= wrong.upto) {
            floor = floor.min(Wall(wrong.wall_ns));
        }
        match watched.memory.jump {
            Some(jump) => {
                let is_ahead = machine.0.saturating_add(nanos(JUMP)) >= floor.0;
                // Behind where the jump began it is not the clock that came back, but one that does not know the time.
                if !is_ahead {
                    watched.pending = Some(Correction { from: Seq(jump.from), delta_ns: -jump.delta_ns });
                    floor = Wall(jump.before_ns);
                    if machine.0.saturating_add(nanos(TOLERANCE)) >= jump.before_ns {
                        floor = floor.min(machine);
                    }
                }
            }
            None if floor >= CLOCK_IS_SET && machine.0 > floor.0.saturating_add(nanos(JUMP)) => {
                self.note(disk, &mut watched, last, floor, machine);
            }
            None => {}
        }
        (last, floor)
    }

    /// To be asked every second, with the log's newest record: whether what was stamped before has to be corrected.
    pub fn watch(&self, disk: &dyn Disk, last: Seq) -> Option<Correction> {
        let (mono, machine) = (self.machine_clock.mono(), self.machine_clock.wall());
        let was_known = self.is_known();
        let learned = self.learn();
        let mut watched = self.watching();
        let (since, was) = std::mem::replace(&mut watched.seen, (mono, machine));
        let before = std::mem::replace(&mut watched.last, last);
        if let Some(pending) = watched.pending.take() {
            return Some(pending);
        }
        let expected = was.0.saturating_add(nanos(mono.since(since)));
        if !was_known || machine.0.abs_diff(expected) <= nanos(STEP) {
            return learned;
        }
        if machine.0 > expected.saturating_add(nanos(JUMP)) && watched.memory.jump.is_none() {
            self.note(disk, &mut watched, before, Wall(expected), machine);
        } else if expected > machine.0.saturating_add(nanos(JUMP))
            && machine >= CLOCK_IS_SET
            && let Some(jump) = watched.memory.jump.take()
        {
            let delta_ns = i64::try_from(i128::from(machine.0) - i128::from(expected)).unwrap_or(0);
            return Some(Correction { from: Seq(jump.from), delta_ns });
        }
        learned
    }

    /// Behind `last` the clock was ahead.
    fn note(&self, disk: &dyn Disk, watched: &mut Watched, last: Seq, before: Wall, machine: Wall) {
        let delta_ns = i64::try_from(machine.0 - before.0).unwrap_or(i64::MAX);
        log::warn!(seconds = delta_ns / 1_000_000_000; "the clock has jumped ahead; nothing is removed for its age for a day");
        watched.memory.jump = Some(Jump { from: last.0 + 1, before_ns: before.0, delta_ns });
        self.remember(disk, &watched.memory);
    }

    pub(super) fn remember(&self, disk: &dyn Disk, memory: &Memory) {
        let text = serde_json::to_string(memory).expect("numbers are always JSON");
        if let Err(error) = disk.replace(&self.memory, text.as_bytes()) {
            log::warn!(error:%; "what is known of jumps of the clock cannot be kept");
        }
    }
}
