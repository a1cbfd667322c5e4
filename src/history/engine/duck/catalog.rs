//! Questions to DuckLake's own tables, and the few changes to tables that the schema asks for.

use super::names::{META, Own, ident, text};
use crate::history::engine::covered::Covered;
use crate::history::engine::error::EngineError;
use duckdb::{Connection, OptionalExt, params};
use std::collections::HashMap;
use std::path::PathBuf;

/// A table as the lake has it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: i64,
    /// Folder of its files, relative to the lake's files.
    pub(super) folder: PathBuf,
    /// Column name → DuckLake's column id, which a Parquet file names as field id.
    pub(super) field_ids: HashMap<String, i64>,
}

/// Reads every row of every catalog table once. DuckDB reads its file lazily: damage that is not found now would be found by a
/// query, or by a batch.
pub(super) fn read_everything(conn: &Connection) -> Result<(), EngineError> {
    let doing = "reading the catalog";
    let mut statement = conn
        .prepare("SELECT table_name FROM duckdb_tables() WHERE database_name = '__ducklake_metadata_lake'")
        .map_err(EngineError::sql(doing))?;
    let names = statement.query_map([], |row| row.get::<_, String>(0)).map_err(EngineError::sql(doing))?;
    for name in names {
        let name = ident(&name.map_err(EngineError::sql(doing))?);
        conn.query_row(&format!("SELECT max(hash(t)) IS NULL FROM {META}.{name} AS t"), [], |row| row.get::<_, bool>(0))
            .map_err(EngineError::sql(doing))?;
    }
    Ok(())
}

/// What the snapshot `version`, or the newest, says about the log; the default if no batch was ever written.
pub(super) fn covered(conn: &Connection, own: &Own, version: Option<i64>) -> Result<Covered, EngineError> {
    let sql = format!(
        "SELECT commit_extra_info FROM {META}.ducklake_snapshot_changes \
         WHERE snapshot_id <= ? AND {} ORDER BY snapshot_id DESC LIMIT 1",
        own.tells()
    );
    let info: Option<String> = conn
        .query_row(&sql, params![version.unwrap_or(i64::MAX)], |row| row.get(0))
        .optional()
        .map_err(EngineError::sql("reading what the lake covers"))?;
    Ok(info.as_deref().and_then(Covered::from_json).unwrap_or_default())
}

