//! Opens DuckDB with the lake attached, and shuts the doors behind it.
//!
//! ```text
//! <data>/lake/catalog.ducklake       what exists: 28 tables of DuckLake 1.0 in a DuckDB file
//! <data>/lake/files/main/<table>/    Parquet: batch-<log>-<seq>.parquet by us, ducklake-*-delete.parquet by DuckLake
//! <data>/lake/quarantine/            what was damaged, moved out of the way
//! <data>/lake/tmp/                   what a query spills
//! ```
//!
//! After opening, the engine can touch nothing outside of `files/` (and its temp folder), load nothing and set nothing, whatever
//! SQL it is given.

use super::names::text;
use crate::history::engine::error::EngineError;
use crate::history::engine::folders::{catalog, files};
use crate::history::settings::Settings;
use duckdb::{Config, Connection};
use std::path::{Path, PathBuf};

/// Opens an empty database with the lake attached as `lake`. The settings are still open; see [`lock_down`].
pub(super) fn open(settings: &Settings) -> Result<Connection, EngineError> {
    for dir in [&settings.lake, &files(settings), &settings.temp] {
        std::fs::create_dir_all(dir).map_err(EngineError::io("creating the lake's folders"))?;
    }
    let extension = find_extension(settings)?;
    let mebibytes = (settings.memory_limit >> 20).max(16);
    let config = Config::default()
        .with("autoinstall_known_extensions", "false")
        .and_then(|c| c.with("autoload_known_extensions", "false"))
        .and_then(|c| c.with("threads", "2"))
        .and_then(|c| c.with("memory_limit", format!("{mebibytes}MiB")))
        .and_then(|c| c.with("temp_directory", settings.temp.to_string_lossy()))
        .map_err(EngineError::sql("configuring DuckDB"))?;
    let conn = Connection::open_in_memory_with_flags(config).map_err(EngineError::sql("opening DuckDB"))?;
    conn.execute_batch(&format!("LOAD {}", path_text(&extension)))
        .map_err(EngineError::sql("loading the DuckLake extension"))?;
    // Blocks of 16 KiB instead of 256: thirty small tables take a tenth of the room, and a checkpoint writes as much less. A
    // catalog that exists keeps the size it was made with.
    let block_size = if catalog(settings).exists() { "" } else { ", META_BLOCK_SIZE 16384" };
    // The catalog remembers the absolute folder it was made with; the override is what lets a data folder move.
    conn.execute_batch(&format!(
        "ATTACH {} AS lake (DATA_PATH {}, OVERRIDE_DATA_PATH true, DATA_INLINING_ROW_LIMIT 0{block_size})",
        text(&format!("ducklake:{}", catalog(settings).display())),
        text(&format!("{}/", files(settings).display())),
    ))
    .map_err(EngineError::sql("opening the lake"))?;
    conn.execute_batch("CREATE SCHEMA IF NOT EXISTS memory.tail").map_err(EngineError::sql("making room for the tail"))?;
    Ok(conn)
}

/// From here on no statement can reach a file that is not the lake's, nor change a setting.
pub(super) fn lock_down(conn: &Connection, settings: &Settings) -> Result<(), EngineError> {
    let files = text(&format!("{}/", files(settings).display()));
    conn.execute_batch(&format!(
        "SET allowed_directories = [{files}]; SET enable_external_access = false; SET lock_configuration = true;"
    ))
    .map_err(EngineError::sql("locking DuckDB's settings"))
}

pub(super) fn path_text(path: &Path) -> String {
    text(&path.to_string_lossy())
}

fn find_extension(settings: &Settings) -> Result<PathBuf, EngineError> {
    settings
        .library_dirs
        .iter()
        .map(|dir| dir.join("ducklake.duckdb_extension"))
        .find(|path| path.is_file())
        .and_then(|path| std::path::absolute(path).ok())
        .ok_or_else(|| EngineError::NoExtension(settings.library_dirs.clone()))
}
