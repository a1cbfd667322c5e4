//! A plan at work: rows go in, the rows of the answer come out.

use super::group::State;
use super::node::Fields;
use super::value::{Value, compare, write_key};
use super::{Budget, Plan, Sorting};
use crate::history::model::Cell;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// What a kept row takes beside its values.
const ROW_BYTES: usize = 64;
/// A sorted list with a limit may grow by so much before it is cut.
const SLACK: usize = 1024;

/// Whether more rows can change the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::history) enum Flow {
    Goes,
    Enough,
}

#[derive(Debug)]
pub(in crate::history) struct Run<'p> {
    plan: &'p Plan,
    budget: Budget,
    groups: Vec<(Vec<Cell>, Vec<State>)>,
    places: HashMap<Vec<u8>, usize>,
    /// Rows of the answer, with what they are sorted by, until they are sorted or taken.
    rows: Vec<(Vec<Cell>, Vec<Cell>)>,
    different: HashSet<Vec<u8>>,
    skipped: usize,
    given: usize,
}

impl<'p> Run<'p> {
    pub(in crate::history) fn new(plan: &'p Plan, budget: Budget) -> Self {
        let mut run = Self {
            plan,
            budget,
            groups: Vec::new(),
            places: HashMap::new(),
            rows: Vec::new(),
            different: HashSet::new(),
            skipped: 0,
            given: 0,
        };
        // Without keys there is one group, even of no rows.
        if let Some(groups) = &plan.groups
            && groups.gathered.keys().next().is_none()
        {
            run.groups.push((Vec::new(), groups.gathered.start()));
            run.places.insert(Vec::new(), 0);
        }
        run
    }

    /// Adds a row of the table.
    pub(in crate::history) fn row<F: Fields + ?Sized>(&mut self, row: &F) -> Result<Flow, String> {
        let plan = self.plan;
        if let Some(filter) = &plan.filter
            && !filter.holds(row)?
        {
            return Ok(Flow::Goes);
        }
        let Some(groups) = &plan.groups else { return self.answer(row) };
        let mut key = Vec::new();
        for node in groups.gathered.keys() {
            write_key(&node.eval(row)?, &mut key);
        }
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => {
                let keys = groups.gathered.keys().map(|node| node.eval(row).map(Value::into_cell));
                let keys = keys.collect::<Result<Vec<_>, _>>()?;
                let states = groups.gathered.start();
                self.budget.take(ROW_BYTES + 2 * key.len() + weight(&keys) + size_of::<State>() * states.len())?;
                self.groups.push((keys, states));
                self.places.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let (_, states) = self.groups.get_mut(place).expect("places point into the groups");
        groups.gathered.add(states, row, &mut self.budget)?;
        Ok(Flow::Goes)
    }

    /// A row that goes into the answer, or a group.
    fn answer<F: Fields + ?Sized>(&mut self, row: &F) -> Result<Flow, String> {
        let plan = self.plan;
        let sorted = !plan.order.is_empty();
        if !sorted && plan.limit.is_some_and(|limit| self.given >= limit) {
            return Ok(Flow::Enough);
        }
        let values = plan.items.iter().map(|item| item.eval(row)).collect::<Result<Vec<_>, _>>()?;
        if plan.distinct {
            let mut key = Vec::new();
            values.iter().for_each(|value| write_key(value, &mut key));
            if self.different.contains(&key) {
                return Ok(Flow::Goes);
            }
            self.budget.take(key.len() + ROW_BYTES)?;
            self.different.insert(key);
        }
        if !sorted && self.skipped < plan.offset {
            self.skipped += 1;
            return Ok(Flow::Goes);
        }
        let by = plan.order.iter().map(|(node, _)| node.eval(row).map(Value::into_cell)).collect::<Result<Vec<_>, _>>()?;
        let cells: Vec<Cell> = values.into_iter().map(Value::into_cell).collect();
        self.budget.take(ROW_BYTES + weight(&by) + weight(&cells))?;
        self.rows.push((by, cells));
        self.given += 1;
        if sorted
            && let Some(limit) = plan.limit
            && self.rows.len() >= limit.saturating_add(plan.offset).saturating_mul(2).saturating_add(SLACK)
        {
            self.sort();
            let wanted = limit.saturating_add(plan.offset);
            let dropped: usize = self.rows.drain(wanted..).map(|(by, cells)| ROW_BYTES + weight(&by) + weight(&cells)).sum();
            self.budget.give_back(dropped);
        }
        Ok(Flow::Goes)
    }

    fn sort(&mut self) {
        let order = &self.plan.order;
        // Stable: equal rows stay in the order in which they came.
        self.rows.sort_by(|(a, _), (b, _)| {
            let sides = a.iter().zip(b).zip(order);
            let first = sides.map(|((a, b), (_, sorting))| sort_order(a, b, *sorting)).find(|order| *order != Ordering::Equal);
            first.unwrap_or(Ordering::Equal)
        });
    }

    /// Rows that are ready while more come, if there are at least so many.
    pub(in crate::history) fn take(&mut self, at_least: usize) -> Option<Vec<Vec<Cell>>> {
        if !self.plan.order.is_empty() || self.plan.groups.is_some() || self.rows.len() < at_least {
            return None;
        }
        let rows: Vec<Vec<Cell>> = std::mem::take(&mut self.rows).into_iter().map(|(_, cells)| cells).collect();
        self.budget.give_back(rows.iter().map(|cells| ROW_BYTES + weight(cells)).sum());
        Some(rows)
    }

    /// The rest of the answer.
    pub(in crate::history) fn finish(mut self) -> Result<Vec<Vec<Cell>>, String> {
        if let Some(groups) = &self.plan.groups {
            for (mut cells, states) in std::mem::take(&mut self.groups) {
                for state in states {
                    cells.push(state.finish()?);
                }
                let wanted = groups.having.as_ref().map_or(Ok(true), |having| having.holds(cells.as_slice()))?;
                if wanted && self.answer(cells.as_slice())? == Flow::Enough {
                    break;
                }
            }
        }
        let mut rows = std::mem::take(&mut self.rows);
        if !self.plan.order.is_empty() {
            self.rows = rows;
            self.sort();
            let limit = self.plan.limit.unwrap_or(usize::MAX);
            rows = std::mem::take(&mut self.rows).into_iter().skip(self.plan.offset).take(limit).collect();
        }
        Ok(rows.into_iter().map(|(_, cells)| cells).collect())
    }
}

fn sort_order(a: &Cell, b: &Cell, sorting: Sorting) -> Ordering {
    match (a, b) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) => {
            if sorting.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (_, Cell::Null) => {
            if sorting.nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (a, b) => {
            let order = compare(&Value::of(a), &Value::of(b));
            if sorting.descending { order.reverse() } else { order }
        }
    }
}

fn weight(cells: &[Cell]) -> usize {
    let long = |cell: &Cell| match cell {
        Cell::Text(value) => value.len(),
        Cell::Blob(value) => value.len(),
        _ => 0,
    };
    cells.iter().map(|cell| size_of::<Cell>() + long(cell)).sum()
}
