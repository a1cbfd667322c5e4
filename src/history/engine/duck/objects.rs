//! A store of objects (S3) in the place of the disk, as far as batches and upkeep see it.
//!
//! DuckDB writes to it and reads from it. An object is there as a whole, and durable, when its writing ends; there are no folders.
//! So what keeps files safe on a disk has nothing to do here. Everything below the data folder is on the disk as ever.

use crate::disk::{Disk, DiskFile, SharedDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the addresses of objects begin.
const SCHEME: &str = "s3:";

/// Objects where a path says so, else the disk.
#[derive(Debug)]
pub(super) struct Objects(SharedDisk);

impl Objects {
    pub(super) fn beside(disk: SharedDisk) -> SharedDisk {
        Arc::new(Self(disk))
    }
}

fn is_object(path: &Path) -> bool {
    path.components().next().is_some_and(|first| first.as_os_str() == SCHEME)
}

impl Disk for Objects {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if is_object(dir) { Ok(()) } else { self.0.create_dir_all(dir) }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if is_object(path) { Err(io::ErrorKind::Unsupported.into()) } else { self.0.create(path) }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if is_object(path) { Ok(Arc::new(Object)) } else { self.0.open(path) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        if is_object(dir) { Ok(Vec::new()) } else { self.0.list(dir) }
    }

    /// What a batch that failed left there is found by DuckLake's own search for orphans.
    fn remove(&self, path: &Path) -> io::Result<()> {
        if is_object(path) { Ok(()) } else { self.0.remove(path) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if is_object(dir) { Ok(()) } else { self.0.sync_dir(dir) }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if is_object(dir) { Ok(u64::MAX) } else { self.0.free_bytes(dir) }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.replace(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
}

/// An object that DuckDB has written.
#[derive(Debug)]
struct Object;

impl DiskFile for Object {
    fn read_at(&self, _buffer: &mut [u8], _at: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_all_at(&self, _bytes: &[u8], _at: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