/// Whether every batch of this lake came from the log `log_id`, so that sequence numbers tell their order.
pub(super) fn knows_no_other_log(conn: &Connection, own: &Own, log_id: u64) -> Result<bool, EngineError> {
    let doing = "reading what the lake covers";
    let sql = format!(
        "SELECT DISTINCT commit_extra_info::JSON->>'log_id' FROM {META}.ducklake_snapshot_changes \
         WHERE {}",
        own.tells()
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let mut ids = statement.query_map([], |row| row.get::<_, Option<String>>(0)).map_err(EngineError::sql(doing))?;
    let present = log_id.to_string();
    ids.try_fold(true, |only, id| Ok(only && id?.is_some_and(|id| id == present))).map_err(EngineError::sql(doing))
}

/// The newest snapshot.
pub(super) fn newest(conn: &Connection) -> Result<i64, EngineError> {
    conn.query_row(&format!("SELECT max(snapshot_id) FROM {META}.ducklake_snapshot"), [], |row| row.get(0))
        .map_err(EngineError::sql("reading the newest snapshot"))
}

/// The oldest snapshot that is kept; the very first is 0.
pub(super) fn oldest(conn: &Connection) -> Result<i64, EngineError> {
    conn.query_row(&format!("SELECT min(snapshot_id) FROM {META}.ducklake_snapshot"), [], |row| row.get(0))
        .map_err(EngineError::sql("reading the oldest snapshot"))
}

/// The snapshot in force at a time (microseconds since 1970), if there was one.
pub(super) fn in_force(conn: &Connection, at_us: i64) -> Result<Option<i64>, EngineError> {
    let sql = format!("SELECT max(snapshot_id) FROM {META}.ducklake_snapshot WHERE epoch_us(snapshot_time::TIMESTAMPTZ) <= ?");
    conn.query_row(&sql, params![at_us], |row| row.get(0)).map_err(EngineError::sql("looking for a snapshot"))
}

/// Names and catalog types of the columns that a table had at a snapshot; empty if it did not exist.
pub(super) fn columns_at(conn: &Connection, table: &str, version: i64) -> Result<HashMap<String, (i64, String)>, EngineError> {
    let sql = format!(
        "SELECT c.column_name, c.column_id, c.column_type FROM {META}.ducklake_column c JOIN {META}.ducklake_table t \
         USING (table_id) WHERE lower(t.table_name) = lower(?1) AND c.parent_column IS NULL \
         AND t.begin_snapshot <= ?2 AND (t.end_snapshot IS NULL OR t.end_snapshot > ?2) \
         AND c.begin_snapshot <= ?2 AND (c.end_snapshot IS NULL OR c.end_snapshot > ?2)"
    );
    let doing = "reading a table's columns";
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let rows = statement
        .query_map(params![table, version], |row| Ok((row.get::<_, String>(0)?.to_lowercase(), (row.get(1)?, row.get(2)?))))
        .map_err(EngineError::sql(doing))?;
    rows.collect::<Result<_, _>>().map_err(EngineError::sql(doing))
}

/// Rows of a table that queries see in the lake.
pub(super) fn live_rows(conn: &Connection, own: &Own, table_id: i64) -> Result<u64, EngineError> {
    let sql = format!(
        "SELECT (SELECT coalesce(sum(record_count), 0) FROM {META}.ducklake_data_file f \
           WHERE table_id = ?1 AND end_snapshot IS NULL{mine}) - \
         (SELECT coalesce(sum(delete_count), 0) FROM {META}.ducklake_delete_file WHERE table_id = ?1 AND end_snapshot IS NULL \
           AND data_file_id IN (SELECT data_file_id FROM {META}.ducklake_data_file f WHERE end_snapshot IS NULL{mine}))",
        mine = own.and_file("f.")
    );
    let rows: i64 = conn
        .query_row(&format!("SELECT ({sql})::BIGINT"), params![table_id], |row| row.get(0))
        .map_err(EngineError::sql("counting rows"))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// The same of every table that has any, by the table's id.
pub(super) fn live_rows_of_all(conn: &Connection, own: &Own) -> Result<HashMap<i64, u64>, EngineError> {
    let doing = "counting rows";
    let sql = format!(
        "WITH live AS (SELECT table_id, data_file_id, record_count FROM {META}.ducklake_data_file f WHERE end_snapshot IS NULL{}), \
         gone AS (SELECT data_file_id, sum(delete_count) AS n FROM {META}.ducklake_delete_file WHERE end_snapshot IS NULL \
           GROUP BY data_file_id) \
         SELECT table_id, greatest(sum(record_count - coalesce(gone.n, 0)), 0)::UBIGINT \
         FROM live LEFT JOIN gone USING (data_file_id) GROUP BY table_id",
        own.and_file("f.")
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(EngineError::sql(doing))?;
    rows.collect::<Result<_, _>>().map_err(EngineError::sql(doing))
}

/// The statement that stores, with the transaction it is part of, how far the log is covered.
pub(super) fn set_covered(own: &Own, covered: Covered) -> String {
    let info = own.covered(covered);
    format!("CALL lake.set_commit_message('gateway', 'batch', extra_info => {})", text(&info))
}

/// Says anew what the newest batch said, or the newest snapshot if there was no batch. There is nothing to commit through
/// DuckLake then, so its table is changed directly.
pub(super) fn restate_covered(conn: &Connection, own: &Own, covered: Covered) -> Result<(), EngineError> {
    // In a lake of many the newest snapshot is somebody else's: without a batch of its own the gateway reads its log again.
    let otherwise = if own.is_shared() { "NULL" } else { "max(snapshot_id)" };
    let sql = format!(
        "UPDATE {META}.ducklake_snapshot_changes SET commit_extra_info = ? WHERE snapshot_id = (SELECT coalesce(\
         max(snapshot_id) FILTER ({}), {otherwise}) FROM {META}.ducklake_snapshot_changes)",
        own.tells()
    );
    conn.execute(&sql, params![own.covered(covered)]).map(|_| ()).map_err(EngineError::sql("storing what is covered"))
}
