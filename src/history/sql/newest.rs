//! Queries that the gateway asks by itself: `latest_T` and the figures of `tables`.
//!
//! `latest_T` is about the newest row of each key. A keyed table is just that. Of others it is the row with the latest time (see
//! `time.rs`) for each combination of the columns that the topic's variables fill, `dn` in `:dn/telemetry`; without such columns
//! the newest row of all.

use super::expr::{Expr, Operator};
use super::functions::Aggregate;
use super::literal;
use super::parts::{Item, Tail, every_column};
use super::time::Time;
use super::{Distinct, Query};
use crate::history::model::{CallError, Cell, Column, ColumnKind, Table, TopicSegment};
use crate::history::row::{self, Children};

impl Query {
    /// Checks the argument of `latest_T`, given as the `data` value of the call: nothing, or a map of values that the columns
    /// of the key must have.
    pub fn newest(table: &Table, data: &[u8]) -> Result<Self, CallError> {
        let keys = keys(table);
        let condition = filter(table, &keys, data)?;
        let items = every_column(table);
        let mut tail = Tail::default();
        tail.and(condition);
        if !table.keys.is_empty() {
            return Ok(Self { items, rows: Distinct::Keep, tail, when: None });
        }
        let time = Time::of(table);
        let group_by: Vec<Expr> = keys.iter().map(|column| expr(column)).collect();
        let newest = |item: Item| {
            if group_by.contains(&item.expr) {
                return item;
            }
            let expr = aggregate("arg_max_null", vec![item.expr, time.column()]);
            Item { expr, name: item.name }
        };
        tail.order_by = group_by.iter().cloned().map(super::parts::Order::ascending).collect();
        // Without a group an empty table would have one row of nulls.
        let none = Expr::Literal(Cell::Integer(0));
        let rows = Expr::CountRows { filter: None };
        tail.having = Some(Expr::Binary { op: Operator::Greater, left: Box::new(rows), right: Box::new(none) });
        let items = items.into_iter().map(newest).collect();
        tail.group_by = group_by;
        Ok(Self { items, rows: Distinct::Keep, tail, when: None })
    }

    /// The newest row of every key, and when each was received: what `latest_T` is answered from in memory.
    #[must_use]
    pub fn newest_of_all(table: &Table) -> Self {
        // An empty list of arguments.
        let mut query = Self::newest(table, &[0x80]).expect("without a filter nothing is wrong");
        let received = Expr::Column { name: super::time::RECEIVED.to_owned(), kind: ColumnKind::Timestamp };
        let expr =
            if table.keys.is_empty() { aggregate("arg_max_null", vec![received, Time::of(table).column()]) } else { received };
        query.items.push(Item { expr, name: super::time::RECEIVED.to_owned() });
        query
    }

    /// How many rows there are, and the earliest and latest time among them.
    #[must_use]
    pub fn figures(table: &Table) -> Self {
        let time = Time::of(table).timestamp();
        let item = |name: &str, expr| Item { expr, name: name.to_owned() };
        let items = vec![
            item("rows", Expr::CountRows { filter: None }),
            item("first", aggregate("min", vec![time.clone()])),
            item("last", aggregate("max", vec![time])),
        ];
        Self { items, rows: Distinct::Keep, tail: Tail::default(), when: None }
    }
}

/// Name of the column that tells a row's time; none if that is the hidden receive time.
#[must_use]
pub fn time_column(table: &Table) -> Option<String> {
    Time::of(table).name().map(str::to_owned)
}

/// Where the column that tells a row's time is; none if that is the hidden receive time.
#[must_use]
pub fn time_place(table: &Table) -> Option<usize> {
    let name = time_column(table)?;
    table.columns.iter().position(|column| column.name == name)
}

/// Where the columns are of which each combination has a newest row.
#[must_use]
pub fn newest_keys(table: &Table) -> Vec<usize> {
    let keys = keys(table);
    let place = |key: &&Column| table.columns.iter().position(|column| column.name == key.name);
    keys.iter().filter_map(place).collect()
}

/// The columns of which each combination has a newest row.
fn keys(table: &Table) -> Vec<&Column> {
    let from_topic = |column: &&Column| {
        table.topic.iter().any(|segment| match segment {
            TopicSegment::Variable(name) => *name == column.name,
            TopicSegment::Literal(_) => false,
        })
    };
    if table.keys.is_empty() {
        table.columns.iter().filter(from_topic).collect()
    } else {
        table.keys.iter().filter_map(|place| table.columns.get(*place)).collect()
    }
}

fn expr(column: &Column) -> Expr {
    Expr::Column { name: column.name.clone(), kind: column.kind }
}

fn filter(table: &Table, keys: &[&Column], data: &[u8]) -> Result<Vec<Expr>, CallError> {
    let names = || keys.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let wrong = || CallError::exception(format!("latest_{} takes nothing, or a map of {}", table.name, names()));
    let given = row::arguments(data, 1).map_err(|malformed| CallError::exception(malformed.to_string()))?;
    let raw = match (given.count, given.first.first()) {
        (0, _) | (1, Some(row::Item::Null)) => return Ok(Vec::new()),
        (1, Some(row::Item::Map(raw))) => raw,
        _ => return Err(wrong()),
    };
    let mut conditions = Vec::new();
    let mut children = Children::of(raw);
    while let Some((key, value)) = children.next_pair().map_err(|why| CallError::exception(why.to_string()))? {
        let row::Item::Text(key) = key else { return Err(wrong()) };
        let column = keys.iter().find(|column| column.name.eq_ignore_ascii_case(&key)).ok_or_else(wrong)?;
        let cell = match value {
            row::Item::Bool(value) => Cell::Boolean(value),
            row::Item::Integer(value) => Cell::Integer(value),
            row::Item::Float(value) => Cell::Float(value),
            row::Item::Text(value) => Cell::Text(value.into_owned()),
            _ => return Err(wrong()),
        };
        let value = literal::fit(Expr::Literal(cell), Some(column.kind)).map_err(CallError::exception)?;
        conditions.push(Expr::Binary { op: Operator::Equal, left: Box::new(expr(column)), right: Box::new(value) });
    }
    Ok(conditions)
}

fn aggregate(name: &str, arguments: Vec<Expr>) -> Expr {
    let function = Aggregate::named(name).expect("the aggregate is on the list");
    Expr::Aggregate { function, distinct: false, arguments, filter: None }
}
