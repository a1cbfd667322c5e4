//! The parts of a query: what is selected, and everything from `WHERE` to `LIMIT`.

use super::Distinct;
use super::arguments::Cols;
use super::check::{Aggregates, Check};
use super::expr::Expr;
use super::text::select;
use super::write::{Writer, label};
use crate::clock::Wall;
use crate::history::model::{Cell, Table};
use sqlparser::ast;

/// Longest name for a column of the answer.
const ALIAS_BYTES_MAX: usize = 128;

/// A column of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) expr: Expr,
    pub(super) name: String,
}

/// From `WHERE` to `LIMIT`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tail {
    pub(super) condition: Option<Expr>,
    pub(super) group_by: Vec<Expr>,
    pub(super) having: Option<Expr>,
    pub(super) order_by: Vec<Order>,
    pub(super) limit: Option<u64>,
    pub(super) offset: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) expr: Expr,
    direction: Direction,
    nulls: Nulls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Unsaid,
    Ascending,
    Descending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Unsaid,
    First,
    Last,
}

impl Order {
    pub(super) fn is_descending(&self) -> bool {
        self.direction == Direction::Descending
    }

    /// Nulls come last where nobody says so.
    pub(super) fn has_nulls_first(&self) -> bool {
        self.nulls == Nulls::First
    }
}

/// The schema's columns. Never `*`: tables of the lake have columns that are nobody's business.
pub(super) fn every_column(table: &Table) -> Vec<Item> {
    let column = |column: &crate::history::model::Column| Item {
        expr: Expr::Column { name: column.name.clone(), kind: column.kind },
        name: column.name.clone(),
    };
    table.columns.iter().map(column).collect()
}

/// What `cols` selects.
pub(super) fn columns(table: &Table, cols: &Cols, now: Wall) -> Result<(Vec<Item>, Distinct), String> {
    let text = match cols {
        Cols::Text(text) => text.clone(),
        // Joined as the reference does, so that an entry may be more than a name. A name is quoted, lest it be a word of SQL.
        Cols::List(list) => list.iter().map(|entry| exact(table, entry)).collect::<Vec<_>>().join(", "),
    };
    let (query, select) = select(&table.name, "SELECT", &exact(table, &text), "FROM t")?;
    let (projection, distinct) = only_projection(&query, select)?;
    let mut items = Vec::new();
    let mut check = Check::new(table, Aggregates::Possible, now);
    for item in &projection {
        match item {
            ast::SelectItem::Wildcard(options) => {
                plain_wildcard(options)?;
                items.extend(every_column(table));
            }
            ast::SelectItem::QualifiedWildcard(kind, _) => return Err(format!("`{kind}` is not this table")),
            ast::SelectItem::UnnamedExpr(expr) => {
                let expr = check.expr(expr)?;
                let name = match &expr {
                    Expr::Column { name, .. } => name.clone(),
                    expr => label(expr),
                };
                items.push(Item { expr, name });
            }
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                let name = alias.value.clone();
                if name.is_empty() || name.len() > ALIAS_BYTES_MAX || name.chars().any(|c| c.is_control() || c == '"') {
                    return Err("a name after AS has letters, and at most 128 bytes".to_owned());
                }
                items.push(Item { expr: check.expr(expr)?, name });
            }
            ast::SelectItem::ExprWithAliases { .. } => return Err("one name a column is possible".to_owned()),
        }
    }
    distinct_names(&mut items);
    Ok((items, distinct))
}

/// A column of the table as a quoted name, anything else as it is.
fn exact(table: &Table, entry: &str) -> String {
    match table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(entry.trim())) {
        Some(column) => format!("\"{}\"", column.name),
        None => entry.to_owned(),
    }
}

/// A frame whose columns have the same name cannot be read by the usual clients.
pub(super) fn distinct_names(items: &mut [Item]) {
    for index in 1..items.len() {
        let (before, rest) = items.split_at_mut(index);
        let taken = |name: &str| before.iter().any(|item| item.name.eq_ignore_ascii_case(name));
        let Some(item) = rest.first_mut() else { return };
        if taken(&item.name) {
            let free = (1..).map(|n| format!("{}_{n}", item.name)).find(|name| !taken(name));
            item.name = free.unwrap_or_default();
        }
    }
}

fn plain_wildcard(options: &ast::WildcardAdditionalOptions) -> Result<(), String> {
    let ast::WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let plain = opt_ilike.is_none()
        && opt_exclude.is_none()
        && opt_except.is_none()
        && opt_replace.is_none()
        && opt_rename.is_none()
        && opt_alias.is_none();
    if plain { Ok(()) } else { Err("`*` stands alone; EXCLUDE, REPLACE and the like are not possible".to_owned()) }
}

