//! The allow-list: from sqlparser's tree to [`Expr`]. What is not spelled out here is refused, and said by name.

mod calls;

use super::expr::{Case, Expr, Failing, Is, Operator};
use super::functions::Part;
use super::like;
use super::literal;
use super::text::DEPTH_MAX;
use crate::clock::Wall;
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind, Table};
use sqlparser::ast;
use sqlparser::ast::{BinaryOperator, UnaryOperator};

/// What names and functions mean at the place that is being read.
pub(super) struct Check<'a> {
    pub(super) table: &'a Table,
    /// Names given in the column list, for `GROUP BY`, `HAVING` and `ORDER BY`.
    pub(super) aliases: &'a [(String, Expr)],
    pub(super) aggregates: Aggregates,
    /// The time of the call, for `now()`: the same for every row, and again when a deletion is repeated from the log.
    pub(super) now: Wall,
    depth: usize,
    /// Texts joined so far, by `||` or `concat`.
    joined: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregates {
    Possible,
    /// And where that is, for the message.
    NotIn(&'static str),
}

/// Texts that one condition or column list may join.
const JOINED_MAX: usize = 16;

type Checked = Result<Expr, String>;

impl<'a> Check<'a> {
    pub(super) fn new(table: &'a Table, aggregates: Aggregates, now: Wall) -> Self {
        Self { table, aliases: &[], aggregates, now, depth: 0, joined: 0 }
    }

    pub(super) fn with_aliases(mut self, aliases: &'a [(String, Expr)]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Checks one expression.
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Checked {
        // The parser's own limit counts differently for left-leaning chains such as `a + b + c`.
        if self.depth > 2 * DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        self.depth += 1;
        let checked = self.checked(expr);
        self.depth -= 1;
        checked
    }

    fn boxed(&mut self, expr: &ast::Expr) -> Result<Box<Expr>, String> {
        self.expr(expr).map(Box::new)
    }

    fn checked(&mut self, expr: &ast::Expr) -> Checked {
        match expr {
            ast::Expr::Identifier(name) => self.column(&name.value).map_err(|why| match name.quote_style {
                Some('"') => format!("{why}. Text is written in single quotes"),
                _ => why,
            }),
            ast::Expr::Value(value) => literal::value(&value.value).map(Expr::Literal),
            ast::Expr::TypedString(typed) => literal::typed(typed).map(Expr::Literal),
            ast::Expr::Interval(interval) => literal::interval(interval).map(Expr::Interval),
            ast::Expr::Nested(inner) => self.expr(inner),
            ast::Expr::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            ast::Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            ast::Expr::IsNull(inner) => self.is(Is::Null, false, inner),
            ast::Expr::IsNotNull(inner) => self.is(Is::Null, true, inner),
            ast::Expr::IsUnknown(inner) => self.is(Is::Null, false, inner),
            ast::Expr::IsNotUnknown(inner) => self.is(Is::Null, true, inner),
            ast::Expr::IsTrue(inner) => self.is(Is::True, false, inner),
            ast::Expr::IsNotTrue(inner) => self.is(Is::True, true, inner),
            ast::Expr::IsFalse(inner) => self.is(Is::False, false, inner),
            ast::Expr::IsNotFalse(inner) => self.is(Is::False, true, inner),
            ast::Expr::IsDistinctFrom(left, right) => self.compare(left, Operator::Distinct, right),
            ast::Expr::IsNotDistinctFrom(left, right) => self.compare(left, Operator::NotDistinct, right),
            ast::Expr::InList { expr, list, negated } => {
                let expr = self.boxed(expr)?;
                let list = list.iter().map(|item| self.expr(item).and_then(|item| literal::fit(item, expr.kind())));
                Ok(Expr::In { list: list.collect::<Result<_, _>>()?, expr, negated: *negated })
            }
            ast::Expr::Between { expr, negated, low, high } => {
                let expr = self.boxed(expr)?;
                let mut side = |side| self.expr(side).and_then(|side| literal::fit(side, expr.kind())).map(Box::new);
                let (low, high) = (side(low)?, side(high)?);
                Ok(Expr::Between { expr, low, high, negated: *negated })
            }
            ast::Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), Case::Sensitive, *negated)
            }
            ast::Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), Case::Insensitive, *negated)
            }
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            ast::Expr::Cast { kind, expr, data_type, format: None, .. } => self.cast(kind, expr, data_type),
            ast::Expr::Extract { field, expr, .. } => self.part(&field.to_string(), expr),
            ast::Expr::Ceil { expr, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.call("ceil", &[expr])
            }
            ast::Expr::Floor { expr, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.call("floor", &[expr])
            }
            ast::Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let mut arguments: Vec<&ast::Expr> = vec![expr, from];
                arguments.extend(substring_for.as_deref());
                self.call("substr", &arguments)
            }
            ast::Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                self.trim(*trim_where, trim_what.as_deref(), expr, trim_characters.as_deref())
            }
            ast::Expr::Position { expr, r#in } => self.call("strpos", &[r#in, expr]),
            ast::Expr::Function(function) => self.function(function),
            other => Err(format!("{} not possible", refused(other))),
        }
    }

    fn column(&self, name: &str) -> Checked {
        let found = self.table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        if let Some(column) = found {
            return Ok(Expr::Column { name: column.name.clone(), kind: column.kind });
        }
        if let Some(expr) = self.alias(name) {
            return match self.aggregates {
                Aggregates::NotIn(place) if expr.aggregates() => {
                    Err(format!("`{name}` is an aggregate, not possible in {place}"))
                }
                _ => Ok(expr.clone()),
            };
        }
        let known: Vec<&str> = self.table.columns.iter().map(|column| column.name.as_str()).collect();
        Err(format!("there is no column `{name}` in table `{}`; its columns are {}", self.table.name, known.join(", ")))
    }

    fn alias(&self, name: &str) -> Option<&'a Expr> {
        self.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, expr)| expr)
    }

    fn is(&mut self, what: Is, negated: bool, expr: &ast::Expr) -> Checked {
        Ok(Expr::Is { what, negated, expr: self.boxed(expr)? })
    }

    fn unary(&mut self, op: UnaryOperator, expr: &ast::Expr) -> Checked {
        let inner = self.expr(expr)?;
        match (op, inner) {
            (UnaryOperator::Not, inner) => Ok(Expr::Not(Box::new(inner))),
            (UnaryOperator::Plus, inner) => Ok(inner),
            (UnaryOperator::Minus, Expr::Literal(Cell::Integer(value))) => Ok(Expr::Literal(Cell::Integer(-value))),
            (UnaryOperator::Minus, Expr::Literal(Cell::Float(value))) => Ok(Expr::Literal(Cell::Float(-value))),
            (UnaryOperator::Minus, inner) => Ok(Expr::Negate(Box::new(inner))),
            (op, _) => Err(format!("the operator `{op}` is not possible")),
        }
    }

    fn binary(&mut self, whole: &ast::Expr, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Checked {
        let operator = match op {
            BinaryOperator::And | BinaryOperator::Or => return self.chain(whole, op),
            BinaryOperator::Eq => Operator::Equal,
            BinaryOperator::NotEq => Operator::NotEqual,
            BinaryOperator::Lt => Operator::Less,
            BinaryOperator::LtEq => Operator::LessOrEqual,
            BinaryOperator::Gt => Operator::Greater,
            BinaryOperator::GtEq => Operator::GreaterOrEqual,
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Times,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::DuckIntegerDivide => Operator::DivideWhole,
            BinaryOperator::Modulo => Operator::Remainder,
            BinaryOperator::StringConcat => {
                self.join(1)?;
                Operator::Concat
            }
            other => return Err(format!("the operator `{other}` is not possible")),
        };
        self.compare(left, operator, right)
    }

    /// Counts joined texts: the engine's memory limit does not see what they take, and it makes 2,048 of them at once.
    fn join(&mut self, texts: usize) -> Result<(), String> {
        self.joined += texts;
        if self.joined > JOINED_MAX { Err(format!("more than {JOINED_MAX} texts are joined")) } else { Ok(()) }
    }

    /// `a AND b AND c` without recursion: long chains are real, and lean to the left.
    fn chain(&mut self, whole: &ast::Expr, op: &BinaryOperator) -> Checked {
        let mut parts = Vec::new();
        let mut rest = whole;
        while let ast::Expr::BinaryOp { left, op: found, right } = rest
            && found == op
        {
            parts.push(self.expr(right)?);
            rest = left;
        }
        parts.push(self.expr(rest)?);
        parts.reverse();
        Ok(if *op == BinaryOperator::And { Expr::All(parts) } else { Expr::Any(parts) })
    }

    fn compare(&mut self, left: &ast::Expr, op: Operator, right: &ast::Expr) -> Checked {
        let (mut left, mut right) = (self.expr(left)?, self.expr(right)?);
        if op.compares() {
            let kinds = (left.kind(), right.kind());
            (left, right) = (literal::fit(left, kinds.1)?, literal::fit(right, kinds.0)?);
        }
        Ok(Expr::Binary { op, left: Box::new(left), right: Box::new(right) })
    }

    fn like(
        &mut self,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::Expr>,
        case: Case,
        negated: bool,
    ) -> Checked {
        let escape = match escape.map(|escape| self.expr(escape)).transpose()? {
            None => None,
            Some(Expr::Literal(Cell::Text(text))) if text.chars().count() == 1 => {
                Some(Box::new(Expr::Literal(Cell::Text(text))))
            }
            Some(_) => return Err("ESCAPE takes a text of one character".to_owned()),
        };
        let pattern = self.boxed(pattern)?;
        like::of(&pattern, escape.as_deref(), case)?;
        let mut expr = self.boxed(expr)?;
        if expr.kind().is_some_and(|kind| kind != ColumnKind::Text) {
            expr = Box::new(Expr::Cast { expr, kind: ColumnKind::Text, failing: Failing::IsAnError });
        }
        Ok(Expr::Like { expr, pattern, escape, case, negated })
    }

    fn case(&mut self, operand: Option<&ast::Expr>, branches: &[ast::CaseWhen], otherwise: Option<&ast::Expr>) -> Checked {
        let operand = operand.map(|operand| self.boxed(operand)).transpose()?;
        let kind = operand.as_ref().and_then(|operand| operand.kind());
        let mut checked = Vec::new();
        for ast::CaseWhen { condition, result } in branches {
            checked.push((literal::fit(self.expr(condition)?, kind)?, self.expr(result)?));
        }
        let otherwise = otherwise.map(|otherwise| self.boxed(otherwise)).transpose()?;
        Ok(Expr::Case { operand, branches: checked, otherwise })
    }

    fn cast(&mut self, how: &ast::CastKind, expr: &ast::Expr, data_type: &ast::DataType) -> Checked {
        let name = data_type.to_string();
        let kind = kind::parse(&name).ok_or_else(|| format!("`{name}` is not a type that values can be cast to"))?;
        let failing = match how {
            ast::CastKind::Cast | ast::CastKind::DoubleColon => Failing::IsAnError,
            ast::CastKind::TryCast | ast::CastKind::SafeCast => Failing::GivesNull,
        };
        Ok(Expr::Cast { expr: self.boxed(expr)?, kind, failing })
    }

    fn trim(
        &mut self,
        side: Option<ast::TrimWhereField>,
        what: Option<&ast::Expr>,
        expr: &ast::Expr,
        characters: Option<&[ast::Expr]>,
    ) -> Checked {
        let function = match side {
            None | Some(ast::TrimWhereField::Both) => "trim",
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
        };
        let mut arguments = vec![expr];
        arguments.extend(what);
        arguments.extend(characters.unwrap_or_default());
        self.call(function, &arguments)
    }

    fn part(&mut self, name: &str, expr: &ast::Expr) -> Checked {
        let part = Part::named(name).ok_or_else(|| format!("`{name}` is not a part of a time"))?;
        Ok(Expr::DatePart(part, self.boxed(expr)?))
    }
}

