//! What is where below the lake's folder.

use super::columns::DAY;
#[cfg(feature = "duckdb")]
use crate::history::settings::Catalog;
use crate::history::settings::{Data, Settings};
use std::path::{Path, PathBuf};

pub(super) fn catalog(settings: &Settings) -> PathBuf {
    settings.lake.join("catalog.ducklake")
}

/// The catalog where it is a SQLite file.
pub(super) fn sqlite_catalog(settings: &Settings) -> PathBuf {
    settings.lake.join("catalog.sqlite")
}

/// The catalog where DuckDB keeps it in a SQLite file.
pub(super) fn duck_sqlite(settings: &Settings) -> PathBuf {
    settings.lake.join("catalog.ducklake.sqlite")
}

/// The catalog as the settings want DuckDB to keep it, if that is a file.
#[cfg(feature = "duckdb")]
pub(super) fn duck_catalog(settings: &Settings) -> PathBuf {
    if settings.catalog == Catalog::Sqlite { duck_sqlite(settings) } else { catalog(settings) }
}

/// Where the tables' files are: below the lake's folder, or elsewhere.
pub(super) fn files(settings: &Settings) -> PathBuf {
    match &settings.data {
        Data::Own => settings.lake.join("files"),
        Data::Folder(folder) => folder.clone(),
        Data::S3(place) => PathBuf::from(&place.url),
    }
}

/// Whether this is the folder of a day's files in an appended table.
pub(super) fn is_day(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(DAY).is_some_and(|rest| rest.starts_with('='))
}

/// The name of a batch's file: which log its rows came from, up to which record, and a part that never repeats. Names without it
/// repeated when a batch was written again up to the same record, and the new file took the place of one that the lake needed.
pub(super) fn batch_name(log_id: u64, upto: u64) -> String {
    format!("batch-{:08x}-{upto}-{}.parquet", log_id >> 32, uuid::Uuid::new_v4().simple())
}

/// Where copies of the catalog are while somebody reads them.
pub(super) fn copies(settings: &Settings) -> PathBuf {
    settings.lake.join("copies")
}

pub(super) fn quarantine(settings: &Settings) -> PathBuf {
    settings.lake.join("quarantine")
}
