//! Damages the written end of the log as a power cut does. The format is documented in `src/wal/mod.rs`; this reader is another
//! one on purpose.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const HEADER: usize = 64;

/// What a power cut left at the end of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    /// A record of which only the first bytes reached the disk.
    HalfARecord,
    /// A page of something else.
    Garbage,
    /// The file ends where the last record ends: the preallocation was lost.
    ShortFile,
}

/// Damages what comes after the last whole record of the newest segment in use. Nothing acknowledged is touched. Says where.
pub(crate) fn tear(data: &Path, damage: Damage) -> String {
    let (path, end) = written_end(&data.join("wal"));
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    match damage {
        Damage::HalfARecord => {
            let mut bytes = 500_u32.to_le_bytes().to_vec();
            bytes.extend([0x5a; 37]);
            file.seek(SeekFrom::Start(end)).unwrap();
            file.write_all(&bytes).unwrap();
        }
        Damage::Garbage => {
            let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
            file.seek(SeekFrom::Start(end)).unwrap();
            file.write_all(&noise).unwrap();
        }
        Damage::ShortFile => file.set_len(end).unwrap(),
    }
    format!("{damage:?} at byte {end} of {}", path.display())
}

/// The newest segment with records, and where its last record ends.
fn written_end(dir: &Path) -> (PathBuf, u64) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut segments: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    segments.sort();
    for path in segments.iter().rev() {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(bytes.get(..8), Some(b"REMBWAL\0".as_slice()), "{}", path.display());
        let mut at = HEADER;
        while let Some(head) = bytes.get(at..at + 8) {
            let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
            if length == 0 || bytes.len() < at + 8 + length {
                break;
            }
            let sum = u32::from_le_bytes(head[4..].try_into().unwrap());
            if crc32c::crc32c(&bytes[at + 8..at + 8 + length]) != sum {
                break;
            }
            at += 8 + length;
        }
        if at > HEADER {
            return (path.clone(), at as u64);
        }
    }
    panic!("no record in any segment of {}", dir.display());
}
