//! Lets rows go that are too old, or that are too many.
//!
//! Appended rows go by whole files: a file goes when the day of its newest row is older than `retention`, and the oldest file goes
//! when the table is larger than `max_size`. A row of a keyed table goes when nobody has set it for so long.

use super::super::change::Change;
use super::super::files::DataFile;
use super::super::read::{Wanted, scan};
use super::super::rows::Rows;
use super::super::store::Lite;
use super::{DAY_US, failed};
use crate::clock::{CLOCK_IS_SET, Wall};
use crate::history::engine::error::EngineError;
use crate::history::engine::store::Store;
use crate::history::model::Cell;
use crate::history::settings::Settings;
use crate::history::sql::eval::Bounds;
use std::sync::Arc;

/// Lets some rows of the table at `at` go; returns how many.
pub(super) fn step(lake: &mut Lite, settings: &Settings, at: usize, now: Wall) -> Result<u64, EngineError> {
    let Some(table) = lake.usable.get(at) else { return Ok(0) };
    let limits = settings.limits(&table.table);
    let received = table.table.columns.len() + 1;
    let age = limits.age.filter(|_| now >= CLOCK_IS_SET);
    let since =
        age.map(|age| i64::try_from(now.0 / 1000).unwrap_or(i64::MAX) - i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let mut change = Change::new(at);
    let mut gone = 0;
    match since {
        Some(since) if table.table.keys.is_empty() => {
            let midnight = since.div_euclid(DAY_US) * DAY_US;
            let old =
                |file: &&Arc<DataFile>| matches!(file.range(received), Some((_, Cell::Timestamp(newest))) if newest < midnight);
            for file in table.files.iter().filter(old) {
                gone += file.live_rows();
                change.delete_whole(file);
            }
        }
        Some(since) => {
            let mut columns = vec![false; table.stored.columns.len()];
            super::super::read::want(&mut columns, &[received]);
            let wanted = Wanted { columns: &columns, bounds: &Bounds::default(), version: None };
            let folder = lake.files.join(&table.stored.folder);
            for file in table.files.iter() {
                let mut positions = Vec::new();
                scan(
                    lake.disk.as_ref(),
                    file,
                    &table.stored,
                    &wanted,
                    |rows: &Rows, row, position| -> Result<_, EngineError> {
                        if rows.hidden(received, row) < since {
                            positions.push(position);
                        }
                        Ok(true)
                    },
                )?;
                gone += positions.len() as u64;
                change.delete(&lake.disk, &folder, file, positions)?;
            }
            lake.disk.sync_dir(&folder).or_else(missing).map_err(EngineError::io("syncing a table's folder"))?;
        }
        None => {}
    }
    let bytes: u64 = table.files.iter().map(|file| file.bytes).sum();
    if gone == 0
        && limits.bytes.is_some_and(|limit| bytes > limit)
        && let Some(oldest) = table.files.first()
    {
        gone = oldest.live_rows();
        change.delete_whole(oldest);
    }
    if gone == 0 {
        return Ok(0);
    }
    let name = table.table.name.clone();
    // It says again what the lake covers: the snapshot that says it last is kept, and would keep the files.
    let covered = lake.covering(lake.covered());
    lake.register(std::slice::from_ref(&change), Some(covered)).map_err(failed)?;
    log::info!(table = name, rows = gone; "rows beyond the table's retention were removed");
    Ok(gone)
}

/// A table without files has no folder yet.
fn missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