/// Everything in a SELECT that nobody here allows, by name.
fn refuse_extras(query: &ast::Query, select: &ast::Select) -> Result<(), String> {
    let extras = [
        ("WITH", query.with.is_some()),
        ("FETCH", query.fetch.is_some()),
        ("FOR UPDATE", !query.locks.is_empty()),
        ("FOR", query.for_clause.is_some()),
        ("SETTINGS", query.settings.is_some()),
        ("FORMAT", query.format_clause.is_some()),
        ("|>", !query.pipe_operators.is_empty()),
        ("TOP", select.top.is_some()),
        ("EXCLUDE", select.exclude.is_some()),
        ("INTO", select.into.is_some()),
        ("LATERAL VIEW", !select.lateral_views.is_empty()),
        ("PREWHERE", select.prewhere.is_some()),
        ("CONNECT BY", !select.connect_by.is_empty()),
        ("CLUSTER BY", !select.cluster_by.is_empty()),
        ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
        ("SORT BY", !select.sort_by.is_empty()),
        ("WINDOW", !select.named_window.is_empty()),
        ("QUALIFY", select.qualify.is_some()),
        ("AS STRUCT", select.value_table_mode.is_some()),
        ("another table", !one_table(&select.from)),
    ];
    match extras.iter().find(|(_, there)| *there) {
        Some((name, _)) => Err(format!("{name} is not possible")),
        None => Ok(()),
    }
}

/// Whether FROM is the one table that stands in our own prefix or suffix.
fn one_table(from: &[ast::TableWithJoins]) -> bool {
    let [ast::TableWithJoins { relation: ast::TableFactor::Table { name, alias: None, args: None, .. }, joins }] = from else {
        return false;
    };
    joins.is_empty() && name.to_string() == "t"
}

fn only_projection(query: &ast::Query, select: ast::Select) -> Result<(Vec<ast::SelectItem>, Distinct), String> {
    refuse_extras(query, &select)?;
    let grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty());
    let more = select.selection.is_some() || grouped || select.having.is_some();
    if more || query.order_by.is_some() || query.limit_clause.is_some() {
        return Err("conditions, groups, order and limit belong into `where`".to_owned());
    }
    let distinct = match select.distinct {
        None | Some(ast::Distinct::All) => Distinct::Keep,
        Some(ast::Distinct::Distinct) => Distinct::Drop,
        Some(ast::Distinct::On(_)) => return Err("DISTINCT ON is not possible".to_owned()),
    };
    Ok((select.projection, distinct))
}

/// A condition and nothing else.
pub(super) fn condition(table: &Table, text: &str, now: Wall) -> Result<Expr, String> {
    let (query, select) = select(&table.name, "SELECT 1 FROM t WHERE", text, "")?;
    refuse_extras(&query, &select)?;
    let grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty());
    if grouped || select.having.is_some() || query.order_by.is_some() || query.limit_clause.is_some() {
        return Err("only a condition is possible here, without GROUP BY, ORDER BY or LIMIT".to_owned());
    }
    let condition = select.selection.ok_or_else(|| "the condition is missing".to_owned())?;
    Check::new(table, Aggregates::NotIn("a condition"), now).expr(&condition)
}

impl Order {
    pub(super) fn ascending(expr: Expr) -> Self {
        Self { expr, direction: Direction::Ascending, nulls: Nulls::Unsaid }
    }

    /// Rows without a value come last.
    pub(super) fn descending(expr: Expr) -> Self {
        Self { expr, direction: Direction::Descending, nulls: Nulls::Last }
    }
}

fn aliases(items: &[Item]) -> Vec<(String, Expr)> {
    items.iter().map(|item| (item.name.clone(), item.expr.clone())).collect()
}

/// What stands after `ORDER BY` and nothing else.
pub(super) fn order(table: &Table, items: &[Item], text: &str, now: Wall) -> Result<Vec<Order>, String> {
    let (query, select) = select(&table.name, "SELECT 1 FROM t ORDER BY", text, "")?;
    refuse_extras(&query, &select)?;
    match &query.order_by {
        Some(order) if query.limit_clause.is_none() => read_order(order, table, items, now),
        _ => Err("only columns, ASC, DESC and NULLS FIRST or LAST are possible".to_owned()),
    }
}

