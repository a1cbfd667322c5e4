//! What may become of a table's columns while there are rows: decided in one place for the lake and for `check`.
//!
//! A column may be added (rows that are there get its default), a type may be widened where no value changes, a column may leave
//! the schema (the lake keeps it, out of sight). Everything else would need every file to be written anew, and is refused.

use super::model::{Column, ColumnKind};

/// What the lake must do to a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Add,
    Widen,
}

/// What has to be done so that the lake's column, of the catalog's type `stored` if it exists, becomes `column`; or the reason
/// why that is not possible. `named` gives the catalog's name of a type.
pub fn change(column: &Column, stored: Option<&str>, named: fn(ColumnKind) -> &'static str) -> Result<Change, String> {
    let wanted = named(column.kind);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::model::{Cell, ColumnSource};

    fn named(kind: ColumnKind) -> &'static str {
        match kind {
            ColumnKind::Integer => "int32",
            ColumnKind::BigInt => "int64",
            ColumnKind::Double => "float64",
            _ => "varchar",
        }
    }

    fn column(kind: ColumnKind, nullable: bool, default: Option<Cell>) -> Column {
        Column { name: "n".to_owned(), kind, nullable, default, source: ColumnSource::Payload }
    }

    #[test]
    fn a_type_becomes_wider_and_never_narrower() {
        let of = |stored, kind| change(&column(kind, true, None), Some(stored), named);
        assert_eq!(of("int32", ColumnKind::Integer), Ok(Change::None));
        assert_eq!(of("int32", ColumnKind::BigInt), Ok(Change::Widen));
        assert_eq!(of("int32", ColumnKind::Double), Ok(Change::Widen));
        assert!(of("int64", ColumnKind::Integer).is_err());
        assert!(of("int64", ColumnKind::Double).is_err(), "beyond 2^53 digits would be lost");
        assert!(of("varchar", ColumnKind::BigInt).is_err());
    }

    #[test]
    fn a_new_column_needs_something_for_the_rows_that_are_there() {
        assert_eq!(change(&column(ColumnKind::Integer, true, None), None, named), Ok(Change::Add));
        assert_eq!(change(&column(ColumnKind::Integer, false, Some(Cell::Integer(1))), None, named), Ok(Change::Add));
        assert!(change(&column(ColumnKind::Integer, false, None), None, named).unwrap_err().contains("default"));
    }
}
