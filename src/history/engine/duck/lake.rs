//! Opens DuckDB with the lake attached, and shuts the doors behind it.
//!
//! ```text
//! <data>/lake/catalog.ducklake       what exists: 28 tables of DuckLake 1.0 in a DuckDB file
//!                                    or catalog.ducklake.sqlite, or elsewhere: `[history] catalog`
//! <data>/lake/files/main/<table>/    (or elsewhere: `lake_data`) Parquet: batch-<log>-<seq>-<random>.parquet by us, ducklake-*-delete.parquet by DuckLake
//! <data>/lake/quarantine/            what was damaged, moved out of the way
//! <data>/lake/tmp/                   what a query spills
//! ```
//!
//! After opening, the engine can touch nothing outside of `files/` (and its temp folder, and `copies/`), load nothing and set nothing, whatever
//! SQL it is given.

use super::names::text;
use crate::disk::Disk;
use crate::history::engine::damage;
use crate::history::engine::error::EngineError;
use crate::history::engine::folders::{catalog, copies, duck_sqlite, files};
use crate::history::settings::{Catalog, Data, S3, Settings};
use duckdb::{Config, Connection};
use std::path::{Path, PathBuf};

/// Opens an empty database with the lake attached as `lake`. The settings are still open; see [`lock_down`].
pub(super) fn open(settings: &Settings) -> Result<Connection, EngineError> {
    let local = (!settings.data.is_remote()).then(|| files(settings));
    for dir in [&settings.lake, &settings.temp].into_iter().chain(&local) {
        std::fs::create_dir_all(dir).map_err(EngineError::io("creating the lake's folders"))?;
    }
    let mebibytes = (settings.memory_limit >> 20).max(16);
    let config = Config::default()
        .with("autoinstall_known_extensions", "false")
        .and_then(|c| c.with("autoload_known_extensions", "false"))
        .and_then(|c| c.with("threads", "2"))
        .and_then(|c| c.with("memory_limit", format!("{mebibytes}MiB")))
        .and_then(|c| c.with("temp_directory", settings.temp.to_string_lossy()))
        .map_err(EngineError::sql("configuring DuckDB"))?;
    let conn = Connection::open_in_memory_with_flags(config).map_err(EngineError::sql("opening DuckDB"))?;
    for name in extensions(settings) {
        let extension = find_extension(settings, name)?;
        conn.execute_batch(&format!("LOAD {}", path_text(&extension)))
            .map_err(EngineError::sql("loading an extension of DuckDB"))?;
    }
    if let Data::S3(place) = &settings.data {
        conn.execute_batch(&secret(place)).map_err(EngineError::sql("giving DuckDB the keys of the store"))?;
    }
    let (path, options) = match &settings.catalog {
        // Blocks of 16 KiB instead of 256: thirty small tables take a tenth of the room, and a checkpoint writes as much less. A
        // catalog that exists keeps the size it was made with.
        Catalog::Duckdb => {
            let options = if catalog(settings).exists() { "" } else { ", META_BLOCK_SIZE 16384" };
            (catalog(settings).display().to_string(), options)
        }
        // With its write-ahead log others read while we write.
        Catalog::Sqlite => {
            (format!("sqlite:{}", duck_sqlite(settings).display()), ", META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000")
        }
        Catalog::Postgres(connection) => (format!("postgres:{}", bounded(connection)), ""),
    };
    // The catalog remembers the absolute folder it was made with; the override is what lets a data folder move.
    conn.execute_batch(&format!(
        "ATTACH {} AS lake (DATA_PATH {}, OVERRIDE_DATA_PATH true, DATA_INLINING_ROW_LIMIT 0{options})",
        text(&format!("ducklake:{path}")),
        text(&format!("{}/", files(settings).display())),
    ))
    .map_err(EngineError::sql("opening the lake"))?;
    super::tail::register(&conn)?;
    Ok(conn)
}

