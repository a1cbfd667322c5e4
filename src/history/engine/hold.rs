//! The lake held still for a backup or a check, while the gateway works: a copy of the catalog, and files that nobody removes.

use super::damage::FileKind;
use super::error::EngineError;
use super::folders;
use super::store::{self, Store, Upkeep};
use crate::clock::Wall;
use crate::disk::SharedDisk;
use crate::history::manifest::{LakeFile, Manifest};
use crate::history::model::Schema;
use crate::history::settings::Settings;
use crate::history::status::Tidied;
use crate::wal::Identity;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Between two steps of upkeep at rest: merging is done by another thread.
const PAUSE: Duration = Duration::from_millis(5);

/// What a store's catalog names.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) table: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) kind: FileKind,
}

/// The lake at one moment. Its files stay as long as this lives; then the copy of the catalog goes.
#[derive(Debug)]
pub(crate) struct HeldLake {
    manifest: Manifest,
    _in_use: Arc<()>,
}

impl HeldLake {
    /// What there is.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Drop for HeldLake {
    fn drop(&mut self) {
        // Left behind it is removed at the next start.
        if let Err(error) = std::fs::remove_dir_all(&self.manifest.catalog) {
            log::debug!(error:%; "a copy of the catalog stays until the next start");
        }
    }
}

/// Holds the lake of an open store.
pub(super) fn hold(store: &dyn Store, settings: &Settings) -> Result<HeldLake, EngineError> {
    let doing = "copying the catalog";
    let folder = folders::copies(settings);
    std::fs::create_dir_all(&folder).map_err(EngineError::io(doing))?;
    let catalog = (1..).map(|n| folder.join(format!("copy-{n}"))).find(|path| !path.exists());
    let catalog = catalog.expect("numbers do not run out");
    std::fs::create_dir(&catalog).map_err(EngineError::io(doing))?;
    // From here on the folder goes with it.
    let in_use = store.hold();
    let mut held = HeldLake { manifest: Manifest { catalog, files: Vec::new() }, _in_use: in_use };
    let named = store.copy_catalog(&held.manifest.catalog)?;
    held.manifest.files = relative(named, settings);
    Ok(held)
}

/// As the catalog of a lake that nobody uses has it.
pub(in crate::history) fn at_rest(settings: &Settings) -> Result<Manifest, EngineError> {
    let (duck, sqlite) = (folders::catalog(settings), folders::sqlite_catalog(settings));
    let files = folders::files(settings);
    let other = folders::duck_sqlite(settings);
    let sqlite = if other.exists() { other } else { sqlite };
    let named = match (duck.exists(), sqlite.exists()) {
        (_, true) => super::lite::named_in(&sqlite, &files)?,
        #[cfg(feature = "duckdb")]
        (true, false) => super::duck::named_in(&duck, &files)?,
        #[cfg(not(feature = "duckdb"))]
        (true, false) => return Err(EngineError::OtherStore { found: duck, setting: "backend = \"duckdb\"" }),
        (false, false) => return Err(EngineError::NoLake(settings.lake.clone())),
    };
    Ok(Manifest { catalog: settings.lake.clone(), files: relative(named, settings) })
}

/// Opens a lake that nobody uses and takes a whole pass of upkeep.
pub(in crate::history) fn compact_at_rest(
    settings: &Settings,
    schema: &Schema,
    disk: SharedDisk,
    log: Identity,
    now: Wall,
) -> Result<Tidied, EngineError> {
    let (mut store, _) = store::open(settings, schema, disk, log)?;
    while store.upkeep(now)? == Upkeep::More {
        std::thread::sleep(PAUSE);
    }
    store.checkpoint()?;
    Ok(store.tidied())
}

/// Removes copies that a crash left behind.
pub(super) fn forget_copies(settings: &Settings) {
    match std::fs::remove_dir_all(folders::copies(settings)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            log::warn!(error:%; "old copies of the catalog cannot be removed");
        }
        _ => {}
    }
}

fn relative(named: Vec<Named>, settings: &Settings) -> Vec<LakeFile> {
    let (lake, sums) = (&settings.lake, super::sums::read(settings));
    let file = |named: Named| LakeFile {
        sum: sums.get(&named.path).copied(),
        path: named.path.strip_prefix(lake).map_or_else(|_| named.path.clone(), Path::to_path_buf),
        table: named.table,
        bytes: named.bytes,
        rows: named.rows,
        deletions: named.kind == FileKind::Deletions,
    };
    named.into_iter().map(file).collect()
}
