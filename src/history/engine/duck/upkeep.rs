//! What keeps the lake small and tidy, in steps so short that nobody waits for one.
//!
//! ```text
//! pass: retention by age, by size ─ merge small files, table by table ─ expire snapshots ─ remove files ─ leftovers ─ checkpoint
//! ```
//!
//! The history thread takes a step when it has nothing better to do, and waits between two steps several times as long as the
//! first one took. Only merging is long; it runs beside, on a connection of its own, and comes back to the history thread for its
//! commit, so that everything that changes the catalog is in one order.
//!
//! Safe against a power cut at any point: files that a step makes are synced before the commit that names them, and files are
//! removed only after the commit that forgets them, by a later step that finds their names in the catalog.

pub(super) mod evict;
mod expire;
mod merge;
mod retain;
mod sweep;

use super::names::Own;
use super::running::Running;
use super::store::LakeTable;
use crate::clock::Wall;
use crate::disk::SharedDisk;
use crate::history::engine::covered::Covered;
use crate::history::engine::error::EngineError;
use crate::history::engine::store::Upkeep;
use crate::history::settings::Settings;
use crate::history::status::Tidied;
use duckdb::Connection;
use merge::Merge;
use std::path::Path;
use std::sync::Arc;

/// The steps of a pass, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Retain(usize),
    Merge(usize),
    Expire,
    Remove,
    Leftovers,
    Checkpoint,
}

/// A pass under way, and what passes have done.
#[derive(Debug)]
pub(super) struct Tidy {
    step: Step,
    merging: Option<Merge>,
    done: Tidied,
    /// Tables that could not be merged.
    suspects: Vec<String>,
}

/// What the steps work with.
pub(super) struct Place<'a> {
    pub(super) conn: &'a Connection,
    /// How far the lake covers the log at present.
    pub(super) covered: Covered,
    pub(super) disk: &'a SharedDisk,
    pub(super) settings: &'a Settings,
    pub(super) files: &'a Path,
    pub(super) tables: &'a mut [LakeTable],
    pub(super) own: &'a Own,
    pub(super) in_use: &'a Arc<()>,
    pub(super) running: &'a Running,
}

impl Default for Tidy {
    fn default() -> Self {
        Self { step: Step::Retain(0), merging: None, done: Tidied::default(), suspects: Vec::new() }
    }
}

impl Tidy {
    pub(super) fn done(&self) -> Tidied {
        self.done
    }

    pub(super) fn suspects(&mut self) -> Vec<String> {
        std::mem::take(&mut self.suspects)
    }

    /// Takes one step. An error means that only opening the lake anew tells what it has.
    pub(super) fn step(&mut self, place: &mut Place<'_>, now: Wall) -> Result<Upkeep, EngineError> {
        if let Some(merging) = self.merging.take_if(|merging| merging.is_finished()) {
            self.finish(merging, place)?;
            return Ok(Upkeep::More);
        }
        if self.merging.is_some() {
            return Ok(Upkeep::More);
        }
        let (next, more) = match self.step {
            Step::Retain(at) if at < place.tables.len() => {
                let gone = retain::step(place, at, now)?;
                self.done.rows_expired += gone;
                (Step::Retain(if gone > 0 { at } else { at + 1 }), true)
            }
            // The rest of a lake of many is for whoever looks after it.
            Step::Retain(_) if place.own.is_shared() => {
                self.done.passes += 1;
                (Step::Retain(0), false)
            }
            Step::Retain(_) => (Step::Merge(0), true),
            // The merged files need room beside those they replace.
            Step::Merge(_) if evict::is_tight(place, 2) => (Step::Expire, true),
            Step::Merge(at) => match place.tables.get(at) {
                None => (Step::Expire, true),
                Some(table) => {
                    self.merging = merge::begin(place, table, now)?;
                    (Step::Merge(at + 1), true)
                }
            },
            Step::Expire => {
                let expired = expire::step(place.conn, place.settings, now)?;
                self.done.snapshots_expired += expired;
                // What is removed now must not come back when the catalog's own log is damaged.
                if expired == 0 {
                    sweep::checkpoint(place.conn, place.settings)?;
                }
                (if expired > 0 { Step::Expire } else { Step::Remove }, true)
            }
            // A query may still read them; it has its deadline, so the next pass will find a better moment.
            Step::Remove if Arc::strong_count(place.in_use) > 1 => (Step::Leftovers, true),
            Step::Remove if place.settings.data.is_remote() => {
                self.done.files_removed += sweep::remove_remote(place.conn)?;
                (Step::Checkpoint, true)
            }
            Step::Remove => {
                let removed = sweep::remove_some(place.conn, place.disk.as_ref(), place.files)?;
                self.done.files_removed += removed;
                (if removed > 0 { Step::Remove } else { Step::Leftovers }, true)
            }
            Step::Leftovers => {
                self.done.files_removed += sweep::leftovers(place.conn, place.settings, place.disk.as_ref(), place.files)?;
                (Step::Checkpoint, true)
            }
            Step::Checkpoint => {
                sweep::checkpoint(place.conn, place.settings)?;
                self.done.passes += 1;
                (Step::Retain(0), false)
            }
        };
        self.step = next;
        Ok(if more { Upkeep::More } else { Upkeep::Done })
    }

    fn finish(&mut self, merging: Merge, place: &mut Place<'_>) -> Result<(), EngineError> {
        match merging.commit(place.disk.as_ref())? {
            merge::Outcome::Merged => self.done.merges += 1,
            merge::Outcome::Conflict(why) => {
                log::info!(why; "files could not be merged now; the next pass tries again");
                self.done.merge_conflicts += 1;
            }
            merge::Outcome::Failed { table, why } => {
                log::warn!(table, why; "the files of a table could not be merged; the next pass tries again");
                self.suspects.push(table);
            }
        }
        Ok(())
    }
}
