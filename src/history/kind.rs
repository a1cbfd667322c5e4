//! Column types: their names in a schema file and in SQL, and their ranges.

use super::model::ColumnKind;

/// What a schema file may write, with the names people bring along from other databases. Compared without case.
const NAMES: [(&str, ColumnKind); 61] = [
    ("BOOLEAN", ColumnKind::Boolean),
    ("BOOL", ColumnKind::Boolean),
    ("LOGICAL", ColumnKind::Boolean),
    ("TINYINT", ColumnKind::TinyInt),
    ("INT1", ColumnKind::TinyInt),
    ("SMALLINT", ColumnKind::SmallInt),
    ("INT2", ColumnKind::SmallInt),
    ("INT16", ColumnKind::SmallInt),
    ("SHORT", ColumnKind::SmallInt),
    ("INTEGER", ColumnKind::Integer),
    ("INT", ColumnKind::Integer),
    ("INT4", ColumnKind::Integer),
    ("INT32", ColumnKind::Integer),
    ("SIGNED", ColumnKind::Integer),
    ("BIGINT", ColumnKind::BigInt),
    ("INT8", ColumnKind::BigInt),
    ("INT64", ColumnKind::BigInt),
    ("LONG", ColumnKind::BigInt),
    ("HUGEINT", ColumnKind::HugeInt),
    ("INT128", ColumnKind::HugeInt),
    ("UTINYINT", ColumnKind::UTinyInt),
    ("UINT8", ColumnKind::UTinyInt),
    ("USMALLINT", ColumnKind::USmallInt),
    ("UINT16", ColumnKind::USmallInt),
    ("UINTEGER", ColumnKind::UInteger),
    ("UINT", ColumnKind::UInteger),
    ("UINT32", ColumnKind::UInteger),
    ("UBIGINT", ColumnKind::UBigInt),
    ("UINT64", ColumnKind::UBigInt),
    ("UHUGEINT", ColumnKind::UHugeInt),
    ("UINT128", ColumnKind::UHugeInt),
    ("FLOAT", ColumnKind::Float),
    ("FLOAT4", ColumnKind::Float),
    ("FLOAT32", ColumnKind::Float),
    ("REAL", ColumnKind::Float),
    ("DOUBLE", ColumnKind::Double),
    ("DOUBLE PRECISION", ColumnKind::Double),
    ("FLOAT8", ColumnKind::Double),
    ("FLOAT64", ColumnKind::Double),
    ("TEXT", ColumnKind::Text),
    ("VARCHAR", ColumnKind::Text),
    ("STRING", ColumnKind::Text),
    ("CHAR", ColumnKind::Text),
    ("BPCHAR", ColumnKind::Text),
    ("CHARACTER VARYING", ColumnKind::Text),
    ("BLOB", ColumnKind::Blob),
    ("BYTEA", ColumnKind::Blob),
    ("BYTES", ColumnKind::Blob),
    ("BINARY", ColumnKind::Blob),
    ("VARBINARY", ColumnKind::Blob),
    ("DATE", ColumnKind::Date),
    ("TIMESTAMP", ColumnKind::Timestamp),
    ("TIMESTAMP WITHOUT TIME ZONE", ColumnKind::Timestamp),
    ("TIMESTAMP_US", ColumnKind::Timestamp),
    ("DATETIME", ColumnKind::Timestamp),
    // Close relatives that fit: kept at microseconds and without zone.
    ("TIMESTAMP_S", ColumnKind::Timestamp),
    ("TIMESTAMP_MS", ColumnKind::Timestamp),
    ("TIMESTAMP_NS", ColumnKind::Timestamp),
    ("TIMESTAMPTZ", ColumnKind::Timestamp),
    ("TIMESTAMP WITH TIME ZONE", ColumnKind::Timestamp),
    ("NVARCHAR", ColumnKind::Text),
];

/// Every type under its own name, for messages.
pub const ALL: [ColumnKind; 17] = [
    ColumnKind::Boolean,
    ColumnKind::TinyInt,
    ColumnKind::SmallInt,
    ColumnKind::Integer,
    ColumnKind::BigInt,
    ColumnKind::HugeInt,
    ColumnKind::UTinyInt,
    ColumnKind::USmallInt,
    ColumnKind::UInteger,
    ColumnKind::UBigInt,
    ColumnKind::UHugeInt,
    ColumnKind::Float,
    ColumnKind::Double,
    ColumnKind::Text,
    ColumnKind::Blob,
    ColumnKind::Date,
    ColumnKind::Timestamp,
];

