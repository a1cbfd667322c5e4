//! What a condition or a column list may say, after it has been checked. Nothing else can be written out.

use super::functions::{Aggregate, Part, Scalar, Unit};
use crate::history::model::{Cell, ColumnKind};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// A column of the table, by the schema's own spelling.
    Column {
        name: String,
        kind: ColumnKind,
    },
    Literal(Cell),
    /// A sum of counts and units.
    Interval(Vec<(i64, Unit)>),
    /// `AND`; flat, because conditions of a hundred parts are real and a tree of them would be as deep.
    All(Vec<Self>),
    /// `OR`
    Any(Vec<Self>),
    Not(Box<Self>),
    Negate(Box<Self>),
    Binary {
        op: Operator,
        left: Box<Self>,
        right: Box<Self>,
    },
    Is {
        what: Is,
        negated: bool,
        expr: Box<Self>,
    },
    In {
        expr: Box<Self>,
        list: Vec<Self>,
        negated: bool,
    },
    Between {
        expr: Box<Self>,
        low: Box<Self>,
        high: Box<Self>,
        negated: bool,
    },
    /// Pattern and escape are literals that [`like::parse`](super::like::parse) takes.
    Like {
        expr: Box<Self>,
        pattern: Box<Self>,
        escape: Option<Box<Self>>,
        case: Case,
        negated: bool,
    },
    Case {
        operand: Option<Box<Self>>,
        branches: Vec<(Self, Self)>,
        otherwise: Option<Box<Self>>,
    },
    Cast {
        expr: Box<Self>,
        kind: ColumnKind,
        failing: Failing,
    },
    Call {
        function: Scalar,
        arguments: Vec<Self>,
    },
    DateTrunc(Unit, Box<Self>),
    /// Start of the bucket of time that a `TIMESTAMP` falls in. Buckets are counted from Monday 2000-01-03, 00:00 UTC.
    Bucket {
        width_us: i64,
        expr: Box<Self>,
    },
    DatePart(Part, Box<Self>),
    DateDiff(Unit, Box<Self>, Box<Self>),
    CountRows {
        filter: Option<Box<Self>>,
    },
    Aggregate {
        function: Aggregate,
        distinct: bool,
        arguments: Vec<Self>,
        filter: Option<Box<Self>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Null,
    True,
    False,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Sensitive,
    Insensitive,
}

/// What a cast does with a value that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    IsAnError,
    GivesNull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Distinct,
    NotDistinct,
    Plus,
    Minus,
    Times,
    Divide,
    DivideWhole,
    Remainder,
    Concat,
}

impl Operator {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Distinct => "IS DISTINCT FROM",
            Self::NotDistinct => "IS NOT DISTINCT FROM",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divide => "/",
            Self::DivideWhole => "//",
            Self::Remainder => "%",
            Self::Concat => "||",
        }
    }

    pub(super) fn compares(self) -> bool {
        !matches!(
            self,
            Self::Plus | Self::Minus | Self::Times | Self::Divide | Self::DivideWhole | Self::Remainder | Self::Concat
        )
    }
}

impl Expr {
    /// Whether an aggregate is in it.
    pub(super) fn aggregates(&self) -> bool {
        match self {
            Self::CountRows { .. } | Self::Aggregate { .. } => true,
            Self::Column { .. } | Self::Literal(_) | Self::Interval(_) => false,
            Self::All(parts) | Self::Any(parts) | Self::Call { arguments: parts, .. } => parts.iter().any(Self::aggregates),
            Self::Not(e) | Self::Negate(e) | Self::Is { expr: e, .. } | Self::Cast { expr: e, .. } => e.aggregates(),
            Self::DateTrunc(_, e) | Self::DatePart(_, e) | Self::Bucket { expr: e, .. } => e.aggregates(),
            Self::Binary { left, right, .. } | Self::DateDiff(_, left, right) => left.aggregates() || right.aggregates(),
            Self::In { expr, list, .. } => expr.aggregates() || list.iter().any(Self::aggregates),
            Self::Between { expr, low, high, .. } => expr.aggregates() || low.aggregates() || high.aggregates(),
            Self::Like { expr, pattern, .. } => expr.aggregates() || pattern.aggregates(),
            Self::Case { operand, branches, otherwise } => {
                let some = |e: &Option<Box<Self>>| e.as_ref().is_some_and(|e| e.aggregates());
                some(operand) || some(otherwise) || branches.iter().any(|(when, then)| when.aggregates() || then.aggregates())
            }
        }
    }

    /// The kind of its values where that is certain, so that literals beside it can be read as that kind.
    pub(super) fn kind(&self) -> Option<ColumnKind> {
        match self {
            Self::Column { kind, .. } | Self::Cast { kind, .. } => Some(*kind),
            Self::DateTrunc(..) | Self::Bucket { .. } | Self::Literal(Cell::Timestamp(_)) => Some(ColumnKind::Timestamp),
            Self::Call { function, .. } => function.kind(),
            Self::Aggregate { function, arguments, .. } if function.keeps_kind() => arguments.first()?.kind(),
            Self::Binary { op: Operator::Plus | Operator::Minus, left, right } if matches!(**right, Self::Interval(_)) => {
                left.kind().map(|_| ColumnKind::Timestamp)
            }
            Self::Binary { op: Operator::Concat, .. } => Some(ColumnKind::Text),
            _ => None,
        }
    }
}
