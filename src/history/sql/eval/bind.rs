//! From a checked expression to one that can be evaluated: columns get places, every part gets a type, and where DuckDB would
//! cast on its own a cast is written. The hidden receive time has the place behind the schema's columns.

use super::group::Gathered;
use super::node::{Node, Op};
use super::time;
use super::value::{Interval, Type, common, is_float, is_number, numbers};
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind, Table};
use crate::history::sql::expr::{Case, Expr, Failing, Operator};
use crate::history::sql::time::RECEIVED;

type Bound = Result<Node, String>;

/// What columns mean.
#[derive(Debug)]
pub(super) enum Scope<'a> {
    /// Those of a row.
    Rows,
    /// Those of a group: its keys, then its aggregates, which are collected here.
    Groups(&'a mut Gathered),
}

#[derive(Debug)]
pub(super) struct Binder<'a> {
    pub(super) table: &'a Table,
    pub(super) scope: Scope<'a>,
}

impl Binder<'_> {
    pub(super) fn bind(&mut self, expr: &Expr) -> Bound {
        if let Scope::Groups(gathered) = &mut self.scope {
            if let Some((place, ty)) = gathered.key(expr) {
                return Ok(Node { op: Op::Field(place), ty });
            }
            match expr {
                Expr::Column { name, .. } => return Err(ungrouped(name)),
                Expr::CountRows { .. } | Expr::Aggregate { .. } => {
                    return gathered.aggregate(expr, &mut Binder { table: self.table, scope: Scope::Rows });
                }
                _ => {}
            }
        }
        match expr {
            Expr::Column { name, kind } => {
                let columns = &self.table.columns;
                // The hidden columns come after the table's own: the sequence, then the receive time.
                let hidden = (name == RECEIVED).then_some(columns.len() + 1);
                let place = columns.iter().position(|column| column.name == *name).or(hidden);
                let place = place.ok_or_else(|| format!("Binder Error: there is no column {name}"))?;
                Ok(Node { op: Op::Field(place), ty: Type::Of(*kind) })
            }
            Expr::Literal(cell) => Ok(literal(cell)),
            Expr::Interval(parts) => {
                let mut sum = Interval { months: 0, micros: 0 };
                for (count, unit) in parts {
                    let part = time::interval(*count, *unit)?;
                    sum.months = sum.months.saturating_add(part.months);
                    sum.micros = sum.micros.saturating_add(part.micros);
                }
                Ok(Node { op: Op::Interval(sum), ty: Type::Interval })
            }
            Expr::All(parts) => self.truths(parts).map(|parts| truth(Op::All(parts))),
            Expr::Any(parts) => self.truths(parts).map(|parts| truth(Op::Any(parts))),
            Expr::Not(inner) => Ok(truth(Op::Not(self.truth(inner)?))),
            Expr::Negate(inner) => {
                let inner = self.bind(inner)?;
                Ok(Node { ty: inner.ty, op: Op::Negate(Box::new(inner)) })
            }
            Expr::Binary { op, left, right } => {
                let (left, right) = (self.bind(left)?, self.bind(right)?);
                if op.compares() {
                    let ty = common(left.ty, right.ty)?;
                    return Ok(truth(Op::Compare(*op, to(left, ty), to(right, ty))));
                }
                arithmetic(*op, left, right)
            }
            Expr::Is { what, negated, expr } => {
                let inner = match what {
                    crate::history::sql::expr::Is::Null => Box::new(self.bind(expr)?),
                    _ => self.truth(expr)?,
                };
                Ok(truth(Op::Is(*what, *negated, inner)))
            }
            Expr::In { expr, list, negated } => {
                let (mut all, ty) = self.alternatives(std::iter::once(expr.as_ref()).chain(list))?;
                let list = all.split_off(1);
                let value = all.pop().expect("the first of the alternatives is the value itself");
                Ok(truth(Op::In(to(value, ty), list, *negated)))
            }
            Expr::Between { expr, low, high, negated } => {
                let (all, _) = self.alternatives([expr.as_ref(), low, high])?;
                let [value, low, high]: [Node; 3] = all.try_into().expect("three go in and three come out");
                Ok(truth(Op::Between(Box::new(value), Box::new(low), Box::new(high), *negated)))
            }
            Expr::Like { expr, pattern, escape, case, negated } => self.like(expr, pattern, escape.as_deref(), *case, *negated),
            Expr::Case { operand, branches, otherwise } => self.case(operand.as_deref(), branches, otherwise.as_deref()),
            Expr::Cast { expr, kind, failing } => {
                let inner = self.bind(expr)?;
                if inner.ty == Type::Interval {
                    return Err("Binder Error: an interval cannot be cast".to_owned());
                }
                Ok(Node { op: Op::Cast(Box::new(inner), *kind, *failing), ty: Type::Of(*kind) })
            }
            Expr::Call { function, arguments } => {
                let arguments = arguments.iter().map(|argument| self.bind(argument)).collect::<Result<_, _>>()?;
                call(function.name(), arguments)
            }
            Expr::Bucket { width_us, expr } => {
                let inner = self.time(expr, "time_bucket")?;
                Ok(Node { op: Op::Bucket(*width_us, inner), ty: Type::Of(ColumnKind::Timestamp) })
            }
            Expr::DateTrunc(unit, inner) => {
                let inner = self.time(inner, "date_trunc")?;
                Ok(Node { op: Op::Trunc(*unit, inner), ty: Type::Of(ColumnKind::Timestamp) })
            }
            Expr::DatePart(part, inner) => {
                let ty = if part.sql() == "epoch" { ColumnKind::Double } else { ColumnKind::BigInt };
                Ok(Node { op: Op::Part(*part, self.time(inner, "date_part")?), ty: Type::Of(ty) })
            }
            Expr::DateDiff(unit, from, to) => {
                let op = Op::Diff(*unit, self.time(from, "date_diff")?, self.time(to, "date_diff")?);
                Ok(Node { op, ty: Type::Of(ColumnKind::BigInt) })
            }
            Expr::CountRows { .. } | Expr::Aggregate { .. } => {
                Err("Binder Error: an aggregate is not possible here".to_owned())
            }
        }
    }

    /// Bound and brought to one type.
    fn alternatives<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) -> Result<(Vec<Node>, Type), String> {
        let all = exprs.into_iter().map(|expr| self.bind(expr)).collect::<Result<Vec<_>, _>>()?;
        united(all)
    }

    fn truth(&mut self, expr: &Expr) -> Result<Box<Node>, String> {
        self.bind(expr).map(|node| to(node, Type::Of(ColumnKind::Boolean)))
    }

    fn truths(&mut self, parts: &[Expr]) -> Result<Vec<Node>, String> {
        parts.iter().map(|part| self.truth(part).map(|part| *part)).collect()
    }

    /// A date or a time; a text is read as one.
    fn time(&mut self, expr: &Expr, function: &str) -> Result<Box<Node>, String> {
        let node = self.bind(expr)?;
        match node.ty {
            Type::Null | Type::Of(ColumnKind::Date | ColumnKind::Timestamp) => Ok(Box::new(node)),
            Type::Of(ColumnKind::Text) => Ok(to(node, Type::Of(ColumnKind::Timestamp))),
            _ => Err(format!("Binder Error: {function} takes a time")),
        }
    }

    fn like(&mut self, expr: &Expr, pattern: &Expr, escape: Option<&Expr>, case: Case, negated: bool) -> Bound {
        let text = Type::Of(ColumnKind::Text);
        let escape = match escape {
            Some(Expr::Literal(Cell::Text(text))) => text.chars().next(),
            _ => None,
        };
        let (expr, pattern) = (to(self.bind(expr)?, text), to(self.bind(pattern)?, text));
        Ok(truth(Op::Like { expr, pattern, escape, case, negated }))
    }

    fn case(&mut self, operand: Option<&Expr>, branches: &[(Expr, Expr)], otherwise: Option<&Expr>) -> Bound {
        let mut conditions = Vec::new();
        for (when, _) in branches {
            conditions.push(match operand {
                None => *self.truth(when)?,
                Some(operand) => {
                    let (left, right) = (self.bind(operand)?, self.bind(when)?);
                    let ty = common(left.ty, right.ty)?;
                    truth(Op::Compare(Operator::Equal, to(left, ty), to(right, ty)))
                }
            });
        }
        let results = branches.iter().map(|(_, then)| then).chain(otherwise);
        let (mut results, ty) = self.alternatives(results)?;
        let otherwise = otherwise.and_then(|_| results.pop()).map(Box::new);
        Ok(Node { op: Op::Case(conditions.into_iter().zip(results).collect(), otherwise), ty })
    }
}

