//! Values while a query is evaluated: how they compare, and how they are cast, as DuckDB has it.

use crate::history::kind;
use crate::history::model::{Cell, ColumnKind};
use crate::history::row::{Item, cast};
use std::borrow::Cow;
use std::cmp::Ordering;

const DAY_MICROS: i64 = 86_400_000_000;
/// What an interval's month counts for when intervals are compared.
const MONTH_MICROS: i128 = 30 * DAY_MICROS as i128;

/// One value. Texts are borrowed from the rows as long as nothing changes them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    Blob(Cow<'a, [u8]>),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Timestamp(i64),
    Interval(Interval),
}

/// A span of time; days count 24 hours, because times are UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::history) struct Interval {
    pub(in crate::history) months: i64,
    pub(in crate::history) micros: i64,
}

/// What a value is, as far as that is known before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::history) enum Type {
    /// Nothing but null.
    Null,
    Interval,
    Of(ColumnKind),
}

impl<'a> Value<'a> {
    pub(in crate::history) fn of(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Boolean(value) => Self::Boolean(*value),
            Cell::Integer(value) => Self::Integer(*value),
            Cell::Float(value) => Self::Float(*value),
            Cell::Text(value) => Self::Text(Cow::Borrowed(value)),
            Cell::Blob(value) => Self::Blob(Cow::Borrowed(value)),
            Cell::Date(value) => Self::Date(*value),
            Cell::Timestamp(value) => Self::Timestamp(*value),
        }
    }

    pub(in crate::history) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value to be kept. An interval is none that could be.
    pub(in crate::history) fn into_cell(self) -> Cell {
        match self {
            Self::Null | Self::Interval(_) => Cell::Null,
            Self::Boolean(value) => Cell::Boolean(value),
            Self::Integer(value) => Cell::Integer(value),
            Self::Float(value) => Cell::Float(value),
            Self::Text(value) => Cell::Text(value.into_owned()),
            Self::Blob(value) => Cell::Blob(value.into_owned()),
            Self::Date(value) => Cell::Date(value),
            Self::Timestamp(value) => Cell::Timestamp(value),
        }
    }

    /// As a number, if it is one.
    #[expect(clippy::cast_precision_loss, reason = "as near as a float gets")]
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Boolean(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// Cast to `kind` from a value of type `from`; an error is in DuckDB's words.
    pub(in crate::history) fn cast(self, from: Type, kind: ColumnKind) -> Result<Self, String> {
        let item = match (&self, kind) {
            (Self::Null, _) => return Ok(Self::Null),
            (Self::Boolean(_), ColumnKind::Boolean) | (Self::Text(_), ColumnKind::Text) => return Ok(self),
            (Self::Timestamp(_), ColumnKind::Timestamp) | (Self::Date(_), ColumnKind::Date) => return Ok(self),
            (Self::Float(_), ColumnKind::Double) | (Self::Blob(_), ColumnKind::Blob) => return Ok(self),
            (Self::Text(text), ColumnKind::Blob) => return unescape(text).map(|bytes| Self::Blob(bytes.into())),
            (Self::Blob(bytes), ColumnKind::Text) => return Ok(Self::Text(escape(bytes).into())),
            // Not a number is not zero; rows are stricter.
            (Self::Float(value), ColumnKind::Boolean) => return Ok(Self::Boolean(*value != 0.0)),
            (Self::Float(value), ColumnKind::Text) => return Ok(Self::Text(float_text(*value, from).into())),
            (Self::Boolean(value), _) => Item::Bool(*value),
            (Self::Integer(value), _) => Item::Integer(*value),
            (Self::Float(value), _) => Item::Float(*value),
            (Self::Text(value), _) => Item::Text(Cow::Borrowed(value.as_ref())),
            (Self::Blob(value), _) => Item::Bytes(Cow::Borrowed(value.as_ref())),
            (Self::Date(value), _) => Item::Days(*value),
            (Self::Timestamp(value), _) => Item::Micros(*value),
            (Self::Interval(_), _) => return Err("Conversion Error: an interval cannot be cast".to_owned()),
        };
        let cell = cast(&item, kind).map_err(|error| format!("Conversion Error: {error}"))?;
        Ok(match cell {
            Cell::Text(value) => Self::Text(value.into()),
            Cell::Blob(value) => Self::Blob(value.into()),
            Cell::Null => Self::Null,
            Cell::Boolean(value) => Self::Boolean(value),
            Cell::Integer(value) => Self::Integer(value),
            Cell::Float(value) => Self::Float(value),
            Cell::Date(value) => Self::Date(value),
            Cell::Timestamp(value) => Self::Timestamp(value),
        })
    }
}

/// Order of two values that are not null and of kinds that [`common`] has brought together.
pub(in crate::history) fn compare(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    match (left, right) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Timestamp(b)) => (i64::from(*a) * DAY_MICROS).cmp(b),
        (Value::Timestamp(a), Value::Date(b)) => a.cmp(&(i64::from(*b) * DAY_MICROS)),
        (Value::Interval(a), Value::Interval(b)) => a.length().cmp(&b.length()),
        _ => match (left.number(), right.number()) {
            (Some(a), Some(b)) => floats(a, b),
            _ => Ordering::Equal,
        },
    }
}

