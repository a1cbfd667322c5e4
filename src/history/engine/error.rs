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
    #[error("{} {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{0} files of the lake were set aside; it is opened without them")]
    SetAside(usize),
    #[error("the catalog names files and `{}` is empty: is the file system mounted?", .0.display())]
    NotMounted(PathBuf),
    #[error("there is no lake in `{}`", .0.display())]
    NoLake(PathBuf),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("no room for a batch: {free} bytes are free, {reserve} are kept back")]
    NoRoom { free: u64, reserve: u64 },
    #[cfg(feature = "duckdb")]
    #[error("a batch was refused: of {rows} rows {found} are in its file, and {what}; they come again from the log")]
    NotAsOwed { rows: u64, found: u64, what: &'static str },
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

    /// Whether a lake that is opened anew may do what this one cannot. No opening makes room on a disk.
    pub(super) fn may_heal_by_opening(&self) -> bool {
        match self {
            Self::NoRoom { .. } | Self::Log(_) => false,
            Self::Io { source, .. } => source.kind() != std::io::ErrorKind::StorageFull,
            #[cfg(feature = "duckdb")]
            Self::Sql { source, .. } => !source.to_string().contains("No space left"),
            _ => true,
        }
    }

    /// Whether memory is what DuckDB lacked. After a failed COMMIT nobody knows what has happened, so that does not count.
    #[cfg(feature = "duckdb")]
    pub(super) fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Sql { doing, source } => !doing.starts_with("committing") && super::duck::is_out_of_memory(source),
            _ => false,
        }
    }

    /// Whether it is the statement that cannot be carried out, whatever the lake has: the caller's affair. Everything else is
    /// tried again.
    #[cfg(feature = "duckdb")]
    pub(super) fn is_of_statement(source: &duckdb::Error) -> bool {
        const KINDS: [&str; 8] = [
            "Conversion Error",
            "Out of Range Error",
            "Binder Error",
            "Parser Error",
            "Syntax Error",
            "Invalid Input Error",
            "Mismatch Type Error",
            "Not implemented Error",
        ];
        let text = source.to_string();
        KINDS.iter().any(|kind| text.trim_start().starts_with(kind)) && !is_refusal(&text)
    }

    /// Whether the catalog's contents seem to be what is broken. What another process, a full disk, a wrong permission or any other
    /// word of the operating system causes does not count, and the file is looked at before anything is moved: see
    /// [`damage::confirm`](super::damage::confirm).
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
                // DuckLake names its catalog in every message, whatever the cause is.
                let text = source.to_string().replace("__ducklake_metadata_lake", "the catalog");
                SIGNS.iter().any(|sign| text.contains(sign)) && !is_refusal(&text)
            }
            _ => false,
        }
    }
}

/// What the operating system says when it refuses something that has nothing to do with what a file holds.
#[cfg(feature = "duckdb")]
const REFUSALS: [rustix::io::Errno; 20] = [
    rustix::io::Errno::ACCESS,
    rustix::io::Errno::PERM,
    rustix::io::Errno::MFILE,
    rustix::io::Errno::NFILE,
    rustix::io::Errno::ROFS,
    rustix::io::Errno::IO,
    rustix::io::Errno::NOSPC,
    rustix::io::Errno::DQUOT,
    rustix::io::Errno::FBIG,
    rustix::io::Errno::NOMEM,
    rustix::io::Errno::AGAIN,
    rustix::io::Errno::BUSY,
    rustix::io::Errno::TXTBSY,
    rustix::io::Errno::NOLCK,
    rustix::io::Errno::STALE,
    rustix::io::Errno::NODEV,
    rustix::io::Errno::NXIO,
    rustix::io::Errno::TIMEDOUT,
    rustix::io::Errno::HOSTDOWN,
    rustix::io::Errno::NOTCONN,
];

/// Whether DuckDB's text ends in a refusal of the operating system, in that system's own words, or tells of memory or a lock.
#[cfg(feature = "duckdb")]
pub(super) fn is_refusal(text: &str) -> bool {
    let said = |errno: &rustix::io::Errno| {
        let words = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
        let words = words.split(" (os error").next().unwrap_or_default().to_owned();
        !words.is_empty() && text.contains(&words)
    };
    ["Out of Memory Error", "Could not set lock", "Permission Error"].iter().any(|sign| text.contains(sign))
        || REFUSALS.iter().any(said)
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

#[cfg(all(test, feature = "duckdb"))]
mod tests {
    use super::*;

    fn attach(cause: &str) -> EngineError {
        let text = format!("IO Error: Failed to attach DuckLake MetaData \"__ducklake_metadata_lake\" at path + \"x\"{cause}");
        let failure = duckdb::ffi::Error { code: duckdb::ffi::ErrorCode::Unknown, extended_code: 1 };
        EngineError::Sql { doing: "opening the lake", source: duckdb::Error::DuckDBFailure(failure, Some(text)) }
    }

    #[test]
    fn what_the_system_refuses_is_no_damage_of_the_catalog() {
        for cause in [
            "Cannot open file \"catalog.ducklake\": Permission denied",
            "Cannot open file \"catalog.ducklake\": Too many open files",
            "Cannot open file \"catalog.ducklake\": Too many open files in system",
            "Cannot open file \"catalog.ducklake\": Read-only file system",
            "Could not read from file \"catalog.ducklake\": Input/output error",
            "Could not write file \"catalog.ducklake.wal\": No space left on device",
            "Could not set lock on file \"catalog.ducklake\": Conflicting lock is held in duckdb (PID 7)",
            "Out of Memory Error: could not allocate block",
            "Cannot open file \"catalog.ducklake\": Cannot allocate memory",
        ] {
            assert!(!attach(cause).catalog_is_broken(), "{cause}");
        }
        for cause in
            ["The file is not a valid DuckDB database file!", "Corrupt database file: computed checksum 1 does not match"]
        {
            assert!(attach(cause).catalog_is_broken(), "{cause}");
        }
    }

    #[test]
    fn a_statement_that_never_works_is_told_from_a_disk_that_is_full() {
        let conn = duckdb::Connection::open_in_memory().unwrap();
        let error = |sql: &str| conn.execute_batch(sql).unwrap_err();
        assert!(EngineError::is_of_statement(&error("SELECT CAST('x' AS INTEGER)")));
        assert!(EngineError::is_of_statement(&error("SELECT nothing FROM range(3)")));
        let full = error("COPY (SELECT * FROM range(100000)) TO '/dev/full' (FORMAT csv)");
        assert!(full.to_string().contains("No space left"), "{full}");
        assert!(!EngineError::is_of_statement(&full));
    }
}
