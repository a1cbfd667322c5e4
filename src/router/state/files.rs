//! Snapshots on the disk: `state/{twenty digits}.state`, the number being that of the last record in it. The newest two stay.
//!
//! ```text
//! file   = "REMBSTA\0" │ u32 version = 1 │ u32 zero │ u64 log_id │ u64 upto │ records │ record of kind 0: the end
//! record = u32 len │ u32 crc32c of what follows │ u8 kind │ body          len = 1 + length of the body
//! ```
//! Integers are little endian. A file without its end was interrupted, and is removed at the next start. Kinds are those of the
//! log (`message::kind`).

use super::Snapshot;
use crate::disk::{DiskFile, SharedDisk};
use crate::message::Seq;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"REMBSTA\0";
const VERSION: u32 = 1;
const HEADER: usize = 32;
const END: u8 = 0;
/// Written and read at once.
const CHUNK: usize = 256 << 10;
/// Far above any record that the gateway writes.
const RECORD_MAX: usize = 512 << 20;
/// How many whole snapshots stay.
const KEPT: usize = 2;

/// The folder of the snapshots.
#[derive(Debug, Clone)]
pub struct StateFolder {
    disk: SharedDisk,
    dir: PathBuf,
}

/// A whole snapshot that was found.
#[derive(Debug)]
pub struct Saved {
    pub upto: Seq,
    pub log_id: u64,
    pub records: Vec<(u8, Bytes)>,
}

impl StateFolder {
    /// Makes the folder if it is missing.
    pub fn open(disk: SharedDisk, dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        disk.create_dir_all(&dir)?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)?;
        }
        Ok(Self { disk, dir })
    }

    /// The newest whole snapshot, if there is one. Files that are not whole are told and removed.
    pub fn load(&self) -> io::Result<Option<Saved>> {
        for (upto, path) in self.files()?.into_iter().rev() {
            match self.read(&path) {
                Ok(saved) => return Ok(Some(saved)),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!(path:% = path.display(), upto:%, error:%; "a snapshot is not whole; an older one and the log have it all");
                    self.disk.remove(&path)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes a snapshot, and removes those that are not needed any more. What it says must be durable in the log already.
    /// Returns the record up to which the log is not needed any more.
    pub fn save(&self, log_id: u64, snapshot: &Snapshot) -> io::Result<Seq> {
        let path = self.path(snapshot.upto);
        if self.files()?.iter().any(|(_, known)| *known == path) {
            self.disk.remove(&path)?;
        }
        let file = self.disk.create(&path)?;
        let mut out = Writer { file, buffer: Vec::with_capacity(CHUNK), at: 0 };
        out.buffer.extend_from_slice(MAGIC);
        out.buffer.extend_from_slice(&VERSION.to_le_bytes());
        out.buffer.extend_from_slice(&[0; 4]);
        out.buffer.extend_from_slice(&log_id.to_le_bytes());
        out.buffer.extend_from_slice(&snapshot.upto.0.to_le_bytes());
        snapshot.records(|kind, body| out.record(kind, body))?;
        out.record(END, &[])?;
        out.flush()?;
        out.file.sync()?;
        self.disk.sync_dir(&self.dir)?;
        let files = self.files()?;
        let (old, kept) = files.split_at(files.len().saturating_sub(KEPT));
        for (_, path) in old {
            self.disk.remove(path)?;
        }
        Ok(kept.first().map_or(snapshot.upto, |(upto, _)| *upto))
    }

    /// Like [`save`](Self::save), and leaves no other: they belong to another log.
    pub fn replace(&self, log_id: u64, snapshot: &Snapshot) -> io::Result<()> {
        for (_, path) in self.files()?.into_iter().filter(|(upto, _)| *upto < snapshot.upto) {
            self.disk.remove(&path)?;
        }
        self.save(log_id, snapshot)?;
        for (_, path) in self.files()?.into_iter().filter(|(upto, _)| *upto > snapshot.upto) {
            self.disk.remove(&path)?;
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Oldest first.
    fn files(&self) -> io::Result<Vec<(Seq, PathBuf)>> {
        let mut files: Vec<_> = self
            .disk
            .list(&self.dir)?
            .into_iter()
            .filter_map(|name| {
                let number = name.to_str()?.strip_suffix(".state")?.parse().ok()?;
                Some((Seq(number), self.dir.join(name)))
            })
            .collect();
        files.sort();
        Ok(files)
    }

    fn path(&self, upto: Seq) -> PathBuf {
        self.dir.join(format!("{:020}.state", upto.0))
    }

    fn read(&self, path: &Path) -> io::Result<Saved> {
        let file = self.disk.open(path)?;
        let len = usize::try_from(file.len()?).map_err(|_| invalid("it is too large"))?;
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            let end = len.min(read + CHUNK);
            match file.read_at(bytes.get_mut(read..end).unwrap_or_default(), read as u64)? {
                0 => return Err(invalid("it ends early")),
                count => read += count,
            }
        }
        parse(bytes.into())
    }
}

fn parse(mut bytes: Bytes) -> io::Result<Saved> {
    use bytes::Buf;
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return Err(invalid("it has no header"));
    }
    bytes.advance(MAGIC.len());
    let version = bytes.get_u32_le();
    if version != VERSION {
        return Err(io::Error::other(format!("snapshot version {version} was written by a newer gateway")));
    }
    bytes.advance(4);
    let mut saved = Saved { log_id: bytes.get_u64_le(), upto: Seq(bytes.get_u64_le()), records: Vec::new() };
    loop {
        if bytes.len() < 9 {
            return Err(invalid("its end is missing"));
        }
        let (len, sum) = (bytes.get_u32_le() as usize, bytes.get_u32_le());
        if len == 0 || len > RECORD_MAX || len > bytes.len() {
            return Err(invalid("a record is cut off"));
        }
        let mut record = bytes.split_to(len);
        if crc32c::crc32c(&record) != sum {
            return Err(invalid("a checksum is wrong"));
        }
        match record.get_u8() {
            END => return Ok(saved),
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
