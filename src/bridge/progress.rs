//! How far a link is, on the disk: `links/NAME.json` below the data folder.
//!
//! ```json
//! {"log_id": "9f3c…", "seq": 123456, "start": "51d0…", "crc32c": "1a2b3c4d"}
//! ```
//! Everything up to record `seq` of the log `log_id` was acknowledged by the far end, is none of its business, or was given up.
//! `start` is that of the log during which this was written ([`Stated`]), `crc32c` the checksum of the fields before it as
//! `log_id seq start`. An older release writes neither.

use crate::disk::SharedDisk;
use crate::message::Seq;
use crate::wal::{Identity, Stated};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    log_id: String,
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32c: Option<String>,
}

impl Stored {
    fn of(stated: Stated) -> Self {
        let start = stated.start.map(hex);
        let mut stored = Self { log_id: hex(stated.log_id), seq: stated.seq.0, start, crc32c: None };
        stored.crc32c = Some(stored.sum());
        stored
    }

    fn sum(&self) -> String {
        let Self { log_id, seq, start, .. } = self;
        format!("{:08x}", crc32c::crc32c(format!("{log_id} {seq} {}", start.as_deref().unwrap_or_default()).as_bytes()))
    }

    /// `None` for what is not as it was written.
    fn stated(&self) -> Option<Stated> {
        if self.crc32c.as_ref().is_some_and(|sum| *sum != self.sum()) {
            return None;
        }
        let number = |text: &String| u64::from_str_radix(text, 16).ok();
        let start = match &self.start {
            Some(start) => Some(number(start)?),
            None => None,
        };
        Some(Stated { log_id: number(&self.log_id)?, start, seq: Seq(self.seq) })
    }
}

/// Where links keep their progress.
#[derive(Debug)]
pub(crate) struct Folder {
    disk: SharedDisk,
    dir: PathBuf,
}

impl Folder {
    /// Makes the folder if need be. What cannot be made is told when something is written into it.
    pub(crate) fn open(disk: &SharedDisk, data: &Path) -> Self {
        let dir = data.join("links");
        if let Err(error) = disk.create_dir_all(&dir).and_then(|()| disk.sync_dir(data)) {
            log::error!(folder:% = dir.display(), error:%; "links cannot keep their progress");
        }
        Self { disk: disk.clone(), dir }
    }

    pub(crate) fn progress(&self, name: &str) -> Progress {
        Progress { disk: self.disk.clone(), path: self.dir.join(format!("{name}.json")) }
    }
}

/// Where one link keeps its progress.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    disk: SharedDisk,
    path: PathBuf,
}

impl Progress {
    /// Where the link goes on in the log: `None` if the link is new. In doubt everything is sent: what may be sent twice is better
    /// than what may not be sent.
    pub(crate) fn load(&self, log: &Identity) -> Option<Seq> {
        let path = self.path.display();
        let text = match self.disk.read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                log::error!(file:% = path, error:%; "the progress of a link cannot be read; all that the log has is sent");
                return Some(Seq(0));
            }
        };
        let Some(stated) = serde_json::from_slice::<Stored>(&text).ok().and_then(|stored| stored.stated()) else {
            log::error!(file:% = path; "the progress of a link is damaged; all that the log has is sent");
            return Some(Seq(0));
        };
        let Some(place) = log.place_of(stated) else {
            log::warn!(file:% = path; "the log is another one than before; all that it has is sent");
            return Some(Seq(0));
        };
        if place < stated.seq {
            log::warn!(file:% = path, seq:% = stated.seq, last:% = place; "the log has lost records that a link had sent already");
        }
        Some(place)
    }

    /// Writes it; on the disk when this returns. Blocks.
    pub(crate) fn store(&self, log: &Identity, seq: Seq) -> io::Result<()> {
        let text = serde_json::to_vec(&Stored::of(log.stated(seq))).expect("plain fields");
        self.disk.replace(&self.path, &text)
    }
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn progress_comes_back_and_doubt_means_to_send_again() {
        let data = tempfile::tempdir().unwrap();
        let progress = Folder::open(&SystemDisk::shared(), data.path()).progress("remote-cloud");
        let (log, other) = (Identity::new(7), Identity::new(8));
        assert_eq!(progress.load(&log), None, "a new link begins with what comes");
        progress.store(&log, Seq(42)).unwrap();
        assert_eq!(progress.load(&log), Some(Seq(42)));
        assert_eq!(progress.load(&other), Some(Seq(0)), "another log has numbers of its own");
        let file = data.path().join("links/remote-cloud.json");
        std::fs::write(&file, br#"{"log_id": "0000000000000007", "seq": 41}"#).unwrap();
        assert_eq!(progress.load(&log), Some(Seq(41)), "as an older release wrote it");
        std::fs::write(&file, b"{").unwrap();
        assert_eq!(progress.load(&log), Some(Seq(0)));
    }

    #[test]
    fn a_flipped_bit_in_the_progress_of_a_link_never_skips_a_message() {
        let data = tempfile::tempdir().unwrap();
        let progress = Folder::open(&SystemDisk::shared(), data.path()).progress("remote-cloud");
        let (log, file) = (Identity::new(7), data.path().join("links/remote-cloud.json"));
        progress.store(&log, Seq(4242)).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &bad).unwrap();
            let place = progress.load(&log).expect("the link is not new");
            assert!(place <= Seq(4242), "bit {bit}: {place}");
        }
    }
}
