//! `every`: rows gathered into buckets of time, for charts.
//!
//! The answer has `time` (the bucket's start), the columns of texts that `cols` names (each of their values has buckets of its
//! own), `rows` (how many), and of each number `_avg`, `_min`, `_max` and `_last`; of anything else `_last`. Without `cols` it
//! is about every column of numbers.

use super::expr::Expr;
use super::functions::Aggregate;
use super::parts::{Item, Order};
use super::time::Time;
use crate::history::kind;
use crate::history::model::{ColumnKind, ColumnSource, Table};

const TIME: &str = "time";
const ROWS: &str = "rows";

/// What is selected, by what it is grouped, and its order if the caller wants no other.
pub(super) struct Buckets {
    pub(super) items: Vec<Item>,
    pub(super) group_by: Vec<Expr>,
    pub(super) order_by: Vec<Order>,
    /// Rows without a time belong into no bucket.
    pub(super) condition: Expr,
}

/// What there is to see of a table in buckets: its measured values.
pub(super) fn numbers(table: &Table, time: &Time) -> Vec<Item> {
    let measured = table.columns.iter().filter(|column| {
        column.source == ColumnSource::Payload && is_number(column.kind) && time.name() != Some(column.name.as_str())
    });
    measured
        .map(|column| Item { expr: Expr::Column { name: column.name.clone(), kind: column.kind }, name: column.name.clone() })
        .collect()
}

/// Buckets of `width_us` for what the caller selected.
pub(super) fn buckets(time: &Time, width_us: i64, selected: Vec<Item>) -> Result<Buckets, String> {
    if selected.iter().any(|item| item.expr.aggregates()) {
        return Err("`every` gathers by itself; name columns, without aggregates".to_owned());
    }
    let bucket = Expr::Bucket { width_us, expr: Box::new(time.timestamp()) };
    let mut items = vec![Item { expr: bucket.clone(), name: TIME.to_owned() }];
    let mut group_by = vec![bucket];
    let mut gathered = vec![Item { expr: Expr::CountRows { filter: None }, name: ROWS.to_owned() }];
    for Item { expr, name } in selected {
        match expr.kind() {
            Some(ColumnKind::Text) => {
                group_by.push(expr.clone());
                items.push(Item { expr, name });
            }
            kind if kind.is_none_or(is_number) => {
                for function in ["avg", "min", "max"] {
                    let name = format!("{name}_{function}");
                    gathered.push(Item { expr: aggregate(function, vec![expr.clone()]), name });
                }
                gathered.push(last(expr, &name, time));
            }
            _ => gathered.push(last(expr, &name, time)),
        }
    }
    let order_by = items.iter().map(|item| Order::ascending(item.expr.clone())).collect();
    items.append(&mut gathered);
    super::parts::distinct_names(&mut items);
    Ok(Buckets { items, group_by, order_by, condition: present(time) })
}

fn present(time: &Time) -> Expr {
    Expr::Is { what: super::expr::Is::Null, negated: true, expr: Box::new(time.column()) }
}

fn last(expr: Expr, name: &str, time: &Time) -> Item {
    Item { expr: aggregate("arg_max", vec![expr, time.column()]), name: format!("{name}_last") }
}

fn aggregate(name: &str, arguments: Vec<Expr>) -> Expr {
    let function = Aggregate::named(name).expect("the aggregate is on the list");
    Expr::Aggregate { function, distinct: false, arguments, filter: None }
}

fn is_number(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Float | ColumnKind::Double) || kind::integer_range(kind).is_some()
}
