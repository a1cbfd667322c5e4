//! Which column tells a row's time, for `since`, `until`, `every`, `order: "newest"` and `latest_T`: the first `TIMESTAMP` column
//! of the schema; else the column with the receive time (`extras.recv_ts`, nanoseconds); else the receive time that every table
//! keeps without showing it.

use super::expr::{Expr, Failing, Operator};
use super::functions::Scalar;
use crate::history::model::{Cell, ColumnKind, ColumnSource, Table};

/// The hidden column with the receive time, a `TIMESTAMP`.
pub(super) const RECEIVED: &str = "_recv";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Time {
    name: String,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Timestamp,
    /// `UBIGINT`, nanoseconds since 1970.
    Nanoseconds,
}

impl Time {
    pub(super) fn of(table: &Table) -> Self {
        let column = |wanted: fn(&crate::history::model::Column) -> bool| table.columns.iter().find(|column| wanted(column));
        if let Some(column) = column(|column| column.kind == ColumnKind::Timestamp) {
            return Self { name: column.name.clone(), unit: Unit::Timestamp };
        }
        match column(|column| column.source == ColumnSource::ReceiveTime) {
            Some(column) => Self { name: column.name.clone(), unit: Unit::Nanoseconds },
            None => Self { name: RECEIVED.to_owned(), unit: Unit::Timestamp },
        }
    }

    /// The column as it is: comparisons with it are answered by the statistics of files.
    pub(super) fn column(&self) -> Expr {
        let kind = match self.unit {
            Unit::Timestamp => ColumnKind::Timestamp,
            Unit::Nanoseconds => ColumnKind::UBigInt,
        };
        Expr::Column { name: self.name.clone(), kind }
    }

    /// Its name, if the schema has it.
    pub(super) fn name(&self) -> Option<&str> {
        (self.name != RECEIVED).then_some(&self.name)
    }

    /// The column as a `TIMESTAMP`.
    pub(super) fn timestamp(&self) -> Expr {
        match self.unit {
            Unit::Timestamp => self.column(),
            Unit::Nanoseconds => {
                let thousand = Expr::Literal(Cell::Integer(1_000));
                let whole =
                    Expr::Binary { op: Operator::DivideWhole, left: Box::new(self.column()), right: Box::new(thousand) };
                let micros = Expr::Cast { expr: Box::new(whole), kind: ColumnKind::BigInt, failing: Failing::IsAnError };
                let function = Scalar::named("make_timestamp").expect("the function is on the list");
                Expr::Call { function, arguments: vec![micros] }
            }
        }
    }

    fn cell(&self, micros: i64) -> Cell {
        match self.unit {
            Unit::Timestamp => Cell::Timestamp(micros),
            Unit::Nanoseconds => Cell::Integer(i128::from(micros.max(0)) * 1_000),
        }
    }

    /// From `since_us` on, before `until_us`.
    pub(super) fn between(&self, since_us: Option<i64>, until_us: Option<i64>) -> Vec<Expr> {
        let bound = |op, micros: i64| Expr::Binary {
            op,
            left: Box::new(self.column()),
            right: Box::new(Expr::Literal(self.cell(micros))),
        };
        let since = since_us.map(|micros| bound(Operator::GreaterOrEqual, micros));
        since.into_iter().chain(until_us.map(|micros| bound(Operator::Less, micros))).collect()
    }
}