fn ungrouped(name: &str) -> String {
    format!(
        "Binder Error: column \"{name}\" must appear in the GROUP BY clause or must be part of an aggregate function. Either \
         add it to the GROUP BY list, or use \"ANY_VALUE({name})\" if the exact value of \"{name}\" is not important."
    )
}

fn truth(op: Op) -> Node {
    Node { op, ty: Type::Of(ColumnKind::Boolean) }
}

fn literal(cell: &Cell) -> Node {
    let kind = match cell {
        Cell::Null => return Node::constant(Cell::Null, Type::Null),
        Cell::Boolean(_) => ColumnKind::Boolean,
        Cell::Integer(value) if i64::try_from(*value).is_ok() => ColumnKind::BigInt,
        Cell::Integer(_) => ColumnKind::HugeInt,
        Cell::Float(_) => ColumnKind::Double,
        Cell::Text(_) => ColumnKind::Text,
        Cell::Blob(_) => ColumnKind::Blob,
        Cell::Date(_) => ColumnKind::Date,
        Cell::Timestamp(_) => ColumnKind::Timestamp,
    };
    Node::constant(cell.clone(), Type::Of(kind))
}

/// The node as a value of `ty`. Numbers of different kinds are compared as they are, and so are dates and times.
pub(super) fn to(node: Node, ty: Type) -> Box<Node> {
    let same = match (node.ty, ty) {
        (Type::Null, _) | (_, Type::Null | Type::Interval) => true,
        (Type::Of(from), Type::Of(kind)) => {
            from == kind || (is_number(from) && is_number(kind) && !is_float(from) && !is_float(kind))
        }
        (Type::Interval, Type::Of(_)) => false,
    };
    if same {
        return Box::new(node);
    }
    let Type::Of(kind) = ty else { return Box::new(node) };
    Box::new(Node { op: Op::Cast(Box::new(node), kind, Failing::IsAnError), ty })
}