/// The type of this name, whatever its case. A length, as in `VARCHAR(20)`, is read and not enforced, as DuckDB does.
#[must_use]
pub fn parse(name: &str) -> Option<ColumnKind> {
    let mut words = name.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_uppercase();
    let find = |words: &str| NAMES.iter().find(|(known, _)| *known == words).map(|(_, kind)| *kind);
    if let Some((head, length)) = words.strip_suffix(')').and_then(|open| open.split_once('(')) {
        if length.trim().is_empty() || !length.trim().bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let kind = find(head.trim())?;
        return matches!(kind, ColumnKind::Text | ColumnKind::Blob).then_some(kind);
    }
    words.truncate(64);
    find(&words)
}

/// The name in SQL, fit for DDL and `CAST`.
#[must_use]
pub fn name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Boolean => "BOOLEAN",
        ColumnKind::TinyInt => "TINYINT",
        ColumnKind::SmallInt => "SMALLINT",
        ColumnKind::Integer => "INTEGER",
        ColumnKind::BigInt => "BIGINT",
        ColumnKind::HugeInt => "HUGEINT",
        ColumnKind::UTinyInt => "UTINYINT",
        ColumnKind::USmallInt => "USMALLINT",
        ColumnKind::UInteger => "UINTEGER",
        ColumnKind::UBigInt => "UBIGINT",
        ColumnKind::UHugeInt => "UHUGEINT",
        ColumnKind::Float => "FLOAT",
        ColumnKind::Double => "DOUBLE",
        ColumnKind::Text => "TEXT",
        ColumnKind::Blob => "BLOB",
        ColumnKind::Date => "DATE",
        ColumnKind::Timestamp => "TIMESTAMP",
    }
}

/// The type under which the lake's catalog knows such a column.
#[must_use]
pub fn catalog_name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Boolean => "boolean",
        ColumnKind::TinyInt => "int8",
        ColumnKind::SmallInt => "int16",
        ColumnKind::Integer => "int32",
        ColumnKind::BigInt => "int64",
        ColumnKind::UTinyInt => "uint8",
        ColumnKind::USmallInt => "uint16",
        ColumnKind::UInteger => "uint32",
        ColumnKind::UBigInt => "uint64",
        ColumnKind::Float => "float32",
        ColumnKind::Double => "float64",
        ColumnKind::HugeInt | ColumnKind::UHugeInt | ColumnKind::Text => "varchar",
        ColumnKind::Blob => "blob",
        ColumnKind::Date => "date",
        ColumnKind::Timestamp => "timestamp",
    }
}

/// Lowest and highest value of an integer type; `None` for the others.
#[must_use]
pub fn integer_range(kind: ColumnKind) -> Option<(i128, i128)> {
    Some(match kind {
        ColumnKind::TinyInt => (i8::MIN.into(), i8::MAX.into()),
        ColumnKind::SmallInt => (i16::MIN.into(), i16::MAX.into()),
        ColumnKind::Integer => (i32::MIN.into(), i32::MAX.into()),
        ColumnKind::BigInt => (i64::MIN.into(), i64::MAX.into()),
        ColumnKind::HugeInt => (i128::MIN, i128::MAX),
        ColumnKind::UTinyInt => (0, u8::MAX.into()),
        ColumnKind::USmallInt => (0, u16::MAX.into()),
        ColumnKind::UInteger => (0, u32::MAX.into()),
        ColumnKind::UBigInt => (0, u64::MAX.into()),
        ColumnKind::UHugeInt => (0, i128::MAX),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_under_its_own_name_in_any_case() {
        for kind in ALL {
            assert_eq!(parse(name(kind)), Some(kind));
            assert_eq!(parse(&name(kind).to_lowercase()), Some(kind));
        }
    }

    #[test]
    fn names_from_other_databases_are_understood() {
        assert_eq!(parse(" double   precision "), Some(ColumnKind::Double));
        assert_eq!(parse("varchar(20)"), Some(ColumnKind::Text));
        assert_eq!(parse("bytea"), Some(ColumnKind::Blob));
        assert_eq!(parse("datetime"), Some(ColumnKind::Timestamp));
    }

    #[test]
    fn types_that_would_lose_something_are_not_known() {
        for odd in
            ["DECIMAL(10,2)", "DOUBLE(3)", "VARCHAR()", "VARCHAR(a)", "", "()", "INTEGER[]", "STRUCT(a INTEGER)", "TEXT; DROP"]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
