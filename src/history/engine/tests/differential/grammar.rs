//! Random schemas, rows and queries, out of everything that `query_T` allows. What a seed gives is always the same.

use super::super::values::{edges, literal};
use super::super::*;
use crate::history::{evolution, kind};

/// SplitMix64: small, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub(super) fn cell(&mut self, kind: ColumnKind) -> Cell {
        if self.chance(15) {
            return Cell::Null;
        }
        if self.chance(40) {
            return self.of(&edges(kind)).clone();
        }
        let small = self.below(7) as i128 - 2;
        match kind {
            ColumnKind::Float | ColumnKind::Double => Cell::Float(small as f64 / 4.0),
            ColumnKind::Text => {
                let words = ["a", "b", "ab", "Ab", "12", "-3", "2.5", "true", "2024-02-03", "x%y_z", "straße", "dev1"];
                text(self.of::<&str>(&words))
            }
            ColumnKind::Date => Cell::Date(19_700 + i32::try_from(small).unwrap() * 20),
            ColumnKind::Timestamp => Cell::Timestamp(1_706_000_000_000_000 + i64::try_from(small).unwrap() * 7_345_678_901),
            ColumnKind::Boolean | ColumnKind::Blob => self.of(&edges(kind)).clone(),
            _ => {
                let (low, high) = kind::integer_range(kind).unwrap();
                Cell::Integer(small.clamp(low, high))
            }
        }
    }

    /// A table as it was at first and as it is later: columns become wider and more.
    pub(super) fn tables(&mut self) -> [Arc<Table>; 2] {
        let widenings = evolution::widenings();
        let mut columns = vec![[column("k", ColumnKind::BigInt), column("k", ColumnKind::BigInt)]];
        for index in 0..3 + self.below(4) {
            let name = format!("c{index}");
            let kind = *self.of(&kind::ALL);
            let (from, to) = if self.chance(40) { *self.of(&widenings) } else { (kind, kind) };
            columns.push([column(&name, from), column(&name, to)]);
        }
        let keys = if self.chance(30) { vec![0] } else { vec![] };
        let mut late = column("late", *self.of(&kind::ALL));
        if self.chance(50) && late.kind != ColumnKind::Blob {
            late.default = Some(self.cell(late.kind)).filter(|cell| !matches!(cell, Cell::Float(value) if !value.is_finite()));
        }
        let first = columns.iter().map(|[first, _]| first.clone()).collect();
        let later = columns.into_iter().map(|[_, later]| later).chain([late]).collect();
        [table("t", first, keys.clone()), table("t", later, keys)]
    }
}

/// What a text of SQL is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Text,
    Truth,
    Time,
    Blob,
}

const CLASSES: [Class; 5] = [Class::Number, Class::Text, Class::Truth, Class::Time, Class::Blob];

fn class(kind: ColumnKind) -> Class {
    match kind {
        ColumnKind::Boolean => Class::Truth,
        ColumnKind::Text => Class::Text,
        ColumnKind::Blob => Class::Blob,
        ColumnKind::Date | ColumnKind::Timestamp => Class::Time,
        _ => Class::Number,
    }
}

/// Queries about one table.
pub(super) struct Grammar<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) table: &'a Table,
}