fn united(all: Vec<Node>) -> Result<(Vec<Node>, Type), String> {
    let ty = all.iter().try_fold(Type::Null, |ty, node| common(ty, node.ty))?;
    Ok((all.into_iter().map(|node| *to(node, ty)).collect(), ty))
}

fn arithmetic(op: Operator, left: Node, right: Node) -> Bound {
    use ColumnKind::{BigInt, Date, Double, Float, Text, Timestamp};
    use Operator::{Concat, Divide, Minus, Plus, Times};
    let is_time = |ty: Type| matches!(ty, Type::Of(Date | Timestamp));
    let ty = match (op, left.ty, right.ty) {
        // Without a type of its own a NULL takes the whole with it.
        (Concat, Type::Null, _) | (Concat, _, Type::Null) => return Ok(Node::constant(Cell::Null, Type::Null)),
        (Concat, ..) => {
            let text = Type::Of(Text);
            let (left, right) = (to(left, text), to(right, text));
            return Ok(Node { op: Op::Call("||", vec![*left, *right]), ty: text });
        }
        (_, Type::Null, other) | (_, other, Type::Null) => other,
        (Plus | Minus, Type::Interval, Type::Interval) => Type::Interval,
        (Plus | Minus, time, Type::Interval) if is_time(time) => Type::Of(Timestamp),
        (Plus, Type::Interval, time) if is_time(time) => Type::Of(Timestamp),
        (Plus | Minus, Type::Of(Date), Type::Of(days)) if counts_days(days) => Type::Of(Date),
        (Plus, Type::Of(days), Type::Of(Date)) if counts_days(days) => Type::Of(Date),
        (Minus, Type::Of(Date), Type::Of(Date)) => Type::Of(BigInt),
        (Minus, a, b) if is_time(a) && is_time(b) => Type::Interval,
        (op, Type::Of(a), Type::Of(b)) if is_number(a) && is_number(b) => match (op, numbers(a, b)) {
            (Divide, Float) => Type::Of(Float),
            (Divide, _) => Type::Of(Double),
            (Plus | Minus | Times, kind) => Type::Of(kind),
            (_, kind) => Type::Of(kind),
        },
        (op, a, b) => return Err(format!("Binder Error: no {} of {} and {}", op.sql(), show(a), show(b))),
    };
    Ok(Node { op: Op::Arithmetic(op, Box::new(left), Box::new(right)), ty })
}

/// A literal is wider and does not; DuckDB has it so.
fn counts_days(kind: ColumnKind) -> bool {
    use ColumnKind::{Integer, SmallInt, TinyInt, USmallInt, UTinyInt};
    matches!(kind, TinyInt | SmallInt | Integer | UTinyInt | USmallInt)
}

fn show(ty: Type) -> &'static str {
    match ty {
        Type::Null => "NULL",
        Type::Interval => "an INTERVAL",
        Type::Of(kind) => kind::name(kind),
    }
}

