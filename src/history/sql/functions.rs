//! The functions that conditions and column lists may call. What is not here does not exist: no files, no settings, no
//! network, nothing that makes much out of little: the engine's memory limit does not count texts that an expression makes, so
//! `replace` (tenfold a level when nested) and its like are missing.

use crate::history::model::ColumnKind;

/// A function of values of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scalar(&'static Entry);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// What callers write, in lower case.
    name: &'static str,
    /// What is written out: the text before, between and after the arguments.
    parts: [&'static str; 3],
    least: usize,
    most: usize,
    /// Kind of the result, if it is always the same.
    kind: Option<ColumnKind>,
}

const MANY: usize = 64;

const fn call(name: &'static str, open: &'static str, least: usize, most: usize, kind: Option<ColumnKind>) -> Entry {
    Entry { name, parts: [open, ", ", ")"], least, most, kind }
}

const TEXT: Option<ColumnKind> = Some(ColumnKind::Text);
const TIME: Option<ColumnKind> = Some(ColumnKind::Timestamp);
const FLAG: Option<ColumnKind> = Some(ColumnKind::Boolean);

static SCALARS: [Entry; 47] = [
    call("abs", "abs(", 1, 1, None),
    call("ceil", "ceil(", 1, 1, None),
    call("ceiling", "ceil(", 1, 1, None),
    call("floor", "floor(", 1, 1, None),
    call("round", "round(", 1, 2, None),
    call("trunc", "trunc(", 1, 1, None),
    call("sign", "sign(", 1, 1, None),
    call("sqrt", "sqrt(", 1, 1, None),
    call("exp", "exp(", 1, 1, None),
    call("ln", "ln(", 1, 1, None),
    call("log10", "log10(", 1, 1, None),
    call("pow", "pow(", 2, 2, None),
    call("power", "pow(", 2, 2, None),
    call("greatest", "greatest(", 1, MANY, None),
    call("least", "least(", 1, MANY, None),
    call("isnan", "isnan(", 1, 1, FLAG),
    call("isinf", "isinf(", 1, 1, FLAG),
    call("isfinite", "isfinite(", 1, 1, FLAG),
    call("coalesce", "coalesce(", 1, MANY, None),
    call("ifnull", "coalesce(", 2, 2, None),
    call("nullif", "nullif(", 2, 2, None),
    call("lower", "lower(", 1, 1, TEXT),
    call("lcase", "lower(", 1, 1, TEXT),
    call("upper", "upper(", 1, 1, TEXT),
    call("ucase", "upper(", 1, 1, TEXT),
    call("length", "length(", 1, 1, None),
    call("len", "length(", 1, 1, None),
    call("trim", "trim(", 1, 2, TEXT),
    call("ltrim", "ltrim(", 1, 2, TEXT),
    call("rtrim", "rtrim(", 1, 2, TEXT),
    call("substr", "substr(", 2, 3, TEXT),
    call("substring", "substr(", 2, 3, TEXT),
    call("left", "left(", 2, 2, TEXT),
    call("right", "right(", 2, 2, TEXT),
    call("concat", "concat(", 1, MANY, TEXT),
    call("contains", "contains(", 2, 2, FLAG),
    call("starts_with", "starts_with(", 2, 2, FLAG),
    call("prefix", "starts_with(", 2, 2, FLAG),
    call("ends_with", "suffix(", 2, 2, FLAG),
    call("suffix", "suffix(", 2, 2, FLAG),
    call("strpos", "strpos(", 2, 2, None),
    call("epoch", "epoch(", 1, 1, None),
    call("epoch_ms", "epoch_ms(", 1, 1, None),
    call("epoch_us", "epoch_us(", 1, 1, None),
    call("epoch_ns", "epoch_ns(", 1, 1, None),
    // DuckDB's own gives a time with zone, which needs an extension to be calculated with. Times are UTC here, without zone.
    Entry {
        name: "to_timestamp",
        parts: ["make_timestamp(CAST((", "", ") * CAST(1000000 AS BIGINT) AS BIGINT))"],
        least: 1,
        most: 1,
        kind: TIME,
    },
    Entry { name: "make_timestamp", parts: ["make_timestamp(", ", ", ")"], least: 1, most: 6, kind: TIME },
];

impl Scalar {
    /// `None` if there is no such function.
    pub(super) fn named(name: &str) -> Option<Self> {
        SCALARS.iter().find(|entry| entry.name == name).map(Self)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        SCALARS.iter().map(|entry| entry.name)
    }

    pub(super) fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) fn parts(self) -> [&'static str; 3] {
        self.0.parts
    }

    pub(super) fn kind(self) -> Option<ColumnKind> {
        self.0.kind
    }

    /// What the argument at `index` must be cast to: `round` takes no wider number of digits, and a parameter may be wider.
    pub(super) fn needs(self, index: usize) -> Option<ColumnKind> {
        (self.0.name == "round" && index == 1).then_some(ColumnKind::Integer)
    }

    pub(super) fn takes(self, arguments: usize) -> bool {
        let fits = (self.0.least..=self.0.most).contains(&arguments);
        fits && (self.0.name != "make_timestamp" || matches!(arguments, 1 | 6))
    }
}

