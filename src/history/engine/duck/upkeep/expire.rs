//! Forgets old snapshots: looks into the past need them, but each costs room in the catalog and keeps replaced files alive.
//!
//! ```text
//! now ◀── a day: all of them ──▶◀── up to `snapshots`: the last batch of each hour ──▶◀── older: none ──
//! ```
//! The newest snapshot stays in any case, and so does the newest that says how far the log is covered: without it the log would be
//! read again from its beginning. Between two that stay, one without that word never stays alone: what it covers is told by the one
//! before it.

use crate::clock::Wall;
use crate::history::engine::duck::names::META;
use crate::history::engine::error::EngineError;
use crate::history::settings::Settings;
use duckdb::{Connection, params};

/// Snapshots that one step forgets.
const SOME: usize = 500;
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// Forgets some snapshots; returns how many.
pub(super) fn step(conn: &Connection, settings: &Settings, now: Wall) -> Result<u64, EngineError> {
    let now_us = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let keep_us = i64::try_from(settings.snapshots.as_micros()).unwrap_or(i64::MAX);
    let recent = now_us.saturating_sub(keep_us.min(DAY_US));
    forget(conn, recent, now_us.saturating_sub(keep_us))
}

/// Forgets some snapshots, however young they are; returns how many.
pub(super) fn all(conn: &Connection) -> Result<u64, EngineError> {
    forget(conn, i64::MAX, i64::MAX)
}

/// All younger than `recent` stay, and the last of each hour of those younger than `hourly`.
fn forget(conn: &Connection, recent: i64, hourly: i64) -> Result<u64, EngineError> {
    let doing = "expiring snapshots";
    // Materialized: to put a scan of a SQLite catalog in more than one place is more than its extension can do (seen: an internal
    // error).
    let sql = format!(
        "WITH s AS MATERIALIZED (SELECT snapshot_id AS id, epoch_us(snapshot_time::TIMESTAMPTZ) AS taken, \
             coalesce(c.commit_extra_info LIKE '%log_seq%', false) AS tells \
           FROM {META}.ducklake_snapshot LEFT JOIN {META}.ducklake_snapshot_changes c USING (snapshot_id)), \
         stay AS MATERIALIZED (SELECT max(id) AS id FROM s UNION SELECT max(id) FROM s WHERE tells \
           UNION SELECT id FROM s WHERE taken > ?1 \
           UNION SELECT max(id) FROM s WHERE tells AND taken > ?2 GROUP BY taken // 3600000000) \
         SELECT id FROM s WHERE id NOT IN (SELECT id FROM stay WHERE id IS NOT NULL) ORDER BY id LIMIT {SOME}"
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let ids: Vec<String> = statement
        .query_map(params![recent, hourly], |row| row.get::<_, i64>(0))
        .and_then(|rows| rows.map(|id| id.map(|id| id.to_string())).collect())
        .map_err(EngineError::sql(doing))?;
    if ids.is_empty() {
        return Ok(0);
    }
    // It answers with time stamps in a zone, which the Arrow reader does not take: so not directly.
    conn.execute_batch(&format!(
        "CREATE OR REPLACE TEMP TABLE expired AS SELECT snapshot_id FROM ducklake_expire_snapshots('lake', versions => [{}]); \
         DROP TABLE temp.expired",
        ids.join(", ")
    ))
    .map_err(EngineError::sql(doing))?;
    Ok(ids.len() as u64)
}
