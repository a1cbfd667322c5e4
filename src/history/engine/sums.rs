//! Checksums of the lake's files, because Parquet as both stores write it has none of its own.
//!
//! `lake/sums` has a line for each file, added when the file was read back whole for the first time:
//!
//! ```text
//! <crc32c of the rest, hex> <crc32c of the file, hex> <bytes> <path below the data folder>
//! ```
//!
//! A line that is torn or damaged is as good as none: its file is decoded once more and gets another line. So nothing is synced
//! here, and no loss of this file costs more than reading.

use super::folders;
use crate::disk::{Disk, DiskFile, SharedDisk};
use crate::history::settings::Settings;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Lines of files that are gone are left out of a new file when there are so many.
const GONE: usize = 1000;
const READ: usize = 64 << 10;

/// Length and checksum.
pub(super) type Sum = (u64, u32);

#[derive(Debug)]
pub(super) struct Sums {
    path: PathBuf,
    files: PathBuf,
    known: HashMap<String, Sum>,
    out: Option<(Arc<dyn DiskFile>, u64)>,
}

impl Sums {
    /// What is known. That it cannot be read is told, and costs time alone.
    pub(super) fn open(settings: &Settings, disk: &dyn Disk) -> Self {
        let (path, files) = (settings.lake.join("sums"), folders::files(settings));
        let mut sums = Self { path, files, known: HashMap::new(), out: None };
        if let Err(error) = sums.load(disk)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!(error:%; "the checksums of the lake's files cannot be read; the files are decoded once more");
        }
        sums
    }

    fn load(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.open(&self.path)?;
        let (mut text, mut piece) = (Vec::new(), vec![0; READ]);
        loop {
            let read = file.read_at(&mut piece, text.len() as u64)?;
            text.extend_from_slice(piece.get(..read).unwrap_or_default());
            if read == 0 {
                break;
            }
        }
        // A torn end must not become part of the next line.
        let end = text.len() as u64 + u64::from(!text.is_empty() && !text.ends_with(b"\n"));
        if end > text.len() as u64 {
            file.write_all_at(b"\n", text.len() as u64)?;
        }
        self.known = String::from_utf8_lossy(&text).lines().filter_map(parse).collect();
        self.out = Some((file, end));
        Ok(())
    }

    fn key(&self, path: &Path) -> String {
        path.strip_prefix(&self.files).unwrap_or(path).to_string_lossy().into_owned()
    }

    pub(super) fn of(&self, path: &Path) -> Option<Sum> {
        self.known.get(&self.key(path)).copied()
    }

    pub(super) fn note(&mut self, disk: &dyn Disk, path: &Path, (bytes, sum): Sum) {
        let key = self.key(path);
        if key.contains('\n') {
            return;
        }
        let text = line(&key, (bytes, sum));
        self.known.insert(key, (bytes, sum));
        let written = match &mut self.out {
            Some((file, end)) => file.write_all_at(text.as_bytes(), *end).map(|()| *end += text.len() as u64),
            None => disk.create(&self.path).and_then(|file| {
                file.write_all_at(text.as_bytes(), 0)?;
                self.out = Some((file, text.len() as u64));
                Ok(())
            }),
        };
        if let Err(error) = written {
            log::debug!(error:%; "a checksum is not remembered beyond this run");
        }
    }

    /// Forgets files that are gone, when there are many.
    pub(super) fn keep(&mut self, disk: &dyn Disk, live: &HashSet<PathBuf>) {
        let live: HashSet<String> = live.iter().map(|path| self.key(path)).collect();
        if self.known.len() < live.len() + GONE {
            return;
        }
        self.known.retain(|key, _| live.contains(key));
        let text: String = self.known.iter().map(|(key, sum)| line(key, *sum)).collect();
        let done = disk.replace(&self.path, text.as_bytes()).and_then(|()| disk.open(&self.path));
        self.out = done
            .inspect_err(|error| log::debug!(error:%; "the list of checksums stays long"))
            .ok()
            .map(|file| (file, text.len() as u64));
    }
}

fn line(key: &str, (bytes, sum): Sum) -> String {
    let rest = format!("{sum:08x} {bytes} {key}");
    format!("{:08x} {rest}\n", crc32c::crc32c(rest.as_bytes()))
}

fn parse(line: &str) -> Option<(String, Sum)> {
    let (check, rest) = line.split_once(' ')?;
    if u32::from_str_radix(check, 16).ok()? != crc32c::crc32c(rest.as_bytes()) {
        return None;
    }
    let (sum, rest) = rest.split_once(' ')?;
    let (bytes, key) = rest.split_once(' ')?;
    Some((key.to_owned(), (bytes.parse().ok()?, u32::from_str_radix(sum, 16).ok()?)))
}

/// The checksums of a lake that nobody need have open, by the path that its catalog gives the files.
pub(super) fn read(settings: &Settings) -> HashMap<PathBuf, u32> {
    let text = std::fs::read(settings.lake.join("sums")).unwrap_or_default();
    let files = folders::files(settings);
    String::from_utf8_lossy(&text).lines().filter_map(parse).map(|(key, (_, sum))| (files.join(key), sum)).collect()
}

/// The checksum of a file.
pub(super) fn of_file(disk: &dyn Disk, path: &Path) -> io::Result<u32> {
    let file = disk.open(path)?;
    let (mut piece, mut at, mut sum) = (vec![0; READ], 0, 0);
    loop {
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            return Ok(sum);
        }
        sum = crc32c::crc32c_append(sum, piece.get(..read).unwrap_or_default());
        at += read as u64;
    }
}

/// A disk on which a file with a known checksum is read whole before it is used for the first time: a store that decodes it must
/// not take a flipped bit for a value, and the `parquet` crate ends the process over some damage.
#[derive(Debug)]
pub(super) struct Checking {
    disk: SharedDisk,
    sums: HashMap<PathBuf, u32>,
    checked: Mutex<HashSet<PathBuf>>,
}

impl Checking {
    pub(super) fn beside(disk: SharedDisk, settings: &Settings) -> SharedDisk {
        Arc::new(Self { disk, sums: read(settings), checked: Mutex::default() })
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        // A set of paths is whole whatever panics beside it.
        self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Disk for Checking {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(sum) = self.sums.get(path)
            && !self.checked().contains(path)
        {
            if of_file(self.disk.as_ref(), path)? != *sum {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has another checksum than when it was written"));
            }
            self.checked().insert(path.to_path_buf());
        }
        self.disk.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.checked().remove(path);
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
}
