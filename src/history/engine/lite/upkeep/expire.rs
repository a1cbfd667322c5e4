//! Forgets old snapshots, then the files that no snapshot needs any more, then removes those.
//!
//! ```text
//! now ◀── a day: all of them ──▶◀── up to `snapshots`: the last batch of each hour ──▶◀── older: none ──
//! ```
//! The newest snapshot stays in any case, and so does the newest that says how far the log is covered.

use super::DAY_US;
use crate::disk::Disk;
use crate::history::engine::error::EngineError;
use crate::history::settings::Settings;
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Files that one step removes.
const SOME: usize = 32;

/// Where a file is, relative to the lake's files.
const PATH: &str = "(SELECT CASE WHEN f.path_is_relative THEN s.path || t.path || f.path ELSE f.path END FROM ducklake_table t \
                    JOIN ducklake_schema s USING (schema_id) WHERE t.table_id = f.table_id LIMIT 1)";
/// A file that no snapshot sees.
const UNSEEN: &str = "f.end_snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ducklake_snapshot n \
                      WHERE n.snapshot_id >= f.begin_snapshot AND n.snapshot_id < f.end_snapshot)";

/// Forgets snapshots and what only they need; returns how many.
pub(super) fn snapshots(conn: &Connection, settings: &Settings, now_us: i64) -> Result<u64, EngineError> {
    let keep_us = i64::try_from(settings.snapshots.as_micros()).unwrap_or(i64::MAX);
    forget(conn, now_us.saturating_sub(keep_us.min(DAY_US)), now_us.saturating_sub(keep_us))
        .map_err(EngineError::sqlite("expiring snapshots"))
}

/// Forgets all but the newest, however young they are; returns how many.
pub(super) fn all(conn: &Connection) -> Result<u64, EngineError> {
    forget(conn, i64::MAX, i64::MAX).map_err(EngineError::sqlite("expiring snapshots"))
}

/// All younger than `recent` stay, and the last of each hour of those younger than `oldest`.
fn forget(conn: &Connection, recent: i64, oldest: i64) -> rusqlite::Result<u64> {
    let transaction = conn.unchecked_transaction()?;
    transaction.execute_batch("CREATE TEMP TABLE IF NOT EXISTS gone (id INTEGER PRIMARY KEY); DELETE FROM temp.gone")?;
    let gone = transaction.execute(
        "WITH s AS (SELECT snapshot_id AS id, unixepoch(substr(snapshot_time, 1, 19)) * 1000000 AS taken, \
             coalesce(c.commit_extra_info LIKE '%log_seq%', 0) AS tells \
           FROM ducklake_snapshot LEFT JOIN ducklake_snapshot_changes c USING (snapshot_id)), \
         stay AS (SELECT max(id) AS id FROM s UNION SELECT max(id) FROM s WHERE tells \
           UNION SELECT id FROM s WHERE taken > ?1 \
           UNION SELECT max(id) FROM s WHERE tells AND taken > ?2 GROUP BY taken / 3600000000) \
         INSERT INTO temp.gone SELECT id FROM s WHERE id NOT IN (SELECT id FROM stay WHERE id IS NOT NULL)",
        params![recent, oldest],
    )?;
    if gone == 0 {
        return Ok(0);
    }
    for table in ["ducklake_snapshot", "ducklake_snapshot_changes"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE snapshot_id IN (SELECT id FROM temp.gone)"), [])?;
    }
    for (table, id) in [("ducklake_data_file", "data_file_id"), ("ducklake_delete_file", "delete_file_id")] {
        transaction.execute(
            &format!(
                "INSERT INTO ducklake_files_scheduled_for_deletion \
                 SELECT f.{id}, {PATH}, 1, (SELECT max(snapshot_time) FROM ducklake_snapshot) FROM {table} f WHERE {UNSEEN}"
            ),
            [],
        )?;
    }
    transaction.execute(&format!("DELETE FROM ducklake_delete_file AS f WHERE {UNSEEN}"), [])?;
    transaction.execute(&format!("DELETE FROM ducklake_data_file AS f WHERE {UNSEEN}"), [])?;
    for table in ["ducklake_file_column_stats", "ducklake_file_partition_value", "ducklake_delete_file"] {
        let sql = format!("DELETE FROM {table} WHERE data_file_id NOT IN (SELECT data_file_id FROM ducklake_data_file)");
        transaction.execute(&sql, [])?;
    }
    transaction.commit()?;
    Ok(gone as u64)
}

/// Removes some of the files that wait for it: first the files, then the catalog's memory of them, so that a power cut in between
/// leaves names to try again and never a file that nobody knows.
pub(super) fn remove_some(conn: &Connection, disk: &dyn Disk, files: &Path) -> Result<u64, EngineError> {
    let doing = "removing old files";
    let list = || {
        let mut statement = conn.prepare(&format!("SELECT path FROM ducklake_files_scheduled_for_deletion LIMIT {SOME}"))?;
        let paths = statement.query_map([], |row| row.get::<_, String>(0))?;
        paths.collect::<rusqlite::Result<Vec<String>>>()
    };
    let scheduled = list().map_err(EngineError::sqlite(doing))?;
    let mut folders = BTreeSet::new();
    for path in scheduled.iter().map(|path| files.join(path)) {
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(EngineError::Io { doing, source: error }),
            _ => {}
        }
        folders.extend(path.parent().map(Path::to_path_buf));
    }
    for folder in &folders {
        match disk.sync_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(EngineError::Io { doing, source: error }),
            _ => {}
        }
    }
    for path in &scheduled {
        let done = conn.execute("DELETE FROM ducklake_files_scheduled_for_deletion WHERE path = ?", [path]);
        done.map_err(EngineError::sqlite(doing))?;
    }
    Ok(scheduled.len() as u64)
}
