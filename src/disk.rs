//! The only way to durable files. The simulation replaces it with a disk that forgets what was not synced.
//!
//! Rules that hold everywhere: a new name is not on the disk until its folder is synced; data is not until its file is; a
//! failed sync is never retried (the pages may already be gone).

#[cfg(test)]
pub(crate) mod faulty;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file with positioned access. Reads and writes may come from different threads.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Reads as many bytes as there are from `at` on, up to the length of `buffer`; returns how many.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// `fdatasync`: the bytes and the length are on the disk when this returns.
    fn sync(&self) -> io::Result<()>;
    /// Reserves room for `len` bytes and makes the file that long; new bytes read as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file system.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Creates a folder and its parents. The caller syncs the parent.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates a new file for reading and writing; fails if it exists. The caller syncs the folder.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
    /// Names (not paths) of the files in `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names created in or removed from `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes an unprivileged process can still write below `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Replaces `path` by `bytes` so that a reader sees the old or the new content, never a mix: write beside, sync, rename,
    /// sync the folder.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Like [`replace`](Self::replace), for what only the gateway's own user may read. Simulated disks have one user.
    fn replace_private(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace(path, bytes)
    }
    /// Moves a file or a folder to a name that is free, and makes that durable. Simulated disks need not know it.
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A shared file system; every part keeps its own handle.
pub type SharedDisk = Arc<dyn Disk>;

/// The machine's file system.
#[derive(Debug, Default)]
pub struct SystemDisk;

impl SystemDisk {
    #[must_use]
    pub fn shared() -> SharedDisk {
        Arc::new(Self)
    }
}

impl Disk for SystemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_by(path, bytes, |beside| std::fs::File::create(beside))
    }

    fn replace_private(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        self.replace_by(path, bytes, |beside| {
            let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
            // It may have been left behind with another mode.
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            Ok(file)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "as above, and it syncs both folders")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        [to.parent(), from.parent()].into_iter().flatten().try_for_each(|dir| self.sync_dir(dir))
    }
}

impl SystemDisk {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that renames, and it syncs the folder")]
    fn replace_by(&self, path: &Path, bytes: &[u8], create: impl FnOnce(&Path) -> io::Result<std::fs::File>) -> io::Result<()> {
        let beside = path.with_extension("new");
        {
            let mut file = create(&beside)?;
            io::Write::write_all(&mut file, bytes)?;
            file.sync_all()?;
        }
        std::fs::rename(&beside, path)?;
        match path.parent() {
            Some(dir) => self.sync_dir(dir),
            None => Ok(()),
        }
    }
}

#[derive(Debug)]
struct SystemFile(std::fs::File);

impl DiskFile for SystemFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(&self.0, rest, at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            // Some file systems cannot reserve; a sparse file still works, it only may run full later.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(len),
            other => Ok(other?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
