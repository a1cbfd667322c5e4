//! Copies a lake that is held still.
//!
//! The copy grows under another name and gets its own when everything in it is on the disk: what has the name is whole.

use crate::cli::Refusal;
use crate::disk::{Disk, SystemDisk};
use crate::history::manifest::Manifest;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the lake's folder may have of its catalog, and what tells of the tables beside it.
const BESIDE: [&str; 10] = [
    "catalog.ducklake",
    "catalog.ducklake.wal",
    "catalog.sqlite",
    "catalog.sqlite-wal",
    "catalog.sqlite-shm",
    "catalog.ducklake.sqlite",
    "catalog.ducklake.sqlite-wal",
    "catalog.ducklake.sqlite-shm",
    "schema.json",
    "damage.json",
];

#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Refuses a place that is taken, or that is part of what is copied.
pub(super) fn may_begin(to: &Path, data: &Path) -> Result<(), Refusal> {
    if to.exists() {
        return Err(Refusal::failed(format_args!("`{}` exists already; a backup makes its folder itself", to.display())));
    }
    let Some(parent) = to.parent().filter(|parent| parent.is_dir()) else {
        return Err(Refusal::failed(format_args!("the folder above `{}` does not exist", to.display())));
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if real(parent).starts_with(real(&data.join("lake"))) {
        return Err(Refusal::wrong_use("a backup cannot be part of the lake itself"));
    }
    Ok(())
}

pub(super) fn copy(manifest: &Manifest, lake: &Path, to: &Path) -> Result<Copied, Refusal> {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".unfinished");
    let growing = to.with_file_name(name);
    let told = |error: io::Error| {
        Refusal::failed(format_args!("the backup failed and is not whole, see `{}`: {error}", growing.display()))
    };
    if growing.exists() {
        fs::remove_dir_all(&growing).map_err(told)?;
    }
    let done = fill(manifest, lake, &growing).map_err(told)?;
    SystemDisk.rename(&growing, to).map_err(told)?;
    Ok(done)
}

fn fill(manifest: &Manifest, lake: &Path, to: &Path) -> io::Result<Copied> {
    let (mut copied, mut folders) = (Copied::default(), BTreeSet::new());
    let mut take = |from: PathBuf, to: PathBuf, expected: Option<u64>| -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(named)?;
            folders.extend(folder.ancestors().map(Path::to_path_buf));
        }
        let bytes = fs::copy(&from, &to).map_err(named)?;
        if expected.is_some_and(|expected| expected != bytes) {
            return Err(named(io::Error::other(format!("has {bytes} bytes instead of {}", expected.unwrap_or(0)))));
        }
        SystemDisk.open(&to)?.sync()?;
        copied.files += 1;
        copied.bytes += bytes;
        Ok(())
    };
    fs::create_dir_all(to.join("files"))?;
    for file in &manifest.files {
        take(lake.join(&file.path), to.join(&file.path), Some(file.bytes))?;
    }
    for name in BESIDE {
        // A copy of the catalog comes before the one that is in use.
        let copy = manifest.catalog.join(name);
        let from = if name.starts_with("catalog") { copy } else { lake.join(name) };
        if from.exists() {
            take(from, to.join(name), None)?;
        }
    }
    folders.insert(to.join("files"));
    for folder in folders.iter().filter(|folder| folder.starts_with(to)) {
        SystemDisk.sync_dir(folder)?;
    }
    Ok(copied)
}
