//! Literals of a condition as cells, and as the kind of the column that they are compared with.
//!
//! The second matters because parameters have a type where literals of SQL have none: `t > '2024-01-01'` compares a time with
//! a *text* once the text is a parameter, and `f = 0.1` compares an `f32` with an `f64`, which are never equal.

use super::expr::Expr;
use super::functions::Unit;
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind};
use crate::history::row::{Item, cast, parse_timestamp};
use sqlparser::ast;

const DAY_MICROS: i64 = 86_400_000_000;

/// A number, a text, a truth value or null.
pub(super) fn value(value: &ast::Value) -> Result<Cell, String> {
    match value {
        ast::Value::Null => Ok(Cell::Null),
        ast::Value::Boolean(value) => Ok(Cell::Boolean(*value)),
        ast::Value::SingleQuotedString(text) => Ok(Cell::Text(text.clone())),
        ast::Value::Number(digits, false) => number(digits),
        ast::Value::HexStringLiteral(digits) => hex(digits).ok_or_else(|| "not a hexadecimal number of bytes".to_owned()),
        ast::Value::DoubleQuotedString(_) => Err("text is written in single quotes".to_owned()),
        ast::Value::Placeholder(_) => Err("placeholders are not possible, write the value".to_owned()),
        _ => Err("this kind of literal is not possible; text is written 'like this'".to_owned()),
    }
}

fn number(digits: &str) -> Result<Cell, String> {
    if let Ok(whole) = digits.parse::<i128>() {
        return Ok(Cell::Integer(whole));
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Cell::Float(value)),
        _ => Err("a number is too large or not a number".to_owned()),
    }
}

fn hex(digits: &str) -> Option<Cell> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    };
    pairs.map(byte).collect::<Option<Vec<u8>>>().map(Cell::Blob)
}

/// `TIMESTAMP '…'` and `DATE '…'`.
pub(super) fn typed(typed: &ast::TypedString) -> Result<Cell, String> {
    let name = typed.data_type.to_string();
    let kind = kind::parse(&name).filter(|kind| matches!(kind, ColumnKind::Timestamp | ColumnKind::Date));
    match (kind, value(&typed.value.value)?) {
        (Some(kind), Cell::Text(text)) => {
            let micros = parse_timestamp(&text).ok_or_else(|| format!("`{text}` is not a {}", kind::name(kind)))?;
            Ok(match kind {
                ColumnKind::Date => Cell::Date(i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or_default()),
                _ => Cell::Timestamp(micros),
            })
        }
        _ => Err(format!("a literal of type `{name}` is not possible")),
    }
}

/// `INTERVAL 1 hour`, `INTERVAL '1' hour`, `INTERVAL '1 hour 30 minutes'`.
pub(super) fn interval(interval: &ast::Interval) -> Result<Vec<(i64, Unit)>, String> {
    let odd = || "an interval is written INTERVAL '1 hour' or INTERVAL 1 HOUR, with whole numbers".to_owned();
    let ast::Interval { value: count, leading_field, leading_precision, last_field, fractional_seconds_precision } = interval;
    if leading_precision.is_some() || last_field.is_some() || fractional_seconds_precision.is_some() {
        return Err(odd());
    }
    let ast::Expr::Value(literal) = count.as_ref() else { return Err(odd()) };
    let unit = leading_field.as_ref().map(|field| Unit::named(&field.to_string()).ok_or_else(odd)).transpose()?;
    match (value(&literal.value)?, unit) {
        (Cell::Integer(count), Some(unit)) => Ok(vec![(i64::try_from(count).map_err(|_| odd())?, unit)]),
        (Cell::Text(text), Some(unit)) => Ok(vec![(text.trim().parse().map_err(|_| odd())?, unit)]),
        (Cell::Text(text), None) => pairs(&text).ok_or_else(odd),
        _ => Err(odd()),
    }
}

/// `1 hour`, `2 days 3 hours`.
fn pairs(text: &str) -> Option<Vec<(i64, Unit)>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pair = |pair: &[&str]| match pair {
        [count, unit] => Some((count.parse().ok()?, Unit::named(unit)?)),
        _ => None,
    };
    let pairs = words.chunks(2).map(pair).collect::<Option<Vec<_>>>()?;
    (1..=8).contains(&pairs.len()).then_some(pairs)
}

/// `expr`, and if it is a literal, as a value of `kind`. A number beside an integer column stays what it is: 2.5 is not 2.
pub(super) fn fit(expr: Expr, kind: Option<ColumnKind>) -> Result<Expr, String> {
    let (Some(kind), Expr::Literal(cell)) = (kind, &expr) else { return Ok(expr) };
    let item = match (cell, kind) {
        (Cell::Text(_), ColumnKind::Text) => return Ok(expr),
        (Cell::Text(text), _) => Item::Text(text.into()),
        (Cell::Integer(value), ColumnKind::Text | ColumnKind::Boolean) => Item::Integer(*value),
        (Cell::Float(value), ColumnKind::Text | ColumnKind::Float) => Item::Float(*value),
        (Cell::Boolean(value), ColumnKind::Text) => Item::Bool(*value),
        _ => return Ok(expr),
    };
    match (cast(&item, kind), cell) {
        (Ok(fitted), _) => Ok(Expr::Literal(fitted)),
        // Out of range for an `f32`, or a text such as '2.5' that only an integer column would not take: compared as it is.
        (Err(_), Cell::Float(_)) => Ok(expr),
        (Err(_), Cell::Text(text)) => Err(format!("`{text}` is not a {}", kind::name(kind))),
        (Err(why), _) => Err(why.to_string()),
    }
}
