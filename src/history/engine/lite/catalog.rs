//! The catalog: the tables of DuckLake 1.0 in a SQLite file.
//!
//! Whatever changes is one SQLite transaction that makes one DuckLake snapshot. SQLite syncs before a commit returns
//! (`synchronous = FULL`), with its write-ahead log: one sync a commit instead of the three or four that a rollback journal needs,
//! and other processes can read meanwhile. The log goes into the file when it has 64 pages, and at the end.

use super::super::covered::Covered;
use super::super::damage;
use super::super::error::EngineError;
use crate::history::row::timestamp_text;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::Path;

const TABLES: &str = include_str!("catalog.sql");

#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) conn: Connection,
}

/// The snapshot that a transaction makes.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) id: i64,
    pub(super) time: String,
    pub(super) schema_version: i64,
    pub(super) next_catalog_id: i64,
    pub(super) next_file_id: i64,
    /// In DuckLake's words: `inserted_into_table:1`.
    pub(super) changes: Vec<String>,
}

impl Snapshot {
    pub(super) fn file_id(&mut self) -> i64 {
        self.next_file_id += 1;
        self.next_file_id - 1
    }

    pub(super) fn changed(&mut self, change: String) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

/// How a transaction failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing has changed.
    Undone(EngineError),
    /// The commit itself failed; nobody knows.
    Unknown(EngineError),
}

impl Failed {
    pub(super) fn into_error(self) -> EngineError {
        match self {
            Self::Undone(error) | Self::Unknown(error) => error,
        }
    }
}

