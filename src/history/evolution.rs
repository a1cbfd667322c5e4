//! What may become of a table's columns while there are rows: decided in one place for the lake and for `check`.
//!
//! A column may be added (rows that are there get its default), a type may be widened where no value changes, a column may leave
//! the schema (the lake keeps it, out of sight). Everything else would need every file to be written anew, and is refused.

use super::kind;
use super::model::{Column, Schema, Table};
use crate::disk::Disk;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const FILE: &str = "schema.json";

/// What the lake must do to a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Add,
    Widen,
}

/// What has to be done so that the lake's column, of the catalog's type `stored` if it exists, becomes `column`; or the reason
/// why that is not possible.
pub fn change(column: &Column, stored: Option<&str>) -> Result<Change, String> {
    let wanted = kind::catalog_name(column.kind);
    match stored {
        None if column.nullable || column.default.is_some() => Ok(Change::Add),
        None => Err(format!("column `{}` is new and NOT NULL: the rows that are there need a `default`", column.name)),
        Some(stored) if stored == wanted => Ok(Change::None),
        Some(stored) if widens(stored, wanted) => Ok(Change::Widen),
        Some(stored) => Err(format!("column `{}` is kept as {stored}, which the schema now wants as {wanted}", column.name)),
    }
}

/// Whether every value of one type is a value of the other; types as the catalog names them.
fn widens(from: &str, to: &str) -> bool {
    const WIDER: [(&str, &[&str]); 9] = [
        ("int8", &["int16", "int32", "int64", "float32", "float64"]),
        ("int16", &["int32", "int64", "float32", "float64"]),
        ("int32", &["int64", "float64"]),
        ("uint8", &["uint16", "uint32", "uint64", "int16", "int32", "int64", "float32", "float64"]),
        ("uint16", &["uint32", "uint64", "int32", "int64", "float32", "float64"]),
        ("uint32", &["uint64", "int64", "float64"]),
        ("float32", &["float64"]),
        ("date", &["timestamp"]),
        ("boolean", &["int8", "int16", "int32", "int64"]),
    ];
    WIDER.iter().any(|(narrow, wide)| *narrow == from && wide.contains(&to))
}

/// Every pair of types of which the first may become the second.
#[cfg(test)]
pub(crate) fn widenings() -> Vec<(super::model::ColumnKind, super::model::ColumnKind)> {
    let pairs = kind::ALL.into_iter().flat_map(|from| kind::ALL.into_iter().map(move |to| (from, to)));
    pairs.filter(|(from, to)| widens(kind::catalog_name(*from), kind::catalog_name(*to))).collect()
}

/// The tables as the lake has them, in `lake/schema.json`: what the catalog does not know (keys), and what `check` needs to know
/// while the catalog is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    tables: BTreeMap<String, RememberedTable>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RememberedTable {
    /// Name and type in the catalog; also of columns that the schema does not have any more.
    columns: BTreeMap<String, String>,
    keys: Vec<String>,
}

/// Something that the lake cannot follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub table: String,
    /// If a column is to blame.
    pub column: Option<String>,
    pub reason: String,
}

