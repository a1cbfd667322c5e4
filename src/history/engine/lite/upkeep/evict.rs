//! Makes room when the disk is nearly full, in the order of what costs least; see the store on DuckDB, which does the same.
//!
//! Files that wait for removal go first, then snapshots, that is looks into the past, then the oldest file of the largest table whose
//! `when_full` is `evict-oldest`.

use super::super::change::Change;
use super::super::store::Lite;
use super::{expire, failed};
use crate::history::engine::error::EngineError;
use crate::history::engine::store::{EVICTION_MARGIN, Freed, Store};
use crate::history::model::WhenFull;
use crate::history::settings::Settings;

/// Gives something up if there is too little room.
pub(in crate::history::engine::lite) fn step(lake: &mut Lite, settings: &Settings) -> Result<Option<Freed>, EngineError> {
    let evicts = |at: &usize| {
        let table = lake.usable.get(*at);
        table.is_some_and(|table| settings.limits(&table.table).when_full == Some(WhenFull::EvictOldest))
    };
    let evictable: Vec<usize> = (0..lake.usable.len()).filter(evicts).collect();
    let wanted = settings.reserve.saturating_add(EVICTION_MARGIN);
    let tight = settings.reserve > 0 && lake.disk.free_bytes(&settings.lake).is_ok_and(|free| free < wanted);
    if evictable.is_empty() || !tight {
        return Ok(None);
    }
    // A query may still read the files; it has its deadline.
    if lake.in_use() {
        return Ok(Some(Freed::Later));
    }
    let conn = &lake.catalog.conn;
    if expire::remove_some(conn, lake.disk.as_ref(), &lake.files)? > 0 || expire::all(conn)? > 0 {
        return Ok(Some(Freed::Files));
    }
    let size = |at: usize| lake.usable.get(at).map_or(0, |table| table.files.iter().map(|file| file.bytes).sum::<u64>());
    let Some(at) = evictable.into_iter().max_by_key(|at| size(*at)) else { return Ok(None) };
    let Some(table) = lake.usable.get(at) else { return Ok(None) };
    let Some(oldest) = table.files.first() else { return Ok(None) };
    let (name, rows) = (table.table.name.clone(), oldest.live_rows());
    let mut change = Change::new(at);
    change.delete_whole(oldest);
    // It says again what the lake covers: the snapshot that says it last is kept, and would keep the file.
    let covered = lake.covering(lake.covered());
    lake.register(std::slice::from_ref(&change), Some(covered)).map_err(failed)?;
    Ok(Some(Freed::Rows { table: name, rows }))
}
