//! What a batch or a deletion changes in one table: files that are written and synced, then named in the catalog.

use super::super::columns::stored_as_text;
use super::super::error::EngineError;
use super::super::store::DeleteError;
use super::super::{arrow, damage, tail::TailRow};
use super::catalog::Snapshot;
use super::files::DataFile;
use super::read::{Wanted, positions, scan, want};
use super::rows::Rows;
use super::schema::{Stored, text_value, value_text};
use super::table::LakeTable;
use super::view::Merged;
use super::write::{ColumnFacts, DataWriter, Written, deletions};
use crate::disk::{Disk, SharedDisk};
use crate::history::model::{CallError, Cell, ColumnKind};
use crate::history::sql::Predicate;
use crate::history::sql::eval::{Bounds, Node, Value, compare};
use crate::message::Seq;
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use rusqlite::{OptionalExtension, Transaction, params};
use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Change {
    place: usize,
    data: Option<Written>,
    /// The columns of a file that was merged: all that the lake has.
    layout: Option<Arc<Stored>>,
    deleted: Vec<Deleted>,
}

/// Rows of a data file that go.
#[derive(Debug)]
struct Deleted {
    file: Arc<DataFile>,
    /// All its deletions, the earlier ones too; `None` if no row is left.
    positions: Option<Written>,
}

/// The tail's rows as a file; for a keyed table, what they replace is deleted.
pub(super) fn of_batch(
    disk: &SharedDisk,
    files: &Path,
    table: &LakeTable,
    place: usize,
    name: &str,
) -> Result<Change, EngineError> {
    let folder = files.join(&table.stored.folder);
    damage::make_folder(disk.as_ref(), &folder)?;
    let mut change = Change::new(place);
    let done = fill(disk, table, &folder, name, &mut change);
    if let Err(error) = done.and_then(|()| disk.sync_dir(&folder).map_err(EngineError::io("syncing a table's folder"))) {
        discard(disk.as_ref(), std::slice::from_ref(&change));
        return Err(error);
    }
    Ok(change)
}

fn fill(disk: &SharedDisk, table: &LakeTable, folder: &Path, name: &str, change: &mut Change) -> Result<(), EngineError> {
    let merged;
    let batches: &[RecordBatch] = if table.table.keys.is_empty() {
        &table.packed
    } else {
        let rows = replace(disk, table, folder, change)?;
        merged = rows.chunks(8192).map(|rows| arrow::batch(&table.table, rows)).collect::<Result<Vec<_>, _>>()?;
        &merged
    };
    let types = types(table)?;
    let mut writer = DataWriter::create(disk.as_ref(), folder.join(name), &table.stored, &types)?;
    for batch in batches {
        let arrays = batch.columns().iter().take(table.stored.columns.len()).cloned().collect();
        if let Err(error) = writer.add(arrays) {
            drop(writer);
            remove(disk.as_ref(), &folder.join(name));
            return Err(error);
        }
    }
    match writer.finish() {
        Ok(written) => {
            change.data = Some(written);
            Ok(())
        }
        Err(error) => {
            remove(disk.as_ref(), &folder.join(name));
            Err(error)
        }
    }
}

/// Arrow's types of the stored columns.
pub(super) fn types(table: &LakeTable) -> Result<Vec<DataType>, EngineError> {
    let empty = arrow::batch(&table.table, &[])?;
    let fields = empty.schema();
    Ok(fields.fields().iter().take(table.stored.columns.len()).map(|field| field.data_type().clone()).collect())
}

