//! How names, texts and types of the schema look in SQL.

use crate::history::engine::columns::stored_as_text;
use crate::history::kind;
use crate::history::model::{Cell, Column, ColumnKind, Table};

/// Catalog of the lake, and of the tables that hold what is not in it yet.
pub(super) const LAKE: &str = "lake.main";
pub(super) const TAIL: &str = "memory.tail";
/// DuckLake's own tables.
pub(super) const META: &str = "__ducklake_metadata_lake.main";

/// A name as SQL writes it.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub(super) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// The type under which a column is stored. DuckDB writes 128-bit integers to Parquet as doubles, which loses digits without a
/// word; so they are kept as text and cast when read.
pub(super) fn stored_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::HugeInt | ColumnKind::UHugeInt => "VARCHAR",
        other => kind::name(other),
    }
}

/// A stored column as queries see it, with its name; `from` is an alias in front of it, or empty.
pub(super) fn visible(column: &Column, from: &str) -> String {
    let name = ident(&column.name);
    if stored_as_text(column.kind) {
        format!("CAST({from}{name} AS {}) AS {name}", kind::name(column.kind))
    } else {
        format!("{from}{name}")
    }
}

/// `n.a = l.a AND n.b = l.b` over the keys.
pub(super) fn same_key(table: &Table, left: &str, right: &str) -> String {
    let keys: Vec<String> = table
        .keys
        .iter()
        .filter_map(|&i| table.columns.get(i))
        .map(|column| format!("{left}{0} = {right}{0}", ident(&column.name)))
        .collect();
    keys.join(" AND ")
}

/// A default as SQL writes it: DuckLake takes literals alone, no casts.
pub(super) fn literal(cell: &Cell, kind: ColumnKind) -> String {
    let plain = match cell {
        Cell::Null => return "NULL".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Text(value) => value.clone(),
        Cell::Blob(value) => value.iter().map(|byte| format!("\\x{byte:02X}")).collect(),
        Cell::Date(days) => crate::history::row::date_text(*days),
        Cell::Timestamp(micros) => crate::history::row::timestamp_text(*micros),
    };
    match (cell, stored_as_text(kind)) {
        (Cell::Boolean(_), _) | (Cell::Integer(_) | Cell::Float(_), false) => plain,
        _ => text(&plain),
    }
}
