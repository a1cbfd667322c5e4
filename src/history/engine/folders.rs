//! What is where below the lake's folder.

use super::columns::DAY;
use crate::history::settings::Settings;
use std::path::{Path, PathBuf};

pub(super) fn catalog(settings: &Settings) -> PathBuf {
    settings.lake.join("catalog.ducklake")
}

/// The catalog where it is a SQLite file.
pub(super) fn sqlite_catalog(settings: &Settings) -> PathBuf {
    settings.lake.join("catalog.sqlite")
}

pub(super) fn files(settings: &Settings) -> PathBuf {
    settings.lake.join("files")
}

/// Whether this is the folder of a day's files in an appended table.
pub(super) fn is_day(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(DAY).is_some_and(|rest| rest.starts_with('='))
}

pub(super) fn quarantine(settings: &Settings) -> PathBuf {
    settings.lake.join("quarantine")
}