/// Cuts the catalog's own log where an entry is not whole. The entry was never synced, so nothing relied on it; if it was damaged later,
/// what followed is lost, which costs less than the whole catalog: the gateway's log has it again. What was there is kept beside.
pub(super) fn cut_log(settings: &Settings, disk: &dyn Disk, at: usize) -> Result<(), EngineError> {
    let doing = "cutting a torn end off the catalog's log";
    let path = catalog(settings).with_extension("ducklake.wal");
    let bytes = std::fs::read(&path).map_err(EngineError::io(doing))?;
    let Some(whole) = bytes.get(..at) else { return Ok(()) };
    log::warn!(bytes = bytes.len() - at; "the catalog's log ended in the middle of a write, which was cut off");
    let beside = damage::unused(&settings.lake, "catalog.ducklake.wal.torn");
    disk.replace(&beside, &bytes).map_err(EngineError::io(doing))?;
    disk.replace(&path, whole).map_err(EngineError::io(doing))
}

/// Writes the catalog as it is now into a file of its own. Nobody reads the catalog's own file beside DuckDB: whoever closes it
/// would take its lock away.
pub(super) fn copy_catalog(conn: &Connection, settings: &Settings, to: &Path) -> Result<(), EngineError> {
    let (name, options) = match &settings.catalog {
        Catalog::Duckdb => ("catalog.ducklake", "BLOCK_SIZE 16384"),
        Catalog::Sqlite => ("catalog.ducklake.sqlite", "TYPE sqlite"),
        Catalog::Postgres(_) => return Err(EngineError::Elsewhere("the catalog")),
    };
    if settings.data != Data::Own {
        return Err(EngineError::Elsewhere("the data"));
    }
    conn.execute_batch(&format!(
        "ATTACH {} AS catalog_copy ({options}); COPY FROM DATABASE __ducklake_metadata_lake TO catalog_copy; \
         DETACH catalog_copy",
        path_text(&to.join(name))
    ))
    .map_err(EngineError::sql("copying the catalog"))
}

/// From here on no statement can reach a file that is not the lake's, nor change a setting.
pub(super) fn lock_down(conn: &Connection, settings: &Settings) -> Result<(), EngineError> {
    let folder = |path: PathBuf| text(&format!("{}/", path.display()));
    let (files, copies) = (folder(files(settings)), folder(copies(settings)));
    conn.execute_batch(&format!(
        "SET allowed_directories = [{files}, {copies}]; SET enable_external_access = false; SET lock_configuration = true;"
    ))
    .map_err(EngineError::sql("locking DuckDB's settings"))
}

pub(super) fn path_text(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// What DuckDB needs beyond itself.
fn extensions(settings: &Settings) -> impl Iterator<Item = &'static str> {
    let catalog = match &settings.catalog {
        Catalog::Duckdb => None,
        Catalog::Sqlite => Some("sqlite_scanner"),
        Catalog::Postgres(_) => Some("postgres_scanner"),
    };
    let data = settings.data.is_remote().then_some("httpfs");
    catalog.into_iter().chain(data).chain(["ducklake"])
}

fn find_extension(settings: &Settings, name: &'static str) -> Result<PathBuf, EngineError> {
    let file = format!("{name}.duckdb_extension");
    let found = settings.library_dirs.iter().map(|dir| dir.join(&file)).find(|path| path.is_file());
    found
        .and_then(|path| std::path::absolute(path).ok())
        .ok_or_else(|| EngineError::NoExtension { name, looked: settings.library_dirs.clone() })
}

/// How DuckDB logs in to the store.
fn secret(place: &S3) -> String {
    let mut options = vec![format!("REGION {}", text(&place.region))];
    if let (Some(key), Some(secret)) = (&place.key, &place.secret) {
        options.push(format!("KEY_ID {}, SECRET {}", text(key), text(secret)));
    }
    if let Some(endpoint) = &place.endpoint {
        let (plain, host) = match endpoint.split_once("://") {
            Some((scheme, host)) => (scheme == "http", host),
            None => (false, endpoint.as_str()),
        };
        let host = host.trim_end_matches('/');
        options.push(format!("ENDPOINT {}, URL_STYLE 'path', USE_SSL {}", text(host), !plain));
    }
    format!("CREATE SECRET lake (TYPE s3, {})", options.join(", "))
}

/// A connection that gives up in time when the link is down, unless the operator has said how long it may take.
fn bounded(connection: &str) -> String {
    let mut bounded = connection.to_owned();
    // The form with a scheme has its parameters behind a question mark.
    let is_url = connection.starts_with("//");
    for (name, value) in [("connect_timeout", "10"), ("tcp_user_timeout", "30000")] {
        if !connection.contains(name) && !is_url {
            bounded = format!("{bounded} {name}={value}");
        }
    }
    bounded
}
