//! What a batch owes: which rows must be in its file, counted before anything is registered.
//!
//! A file that has other rows than the log gave, or whose columns are not all of one length, is refused: its rows are still in the
//! log, and come again from there.

use super::lake::path_text;
use super::store::LakeTable;
use super::tail::Shown;
use crate::history::engine::error::EngineError;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use duckdb::Connection;
use std::collections::BTreeMap;
use std::path::Path;

/// The rows of a file: how many, and the sequence numbers of their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owed {
    /// Of a keyed table, which may have a key twice after a file of deletions was lost: then there are more.
    keyed: bool,
    rows: u64,
    sum: i128,
    least: i64,
    most: i64,
}

impl Owed {
    fn nothing(keyed: bool) -> Self {
        Self { keyed, rows: 0, sum: 0, least: i64::MAX, most: i64::MIN }
    }

    fn is_met_by(&self, found: &Self) -> bool {
        let ends = (found.least, found.most) == (self.least, self.most);
        ends && if self.keyed { found.rows >= self.rows } else { (found.rows, found.sum) == (self.rows, self.sum) }
    }
}

const DAY_US: i64 = 86_400_000_000;

/// What each file of a table's batch must have. Appended tables have one for each day on which rows were received, a keyed one has
/// one without a day.
pub(super) fn by_day(table: &LakeTable, tail: &Shown) -> Result<Vec<(Option<String>, Owed)>, EngineError> {
    let mut days: BTreeMap<i64, Owed> = BTreeMap::new();
    for batch in tail.batches() {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| EngineError::Arrow(format!("no column {name}")));
        let (seqs, received) = (column("_seq")?, column("_recv")?);
        let (seqs, received) = (seqs.as_primitive::<Int64Type>(), received.as_primitive::<TimestampMicrosecondType>());
        for (seq, at) in seqs.values().iter().zip(received.values()) {
            let day = if table.tail.keyed() { 0 } else { at.div_euclid(DAY_US) };
            let owed = days.entry(day).or_insert_with(|| Owed::nothing(table.tail.keyed()));
            owed.rows += 1;
            owed.sum += i128::from(*seq);
            (owed.least, owed.most) = (owed.least.min(*seq), owed.most.max(*seq));
        }
    }
    let name = |day: i64| {
        let time = jiff::Timestamp::from_microsecond(day * DAY_US).map_err(|error| EngineError::Arrow(error.to_string()))?;
        Ok::<_, EngineError>(time.strftime("%Y-%m-%d").to_string())
    };
    days.into_iter().map(|(day, owed)| Ok(((!table.tail.keyed()).then(|| name(day)).transpose()?, owed))).collect()
}

/// Reads a file back: its rows must be those that are owed, and every column must have a value or a null for each.
pub(super) fn check(conn: &Connection, path: &Path, owed: &Owed) -> Result<(), EngineError> {
    let doing = "reading a batch back";
    let path = path_text(path);
    let sql = format!(
        "SELECT count(*), coalesce(sum(_seq), 0)::HUGEINT, coalesce(min(_seq), {}), coalesce(max(_seq), {}) FROM read_parquet({path})",
        i64::MAX,
        i64::MIN
    );
    let found = conn
        .query_row(&sql, [], |row| {
            Ok(Owed { keyed: owed.keyed, rows: row.get(0)?, sum: row.get(1)?, least: row.get(2)?, most: row.get(3)? })
        })
        .map_err(EngineError::sql(doing))?;
    let uneven = format!(
        "SELECT count(*) FROM (SELECT row_group_id FROM parquet_metadata({path}) GROUP BY row_group_id \
         HAVING min(num_values) <> max(num_values) OR max(num_values) <> max(row_group_num_rows))"
    );
    let uneven: u64 = conn.query_row(&uneven, [], |row| row.get(0)).map_err(EngineError::sql(doing))?;
    if owed.is_met_by(&found) && uneven == 0 {
        return Ok(());
    }
    Err(EngineError::NotAsOwed {
        rows: owed.rows,
        found: found.rows,
        what: if uneven > 0 { "its columns are of different lengths" } else { "it holds other rows" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of rows with the sequence numbers 1 to 5.
    fn file(conn: &Connection, dir: &Path) -> std::path::PathBuf {
        let path = dir.join("batch.parquet");
        let sql = format!("COPY (SELECT i AS n, i AS _seq FROM range(1, 6) r(i)) TO {} (FORMAT parquet)", path_text(&path));
        conn.execute_batch(&sql).unwrap();
        path
    }

    #[test]
    fn a_file_that_lacks_a_row_or_has_another_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open_in_memory().unwrap();
        let path = file(&conn, dir.path());
        let owed = Owed { keyed: false, rows: 5, sum: 15, least: 1, most: 5 };
        check(&conn, &path, &owed).unwrap();
        for other in [Owed { rows: 6, ..owed }, Owed { sum: 16, ..owed }, Owed { most: 6, ..owed }, Owed { least: 0, ..owed }] {
            let error = check(&conn, &path, &other).unwrap_err();
            assert!(matches!(error, EngineError::NotAsOwed { .. }), "{error}");
        }
    }
}
