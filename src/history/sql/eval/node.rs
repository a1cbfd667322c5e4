//! An expression that knows where its columns are and what type it has, and what it makes of a row.

use super::scalar;
use super::time;
use super::value::{Interval, Type, Value, compare, is_float};
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::case;
use crate::history::sql::expr::{Case, Failing, Is, Operator};
use crate::history::sql::functions::{Part, Unit};
use std::cmp::Ordering;

/// The values that an expression is about: a row's columns, or what was gathered of a group.
pub(in crate::history) trait Fields {
    fn field(&self, index: usize) -> Value<'_>;
}

impl Fields for [Cell] {
    fn field(&self, index: usize) -> Value<'_> {
        self.get(index).map_or(Value::Null, Value::of)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) struct Node {
    pub(super) op: Op,
    pub(super) ty: Type,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    Field(usize),
    Const(Cell),
    Interval(Interval),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Both sides have one type.
    Compare(Operator, Box<Node>, Box<Node>),
    Arithmetic(Operator, Box<Node>, Box<Node>),
    Is(Is, bool, Box<Node>),
    In(Box<Node>, Vec<Node>, bool),
    Between(Box<Node>, Box<Node>, Box<Node>, bool),
    Like {
        expr: Box<Node>,
        pattern: Box<Node>,
        escape: Option<char>,
        case: Case,
        negated: bool,
    },
    /// Conditions and results; then the alternative.
    Case(Vec<(Node, Node)>, Option<Box<Node>>),
    Cast(Box<Node>, ColumnKind, Failing),
    Call(&'static str, Vec<Node>),
    Trunc(Unit, Box<Node>),
    /// Start of the bucket of so many microseconds.
    Bucket(i64, Box<Node>),
    Part(Part, Box<Node>),
    Diff(Unit, Box<Node>, Box<Node>),
}

pub(super) type Evaluated<'a> = Result<Value<'a>, String>;

impl Node {
    pub(super) fn constant(cell: Cell, ty: Type) -> Self {
        Self { op: Op::Const(cell), ty }
    }

    /// Whether the row is wanted: null is no.
    pub(in crate::history) fn holds<F: Fields + ?Sized>(&self, row: &F) -> Result<bool, String> {
        Ok(matches!(self.eval(row)?, Value::Boolean(true)))
    }

    pub(in crate::history) fn eval<'a, F: Fields + ?Sized>(&'a self, row: &'a F) -> Evaluated<'a> {
        match &self.op {
            Op::Field(index) => Ok(row.field(*index)),
            Op::Const(cell) => Ok(Value::of(cell)),
            Op::Interval(interval) => Ok(Value::Interval(*interval)),
            Op::All(parts) => logic(parts, row, false),
            Op::Any(parts) => logic(parts, row, true),
            Op::Not(inner) => Ok(match inner.eval(row)? {
                Value::Boolean(value) => Value::Boolean(!value),
                _ => Value::Null,
            }),
            Op::Negate(inner) => self.negate(inner.eval(row)?),
            Op::Compare(op, left, right) => Ok(compared(*op, &left.eval(row)?, &right.eval(row)?)),
            Op::Arithmetic(op, left, right) => self.arithmetic(*op, left.eval(row)?, right.eval(row)?),
            Op::Is(what, negated, inner) => {
                let value = inner.eval(row)?;
                let is = match what {
                    Is::Null => value.is_null(),
                    Is::True => value == Value::Boolean(true),
                    Is::False => value == Value::Boolean(false),
                };
                Ok(Value::Boolean(is != *negated))
            }
            Op::In(inner, list, negated) => {
                let value = inner.eval(row)?;
                if value.is_null() {
                    return Ok(Value::Null);
                }
                let mut null = false;
                for candidate in list {
                    let candidate = candidate.eval(row)?;
                    if candidate.is_null() {
                        null = true;
                    } else if compare(&value, &candidate) == Ordering::Equal {
                        return Ok(Value::Boolean(!negated));
                    }
                }
                Ok(if null { Value::Null } else { Value::Boolean(*negated) })
            }
            Op::Between(inner, low, high, negated) => {
                let value = inner.eval(row)?;
                let above = compared(Operator::GreaterOrEqual, &value, &low.eval(row)?);
                let below = compared(Operator::LessOrEqual, &value, &high.eval(row)?);
                Ok(match (above, below) {
                    (Value::Boolean(false), _) | (_, Value::Boolean(false)) => Value::Boolean(*negated),
                    (Value::Boolean(true), Value::Boolean(true)) => Value::Boolean(!negated),
                    _ => Value::Null,
                })
            }
            Op::Like { expr, pattern, escape, case, negated } => {
                let (Value::Text(text), Value::Text(pattern)) = (expr.eval(row)?, pattern.eval(row)?) else {
                    return Ok(Value::Null);
                };
                let like = match case {
                    Case::Sensitive => scalar::like(&text, &pattern, *escape),
                    Case::Insensitive => {
                        let small = |text: &str| text.chars().map(case::lower).collect::<String>();
                        scalar::like(&small(&text), &small(&pattern), *escape)
                    }
                }?;
                Ok(Value::Boolean(like != *negated))
            }
            Op::Case(branches, otherwise) => {
                for (when, then) in branches {
                    if when.holds(row)? {
                        return then.eval(row);
                    }
                }
                otherwise.as_ref().map_or(Ok(Value::Null), |otherwise| otherwise.eval(row))
            }
            Op::Cast(inner, kind, failing) => match (inner.eval(row)?.cast(inner.ty, *kind), failing) {
                (Err(_), Failing::GivesNull) => Ok(Value::Null),
                (done, _) => done,
            },
            Op::Call("coalesce", arguments) => {
                // What comes after the first value is not looked at: it may be what cannot be cast.
                for argument in arguments {
                    let value = argument.eval(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Value::Null)
            }
            Op::Call(name, arguments) => {
                let values = arguments.iter().map(|argument| argument.eval(row)).collect::<Result<Vec<_>, _>>()?;
                scalar::call(name, self.ty, values)
            }
            Op::Trunc(unit, inner) => match time::micros(&inner.eval(row)?) {
                Some(at) => time::truncate(*unit, at).map(Value::Timestamp),
                None => Ok(Value::Null),
            },
            Op::Bucket(width_us, inner) => {
                let bucket = |at| Value::Timestamp(time::bucket(*width_us, at));
                Ok(time::micros(&inner.eval(row)?).map_or(Value::Null, bucket))
            }
            Op::Part(part, inner) => match time::micros(&inner.eval(row)?) {
                Some(at) => Ok(time::part(*part, at)),
                None => Ok(Value::Null),
            },
            Op::Diff(unit, from, to) => match (time::micros(&from.eval(row)?), time::micros(&to.eval(row)?)) {
                (Some(from), Some(to)) => time::difference(*unit, from, to).map(|n| Value::Integer(n.into())),
                _ => Ok(Value::Null),
            },
        }
    }

    fn negate<'a>(&self, value: Value<'a>) -> Evaluated<'a> {
        Ok(match value {
            // Unsigned numbers go round.
            Value::Integer(value) => match self.ty {
                Type::Of(kind) if value != 0 && unsigned_bits(kind).is_some() => {
                    Value::Integer(unsigned_bits(kind).map_or(0, |bits| (1_i128 << bits) - value))
                }
                _ => self.whole(value.checked_neg())?,
            },
            Value::Float(value) => Value::Float(-value),
            Value::Interval(Interval { months, micros }) => {
                Value::Interval(Interval { months: months.saturating_neg(), micros: micros.saturating_neg() })
            }
            _ => Value::Null,
        })
    }

    fn whole(&self, value: Option<i128>) -> Result<Value<'static>, String> {
        let fits = |value: &i128| match self.ty {
            Type::Of(kind) => kind::integer_range(kind).is_none_or(|(low, high)| (low..=high).contains(value)),
            _ => true,
        };
        value.filter(fits).map(Value::Integer).ok_or_else(|| {
            let name = if let Type::Of(kind) = self.ty { kind::name(kind) } else { "number" };
            format!("Out of Range Error: a result is too large for a {name}")
        })
    }

    fn arithmetic<'a>(&self, op: Operator, left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
        use Operator::{Divide, DivideWhole, Minus, Plus, Remainder, Times};
        // Integers that only a float has room for together.
        let float = matches!(self.ty, Type::Of(kind) if is_float(kind));
        let near = |value: Value<'a>| match value.number() {
            Some(number) if float => Value::Float(number),
            _ => value,
        };
        Ok(match (op, near(left), near(right)) {
            (_, Value::Null, _) | (_, _, Value::Null) => Value::Null,
            (Plus, Value::Interval(a), Value::Interval(b)) => joined(a, b, 1)?,
            (Minus, Value::Interval(a), Value::Interval(b)) => joined(a, b, -1)?,
            (Plus, at, Value::Interval(by)) | (Plus, Value::Interval(by), at) => shifted(&at, by, 1)?,
            (Minus, at, Value::Interval(by)) => shifted(&at, by, -1)?,
            (Plus, Value::Date(date), Value::Integer(days)) | (Plus, Value::Integer(days), Value::Date(date)) => {
                Value::Date(i32::try_from(i128::from(date) + days).map_err(|_| "Out of Range Error: a date".to_owned())?)
            }
            (Minus, Value::Date(date), Value::Integer(days)) => {
                Value::Date(i32::try_from(i128::from(date) - days).map_err(|_| "Out of Range Error: a date".to_owned())?)
            }
            (Minus, Value::Date(a), Value::Date(b)) => Value::Integer(i128::from(a) - i128::from(b)),
            (Minus, a, b) if time::micros(&a).is_some() => {
                let micros = time::micros(&a).zip(time::micros(&b)).and_then(|(a, b)| a.checked_sub(b));
                Value::Interval(Interval { months: 0, micros: micros.unwrap_or(i64::MAX) })
            }
            (Plus, Value::Integer(a), Value::Integer(b)) => self.whole(a.checked_add(b))?,
            (Minus, Value::Integer(a), Value::Integer(b)) => self.whole(a.checked_sub(b))?,
            (Times, Value::Integer(a), Value::Integer(b)) => self.whole(a.checked_mul(b))?,
            (DivideWhole | Remainder, Value::Integer(_), Value::Integer(0)) => Value::Null,
            (DivideWhole, Value::Integer(a), Value::Integer(b)) => self.whole(a.checked_div(b))?,
            (Remainder, Value::Integer(a), Value::Integer(b)) => self.whole(a.checked_rem(b))?,
            (op, a, b) => {
                let (Some(a), Some(b)) = (a.number(), b.number()) else { return Ok(Value::Null) };
                let value = match op {
                    Plus => a + b,
                    Minus => a - b,
                    Times => a * b,
                    DivideWhole if b == 0.0 => return Ok(Value::Null),
                    Divide | DivideWhole => a / b,
                    Remainder => a % b,
                    _ => return Ok(Value::Null),
                };
                self.float(value)
            }
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what a FLOAT does")]
    fn float(&self, value: f64) -> Value<'static> {
        if self.ty == Type::Of(ColumnKind::Float) { Value::Float((value as f32).into()) } else { Value::Float(value) }
    }
}

