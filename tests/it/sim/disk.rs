//! [`Disk`] on turmoil's simulated file system, with power that can be cut in the middle of an operation.

use rembus_gateway::disk::{Disk, DiskFile};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use turmoil::fs::shim::std::fs;

/// Text of failures made on purpose.
pub(crate) const INJECTED: &str = "injected failure";

/// What a disk claims to do and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    Sync,
    SyncDir,
}

/// What happens to the machine; survives its restarts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine(Arc<Mutex<Fate>>);

#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// The power goes with the operation that would bring this to zero.
    pub(crate) operations_left: Option<u32>,
    /// Nothing reaches the disk any more, nor the outside world.
    pub(crate) is_dark: bool,
    /// Room for files.
    pub(crate) capacity: u64,
    /// The next so many writes, syncs or allocations fail.
    pub(crate) failures: u32,
    pub(crate) lie: Option<Lie>,
}

impl Machine {
    pub(crate) fn fate(&self) -> MutexGuard<'_, Fate> {
        self.0.lock().unwrap()
    }

    /// Counts an operation that changes the disk.
    fn spend(&self) -> io::Result<()> {
        let mut fate = self.fate();
        if let Some(left) = &mut fate.operations_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                fate.is_dark = true;
            }
        }
        if fate.is_dark {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }

    fn fail(&self) -> io::Result<()> {
        let mut fate = self.fate();
        if fate.failures > 0 {
            fate.failures -= 1;
            return Err(io::Error::other(INJECTED));
        }
        Ok(())
    }

    fn tells(&self, lie: Lie) -> bool {
        self.fate().lie == Some(lie)
    }
}

#[derive(Debug)]
pub(crate) struct SimDisk(pub(crate) Machine);

struct SimFile {
    machine: Machine,
    file: fs::File,
    path: PathBuf,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SimDisk {
    fn file(&self, path: &Path, options: &fs::OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
        let file = options.open(path)?;
        Ok(Arc::new(SimFile { machine: self.0.clone(), file, path: path.to_owned() }))
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.spend()?;
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.spend()?;
        self.file(path, fs::OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path, fs::OpenOptions::new().read(true).write(true))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.spend()?;
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.spend()?;
        if self.0.tells(Lie::SyncDir) { Ok(()) } else { fs::sync_dir(dir) }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut used = 0;
        for name in self.list(dir)? {
            used += fs::metadata(dir.join(name))?.len();
        }
        Ok(self.0.fate().capacity.saturating_sub(used))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        if fs::metadata(&beside).is_ok() {
            self.remove(&beside)?;
        }
        let file = self.create(&beside)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.rename(&beside, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.spend()?;
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }
}

impl SimFile {
    fn needs(&self, len: u64) -> io::Result<()> {
        let more = len.saturating_sub(self.len()?);
        let dir = self.path.parent().expect("files are in folders");
        if more > 0 && SimDisk(self.machine.clone()).free_bytes(dir)? < more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.machine.spend()?;
        self.machine.fail()?;
        self.needs(at + bytes.len() as u64)?;
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.machine.spend()?;
        self.machine.fail()?;
        if self.machine.tells(Lie::Sync) { Ok(()) } else { self.file.sync_data() }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.machine.spend()?;
        self.machine.fail()?;
        self.needs(len)?;
        if self.len()? < len { self.file.set_len(len) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.machine.spend()?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
