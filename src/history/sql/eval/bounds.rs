//! What a condition says about single columns, so that files and row groups can be left out by their least and greatest values.

use super::node::{Node, Op};
use super::value::{Value, compare};
use crate::history::model::Cell;
use crate::history::sql::expr::{Failing, Operator};
use std::cmp::Ordering;

/// Every wanted row is within all of these.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::history) struct Bounds(Vec<Bound>);

/// A column's value is at least, or at most, this.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) struct Bound {
    pub(in crate::history) column: usize,
    least: Option<Cell>,
    most: Option<Cell>,
}

impl Bounds {
    pub(super) fn of(condition: &Node) -> Self {
        let mut bounds = Self::default();
        bounds.gather(condition);
        bounds
    }

    /// A column of integers within these, both included.
    pub(in crate::history) fn between(column: usize, low: u64, high: u64) -> Self {
        let cell = |value: u64| Some(Cell::Integer(value.into()));
        Self(vec![Bound { column, least: cell(low), most: cell(high) }])
    }

    fn gather(&mut self, condition: &Node) {
        match &condition.op {
            Op::All(parts) => parts.iter().for_each(|part| self.gather(part)),
            Op::Compare(op, left, right) => match (column(left), constant(right), constant(left), column(right)) {
                (Some(column), Some(cell), ..) => self.side(column, *op, cell),
                (.., Some(cell), Some(column)) => self.side(column, mirrored(*op), cell),
                _ => {}
            },
            Op::Between(value, low, high, false) => {
                if let Some(column) = column(value) {
                    self.0.push(Bound { column, least: constant(low).cloned(), most: constant(high).cloned() });
                }
            }
            Op::In(value, list, false) => {
                let (Some(column), Some(cells)) = (column(value), list.iter().map(constant).collect::<Option<Vec<_>>>()) else {
                    return;
                };
                let better = |wanted: Ordering| {
                    let pick = |best: &Cell, cell: &Cell| compare(&Value::of(cell), &Value::of(best)) == wanted;
                    cells.iter().copied().reduce(|best, cell| if pick(best, cell) { cell } else { best }).cloned()
                };
                self.0.push(Bound { column, least: better(Ordering::Less), most: better(Ordering::Greater) });
            }
            _ => {}
        }
    }

    fn side(&mut self, column: usize, op: Operator, cell: &Cell) {
        let (least, most) = match op {
            Operator::Equal | Operator::NotDistinct => (Some(cell.clone()), Some(cell.clone())),
            Operator::Less | Operator::LessOrEqual => (None, Some(cell.clone())),
            Operator::Greater | Operator::GreaterOrEqual => (Some(cell.clone()), None),
            _ => return,
        };
        self.0.push(Bound { column, least, most });
    }

    /// Whether rows of which a column's least and greatest value are known can be among the wanted; `None` is not known.
    pub(in crate::history) fn allow(&self, range: impl Fn(usize) -> Option<(Cell, Cell)>) -> bool {
        self.0.iter().all(|bound| {
            let Some((low, high)) = range(bound.column) else { return true };
            let (low, high) = (Value::of(&low), Value::of(&high));
            let below = bound.most.as_ref().is_some_and(|most| compare(&low, &Value::of(most)) == Ordering::Greater);
            let above = bound.least.as_ref().is_some_and(|least| compare(&high, &Value::of(least)) == Ordering::Less);
            !below && !above
        })
    }
}

/// A column, or one that is only seen as another kind of number.
fn column(node: &Node) -> Option<usize> {
    match &node.op {
        Op::Field(column) => Some(*column),
        Op::Cast(inner, kind, Failing::IsAnError) => match inner.ty {
            super::Type::Of(from) if super::value::is_number(from) && super::value::is_float(*kind) => column(inner),
            _ => None,
        },
        _ => None,
    }
}

/// A value that is not null, of a kind that [`compare`] knows beside the column's.
fn constant(node: &Node) -> Option<&Cell> {
    match &node.op {
        Op::Const(Cell::Null) => None,
        Op::Const(cell) => Some(cell),
        _ => None,
    }
}

fn mirrored(op: Operator) -> Operator {
    match op {
        Operator::Less => Operator::Greater,
        Operator::LessOrEqual => Operator::GreaterOrEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterOrEqual => Operator::LessOrEqual,
        other => other,
    }
}