/// A function of the values of many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aggregate(&'static (&'static str, &'static str, usize, bool));

/// What callers write, what is written out, arguments, and whether the result has the kind of the first argument.
static AGGREGATES: [(&str, &str, usize, bool); 27] = [
    ("count", "count", 1, false),
    ("min", "min", 1, true),
    ("max", "max", 1, true),
    ("avg", "avg", 1, false),
    ("mean", "avg", 1, false),
    ("sum", "sum", 1, false),
    ("first", "first", 1, true),
    ("last", "last", 1, true),
    ("any_value", "any_value", 1, true),
    ("median", "median", 1, false),
    ("mode", "mode", 1, true),
    ("stddev", "stddev_samp", 1, false),
    ("stddev_samp", "stddev_samp", 1, false),
    ("stddev_pop", "stddev_pop", 1, false),
    ("variance", "var_samp", 1, false),
    ("var_samp", "var_samp", 1, false),
    ("var_pop", "var_pop", 1, false),
    ("bool_and", "bool_and", 1, false),
    ("bool_or", "bool_or", 1, false),
    ("approx_count_distinct", "approx_count_distinct", 1, false),
    ("arg_max", "arg_max", 2, true),
    // Also if the value is null there.
    ("arg_max_null", "arg_max_null", 2, true),
    ("max_by", "arg_max", 2, true),
    ("arg_min", "arg_min", 2, true),
    ("min_by", "arg_min", 2, true),
    ("corr", "corr", 2, false),
    ("covar_samp", "covar_samp", 2, false),
];

impl Aggregate {
    /// `None` if there is no such aggregate.
    pub(super) fn named(name: &str) -> Option<Self> {
        AGGREGATES.iter().find(|(known, ..)| *known == name).map(Self)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        AGGREGATES.iter().map(|(name, ..)| *name)
    }

    pub(super) fn name(self) -> &'static str {
        self.0.0
    }

    pub(super) fn sql(self) -> &'static str {
        self.0.1
    }

    pub(super) fn takes(self, arguments: usize) -> bool {
        self.0.2 == arguments
    }

    pub(super) fn keeps_kind(self) -> bool {
        self.0.3
    }
}

/// Units of time, for intervals, `date_trunc` and `date_diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

impl Unit {
    /// The unit of this name, in any case and number.
    pub(super) fn named(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        // Three whose last letter is no plural.
        match lower.as_str() {
            "s" => return Some(Self::Second),
            "ms" => return Some(Self::Millisecond),
            "us" => return Some(Self::Microsecond),
            _ => {}
        }
        Some(match lower.strip_suffix('s').unwrap_or(&lower) {
            "year" | "yr" | "y" => Self::Year,
            "quarter" => Self::Quarter,
            "month" | "mon" => Self::Month,
            "week" | "w" => Self::Week,
            "day" | "d" => Self::Day,
            "hour" | "hr" | "h" => Self::Hour,
            "minute" | "min" | "m" => Self::Minute,
            "second" | "sec" => Self::Second,
            "millisecond" | "msec" => Self::Millisecond,
            "microsecond" | "usec" => Self::Microsecond,
            _ => return None,
        })
    }

    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Millisecond => "millisecond",
            Self::Microsecond => "microsecond",
        }
    }

    /// One of it, as an interval. DuckDB knows no interval of a quarter.
    pub(super) fn interval(self) -> &'static str {
        match self {
            Self::Year => "INTERVAL '1 year'",
            Self::Quarter => "INTERVAL '3 months'",
            Self::Month => "INTERVAL '1 month'",
            Self::Week => "INTERVAL '7 days'",
            Self::Day => "INTERVAL '1 day'",
            Self::Hour => "INTERVAL '1 hour'",
            Self::Minute => "INTERVAL '1 minute'",
            Self::Second => "INTERVAL '1 second'",
            Self::Millisecond => "INTERVAL '1 millisecond'",
            Self::Microsecond => "INTERVAL '1 microsecond'",
        }
    }
}

/// What `date_part` and `extract` can take out of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part(&'static str);

static PARTS: [&str; 15] = [
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "dow",
    "isodow",
    "doy",
    "epoch",
    "isoyear",
];

impl Part {
    /// The part of this name, in any case and number.
    pub(super) fn named(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let unit = Unit::named(&lower).map(Unit::sql);
        PARTS.iter().find(|part| **part == lower || Some(**part) == unit).map(|part| Self(part))
    }

    pub(super) fn sql(self) -> &'static str {
        self.0
    }
}