impl Tail {
    /// More conditions, all of which must hold.
    pub(super) fn and(&mut self, more: impl IntoIterator<Item = Expr>) {
        let mut all: Vec<Expr> = self.condition.take().into_iter().collect();
        all.extend(more);
        self.condition = match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Expr::All(all)),
        };
    }

    /// Reads a condition and what users append to it.
    pub(super) fn read(table: &Table, items: &[Item], text: &str, now: Wall) -> Result<Self, String> {
        let (query, select) = select(&table.name, "SELECT 1 FROM t WHERE", text, "")?;
        refuse_extras(&query, &select)?;
        let aliases = aliases(items);
        let place = |aggregates| Check::new(table, aggregates, now);
        let selection = select.selection.ok_or_else(|| "the condition is missing".to_owned())?;
        let condition = place(Aggregates::NotIn("a condition; HAVING is for groups")).expr(&selection)?;
        let group_by = match &select.group_by {
            ast::GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => {
                let mut check = place(Aggregates::NotIn("GROUP BY")).with_aliases(&aliases);
                exprs.iter().map(|expr| check.expr(expr).and_then(|expr| position(expr, items))).collect::<Result<_, _>>()?
            }
            ast::GroupByExpr::All(modifiers) if modifiers.is_empty() => {
                items.iter().filter(|item| !item.expr.aggregates()).map(|item| item.expr.clone()).collect()
            }
            _ => return Err("ROLLUP, CUBE and the like are not possible".to_owned()),
        };
        let mut check = place(Aggregates::Possible).with_aliases(&aliases);
        let having = select.having.as_ref().map(|having| check.expr(having)).transpose()?;
        let order_by = query.order_by.as_ref().map(|order| read_order(order, table, items, now)).transpose()?;
        let (limit, offset) = query.limit_clause.as_ref().map(read_limit).transpose()?.unwrap_or_default();
        Ok(Self { condition: Some(condition), group_by, having, order_by: order_by.unwrap_or_default(), limit, offset })
    }

    pub(super) fn write(&self, items: &[Item], writer: &mut Writer) {
        if let Some(condition) = &self.condition {
            writer.text(" WHERE ");
            writer.expr(condition);
        }
        for (index, expr) in self.group_by.iter().enumerate() {
            writer.text(if index == 0 { " GROUP BY " } else { ", " });
            write_place(expr, items, writer);
        }
        if let Some(having) = &self.having {
            writer.text(" HAVING ");
            writer.expr(having);
        }
        for (index, order) in self.order_by.iter().enumerate() {
            writer.text(if index == 0 { " ORDER BY " } else { ", " });
            write_place(&order.expr, items, writer);
            writer.text(match order.direction {
                Direction::Unsaid => "",
                Direction::Ascending => " ASC",
                Direction::Descending => " DESC",
            });
            writer.text(match order.nulls {
                Nulls::Unsaid => "",
                Nulls::First => " NULLS FIRST",
                Nulls::Last => " NULLS LAST",
            });
        }
        for (word, count) in [(" LIMIT ", self.limit), (" OFFSET ", self.offset)] {
            if let Some(count) = count {
                writer.text(word);
                writer.parameter(Cell::Integer(count.into()));
            }
        }
    }
}

/// An expression that is selected too is named by its position. Written out twice, its parameters would make it two different
/// expressions to the engine, and a grouped query would be refused.
fn write_place(expr: &Expr, items: &[Item], writer: &mut Writer) {
    match items.iter().position(|item| item.expr == *expr) {
        Some(index) if !matches!(expr, Expr::Column { .. }) => writer.text(&(index + 1).to_string()),
        _ => writer.expr(expr),
    }
}

/// A number in `GROUP BY` and `ORDER BY` is a position in the column list.
fn position(expr: Expr, items: &[Item]) -> Result<Expr, String> {
    match expr {
        Expr::Literal(Cell::Integer(number)) => {
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            let item = index.and_then(|index| items.get(index));
            item.map(|item| item.expr.clone()).ok_or_else(|| format!("there is no column number {number}"))
        }
        Expr::Literal(_) => Err("GROUP BY and ORDER BY take columns, not values".to_owned()),
        expr => Ok(expr),
    }
}

fn read_order(order: &ast::OrderBy, table: &Table, items: &[Item], now: Wall) -> Result<Vec<Order>, String> {
    let ast::OrderBy { kind: ast::OrderByKind::Expressions(exprs), interpolate: None } = order else {
        return Err("this form of ORDER BY is not possible".to_owned());
    };
    let aliases = aliases(items);
    let mut check = Check::new(table, Aggregates::Possible, now).with_aliases(&aliases);
    let mut read = Vec::new();
    for ast::OrderByExpr { expr, options, with_fill } in exprs {
        let direction = match &options.sort {
            None => Direction::Unsaid,
            Some(ast::OrderBySort::Asc) => Direction::Ascending,
            Some(ast::OrderBySort::Desc) => Direction::Descending,
            Some(ast::OrderBySort::Using(_)) => return Err("USING in ORDER BY is not possible".to_owned()),
        };
        if with_fill.is_some() {
            return Err("WITH FILL is not possible".to_owned());
        }
        let nulls = match options.nulls_first {
            None => Nulls::Unsaid,
            Some(true) => Nulls::First,
            Some(false) => Nulls::Last,
        };
        read.push(Order { expr: position(check.expr(expr)?, items)?, direction, nulls });
    }
    Ok(read)
}

fn read_limit(limit: &ast::LimitClause) -> Result<(Option<u64>, Option<u64>), String> {
    let number = |expr: &ast::Expr, word: &str| {
        match expr {
            ast::Expr::Value(value) => match super::literal::value(&value.value) {
                Ok(Cell::Integer(number)) => u64::try_from(number).ok().filter(|number| *number <= i64::MAX.unsigned_abs()),
                _ => None,
            },
            _ => None,
        }
        .ok_or_else(|| format!("{word} takes a whole number"))
    };
    match limit {
        ast::LimitClause::LimitOffset { limit, offset, limit_by } if limit_by.is_empty() => {
            let limit = limit.as_ref().map(|limit| number(limit, "LIMIT")).transpose()?;
            let offset = offset.as_ref().map(|offset| number(&offset.value, "OFFSET")).transpose()?;
            Ok((limit, offset))
        }
        _ => Err("this form of LIMIT is not possible".to_owned()),
    }
}