/// How many bits an unsigned type has, as far as all its values fit here twice.
fn unsigned_bits(kind: ColumnKind) -> Option<u32> {
    match kind {
        ColumnKind::UTinyInt => Some(8),
        ColumnKind::USmallInt => Some(16),
        ColumnKind::UInteger => Some(32),
        ColumnKind::UBigInt => Some(64),
        _ => None,
    }
}

fn joined(a: Interval, b: Interval, sign: i64) -> Result<Value<'static>, String> {
    let sum = |a: i64, b: i64| b.checked_mul(sign).and_then(|b| a.checked_add(b));
    let both = sum(a.months, b.months).zip(sum(a.micros, b.micros));
    let (months, micros) = both.ok_or_else(|| "Out of Range Error: an interval is too long".to_owned())?;
    Ok(Value::Interval(Interval { months, micros }))
}

fn shifted(at: &Value<'_>, by: Interval, sign: i64) -> Result<Value<'static>, String> {
    time::micros(at).map_or(Ok(Value::Null), |at| time::add(at, by, sign).map(Value::Timestamp))
}

/// `AND` and `OR` of three values; `decides` is the one that decides alone.
fn logic<'a, F: Fields + ?Sized>(parts: &'a [Node], row: &'a F, decides: bool) -> Evaluated<'a> {
    let mut null = false;
    for part in parts {
        match part.eval(row)? {
            Value::Boolean(value) if value == decides => return Ok(Value::Boolean(decides)),
            Value::Boolean(_) => {}
            _ => null = true,
        }
    }
    Ok(if null { Value::Null } else { Value::Boolean(!decides) })
}

fn compared(op: Operator, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    let nulls = (left.is_null(), right.is_null());
    match op {
        Operator::Distinct | Operator::NotDistinct => {
            let same = match nulls {
                (true, true) => true,
                (false, false) => compare(left, right) == Ordering::Equal,
                _ => false,
            };
            return Value::Boolean(same == (op == Operator::NotDistinct));
        }
        _ if nulls != (false, false) => return Value::Null,
        _ => {}
    }
    let order = compare(left, right);
    Value::Boolean(match op {
        Operator::Equal => order == Ordering::Equal,
        Operator::NotEqual => order != Ordering::Equal,
        Operator::Less => order == Ordering::Less,
        Operator::LessOrEqual => order != Ordering::Greater,
        Operator::Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}
