//! Makes room when the disk is nearly full, in the order of what costs least.
//!
//! ```text
//! free ≥ reserve + margin: nothing ── else: files that wait for removal ─ snapshots, that is looks into the past ─ the oldest rows
//! of the largest table whose `when_full` is `evict-oldest` ── nothing left: publishers are refused until there is room
//! ```
//! The margin makes that begin before the log refuses publishers. Removing rows needs a little room itself: batches leave half of
//! the reserve free for that.

use super::{Place, expire, retain, sweep};
use crate::history::engine::error::EngineError;
use crate::history::engine::store::{EVICTION_MARGIN, Freed};
use crate::history::model::WhenFull;
use crate::history::settings::Data;
use std::sync::Arc;

/// Whether the disk has less room than `times` the reserve and the margin.
pub(super) fn is_tight(place: &Place<'_>, times: u64) -> bool {
    let reserve = place.settings.reserve;
    let wanted = reserve.saturating_add(EVICTION_MARGIN).saturating_mul(times);
    reserve > 0 && place.disk.free_bytes(&place.settings.lake).is_ok_and(|free| free < wanted)
}

/// Gives something up if there is too little room.
pub(in crate::history::engine::duck) fn step(place: &mut Place<'_>) -> Result<Option<Freed>, EngineError> {
    let policy =
        |place: &Place<'_>, at: usize| place.tables.get(at).and_then(|table| place.settings.limits(&table.table).when_full);
    let evictable: Vec<usize> =
        (0..place.tables.len()).filter(|at| policy(place, *at) == Some(WhenFull::EvictOldest)).collect();
    // What is elsewhere takes no room here.
    if place.settings.data != Data::Own || evictable.is_empty() || !is_tight(place, 1) {
        return Ok(None);
    }
    // A query may still read the files; it has its deadline.
    if Arc::strong_count(place.in_use) > 1 {
        return Ok(Some(Freed::Later));
    }
    if sweep::remove_some(place.conn, place.disk.as_ref(), place.files)? > 0 || expire::all(place.conn)? > 0 {
        return Ok(Some(Freed::Files));
    }
    let mut largest: Option<(u64, usize)> = None;
    for at in evictable {
        let Some(table) = place.tables.get(at) else { continue };
        largest = largest.max(Some((retain::live_bytes(place.conn, place.own, table)?, at)));
    }
    let Some((1.., at)) = largest else { return Ok(None) };
    let Some(table) = place.tables.get(at) else { return Ok(None) };
    let name = table.table.name.clone();
    let Some(condition) = retain::oldest(place.conn, place.own, table)? else { return Ok(None) };
    let rows = retain::remove(place, at, &condition)?;
    Ok((rows > 0).then_some(Freed::Rows { table: name, rows }))
}
