//! The lake as it is at one moment: its catalog and the files that this names; what backups and checks work with.

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Rows that are decoded at once.
const CHUNK: usize = 8192;

/// A catalog and its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Where the catalog is: a copy that nobody changes, if the gateway runs.
    pub catalog: PathBuf,
    pub files: Vec<LakeFile>,
}

/// A file of the lake as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeFile {
    pub table: String,
    /// Relative to the lake's folder.
    pub path: PathBuf,
    pub bytes: u64,
    pub rows: u64,
    /// Whether it says which rows of another file are deleted.
    pub deletions: bool,
    /// Checksum (CRC-32C) of the whole file as it was written, if that is known.
    #[serde(default)]
    pub sum: Option<u32>,
}

impl LakeFile {
    /// Reads the whole file below the folder `lake`; what is wrong with it, if anything is.
    pub fn audit(&self, lake: &Path) -> Result<(), String> {
        let path = lake.join(&self.path);
        let file = std::fs::File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "is missing".to_owned(),
            _ => format!("cannot be opened: {error}"),
        })?;
        let bytes = file.metadata().map_err(|error| format!("cannot be looked at: {error}"))?.len();
        if bytes != self.bytes {
            return Err(format!("has {bytes} bytes instead of {}", self.bytes));
        }
        if let Some(known) = self.sum
            && sum(&file).map_err(|error| format!("cannot be read: {error}"))? != known
        {
            return Err("has another checksum than when it was written".to_owned());
        }
        // Parquet says little about its own damage, so every page of it is unpacked.
        match decode(file).map_err(|why| format!("cannot be read: {why}"))? {
            rows if rows == self.rows => Ok(()),
            rows => Err(format!("has {rows} rows instead of {}", self.rows)),
        }
    }
}

fn sum(mut file: &std::fs::File) -> std::io::Result<u32> {
    let (mut piece, mut sum) = (vec![0; 256 << 10], 0);
    loop {
        match std::io::Read::read(&mut file, &mut piece)? {
            0 => return std::io::Seek::rewind(&mut file).map(|()| sum),
            read => sum = crc32c::crc32c_append(sum, piece.get(..read).unwrap_or_default()),
        }
    }
}

fn decode(file: std::fs::File) -> Result<u64, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let reader = reader.with_batch_size(CHUNK).build().map_err(|error| error.to_string())?;
    let mut rows = 0;
    for batch in reader {
        rows += batch.map_err(|error| error.to_string())?.num_rows() as u64;
    }
    Ok(rows)
}
