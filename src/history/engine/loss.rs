//! What damaged files took with them, and how it comes back: rows that the log still holds are loaded again.
//!
//! `lake/damage.json` remembers each loss from the moment before the catalog forgets the file until what could be loaded is in the
//! lake, and afterwards for the operator ([`KEPT`] of them). So a crash in the middle neither forgets a loss nor loads rows twice:
//!
//! * An appended table: records of the lost range are read again; those that the lake has already are left alone. Deletions that
//!   came after a row are applied to the range again.
//! * A keyed table: every record of the table that the log holds is applied again, in order. That ends in the same state as the
//!   first time, however often it is done.

use super::damage::{Damage, FileKind};
use super::effect::{self, Effect};
use super::error::EngineError;
use super::store::{BatchError, DeleteError, Store};
use crate::disk::Disk;
use crate::history::model::Schema;
use crate::history::settings::Settings;
use crate::history::status::Loss;
use crate::message::Seq;
use crate::wal::LogHandle;
use std::collections::HashSet;
use std::path::PathBuf;

/// Losses that are remembered after they have been dealt with.
const KEPT: usize = 100;
/// Bytes of the log that are read at once.
const READ_BYTES: usize = 256 << 10;

fn path(settings: &Settings) -> PathBuf {
    settings.lake.join("damage.json")
}

