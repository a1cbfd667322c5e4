//! Tables as the lake has them, and what it takes to make them fit the schema.

use super::super::columns::{HIDDEN, stored_as_text};
use super::super::error::EngineError;
use super::catalog::{Catalog, Snapshot};
use crate::history::evolution::{self, Change};
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind, Table};
use crate::history::sql::eval::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::PathBuf;
use std::sync::Arc;

/// A table as the lake has it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: i64,
    /// Folder of its files, relative to the lake's files.
    pub(super) folder: PathBuf,
    /// For each column of the schema's table, then the hidden ones: what the lake calls it.
    pub(super) columns: Vec<StoredColumn>,
}

#[derive(Debug, Clone)]
pub(super) struct StoredColumn {
    /// DuckLake's column id, which a Parquet file names as field id.
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) kind: ColumnKind,
    /// What rows have that were written before the column was added.
    pub(super) initial: Cell,
    /// The snapshot that added it.
    pub(super) since: i64,
}

#[derive(Debug)]
struct Found {
    id: i64,
    name: String,
    stored_type: String,
    since: i64,
}

/// Makes the lake's table fit the schema's: creates it, adds the columns it lacks, widens those that are too narrow. The inner
/// error is the reason why it cannot, for the operator.
pub(super) fn fit(catalog: &mut Catalog, table: &Table, now_us: i64) -> Result<Result<Stored, String>, EngineError> {
    let hidden = |name: &str| HIDDEN.iter().any(|(hidden, ..)| name.eq_ignore_ascii_case(hidden));
    if let Some(column) = table.columns.iter().find(|column| hidden(&column.name)) {
        return Ok(Err(format!("column `{}` has a name that the gateway keeps for itself", column.name)));
    }
    match find(&catalog.conn, table)? {
        None => {
            let made = catalog.commit(now_us, None, |transaction, snapshot| create(transaction, snapshot, table));
            made.map_err(super::catalog::Failed::into_error)?;
        }
        Some((id, _)) => {
            let have = columns(&catalog.conn, id)?;
            let mut changes = Vec::new();
            for (place, name, _) in wanted(table) {
                let found = have.iter().find(|found| found.name.eq_ignore_ascii_case(name));
                // The hidden columns are as old as the table.
                let Some(column) = table.columns.get(place) else { continue };
                match evolution::change(column, found.map(|found| found.stored_type.as_str())) {
                    Ok(Change::None) => {}
                    Ok(Change::Add) => changes.push((place, None)),
                    Ok(Change::Widen) => changes.push((place, found.map(|found| found.id))),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            if !changes.is_empty() {
                let altered = catalog.commit(now_us, None, |transaction, snapshot| {
                    for (place, old) in &changes {
                        alter(transaction, snapshot, table, id, *place, *old)?;
                    }
                    snapshot.changed(format!("altered_table:{id}"));
                    Ok(())
                });
                altered.map_err(super::catalog::Failed::into_error)?;
            }
        }
    }
    describe(&catalog.conn, table).map(Ok)
}

/// Every column that the lake's table must have: its place, name, and type in the catalog's words.
fn wanted(table: &Table) -> impl Iterator<Item = (usize, &str, &'static str)> {
    let own = table.columns.iter().map(|column| (column.name.as_str(), kind::catalog_name(column.kind)));
    own.chain(HIDDEN.iter().map(|(name, _, kind)| (*name, *kind))).enumerate().map(|(place, (name, kind))| (place, name, kind))
}

fn create(transaction: &Transaction<'_>, snapshot: &mut Snapshot, table: &Table) -> Result<(), EngineError> {
    let id = snapshot.next_catalog_id;
    snapshot.next_catalog_id += 1;
    snapshot.schema_version += 1;
    snapshot.changed(format!("created_table:\"main\".\"{}\"", table.name.replace('"', "\"\"")));
    let make = || {
        transaction.execute(
            "INSERT INTO ducklake_table VALUES (?, ?, ?, NULL, 0, ?, ?, 1)",
            params![id, uuid::Uuid::new_v4().to_string(), snapshot.id, table.name, format!("{}/", table.name)],
        )?;
        for (place, name, kind) in wanted(table) {
            let column = place as i64 + 1;
            insert(transaction, snapshot.id, id, column, column, name, kind, None, default(table, place))?;
        }
        version(transaction, snapshot, id)
    };
    make().map_err(EngineError::sqlite("creating a table"))
}

fn alter(
    transaction: &Transaction<'_>,
    snapshot: &mut Snapshot,
    table: &Table,
    id: i64,
    place: usize,
    old: Option<i64>,
) -> Result<(), EngineError> {
    let Some((_, name, kind)) = wanted(table).nth(place) else { return Ok(()) };
    let mut change = || {
        match old {
            Some(column) => {
                let (order, initial, default): (i64, Option<String>, Option<String>) = transaction.query_row(
                    "SELECT column_order, initial_default, default_value FROM ducklake_column \
                     WHERE table_id = ? AND column_id = ? AND end_snapshot IS NULL",
                    [id, column],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )?;
                transaction.execute(
                    "UPDATE ducklake_column SET end_snapshot = ? WHERE table_id = ? AND column_id = ? AND end_snapshot IS NULL",
                    [snapshot.id, id, column],
                )?;
                insert(transaction, snapshot.id, id, column, order, name, kind, initial, default)?;
            }
            None => {
                let next: i64 = transaction.query_row(
                    "SELECT coalesce(max(column_id), 0) + 1 FROM ducklake_column WHERE table_id = ?",
                    [id],
                    |row| row.get(0),
                )?;
                let value = default(table, place);
                insert(transaction, snapshot.id, id, next, next, name, kind, value.clone(), value)?;
            }
        }
        snapshot.schema_version += 1;
        version(transaction, snapshot, id)
    };
    change().map_err(EngineError::sqlite("altering a table"))
}

#[expect(clippy::too_many_arguments, reason = "a row of the catalog has them")]
fn insert(
    transaction: &Transaction<'_>,
    snapshot: i64,
    table: i64,
    column: i64,
    order: i64,
    name: &str,
    kind: &str,
    initial: Option<String>,
    default: Option<String>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO ducklake_column VALUES (?, ?, NULL, ?, ?, ?, ?, ?, ?, 1, NULL, 'literal', 'duckdb')";
    let default = default.unwrap_or_else(|| "NULL".to_owned());
    transaction.execute(sql, params![column, snapshot, table, order, name, kind, initial, default]).map(|_| ())
}

fn version(transaction: &Transaction<'_>, snapshot: &Snapshot, table: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO ducklake_schema_versions VALUES (?, ?, ?)";
    transaction.execute(sql, params![snapshot.id, snapshot.schema_version, table]).map(|_| ())
}

/// A column's default in the catalog's words.
fn default(table: &Table, place: usize) -> Option<String> {
    let column = table.columns.get(place)?;
    let default = column.default.as_ref().filter(|cell| **cell != Cell::Null)?;
    value_text(default, column.kind)
}

/// A value as the catalog writes it. `None` for null, and for what has no text there.
pub(super) fn value_text(cell: &Cell, kind: ColumnKind) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Boolean(value) => Some(u8::from(*value).to_string()),
        Cell::Blob(value) => Some(value.iter().map(|byte| format!("{byte:02X}")).collect()),
        other => match Value::of(other).cast(Type::Of(kind), ColumnKind::Text) {
            Ok(Value::Text(text)) => Some(text.into_owned()),
            _ => None,
        },
    }
}

