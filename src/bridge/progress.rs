//! How far a link is, on the disk: `links/NAME.json` below the data folder.
//!
//! ```json
//! {"log_id": "9f3c…", "seq": 123456}
//! ```
//! Everything up to record `seq` of the log `log_id` was acknowledged by the far end, is none of its business, or was given up.

use crate::disk::SharedDisk;
use crate::message::Seq;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    log_id: String,
    seq: u64,
}

/// Where links keep their progress.
#[derive(Debug)]
pub(super) struct Folder {
    disk: SharedDisk,
    dir: PathBuf,
}

impl Folder {
    /// Makes the folder if need be. What cannot be made is told when something is written into it.
    pub(super) fn open(disk: &SharedDisk, data: &Path) -> Self {
        let dir = data.join("links");
        if let Err(error) = disk.create_dir_all(&dir).and_then(|()| disk.sync_dir(data)) {
            log::error!(folder:% = dir.display(), error:%; "links cannot keep their progress");
        }
        Self { disk: disk.clone(), dir }
    }

    pub(super) fn progress(&self, name: &str) -> Progress {
        Progress { disk: self.disk.clone(), path: self.dir.join(format!("{name}.json")) }
    }
}

/// Where one link keeps its progress.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    disk: SharedDisk,
    path: PathBuf,
}

impl Progress {
    /// Where the link goes on, in the log `log_id` that ends with `last`: `None` if the link is new.
    pub(super) fn load(&self, log_id: u64, last: Seq) -> Option<Seq> {
        let path = self.path.display();
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                // What may be sent twice is better than what may not be sent.
                log::error!(file:% = path, error:%; "the progress of a link cannot be read; all that the log has is sent");
                return Some(Seq(0));
            }
        };
        match serde_json::from_slice::<Stored>(&text) {
            Ok(stored) if stored.log_id != id(log_id) => {
                log::warn!(file:% = path; "the log is another one than before; all that it has is sent");
                Some(Seq(0))
            }
            Ok(stored) if stored.seq > last.0 => {
                log::warn!(file:% = path, seq = stored.seq, last:%; "the log ends before the progress of a link");
                Some(last)
            }
            Ok(stored) => Some(Seq(stored.seq)),
            Err(error) => {
                log::error!(file:% = path, error:%; "the progress of a link is damaged; all that the log has is sent");
                Some(Seq(0))
            }
        }
    }

    /// Writes it; on the disk when this returns. Blocks.
    pub(super) fn store(&self, log_id: u64, seq: Seq) -> io::Result<()> {
        let stored = Stored { log_id: id(log_id), seq: seq.0 };
        let text = serde_json::to_vec(&stored).expect("two plain fields");
        self.disk.replace(&self.path, &text)
    }
}

fn id(log_id: u64) -> String {
    format!("{log_id:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn progress_comes_back_and_doubt_means_to_send_again() {
        let data = tempfile::tempdir().unwrap();
        let progress = Folder::open(&SystemDisk::shared(), data.path()).progress("remote-cloud");
        assert_eq!(progress.load(7, Seq(100)), None, "a new link begins with what comes");
        progress.store(7, Seq(42)).unwrap();
        assert_eq!(progress.load(7, Seq(100)), Some(Seq(42)));
        assert_eq!(progress.load(8, Seq(100)), Some(Seq(0)), "another log has numbers of its own");
        assert_eq!(progress.load(7, Seq(41)), Some(Seq(41)), "numbers that will come must not be skipped");
        std::fs::write(data.path().join("links/remote-cloud.json"), b"{").unwrap();
        assert_eq!(progress.load(7, Seq(100)), Some(Seq(0)));
    }
}
