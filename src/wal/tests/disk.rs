//! A disk in memory, with a page cache that a power cut empties, and with every fault that the log must cope with.
//!
//! Sectors of 512 bytes that were written and not synced survive a power cut each by a coin of its own, in any order; so do
//! lengths, and names in folders that were not synced. A failed sync leaves sectors that the cache takes for clean and that
//! are not on the disk, as Linux does.

use crate::disk::{Disk, DiskFile, SharedDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
pub(super) struct MemDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct State {
    names: BTreeMap<PathBuf, usize>,
    names_durable: BTreeMap<PathBuf, usize>,
    files: Vec<Content>,
    coins: u64,
    pub(super) capacity: u64,
    /// The next so many syncs of files fail.
    pub(super) fail_syncs: u32,
    /// The next so many syncs of folders fail.
    pub(super) fail_dir_syncs: u32,
    /// The next so many writes fail.
    pub(super) fail_writes: u32,
    /// No file descriptor is left for the next so many files and folders that are to be opened.
    pub(super) no_files: u32,
    /// The power goes with the operation that would bring this to zero: it and all later ones fail and do nothing.
    pub(super) operations_left: Option<u32>,
    /// No file can be removed.
    pub(super) keeps_files: bool,
    /// A file that cannot be opened.
    pub(super) refused: Option<PathBuf>,
    /// Bytes of a file that cannot be read.
    pub(super) unreadable: Option<(PathBuf, std::ops::Range<u64>)>,
    pub(super) syncs: u32,
    pub(super) writes: u32,
    pub(super) dir_syncs: u32,
}

#[derive(Debug, Default, Clone)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    path: PathBuf,
    file: usize,
}

impl MemDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            files: Vec::new(),
            coins: 1,
            capacity: u64::MAX,
            fail_syncs: 0,
            fail_dir_syncs: 0,
            fail_writes: 0,
            no_files: 0,
            operations_left: None,
            keeps_files: false,
            refused: None,
            unreadable: None,
            syncs: 0,
            writes: 0,
            dir_syncs: 0,
        })))
    }

    pub(super) fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many syncs of files, writes, and syncs of folders there were.
    pub(super) fn work(&self) -> [u32; 3] {
        let state = self.state();
        [state.syncs, state.writes, state.dir_syncs]
    }

    /// What was not synced is lost, or not; all of it with seed 0.
    pub(super) fn cut_power(&self, seed: u64) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.coins = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        state.operations_left = None;
        // Coins for whole files and names come out alike often enough for "nothing" and "everything" to happen.
        let odds = if seed == 0 { 0 } else { state.draw() % 5 };
        for i in 0..state.files.len() {
            let mut file = std::mem::take(&mut state.files[i]);
            if file.cached.len() != file.durable.len() && state.survives(odds) {
                file.durable.resize(file.cached.len(), 0);
            }
            for sector in std::mem::take(&mut file.dirty) {
                if state.survives(odds) {
                    file.persist(sector);
                }
            }
            file.cached = file.durable.clone();
            state.files[i] = file;
        }
        let all: BTreeSet<PathBuf> = state.names.keys().chain(state.names_durable.keys()).cloned().collect();
        for path in all {
            let (now, before) = (state.names.get(&path).copied(), state.names_durable.get(&path).copied());
            if now != before && state.survives(odds) {
                match now {
                    Some(file) => state.names_durable.insert(path, file),
                    None => state.names_durable.remove(&path),
                };
            }
        }
        state.names = state.names_durable.clone();
    }

    /// Changes bytes behind everybody's back.
    pub(super) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[path];
        let content = &mut state.files[file];
        change(&mut content.cached);
        content.durable = content.cached.clone();
    }

    /// Puts a file on the disk.
    pub(super) fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        state.files.push(Content { cached: bytes.to_vec(), durable: bytes.to_vec(), dirty: BTreeSet::new() });
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        state.names_durable.insert(path.to_owned(), file);
    }

    pub(super) fn content(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[path]].cached.clone()
    }

    pub(super) fn delete(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.names_durable.remove(path);
    }

    /// Paths of all files but the one that says who the log is, sorted.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().filter(|path| path.extension().is_some_and(|name| name != "id")).cloned().collect()
    }
}

