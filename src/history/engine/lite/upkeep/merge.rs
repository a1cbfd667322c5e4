//! Makes few files of many.

use super::super::catalog::Failed;
use super::super::catalog::Snapshot;
use super::super::change::{self, Change, Merging};
use super::super::files::DataFile;
use super::super::read::{Wanted, scan};
use super::super::rows::Rows;
use super::super::schema::{Stored, StoredColumn, whole};
use super::super::store::Lite;
use super::super::write::{DataWriter, Written};
use super::DAY_US;
use crate::history::engine::arrow;
use crate::history::engine::error::EngineError;
use crate::history::engine::store::Store;
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::eval::{Bounds, Fields};
use rusqlite::{Transaction, params};
use std::sync::Arc;

/// Larger files are left alone.
const SMALL_BYTES: u64 = 16 << 20;
/// Rows that one merge takes, so that the history thread is not away for long.
const ROWS: u64 = 200_000;
/// Rows that are put together at once.
const CHUNK: usize = 4096;
/// A keyed table is written anew when it has so many files.
const KEYED_FILES: usize = 12;
const SNAPSHOT_ID: (&str, i64) = ("_ducklake_internal_snapshot_id", 2_147_483_539);

/// Merges some files of the table at `at`, if there are any to merge.
pub(super) fn step(lake: &mut Lite, at: usize, now_us: i64) -> Result<bool, Failed> {
    let Some(table) = lake.usable.get(at) else { return Ok(false) };
    let received = table.table.columns.len() + 1;
    let keyed = !table.table.keys.is_empty();
    let some = if keyed { renewed(&table.files) } else { run(&table.files, received, now_us.div_euclid(DAY_US)) };
    let Some(some) = some else { return Ok(false) };
    let Some(stored) = whole(&lake.catalog.conn, &table.stored).map_err(Failed::Undone)? else { return Ok(false) };
    let in_place = some.iter().all(|file| file.deletes.is_none()) && !keyed;
    let name = format!("merged-{}-{}.parquet", some.first().map_or(0, |file| file.id), uuid::Uuid::new_v4().simple());
    let folder = lake.files.join(&table.stored.folder);
    let path = folder.join(&name);
    let written = write(lake, &stored, &some, in_place, path.clone()).and_then(|written| {
        lake.disk.sync_dir(&folder).map_err(EngineError::io("syncing a table's folder"))?;
        Ok(written)
    });
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            change::remove(lake.disk.as_ref(), &path);
            return Err(Failed::Undone(error));
        }
    };
    if in_place {
        // Not the time of upkeep, which is 1970 while the clock cannot be trusted: that would take the past away.
        let at_us = lake.now_us();
        lake.catalog.commit(at_us, None, |transaction, snapshot| {
            replace(transaction, snapshot, &stored, &some, &written).map_err(EngineError::sqlite("registering a merged file"))
        })?;
        lake.refresh(&[at]).map_err(Failed::Unknown)?;
    } else {
        let mut change = Change::new(at);
        some.iter().for_each(|file| change.delete_whole(file));
        change.put(written, stored);
        let covered = lake.covering(lake.covered());
        lake.register(std::slice::from_ref(&change), Some(covered))?;
    }
    let name = lake.usable.get(at).map(|table| table.table.name.as_str());
    log::info!(table = name; "files were merged");
    Ok(true)
}

/// Small files, one after the other and of one day, that can become one. Today's merged files are left alone until tomorrow, and
/// files of which rows were deleted are alone.
fn run(files: &[Arc<DataFile>], received: usize, today: i64) -> Option<Vec<Arc<DataFile>>> {
    let day = |file: &DataFile| match file.range(received) {
        Some((_, Cell::Timestamp(newest))) => newest.div_euclid(DAY_US),
        _ => i64::MIN,
    };
    let mut run: Vec<Arc<DataFile>> = Vec::new();
    for file in files {
        let fits = file.bytes < SMALL_BYTES && file.deletes.is_none() && (file.newest.is_none() || day(file) < today);
        let follows = run.last().is_some_and(|last| {
            last.row_id_start + i64::try_from(last.records).unwrap_or(i64::MAX) == file.row_id_start && day(last) == day(file)
        });
        let rows: u64 = run.iter().map(|file| file.records).sum();
        if fits && (run.is_empty() || (follows && rows + file.records <= ROWS)) {
            run.push(file.clone());
            continue;
        }
        if run.len() > 1 {
            return Some(run);
        }
        run.clear();
        if fits {
            run.push(file.clone());
        }
    }
    if run.len() > 1 {
        return Some(run);
    }
    // Half of it is gone: worth writing anew.
    let half = |file: &&Arc<DataFile>| file.deletes.is_some() && file.live_rows() * 2 <= file.records && file.records <= ROWS;
    files.iter().find(half).map(|file| vec![file.clone()])
}