impl Grammar<'_> {
    /// `cols` and `where`.
    pub(super) fn query(&mut self) -> (String, String) {
        let any = |this: &mut Self| {
            let class = *this.dice.of(&CLASSES);
            this.expr(class, 2)
        };
        match self.dice.below(6) {
            0 | 1 => (format!("k, {} AS x", any(self)), "1=1 ORDER BY k".to_owned()),
            2 => ("k".to_owned(), format!("{} ORDER BY k", self.expr(Class::Truth, 3))),
            3 => {
                let (one, two) = (self.aggregate(), self.aggregate());
                let filter = if self.dice.chance(30) { self.expr(Class::Truth, 1) } else { "1=1".to_owned() };
                (format!("{one} AS x, {two} AS y"), filter)
            }
            4 => {
                let (group, aggregate) = (any(self), self.aggregate());
                (format!("{group} AS g, count(*) AS n, {aggregate} AS x"), "1=1 GROUP BY g".to_owned())
            }
            _ => {
                let order = any(self);
                let direction = self.dice.of(&["", "DESC", "NULLS FIRST", "DESC NULLS LAST"]);
                (format!("k, {order} AS x"), format!("1=1 ORDER BY x {direction}, k LIMIT 9 OFFSET 1"))
            }
        }
    }

    fn aggregate(&mut self) -> String {
        let number = self.expr(Class::Number, 1);
        let class = *self.dice.of(&CLASSES);
        let any = self.expr(class, 1);
        let (truth, column) = (self.expr(Class::Truth, 1), self.column(class));
        match self.dice.below(14) {
            0 => format!("sum({number})"),
            1 => format!("avg({number})"),
            2 => format!("min({any})"),
            3 => format!("max({any})"),
            4 => format!("count(DISTINCT {any})"),
            5 => format!("count({any}) FILTER (WHERE {truth})"),
            6 => format!("bool_and({truth})"),
            7 => format!("bool_or({truth})"),
            8 => format!("median({number})"),
            9 => format!("max_by({any}, k)"),
            10 => format!("arg_min({column}, k)"),
            11 => format!("stddev({column})"),
            12 => format!("sum(DISTINCT {column})"),
            _ => format!("avg({column})"),
        }
    }

    fn column(&mut self, wanted: Class) -> String {
        let fitting: Vec<&Column> = self.table.columns.iter().filter(|column| class(column.kind) == wanted).collect();
        match fitting.is_empty() {
            true => self.literal(wanted),
            false => self.dice.of(&fitting).name.clone(),
        }
    }

    fn literal(&mut self, wanted: Class) -> String {
        let kinds: Vec<ColumnKind> = kind::ALL.into_iter().filter(|kind| class(*kind) == wanted).collect();
        let kind = *self.dice.of(&kinds);
        literal(&self.dice.cell(kind))
    }

    fn expr(&mut self, wanted: Class, depth: usize) -> String {
        // Now and then something of another kind: what is refused must be refused by all.
        let wanted = if self.dice.chance(4) { *self.dice.of(&CLASSES) } else { wanted };
        if depth == 0 || self.dice.chance(20) {
            return if self.dice.chance(70) { self.column(wanted) } else { self.literal(wanted) };
        }
        if self.dice.chance(12) {
            let (a, b, truth) =
                (self.expr(wanted, depth - 1), self.expr(wanted, depth - 1), self.expr(Class::Truth, depth - 1));
            return match self.dice.below(5) {
                0 => format!("coalesce({a}, {b})"),
                1 => format!("nullif({a}, {b})"),
                2 => format!("greatest({a}, {b})"),
                3 => format!("least({a}, {b})"),
                _ => format!("CASE WHEN {truth} THEN {a} ELSE {b} END"),
            };
        }
        match wanted {
            Class::Number => self.number(depth - 1),
            Class::Text => self.text(depth - 1),
            Class::Truth => self.truth(depth - 1),
            Class::Time => self.time(depth - 1),
            Class::Blob => format!("CAST({} AS BLOB)", self.expr(Class::Text, 0)),
        }
    }

    fn number(&mut self, depth: usize) -> String {
        let (a, b) = (self.expr(Class::Number, depth), self.expr(Class::Number, depth));
        let (text, time) = (self.expr(Class::Text, depth), self.expr(Class::Time, depth));
        let numbers: Vec<ColumnKind> = kind::ALL.into_iter().filter(|kind| class(*kind) == Class::Number).collect();
        let kind = kind::name(*self.dice.of(&numbers));
        match self.dice.below(14) {
            0 => format!("({a} {} {b})", self.dice.of(&["+", "-", "*", "/", "//", "%"])),
            1 => format!("({a} {} {})", self.dice.of(&["+", "-", "*", "//", "%"]), self.dice.below(5)),
            2 => format!("(- {a})"),
            3 | 4 => format!("{}({a})", self.dice.of(&["abs", "ceil", "floor", "round", "trunc", "sign"])),
            5 => format!("round({a}, {})", self.dice.below(5) as i64 - 2),
            6 => format!("{}({a})", self.dice.of(&["sqrt", "exp", "ln", "log10"])),
            7 => format!("length({text})"),
            8 => format!("strpos({text}, {})", self.literal(Class::Text)),
            9 => format!("CAST({a} AS {kind})"),
            10 => format!("TRY_CAST({text} AS {kind})"),
            11 => format!(
                "date_part('{}', {time})",
                self.dice.of(&["year", "quarter", "week", "dow", "hour", "epoch", "microsecond"])
            ),
            12 => format!("date_diff('{}', {time}, {})", self.dice.of(&["day", "month", "hour"]), self.literal(Class::Time)),
            _ => format!("CAST({} AS INTEGER)", self.expr(Class::Truth, depth)),
        }
    }

    fn text(&mut self, depth: usize) -> String {
        let a = self.expr(Class::Text, depth);
        let other = *self.dice.of(&[Class::Number, Class::Truth, Class::Time, Class::Blob]);
        match self.dice.below(8) {
            0 | 1 => format!("{}({a})", self.dice.of(&["upper", "lower", "trim", "ltrim", "rtrim"])),
            2 => format!("substr({a}, {}, {})", self.dice.below(6) as i64 - 2, self.dice.below(4)),
            3 => format!("{}({a}, {})", self.dice.of(&["left", "right"]), self.dice.below(5) as i64 - 2),
            4 => format!("concat({a}, {})", self.expr(other, depth)),
            5 => format!("({a} || {})", self.expr(Class::Text, depth)),
            _ => format!("CAST({} AS TEXT)", self.expr(other, depth)),
        }
    }

    fn truth(&mut self, depth: usize) -> String {
        let class = *self.dice.of(&CLASSES);
        let (a, b) = (self.expr(class, depth), self.expr(class, 0));
        match self.dice.below(12) {
            0..=2 => {
                let op = *self.dice.of(&["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
                format!("({a} {op} {b})")
            }
            3 => format!("({a} {}IN ({b}, {}))", self.dice.of(&["", "NOT "]), self.literal(class)),
            4 => format!("({a} {}BETWEEN {b} AND {})", self.dice.of(&["", "NOT "]), self.expr(class, 0)),
            5 => format!("({a} IS {}NULL)", self.dice.of(&["", "NOT "])),
            6 => {
                let pattern = *self.dice.of(&["a%", "%b", "%a%", "_", "a_", "%ß%", "x!%y%", "AB", "%I%", ""]);
                let (not, like) = (*self.dice.of(&["", "NOT "]), *self.dice.of(&["LIKE", "ILIKE"]));
                format!("({} {not}{like} '{pattern}' ESCAPE '!')", self.expr(Class::Text, depth))
            }
            7 => format!("(NOT {})", self.expr(Class::Truth, depth)),
            8 | 9 => {
                let (a, b) = (self.expr(Class::Truth, depth), self.expr(Class::Truth, depth));
                format!("({a} {} {b})", self.dice.of(&["AND", "OR"]))
            }
            10 => format!("{}({})", self.dice.of(&["isnan", "isinf", "isfinite"]), self.expr(Class::Number, depth)),
            _ => {
                let function = *self.dice.of(&["starts_with", "ends_with", "contains"]);
                format!("{function}({}, {})", self.expr(Class::Text, depth), self.literal(Class::Text))
            }
        }
    }

    fn time(&mut self, depth: usize) -> String {
        let (a, number) = (self.expr(Class::Time, depth), self.expr(Class::Number, depth));
        match self.dice.below(6) {
            0 => format!("date_trunc('{}', {a})", self.dice.of(&["year", "quarter", "month", "week", "day", "minute"])),
            1 => format!(
                "({a} {} INTERVAL {} {})",
                self.dice.of(&["+", "-"]),
                self.dice.below(40),
                self.dice.of(&["DAY", "MONTH", "SECOND"])
            ),
            2 => format!("CAST({a} AS {})", self.dice.of(&["DATE", "TIMESTAMP"])),
            3 => format!("to_timestamp({number})"),
            4 => format!("TRY_CAST({} AS TIMESTAMP)", self.expr(Class::Text, depth)),
            _ => format!("make_timestamp({}, {}, 1, 2, 3, {number})", 2000 + self.dice.below(30), 1 + self.dice.below(12)),
        }
    }
}
