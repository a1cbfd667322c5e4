//! The tail as DuckDB sees it: a table in memory for each table of the lake.
//!
//! Rows gather in Rust and are moved there when a query comes or enough have gathered.

use super::names::{TAIL, ident, stored_type};
use crate::history::engine::arrow::{self, flag};
use crate::history::engine::columns::HIDDEN;
use crate::history::engine::error::EngineError;
use crate::history::engine::tail::Tail;
use crate::history::model::Table;
use duckdb::Connection;

/// Rows that may wait outside of DuckDB; its vectors hold 2048.
const LOOSE_ROWS: usize = 4096;

/// Whether enough rows have gathered to be moved without being asked.
pub(super) fn is_heavy(tail: &Tail) -> bool {
    !tail.keyed() && tail.rows().len() >= LOOSE_ROWS
}

/// Brings DuckDB's table up to date.
pub(super) fn settle(tail: &mut Tail, conn: &Connection) -> Result<(), EngineError> {
    if !tail.is_dirty() {
        return Ok(());
    }
    if tail.keyed() {
        create(conn, tail.table())?;
    }
    let doing = "adding rows to the tail";
    let mut appender =
        conn.appender_to_catalog_and_db(&tail.table().name, "memory", "tail").map_err(EngineError::sql(doing))?;
    // In pieces, because one frame may carry a million rows and the Arrow copy of them should not be another million.
    for rows in tail.rows().chunks(2 * LOOSE_ROWS) {
        appender.append_record_batch(arrow::batch(tail.table(), rows)?).map_err(EngineError::sql(doing))?;
    }
    appender.flush().map_err(EngineError::sql(doing))?;
    tail.taken_over();
    Ok(())
}

/// Forgets everything: the lake has it. Queries that already run keep what they see.
pub(super) fn clear(tail: &mut Tail, conn: &Connection) -> Result<(), EngineError> {
    create(conn, tail.table())?;
    tail.clear();
    Ok(())
}

/// Makes DuckDB's table for the tail of `table` anew.
pub(super) fn create(conn: &Connection, table: &Table) -> Result<(), EngineError> {
    let mut columns: Vec<String> =
        table.columns.iter().map(|c| format!("{} {}", ident(&c.name), stored_type(c.kind))).collect();
    columns.extend(HIDDEN.iter().map(|(name, sql, _)| format!("{name} {sql}")));
    if !table.keys.is_empty() {
        columns.extend((0..table.columns.len()).map(|i| format!("{} BOOLEAN", flag(i))));
    }
    conn.execute_batch(&format!("CREATE OR REPLACE TABLE {TAIL}.{} ({})", ident(&table.name), columns.join(", ")))
        .map_err(EngineError::sql("making the tail's table"))
}
