//! One value into one column, as the SQL engine's cast would do it (`protocol/rembus.md` section 14.2), but one value at a
//! time: a value that does not fit costs its own row and nothing else.
//!
//! | from | to |
//! |---|---|
//! | boolean | `BOOLEAN`, numbers (0 and 1), `TEXT` |
//! | integer | integers in range, floats, `BOOLEAN` (not zero), `TEXT` |
//! | float | floats, integers (to the nearest, ties to even), `BOOLEAN`, `TEXT` |
//! | text | `TEXT`, `BLOB` (its UTF-8), and whatever it reads as; times without an offset are UTC |
//! | bytes | `BLOB`, `TEXT` if they are UTF-8 |
//! | time, date | `TIMESTAMP`, `DATE`, `TEXT` |
//! | list, map | `TEXT`, as JSON |
//!
//! Numbers do not become times: the reference refuses them too, and nobody could tell seconds from milliseconds.

use super::civil::{date_text, parse_timestamp, timestamp_text};
use super::item::Item;
use super::json;
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind};

const DAY_MICROS: i64 = 86_400_000_000;

/// Why a value does not go into a column, in words that fit after "column `x`: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CastError(pub String);

/// The value as a cell of `kind`. Null stays null; whether that is allowed is the column's business.
pub fn cast(value: &Item<'_>, kind: ColumnKind) -> Result<Cell, CastError> {
    if matches!(value, Item::Null) {
        return Ok(Cell::Null);
    }
    let cell = match kind {
        ColumnKind::Boolean => boolean(value).map(Cell::Boolean),
        ColumnKind::Float => return float(value, kind).and_then(|value| narrow(value, kind)),
        ColumnKind::Double => return float(value, kind).map(Cell::Float),
        ColumnKind::Text => text(value).map(Cell::Text),
        ColumnKind::Blob => match value {
            Item::Bytes(bytes) => Some(Cell::Blob(bytes.to_vec())),
            Item::Text(text) => Some(Cell::Blob(text.as_bytes().to_vec())),
            _ => None,
        },
        ColumnKind::Date => match value {
            Item::Days(days) => Some(Cell::Date(*days)),
            Item::Micros(micros) => i32::try_from(micros.div_euclid(DAY_MICROS)).ok().map(Cell::Date),
            Item::Text(text) => {
                parse_timestamp(text).and_then(|micros| i32::try_from(micros.div_euclid(DAY_MICROS)).ok()).map(Cell::Date)
            }
            _ => None,
        },
        ColumnKind::Timestamp => match value {
            Item::Micros(micros) => Some(Cell::Timestamp(*micros)),
            Item::Days(days) => Some(Cell::Timestamp(i64::from(*days) * DAY_MICROS)),
            Item::Text(text) => parse_timestamp(text).map(Cell::Timestamp),
            _ => None,
        },
        _ => return integer(value, kind),
    };
    cell.ok_or_else(|| refuse(value, kind))
}

fn refuse(value: &Item<'_>, kind: ColumnKind) -> CastError {
    CastError(format!("{} does not become {}", value.describe(), kind::name(kind)))
}

fn out_of_range(value: &Item<'_>, kind: ColumnKind) -> CastError {
    CastError(format!("{} is out of range for {}", value.describe(), kind::name(kind)))
}

fn boolean(value: &Item<'_>) -> Option<bool> {
    match value {
        Item::Bool(value) => Some(*value),
        Item::Integer(value) => Some(*value != 0),
        Item::Float(value) if !value.is_nan() => Some(*value != 0.0),
        Item::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Item<'_>, kind: ColumnKind) -> Result<Cell, CastError> {
    let (low, high) = kind::integer_range(kind).ok_or_else(|| refuse(value, kind))?;
    let whole = match value {
        Item::Bool(value) => i128::from(*value),
        Item::Integer(value) => *value,
        Item::Huge(..) => return Err(out_of_range(value, kind)),
        Item::Float(float) => round(*float).ok_or_else(|| out_of_range(value, kind))?,
        Item::Text(text) => {
            let text = text.trim();
            match text.parse::<i128>() {
                Ok(whole) => whole,
                Err(_) => {
                    // In text a half goes away from zero, unlike in a float; the engine has it so.
                    let float = number(text).ok_or_else(|| refuse(value, kind))?;
                    round(float.round()).ok_or_else(|| out_of_range(value, kind))?
                }
            }
        }
        _ => return Err(refuse(value, kind)),
    };
    if (low..=high).contains(&whole) { Ok(Cell::Integer(whole)) } else { Err(out_of_range(value, kind)) }
}

/// To the nearest integer, ties to even, as DuckDB casts. NaN and what no `i128` holds are nothing.
fn round(value: f64) -> Option<i128> {
    let rounded = value.round_ties_even();
    // 2^127 as a float; everything below it fits.
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (rounded.abs() < 170_141_183_460_469_231_731_687_303_715_884_105_728.0).then_some(rounded as i128)
}

#[expect(clippy::cast_precision_loss, reason = "a float column holds what a float can hold")]
fn float(value: &Item<'_>, kind: ColumnKind) -> Result<f64, CastError> {
    match value {
        Item::Bool(value) => Ok(f64::from(u8::from(*value))),
        Item::Integer(value) => Ok(*value as f64),
        Item::Huge(huge, _) if huge.is_infinite() => Err(out_of_range(value, kind)),
        Item::Huge(value, _) | Item::Float(value) => Ok(*value),
        Item::Text(text) => number(text.trim()).ok_or_else(|| refuse(value, kind)),
        _ => Err(refuse(value, kind)),
    }
}

/// A number in text. `inf` and `nan` are numbers when written so; `1e999` is not infinity but a mistake.
fn number(text: &str) -> Option<f64> {
    let value = text.parse::<f64>().ok()?;
    let spelled = text.bytes().any(|byte| matches!(byte, b'i' | b'I' | b'n' | b'N'));
    (value.is_finite() || spelled).then_some(value)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what a FLOAT column does")]
fn narrow(value: f64, kind: ColumnKind) -> Result<Cell, CastError> {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return Err(out_of_range(&Item::Float(value), kind));
    }
    Ok(Cell::Float(narrow.into()))
}

fn text(value: &Item<'_>) -> Option<String> {
    Some(match value {
        Item::Text(text) => text.to_string(),
        Item::Bool(value) => value.to_string(),
        Item::Integer(value) => value.to_string(),
        Item::Float(value) if value.is_nan() => "nan".to_owned(),
        Item::Float(value) => format!("{value:?}"),
        Item::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.to_owned(),
        Item::Micros(micros) => timestamp_text(*micros),
        Item::Days(days) => date_text(*days),
        Item::List(_) | Item::Map(_) => {
            let mut text = String::new();
            json::write(value, &mut text).ok()?;
            text
        }
        Item::Huge(_, digits) => digits.as_deref()?.to_owned(),
        Item::Null | Item::Frame(_) | Item::Simple(_) => return None,
    })
}