/// All small files of a keyed table, when there are many.
fn renewed(files: &[Arc<DataFile>]) -> Option<Vec<Arc<DataFile>>> {
    let mut rows = 0;
    let small = files.iter().filter(|file| file.bytes < SMALL_BYTES);
    let some: Vec<_> = small
        .take_while(|file| {
            rows += file.live_rows();
            rows <= ROWS
        })
        .cloned()
        .collect();
    (some.len() >= KEYED_FILES).then_some(some)
}

/// The live rows of `files` as one file. With `in_place` each says of which snapshot it is.
fn write(
    lake: &Lite,
    stored: &Arc<Stored>,
    files: &[Arc<DataFile>],
    in_place: bool,
    path: std::path::PathBuf,
) -> Result<Written, EngineError> {
    let of = |file: &DataFile| {
        let mut stored = Stored::clone(stored);
        if in_place {
            let (name, id) = SNAPSHOT_ID;
            let initial = Cell::Integer(file.begin.into());
            stored.columns.push(StoredColumn { id, name: name.to_owned(), kind: ColumnKind::BigInt, initial, since: 0 });
        }
        stored
    };
    let Some(first) = files.first() else { return Err(EngineError::Arrow("nothing to merge".to_owned())) };
    let layout = Arc::new(of(first));
    let types: Vec<_> = layout.columns.iter().map(|column| arrow::data_type(column.kind)).collect();
    let mut writer = DataWriter::create(lake.disk.as_ref(), path, &layout, &types)?;
    let everything = vec![true; layout.columns.len()];
    let wanted = Wanted { columns: &everything, bounds: &Bounds::default(), version: None };
    let mut chunk: Vec<Vec<Cell>> = vec![Vec::with_capacity(CHUNK); layout.columns.len()];
    for file in files {
        let own = of(file);
        scan(lake.disk.as_ref(), file, &own, &wanted, |rows: &Rows, at, _| -> Result<bool, EngineError> {
            let row = rows.at(at);
            for (place, cells) in chunk.iter_mut().enumerate() {
                cells.push(row.field(place).into_cell());
            }
            if chunk.first().is_some_and(|cells| cells.len() >= CHUNK) {
                writer.add_cells(&mut chunk)?;
            }
            Ok(true)
        })?;
    }
    writer.add_cells(&mut chunk)?;
    writer.finish()
}

/// The merged file in the place of the small ones, as if it had always been there.
fn replace(
    transaction: &Transaction<'_>,
    snapshot: &mut Snapshot,
    stored: &Stored,
    files: &[Arc<DataFile>],
    written: &Written,
) -> rusqlite::Result<()> {
    let begin = files.iter().map(|file| file.begin).min().unwrap_or(0);
    let newest = files.iter().map(|file| file.newest.unwrap_or(file.begin)).max().unwrap_or(0);
    let row_id_start = files.iter().map(|file| file.row_id_start).min().unwrap_or(0);
    for file in files {
        let path = stored.folder.join(&file.name);
        transaction.execute(
            "INSERT INTO ducklake_files_scheduled_for_deletion VALUES (?, ?, 1, ?)",
            params![file.id, path.to_string_lossy(), snapshot.time],
        )?;
        for table in ["ducklake_data_file", "ducklake_file_column_stats", "ducklake_file_partition_value"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE data_file_id = ?"), [file.id])?;
        }
        transaction.execute(
            "UPDATE ducklake_table_stats SET file_size_bytes = max(file_size_bytes - ?, 0) WHERE table_id = ?",
            params![i64::try_from(file.bytes).unwrap_or(i64::MAX), stored.id],
        )?;
    }
    change::add_file(transaction, snapshot, stored, written, Some(Merging { begin, newest, row_id_start }))?;
    snapshot.changed(format!("merge_adjacent:{}", stored.id));
    Ok(())
}