impl State {
    fn draw(&mut self) -> u64 {
        self.coins ^= self.coins << 13;
        self.coins ^= self.coins >> 7;
        self.coins ^= self.coins << 17;
        self.coins >> 11
    }

    fn survives(&mut self, odds: u64) -> bool {
        self.draw() % 4 < odds
    }

    /// Counts an operation that would change the disk; fails once the power is gone.
    fn spend(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.operations_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the power is gone"));
            }
        }
        Ok(())
    }

    /// A descriptor, if there is one.
    fn take_file(&mut self) -> io::Result<()> {
        if self.no_files > 0 {
            self.no_files -= 1;
            return Err(rustix::io::Errno::MFILE.into());
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].cached.len() as u64).sum()
    }

    fn grow(&self, file: usize, len: u64) -> io::Result<()> {
        let more = len.saturating_sub(self.files[file].cached.len() as u64);
        if more > 0 && self.used() + more > self.capacity { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Content {
    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.cached.len());
        if start >= end {
            return;
        }
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.cached[start..end]);
    }

    fn touch(&mut self, start: usize, end: usize) {
        self.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
    }

    fn resize(&mut self, len: usize) {
        let old = self.cached.len();
        self.cached.resize(len, 0);
        self.touch(old.min(len), old.max(len));
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.spend()?;
        state.take_file()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        Ok(Arc::new(MemFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.state().refused.as_deref() == Some(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let file = *self.state().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().names.keys().filter_map(|path| path.strip_prefix(dir).ok()).map(PathBuf::from).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        if state.keeps_files {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.take_file()?;
        state.spend()?;
        if state.fail_dir_syncs > 0 {
            state.fail_dir_syncs -= 1;
            return Err(io::Error::other("sync of the folder refused"));
        }
        state.dir_syncs += 1;
        let State { names, names_durable, .. } = &mut *state;
        names_durable.retain(|path, _| path.parent() != Some(dir));
        names_durable
            .extend(names.iter().filter(|(path, _)| path.parent() == Some(dir)).map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        self.state().names.remove(&beside);
        let file = self.create(&beside)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.rename(&beside, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        {
            let mut state = self.state();
            state.spend()?;
            let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), file);
        }
        to.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.state();
        if let Some((path, bad)) = &state.unreadable
            && *path == self.path
            && at < bad.end
            && at + buffer.len() as u64 > bad.start
        {
            return Err(io::Error::other("unreadable sector"));
        }
        let content = &state.files[self.file].cached;
        let there = content.get(at as usize..).unwrap_or_default();
        let n = there.len().min(buffer.len());
        buffer[..n].copy_from_slice(&there[..n]);
        Ok(n)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        if state.fail_writes > 0 {
            state.fail_writes -= 1;
            return Err(io::Error::other("write refused"));
        }
        state.grow(self.file, at + bytes.len() as u64)?;
        state.writes += 1;
        let content = &mut state.files[self.file];
        let (start, end) = (at as usize, at as usize + bytes.len());
        if content.cached.len() < end {
            content.resize(end);
        }
        content.cached[start..end].copy_from_slice(bytes);
        content.touch(start, end);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        let fails = state.fail_syncs > 0;
        state.fail_syncs = state.fail_syncs.saturating_sub(1);
        let content = &mut state.files[self.file];
        let dirty = std::mem::take(&mut content.dirty);
        if fails {
            // The cache forgets that they are dirty, and the disk does not have them.
            return Err(io::Error::other("sync refused"));
        }
        content.durable.resize(content.cached.len(), 0);
        for sector in dirty {
            content.persist(sector);
        }
        state.syncs += 1;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        state.grow(self.file, len)?;
        let content = &mut state.files[self.file];
        if (content.cached.len() as u64) < len {
            content.resize(len as usize);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        state.files[self.file].resize(len as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].cached.len() as u64)
    }
}