fn call(name: &'static str, arguments: Vec<Node>) -> Bound {
    use ColumnKind::{BigInt, Boolean, Double, Text, Timestamp, TinyInt};
    let first = arguments.first().map_or(Type::Null, |argument| argument.ty);
    let of_number = match first {
        Type::Of(kind) if is_number(kind) => first,
        Type::Null => Type::Of(Double),
        _ => Type::Null,
    };
    let number = |ty: Type| match of_number {
        Type::Null => Err(format!("Binder Error: {name} does not take {}", show(first))),
        _ => Ok(ty),
    };
    let float = if first == Type::Of(ColumnKind::Float) { first } else { Type::Of(Double) };
    let ty = match name {
        "coalesce" | "ifnull" | "greatest" | "least" => {
            let (arguments, ty) = united(arguments)?;
            let name = if name == "ifnull" { "coalesce" } else { name };
            return Ok(Node { op: Op::Call(name, arguments), ty });
        }
        "nullif" => {
            let [value, other]: [Node; 2] =
                arguments.try_into().map_err(|_| "Binder Error: nullif takes two values".to_owned())?;
            // What is left is the first value as it is, whatever it was compared as.
            let ty = common(value.ty, other.ty)?;
            let same = truth(Op::Compare(Operator::Equal, to(value.clone(), ty), to(other, ty)));
            let null = Node::constant(Cell::Null, Type::Null);
            return Ok(Node { ty: value.ty, op: Op::Case(vec![(same, null)], Some(Box::new(value))) });
        }
        "round" => number(rounded(first))?,
        "abs" | "trunc" => number(first)?,
        "ceil" | "ceiling" | "floor" => {
            let name = if name == "floor" { "floor" } else { "ceil" };
            return Ok(Node { ty: number(float)?, op: Op::Call(name, arguments) });
        }
        "sign" => number(Type::Of(TinyInt))?,
        "sqrt" | "exp" | "ln" | "log10" | "pow" | "power" => number(Type::Of(Double))?,
        "isnan" | "isinf" | "isfinite" => number(Type::Of(Boolean))?,
        "epoch" | "epoch_ms" | "epoch_us" | "epoch_ns" => match first {
            Type::Of(ColumnKind::Date | Timestamp) | Type::Null => Type::Of(if name == "epoch" { Double } else { BigInt }),
            Type::Of(kind) if name == "epoch_ms" && kind::integer_range(kind).is_some() => Type::Of(Timestamp),
            _ => return Err(format!("Binder Error: {name} takes a time, not {}", show(first))),
        },
        "to_timestamp" => {
            let million = Node::constant(Cell::Integer(1_000_000), Type::Of(BigInt));
            let scaled = arguments.into_iter().next().map(|seconds| arithmetic(Operator::Times, seconds, million));
            let micros = scaled.unwrap_or_else(|| Err("Binder Error: to_timestamp takes a number".to_owned()))?;
            return Ok(Node { op: Op::Call("make_timestamp", vec![*to(micros, Type::Of(BigInt))]), ty: Type::Of(Timestamp) });
        }
        "make_timestamp" => number(Type::Of(Timestamp))?,
        "length" | "len" | "strpos" => Type::Of(BigInt),
        "contains" | "starts_with" | "prefix" | "ends_with" | "suffix" => Type::Of(Boolean),
        _ => Type::Of(Text),
    };
    let takes_text = !matches!(ty, Type::Of(Timestamp)) && of_text(name);
    let arguments = match (name, takes_text) {
        ("concat", _) => arguments.into_iter().map(|argument| *to(argument, Type::Of(Text))).collect(),
        (_, true) => {
            let in_words = |i: usize| i == 0 || !matches!(name, "substr" | "substring" | "left" | "right");
            let other = arguments
                .iter()
                .enumerate()
                .find(|(i, argument)| in_words(*i) && !matches!(argument.ty, Type::Null | Type::Of(Text)));
            if let Some((_, other)) = other {
                return Err(format!("Binder Error: {name} does not take {}; cast it to TEXT", show(other.ty)));
            }
            arguments
        }
        _ => arguments,
    };
    Ok(Node { op: Op::Call(name, arguments), ty })
}

/// DuckDB rounds signed numbers alone.
fn rounded(ty: Type) -> Type {
    use ColumnKind::{BigInt, Double, HugeInt, UBigInt, UHugeInt, UInteger, USmallInt, UTinyInt};
    match ty {
        Type::Of(UTinyInt | USmallInt | UInteger) => Type::Of(BigInt),
        Type::Of(UBigInt) => Type::Of(HugeInt),
        Type::Of(UHugeInt) => Type::Of(Double),
        other => other,
    }
}

fn of_text(name: &str) -> bool {
    matches!(
        name,
        "lower" | "lcase" | "upper" | "ucase" | "length" | "len" | "trim" | "ltrim" | "rtrim" | "substr" | "substring" | "left"
    ) || matches!(name, "right" | "contains" | "starts_with" | "prefix" | "ends_with" | "suffix" | "strpos")
}