/// The tail's rows, filled in from the rows that they replace, which are deleted.
fn replace(disk: &SharedDisk, table: &LakeTable, folder: &Path, change: &mut Change) -> Result<Vec<TailRow>, EngineError> {
    let mut merged = Merged::new(&table.table, table.tail.rows());
    let all_named = table.tail.rows().iter().all(|row| row.named.iter().all(|named| *named));
    let mut columns = vec![!all_named; table.stored.columns.len()];
    want(&mut columns, &table.table.keys);
    let wanted = Wanted { columns: &columns, bounds: &Bounds::default(), version: None };
    for file in table.files.iter() {
        let mut gone = Vec::new();
        scan(disk.as_ref(), file, &table.stored, &wanted, |rows: &Rows, at, position| -> Result<bool, EngineError> {
            if merged.replaces(&rows.at(at)) {
                gone.push(position);
            }
            Ok(true)
        })?;
        change.delete(disk, folder, file, gone)?;
    }
    let width = table.table.columns.len();
    let rows = merged.rows.into_iter().zip(table.tail.rows());
    Ok(rows
        .map(|(mut cells, row)| {
            cells.truncate(width);
            TailRow { cells, named: row.named.clone(), seq: Seq(row.seq.0), received_us: row.received_us }
        })
        .collect())
}

/// Deletes what the predicate finds among the files.
pub(super) fn of_deletion(
    disk: &SharedDisk,
    files: &Path,
    table: &LakeTable,
    place: usize,
    (predicate, only): (&Predicate, Option<(Seq, Seq)>),
) -> Result<Change, DeleteError> {
    let refused = |why: String| DeleteError::Refused(CallError::exception(why));
    let condition = predicate.bind(&table.table).map_err(refused)?;
    let folder = files.join(&table.stored.folder);
    let mut change = Change::new(place);
    match delete_rows(disk, table, &folder, (condition.as_ref(), only), &mut change) {
        Ok(()) => {}
        Err(Refusal::Asked(why)) => {
            discard(disk.as_ref(), std::slice::from_ref(&change));
            return Err(refused(why));
        }
        Err(Refusal::Engine(error)) => {
            discard(disk.as_ref(), std::slice::from_ref(&change));
            return Err(DeleteError::Again(error));
        }
    }
    Ok(change)
}

enum Refusal {
    Asked(String),
    Engine(EngineError),
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

fn delete_rows(
    disk: &SharedDisk,
    table: &LakeTable,
    folder: &Path,
    (condition, only): (Option<&Node>, Option<(Seq, Seq)>),
    change: &mut Change,
) -> Result<(), Refusal> {
    let seq = table.table.columns.len();
    let bounds = Bounds::of_condition(condition);
    let mut columns = condition.map(Node::columns).unwrap_or_default();
    columns.resize(table.stored.columns.len(), false);
    if only.is_some() {
        want(&mut columns, &[seq]);
    }
    let wanted = Wanted { columns: &columns, bounds: &bounds, version: None };
    let mut wrote = false;
    for file in table.files.iter().filter(|file| bounds.allow(|place| file.range(place))) {
        let mut gone = Vec::new();
        scan(disk.as_ref(), file, &table.stored, &wanted, |rows: &Rows, at, position| -> Result<bool, Refusal> {
            let of = Seq(rows.hidden(seq, at).cast_unsigned());
            if only.is_some_and(|(first, last)| of < first || of > last) {
                return Ok(true);
            }
            let found = condition.map_or(Ok(true), |condition| condition.holds(&rows.at(at)));
            if found.map_err(Refusal::Asked)? {
                gone.push(position);
            }
            Ok(true)
        })?;
        wrote |= change.delete(disk, folder, file, gone)?;
    }
    if wrote {
        disk.sync_dir(folder).map_err(EngineError::io("syncing a table's folder"))?;
    }
    Ok(())
}

impl Change {
    pub(super) fn new(place: usize) -> Self {
        Self { place, data: None, layout: None, deleted: Vec::new() }
    }

    pub(super) fn delete_whole(&mut self, file: &Arc<DataFile>) {
        self.deleted.push(Deleted { file: file.clone(), positions: None });
    }

    /// A file with rows of others.
    pub(super) fn put(&mut self, written: Written, layout: Arc<Stored>) {
        self.data = Some(written);
        self.layout = Some(layout);
    }

