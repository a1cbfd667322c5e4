//! Removes files that no snapshot needs any more, and keeps the catalog's own file small.

use crate::disk::Disk;
use crate::history::engine::duck::names::META;
use crate::history::engine::duck::verify;
use crate::history::engine::error::EngineError;
use crate::history::engine::folders;
use crate::history::settings::Settings;
use duckdb::{Connection, params};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Files that one step removes.
const SOME: usize = 32;
/// The catalog's own log is written into the catalog when it is larger than this: a checkpoint rewrites whole blocks, but one
/// damaged byte in the log costs everything behind it.
const CHECKPOINT_BYTES: u64 = 64 << 10;

/// Removes some of the files that DuckLake has scheduled for removal: first the files, then the catalog's memory of them, so
/// that a power cut in between leaves names to try again and never a file that nobody knows.
pub(super) fn remove_some(conn: &Connection, disk: &dyn Disk, files: &Path) -> Result<u64, EngineError> {
    let doing = "removing old files";
    let mut statement = conn
        .prepare(&format!("SELECT path, path_is_relative FROM {META}.ducklake_files_scheduled_for_deletion LIMIT {SOME}"))
        .map_err(EngineError::sql(doing))?;
    let scheduled: Vec<(String, bool)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(EngineError::sql(doing))?;
    let mut folders = BTreeSet::new();
    for (path, relative) in &scheduled {
        let path = if *relative { files.join(path) } else { PathBuf::from(path) };
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(EngineError::Io { doing, source: error }),
            _ => {}
        }
        folders.extend(path.parent().map(Path::to_path_buf));
    }
    for folder in &folders {
        // An empty folder of a day goes too; its parent is synced in its place.
        let gone = folder != files && folders::is_day(folder) && std::fs::remove_dir(folder).is_ok();
        let synced = if gone { folder.parent().unwrap_or(files) } else { folder };
        match disk.sync_dir(synced) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(EngineError::Io { doing, source: error }),
            _ => {}
        }
    }
    for (path, _) in &scheduled {
        conn.execute(&format!("DELETE FROM {META}.ducklake_files_scheduled_for_deletion WHERE path = ?"), params![path])
            .map_err(EngineError::sql(doing))?;
    }
    Ok(scheduled.len() as u64)
}

/// Lets DuckLake remove what no snapshot needs from a store of objects, and what crashes left there.
pub(super) fn remove_remote(conn: &Connection) -> Result<u64, EngineError> {
    let mut removed = 0;
    for call in [
        "ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL 1 HOUR)",
        // Nobody writes longer at a file before the catalog names it.
        "ducklake_delete_orphaned_files('lake', older_than => now() - INTERVAL 1 DAY)",
    ] {
        removed += conn
            .query_row(&format!("SELECT count(*) FROM {call}"), [], |row| row.get::<_, u64>(0))
            .map_err(EngineError::sql("removing old files"))?;
    }
    Ok(removed)
}

/// Removes what a merge that failed left behind.
pub(super) fn leftovers(conn: &Connection, settings: &Settings, disk: &dyn Disk, files: &Path) -> Result<u64, EngineError> {
    verify::remove_orphans(conn, settings, files, disk).map(|removed| removed as u64)
}

/// Writes the catalog's own log into the catalog if that is worth it.
pub(super) fn checkpoint(conn: &Connection, settings: &Settings) -> Result<(), EngineError> {
    let log = folders::catalog(settings).with_extension("ducklake.wal");
    let bytes = std::fs::metadata(log).map_or(0, |log| log.len());
    if bytes < CHECKPOINT_BYTES {
        return Ok(());
    }
    match conn.execute_batch("CHECKPOINT __ducklake_metadata_lake") {
        Ok(()) => Ok(()),
        // A query has it open; DuckDB does it later by itself.
        Err(error) if error.to_string().contains("Cannot CHECKPOINT") => Ok(()),
        Err(error) => Err(EngineError::sql("checkpointing the catalog")(error)),
    }
}
