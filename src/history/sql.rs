//! What `query_T` and `delete_T` are asked: read with a real SQL parser, checked against an allow-list, and
//! written anew (`protocol/rembus.md` sections 14.3, 14.4 and 14.6).
//!
//! ```text
//! caller's text ─▶ tokens (no comments, no `;`, no placeholders) ─▶ sqlparser ─▶ check ─▶ Expr ─▶ write ─▶ SQL + parameters
//! ```
//!
//! The engine never sees a character that a caller wrote, except as a bound parameter: names are the schema's own and quoted,
//! functions and operators are texts of this program, literals are `?`. What is not on the list is refused with its name. Every
//! form that users of the reference write works: `"temperature>4"`, `"1=1 ORDER BY t DESC LIMIT 2"`, `cols: "name, type"`,
//! `cols: ["a", "b"]`, `cols: "count(*) AS n"`.
//!
//! Beyond the reference: `since`, `until` (`"1h"`, a time, seconds since 1970), `order` (as after ORDER BY, or `"newest"`,
//! `"oldest"`), `limit`, and `every` (buckets of time, see `every.rs`). They become conditions, groups and orders here, so a back
//! end knows nothing of them.
//!
//! Times are UTC everywhere. The reference read `when` in the broker's local zone, so that a query gave another answer after
//! the clocks changed; that is on purpose not kept.

mod arguments;
mod case;
mod check;
pub(in crate::history) mod eval;
mod every;
mod expr;
mod functions;
mod like;
mod literal;
mod moment;
mod newest;
mod parts;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod write;

use super::model::{CallError, Cell, Table};
use crate::clock::Wall;
use arguments::Arguments;
use expr::Expr;
use parts::{Item, Order, Tail};
use time::Time;
use write::{Writer, quoted};

pub use newest::{newest_keys, time_column, time_place};

/// A checked `query_T` call.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    items: Vec<Item>,
    rows: Distinct,
    tail: Tail,
    when: Option<Wall>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinct {
    Keep,
    Drop,
}

impl Query {
    /// Checks the argument of `query_T`, given as the `data` value of the call; `now` is the time of the call.
    pub fn parse(table: &Table, data: &[u8], now: Wall) -> Result<Self, CallError> {
        let arguments = Arguments::read(data, &arguments::OF_QUERIES, now)?;
        let when = arguments.when()?;
        let time = Time::of(table);
        let (items, rows) = match &arguments.cols {
            None if arguments.every_us.is_some() => (every::numbers(table, &time), Distinct::Keep),
            None => (parts::every_column(table), Distinct::Keep),
            Some(cols) => parts::columns(table, cols, now).map_err(wrong("cols"))?,
        };
        let (items, buckets) = match arguments.every_us {
            None => (items, None),
            Some(_) if rows == Distinct::Drop => return Err(wrong("every")("DISTINCT is not possible with it".to_owned())),
            Some(width_us) => {
                let mut buckets = every::buckets(&time, width_us, items).map_err(wrong("every"))?;
                (std::mem::take(&mut buckets.items), Some(buckets))
            }
        };
        let mut tail = match arguments.condition() {
            None => Tail::default(),
            Some(text) => Tail::read(table, &items, text, now).map_err(wrong("where"))?,
        };
        tail.and(time.between(arguments.since_us, arguments.until_us));
        let ordered = tail.order_by.is_empty();
        if let Some(text) = &arguments.order {
            if !ordered {
                return Err(wrong("order")("`where` brings its own ORDER BY".to_owned()));
            }
            let of_rows = if buckets.is_some() { None } else { Some(time.column()) };
            tail.order_by = order(table, &items, of_rows, text, now).map_err(wrong("order"))?;
        }
        if let Some(buckets) = buckets {
            if !tail.group_by.is_empty() {
                return Err(wrong("every")("`where` brings its own GROUP BY".to_owned()));
            }
            tail.and([buckets.condition]);
            tail.group_by = buckets.group_by;
            if tail.order_by.is_empty() {
                tail.order_by = buckets.order_by;
            }
        }
        if arguments.limit.is_some() {
            if tail.limit.is_some() {
                return Err(wrong("limit")("`where` brings its own LIMIT".to_owned()));
            }
            tail.limit = arguments.limit;
        }
        Ok(Self { items, rows, tail, when })
    }

