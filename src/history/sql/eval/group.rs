//! What is gathered of a group of rows: its keys and its aggregates, as DuckDB has them.

use super::Budget;
use super::bind::{Binder, to};
use super::node::{Fields, Node, Op};
use super::value::{Type, Value, compare, floats, is_number, write_key};
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::expr::Expr;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// The keys of a grouped query, and the aggregates that its parts ask for; each aggregate once.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    keys: Vec<(Expr, Node)>,
    aggregates: Vec<(Expr, Aggregation)>,
}

#[derive(Debug)]
struct Aggregation {
    name: &'static str,
    distinct: bool,
    arguments: Vec<Node>,
    filter: Option<Node>,
}

impl Gathered {
    pub(super) fn add_key(&mut self, expr: Expr, node: Node) {
        self.keys.push((expr, node));
    }

    /// The place of an expression that is a key.
    pub(super) fn key(&self, expr: &Expr) -> Option<(usize, Type)> {
        let place = self.keys.iter().position(|(key, _)| key == expr)?;
        self.keys.get(place).map(|(_, node)| (place, node.ty))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Node> {
        self.keys.iter().map(|(_, node)| node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        let inner = self.aggregates.iter().flat_map(|(_, aggregation)| aggregation.arguments.iter().chain(&aggregation.filter));
        self.keys().chain(inner)
    }

    /// The place of an aggregate, which is added if nobody asked for it before.
    pub(super) fn aggregate(&mut self, expr: &Expr, rows: &mut Binder<'_>) -> Result<Node, String> {
        let (name, distinct, arguments, filter) = match expr {
            Expr::CountRows { filter } => ("count", false, &[][..], filter),
            Expr::Aggregate { function, distinct, arguments, filter } => {
                (function.sql(), *distinct, arguments.as_slice(), filter)
            }
            _ => return Err("Binder Error: an aggregate was expected".to_owned()),
        };
        let mut arguments = arguments.iter().map(|argument| rows.bind(argument)).collect::<Result<Vec<_>, _>>()?;
        if name == "sum" && matches!(arguments.as_slice(), [of] if of.ty == Type::Of(ColumnKind::UHugeInt)) {
            // Only a float has room for them.
            arguments = arguments.into_iter().map(|argument| *to(argument, Type::Of(ColumnKind::Double))).collect();
        }
        let ty = result(name, &arguments)?;
        let filter = filter.as_ref().map(|filter| rows.bind(filter)).transpose()?;
        let place = match self.aggregates.iter().position(|(known, _)| known == expr) {
            Some(place) => place,
            None => {
                self.aggregates.push((expr.clone(), Aggregation { name, distinct, arguments, filter }));
                self.aggregates.len() - 1
            }
        };
        Ok(Node { op: Op::Field(self.keys.len() + place), ty })
    }

    pub(super) fn start(&self) -> Vec<State> {
        self.aggregates.iter().map(|(_, aggregation)| State::new(aggregation)).collect()
    }

    /// Adds a row to the states of its group.
    pub(super) fn add<F: Fields + ?Sized>(&self, states: &mut [State], row: &F, budget: &mut Budget) -> Result<(), String> {
        for ((_, aggregation), state) in self.aggregates.iter().zip(states) {
            let wanted = aggregation.filter.as_ref().map_or(Ok(true), |filter| filter.holds(row))?;
            if !wanted {
                continue;
            }
            let first = aggregation.arguments.first().map_or(Ok(Value::Boolean(true)), |argument| argument.eval(row))?;
            let second = aggregation.arguments.get(1).map_or(Ok(Value::Null), |argument| argument.eval(row))?;
            state.add(&first, &second, budget)?;
        }
        Ok(())
    }
}

/// The type of an aggregate.
fn result(name: &str, arguments: &[Node]) -> Result<Type, String> {
    use ColumnKind::{BigInt, Boolean, Double, Float, HugeInt};
    let first = arguments.first().map_or(Type::Null, |argument| argument.ty);
    let second = arguments.get(1).map_or(Type::Of(Double), |argument| argument.ty);
    // Truth values can be summed, and that is all.
    let numeric = |ty: Type| match ty {
        Type::Null => true,
        Type::Of(kind) => is_number(kind) || (kind == Boolean && name == "sum"),
        Type::Interval => false,
    };
    let ty = match name {
        "count" | "approx_count_distinct" => Type::Of(BigInt),
        "bool_and" | "bool_or" if matches!(first, Type::Null | Type::Of(Boolean)) => Type::Of(Boolean),
        "bool_and" | "bool_or" => return Err(format!("Binder Error: {name} takes truth values")),
        "min" | "max" | "first" | "last" | "any_value" | "mode" | "arg_max" | "arg_max_null" | "arg_min" => first,
        "median" if first == Type::Of(Float) => first,
        "sum" if matches!(first, Type::Of(Float | Double)) => Type::Of(Double),
        "sum" => Type::Of(HugeInt),
        _ => Type::Of(Double),
    };
    let counts = matches!(ty, Type::Of(Double | HugeInt)) && !matches!(name, "min" | "max" | "first" | "last" | "any_value");
    if counts && !matches!(name, "mode" | "arg_max" | "arg_max_null" | "arg_min") && !(numeric(first) && numeric(second)) {
        return Err(format!("Binder Error: {name} takes numbers"));
    }
    Ok(ty)
}

/// An aggregate in the making.
#[derive(Debug)]
pub(super) struct State {
    /// With DISTINCT: what was seen already.
    seen: Option<HashSet<Vec<u8>>>,
    so_far: SoFar,
}

#[derive(Debug)]
enum SoFar {
    Count(i128),
    /// The least or the greatest.
    Best(Ordering, Option<Cell>),
    /// The value of the row whose second value is least or greatest.
    ArgBest(Ordering, Option<(Cell, Cell)>),
    /// The same for the greatest, whatever the value is there.
    Newest(Option<(Cell, Cell)>),
    First(Option<Cell>),
    Last(Cell),
    Any(Option<Cell>),
    Sum {
        whole: i128,
        float: f64,
        count: u64,
        any_float: bool,
        mean: bool,
    },
    All(Option<bool>),
    Some(Option<bool>),
    Different(HashSet<Vec<u8>>),
    Mode(HashMap<Vec<u8>, (u64, usize, Cell)>),
    Median(Vec<f64>),
    Spread {
        name: &'static str,
        count: f64,
        mean: f64,
        squares: f64,
    },
    Pair {
        name: &'static str,
        count: f64,
        means: [f64; 2],
        squares: [f64; 2],
        together: f64,
    },
}

impl State {
    fn new(aggregation: &Aggregation) -> Self {
        let name = aggregation.name;
        let so_far = match name {
            "count" => SoFar::Count(0),
            "min" => SoFar::Best(Ordering::Less, None),
            "max" => SoFar::Best(Ordering::Greater, None),
            "arg_min" => SoFar::ArgBest(Ordering::Less, None),
            "arg_max" => SoFar::ArgBest(Ordering::Greater, None),
            "arg_max_null" => SoFar::Newest(None),
            "first" => SoFar::First(None),
            "last" => SoFar::Last(Cell::Null),
            "any_value" => SoFar::Any(None),
            "sum" | "avg" => SoFar::Sum { whole: 0, float: 0.0, count: 0, any_float: false, mean: name == "avg" },
            "bool_and" => SoFar::All(None),
            "bool_or" => SoFar::Some(None),
            "approx_count_distinct" => SoFar::Different(HashSet::new()),
            "mode" => SoFar::Mode(HashMap::new()),
            "median" => SoFar::Median(Vec::new()),
            "corr" | "covar_samp" => SoFar::Pair { name, count: 0.0, means: [0.0; 2], squares: [0.0; 2], together: 0.0 },
            _ => SoFar::Spread { name, count: 0.0, mean: 0.0, squares: 0.0 },
        };
        Self { seen: aggregation.distinct.then(HashSet::new), so_far }
    }

    fn add(&mut self, value: &Value<'_>, second: &Value<'_>, budget: &mut Budget) -> Result<(), String> {
        // These see nulls as well.
        match &mut self.so_far {
            SoFar::First(first) => {
                if first.is_none() {
                    *first = Some(value.clone().into_cell());
                }
                return Ok(());
            }
            SoFar::Last(last) => {
                *last = value.clone().into_cell();
                return Ok(());
            }
            SoFar::Newest(best) => {
                let better = |by: &Cell| compare(second, &Value::of(by)) == Ordering::Greater;
                if !second.is_null() && best.as_ref().is_none_or(|(_, by)| better(by)) {
                    *best = Some((value.clone().into_cell(), second.clone().into_cell()));
                }
                return Ok(());
            }
            _ if value.is_null() => return Ok(()),
            _ => {}
        }
        if let Some(seen) = &mut self.seen
            && !remember(seen, value, budget)?
        {
            return Ok(());
        }
        match &mut self.so_far {
            SoFar::Count(count) => *count += 1,
            SoFar::Best(wanted, best) => {
                if best.as_ref().is_none_or(|best| compare(value, &Value::of(best)) == *wanted) {
                    *best = Some(value.clone().into_cell());
                }
            }
            SoFar::ArgBest(wanted, best) => {
                let better = |by: &Cell| compare(second, &Value::of(by)) == *wanted;
                if !second.is_null() && best.as_ref().is_none_or(|(_, by)| better(by)) {
                    *best = Some((value.clone().into_cell(), second.clone().into_cell()));
                }
            }
            SoFar::Any(any) => {
                any.get_or_insert_with(|| value.clone().into_cell());
            }
            SoFar::Sum { whole, float, count, any_float, mean } => {
                *count += 1;
                match value {
                    Value::Integer(value) => {
                        *whole = match whole.checked_add(*value) {
                            Some(sum) => sum,
                            // A mean is a float anyhow.
                            None if *mean => {
                                *float += std::mem::replace(whole, *value) as f64;
                                *whole
                            }
                            None => return Err("Out of Range Error: a sum".to_owned()),
                        };
                    }
                    other => {
                        *any_float |= matches!(other, Value::Float(_));
                        *float += other.number().unwrap_or_default();
                    }
                }
            }
            SoFar::All(all) => *all = Some(all.unwrap_or(true) && truth(value)),
            SoFar::Some(some) => *some = Some(some.unwrap_or(false) || truth(value)),
            SoFar::Different(seen) => {
                remember(seen, value, budget)?;
            }
            SoFar::Mode(counts) => {
                let mut key = Vec::new();
                write_key(value, &mut key);
                let order = counts.len();
                if !counts.contains_key(&key) {
                    budget.take(2 * key.len() + 96)?;
                }
                counts.entry(key).or_insert_with(|| (0, order, value.clone().into_cell())).0 += 1;
            }
            SoFar::Median(values) => {
                budget.take(size_of::<f64>())?;
                values.extend(value.number());
            }
            SoFar::Spread { count, mean, squares, .. } => {
                let x = value.number().unwrap_or_default();
                *count += 1.0;
                let off = x - *mean;
                *mean += off / *count;
                *squares += off * (x - *mean);
            }
            SoFar::Pair { count, means: [mean_x, mean_y], squares: [squares_x, squares_y], together, .. } => {
                let (Some(x), Some(y)) = (value.number(), second.number()) else { return Ok(()) };
                *count += 1.0;
                let (off_x, off_y) = (x - *mean_x, y - *mean_y);
                *mean_x += off_x / *count;
                *mean_y += off_y / *count;
                *squares_x += off_x * (x - *mean_x);
                *squares_y += off_y * (y - *mean_y);
                *together += off_x * (y - *mean_y);
            }
            SoFar::First(_) | SoFar::Last(_) | SoFar::Newest(_) => {}
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
    pub(super) fn finish(self) -> Result<Cell, String> {
        let float = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
        let finite = |name: &str, value: Option<f64>| match value {
            Some(value) if !value.is_finite() => Err(format!("Out of Range Error: {} is out of range!", name.to_uppercase())),
            value => Ok(float(value)),
        };
        Ok(match self.so_far {
            SoFar::Count(count) => Cell::Integer(count),
            SoFar::Best(_, best) | SoFar::First(best) | SoFar::Any(best) => best.unwrap_or(Cell::Null),
            SoFar::ArgBest(_, best) | SoFar::Newest(best) => best.map_or(Cell::Null, |(value, _)| value),
            SoFar::Last(last) => last,
            SoFar::Sum { count: 0, .. } => Cell::Null,
            SoFar::Sum { whole, float, count, mean: true, .. } => Cell::Float((whole as f64 + float) / count as f64),
            SoFar::Sum { float, any_float: true, .. } => Cell::Float(float),
            // Truth values are summed as floats, and are few.
            #[expect(clippy::cast_possible_truncation, reason = "a count of rows")]
            SoFar::Sum { whole, float, .. } => Cell::Integer(whole + float as i128),
            SoFar::All(value) | SoFar::Some(value) => value.map_or(Cell::Null, Cell::Boolean),
            SoFar::Different(seen) => Cell::Integer(seen.len() as i128),
            SoFar::Mode(counts) => {
                let most = counts.into_values().max_by_key(|(count, order, _)| (*count, std::cmp::Reverse(*order)));
                most.map_or(Cell::Null, |(.., value)| value)
            }
            SoFar::Median(mut values) => {
                values.sort_unstable_by(|a, b| floats(*a, *b));
                let middle = values.len() / 2;
                let at = |place: usize| values.get(place).copied();
                let low = if values.len().is_multiple_of(2) { middle.checked_sub(1).and_then(at) } else { at(middle) };
                float(low.zip(at(middle)).map(|(low, high)| low + (high - low) / 2.0))
            }
            SoFar::Spread { name, count, squares, .. } => {
                let value = match name {
                    "var_pop" => (count > 0.0).then(|| squares / count),
                    "stddev_pop" => (count > 0.0).then(|| (squares / count).sqrt()),
                    "var_samp" => (count > 1.0).then(|| squares / (count - 1.0)),
                    _ => (count > 1.0).then(|| (squares / (count - 1.0)).sqrt()),
                };
                finite(name, value)?
            }
            SoFar::Pair { name: "corr", count, squares: [x, y], together, .. } => {
                float((count > 0.0 && x * y > 0.0).then(|| together / (x.sqrt() * y.sqrt())))
            }
            SoFar::Pair { count, together, .. } => float((count > 1.0).then(|| together / (count - 1.0))),
        })
    }
}

fn truth(value: &Value<'_>) -> bool {
    match value {
        Value::Boolean(value) => *value,
        other => other.number().is_some_and(|number| number != 0.0),
    }
}

/// Whether the value is new.
fn remember(seen: &mut HashSet<Vec<u8>>, value: &Value<'_>, budget: &mut Budget) -> Result<bool, String> {
    let mut key = Vec::new();
    write_key(value, &mut key);
    if seen.contains(&key) {
        return Ok(false);
    }
    budget.take(key.len() + 48)?;
    Ok(seen.insert(key))
}
