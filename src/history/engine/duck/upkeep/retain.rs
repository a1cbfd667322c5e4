//! Lets rows go that are too old, or that are too many.
//!
//! Appended rows go by whole days, so that files go and nothing is rewritten: a day goes when its last moment is older than
//! `retention`. When a table is larger than `max_size`, its oldest day goes, and if there is only one, the oldest of its files. A
//! row of a keyed table goes when nobody has set it for so long.

use super::Place;
use super::merge::today;
use crate::clock::{CLOCK_IS_SET, Wall};
use crate::history::engine::duck::batch;
use crate::history::engine::duck::catalog;
use crate::history::engine::duck::names::{LAKE, META, Own, ident};
use crate::history::engine::duck::store::LakeTable;
use crate::history::engine::error::EngineError;
use duckdb::{Connection, OptionalExt, params};
use std::time::Duration;

/// Lets some rows of the table at `at` go; returns how many.
pub(super) fn step(place: &mut Place<'_>, at: usize, now: Wall) -> Result<u64, EngineError> {
    let conn = place.conn;
    let Some(table) = place.tables.get(at) else { return Ok(0) };
    let limits = place.settings.limits(&table.table);
    let mut condition = None;
    if let Some(age) = limits.age.filter(|_| now >= CLOCK_IS_SET) {
        condition = too_old(conn, place.own, table, now, age)?;
    }
    if let (None, Some(bytes)) = (&condition, limits.bytes)
        && live_bytes(conn, place.own, table)? > bytes
    {
        condition = oldest(conn, place.own, table)?;
    }
    let Some(condition) = condition else { return Ok(0) };
    let gone = remove(place, at, &condition)?;
    log::info!(table = place.tables.get(at).map(|table| table.table.name.as_str()), rows = gone;
        "rows beyond the table's retention were removed");
    Ok(gone)
}

/// Removes the oldest rows that a condition of ours describes, in one transaction; returns how many. It says again what the lake
/// covers: the snapshot that says it last is kept, and would keep the files.
pub(super) fn remove(place: &mut Place<'_>, at: usize, condition: &str) -> Result<u64, EngineError> {
    let (conn, disk) = (place.conn, place.disk.as_ref());
    let Some(table) = place.tables.get_mut(at) else { return Ok(0) };
    let statement = format!("DELETE FROM {LAKE}.{} WHERE {condition}{}", ident(&table.table.name), place.own.and(""));
    let folder = place.files.join(&table.stored.folder);
    let mut gone = 0;
    batch::transaction(conn, || {
        gone = batch::synced(disk, &folder, || conn.execute(&statement, []).map_err(EngineError::sql("removing old rows")))?;
        conn.execute_batch(&catalog::set_covered(place.own, place.covered)).map_err(EngineError::sql("storing what is covered"))
    })?;
    table.rows_in_lake = catalog::live_rows(conn, place.own, table.stored.id)?;
    Ok(gone as u64)
}

fn too_old(conn: &Connection, own: &Own, table: &LakeTable, now: Wall, age: Duration) -> Result<Option<String>, EngineError> {
    let since = Wall(now.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
    let first = today(since);
    let condition = if table.table.keys.is_empty() {
        format!("(_day < DATE '{first}' OR (_day IS NULL AND _recv < TIMESTAMP '{first} 00:00:00'))")
    } else {
        format!("_recv < make_timestamp({}::BIGINT)", since.0 / 1000)
    };
    let name = ident(&table.table.name);
    let found = conn
        .query_row(&format!("SELECT 1 FROM {LAKE}.{name} WHERE {condition}{} LIMIT 1", own.and("")), [], |row| {
            row.get::<_, i32>(0)
        })
        .optional()
        .map_err(EngineError::sql("looking for old rows"))?;
    Ok(found.map(|_| condition))
}

/// Bytes of the files that a query of the table reads.
pub(in crate::history::engine::duck) fn live_bytes(
    conn: &Connection,
    own: &Own,
    table: &LakeTable,
) -> Result<u64, EngineError> {
    let sql = format!(
        "SELECT coalesce(sum(file_size_bytes), 0)::UBIGINT FROM {META}.ducklake_data_file f \
         WHERE table_id = ? AND end_snapshot IS NULL{}",
        own.and_file("f.")
    );
    conn.query_row(&sql, params![table.stored.id], |row| row.get(0)).map_err(EngineError::sql("adding up a table's files"))
}

/// The condition for the oldest day, or for the oldest file if there is but one day; `None` if there is nothing.
pub(super) fn oldest(conn: &Connection, own: &Own, table: &LakeTable) -> Result<Option<String>, EngineError> {
    let doing = "looking for the oldest rows";
    let sql = format!(
        "SELECT p.partition_value, f.row_id_start, f.record_count \
         FROM {META}.ducklake_data_file f LEFT JOIN {META}.ducklake_file_partition_value p \
           ON p.data_file_id = f.data_file_id AND p.partition_key_index = {} \
         WHERE f.table_id = ? AND f.end_snapshot IS NULL{} ORDER BY p.partition_value NULLS FIRST, f.row_id_start",
        own.day_index(),
        own.and_file("f.")
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let files: Vec<(Option<String>, i64, i64)> = statement
        .query_map(params![table.stored.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(EngineError::sql(doing))?;
    let (Some((first, start, rows)), Some((last, ..))) = (files.first(), files.last()) else { return Ok(None) };
    Ok(Some(match first {
        Some(day) if first != last => format!("_day = DATE '{day}'"),
        _ => format!("rowid BETWEEN {start} AND {}", start + rows - 1),
    }))
}
