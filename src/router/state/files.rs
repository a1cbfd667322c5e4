//! Snapshots on the disk: `state/{twenty digits}.state`, the number being that of the last record in it. The newest two stay.
//!
//! ```text
//! file   = header │ records │ record of kind 0: the end
//! header = "REMBSTA\0" │ u32 version = 1 │ u32 check │ u64 log_id │ u64 upto          check = crc32c of the other 28 bytes
//! record = u32 len │ u32 crc32c of what follows │ u8 kind │ body          len = 1 + length of the body
//! ```
//! Integers are little endian. A check of zero comes from a release that wrote none (one that would be zero is written as 1). A file
//! without its end was interrupted. Kinds are those of the log (`message::kind`), and 254: the start of the log during which the
//! snapshot was written, as u64 ([`Stated`]).
//!
//! What is not whole, or is another file than its name says, is set aside under its name and `.damaged`; the newest two of those
//! stay for whoever wants to look at them. What the operating system does not let us read stays where it is.

#[cfg(test)]
mod tests;

use super::Snapshot;
use crate::disk::{DiskFile, SharedDisk};
use crate::message::Seq;
use crate::wal::{Identity, Stated};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"REMBSTA\0";
const VERSION: u32 = 1;
const HEADER: usize = 32;
const END: u8 = 0;
const START: u8 = 254;
/// Written and read at once.
const CHUNK: usize = 256 << 10;
/// Far above any record that the gateway writes.
const RECORD_MAX: usize = 512 << 20;
/// How many whole snapshots stay, and how many that were damaged.
const KEPT: usize = 2;
const DAMAGED: &str = "damaged";

/// The folder of the snapshots. It may be one that cannot be used at present: then nothing is found, and saving is tried again.
#[derive(Debug, Clone)]
pub struct StateFolder {
    disk: SharedDisk,
    dir: PathBuf,
    /// Files that could not be read when the gateway started: they may be good, so they stay.
    refused: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// A whole snapshot that was found.
#[derive(Debug)]
pub struct Saved {
    pub stated: Stated,
    pub records: Vec<(u8, Bytes)>,
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest whole snapshot.
    pub saved: Option<Saved>,
    /// The record up to which the log is not needed by it and by the one before it.
    pub covered: Seq,
    /// Snapshots that are damaged, or that the operating system does not let us read.
    pub unusable: u64,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("it has version {0} and was written by a newer gateway")]
    Newer(u32),
    #[error("it cannot be read: {0}")]
    Refused(#[from] io::Error),
}

impl StateFolder {
    /// Makes the folder if it is missing.
    pub fn open(disk: SharedDisk, dir: impl Into<PathBuf>) -> Self {
        let folder = Self { disk, dir: dir.into(), refused: Arc::default() };
        if let Err(error) = folder.make() {
            log::error!(folder:% = folder.dir.display(), error:%; "sessions and retained messages cannot be saved at present");
        }
        folder
    }

