//! Calls of functions and aggregates.

use super::{Aggregates, Check, Checked};
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::expr::{Expr, Failing};
use crate::history::sql::functions::{Aggregate, Scalar, Unit};
use crate::history::sql::literal;
use sqlparser::ast;

impl Check<'_> {
    /// A call of a function of [`Scalar`], or of one that is written differently.
    pub(super) fn call(&mut self, name: &str, arguments: &[&ast::Expr]) -> Checked {
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
                if function.name() == "concat" {
                    self.join(arguments.len())?;
                }
                let mut checked = Vec::new();
                for (index, argument) in arguments.iter().enumerate() {
                    let expr = self.expr(argument)?;
                    checked.push(match function.needs(index) {
                        Some(kind) => Expr::Cast { expr: Box::new(expr), kind, failing: Failing::IsAnError },
                        None => expr,
                    });
                }
                Ok(Expr::Call { function, arguments: checked })
            }
        }
    }

    fn present(&self) -> Expr {
        Expr::Literal(Cell::Timestamp(i64::try_from(self.now.0 / 1_000).unwrap_or(i64::MAX)))
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

    pub(super) fn function(&mut self, function: &ast::Function) -> Checked {
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
