//! The allow-list: from sqlparser's tree to [`Expr`]. What is not spelled out here is refused, and said by name.

use super::expr::{Case, Expr, Failing, Is, Operator};
use super::functions::{Aggregate, Part, Scalar, Unit};
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
    /// A fixed time for `now()`; a query asks the engine.
    pub(super) now: Option<Wall>,
    depth: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregates {
    Possible,
    /// And where that is, for the message.
    NotIn(&'static str),
}

type Checked = Result<Expr, String>;

impl<'a> Check<'a> {
    pub(super) fn new(table: &'a Table, aggregates: Aggregates, now: Option<Wall>) -> Self {
        Self { table, aliases: &[], aggregates, now, depth: 0 }
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
            ast::Expr::Identifier(name) => self.column(&name.value),
            ast::Expr::CompoundIdentifier(parts) => self.qualified(parts),
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

    /// `table.column`, of this table only.
    fn qualified(&self, parts: &[ast::Ident]) -> Checked {
        match parts {
            [table, column] if table.value.eq_ignore_ascii_case(&self.table.name) => self.column(&column.value),
            parts => {
                let path: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                Err(format!("`{}` is not a column of table `{}`", path.join("."), self.table.name))
            }
        }
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
            BinaryOperator::StringConcat => Operator::Concat,
            other => return Err(format!("the operator `{other}` is not possible")),
        };
        self.compare(left, operator, right)
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
        Ok(Expr::Like { expr: self.boxed(expr)?, pattern: self.boxed(pattern)?, escape, case, negated })
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

    /// A call of a function of [`Scalar`], or of one that is written differently.
    fn call(&mut self, name: &str, arguments: &[&ast::Expr]) -> Checked {
        match (name, arguments) {
            ("now" | "current_timestamp" | "get_current_timestamp" | "localtimestamp", []) => Ok(self.present()),
            ("current_date" | "today", []) => {
                Ok(Expr::Cast { expr: Box::new(self.present()), kind: ColumnKind::Date, failing: Failing::IsAnError })
            }
            ("date_trunc" | "datetrunc", [unit, expr]) => Ok(Expr::DateTrunc(self.unit(name, unit)?, self.boxed(expr)?)),
            ("date_diff" | "datediff", [unit, from, to]) => {
                Ok(Expr::DateDiff(self.unit(name, unit)?, self.boxed(from)?, self.boxed(to)?))
            }
            ("date_part" | "datepart", [part, expr]) => {
                let part = self.constant(part).ok_or_else(|| format!("`{name}` takes the part of the time as a text first"))?;
                self.part(&part, expr)
            }
            (
                "year" | "quarter" | "month" | "week" | "day" | "hour" | "minute" | "second" | "dayofweek" | "dayofyear",
                [expr],
            ) => self.part(
                if name == "dayofweek" {
                    "dow"
                } else if name == "dayofyear" {
                    "doy"
                } else {
                    name
                },
                expr,
            ),
            _ => {
                let function = Scalar::named(name).ok_or_else(|| unknown_function(name))?;
                if !function.takes(arguments.len()) {
                    return Err(wrong_count(function.name(), arguments.len()));
                }
                let arguments = arguments.iter().map(|argument| self.expr(argument)).collect::<Result<_, _>>()?;
                Ok(Expr::Call { function, arguments })
            }
        }
    }

    fn present(&self) -> Expr {
        match self.now.and_then(|now| i64::try_from(now.0 / 1_000).ok()) {
            Some(micros) => Expr::Literal(Cell::Timestamp(micros)),
            None => Expr::Now,
        }
    }

    fn constant(&mut self, expr: &ast::Expr) -> Option<String> {
        match expr {
            ast::Expr::Value(value) => match literal::value(&value.value) {
                Ok(Cell::Text(text)) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    fn unit(&mut self, function: &str, expr: &ast::Expr) -> Result<Unit, String> {
        let name = self.constant(expr).ok_or_else(|| format!("`{function}` takes the unit of time as a text first"))?;
        Unit::named(&name).ok_or_else(|| format!("`{name}` is not a unit of time"))
    }

    fn function(&mut self, function: &ast::Function) -> Checked {
        let ast::Function { name, uses_odbc_syntax, parameters, args, within_group, filter, null_treatment, over } = function;
        let [ast::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return Err(format!("the function `{name}` is not possible"));
        };
        let name = ident.value.to_ascii_lowercase();
        if over.is_some() {
            return Err("window functions are not possible".to_owned());
        }
        let plain = !uses_odbc_syntax
            && matches!(parameters, ast::FunctionArguments::None)
            && within_group.is_empty()
            && null_treatment.is_none();
        if !plain {
            return Err(format!("this form of `{name}` is not possible"));
        }
        let list = match args {
            ast::FunctionArguments::None => {
                &ast::FunctionArgumentList { duplicate_treatment: None, args: vec![], clauses: vec![] }
            }
            ast::FunctionArguments::Subquery(_) => return Err("subqueries are not possible".to_owned()),
            ast::FunctionArguments::List(list) => list,
        };
        if !list.clauses.is_empty() {
            return Err(format!("`{name}` takes nothing but its arguments"));
        }
        let distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
        if name == "count"
            && !distinct
            && matches!(list.args.as_slice(), [] | [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard)])
        {
            self.aggregate_here(&name)?;
            return Ok(Expr::CountRows { filter: self.filter(filter.as_deref())? });
        }
        let mut arguments = Vec::new();
        for argument in &list.args {
            match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                ast::FunctionArg::Unnamed(_) => return Err(format!("`*` is not possible in `{name}`")),
                _ => return Err(format!("named arguments are not possible, as in `{name}`")),
            }
        }
        if let Some(aggregate) = Aggregate::named(&name) {
            self.aggregate_here(&name)?;
            if !aggregate.takes(arguments.len()) {
                return Err(wrong_count(aggregate.name(), arguments.len()));
            }
            let inner = self.inside(|check| arguments.iter().map(|argument| check.expr(argument)).collect::<Result<_, _>>())?;
            let filter = self.filter(filter.as_deref())?;
            return Ok(Expr::Aggregate { function: aggregate, distinct, arguments: inner, filter });
        }
        if distinct || filter.is_some() {
            return Err(format!("DISTINCT and FILTER belong to aggregates, `{name}` is none"));
        }
        self.call(&name, &arguments)
    }

    fn aggregate_here(&self, name: &str) -> Result<(), String> {
        match self.aggregates {
            Aggregates::Possible => Ok(()),
            Aggregates::NotIn(place) => Err(format!("`{name}` is an aggregate, not possible in {place}")),
        }
    }

    /// Reads something inside of an aggregate, where no other aggregate may be.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.aggregates, Aggregates::NotIn("another aggregate"));
        let done = read(self);
        self.aggregates = before;
        done
    }

    fn filter(&mut self, filter: Option<&ast::Expr>) -> Result<Option<Box<Expr>>, String> {
        filter.map(|filter| self.inside(|check| check.boxed(filter))).transpose()
    }
}

fn wrong_count(function: &str, count: usize) -> String {
    format!("`{function}` does not take {count} argument{}", if count == 1 { "" } else { "s" })
}

fn unknown_function(name: &str) -> String {
    let mut known: Vec<&str> = Scalar::names().chain(Aggregate::names()).collect();
    known.extend(["now", "current_timestamp", "date_trunc", "date_part", "date_diff"]);
    let near = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match near {
        Some((distance, near)) if distance <= 2 => format!("there is no function `{name}`; did you mean `{near}`?"),
        _ => format!("the function `{name}` is not possible"),
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
