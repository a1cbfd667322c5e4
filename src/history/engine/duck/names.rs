//! How names, texts and types of the schema look in SQL.

use crate::history::engine::columns::stored_as_text;
use crate::history::engine::covered::Covered;
use crate::history::engine::error::EngineError;
use crate::history::kind;
use crate::history::model::{Cell, Column, ColumnKind, Table};
use crate::history::settings::Settings;
use duckdb::Connection;
use std::collections::HashSet;

/// Catalog of the lake.
pub(super) const LAKE: &str = "lake.main";
/// DuckLake's own tables; each kind of catalog has them in its own default schema.
pub(super) const META: &str = "__ducklake_metadata_lake";
/// The hidden column that says whose row it is, in a lake of many gateways.
pub(super) const GATEWAY: &str = "_gateway";

/// The gateway's own part of a lake: all of it, or what carries its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    gateway: Option<String>,
    /// Columns, with their tables, that some files may have of a narrower type; in small letters.
    widened: HashSet<(String, String)>,
}

impl Own {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { gateway: settings.catalog.is_shared().then(|| settings.gateway.clone()), widened: HashSet::new() }
    }

    /// Notes which columns became wider since their table was made.
    pub(super) fn note_widened(&mut self, conn: &Connection) -> Result<(), EngineError> {
        let doing = "looking for columns that became wider";
        let sql = format!(
            "SELECT DISTINCT lower(t.table_name), lower(n.column_name) FROM {META}.ducklake_column o \
             JOIN {META}.ducklake_column n ON n.table_id = o.table_id AND n.column_id = o.column_id \
             JOIN {META}.ducklake_table t ON t.table_id = n.table_id \
             WHERE n.end_snapshot IS NULL AND o.column_type <> n.column_type"
        );
        let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(EngineError::sql(doing))?;
        self.widened = rows.collect::<Result<_, _>>().map_err(EngineError::sql(doing))?;
        Ok(())
    }

    /// A stored column as queries see it, with its name; `from` is an alias in front of it, or empty.
    ///
    /// A condition about a column that became wider must not reach the files: DuckDB casts its constant to the type that the file
    /// has, so that `v < 0.1` asks a file of integers for `v < 0` (seen with DuckDB 1.5.5: rows missing, and rows too many).
    pub(super) fn visible(&self, table: &Table, column: &Column, from: &str) -> String {
        let name = ident(&column.name);
        if stored_as_text(column.kind) {
            return format!("CAST({from}{name} AS {}) AS {name}", kind::name(column.kind));
        }
        match self.widened.contains(&(table.name.to_lowercase(), column.name.to_lowercase())) {
            true => format!("CASE WHEN {from}{name} IS NULL THEN NULL ELSE {from}{name} END AS {name}"),
            false => format!("{from}{name}"),
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.gateway.is_some()
    }

    /// The table of the lake as a relation without an alias; `at` is nothing, or `AT (…)`.
    pub(super) fn table(&self, table: &Table, at: &str) -> String {
        let name = ident(&table.name);
        match &self.gateway {
            None => format!("{LAKE}.{name} {at}"),
            Some(gateway) => format!("(FROM {LAKE}.{name} {at} WHERE {GATEWAY} = {})", text(gateway)),
        }
    }

    /// What a condition of a change must add: ` AND …`, or nothing.
    pub(super) fn and(&self, alias: &str) -> String {
        self.gateway.as_deref().map(|gateway| format!(" AND {alias}{GATEWAY} = {}", text(gateway))).unwrap_or_default()
    }

    /// The same for rows of the catalog's `ducklake_data_file`.
    pub(super) fn and_file(&self, alias: &str) -> String {
        let Some(gateway) = &self.gateway else { return String::new() };
        format!(
            " AND EXISTS (SELECT 1 FROM {META}.ducklake_file_partition_value own WHERE own.data_file_id = {alias}data_file_id \
             AND own.partition_key_index = 0 AND own.partition_value = {})",
            text(gateway)
        )
    }

    /// The same for rows of `ducklake_snapshot_changes` that say how far a log is covered.
    pub(super) fn tells(&self) -> String {
        match &self.gateway {
            None => "commit_extra_info LIKE '%log_seq%'".to_owned(),
            Some(gateway) => {
                let name = serde_json::to_string(gateway).unwrap_or_default();
                format!("contains(commit_extra_info, {})", text(&format!("\"gateway\":{name}")))
            }
        }
    }

    /// Which of the partition's keys is the day.
    pub(super) fn day_index(&self) -> u8 {
        u8::from(self.is_shared())
    }

    /// The folder of the gateway's files in that of a table.
    pub(super) fn folder(&self) -> Option<String> {
        let encoded = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        self.gateway.as_deref().map(|gateway| format!("{GATEWAY}={}", gateway.bytes().map(encoded).collect::<String>()))
    }

    /// What a commit says about the log.
    pub(super) fn covered(&self, covered: Covered) -> String {
        let mut json = serde_json::json!(covered);
        if let (Some(gateway), Some(json)) = (&self.gateway, json.as_object_mut()) {
            json.insert("gateway".to_owned(), gateway.as_str().into());
        }
        json.to_string()
    }
}

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

/// A default as SQL writes it: DuckLake takes literals alone, no casts, and `true` is none to it. A text is read as the column's type.
pub(super) fn literal(cell: &Cell) -> String {
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
    text(&plain)
}
