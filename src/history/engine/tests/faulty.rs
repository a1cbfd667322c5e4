//! The machine's disk, which refuses what a test says.

use crate::disk::{Disk, DiskFile, SystemDisk};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::history::engine) enum Op {
    Open,
    Read,
    Create,
    Write,
    Sync,
}

/// Refusals, each for paths that contain a text; and how often one was met: a fault test without faults is worth nothing.
#[derive(Debug, Clone, Default)]
pub(in crate::history::engine) struct Faulty(Arc<Mutex<Rules>>);

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<(Op, String, Errno)>,
    met: usize,
}

impl Faulty {
    pub(in crate::history::engine) fn shared() -> Arc<Self> {
        Arc::default()
    }

    pub(in crate::history::engine) fn refuse(&self, op: Op, path: &str, errno: Errno) {
        self.lock().rules.push((op, path.to_owned(), errno));
    }

    pub(in crate::history::engine) fn heal(&self) {
        self.lock().rules.clear();
    }

    pub(in crate::history::engine) fn refused(&self) -> usize {
        self.lock().met
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap()
    }

    fn check(&self, op: Op, path: &Path) -> io::Result<()> {
        let mut rules = self.lock();
        let path = path.to_string_lossy();
        let found =
            rules.rules.iter().find(|(of, part, _)| *of == op && path.contains(part.as_str())).map(|(.., errno)| *errno);
        match found {
            None => Ok(()),
            Some(errno) => {
                rules.met += 1;
                Err(errno.into())
            }
        }
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(File { rules: self.clone(), path: path.to_path_buf(), file })
    }
}

impl Disk for Faulty {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Op::Create, path)?;
        Ok(self.file(path, SystemDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Op::Open, path)?;
        Ok(self.file(path, SystemDisk.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        SystemDisk.free_bytes(dir)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.check(Op::Create, path)?;
        SystemDisk.replace(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
}

#[derive(Debug)]
struct File {
    rules: Faulty,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.rules.check(Op::Read, &self.path)?;
        self.file.read_at(buffer, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.rules.check(Op::Write, &self.path)?;
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.rules.check(Op::Sync, &self.path)?;
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