impl Remembered {
    /// What is remembered below the folder `lake`; nothing if there is no lake, or it is from the first release.
    #[must_use]
    pub fn read(lake: &Path) -> Self {
        let text = std::fs::read_to_string(lake.join(FILE)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Remembers the tables of `schema` that `usable` allows, if anything about them is new.
    pub fn note(mut self, lake: &Path, disk: &dyn Disk, schema: &Schema, usable: impl Fn(&str) -> bool) -> io::Result<()> {
        let before = self.clone();
        for table in schema.tables.iter().filter(|table| usable(&table.name)) {
            let known = self.tables.entry(table.name.to_lowercase()).or_default();
            for column in &table.columns {
                known.columns.insert(column.name.to_lowercase(), kind::catalog_name(column.kind).to_owned());
            }
            known.keys = keys(table);
        }
        if self == before {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&self).expect("texts are always JSON");
        disk.replace(&lake.join(FILE), text.as_bytes())
    }

    /// Why `table` cannot have its keys, if so.
    #[must_use]
    pub fn keys_conflict(&self, table: &Table) -> Option<String> {
        let known = self.tables.get(&table.name.to_lowercase())?;
        let (had, wanted) = (&known.keys, keys(table));
        let shown = |keys: &[String]| if keys.is_empty() { "none".to_owned() } else { format!("`{}`", keys.join("`, `")) };
        (*had != wanted).then(|| {
            format!("the keys are {}, which the schema now wants as {}; rows cannot follow that", shown(had), shown(&wanted))
        })
    }

    /// Everything in `schema` that the lake cannot follow.
    #[must_use]
    pub fn conflicts(&self, schema: &Schema) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for table in &schema.tables {
            let Some(known) = self.tables.get(&table.name.to_lowercase()) else { continue };
            let mut add = |column: Option<&Column>, reason| {
                let column = column.map(|column| column.name.clone());
                conflicts.push(Conflict { table: table.name.clone(), column, reason });
            };
            if let Some(reason) = self.keys_conflict(table) {
                add(None, reason);
            }
            for column in &table.columns {
                if let Err(reason) = change(column, known.columns.get(&column.name.to_lowercase()).map(String::as_str)) {
                    add(Some(column), reason);
                }
            }
        }
        conflicts
    }
}

fn keys(table: &Table) -> Vec<String> {
    table.keys.iter().filter_map(|&key| table.columns.get(key)).map(|column| column.name.to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;
    use crate::history::model::{Cell, ColumnKind, ColumnSource};
    use crate::history::schema;

    fn column(kind: ColumnKind, nullable: bool, default: Option<Cell>) -> Column {
        Column { name: "n".to_owned(), kind, nullable, default, source: ColumnSource::Payload }
    }

    #[test]
    fn a_type_becomes_wider_and_never_narrower() {
        let of = |stored, kind| change(&column(kind, true, None), Some(stored));
        assert_eq!(of("int32", ColumnKind::Integer), Ok(Change::None));
        assert_eq!(of("int32", ColumnKind::BigInt), Ok(Change::Widen));
        assert_eq!(of("int32", ColumnKind::Double), Ok(Change::Widen));
        assert!(of("int64", ColumnKind::Integer).is_err());
        assert!(of("int64", ColumnKind::Double).is_err(), "beyond 2^53 digits would be lost");
        assert!(of("varchar", ColumnKind::BigInt).is_err());
    }

    #[test]
    fn a_new_column_needs_something_for_the_rows_that_are_there() {
        assert_eq!(change(&column(ColumnKind::Integer, true, None), None), Ok(Change::Add));
        assert_eq!(change(&column(ColumnKind::Integer, false, Some(Cell::Integer(1))), None), Ok(Change::Add));
        assert!(change(&column(ColumnKind::Integer, false, None), None).unwrap_err().contains("default"));
    }

    #[test]
    fn what_the_lake_has_is_remembered_and_compared() {
        let dir = tempfile::tempdir().unwrap();
        let of = |columns: &str, keys: &str| {
            schema::parse(&format!(r#"{{"tables": [{{"table": "t", "keys": [{keys}], "columns": [{columns}]}}]}}"#)).unwrap()
        };
        let first = of(r#"{"col": "a", "type": "TEXT"}, {"col": "n", "type": "INTEGER"}"#, "");
        Remembered::read(dir.path()).note(dir.path(), &SystemDisk, &first, |_| true).unwrap();
        let remembered = Remembered::read(dir.path());
        assert_eq!(remembered.conflicts(&first), []);
        let wider = of(r#"{"col": "n", "type": "DOUBLE"}, {"col": "new", "type": "DATE"}"#, "");
        assert_eq!(remembered.conflicts(&wider), []);
        let other = of(r#"{"col": "a", "type": "BLOB"}, {"col": "n", "type": "TINYINT"}"#, r#""a""#);
        let reasons: Vec<String> = remembered.conflicts(&other).into_iter().map(|conflict| conflict.reason).collect();
        assert_eq!(
            reasons,
            [
                "the keys are none, which the schema now wants as `a`; rows cannot follow that",
                "column `a` is kept as varchar, which the schema now wants as blob",
                "column `n` is kept as int32, which the schema now wants as int8",
            ]
        );
    }
}
