//! What is where below the lake's folder.

use crate::history::settings::Settings;
use std::path::PathBuf;

pub(super) fn catalog(settings: &Settings) -> PathBuf {
    settings.lake.join("catalog.ducklake")
}

pub(super) fn files(settings: &Settings) -> PathBuf {
    settings.lake.join("files")
}

pub(super) fn quarantine(settings: &Settings) -> PathBuf {
    settings.lake.join("quarantine")
}