/// NaN equals itself and is above everything, and the zeros are equal.
pub(super) fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Interval {
    fn length(self) -> i128 {
        i128::from(self.months) * MONTH_MICROS + i128::from(self.micros)
    }
}

/// A key that is equal for values that SQL finds equal; nulls are equal to each other here, as in groups.
pub(super) fn write_key(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Boolean(value) => out.extend([1, u8::from(*value)]),
        Value::Integer(value) => {
            out.push(2);
            out.extend(value.to_le_bytes());
        }
        Value::Float(value) => {
            out.push(3);
            out.extend(if value.is_nan() { f64::NAN } else { value + 0.0 }.to_le_bytes());
        }
        Value::Text(value) => write_bytes(4, value.as_bytes(), out),
        Value::Blob(value) => write_bytes(5, value, out),
        Value::Date(value) => {
            out.push(6);
            out.extend(value.to_le_bytes());
        }
        Value::Timestamp(value) => {
            out.push(7);
            out.extend(value.to_le_bytes());
        }
        Value::Interval(value) => {
            out.push(8);
            out.extend(value.length().to_le_bytes());
        }
    }
}

fn write_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

/// The type in which two values meet, to be compared or to be alternatives of one expression.
pub(super) fn common(left: Type, right: Type) -> Result<Type, String> {
    use ColumnKind::{Boolean, Date, Text, Timestamp};
    let (a, b) = match (left, right) {
        (Type::Null, other) | (other, Type::Null) => return Ok(other),
        (Type::Interval, Type::Interval) => return Ok(Type::Interval),
        (Type::Of(a), Type::Of(b)) => (a, b),
        _ => return Err("Binder Error: an interval cannot be compared with something else".to_owned()),
    };
    if a == b {
        return Ok(left);
    }
    if is_number(a) && is_number(b) {
        return Ok(Type::Of(numbers(a, b)));
    }
    match (a, b) {
        (Date, Timestamp) | (Timestamp, Date) => Ok(Type::Of(Timestamp)),
        // A text becomes what it is compared with.
        (Text, other) | (other, Text) => Ok(Type::Of(other)),
        (Boolean, other) | (other, Boolean) if is_number(other) => Ok(Type::Of(other)),
        _ => Err(format!("Binder Error: values of type {} and {} cannot be compared", kind::name(a), kind::name(b))),
    }
}

pub(super) fn is_number(kind: ColumnKind) -> bool {
    is_float(kind) || kind::integer_range(kind).is_some()
}

pub(super) fn is_float(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Float | ColumnKind::Double)
}

/// The kind that holds numbers of both.
pub(super) fn numbers(a: ColumnKind, b: ColumnKind) -> ColumnKind {
    use ColumnKind::{BigInt, Double, Float, HugeInt, Integer, SmallInt, TinyInt, UHugeInt};
    let signed = |kind| kind::integer_range(kind).is_some_and(|(low, _)| low < 0);
    match (a, b) {
        (Double, _) | (_, Double) => return Double,
        (Float, _) | (_, Float) => return Float,
        // No integer has them all.
        (UHugeInt, other) | (other, UHugeInt) if signed(other) => return Double,
        _ => {}
    }
    let (Some((a_low, a_high)), Some((b_low, b_high))) = (kind::integer_range(a), kind::integer_range(b)) else {
        return Double;
    };
    let (low, high) = (a_low.min(b_low), a_high.max(b_high));
    if let Some(kind) = [a, b].into_iter().find(|kind| kind::integer_range(*kind) == Some((low, high))) {
        return kind;
    }
    let holds = |kind: &ColumnKind| kind::integer_range(*kind).is_some_and(|range| range.0 <= low && high <= range.1);
    [TinyInt, SmallInt, Integer, BigInt, HugeInt].into_iter().find(holds).unwrap_or(HugeInt)
}

/// As DuckDB writes a float: the shortest digits that come back, with an exponent beyond 16 digits.
fn float_text(value: f64, from: Type) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a FLOAT has no more digits than an f32")]
    let narrow = (from == Type::Of(ColumnKind::Float)).then_some(value as f32);
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = value.abs();
    if value != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = narrow.map_or_else(|| format!("{value:e}"), |narrow| format!("{narrow:e}"));
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    narrow.map_or_else(|| format!("{value:?}"), |narrow| format!("{narrow:?}"))
}

/// `\xNN` for what is no printable ASCII.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if (32..127).contains(byte) && !matches!(byte, b'\\' | b'\'' | b'"') {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let odd = || "Conversion Error: a BLOB is written in ASCII, other bytes as \\xNN".to_owned();
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => {
                let digits = [rest.next(), rest.next(), rest.next()];
                let [Some(b'x'), Some(high), Some(low)] = digits else { return Err(odd()) };
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low).ok_or_else(odd)?
            }
            byte if byte.is_ascii() => byte,
            _ => return Err(odd()),
        };
        bytes.push(byte);
    }
    Ok(bytes)
}
