//! Rows of files that the catalog does not name any more: they go into the lake once more, as rows of the log do.
//!
//! That happens to files that could not be read and now can be. Each row keeps the number of its record, and rows that the lake has
//! already are left out: of an appended table by that number, of a keyed one by its key, because what the lake has of a key is
//! never older.

use super::answer::Answer;
use super::error::EngineError;
use super::store::{BatchError, Store};
use super::tail;
use super::{damage, folders, lite, newest};
use crate::disk::Disk;
use crate::history::model::{Cell, Row, Schema, Table};
use crate::history::settings::Settings;
use crate::history::sql::Query;
use crate::message::Seq;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

const PIECE: usize = 256 << 10;

/// Whether every byte of a file can be read.
pub(super) fn is_readable(disk: &dyn Disk, path: &Path) -> bool {
    let Ok(file) = disk.open(path) else { return false };
    let (mut piece, mut at) = (vec![0; PIECE], 0);
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return true,
            Ok(read) => at += read as u64,
            Err(_) => return false,
        }
    }
}

/// What the rows of a keyed table's file are to those of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// What the lake has of a key is newer.
    Older,
    /// The file was written after everything that the lake has.
    Newer,
}

/// Takes the rows of a file whose records `wanted` names; returns how many were new to the lake. The tail is empty, before and after.
pub(super) fn rows_of(
    lake: &mut dyn Store,
    settings: &Settings,
    table: &Table,
    path: &Path,
    age: Age,
    wanted: impl Fn(u64) -> bool,
) -> Result<u64, EngineError> {
    let (covered, mut taken) = (lake.covered(), 0);
    let keyed = !table.keys.is_empty();
    let mut keys = if keyed && age == Age::Older { keys(lake, settings, table)? } else { HashSet::new() };
    let mut have: Option<HashSet<u64>> = None;
    for batch in lite::batches_of(settings.disk.as_ref(), path)? {
        let batch = batch?;
        let damaged =
            || EngineError::Damaged { path: path.to_path_buf(), what: "does not have the table's columns".to_owned() };
        let rows = lite::whole_rows(table, &batch).ok_or_else(damaged)?;
        if table.keys.is_empty() && have.is_none() {
            have = Some(lake.sequences(&table.name, (Seq(0), Seq(i64::MAX.cast_unsigned())))?.into_iter().collect());
        }
        for (cells, seq, received_us) in rows {
            let known = match &have {
                Some(have) => have.contains(&seq),
                None if age == Age::Newer => false,
                None => !keys.insert(tail::key(&table.keys, &cells)),
            };
            if known || !wanted(seq) {
                continue;
            }
            taken += 1;
            let named = vec![true; cells.len()];
            lake.append(&table.name, vec![Row { cells, named }], Seq(seq), received_us)?;
        }
        if lake.tail_rows() >= settings.batch_rows {
            settle(lake, covered)?;
        }
    }
    settle(lake, covered)?;
    Ok(taken)
}

/// Takes the rows of records that the catalog knows nothing of and the log has no more: `first` is the oldest that it has. Files of
/// batches name their log and their last record. What is left over goes to the quarantine, not away.
pub(super) fn lost(
    lake: &mut dyn Store,
    settings: &Settings,
    schema: &Schema,
    log_id: u64,
    first: Seq,
) -> Result<(), EngineError> {
    let covered = lake.covered();
    if first <= covered.next() || settings.data.is_remote() || settings.catalog.is_shared() {
        return Ok(());
    }
    let mut known: HashSet<PathBuf> = lake.named()?.into_iter().map(|named| named.path).collect();
    known.extend(super::loss::in_place(settings));
    let mut found = Vec::new();
    below(settings, &folders::files(settings), 0, &mut found)?;
    found.retain(|path| !known.contains(path));
    found.sort_by_key(|path| (batch_of(path, log_id), path.clone()));
    let (mut rows, sums) = (0, super::sums::read(settings));
    for path in &found {
        let whole =
            sums.get(path).is_none_or(|sum| super::sums::of_file(settings.disk.as_ref(), path).is_ok_and(|is| is == *sum));
        let folder = path.ancestors().skip(1).find(|folder| !folders::is_day(folder)).and_then(Path::file_name);
        let table = folder.and_then(|name| schema.table(name.to_str()?));
        let (Some(table), Some(_), true) = (table, batch_of(path, log_id), whole) else { continue };
        match rows_of(lake, settings, table, path, Age::Newer, |seq| seq > covered.0 && seq < first.0) {
            Ok(taken) => rows += taken,
            Err(error @ (EngineError::Parquet { .. } | EngineError::Arrow(_) | EngineError::Damaged { .. })) => {
                log::error!(file:% = path.display(), error:%; "a file that the catalog forgot cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    let records = first.0 - covered.0 - 1;
    log::error!(records, rows, files = found.len(); "the catalog knows nothing of records that the log has no more: the rows of \
        their files were taken in again, and the files moved to `lake/quarantine`");
    lake.restate(Seq(first.0 - 1))?;
    found.iter().try_for_each(|path| damage::quarantine(settings, settings.disk.as_ref(), path))
}

/// The last record of a batch's file, if it is one of this log.
fn batch_of(path: &Path, log_id: u64) -> Option<u64> {
    let mut parts = path.file_stem()?.to_str()?.strip_prefix("batch-")?.split('-');
    let log = u64::from_str_radix(parts.next()?, 16).ok()?;
    parts.next()?.parse().ok().filter(|_| log == log_id >> 32)
}

/// The gateway's files in the folders of schemas, tables and days.
fn below(settings: &Settings, folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), EngineError> {
    for name in settings.disk.list(folder).map_err(EngineError::io("looking for files that the catalog forgot"))? {
        let path = folder.join(name);
        if path.is_dir() {
            if depth < 3 {
                below(settings, &path, depth + 1, found)?;
            }
        } else if damage::is_ours(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// The keys that the lake has rows of.
fn keys(lake: &mut dyn Store, settings: &Settings, table: &Table) -> Result<HashSet<Vec<u8>>, EngineError> {
    let refused = |error: crate::history::model::CallError| EngineError::Arrow(error.text);
    let view = lake.pin(&table.name, None)?.map_err(refused)?;
    let limits = Settings { query_rows: usize::MAX, ..settings.clone() };
    let mut answer = Answer::frame(&limits);
    view.run(&Query::newest_of_all(table), &limits, &mut answer).map_err(refused)?;
    let frame = answer.finish().map_err(refused)?;
    let rows: Vec<Vec<Cell>> = newest::cells(table, &frame).unwrap_or_default();
    Ok(rows.iter().map(|cells| tail::key(&table.keys, cells)).collect())
}

fn settle(lake: &mut dyn Store, covered: Seq) -> Result<(), EngineError> {
    if lake.tail_rows() == 0 {
        return Ok(());
    }
    lake.batch(covered).map_err(|error| match error {
        BatchError::Again(error) | BatchError::Reopen(error) => error,
    })
}
