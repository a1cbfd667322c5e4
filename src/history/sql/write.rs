//! Writes checked expressions as SQL. Literals leave as parameters, names as quoted identifiers, everything else is text
//! that stands in this program: nothing a caller wrote reaches the engine as SQL.

use super::expr::{Case, Expr, Failing, Is};
use super::like::{self, Pattern};
use crate::history::kind;
use crate::history::model::Cell;

/// SQL in the making, and the values of its `?` in order.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) sql: String,
    pub(super) cells: Vec<Cell>,
    names: Names,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Names {
    #[default]
    Quoted,
    /// For people: the name of a column without one.
    Bare,
}

/// A name as SQL reads it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What an expression without a name is called in a result, as DuckDB would: `avg(temperature)`, `count_star()`.
pub(super) fn label(expr: &Expr) -> String {
    if matches!(expr, Expr::CountRows { filter: None }) {
        return "count_star()".to_owned();
    }
    let mut writer = Writer { names: Names::Bare, ..Writer::default() };
    writer.expr(expr);
    let inner = writer.sql.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
    let label = inner.filter(|_| matches!(expr, Expr::Binary { .. })).unwrap_or(&writer.sql);
    label.chars().take(60).collect()
}

impl Writer {
    pub(super) fn text(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    pub(super) fn parameter(&mut self, cell: Cell) {
        self.sql.push('?');
        self.cells.push(cell);
    }

    pub(super) fn name(&mut self, name: &str) {
        match self.names {
            Names::Quoted => self.sql.push_str(&quoted(name)),
            Names::Bare => self.sql.push_str(name),
        }
    }

    /// Each of `exprs`, with `between` between them.
    pub(super) fn list(&mut self, exprs: &[Expr], between: &str) {
        for (index, expr) in exprs.iter().enumerate() {
            if index > 0 {
                self.text(between);
            }
            self.expr(expr);
        }
    }

    /// Every operation brings its own parentheses, so precedence never has to be thought about.
    pub(super) fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Column { name, .. } => self.name(name),
            // These three say nothing that a caller could choose, and a NULL without a type confuses the engine's binder.
            Expr::Literal(Cell::Null) => self.text("NULL"),
            Expr::Literal(Cell::Boolean(true)) => self.text("TRUE"),
            Expr::Literal(Cell::Boolean(false)) => self.text("FALSE"),
            Expr::Literal(cell) => self.parameter(cell.clone()),
            Expr::Interval(parts) => self.interval(parts),
            Expr::All(parts) => self.grouped(parts, " AND "),
            Expr::Any(parts) => self.grouped(parts, " OR "),
            Expr::Not(inner) => self.around("(NOT ", inner, ")"),
            Expr::Negate(inner) => self.around("(- ", inner, ")"),
            Expr::Binary { op, left, right } => {
                self.around("(", left, " ");
                self.text(op.sql());
                self.around(" ", right, ")");
            }
            Expr::Is { what, negated, expr } => {
                let what = match what {
                    Is::Null => "NULL)",
                    Is::True => "TRUE)",
                    Is::False => "FALSE)",
                };
                self.around("(", expr, if *negated { " IS NOT " } else { " IS " });
                self.text(what);
            }
            Expr::In { expr, list, negated } => {
                self.around("(", expr, if *negated { " NOT IN (" } else { " IN (" });
                self.list(list, ", ");
                self.text("))");
            }
            Expr::Between { expr, low, high, negated } => {
                self.around("(", expr, if *negated { " NOT BETWEEN " } else { " BETWEEN " });
                self.expr(low);
                self.around(" AND ", high, ")");
            }
            Expr::Like { expr, pattern, escape, case, negated } if self.names == Names::Bare => {
                self.around("(", expr, if *negated { " NOT " } else { " " });
                self.text(if *case == Case::Sensitive { "LIKE " } else { "ILIKE " });
                self.expr(pattern);
                if let Some(escape) = escape {
                    self.around(" ESCAPE ", escape, "");
                }
                self.text(")");
            }
            Expr::Like { expr, pattern, escape, case, negated } => {
                self.text(if *negated { "(NOT " } else { "" });
                let pattern = like::of(pattern, escape.as_deref(), *case).expect("the pattern was checked");
                self.like(expr, *case, pattern);
                self.text(if *negated { ")" } else { "" });
            }
            Expr::Case { operand, branches, otherwise } => {
                self.text("CASE");
                if let Some(operand) = operand {
                    self.around(" ", operand, "");
                }
                for (when, then) in branches {
                    self.around(" WHEN ", when, "");
                    self.around(" THEN ", then, "");
                }
                if let Some(otherwise) = otherwise {
                    self.around(" ELSE ", otherwise, "");
                }
                self.text(" END");
            }
            Expr::Cast { expr, kind, failing } => {
                self.around(if *failing == Failing::IsAnError { "CAST(" } else { "TRY_CAST(" }, expr, " AS ");
                self.text(kind::name(*kind));
                self.text(")");
            }
            Expr::Call { function, arguments } => {
                if self.names == Names::Bare {
                    self.text(function.name());
                    return self.grouped(arguments, ", ");
                }
                let [open, between, close] = function.parts();
                self.text(open);
                self.list(arguments, between);
                self.text(close);
            }
            Expr::Bucket { width_us, expr } => {
                self.text("time_bucket(to_microseconds(");
                self.parameter(Cell::Integer((*width_us).into()));
                self.around("), ", expr, ")");
            }
            Expr::DateTrunc(unit, expr) => self.dated("date_trunc", unit.sql(), &[expr]),
            Expr::DatePart(part, expr) => self.dated("date_part", part.sql(), &[expr]),
            Expr::DateDiff(unit, from, to) => self.dated("date_diff", unit.sql(), &[from, to]),
            Expr::CountRows { filter } => {
                self.text("count(*)");
                self.filter(filter.as_deref());
            }
            Expr::Aggregate { function, distinct, arguments, filter } => {
                self.text(if self.names == Names::Bare { function.name() } else { function.sql() });
                self.text(if *distinct { "(DISTINCT " } else { "(" });
                self.list(arguments, ", ");
                self.text(")");
                self.filter(filter.as_deref());
            }
        }
    }

    fn around(&mut self, before: &str, expr: &Expr, after: &str) {
        self.text(before);
        self.expr(expr);
        self.text(after);
    }

    fn like(&mut self, expr: &Expr, case: Case, pattern: Pattern) {
        // The pattern is in small letters already.
        let [before, after] = if case == Case::Insensitive { ["lower(", ")"] } else { ["", ""] };
        let (open, text) = match pattern {
            Pattern::Equals(text) => {
                self.text("(");
                self.around(before, expr, after);
                self.text(" = ");
                self.parameter(Cell::Text(text));
                return self.text(")");
            }
            Pattern::Expression(expression) => {
                self.text("regexp_full_match(");
                self.around(before, expr, after);
                self.text(", '");
                self.text(&expression);
                return self.text("')");
            }
            Pattern::Starts(text) => ("starts_with(", text),
            Pattern::Ends(text) => ("suffix(", text),
            Pattern::Contains(text) => ("contains(", text),
        };
        self.text(open);
        self.around(before, expr, after);
        self.text(", ");
        self.parameter(Cell::Text(text));
        self.text(")");
    }

    fn grouped(&mut self, parts: &[Expr], between: &str) {
        self.text("(");
        self.list(parts, between);
        self.text(")");
    }

    fn interval(&mut self, parts: &[(i64, super::functions::Unit)]) {
        self.text("(");
        for (index, (count, unit)) in parts.iter().enumerate() {
            self.text(if index > 0 { " + " } else { "" });
            self.text(unit.interval());
            self.text(" * ");
            self.parameter(Cell::Integer((*count).into()));
        }
        self.text(")");
    }

    fn dated(&mut self, function: &str, unit: &str, arguments: &[&Expr]) {
        self.text(function);
        self.text("('");
        self.text(unit);
        self.text("'");
        for argument in arguments {
            self.around(", ", argument, "");
        }
        self.text(")");
    }

    fn filter(&mut self, condition: Option<&Expr>) {
        if let Some(condition) = condition {
            self.around(" FILTER (WHERE ", condition, ")");
        }
    }
}
