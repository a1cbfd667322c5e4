//! The table that a query sees, as SQL: what the lake has and what the tail has, each row once.

use super::names::{LAKE, Own, ident, same_key};
use crate::history::engine::arrow::flag;
use crate::history::engine::columns::{DAY, HIDDEN};
use crate::history::engine::covered::Covered;
use crate::history::kind;
use crate::history::model::{ColumnSource, Table};
use crate::message::Seq;
use std::collections::HashSet;

/// What the table holds now; `tail` is what it has above the lake, if it has something there. The transaction that runs it is as old
/// as the tail's view.
pub(super) fn now(table: &Table, own: &Own, tail: Option<&str>) -> String {
    let name = ident(&table.name);
    let columns = visible_columns(table, own, "");
    let lake = own.table(table, "");
    let Some(tail) = tail else {
        return format!("(SELECT {columns} FROM {lake}) AS {name}");
    };
    if table.keys.is_empty() {
        return format!("(SELECT {columns} FROM {lake} UNION ALL SELECT {columns} FROM {tail}) AS {name}");
    }
    let same = same_key(table, "n.", "l.");
    format!(
        "(SELECT {} FROM {lake} AS l WHERE NOT EXISTS (SELECT 1 FROM {tail} AS n WHERE {same}) \
         UNION ALL SELECT {columns} FROM ({}) AS m) AS {name}",
        visible_columns(table, own, "l."),
        merged(table, own, tail)
    )
}

/// The rows of a keyed table's tail, each merged with the lake's row of the same key; stored columns and hidden ones.
pub(super) fn merged(table: &Table, own: &Own, tail: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let column = ident(&column.name);
            // The hidden sequence is never null, so its absence means that the lake does not know the key.
            format!("CASE WHEN n.{} OR l._seq IS NULL THEN n.{column} ELSE l.{column} END AS {column}", flag(i))
        })
        .collect();
    let hidden: Vec<String> = HIDDEN.iter().map(|(hidden, ..)| format!("n.{hidden} AS {hidden}")).collect();
    format!(
        "SELECT {}, {} FROM {tail} AS n LEFT JOIN {} AS l ON {}",
        columns.join(", "),
        hidden.join(", "),
        own.table(table, ""),
        same_key(table, "n.", "l.")
    )
}

/// What an append table held at a time: the snapshot then in force, and what had been received by then but reached the lake
/// only later, or not yet. `had` are the columns of that snapshot; `later` is what the snapshot covers of the present log.
pub(super) fn then(
    table: &Table,
    own: &Own,
    tail: Option<&str>,
    (version, had): (i64, &HashSet<String>),
    later: Option<Covered>,
    at_us: i64,
) -> String {
    let name = ident(&table.name);
    let old: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            if had.contains(&column.name.to_lowercase()) {
                own.visible(table, column, "")
            } else {
                format!("NULL::{} AS {}", kind::name(column.kind), ident(&column.name))
            }
        })
        .chain(["_recv".to_owned()])
        .collect();
    let snapshot = format!("SELECT {} FROM {}", old.join(", "), own.table(table, &format!("AT (VERSION => {version})")));
    let Some(covered) = later else {
        return format!("({snapshot}) AS {name}");
    };
    let columns = visible_columns(table, own, "");
    let received = format!("_recv <= make_timestamp({at_us}::BIGINT)");
    format!(
        "({snapshot} UNION ALL SELECT {columns} FROM {} WHERE _seq > {} AND {received}{}) AS {name}",
        own.table(table, ""),
        covered.log_seq,
        and_tail(tail, &columns, &received)
    )
}

/// What an append table has now of what had been received by a time: for times before any snapshot.
pub(super) fn received_by(table: &Table, own: &Own, tail: Option<&str>, at_us: i64) -> String {
    let name = ident(&table.name);
    let columns = visible_columns(table, own, "");
    let received = format!("_recv <= make_timestamp({at_us}::BIGINT)");
    format!(
        "(SELECT {columns} FROM {} WHERE {received}{}) AS {name}",
        own.table(table, ""),
        and_tail(tail, &columns, &received)
    )
}

/// The rows above the lake, if there are any.
fn and_tail(tail: Option<&str>, columns: &str, condition: &str) -> String {
    tail.map(|tail| format!(" UNION ALL SELECT {columns} FROM {tail} WHERE {condition}")).unwrap_or_default()
}

/// The statement that corrects the receive times of a range of records: the hidden one, the day, and the schema's `recv_ts`.
pub(super) fn restamp(table: &Table, own: &Own, from: Seq, before: Seq, delta_us: i64) -> String {
    let later = format!("_recv + to_microseconds({delta_us}::BIGINT)");
    let mut set = vec![format!("_recv = {later}")];
    if table.keys.is_empty() {
        set.push(format!("{DAY} = CAST({later} AS DATE)"));
    }
    for column in table.columns.iter().filter(|column| column.source == ColumnSource::ReceiveTime) {
        let name = ident(&column.name);
        set.push(format!("{name} = CAST({name}::HUGEINT + {delta_us}::HUGEINT * 1000 AS UBIGINT)"));
    }
    format!(
        "UPDATE {LAKE}.{} SET {} WHERE _seq >= {from} AND _seq < {before}{}",
        ident(&table.name),
        set.join(", "),
        own.and("")
    )
}

/// What the lake alone has, with row ids: where deletions look for their rows.
pub(super) fn stored_with_rowid(table: &Table, own: &Own) -> String {
    let name = ident(&table.name);
    format!(
        "(SELECT rowid AS _row, {} FROM {LAKE}.{name} WHERE true{}) AS {name}",
        visible_columns(table, own, ""),
        own.and("")
    )
}

/// Columns that queries may name, and the receive time, which they use where a table shows no time.
fn visible_columns(table: &Table, own: &Own, from: &str) -> String {
    let columns = table.columns.iter().map(|column| own.visible(table, column, from));
    columns.chain([format!("{from}_recv")]).collect::<Vec<_>>().join(", ")
}
