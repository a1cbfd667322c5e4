//! What keeps the lake small and tidy, in steps; see the store on DuckDB, which does the same.
//!
//! ```text
//! pass: retention by age, by size ─ merge small files, table by table ─ expire snapshots ─ remove files ─ checkpoint
//! ```
//!
//! Appended rows are merged within a day, UTC: today's batches into a file for each pass, a day that is over into one. As DuckLake
//! does it, a merged file says which row is of which snapshot, so that looking back stays exact while the small files go. Files of
//! which rows were deleted, and those of keyed tables, are written anew without them; the old ones go with the snapshots that need
//! them. Safe against a power cut at any point: a file is synced before the commit that names it, and removed after the one that
//! forgets it, by a later step that finds its name in the catalog.

pub(super) mod evict;
mod expire;
mod merge;
mod retain;

use super::catalog::Failed;
use super::store::Lite;
use crate::clock::Wall;
use crate::history::engine::error::EngineError;
use crate::history::engine::store::Upkeep;
use crate::history::settings::Settings;
use crate::history::status::Tidied;

pub(super) const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// The steps of a pass, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Retain(usize),
    Merge(usize),
    Expire,
    Remove,
    Checkpoint,
}

/// A pass under way, and what passes have done.
#[derive(Debug)]
pub(super) struct Tidy {
    step: Step,
    pub(super) done: Tidied,
    /// Tables that could not be merged.
    pub(super) suspects: Vec<String>,
}

impl Default for Tidy {
    fn default() -> Self {
        Self { step: Step::Retain(0), done: Tidied::default(), suspects: Vec::new() }
    }
}

/// Takes one step.
pub(super) fn step(lake: &mut Lite, settings: &Settings, now: Wall) -> Result<Upkeep, EngineError> {
    let now_us = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let tables = lake.usable.len();
    let (next, more) = match lake.tidy.step {
        Step::Retain(at) if at < tables => {
            let gone = retain::step(lake, settings, at, now)?;
            lake.tidy.done.rows_expired += gone;
            (Step::Retain(if gone > 0 { at } else { at + 1 }), true)
        }
        Step::Retain(_) => (Step::Merge(0), true),
        Step::Merge(at) if at < tables => {
            // Reading and writing come before the catalog is changed, so one table's trouble is its own.
            let merged = match merge::step(lake, at, now_us) {
                Ok(merged) => merged,
                Err(Failed::Unknown(error)) => return Err(error),
                Err(Failed::Undone(error)) => {
                    let table = lake.usable.get(at).map(|table| table.table.name.clone()).unwrap_or_default();
                    log::warn!(table, error:%; "the files of a table could not be merged; the next pass tries again");
                    lake.tidy.suspects.push(table);
                    false
                }
            };
            lake.tidy.done.merges += u64::from(merged);
            (Step::Merge(if merged { at } else { at + 1 }), true)
        }
        Step::Merge(_) => (Step::Expire, true),
        Step::Expire => {
            lake.tidy.done.snapshots_expired += expire::snapshots(&lake.catalog.conn, settings, now_us)?;
            // What is removed now must not come back when the catalog's own log is damaged.
            lake.catalog.checkpoint()?;
            (Step::Remove, true)
        }
        // A query may still read them; it has its deadline, so the next pass will find a better moment.
        Step::Remove if crate::history::engine::store::Store::in_use(lake) => (Step::Checkpoint, true),
        Step::Remove => {
            let removed = expire::remove_some(&lake.catalog.conn, lake.disk.as_ref(), &lake.files)?;
            lake.tidy.done.files_removed += removed;
            (if removed > 0 { Step::Remove } else { Step::Checkpoint }, true)
        }
        Step::Checkpoint => {
            lake.catalog.checkpoint()?;
            lake.tidy.done.passes += 1;
            (Step::Retain(0), false)
        }
    };
    lake.tidy.step = next;
    Ok(if more { Upkeep::More } else { Upkeep::Done })
}

/// An error of a change that was undone is as bad as any other here: the next pass tries again after the lake was opened anew.
fn failed(failed: Failed) -> EngineError {
    failed.into_error()
}