    fn make(&self) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        self.dir.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent))
    }

    /// The newest whole snapshot, if there is one. What cannot be used is said, and is no reason not to start.
    pub fn load(&self) -> Found {
        let mut found = Found::default();
        let files = self.files().unwrap_or_else(|error| {
            log::error!(folder:% = self.dir.display(), error:%; "saved sessions and retained messages cannot be looked for; only the log has them");
            found.unusable += 1;
            Vec::new()
        });
        let mut older = None;
        for (upto, path) in files.into_iter().rev() {
            if found.saved.is_some() {
                // Only to know what it needs of the log: it is read when the newest one cannot be.
                older = Some(upto);
                break;
            }
            match self.read(&path, upto) {
                Ok(saved) => found.saved = Some(saved),
                Err(unusable) => {
                    found.unusable += 1;
                    self.put_up_with(&path, &unusable);
                }
            }
        }
        found.covered = older.or(found.saved.as_ref().map(|saved| saved.stated.seq)).unwrap_or_default();
        found
    }

    /// Nothing good is moved or removed.
    fn put_up_with(&self, path: &Path, unusable: &Unusable) {
        log::error!(path:% = path.display(), error:% = unusable;
            "a snapshot of sessions and retained messages cannot be used; an older one and the log are used");
        if let Unusable::Damaged(_) = unusable
            && self.disk.rename(path, &set_aside(path)).is_ok()
        {
            return self.forget_damaged();
        }
        self.refused().insert(path.to_owned());
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        // A set of paths is whole at any moment.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the newest damaged files stay.
    fn forget_damaged(&self) {
        let old = self.listed(&format!(".state.{DAMAGED}")).map(|files| excess(&files)).unwrap_or_default();
        for path in old {
            if let Err(error) = self.disk.remove(&path) {
                log::warn!(path:% = path.display(), error:%; "an old damaged snapshot cannot be removed");
            }
        }
    }

    /// Writes a snapshot, and removes those that are not needed any more. What it says must be durable in the log already.
    /// Returns the record up to which the log is not needed any more.
    pub fn save(&self, log: &Identity, snapshot: &Snapshot) -> io::Result<Seq> {
        self.write(log, snapshot)?;
        let files = self.usable()?;
        for path in excess(&files) {
            self.disk.remove(&path)?;
        }
        let kept = files.len().saturating_sub(KEPT);
        Ok(files.get(kept).map_or(snapshot.upto, |(upto, _)| *upto))
    }

    /// Leaves the snapshot `upto` alone, when it has been read back; returns the record up to which the log is not needed any more.
    pub fn forget_older(&self, upto: Seq) -> io::Result<Seq> {
        self.read(&self.path(upto), upto).map_err(io::Error::other)?;
        for (_, path) in self.usable()?.into_iter().filter(|(other, _)| *other < upto) {
            self.disk.remove(&path)?;
        }
        Ok(upto)
    }

    /// Like [`save`](Self::save), and leaves no other: their numbers belong to another log. Those go only when the new one is there.
    pub fn replace(&self, log: &Identity, snapshot: &Snapshot) -> io::Result<()> {
        self.write(log, snapshot)?;
        for (_, path) in self.usable()?.into_iter().filter(|(upto, _)| *upto != snapshot.upto) {
            self.disk.remove(&path)?;
        }
        self.disk.sync_dir(&self.dir)
    }

    fn write(&self, log: &Identity, snapshot: &Snapshot) -> io::Result<()> {
        let path = self.path(snapshot.upto);
        match self.disk.remove(&path) {
            // It may be the folder that is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            other => other?,
        }
        self.refused().remove(&path);
        let file = self.disk.create(&path)?;
        let mut out = Writer { file, buffer: Vec::with_capacity(CHUNK), at: 0 };
        let stated = log.stated(snapshot.upto);
        out.buffer.extend_from_slice(&header(stated));
        if let Some(start) = stated.start {
            out.record(START, &start.to_le_bytes())?;
        }
        snapshot.records(|kind, body| out.record(kind, body))?;
        out.record(END, &[])?;
        out.flush()?;
        out.file.sync()?;
        self.disk.sync_dir(&self.dir)
    }

    /// All but those that could not be read; oldest first.
    fn usable(&self) -> io::Result<Vec<(Seq, PathBuf)>> {
        let mut files = self.files()?;
        let refused = self.refused();
        files.retain(|(_, path)| !refused.contains(path));
        Ok(files)
    }

    /// Oldest first.
    fn files(&self) -> io::Result<Vec<(Seq, PathBuf)>> {
        self.listed(".state")
    }

    fn listed(&self, ending: &str) -> io::Result<Vec<(Seq, PathBuf)>> {
        let names = self.disk.list(&self.dir)?.into_iter();
        let mut files: Vec<_> = names
            .filter_map(|name| {
                let number = name.to_str()?.strip_suffix(ending)?.parse().ok()?;
                Some((Seq(number), self.dir.join(name)))
            })
            .collect();
        files.sort();
        Ok(files)
    }

    fn path(&self, upto: Seq) -> PathBuf {
        self.dir.join(format!("{:020}.state", upto.0))
    }

    fn read(&self, path: &Path, upto: Seq) -> Result<Saved, Unusable> {
        let file = self.disk.open(path)?;
        let len = usize::try_from(file.len()?).map_err(|_| Unusable::Damaged("it is too large"))?;
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            let end = len.min(read + CHUNK);
            match file.read_at(bytes.get_mut(read..end).unwrap_or_default(), read as u64)? {
                0 => return Err(Unusable::Damaged("it ends early")),
                count => read += count,
            }
        }
        let saved = parse(bytes.into())?;
        if saved.stated.seq != upto {
            return Err(Unusable::Damaged("it is another one than its name says"));
        }
        Ok(saved)
    }
}

fn set_aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(DAMAGED);
    path.with_file_name(name)
}

/// The paths of all but the newest.
fn excess(files: &[(Seq, PathBuf)]) -> Vec<PathBuf> {
    files.iter().take(files.len().saturating_sub(KEPT)).map(|(_, path)| path.clone()).collect()
}

fn header(stated: Stated) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&stated.log_id.to_le_bytes());
    header[24..].copy_from_slice(&stated.seq.0.to_le_bytes());
    let check = check(&header);
    header[12..16].copy_from_slice(&check.to_le_bytes());
    header
}

/// Never zero, which says that there is none.
fn check(header: &[u8]) -> u32 {
    let (before, after) = (header.get(..12).unwrap_or_default(), header.get(16..HEADER).unwrap_or_default());
    crc32c::crc32c_append(crc32c::crc32c(before), after).max(1)
}

fn parse(mut bytes: Bytes) -> Result<Saved, Unusable> {
    use bytes::Buf;
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return Err(Unusable::Damaged("it has no header"));
    }
    let computed = check(&bytes);
    bytes.advance(MAGIC.len());
    let (version, check) = (bytes.get_u32_le(), bytes.get_u32_le());
    if check != computed && (check != 0 || version != VERSION) {
        return Err(Unusable::Damaged("its header is damaged"));
    }
    if version != VERSION {
        return Err(Unusable::Newer(version));
    }
    let stated = Stated { log_id: bytes.get_u64_le(), start: None, seq: Seq(bytes.get_u64_le()) };
    let mut saved = Saved { stated, records: Vec::new() };
    loop {
        if bytes.len() < 9 {
            return Err(Unusable::Damaged("its end is missing"));
        }
        let (len, sum) = (bytes.get_u32_le() as usize, bytes.get_u32_le());
        if len == 0 || len > RECORD_MAX || len > bytes.len() {
            return Err(Unusable::Damaged("a record is cut off"));
        }
        let mut record = bytes.split_to(len);
        if crc32c::crc32c(&record) != sum {
            return Err(Unusable::Damaged("a checksum is wrong"));
        }
        match record.get_u8() {
            END => return Ok(saved),
            START if record.len() == 8 => saved.stated.start = Some(record.get_u64_le()),
            kind => saved.records.push((kind, record)),
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Writer {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    at: u64,
}

impl Writer {
    fn record(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len() + 1).map_err(|_| invalid("a record is too large"))?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), body);
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&sum.to_le_bytes());
        self.buffer.push(kind);
        self.buffer.extend_from_slice(body);
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