    pub(super) fn has_data(&self) -> bool {
        self.data.is_some()
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Notes rows of a file as deleted; whether a file was written for that.
    pub(super) fn delete(
        &mut self,
        disk: &SharedDisk,
        folder: &Path,
        file: &Arc<DataFile>,
        gone: Vec<u64>,
    ) -> Result<bool, EngineError> {
        if gone.is_empty() {
            return Ok(false);
        }
        let mut all = gone;
        if let Some(earlier) = &file.deletes {
            let earlier = positions(disk.as_ref(), &earlier.path, file.records)?;
            all.extend(earlier.iter().enumerate().filter(|(_, deleted)| **deleted).map(|(at, _)| at as u64));
            all.sort_unstable();
        }
        if all.len() as u64 >= file.records {
            self.deleted.push(Deleted { file: file.clone(), positions: None });
            return Ok(false);
        }
        let path = folder.join(format!("ducklake-{}-delete.parquet", uuid::Uuid::new_v4()));
        let written = deletions(disk.as_ref(), path.clone(), &file.path, &all);
        if written.is_err() {
            remove(disk.as_ref(), &path);
        }
        self.deleted.push(Deleted { file: file.clone(), positions: Some(written?) });
        Ok(true)
    }

    pub(super) fn register(
        &self,
        transaction: &Transaction<'_>,
        snapshot: &mut Snapshot,
        stored: &Stored,
    ) -> Result<(), EngineError> {
        let register = |snapshot: &mut Snapshot| {
            for deleted in &self.deleted {
                deleted.register(transaction, snapshot, stored.id)?;
                snapshot.changed(format!("deleted_from_table:{}", stored.id));
            }
            if let Some(written) = &self.data {
                add_file(transaction, snapshot, self.layout.as_deref().unwrap_or(stored), written, None)?;
                snapshot.changed(format!("inserted_into_table:{}", stored.id));
            }
            Ok(())
        };
        register(snapshot).map_err(EngineError::sqlite("registering files"))
    }
}

impl Deleted {
    fn register(&self, transaction: &Transaction<'_>, snapshot: &mut Snapshot, table: i64) -> rusqlite::Result<()> {
        if let Some(earlier) = &self.file.deletes {
            let sql = "UPDATE ducklake_delete_file SET end_snapshot = ? WHERE delete_file_id = ? AND end_snapshot IS NULL";
            transaction.execute(sql, params![snapshot.id, earlier.id])?;
        }
        match &self.positions {
            None => {
                let sql = "UPDATE ducklake_data_file SET end_snapshot = ? WHERE data_file_id = ? AND end_snapshot IS NULL";
                transaction.execute(sql, params![snapshot.id, self.file.id])?;
            }
            Some(written) => {
                let id = snapshot.file_id();
                transaction.execute(
                    "INSERT INTO ducklake_delete_file VALUES (?, ?, ?, NULL, ?, ?, 1, 'parquet', ?, ?, ?, NULL, NULL)",
                    params![
                        id,
                        table,
                        snapshot.id,
                        self.file.id,
                        written.name,
                        signed(written.records),
                        signed(written.bytes),
                        signed(written.footer)
                    ],
                )?;
            }
        }
        Ok(())
    }
}

/// Rows of a merged file are older than the file: where they begin, the newest of their snapshots, their first row id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merging {
    pub(super) begin: i64,
    pub(super) newest: i64,
    pub(super) row_id_start: i64,
}

/// Names a data file in the catalog, with what it holds.
pub(super) fn add_file(
    transaction: &Transaction<'_>,
    snapshot: &mut Snapshot,
    stored: &Stored,
    written: &Written,
    merging: Option<Merging>,
) -> rusqlite::Result<()> {
    let id = snapshot.file_id();
    let next: Option<i64> = transaction
        .query_row("SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?", [stored.id], |row| row.get(0))
        .optional()?;
    let row_id_start = merging.map_or(next.unwrap_or(0), |merging| merging.row_id_start);
    transaction.execute(
        "INSERT INTO ducklake_data_file VALUES (?, ?, ?, NULL, NULL, ?, 1, 'parquet', ?, ?, ?, ?, NULL, NULL, NULL, ?)",
        params![
            id,
            stored.id,
            merging.map_or(snapshot.id, |merging| merging.begin),
            written.name,
            signed(written.records),
            signed(written.bytes),
            signed(written.footer),
            row_id_start,
            merging.map(|merging| merging.newest)
        ],
    )?;
    let new_rows = if merging.is_some() { 0 } else { signed(written.records) };
    if next.is_some() {
        transaction.execute(
            "UPDATE ducklake_table_stats SET record_count = record_count + ?2, next_row_id = next_row_id + ?2, \
             file_size_bytes = file_size_bytes + ?3 WHERE table_id = ?1",
            params![stored.id, new_rows, signed(written.bytes)],
        )?;
    } else {
        transaction.execute(
            "INSERT INTO ducklake_table_stats VALUES (?1, ?2, ?2, ?3)",
            params![stored.id, new_rows, signed(written.bytes)],
        )?;
    }
    for (column, facts) in stored.columns.iter().zip(&written.columns) {
        let kind = if stored_as_text(column.kind) { ColumnKind::Text } else { column.kind };
        let (least, most) = facts.range(kind);
        transaction.execute(
            "INSERT INTO ducklake_file_column_stats VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            params![
                id,
                stored.id,
                column.id,
                signed(facts.bytes),
                signed(facts.values),
                signed(facts.nulls),
                least,
                most,
                facts.nan
            ],
        )?;
        widen(transaction, stored.id, column.id, kind, facts)?;
    }
    Ok(())
}

