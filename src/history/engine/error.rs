//! What can go wrong in the engine, and what the engine does about it.

use crate::wal::WalError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[cfg(feature = "duckdb")]
    #[error("DuckDB's extension `{name}` is not installed; looked for `{name}.duckdb_extension` in {}", list(looked))]
    NoExtension { name: &'static str, looked: Vec<PathBuf> },
    #[cfg(feature = "duckdb")]
    #[error("{0} is kept elsewhere, and so are copies and checks of it: with the tools of the database or the store")]
    Elsewhere(&'static str),
    #[cfg(feature = "duckdb")]
    #[error("{doing}: {}", tell(.source))]
    Sql { doing: &'static str, source: duckdb::Error },
    #[error("{doing}: {source}")]
    Sqlite { doing: &'static str, source: rusqlite::Error },
    #[error("{doing}: {source}")]
    Parquet { doing: &'static str, source: parquet::errors::ParquetError },
    #[error("the catalog is damaged: {0}")]
    Catalog(String),
    #[error("the catalog is of DuckLake {0}; this gateway knows 1.0")]
    CatalogVersion(String),
    #[error("this folder has a lake of `[history] {setting}` (`{}`); choose that, or another folder", found.display())]
    OtherStore { found: PathBuf, setting: &'static str },
    #[error("there is no lake in `{}`", .0.display())]
    NoLake(PathBuf),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("no room for a batch: {free} bytes are free, {reserve} are kept back")]
    NoRoom { free: u64, reserve: u64 },
    #[error("the log: {0}")]
    Log(#[from] WalError),
    #[error("making Arrow of rows: {0}")]
    Arrow(String),
}

impl EngineError {
    #[cfg(feature = "duckdb")]
    pub(super) fn sql(doing: &'static str) -> impl FnOnce(duckdb::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    pub(super) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { doing, source }
    }

    pub(super) fn parquet(doing: &'static str) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| Self::Parquet { doing, source }
    }

    pub(super) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Where the log beside the catalog ends in an entry that is not whole, as a power cut leaves it. DuckDB takes one that is cut
    /// short for what it is, but one of which some pages are missing for damage, and opens nothing any more. It names the place
    /// behind the entry's size and checksum; those must go too, or zeros there are an entry of no bytes with a wrong checksum.
    #[cfg(feature = "duckdb")]
    pub(super) fn torn_at(&self) -> Option<usize> {
        let Self::Sql { source, .. } = self else { return None };
        let text = source.to_string();
        let (_, rest) = text.split_once("Corrupt WAL file: entry at byte position ")?;
        let behind_head: usize = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        behind_head.checked_sub(WAL_ENTRY_HEAD)
    }

    /// Whether the catalog file itself is what is broken, so that only a fresh one helps. Anything that another process, a
    /// full disk or a wrong permission can cause must not count: a good catalog would be moved aside.
    pub(super) fn catalog_is_broken(&self) -> bool {
        #[cfg(feature = "duckdb")]
        const SIGNS: [&str; 8] = [
            "not a valid DuckDB database",
            "Corrupt",
            "corrupt",
            "checksum",
            "Could not read enough bytes",
            "Serialization Error",
            "INTERNAL Error",
            "ducklake_metadata",
        ];
        match self {
            Self::Catalog(_) => true,
            Self::Sqlite { source, .. } => {
                use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
                matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
                    || source.to_string().contains("no such table: ducklake_")
            }
            #[cfg(feature = "duckdb")]
            Self::Sql { source, .. } => {
                let text = source.to_string();
                SIGNS.iter().any(|sign| text.contains(sign)) && !text.contains("Could not set lock")
            }
            _ => false,
        }
    }
}

/// Size and checksum before each entry of DuckDB's log, 64 bits each.
#[cfg(feature = "duckdb")]
const WAL_ENTRY_HEAD: usize = 16;

#[cfg(feature = "duckdb")]
fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

/// The text without what opens databases and stores.
#[cfg(feature = "duckdb")]
fn mask(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("password=") {
        let end = after.find([' ', '"', '\'', '&']).unwrap_or(after.len());
        masked.push_str(before);
        masked.push_str("password=…");
        rest = after.get(end..).unwrap_or_default();
    }
    masked + rest
}

/// DuckDB's text without its stack and without its drawing of the statement.
#[cfg(feature = "duckdb")]
fn tell(source: &duckdb::Error) -> String {
    let text = source.to_string();
    let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    mask(&first.chars().take(300).collect::<String>())
}
