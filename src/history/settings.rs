//! What the engine needs to know before it opens the lake.

use super::model::{Limits, Table};
use crate::config;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who keeps the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// DuckDB with its DuckLake extension.
    #[cfg(feature = "duckdb")]
    Duckdb,
    /// SQLite for the catalog, Parquet files by ourselves: for small boards and 32-bit processors.
    Lite,
}

impl Backend {
    /// The one that the configuration names, or the best that this build has.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            #[cfg(feature = "duckdb")]
            "auto" | "duckdb" => Self::Duckdb,
            _ => Self::Lite,
        }
    }
}

/// How the lake is kept and asked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub backend: Backend,
    /// Everything of the lake is below this folder, so that it can be moved: the catalog, the files, the quarantine.
    pub lake: PathBuf,
    /// Where DuckDB spills what does not fit into `memory_limit`.
    pub temp: PathBuf,
    /// Rows wait this long for a batch at most.
    pub batch_interval: Duration,
    /// So many rows above the lake make a batch at once.
    pub batch_rows: usize,
    /// Limit of DuckDB's buffers, in bytes.
    pub memory_limit: u64,
    pub query_timeout: Duration,
    /// A result with more rows is an error, never cut short silently.
    pub query_rows: usize,
    /// A result with more bytes of Arrow IPC is an error.
    pub query_bytes: usize,
    /// Limits of tables that have none of their own.
    pub limits: Limits,
    /// How often upkeep makes a pass.
    pub maintenance: Duration,
    /// How far back snapshots are kept.
    pub snapshots: Duration,
    /// Room on the disk that the log leaves free (`[wal] reserve`). Batches leave half of it, for what must be written to make
    /// room.
    pub reserve: u64,
    /// Folders in which `ducklake.duckdb_extension` may be, best first.
    pub library_dirs: Vec<PathBuf>,
}

impl Settings {
    /// The operator's settings for the data folder `data`.
    #[must_use]
    pub fn new(data: &Path, history: &config::History) -> Self {
        // DuckLake keeps the path of its files in the catalog and wants it absolute; the lake itself stays movable.
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        Self {
            backend: Backend::of(&history.backend),
            lake: data.join("lake"),
            temp: data.join("lake").join("tmp"),
            batch_interval: history.batch_interval,
            batch_rows: history.batch_rows.max(1),
            memory_limit: history.memory_limit,
            query_timeout: history.query_timeout,
            query_rows: history.query_rows,
            query_bytes: 60 << 20,
            limits: history.limits,
            maintenance: history.maintenance,
            snapshots: history.snapshots,
            reserve: 0,
            library_dirs: library_dirs(),
        }
    }

    /// The limits that hold for a table.
    #[must_use]
    pub fn limits(&self, table: &Table) -> Limits {
        let (own, other) = (table.limits, self.limits);
        Limits { age: own.age.or(other.age), bytes: own.bytes.or(other.bytes), when_full: own.when_full.or(other.when_full) }
    }

    /// An error's text for callers, who need not know where the lake is.
    pub(super) fn without_paths(&self, error: &impl std::fmt::Display) -> String {
        error.to_string().replace(self.lake.to_string_lossy().as_ref(), "…")
    }
}

/// Where the extension is looked for: what the environment says, beside the installed binary, where the build found it.
fn library_dirs() -> Vec<PathBuf> {
    let environment = std::env::var_os("REMBUS_GATEWAY_LIB_DIR").map(PathBuf::from);
    let installed = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("lib/rembus-gateway")));
    let developer = option_env!("REMBUS_GATEWAY_DEV_LIB_DIR").map(PathBuf::from);
    [environment, installed, developer].into_iter().flatten().collect()
}