/// What is known of a column over the whole table.
fn widen(
    transaction: &Transaction<'_>,
    table: i64,
    column: i64,
    kind: ColumnKind,
    facts: &ColumnFacts,
) -> rusqlite::Result<()> {
    let known: Option<(Option<String>, Option<String>)> = transaction
        .query_row(
            "SELECT min_value, max_value FROM ducklake_table_column_stats WHERE table_id = ? AND column_id = ?",
            [table, column],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let further = |known: Option<&String>, new: Option<&Cell>, wanted: Ordering| {
        let known = known.and_then(|known| text_value(known, kind));
        match (known, new) {
            (Some(known), Some(new)) if compare(&Value::of(new), &Value::of(&known)) == wanted => value_text(new, kind),
            (Some(known), _) => value_text(&known, kind),
            (None, new) => new.and_then(|new| value_text(new, kind)),
        }
    };
    let (low, high) = known.as_ref().map_or((None, None), |(low, high)| (low.as_ref(), high.as_ref()));
    let low = further(low, facts.least.as_ref(), Ordering::Less);
    let high = further(high, facts.most.as_ref(), Ordering::Greater);
    if known.is_some() {
        let sql = "UPDATE ducklake_table_column_stats SET contains_null = contains_null OR ?3, \
                   contains_nan = CASE WHEN ?4 IS NULL THEN contains_nan ELSE coalesce(contains_nan, 0) OR ?4 END, \
                   min_value = ?5, max_value = ?6 WHERE table_id = ?1 AND column_id = ?2";
        transaction.execute(sql, params![table, column, facts.nulls > 0, facts.nan, low, high])?;
    } else {
        let sql = "INSERT INTO ducklake_table_column_stats VALUES (?, ?, ?, ?, ?, ?, NULL)";
        transaction.execute(sql, params![table, column, facts.nulls > 0, facts.nan, low, high])?;
    }
    Ok(())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Removes files that will not be registered. What cannot be removed is found as an orphan at the next start.
pub(super) fn discard(disk: &dyn Disk, changes: &[Change]) {
    for change in changes {
        let deletions = change.deleted.iter().filter_map(|deleted| deleted.positions.as_ref());
        change.data.iter().chain(deletions).for_each(|written| remove(disk, &written.path));
    }
}

pub(super) fn remove(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path) {
        log::debug!(error:% = error; "an unfinished file of the lake stays until the next start");
    }
}
