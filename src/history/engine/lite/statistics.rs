//! Least and greatest values of files that were written when a column was narrower, in the words of its type of today.
//!
//! `0.1` of a `FLOAT` is 0.10000000149 as a `DOUBLE`: read as it stands, the file is left out of a query whose answer is in it. All
//! other widenings write their values alike here (truth values are 0 and 1).

use super::super::error::EngineError;
use super::schema::{text_value, value_text};
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::eval::{Value, compare};
use rusqlite::{Connection, Transaction, params};
use std::cmp::Ordering;

/// Translates what still has the words of the narrower type; lakes that were widened by earlier versions as well.
pub(super) fn translate(conn: &mut Connection) -> Result<(), EngineError> {
    let translate = |conn: &mut Connection| {
        let widened = widened(conn)?;
        if widened.is_empty() {
            return Ok(());
        }
        let transaction = conn.transaction()?;
        for (table, column, until) in widened {
            column_of(&transaction, table, column, until)?;
        }
        transaction.commit()
    };
    translate(conn).map_err(EngineError::sqlite("reading statistics of columns that became wider"))
}

/// Columns that once were floats of 32 bits: table, column, and the snapshot that ended it.
fn widened(conn: &Connection) -> rusqlite::Result<Vec<(i64, i64, i64)>> {
    let mut statement = conn.prepare(
        "SELECT o.table_id, o.column_id, max(o.end_snapshot) FROM ducklake_column o \
         JOIN ducklake_column n ON n.table_id = o.table_id AND n.column_id = o.column_id \
         WHERE o.column_type = 'float32' AND o.end_snapshot IS NOT NULL AND n.end_snapshot IS NULL \
           AND n.column_type = 'float64' GROUP BY o.table_id, o.column_id",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

type Range = (Option<String>, Option<String>);

fn column_of(transaction: &Transaction<'_>, table: i64, column: i64, until: i64) -> rusqlite::Result<()> {
    // A merged file has the words of the type that the column had when it was merged.
    let mut statement = transaction.prepare(
        "SELECT s.data_file_id, s.min_value, s.max_value, coalesce(f.partial_max, f.begin_snapshot) < ?3, f.end_snapshot IS NULL \
         FROM ducklake_file_column_stats s JOIN ducklake_data_file f USING (data_file_id) \
         WHERE s.table_id = ?1 AND s.column_id = ?2",
    )?;
    let rows = statement.query_map(params![table, column, until], |row| {
        Ok((row.get::<_, i64>(0)?, (row.get(1)?, row.get(2)?), row.get::<_, bool>(3)?, row.get::<_, bool>(4)?))
    })?;
    let (mut changed, mut whole): (bool, (Option<Cell>, Option<Cell>)) = (false, (None, None));
    for row in rows {
        let (file, old, narrow, live): (i64, Range, bool, bool) = row?;
        let new = if narrow { (wide(old.0.clone()), wide(old.1.clone())) } else { old.clone() };
        if new != old {
            changed = true;
            transaction.execute(
                "UPDATE ducklake_file_column_stats SET min_value = ?3, max_value = ?4 WHERE data_file_id = ?1 AND column_id = ?2",
                params![file, column, new.0, new.1],
            )?;
        }
        if live {
            widen(&mut whole.0, new.0.as_deref(), Ordering::Less);
            widen(&mut whole.1, new.1.as_deref(), Ordering::Greater);
        }
    }
    if changed {
        let text = |cell: &Option<Cell>| cell.as_ref().and_then(|cell| value_text(cell, ColumnKind::Double));
        transaction.execute(
            "UPDATE ducklake_table_column_stats SET min_value = ?3, max_value = ?4 WHERE table_id = ?1 AND column_id = ?2",
            params![table, column, text(&whole.0), text(&whole.1)],
        )?;
    }
    Ok(())
}

/// The text of a `FLOAT` as that of the same `DOUBLE`; any other text as it is.
fn wide(text: Option<String>) -> Option<String> {
    let text = text?;
    let narrow = text_value(&text, ColumnKind::Float);
    match narrow.filter(|cell| value_text(cell, ColumnKind::Float).as_ref() == Some(&text)) {
        Some(cell) => value_text(&cell, ColumnKind::Double),
        None => Some(text),
    }
}

fn widen(best: &mut Option<Cell>, text: Option<&str>, wanted: Ordering) {
    let Some(cell) = text.and_then(|text| text_value(text, ColumnKind::Double)) else { return };
    if best.as_ref().is_none_or(|best| compare(&Value::of(&cell), &Value::of(best)) == wanted) {
        *best = Some(cell);
    }
}
