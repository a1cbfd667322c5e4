//! Moves the tail into the lake, so that no power cut can leave the catalog naming a file that is not whole.
//!
//! DuckDB syncs its catalog but never the Parquet files it writes (removed on purpose upstream, duckdb pull request 12371). So:
//!
//! 1. `COPY` each table's tail to a new file, whose name the catalog has never seen (appended tables: one for each day), and read
//!    back whether it has what is owed;
//! 2. sync the files, then their folders;
//! 3. one transaction over all tables: delete what keyed rows replace, sync the delete files that this wrote, register our files,
//!    store the covered sequence; commit.
//!
//! A crash before the commit leaves files that the next start removes; a crash after it leaves log records that are skipped.

use super::catalog;
use super::lake::path_text;
use super::names::{LAKE, Own, ident, same_key, text};
use super::owed;
use super::relation;
use super::running::is_out_of_memory;
use super::store::LakeTable;
use super::tail::Shown;
use crate::disk::Disk;
use crate::history::engine::columns::{DAY, HIDDEN};
use crate::history::engine::covered::Covered;
use crate::history::engine::damage::make_folder;
use crate::history::engine::error::EngineError;
use crate::history::engine::folders;
use duckdb::Connection;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the columns of a row group take in memory while it is written.
const GROUP_BYTES: usize = 16 << 20;

/// One table's file, written and not yet registered.
#[derive(Debug)]
pub(super) struct NewFile {
    table: usize,
    path: PathBuf,
    /// The table's tail as it was written.
    tail: Arc<Shown>,
}

/// Step 1. On failure nothing is left behind.
pub(super) fn write_files(
    conn: &Connection,
    disk: &dyn Disk,
    files: &Path,
    tables: &[LakeTable],
    (own, covered): (&Own, Covered),
) -> Result<Vec<NewFile>, EngineError> {
    let mut written = Vec::new();
    for (place, table) in tables.iter().enumerate().filter(|(_, table)| table.tail.len() > 0) {
        let mut folder = files.join(&table.stored.folder);
        folder.extend(own.folder());
        let name = folders::batch_name(covered.log_id, covered.log_seq);
        let tail = Arc::new(Shown::new(table)?);
        let made = owed::by_day(table, &tail).and_then(|days| {
            days.into_iter().try_for_each(|(day, owed)| {
                let folder = match &day {
                    Some(day) => folder.join(format!("{DAY}={day}")),
                    None => folder.clone(),
                };
                make_folder(disk, &folder)?;
                let path = folder.join(&name);
                written.push(NewFile { table: place, path: path.clone(), tail: tail.clone() });
                copy(conn, table, own, (&tail, day.as_deref()), &path)?;
                owed::check(conn, &path, &owed)
            })
        });
        if let Err(error) = made {
            discard(disk, &written);
            return Err(error);
        }
    }
    Ok(written)
}

/// Step 2.
pub(super) fn sync_files(disk: &dyn Disk, written: &[NewFile]) -> Result<(), EngineError> {
    let doing = "syncing a batch";
    for file in written {
        disk.open(&file.path).and_then(|file| file.sync()).map_err(EngineError::io(doing))?;
    }
    for folder in written.iter().filter_map(|file| file.path.parent()).collect::<HashSet<_>>() {
        disk.sync_dir(folder).map_err(EngineError::io(doing))?;
    }
    Ok(())
}

/// Step 3.
pub(super) fn register(
    conn: &Connection,
    disk: &dyn Disk,
    files: &Path,
    tables: &[LakeTable],
    written: &[NewFile],
    (own, covered): (&Own, Covered),
) -> Result<(), EngineError> {
    transaction(conn, || {
        for file in written {
            let Some(table) = tables.get(file.table) else { continue };
            let name = ident(&table.table.name);
            if !table.table.keys.is_empty() {
                let replaced = format!(
                    "DELETE FROM {LAKE}.{name} AS l WHERE EXISTS (SELECT 1 FROM {} AS n WHERE {}){}",
                    file.tail.source(),
                    same_key(&table.table, "n.", "l."),
                    own.and("l.")
                );
                let folder = files.join(&table.stored.folder);
                synced(disk, &folder, || conn.execute_batch(&replaced).map_err(EngineError::sql("replacing rows")))?;
            }
            conn.execute_batch(&format!(
                "CALL ducklake_add_data_files('lake', {}, {}, allow_missing => true, hive_partitioning => {})",
                text(&table.table.name),
                path_text(&file.path),
                table.table.keys.is_empty() || own.is_shared()
            ))
            .map_err(EngineError::sql("registering a batch"))?;
        }
        conn.execute_batch(&catalog::set_covered(own, covered)).map_err(EngineError::sql("storing what is covered"))
    })
}