/// The name of something that is not on the list, in the plural where people say it so.
pub(super) fn refused(expr: &ast::Expr) -> String {
    let words = match expr {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => "subqueries are",
        ast::Expr::Lambda(_) => "lambda functions are",
        ast::Expr::Tuple(_) => "tuples are",
        ast::Expr::Array(_) | ast::Expr::InUnnest { .. } => "lists are",
        ast::Expr::Struct { .. } | ast::Expr::Dictionary(_) | ast::Expr::Map(_) => "structs and maps are",
        ast::Expr::CompoundFieldAccess { .. } | ast::Expr::JsonAccess { .. } => "access to parts of a value is",
        ast::Expr::AtTimeZone { .. } => "AT TIME ZONE is",
        ast::Expr::Collate { .. } => "COLLATE is",
        ast::Expr::SimilarTo { .. } | ast::Expr::RLike { .. } => "regular expressions are",
        ast::Expr::AnyOp { .. } | ast::Expr::AllOp { .. } | ast::Expr::Like { .. } | ast::Expr::ILike { .. } => {
            "ANY and ALL are"
        }
        ast::Expr::GroupingSets(_) | ast::Expr::Cube(_) | ast::Expr::Rollup(_) => "grouping sets are",
        ast::Expr::Wildcard(_) | ast::Expr::QualifiedWildcard(..) => "`*` in an expression is",
        _ => "this kind of expression is",
    };
    words.to_owned()
}