    /// The statement over `relation` (a table, or anything in parentheses, of the engine's making) and the values of its `?`.
    #[must_use]
    pub fn render(&self, relation: &str) -> (String, Vec<Cell>) {
        let mut writer = Writer::default();
        writer.text(if self.rows == Distinct::Drop { "SELECT DISTINCT " } else { "SELECT " });
        for (index, item) in self.items.iter().enumerate() {
            writer.text(if index > 0 { ", " } else { "" });
            writer.expr(&item.expr);
            if !matches!(&item.expr, Expr::Column { name, .. } if *name == item.name) {
                writer.text(" AS ");
                writer.text(&quoted(&item.name));
            }
        }
        writer.text(" FROM ");
        writer.text(relation);
        self.tail.write(&self.items, &mut writer);
        (writer.sql, writer.cells)
    }

    /// The time to look back to.
    #[must_use]
    pub fn when(&self) -> Option<Wall> {
        self.when
    }

    /// Whether rows are gathered into groups, so that the number of rows of the answer says nothing about those read.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        !self.tail.group_by.is_empty() || self.tail.having.is_some() || self.items.iter().any(|item| item.expr.aggregates())
    }

    /// Most rows that the caller wants.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.tail.limit
    }

    /// Names of the answer's columns, in order.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| item.name.as_str())
    }
}

/// What `order` says: `newest` or `oldest` first (of rows by `time`, of buckets by their first column), or as after ORDER BY.
fn order(table: &Table, items: &[Item], time: Option<Expr>, text: &str, now: Wall) -> Result<Vec<Order>, String> {
    let by_time = match text.trim() {
        "newest" => Some(Order::descending as fn(Expr) -> Order),
        "oldest" => Some(Order::ascending as fn(Expr) -> Order),
        _ => None,
    };
    // A column of that name is meant if there is one.
    let by_time = by_time.filter(|_| table.columns.iter().all(|column| column.name != text.trim()));
    match by_time {
        None => parts::order(table, items, text, now),
        Some(by) => match time.or_else(|| items.first().map(|item| item.expr.clone())) {
            Some(time) => Ok(vec![by(time)]),
            None => Err("there is nothing to order".to_owned()),
        },
    }
}

/// An error that names its argument.
fn wrong(key: &'static str) -> impl Fn(String) -> CallError {
    move |why| CallError::exception(format!("{key}: {why}"))
}

/// A checked condition of `delete_T`.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    condition: Option<Expr>,
}

impl Predicate {
    /// Checks the argument of `delete_T`, given as the `data` value of the call. No argument, null and an empty `where` mean
    /// all rows, as with the reference. `now()` is the time of the call, however often the deletion is repeated from the log.
    pub fn parse(table: &Table, data: &[u8], now: Wall) -> Result<Self, CallError> {
        let arguments = Arguments::read(data, &arguments::OF_DELETIONS, now)?;
        let condition = arguments.condition().map(|text| parts::condition(table, text, now)).transpose();
        condition.map(|condition| Self { condition }).map_err(wrong("where"))
    }

    /// Whether every row is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.condition.is_none()
    }

    /// The condition, and the values of its `?`; `TRUE` for all rows.
    #[must_use]
    pub fn render(&self) -> (String, Vec<Cell>) {
        let mut writer = Writer::default();
        match &self.condition {
            None => writer.text("TRUE"),
            Some(condition) => writer.expr(condition),
        }
        (writer.sql, writer.cells)
    }
}
