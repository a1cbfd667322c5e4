//! Values at the edges of their types: where digits, signs and statistics go wrong first.

use super::*;
use crate::history::kind;
use crate::history::row::timestamp_text;

/// Values of a type, least first, at its edges and around zero.
pub(super) fn edges(kind: ColumnKind) -> Vec<Cell> {
    if let Some((low, high)) = kind::integer_range(kind) {
        // 128-bit integers of DuckDB go from -2^127 + 1 on in some of its functions; the least one is met by the random tests.
        let mut values = vec![low, low + 1, low / 2, -1, 0, 1, 2, high / 2, high / 2 + 1, high - 1, high];
        values.retain(|value| (low..=high).contains(value));
        values.sort_unstable();
        values.dedup();
        return values.into_iter().map(Cell::Integer).collect();
    }
    match kind {
        ColumnKind::Boolean => vec![Cell::Boolean(false), Cell::Boolean(true)],
        ColumnKind::Float => {
            let values = [
                f32::NEG_INFINITY,
                f32::MIN,
                -1.5,
                -0.0,
                0.0,
                f32::MIN_POSITIVE,
                0.1,
                0.7,
                1.5,
                f32::MAX,
                f32::INFINITY,
                f32::NAN,
            ];
            values.into_iter().map(|value| Cell::Float(value.into())).collect()
        }
        ColumnKind::Double => {
            let values = [
                f64::NEG_INFINITY,
                f64::MIN,
                -1.5,
                -0.0,
                0.0,
                5e-324,
                0.1,
                0.100_000_001_490_116_12,
                2.5,
                1e300,
                f64::MAX,
                f64::INFINITY,
                f64::NAN,
            ];
            values.into_iter().map(Cell::Float).collect()
        }
        ColumnKind::Text => {
            ["", " a", "A", "a", "a\u{0}b", "ab", "ß", "İ", "ẞ", "é", "e\u{301}", "日本", "🙂"].map(text).to_vec()
        }
        ColumnKind::Blob => [&b""[..], b"\0", b"a'\\\"", b"\x7f\x80\xff"].map(|bytes| Cell::Blob(bytes.to_vec())).to_vec(),
        ColumnKind::Date => [-719_162, -1, 0, 19_723, 2_932_896].map(Cell::Date).to_vec(),
        _ => [-62_135_596_800_000_000, -1, 0, 1, 1_704_067_200_000_000, 1_709_210_096_123_456, 253_402_300_799_999_999]
            .map(Cell::Timestamp)
            .to_vec(),
    }
}

/// The value as a caller writes it in a condition.
pub(super) fn literal(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Float(value) if value.is_finite() => format!("{value:e}"),
        Cell::Float(value) => format!("CAST('{value}' AS DOUBLE)"),
        Cell::Text(value) => format!("'{}'", value.replace('\'', "''")),
        Cell::Blob(value) => {
            format!("CAST('{}' AS BLOB)", value.iter().map(|byte| format!("\\x{byte:02X}")).collect::<String>())
        }
        Cell::Date(days) => format!("DATE '{}'", crate::history::row::date_text(*days)),
        Cell::Timestamp(micros) => format!("TIMESTAMP '{}'", timestamp_text(*micros)),
    }
}