/// The value that the catalog wrote. `None` for what was not understood.
pub(super) fn text_value(text: &str, kind: ColumnKind) -> Option<Cell> {
    if kind == ColumnKind::Blob {
        return None;
    }
    crate::history::row::cast(&crate::history::row::Item::Text(text.into()), kind).ok()
}

fn find(conn: &Connection, table: &Table) -> Result<Option<(i64, String)>, EngineError> {
    conn.query_row(
        "SELECT t.table_id, s.path || t.path FROM ducklake_table t JOIN ducklake_schema s USING (schema_id) \
         WHERE lower(t.table_name) = lower(?) AND t.end_snapshot IS NULL AND s.end_snapshot IS NULL",
        [&table.name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()
    .map_err(EngineError::sqlite("finding a table"))
}

/// Whether the lake has a table of this name.
pub(super) fn knows(conn: &Connection, table: &Table) -> bool {
    find(conn, table).is_ok_and(|found| found.is_some())
}

/// Whether the table was there at a snapshot.
pub(super) fn existed(conn: &Connection, table: i64, version: i64) -> Result<bool, EngineError> {
    let sql = "SELECT count(*) > 0 FROM ducklake_table WHERE table_id = ?1 AND begin_snapshot <= ?2 \
               AND (end_snapshot IS NULL OR end_snapshot > ?2)";
    conn.query_row(sql, [table, version], |row| row.get(0)).map_err(EngineError::sqlite("looking for a table"))
}

fn columns(conn: &Connection, table: i64) -> Result<Vec<Found>, EngineError> {
    let doing = "reading a table's columns";
    // A column that was widened is as old as its first version.
    let sql = "SELECT c.column_id, c.column_name, c.column_type, (SELECT min(f.begin_snapshot) FROM ducklake_column f \
               WHERE f.table_id = c.table_id AND f.column_id = c.column_id) \
               FROM ducklake_column c WHERE c.table_id = ? AND c.parent_column IS NULL AND c.end_snapshot IS NULL";
    let mut statement = conn.prepare(sql).map_err(EngineError::sqlite(doing))?;
    let rows = statement
        .query_map([table], |row| {
            Ok(Found { id: row.get(0)?, name: row.get(1)?, stored_type: row.get(2)?, since: row.get(3)? })
        })
        .map_err(EngineError::sqlite(doing))?;
    rows.collect::<Result<_, _>>().map_err(EngineError::sqlite(doing))
}

/// The table with all the columns that the lake has, those too that the schema does not want any more; `None` if one is of a type
/// that only others use. What is kept as text is text here.
pub(super) fn whole(conn: &Connection, stored: &Stored) -> Result<Option<Arc<Stored>>, EngineError> {
    let mut all = Vec::new();
    for found in columns(conn, stored.id)? {
        let known = kind::ALL.into_iter().find(|kind| !stored_as_text(*kind) && kind::catalog_name(*kind) == found.stored_type);
        let Some(kind) = known else { return Ok(None) };
        let initial = initial(conn, stored.id, found.id, kind)?;
        all.push(StoredColumn { id: found.id, name: found.name, kind, initial, since: found.since });
    }
    Ok(Some(Arc::new(Stored { id: stored.id, folder: stored.folder.clone(), columns: all })))
}

/// What rows have that are older than a column.
fn initial(conn: &Connection, table: i64, column: i64, kind: ColumnKind) -> Result<Cell, EngineError> {
    let text: Option<String> = conn
        .query_row(
            "SELECT initial_default FROM ducklake_column WHERE table_id = ? AND column_id = ? AND end_snapshot IS NULL",
            [table, column],
            |row| row.get(0),
        )
        .map_err(EngineError::sqlite("reading a column's default"))?;
    Ok(text.and_then(|text| text_value(&text, kind)).unwrap_or(Cell::Null))
}

fn describe(conn: &Connection, table: &Table) -> Result<Stored, EngineError> {
    let Some((id, folder)) = find(conn, table)? else {
        return Err(EngineError::Catalog(format!("table {} is gone", table.name)));
    };
    let have = columns(conn, id)?;
    let mut stored = Vec::new();
    for (place, name, _) in wanted(table) {
        let Some(found) = have.iter().find(|found| found.name.eq_ignore_ascii_case(name)) else {
            return Err(EngineError::Catalog(format!("column {name} of table {} is gone", table.name)));
        };
        let kind = match table.columns.get(place) {
            Some(column) => column.kind,
            None if place == table.columns.len() => ColumnKind::BigInt,
            None => ColumnKind::Timestamp,
        };
        let initial = initial(conn, id, found.id, kind)?;
        stored.push(StoredColumn { id: found.id, name: found.name.clone(), kind, initial, since: found.since });
    }
    Ok(Stored { id, folder: PathBuf::from(folder), columns: stored })
}
