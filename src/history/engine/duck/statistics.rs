//! Least and greatest values of files that were written when a column was narrower, in the words of its type of today.
//!
//! DuckLake leaves them as they are when a column becomes wider, and reads them as values of the new type. `false` is no integer,
//! so every question for a least value fails; and `0.1` of a `FLOAT` is 0.10000000149 as a `DOUBLE`, so that the file is left out
//! of a query whose answer is in it. All other widenings write their values alike.

use super::names::META;
use crate::history::engine::error::EngineError;
use duckdb::{Connection, params};

const DOING: &str = "reading statistics of columns that became wider";

/// Translates what still has the words of the narrower type; lakes that were widened by earlier versions as well. Says whether
/// there was something: then the lake must be opened anew.
pub(super) fn translate(conn: &Connection) -> Result<bool, EngineError> {
    let mut changed = false;
    for (table, column, narrow, until) in widened(conn)? {
        let (own, wide) = match narrow.as_str() {
            "boolean" => ("CASE {} WHEN 'false' THEN '0' WHEN 'true' THEN '1' ELSE {} END", "BIGINT"),
            _ => (
                "CASE WHEN CAST(TRY_CAST({} AS FLOAT) AS VARCHAR) = {} \
                 THEN CAST(CAST(TRY_CAST({} AS FLOAT) AS DOUBLE) AS VARCHAR) ELSE {} END",
                "DOUBLE",
            ),
        };
        let (low, high) = (own.replace("{}", "min_value"), own.replace("{}", "max_value"));
        // A merged file has the words of the type that the column had when it was merged.
        let old = format!(
            "table_id = ?1 AND column_id = ?2 AND data_file_id IN (SELECT data_file_id FROM {META}.ducklake_data_file \
             WHERE table_id = ?1 AND coalesce(partial_max, begin_snapshot) < ?3) \
             AND (min_value IS DISTINCT FROM {low} OR max_value IS DISTINCT FROM {high})"
        );
        let files = format!("UPDATE {META}.ducklake_file_column_stats SET min_value = {low}, max_value = {high} WHERE {old}");
        let count = conn.execute(&files, params![table, column, until]).map_err(EngineError::sql(DOING))?;
        if count == 0 {
            continue;
        }
        changed = true;
        let of_files = |best: &str, value: &str| {
            format!(
                "(SELECT CAST({best}(TRY_CAST(s.{value} AS {wide})) AS VARCHAR) FROM {META}.ducklake_file_column_stats s \
                 JOIN {META}.ducklake_data_file f USING (data_file_id) \
                 WHERE s.table_id = ?1 AND s.column_id = ?2 AND f.end_snapshot IS NULL)"
            )
        };
        let (low, high) = (of_files("min", "min_value"), of_files("max", "max_value"));
        let whole = format!(
            "UPDATE {META}.ducklake_table_column_stats SET min_value = {low}, max_value = {high} \
             WHERE table_id = ?1 AND column_id = ?2"
        );
        conn.execute(&whole, params![table, column]).map_err(EngineError::sql(DOING))?;
        log::info!(files = count, from = narrow; "statistics of a column that became wider were translated");
    }
    Ok(changed)
}

/// Columns that once had another type whose values are written otherwise: table, column, that type, and the snapshot that ended it.
fn widened(conn: &Connection) -> Result<Vec<(i64, i64, String, i64)>, EngineError> {
    let sql = format!(
        "SELECT o.table_id, o.column_id, o.column_type, max(o.end_snapshot) FROM {META}.ducklake_column o \
         JOIN {META}.ducklake_column n ON n.table_id = o.table_id AND n.column_id = o.column_id \
         WHERE o.column_type IN ('boolean', 'float32') AND o.end_snapshot IS NOT NULL AND n.end_snapshot IS NULL \
           AND n.column_type <> o.column_type GROUP BY ALL"
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(DOING))?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .map_err(EngineError::sql(DOING))?;
    rows.collect::<Result<_, _>>().map_err(EngineError::sql(DOING))
}
