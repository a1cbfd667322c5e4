//! What calls want of the lake: views, outcomes, the newest rows, a lake that stands still, a lake without small files.

use super::super::error::EngineError;
use super::super::follow::{Ask, Follower, Latest};
use super::super::hold::{self, HeldLake};
use super::super::newest::Found;
use super::Session;
use crate::history::model::CallError;

impl Session {
    /// Whoever holds or compacts the lake means everything that there is.
    pub(super) async fn settle_for_asks(&mut self, follower: &mut Follower) -> Result<(), EngineError> {
        let asked = follower
            .waiting
            .iter()
            .any(|ask| matches!(ask, Ask::Hold { upto, .. } | Ask::Compact { upto, .. } if *upto <= self.ingested));
        if asked && self.store.tail_rows() > 0 {
            self.batch(follower).await?;
        }
        Ok(())
    }

    /// Answers the asks that can be.
    pub(super) fn answer(&mut self, follower: &mut Follower) -> Result<(), EngineError> {
        for ask in std::mem::take(&mut follower.waiting) {
            match ask {
                Ask::Pin { table, at_us, upto, reply } if upto <= self.ingested => {
                    // Whoever asked may have given up; the view ends with the answer then.
                    let _gone = reply.send(self.store.pin(&table, at_us)?);
                }
                Ask::Applied { seq, reply } if seq <= self.ingested => {
                    let unknown = || Err(CallError::exception("the change was applied, its outcome is not known any more"));
                    let _gone = reply.send(follower.outcomes.find(seq).unwrap_or_else(unknown));
                }
                Ask::Latest { table, upto, reply } if upto <= self.ingested => {
                    // Whoever asked may have given up.
                    let _gone = reply.send(self.latest(follower, &table)?);
                }
                Ask::Suspect { table } => self.suspect(follower, &table),
                Ask::Filled { table, filling, rows } => self.newest.filled(&table, filling, rows),
                Ask::Hold { upto, reply } if upto <= self.ingested => {
                    // Whoever asked may have given up; what is held goes with the answer then.
                    let _gone = reply.send(self.hold(follower));
                }
                Ask::Compact { upto, reply } if upto <= self.ingested => {
                    // A pass that has begun may be past what there is to do.
                    self.compacting.push((if self.tidying { 2 } else { 1 }, reply));
                    self.upkeep = follower.clock.mono();
                }
                // Whoever asked has given up.
                Ask::Pin { reply, .. } if reply.is_closed() => {}
                Ask::Latest { reply, .. } if reply.is_closed() => {}
                Ask::Applied { reply, .. } if reply.is_closed() => {}
                later => follower.waiting.push(later),
            }
        }
        Ok(())
    }

    fn latest(&mut self, follower: &Follower, table: &str) -> Result<Result<Latest, CallError>, EngineError> {
        let Some(known) = follower.schema.table(table) else {
            return Ok(Err(CallError::exception(format!("there is no table {table}"))));
        };
        let filling = match self.newest.find(known) {
            Found::Rows(view) => return Ok(Ok(Latest { view, filling: None })),
            Found::Nothing(filling) => filling,
        };
        let view = match self.store.pin(table, None)? {
            Ok(view) => view,
            Err(error) => {
                self.newest.forget(table);
                return Ok(Err(error));
            }
        };
        let filling = match filling {
            Some(number) => self.store.pin(table, None)?.ok().map(|view| (view, number)),
            None => None,
        };
        Ok(Ok(Latest { view, filling }))
    }

    fn hold(&self, follower: &Follower) -> Result<HeldLake, CallError> {
        if self.store.tail_rows() > 0 {
            let error = follower.status.copy().last_error.unwrap_or_default();
            return Err(CallError::exception(format!("the newest rows cannot be written to the lake at present: {error}")));
        }
        hold::hold(self.store.as_ref(), &follower.settings)
            .map_err(|error| CallError::exception(follower.settings.without_paths(&error)))
    }
}
