//! The data files of a table, as the catalog knows them.

use super::super::error::EngineError;
use super::schema::{Stored, text_value};
use crate::history::model::Cell;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) id: i64,
    pub(super) path: PathBuf,
    /// As the catalog writes it, relative to the table's folder.
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) row_id_start: i64,
    pub(super) begin: i64,
    /// A merged file holds rows of several snapshots, the newest of which is this one, and says which row is of which.
    pub(super) newest: Option<i64>,
    /// The rows of it that are deleted.
    pub(super) deletes: Option<DeleteFile>,
    /// Least and greatest value, by place of the column; only where both are known.
    ranges: HashMap<usize, (Cell, Cell)>,
}

#[derive(Debug, Clone)]
pub(super) struct DeleteFile {
    pub(super) id: i64,
    pub(super) path: PathBuf,
    pub(super) rows: u64,
}

impl DataFile {
    pub(super) fn range(&self, column: usize) -> Option<(Cell, Cell)> {
        self.ranges.get(&column).cloned()
    }

    pub(super) fn live_rows(&self) -> u64 {
        self.records.saturating_sub(self.deletes.as_ref().map_or(0, |deletes| deletes.rows))
    }
}

/// The files that a snapshot sees, oldest rows first.
pub(super) fn at(conn: &Connection, stored: &Stored, files: &Path, version: i64) -> Result<Vec<Arc<DataFile>>, EngineError> {
    let doing = "listing a table's files";
    let folder = files.join(&stored.folder);
    let mut ranges = ranges(conn, stored, version)?;
    let sql = "SELECT f.data_file_id, f.path, f.path_is_relative, f.record_count, f.row_id_start, f.begin_snapshot, \
               f.partial_max, d.delete_file_id, d.path, d.path_is_relative, d.delete_count, f.file_size_bytes \
               FROM ducklake_data_file f LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id \
                 AND d.begin_snapshot <= ?2 AND (d.end_snapshot IS NULL OR d.end_snapshot > ?2) \
               WHERE f.table_id = ?1 AND f.begin_snapshot <= ?2 AND (f.end_snapshot IS NULL OR f.end_snapshot > ?2) \
               ORDER BY f.row_id_start, f.data_file_id";
    let mut statement = conn.prepare_cached(sql).map_err(EngineError::sqlite(doing))?;
    let rows = statement
        .query_map(params![stored.id, version], |row| {
            let place = |path: String, relative: bool| if relative { folder.join(path) } else { files.join(path) };
            let id: i64 = row.get(0)?;
            let name: String = row.get(1)?;
            let deletes = match row.get::<_, Option<i64>>(7)? {
                Some(id) => Some(DeleteFile { id, path: place(row.get(8)?, row.get(9)?), rows: count(row.get(10)?) }),
                None => None,
            };
            Ok(DataFile {
                id,
                path: place(name.clone(), row.get(2)?),
                name,
                records: count(row.get(3)?),
                bytes: count(row.get(11)?),
                row_id_start: row.get::<_, Option<i64>>(4)?.unwrap_or(0),
                begin: row.get(5)?,
                newest: row.get(6)?,
                deletes,
                ranges: ranges.remove(&id).unwrap_or_default(),
            })
        })
        .map_err(EngineError::sqlite(doing))?;
    rows.map(|row| row.map(Arc::new)).collect::<Result<_, _>>().map_err(EngineError::sqlite(doing))
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

type Ranges = HashMap<i64, HashMap<usize, (Cell, Cell)>>;

fn ranges(conn: &Connection, stored: &Stored, version: i64) -> Result<Ranges, EngineError> {
    let doing = "reading what the files hold";
    let sql = "SELECT s.data_file_id, s.column_id, s.min_value, s.max_value FROM ducklake_file_column_stats s \
               JOIN ducklake_data_file f USING (data_file_id) \
               WHERE s.table_id = ?1 AND s.min_value IS NOT NULL AND s.max_value IS NOT NULL \
                 AND coalesce(s.contains_nan, 0) = 0 \
                 AND f.begin_snapshot <= ?2 AND (f.end_snapshot IS NULL OR f.end_snapshot > ?2)";
    let mut statement = conn.prepare_cached(sql).map_err(EngineError::sqlite(doing))?;
    let mut rows = statement.query(params![stored.id, version]).map_err(EngineError::sqlite(doing))?;
    let mut ranges = Ranges::new();
    while let Some(row) = rows.next().map_err(EngineError::sqlite(doing))? {
        let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let (file, column, low, high): (i64, i64, String, String) = read().map_err(EngineError::sqlite(doing))?;
        let Some(place) = stored.columns.iter().position(|known| known.id == column) else { continue };
        let Some(kind) = stored.columns.get(place).map(|column| column.kind) else { continue };
        // 128-bit integers are kept as text, whose order is another.
        if super::super::columns::stored_as_text(kind) {
            continue;
        }
        if let (Some(low), Some(high)) = (text_value(&low, kind), text_value(&high, kind)) {
            ranges.entry(file).or_default().insert(place, (low, high));
        }
    }
    Ok(ranges)
}
