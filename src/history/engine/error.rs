//! What can go wrong in the engine, and what the engine does about it.

use crate::wal::WalError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("the DuckLake extension is not installed; looked for `ducklake.duckdb_extension` in {}", list(.0))]
    NoExtension(Vec<PathBuf>),
    #[error("{doing}: {}", tell(.source))]
    Sql { doing: &'static str, source: duckdb::Error },
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
    pub(super) fn sql(doing: &'static str) -> impl FnOnce(duckdb::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    pub(super) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Whether the catalog file itself is what is broken, so that only a fresh one helps. Anything that another process, a
    /// full disk or a wrong permission can cause must not count: a good catalog would be moved aside.
    pub(super) fn catalog_is_broken(&self) -> bool {
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
            Self::Sql { source, .. } => {
                let text = source.to_string();
                SIGNS.iter().any(|sign| text.contains(sign)) && !text.contains("Could not set lock")
            }
            _ => false,
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

/// DuckDB's text without its stack and without its drawing of the statement.
fn tell(source: &duckdb::Error) -> String {
    let text = source.to_string();
    let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    first.chars().take(300).collect()
}
