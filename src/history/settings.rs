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

/// Where DuckLake keeps its catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalog {
    /// A file of DuckDB: the smallest, and nobody else can read it meanwhile.
    Duckdb,
    /// A file of SQLite, which others can read while the gateway writes.
    Sqlite,
    /// A database that many gateways may share, as libpq connects to it.
    Postgres(String),
}

impl Catalog {
    /// The one that the configuration names.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name.split_once(':') {
            Some(("postgres", connection)) => Self::Postgres(connection.to_owned()),
            _ if name == "sqlite" => Self::Sqlite,
            _ => Self::Duckdb,
        }
    }

    /// Whether other gateways may have their rows in the same tables.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// Where the tables' files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Below the data folder.
    Own,
    Folder(PathBuf),
    S3(S3),
}

/// A place in a store of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// `s3://bucket/prefix`, without a slash at its end.
    pub url: String,
    /// `None`: Amazon's.
    pub endpoint: Option<String>,
    pub region: String,
    pub key: Option<String>,
    pub secret: Option<String>,
}

impl Data {
    fn of(history: &config::History) -> Self {
        match &history.lake_data {
            None => Self::Own,
            Some(place) if place.starts_with("s3://") => Self::S3(S3 {
                url: place.trim_end_matches('/').to_owned(),
                endpoint: history.s3_endpoint.clone(),
                region: history.s3_region.clone(),
                key: history.s3_key.clone(),
                secret: history.s3_secret.clone(),
            }),
            Some(folder) => Self::Folder(folder.into()),
        }
    }

    /// Whether there is no disk under it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::S3(_))
    }
}

/// How the lake is kept and asked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub backend: Backend,
    pub catalog: Catalog,
    pub data: Data,
    /// How the gateway calls itself: its rows carry the name in a lake that it shares.
    pub gateway: String,
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
    /// Every file of the lake is read once in so long; zero: never.
    pub scrub: Duration,
    /// Room on the disk that the log leaves free (`[wal] reserve`). Batches leave half of it, for what must be written to make
    /// room.
    pub reserve: u64,
    /// The oldest record that the log still has: what a catalog knows of nothing older may have been forgotten by it.
    pub log_first: crate::message::Seq,
    /// The disk below the lake, as far as the gateway itself reads and writes there.
    pub disk: crate::disk::SharedDisk,
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
            catalog: Catalog::of(&history.catalog),
            data: Data::of(history),
            gateway: String::new(),
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
            scrub: history.scrub,
            reserve: 0,
            log_first: crate::message::Seq(0),
            disk: crate::disk::SystemDisk::shared(),
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
        let mut text = error.to_string().replace(self.lake.to_string_lossy().as_ref(), "…");
        if let Catalog::Postgres(connection) = &self.catalog {
            text = text.replace(connection, "…");
        }
        text
    }
}

/// Where the extension is looked for: what the environment says, beside the installed binary, where the build found it.
fn library_dirs() -> Vec<PathBuf> {
    let environment = std::env::var_os("REMBUS_GATEWAY_LIB_DIR").map(PathBuf::from);
    let installed = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("lib/rembus-gateway")));
    let developer = option_env!("REMBUS_GATEWAY_DEV_LIB_DIR").map(PathBuf::from);
    [environment, installed, developer].into_iter().flatten().collect()
}
