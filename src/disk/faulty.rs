//! A disk over the machine's own that refuses what a test wants it to refuse.

use super::{Disk, DiskFile, SharedDisk, SystemDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Open,
    Read,
    Write,
    Sync,
    List,
    Remove,
}

/// Refuses one kind of operation on paths that contain a text, until it is healed.
#[derive(Debug, Clone)]
pub(crate) struct FaultyDisk {
    fault: Arc<Mutex<Option<(On, String, io::ErrorKind)>>>,
    met: Arc<std::sync::atomic::AtomicU32>,
}

impl FaultyDisk {
    pub(crate) fn whole() -> Self {
        Self { fault: Arc::default(), met: Arc::default() }
    }

    pub(crate) fn refusing(on: On, part: &str, kind: io::ErrorKind) -> Self {
        let disk = Self::whole();
        disk.refuse(on, part, kind);
        disk
    }

    pub(crate) fn refuse(&self, on: On, part: &str, kind: io::ErrorKind) {
        *self.lock() = Some((on, part.to_owned(), kind));
    }

    pub(crate) fn heal(&self) {
        *self.lock() = None;
    }

    /// How often something was refused: a fault that nobody met proves nothing.
    pub(crate) fn met(&self) -> u32 {
        self.met.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(On, String, io::ErrorKind)>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, on: On, path: &Path) -> io::Result<()> {
        match &*self.lock() {
            Some((refused, part, kind)) if *refused == on && path.to_string_lossy().contains(part.as_str()) => {
                self.met.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err(io::Error::new(*kind, "injected"))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { disk: self.clone(), path: path.to_owned(), file })
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.ask(On::Write, dir)?;
        SystemDisk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.ask(On::Write, path)?;
        Ok(self.file(path, SystemDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.ask(On::Open, path)?;
        Ok(self.file(path, SystemDisk.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.ask(On::List, dir)?;
        SystemDisk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(On::Remove, path)?;
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.ask(On::Sync, dir)?;
        SystemDisk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        SystemDisk.free_bytes(dir)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.ask(On::Write, path)?;
        self.ask(On::Sync, path)?;
        SystemDisk.replace(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(On::Write, from)?;
        SystemDisk.rename(from, to)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.disk.ask(On::Read, &self.path)?;
        self.file.read_at(buffer, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.ask(On::Write, &self.path)?;
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.ask(On::Sync, &self.path)?;
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.ask(On::Write, &self.path)?;
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.ask(On::Write, &self.path)?;
        self.file.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
