//! A table as it was at some time.

use super::names::Own;
use super::store::LakeTable;
use super::{catalog, relation};
use crate::history::engine::error::EngineError;
use duckdb::Connection;

/// The relation for a look into the past; `None` if there was nothing yet.
pub(super) fn then(
    conn: &Connection,
    own: &Own,
    table: &LakeTable,
    tail: Option<&str>,
    at_us: i64,
    log_id: u64,
) -> Result<Option<String>, EngineError> {
    let Some(version) = catalog::in_force(conn, at_us)? else {
        // Before the oldest snapshot that is kept. When an appended row was received is known nevertheless.
        let oldest = catalog::oldest(conn)?;
        let had = catalog::columns_at(conn, &table.table.name, oldest)?;
        let seen = oldest > 0 && !had.is_empty() && table.table.keys.is_empty();
        return Ok(seen.then(|| relation::received_by(&table.table, own, tail, at_us)));
    };
    let had = catalog::columns_at(conn, &table.table.name, version)?;
    if had.is_empty() {
        return Ok(None);
    }
    // Later than everything there is: that is now.
    if version == catalog::newest(conn)? && table.tail.newest_us() <= at_us {
        return Ok(Some(relation::now(&table.table, own, tail)));
    }
    let covered = catalog::covered(conn, own, Some(version))?;
    // A keyed table does not say which of its rows replaced which, so it is seen as of its last batch. Neither do sequence
    // numbers of a log that was lost say anything about those of the present one.
    let same_log = catalog::knows_no_other_log(conn, own, log_id)?;
    let later = (table.table.keys.is_empty() && same_log).then_some(covered);
    let had = had.into_keys().collect();
    Ok(Some(relation::then(&table.table, own, tail, (version, &had), later, at_us)))
}

/// `2026-11-21 09:30:00`, UTC.
pub(super) fn show_time(at_us: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(at_us).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