/// Runs `work`, which makes DuckLake write files into `folder`, and syncs whatever appeared there. DuckLake writes the files of a
/// statement while it runs, not at commit, so this is early enough.
pub(super) fn synced<T>(
    disk: &dyn Disk,
    folder: &Path,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let doing = "syncing what a statement wrote";
    make_folder(disk, folder)?;
    let before: HashSet<PathBuf> = files_below(disk, folder).map_err(EngineError::io(doing))?.into_iter().collect();
    let done = work()?;
    let all = files_below(disk, folder).map_err(EngineError::io(doing))?;
    let new: Vec<PathBuf> = all.into_iter().filter(|path| !before.contains(path)).collect();
    for path in &new {
        disk.open(path).and_then(|file| file.sync()).map_err(EngineError::io(doing))?;
    }
    let mut folders: HashSet<&Path> = new.iter().filter_map(|path| path.parent()).collect();
    // The folder of a day may be as new as the file in it.
    folders.extend((!new.is_empty()).then_some(folder));
    for folder in folders {
        disk.sync_dir(folder).map_err(EngineError::io(doing))?;
    }
    Ok(done)
}

/// The files of a table: in its folder, and in the folders of its days.
pub(super) fn files_below(disk: &dyn Disk, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in disk.list(folder)? {
        let path = folder.join(&name);
        if folders::is_day(&path) {
            files.extend(disk.list(&path)?.into_iter().map(|name| path.join(name)));
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn begin(conn: &Connection) -> Result<(), EngineError> {
    let doing = "beginning a transaction";
    let Err(refused) = conn.execute_batch("BEGIN TRANSACTION") else { return Ok(()) };
    // The transaction before may be open still, because its ROLLBACK found no memory.
    match conn.execute_batch("ROLLBACK") {
        Ok(()) => conn.execute_batch("BEGIN TRANSACTION").map_err(EngineError::sql(doing)),
        Err(error) if is_out_of_memory(&error) => Err(EngineError::Sql { doing, source: error }),
        Err(_) => Err(EngineError::Sql { doing, source: refused }),
    }
}

/// All of `work` or nothing.
pub(super) fn transaction(conn: &Connection, work: impl FnOnce() -> Result<(), EngineError>) -> Result<(), EngineError> {
    begin(conn)?;
    let done = work().and_then(|()| conn.execute_batch("COMMIT").map_err(EngineError::sql("committing to the lake")));
    if done.is_err()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        // After a failed COMMIT there is nothing left to roll back.
        log::debug!(error:% = error; "nothing was rolled back");
    }
    done
}

/// Removes files that will not be registered. What cannot be removed is found as an orphan at the next start.
pub(super) fn discard(disk: &dyn Disk, written: &[NewFile]) {
    for file in written {
        if let Err(error) = disk.remove(&file.path) {
            log::debug!(error:% = error; "an unfinished batch file stays until the next start");
        }
    }
}

/// Rows of a row group of a table: what the writer holds of each column until it writes it.
fn group_rows(table: &LakeTable) -> usize {
    let columns = table.table.columns.len() + HIDDEN.len();
    (GROUP_BYTES / (columns * 16)).clamp(2048, 122_880) / 2048 * 2048
}

fn copy(
    conn: &Connection,
    table: &LakeTable,
    own: &Own,
    (tail, day): (&Shown, Option<&str>),
    path: &Path,
) -> Result<(), EngineError> {
    let tail = tail.source();
    let columns = || table.table.columns.iter().map(|c| c.name.as_str()).chain(HIDDEN.iter().map(|(hidden, ..)| *hidden));
    let source = if table.table.keys.is_empty() {
        // In the order in which they came: the tail keeps it, and so does COPY.
        let columns = columns().map(ident).collect::<Vec<_>>().join(", ");
        let only = day.map(|day| format!(" WHERE CAST(_recv AS DATE) = DATE {}", text(day))).unwrap_or_default();
        format!("SELECT {columns} FROM {tail}{only}")
    } else {
        relation::merged(&table.table, own, &tail)
    };
    let ids: Vec<String> = columns()
        .filter_map(|column| Some(format!("{}: {}", ident(column), table.stored.field_ids.get(&column.to_lowercase())?)))
        .collect();
    conn.execute_batch(&format!(
        "COPY ({source}) TO {} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {}, FIELD_IDS {{{}}})",
        path_text(path),
        group_rows(table),
        ids.join(", ")
    ))
    .map_err(EngineError::sql("writing a batch"))
}
