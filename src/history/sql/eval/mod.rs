//! Evaluates a checked query over rows, without an SQL engine: what the `lite` store answers with where there is no DuckDB.
//!
//! ```text
//! Query ─▶ bind: places, types, casts ─▶ Plan ─▶ row by row: filter ─▶ groups │ sorted │ straight on ─▶ rows of the answer
//! ```
//!
//! The words are DuckDB's, types and errors included, and tests hold both to the same answers. What a query keeps (groups, rows to
//! be sorted, values that were seen) is counted against a [`Budget`]; a query that needs more is refused, so that a small board
//! survives any question. SQLite is not asked, although the lite store has it: it knows neither times nor intervals nor 128-bit
//! integers nor half of the functions, and every row would have to be copied into it first.

mod bind;
mod bounds;
mod group;
mod node;
mod run;
mod scalar;
mod time;
mod value;

use super::parts::{Item, Order};
use super::{Distinct, Predicate, Query};
use crate::history::model::Table;
use bind::{Binder, Scope, to};
use group::Gathered;
use node::Op;

pub(in crate::history) use bounds::Bounds;
pub(in crate::history) use node::{Fields, Node};
pub(in crate::history) use run::{Flow, Run};
pub(in crate::history) use value::{Type, Value, compare};

/// Bytes that a query may still keep.
#[derive(Debug, Clone, Copy)]
pub(in crate::history) struct Budget {
    left: usize,
    total: usize,
}

impl Budget {
    pub(in crate::history) fn new(total: usize) -> Self {
        Self { left: total, total }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| format!("the query needs more than {} MiB of memory; narrow it", self.total >> 20))?;
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        self.left = (self.left + bytes).min(self.total);
    }
}

/// A query that knows its table.
#[derive(Debug)]
pub(in crate::history) struct Plan {
    filter: Option<Node>,
    groups: Option<Groups>,
    items: Vec<Node>,
    order: Vec<(Node, Sorting)>,
    names: Vec<String>,
    distinct: bool,
    limit: Option<usize>,
    offset: usize,
}

#[derive(Debug)]
struct Groups {
    gathered: Gathered,
    having: Option<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Sorting {
    descending: bool,
    nulls_first: bool,
}

impl Plan {
    pub(in crate::history) fn new(query: &Query, table: &Table) -> Result<Self, String> {
        let tail = &query.tail;
        let filter = tail.condition.as_ref().map(|condition| truth(table, condition)).transpose()?;
        let names = query.items.iter().map(|item| item.name.clone()).collect();
        let count = |number: Option<u64>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let (limit, offset) = (count(tail.limit), count(tail.offset).unwrap_or(0));
        let distinct = query.rows == Distinct::Drop;
        let grouped = query.is_aggregate() || tail.order_by.iter().any(|order| order.expr.aggregates());
        if !grouped {
            let mut binder = Binder { table, scope: Scope::Rows };
            let (items, order) = selected(&mut binder, &query.items, &tail.order_by)?;
            return Ok(Self { filter, groups: None, items, order, names, distinct, limit, offset });
        }
        let mut gathered = Gathered::default();
        for expr in &tail.group_by {
            let node = Binder { table, scope: Scope::Rows }.bind(expr)?;
            gathered.add_key(expr.clone(), node);
        }
        let mut binder = Binder { table, scope: Scope::Groups(&mut gathered) };
        let (items, order) = selected(&mut binder, &query.items, &tail.order_by)?;
        let having = tail.having.as_ref().map(|having| binder.bind(having)).transpose()?;
        Ok(Self { filter, groups: Some(Groups { gathered, having }), items, order, names, distinct, limit, offset })
    }

    /// Which of the table's columns the query needs.
    pub(in crate::history) fn columns(&self) -> Vec<bool> {
        let mut used = Vec::new();
        let grouped = self.groups.iter().flat_map(|groups| groups.gathered.nodes());
        let rows = self.items.iter().chain(self.order.iter().map(|(node, _)| node)).filter(|_| self.groups.is_none());
        for node in self.filter.iter().chain(grouped).chain(rows) {
            node.mark(&mut used);
        }
        used
    }

    /// Names and types of the answer's columns.
    pub(in crate::history) fn output(&self) -> impl Iterator<Item = (&str, Type)> {
        self.names.iter().map(String::as_str).zip(self.items.iter().map(|item| item.ty))
    }

    /// What every wanted row fulfils, for leaving out files without looking into them.
    pub(in crate::history) fn bounds(&self) -> Bounds {
        self.filter.as_ref().map_or_else(Bounds::default, Bounds::of)
    }
}

impl Predicate {
    /// The condition as something to ask rows with; `None` means every row.
    pub(in crate::history) fn bind(&self, table: &Table) -> Result<Option<Node>, String> {
        self.condition.as_ref().map(|condition| truth(table, condition)).transpose()
    }
}

impl Bounds {
    /// Those of a condition by itself.
    pub(in crate::history) fn of_condition(condition: Option<&Node>) -> Self {
        condition.map_or_else(Self::default, Self::of)
    }
}

fn truth(table: &Table, condition: &super::expr::Expr) -> Result<Node, String> {
    let node = Binder { table, scope: Scope::Rows }.bind(condition)?;
    Ok(*to(node, Type::Of(crate::history::model::ColumnKind::Boolean)))
}

type Selected = (Vec<Node>, Vec<(Node, Sorting)>);

fn selected(binder: &mut Binder<'_>, items: &[Item], order: &[Order]) -> Result<Selected, String> {
    let items = items.iter().map(|item| binder.bind(&item.expr)).collect::<Result<_, _>>()?;
    let order = order.iter().map(|order| {
        let sorting = Sorting { descending: order.is_descending(), nulls_first: order.has_nulls_first() };
        Ok((binder.bind(&order.expr)?, sorting))
    });
    Ok((items, order.collect::<Result<_, String>>()?))
}

impl Node {
    pub(in crate::history) fn columns(&self) -> Vec<bool> {
        let mut used = Vec::new();
        self.mark(&mut used);
        used
    }

    fn mark(&self, used: &mut Vec<bool>) {
        match &self.op {
            Op::Field(place) => {
                if used.len() <= *place {
                    used.resize(place + 1, false);
                }
                if let Some(used) = used.get_mut(*place) {
                    *used = true;
                }
            }
            Op::Const(_) | Op::Interval(_) => {}
            Op::All(parts) | Op::Any(parts) | Op::Call(_, parts) => parts.iter().for_each(|part| part.mark(used)),
            Op::Not(inner) | Op::Negate(inner) | Op::Is(_, _, inner) | Op::Cast(inner, ..) => inner.mark(used),
            Op::Trunc(_, inner) | Op::Part(_, inner) | Op::Bucket(_, inner) => inner.mark(used),
            Op::Compare(_, a, b) | Op::Arithmetic(_, a, b) | Op::Diff(_, a, b) => {
                a.mark(used);
                b.mark(used);
            }
            Op::Like { expr, pattern, .. } => {
                expr.mark(used);
                pattern.mark(used);
            }
            Op::In(value, list, _) => {
                value.mark(used);
                list.iter().for_each(|part| part.mark(used));
            }
            Op::Between(value, low, high, _) => [value, low, high].into_iter().for_each(|part| part.mark(used)),
            Op::Case(branches, otherwise) => {
                branches.iter().for_each(|(when, then)| {
                    when.mark(used);
                    then.mark(used);
                });
                otherwise.iter().for_each(|part| part.mark(used));
            }
        }
    }
}
