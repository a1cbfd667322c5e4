//! Makes the lake's tables fit the schema's, as far as that is possible without rewriting anything.

use super::catalog::{Stored, columns_at, newest};
use super::names::{GATEWAY, LAKE, META, Own, ident, literal, stored_type};
use crate::history::engine::columns::{DAY, HIDDEN};
use crate::history::engine::error::EngineError;
use crate::history::evolution::{self, Change, Remembered};
use crate::history::model::Table;
use duckdb::{Connection, OptionalExt, params};
use std::path::PathBuf;

/// A table that fits.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) stored: Stored,
    /// Whether the type of a column became wider: then the lake must be opened anew before anything is added.
    pub(super) widened: bool,
}

/// Makes the lake's table fit the schema's: creates it, adds the columns it lacks, widens the types that may be. The inner error
/// is the reason why it cannot, for the operator.
pub(super) fn fit(
    conn: &Connection,
    table: &Table,
    own: &Own,
    remembered: &Remembered,
) -> Result<Result<Fitted, String>, EngineError> {
    let name = format!("{LAKE}.{}", ident(&table.name));
    let hidden = |name: &str| {
        [DAY, GATEWAY].iter().any(|own| name.eq_ignore_ascii_case(own))
            || HIDDEN.iter().any(|(own, ..)| name.eq_ignore_ascii_case(own))
    };
    if let Some(column) = table.columns.iter().find(|column| hidden(&column.name)) {
        return Ok(Err(format!("column `{}` has a name that the gateway keeps for itself", column.name)));
    }
    let have = columns_at(conn, &table.name, newest(conn)?)?;
    if let (false, Some(reason)) = (have.is_empty(), remembered.keys_conflict(table)) {
        return Ok(Err(reason));
    }
    let (mut changes, mut widened) = (Vec::new(), false);
    if have.is_empty() {
        let columns = table.columns.iter().map(|column| (column.name.as_str(), stored_type(column.kind)));
        let hidden = HIDDEN.iter().map(|(column, sql, _)| (*column, *sql));
        #[expect(clippy::map_identity, reason = "it shortens a lifetime that the chain would share")]
        let columns: Vec<String> = columns
            .chain(hidden)
            .chain(partitions(table, own).map(|(column, sql)| (column, sql)))
            .map(|(column, sql)| format!("{} {sql}", ident(column)))
            .collect();
        changes.push(format!("CREATE TABLE {name} ({})", columns.join(", ")));
    } else {
        for column in &table.columns {
            let sql = stored_type(column.kind);
            let stored = have.get(&column.name.to_lowercase()).map(|(_, stored)| stored.as_str());
            match evolution::change(column, stored) {
                Ok(Change::None) => {}
                Ok(Change::Add) => {
                    let default = column.default.as_ref().map(|cell| format!(" DEFAULT {}", literal(cell)));
                    let default = default.unwrap_or_default();
                    changes.push(format!("ALTER TABLE {name} ADD COLUMN {} {sql}{default}", ident(&column.name)));
                }
                Ok(Change::Widen) => {
                    widened = true;
                    changes.push(format!("ALTER TABLE {name} ALTER COLUMN {} SET DATA TYPE {sql}", ident(&column.name)));
                }
                Err(reason) => return Ok(Err(reason)),
            }
        }
        for (column, sql) in HIDDEN.iter().map(|(column, sql, _)| (*column, *sql)).chain(partitions(table, own)) {
            if !have.contains_key(column) {
                changes.push(format!("ALTER TABLE {name} ADD COLUMN {} {sql}", ident(column)));
            }
        }
    }
    for change in changes {
        conn.execute_batch(&change).map_err(EngineError::sql("making a table fit the schema"))?;
    }
    partition(conn, table, own)?;
    Ok(Ok(Fitted { stored: describe(conn, table)?, widened }))
}

/// The columns that the folders of files tell: whose rows they are, and of which day.
fn partitions(table: &Table, own: &Own) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let day = table.keys.is_empty().then_some((DAY, "DATE"));
    own.is_shared().then_some((GATEWAY, "VARCHAR")).into_iter().chain(day)
}

/// Appended tables keep each day apart, so that old days go without anything being rewritten; and gateways keep their rows apart.
fn partition(conn: &Connection, table: &Table, own: &Own) -> Result<(), EngineError> {
    let doing = "partitioning a table";
    let sql = format!(
        "SELECT 1 FROM {META}.ducklake_partition_info p JOIN {META}.ducklake_table t USING (table_id) \
         WHERE lower(t.table_name) = lower(?) AND t.end_snapshot IS NULL AND p.end_snapshot IS NULL LIMIT 1"
    );
    let has: Option<i32> =
        conn.query_row(&sql, params![table.name], |row| row.get(0)).optional().map_err(EngineError::sql(doing))?;
    let name = ident(&table.name);
    let by = partitions(table, own).map(|(column, _)| column).collect::<Vec<_>>().join(", ");
    match (!by.is_empty(), has) {
        (true, None) => conn.execute_batch(&format!("ALTER TABLE {LAKE}.{name} SET PARTITIONED BY ({by})")),
        (false, Some(_)) => conn.execute_batch(&format!("ALTER TABLE {LAKE}.{name} RESET PARTITIONED BY")),
        _ => Ok(()),
    }
    .map_err(EngineError::sql(doing))
}

/// What DuckLake does by itself when it writes files: as our batches do.
pub(super) fn set_options(conn: &Connection) -> Result<(), EngineError> {
    let doing = "setting the lake's options";
    let sql = format!("SELECT value FROM {META}.ducklake_metadata WHERE key = 'parquet_compression' AND scope IS NULL");
    let set: Option<String> = conn.query_row(&sql, [], |row| row.get(0)).optional().map_err(EngineError::sql(doing))?;
    if set.as_deref() == Some("zstd") {
        return Ok(());
    }
    conn.execute_batch("CALL lake.set_option('parquet_compression', 'zstd')").map_err(EngineError::sql(doing))
}

fn describe(conn: &Connection, table: &Table) -> Result<Stored, EngineError> {
    let sql = format!(
        "SELECT t.table_id, s.path || t.path FROM {META}.ducklake_table t JOIN {META}.ducklake_schema s USING (schema_id) \
         WHERE lower(t.table_name) = lower(?) AND t.end_snapshot IS NULL AND s.end_snapshot IS NULL"
    );
    let (id, folder): (i64, String) = conn
        .query_row(&sql, params![table.name], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(EngineError::sql("finding a table's folder"))?;
    let columns = columns_at(conn, &table.name, newest(conn)?)?;
    let field_ids = columns.into_iter().map(|(name, (id, _))| (name, id)).collect();
    Ok(Stored { id, folder: PathBuf::from(folder), field_ids })
}
