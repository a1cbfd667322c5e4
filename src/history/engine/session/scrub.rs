//! Damage that is met at work: the files of a table with which something failed are read at once, all others in their time.

use super::super::error::EngineError;
use super::super::follow::Follower;
use super::super::scrub::Step;
use super::Session;
use crate::clock::Mono;
use std::time::Duration;

/// Steps that are taken in one turn while a table is suspected: everything else waits for so little.
const STEPS: usize = 8;
/// While files that were set aside cannot be read, they are tried again so often.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

impl Session {
    /// Something failed with a table: that may be one of its files.
    pub(super) fn suspect(&mut self, follower: &Follower, table: &str) {
        match self.store.named() {
            Ok(named) => {
                if self.scrub.suspect(table, named, follower.clock.mono()) {
                    log::info!(table; "something failed with this table: its files are checked");
                }
            }
            Err(error) => log::warn!(table, error:%; "the files of a table cannot be listed"),
        }
    }

    /// The same for all tables that have rows above the lake: a batch reads the files of keyed ones.
    pub(super) fn suspect_batch(&mut self, follower: &Follower) {
        let figures = self.store.figures();
        let tables: Vec<String> =
            figures.iter().filter(|table| table.rows_in_tail > 0).map(|table| table.name.to_owned()).collect();
        tables.iter().for_each(|table| self.suspect(follower, table));
    }

    /// What was written since is read back when it is quiet.
    pub(super) fn read_back(&mut self) {
        match self.store.named() {
            Ok(named) => self.scrub.changed(named),
            Err(error) => log::debug!(error:%; "the lake's files cannot be listed"),
        }
    }

    /// When a file is read on, if nothing else is to be done: while there is, it waits without a time.
    pub(super) fn scrub_wake(&self, follower: &Follower) -> Option<Mono> {
        let now = follower.clock.mono();
        if self.scrub.has_suspects() {
            return Some(now);
        }
        let again = (self.in_place > 0).then_some(self.again);
        let quiet = self.records.is_empty() && !self.has_news();
        [again, self.scrub.due(now)].into_iter().flatten().min().filter(|_| quiet)
    }

    pub(super) fn scrub_is_due(&self, follower: &Follower) -> bool {
        self.scrub_wake(follower).is_some_and(|wake| wake <= follower.clock.mono())
    }

    /// Reads a little of a file. An error if one is bad: it is set aside then, and the lake is opened without it.
    pub(super) fn scrub(&mut self, follower: &Follower) -> Result<(), EngineError> {
        let steps = if self.scrub.has_suspects() { STEPS } else { 1 };
        for _ in 0..steps {
            match self.scrub.step(follower.clock.mono(), self.store.as_ref())? {
                Step::Nothing => break,
                Step::Goes => {}
                Step::Whole => follower.status.update(|status| status.files_scrubbed += 1),
                Step::Bad(bad) => {
                    let damage = self.store.set_aside(std::slice::from_ref(&bad))?;
                    // Empty: the catalog has forgotten it meanwhile.
                    if !damage.is_empty() {
                        follower.tell_damage(&damage);
                        return Err(EngineError::SetAside(damage.len()));
                    }
                }
            }
        }
        self.try_again(follower)
    }

    /// Files that could not be read, and are readable now, give their rows back when the lake is opened anew.
    fn try_again(&mut self, follower: &Follower) -> Result<(), EngineError> {
        let now = follower.clock.mono();
        if self.in_place == 0 || now < self.again {
            return Ok(());
        }
        self.again = now.plus(AGAIN);
        let readable = super::super::loss::readable(&follower.settings);
        if readable > 0 { Err(EngineError::SetAside(0)) } else { Ok(()) }
    }
}