/// What is remembered. A file that cannot be read is as good as none: it helps, nothing depends on it.
pub(super) fn remembered(settings: &Settings) -> Vec<Loss> {
    let text = std::fs::read_to_string(path(settings)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Remembers new losses, before the catalog forgets their files.
pub(super) fn note(settings: &Settings, disk: &dyn Disk, damage: &[Damage]) -> Result<(), EngineError> {
    let mut losses = remembered(settings);
    let before = losses.len();
    for damage in damage.iter().filter(|damage| damage.kind == FileKind::Rows && damage.live) {
        let file = damage.file.strip_prefix(&settings.lake).unwrap_or(&damage.file).display().to_string();
        // After a crash at this very place the same file is found again.
        if losses.iter().any(|loss| loss.file == file && loss.pending) {
            continue;
        }
        let span = damage.span.unwrap_or_default();
        losses.push(Loss {
            table: damage.table.clone(),
            file,
            what: damage.what.clone(),
            rows: damage.rows,
            reloaded: 0,
            first: Seq(span.first),
            last: Seq(span.last),
            from_us: span.from_us,
            until_us: span.until_us,
            pending: damage.span.is_some(),
            in_place: damage.in_place,
        });
    }
    if losses.len() > before { store(settings, disk, losses) } else { Ok(()) }
}

/// Files that could not be read and are where they were.
pub(super) fn in_place(settings: &Settings) -> Vec<PathBuf> {
    let losses = remembered(settings);
    losses.into_iter().filter(|loss| loss.in_place).map(|loss| settings.lake.join(loss.file)).collect()
}

/// How many of them can be read now.
pub(super) fn readable(settings: &Settings) -> usize {
    let reads = |path: &PathBuf| crate::history::engine::adopt::is_readable(settings.disk.as_ref(), path);
    in_place(settings).iter().filter(|path| reads(path)).count()
}

fn store(settings: &Settings, disk: &dyn Disk, mut losses: Vec<Loss>) -> Result<(), EngineError> {
    let mut excess = losses.len().saturating_sub(KEPT);
    losses.retain(|loss| {
        let goes = excess > 0 && !loss.pending && !loss.in_place;
        excess -= usize::from(goes);
        !goes
    });
    let text = serde_json::to_string_pretty(&losses).expect("numbers and texts are always JSON");
    disk.replace(&path(settings), text.as_bytes()).map_err(EngineError::io("remembering what was lost"))
}

/// Loads again what the log still holds of losses that were not dealt with, and tells what is gone for good.
pub(super) async fn make_good(
    lake: &mut dyn Store,
    settings: &Settings,
    schema: &Schema,
    log: &LogHandle,
    disk: &dyn Disk,
) -> Result<Vec<Loss>, EngineError> {
    let mut losses = remembered(settings);
    if losses.iter().all(|loss| !loss.pending && !loss.in_place) {
        return Ok(losses);
    }
    for loss in losses.iter_mut().filter(|loss| loss.pending) {
        // A range beyond what is covered belongs to a log that is gone.
        let known = schema.table(&loss.table).filter(|_| loss.first > Seq(0) && loss.last <= lake.covered());
        if let Some(table) = known {
            loss.reloaded = if table.keys.is_empty() {
                reload_appended(lake, settings, schema, log, loss).await?
            } else {
                replay_keyed(lake, settings, schema, log, loss).await?
            };
        }
        loss.pending = false;
        let gone = loss.rows.saturating_sub(loss.reloaded);
        let (from, until) = (time(loss.from_us), time(loss.until_us));
        if gone == 0 {
            log::warn!(table = loss.table, rows = loss.reloaded, from, until; "the rows of a damaged file were loaded again from the log");
        } else {
            log::error!(table = loss.table, rows_lost = gone, rows_loaded_again = loss.reloaded, from, until;
                "rows of a damaged file are gone: the log does not hold them any more");
        }
    }
    let readable = give_back(lake, settings, schema, &mut losses)?;
    store(settings, disk, losses.clone())?;
    for path in readable {
        super::damage::quarantine(settings, disk, &path)?;
    }
    Ok(losses)
}

/// Files that could not be read and now can be give their rows back. They are moved afterwards: what they had is elsewhere.
fn give_back(
    lake: &mut dyn Store,
    settings: &Settings,
    schema: &Schema,
    losses: &mut [Loss],
) -> Result<Vec<PathBuf>, EngineError> {
    let (mut readable, sums) = (Vec::new(), super::sums::read(settings));
    for loss in losses.iter_mut().filter(|loss| loss.in_place) {
        let path = settings.lake.join(&loss.file);
        let Some(table) = schema.table(&loss.table) else { continue };
        if !super::adopt::is_readable(settings.disk.as_ref(), &path) {
            continue;
        }
        loss.in_place = false;
        readable.push(path.clone());
        let whole =
            sums.get(&path).is_none_or(|sum| super::sums::of_file(settings.disk.as_ref(), &path).is_ok_and(|is| is == *sum));
        match super::adopt::rows_of(lake, settings, table, &path, super::adopt::Age::Older, |_| whole) {
            Ok(rows) => {
                loss.reloaded = (loss.reloaded + rows).min(loss.rows);
                log::warn!(table = loss.table, rows; "a file that could not be read gave its rows back");
            }
            Err(error @ (EngineError::Parquet { .. } | EngineError::Arrow(_) | EngineError::Damaged { .. })) => {
                log::error!(table = loss.table, error:%; "a file that could not be read can be read now, and is damaged");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(readable)
}

/// The rows of the lost range that the lake does not have.
async fn reload_appended(
    lake: &mut dyn Store,
    settings: &Settings,
    schema: &Schema,
    log: &LogHandle,
    loss: &Loss,
) -> Result<u64, EngineError> {
    let covered = lake.covered();
    let have: HashSet<u64> = lake.sequences(&loss.table, (loss.first, loss.last))?.into_iter().collect();
    let (mut reader, mut loaded) = (log.reader(loss.first), 0);
    let mut deletions = Vec::new();
    'log: loop {
        let records = reader.read(READ_BYTES)?;
        if records.is_empty() {
            break;
        }
        for record in records {
            if record.seq > covered {
                break 'log;
            }
            match effect::of(schema, &record) {
                Effect::Rows { table, rows, received_us }
                    if table.name == loss.table && record.seq <= loss.last && !have.contains(&record.seq.0) =>
                {
                    loaded += rows.rows.len() as u64;
                    lake.append(&table.name, rows.rows, record.seq, received_us)?;
                }
                Effect::Delete { table, predicate } if table.name == loss.table => deletions.push((record.seq, predicate)),
                _ => {}
            }
        }
        if lake.tail_rows() >= settings.batch_rows {
            batch(lake, covered)?;
        }
    }
    batch(lake, covered)?;
    for (seq, predicate) in deletions {
        let range = (loss.first, loss.last.min(seq));
        if let Err(DeleteError::Again(error) | DeleteError::Reopen(error)) =
            lake.delete(&loss.table, &predicate, covered, Some(range))
        {
            return Err(error);
        }
    }
    // Nothing is written while records come: the log has everything that this one has.
    Ok(loaded.min(loss.rows).max((have.len() as u64).min(loss.rows)))
}

/// Everything that the log knows of the table, once more: a row carries the number of its last update only, and may have values
/// of earlier ones.
async fn replay_keyed(
    lake: &mut dyn Store,
    settings: &Settings,
    schema: &Schema,
    log: &LogHandle,
    loss: &Loss,
) -> Result<u64, EngineError> {
    let covered = lake.covered();
    let mut seen = HashSet::new();
    let mut reader = log.reader(Seq(1));
    'log: loop {
        let records = reader.read(READ_BYTES)?;
        if records.is_empty() {
            break;
        }
        for record in records {
            if record.seq > covered {
                break 'log;
            }
            match effect::of(schema, &record) {
                Effect::Rows { table, rows, received_us } if table.name == loss.table && !rows.rows.is_empty() => {
                    if record.seq >= loss.first {
                        seen.insert(record.seq);
                    }
                    lake.append(&table.name, rows.rows, record.seq, received_us)?;
                }
                Effect::Delete { table, predicate } if table.name == loss.table => {
                    batch(lake, covered)?;
                    // Rows that were set later are as they were at the end; they were not there when this was asked for.
                    let earlier = Some((Seq(0), Seq(record.seq.0.saturating_sub(1))));
                    if let Err(DeleteError::Again(error) | DeleteError::Reopen(error)) =
                        lake.delete(&loss.table, &predicate, covered, earlier)
                    {
                        return Err(error);
                    }
                }
                _ => {}
            }
        }
        if lake.tail_rows() >= settings.batch_rows {
            batch(lake, covered)?;
        }
    }
    batch(lake, covered)?;
    Ok(loss.rows.min(seen.len() as u64))
}

fn batch(lake: &mut dyn Store, covered: Seq) -> Result<(), EngineError> {
    if lake.tail_rows() == 0 {
        return Ok(());
    }
    lake.batch(covered).map_err(|error| match error {
        BatchError::Again(error) | BatchError::Reopen(error) => error,
    })
}

fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