impl Catalog {
    /// Opens the catalog, or makes it with an empty lake of the files in `data_path`.
    pub(super) fn open(path: &Path, data_path: &str, now_us: i64) -> Result<Self, EngineError> {
        let doing = "opening the catalog";
        let was_there = path.exists();
        let conn = Connection::open(path).map_err(EngineError::sqlite(doing))?;
        // Somebody else may have it open: the DuckLake extension of another process, for example.
        conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(EngineError::sqlite(doing))?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 64; \
             PRAGMA journal_size_limit = 1048576; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;",
        )
        .map_err(EngineError::sqlite(doing))?;
        let catalog = Self { conn };
        let tables: i64 = catalog
            .conn
            .query_row("SELECT count(*) FROM sqlite_master WHERE type = 'table'", [], |row| row.get(0))
            .map_err(EngineError::sqlite(doing))?;
        match tables {
            // A file that was there was more than this once, unless a crash came between making it and filling it.
            0 if was_there && damage::has_files(Path::new(data_path)) => {
                return Err(EngineError::Catalog("it is empty".to_owned()));
            }
            0 => catalog.create(data_path, now_us)?,
            _ => catalog.check()?,
        }
        Ok(catalog)
    }

    fn create(&self, data_path: &str, now_us: i64) -> Result<(), EngineError> {
        let make = || {
            let transaction = self.conn.unchecked_transaction()?;
            transaction.execute_batch(TABLES)?;
            let created_by = format!("rembus-gateway {}", env!("CARGO_PKG_VERSION"));
            let values = [
                ("version", "1.0"),
                ("created_by", &created_by),
                ("data_path", data_path),
                ("encrypted", "false"),
                // For the files that DuckLake writes when it merges or deletes.
                ("parquet_compression", "zstd"),
            ];
            for (key, value) in values {
                transaction.execute("INSERT INTO ducklake_metadata VALUES (?, ?, NULL, NULL)", [key, value])?;
            }
            transaction.execute("INSERT INTO ducklake_snapshot VALUES (0, ?, 0, 1, 0)", [snapshot_time(now_us)])?;
            transaction.execute_batch(
                "INSERT INTO ducklake_snapshot_changes VALUES (0, 'created_schema:\"main\"', NULL, NULL, NULL)",
            )?;
            let uuid = uuid::Uuid::new_v4().to_string();
            transaction.execute("INSERT INTO ducklake_schema VALUES (0, ?, 0, NULL, 'main', 'main/', 1)", [uuid])?;
            transaction.commit()
        };
        make().map_err(EngineError::sqlite("creating the catalog"))
    }

    /// Reads everything once: damage that is not found now would be found by a query, or by a batch.
    fn check(&self) -> Result<(), EngineError> {
        let doing = "reading the catalog";
        let found: String =
            self.conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(EngineError::sqlite(doing))?;
        if found != "ok" {
            return Err(EngineError::Catalog(found));
        }
        let version: Option<String> = self
            .conn
            .query_row("SELECT value FROM ducklake_metadata WHERE key = 'version'", [], |row| row.get(0))
            .optional()
            .map_err(EngineError::sqlite(doing))?;
        match version.as_deref() {
            Some("1.0") => Ok(()),
            Some(other) => Err(EngineError::CatalogVersion(other.to_owned())),
            None => Err(EngineError::Catalog("ducklake_metadata says no version".to_owned())),
        }
    }

    /// Writes the catalog as it is now into a file of its own.
    pub(super) fn copy(&self, to: &Path) -> Result<(), EngineError> {
        let done = self.conn.execute("VACUUM INTO ?", [to.to_string_lossy()]);
        done.map(|_| ()).map_err(EngineError::sqlite("copying the catalog"))
    }

    /// One snapshot, and the transaction that makes it. `extra` is kept beside it.
    pub(super) fn commit<T>(
        &mut self,
        now_us: i64,
        covered: Option<Covered>,
        work: impl FnOnce(&Transaction<'_>, &mut Snapshot) -> Result<T, EngineError>,
    ) -> Result<T, Failed> {
        let doing = "changing the catalog";
        let undone = |error: rusqlite::Error| Failed::Undone(EngineError::sqlite(doing)(error));
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(undone)?;
        let mut snapshot = transaction
            .query_row(
                "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM ducklake_snapshot \
                 ORDER BY snapshot_id DESC LIMIT 1",
                [],
                |row| {
                    let id: i64 = row.get(0)?;
                    let (schema_version, next_catalog_id, next_file_id) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    let time = snapshot_time(now_us);
                    let changes = Vec::new();
                    Ok(Snapshot { id: id + 1, time, schema_version, next_catalog_id, next_file_id, changes })
                },
            )
            .map_err(undone)?;
        let done = work(&transaction, &mut snapshot).map_err(Failed::Undone)?;
        let Snapshot { id, time, schema_version, next_catalog_id, next_file_id, changes } = snapshot;
        transaction
            .execute(
                "INSERT INTO ducklake_snapshot VALUES (?, ?, ?, ?, ?)",
                params![id, time, schema_version, next_catalog_id, next_file_id],
            )
            .map_err(undone)?;
        transaction
            .execute(
                "INSERT INTO ducklake_snapshot_changes VALUES (?, ?, 'gateway', ?, ?)",
                params![id, changes.join(","), covered.map(|_| "batch"), covered.map(Covered::to_json)],
            )
            .map_err(undone)?;
        transaction.commit().map_err(|error| Failed::Unknown(EngineError::sqlite("committing to the catalog")(error)))?;
        Ok(done)
    }

    /// What the snapshot `version`, or the newest, says about the log; the default if no batch was ever written.
    pub(super) fn covered(&self, version: Option<i64>) -> Result<Covered, EngineError> {
        covered(&self.conn, version)
    }

    /// Whether every batch of this lake came from the log `log_id`, so that sequence numbers tell their order.
    pub(super) fn knows_no_other_log(&self, log_id: u64) -> Result<bool, EngineError> {
        let doing = "reading what the lake covers";
        let sql = "SELECT commit_extra_info FROM ducklake_snapshot_changes WHERE commit_extra_info LIKE '%log_seq%'";
        let mut statement = self.conn.prepare(sql).map_err(EngineError::sqlite(doing))?;
        let mut infos = statement.query_map([], |row| row.get::<_, String>(0)).map_err(EngineError::sqlite(doing))?;
        infos
            .try_fold(true, |only, info| Ok(only && Covered::from_json(&info?).is_some_and(|info| info.log_id == log_id)))
            .map_err(EngineError::sqlite(doing))
    }

    /// Corrects what the newest batch said; `false` if there was none.
    pub(super) fn restate_covered(&self, covered: Covered) -> Result<bool, EngineError> {
        let sql = "UPDATE ducklake_snapshot_changes SET commit_extra_info = ? WHERE snapshot_id = (SELECT max(snapshot_id) \
             FROM ducklake_snapshot_changes WHERE commit_extra_info LIKE '%log_seq%')";
        let done = self.conn.execute(sql, [covered.to_json()]);
        done.map(|rows| rows > 0).map_err(EngineError::sqlite("correcting what the lake covers"))
    }

    /// The newest snapshot.
    pub(super) fn newest(&self) -> Result<i64, EngineError> {
        self.conn
            .query_row("SELECT max(snapshot_id) FROM ducklake_snapshot", [], |row| row.get(0))
            .map_err(EngineError::sqlite("reading the newest snapshot"))
    }

    /// The snapshot in force at a time (microseconds since 1970), if there was one. Times are texts that sort like times.
    pub(super) fn in_force(&self, at_us: i64) -> Result<Option<i64>, EngineError> {
        let sql = "SELECT max(snapshot_id) FROM ducklake_snapshot WHERE snapshot_time <= ?";
        self.conn
            .query_row(sql, [snapshot_time(at_us)], |row| row.get(0))
            .map_err(EngineError::sqlite("looking for a snapshot"))
    }

    pub(super) fn checkpoint(&self) -> Result<(), EngineError> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(EngineError::sqlite("checkpointing the catalog"))
    }
}

/// As DuckLake writes it: UTC, with its offset.
pub(super) fn snapshot_time(at_us: i64) -> String {
    format!("{}+00", timestamp_text(at_us))
}

/// See [`Catalog::covered`].
pub(super) fn covered(conn: &Connection, version: Option<i64>) -> Result<Covered, EngineError> {
    let info: Option<String> = conn
        .query_row(
            "SELECT commit_extra_info FROM ducklake_snapshot_changes \
                 WHERE snapshot_id <= ? AND commit_extra_info LIKE '%log_seq%' ORDER BY snapshot_id DESC LIMIT 1",
            [version.unwrap_or(i64::MAX)],
            |row| row.get(0),
        )
        .optional()
        .map_err(EngineError::sqlite("reading what the lake covers"))?;
    Ok(info.as_deref().and_then(Covered::from_json).unwrap_or_default())
}
