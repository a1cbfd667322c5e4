//! A table as it was at one moment, and queries of it: files, one after the other, then the tail.

use super::super::answer::{Answer, timed_out};
use super::super::error::EngineError;
use super::super::store;
use super::super::tail::{self, TailRow};
use super::files::DataFile;
use super::read::{Wanted, scan, want};
use super::rows::Rows;
use super::schema::Stored;
use super::typed;
use crate::disk::SharedDisk;
use crate::history::model::{CallError, Cell, Table};
use crate::history::settings::Settings;
use crate::history::sql::Query;
use crate::history::sql::eval::{Bounds, Budget, Fields, Flow, Plan, Run, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of an answer that are packed at once.
const PACK: usize = 4096;

#[derive(Debug)]
pub(super) struct View {
    pub(super) table: Arc<Table>,
    pub(super) stored: Arc<Stored>,
    pub(super) disk: SharedDisk,
    pub(super) parts: Vec<Part>,
    pub(super) stop: Arc<AtomicBool>,
    /// Tells the store that its files are in use as long as this lives.
    pub(super) _in_use: Arc<()>,
}

/// Where rows of a view come from.
#[derive(Debug)]
pub(super) enum Part {
    /// Files as a snapshot sees them, or as they are now.
    Files { files: Arc<Vec<Arc<DataFile>>>, version: Option<i64>, only: Option<Later> },
    /// Rows of an append table that are not in the lake.
    Tail { rows: Vec<Rows>, received_until: Option<i64> },
    /// The same for a keyed table: each merges with the lake's row of its key, wherever among the parts before that is.
    Keyed(Arc<Vec<TailRow>>),
}

/// Rows that reached the lake after a snapshot, but had been received by a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Later {
    pub(super) above: i64,
    pub(super) received_until: i64,
}

#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl store::Stop for Stop {
    fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a query ended before its end.
pub(in crate::history::engine) enum Ended {
    Engine(EngineError),
    Refused(CallError),
    Stopped,
}

impl From<EngineError> for Ended {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Refused(CallError::exception(why))
    }
}

impl From<CallError> for Ended {
    fn from(error: CallError) -> Self {
        Self::Refused(error)
    }
}

impl store::View for View {
    fn stop(&self) -> Box<dyn store::Stop> {
        Box::new(Stop(self.stop.clone()))
    }

    fn run(self: Box<Self>, query: &Query, settings: &Settings, answer: &mut Answer) -> Result<(), CallError> {
        answer_from(&self.table, &self.stop, query, settings, answer, |plan, take| {
            let mut wanted = plan.columns();
            wanted.resize(self.stored.columns.len(), false);
            self.rows(wanted, &plan.bounds(), take)
        })
    }
}

/// Answers a query from rows that `feed` gives, until it is told that there are enough.
pub(in crate::history::engine) fn answer_from(
    table: &Table,
    stop: &AtomicBool,
    query: &Query,
    settings: &Settings,
    answer: &mut Answer,
    feed: impl FnOnce(&Plan, &mut dyn FnMut(&dyn Fields) -> Result<bool, Ended>) -> Result<(), Ended>,
) -> Result<(), CallError> {
    let work = || -> Result<(), Ended> {
        let plan = Plan::new(query, table)?;
        let schema = typed::schema(plan.output())?;
        answer.begin(&schema)?;
        let memory = usize::try_from(settings.memory_limit / 2).unwrap_or(usize::MAX);
        let mut run = Run::new(&plan, Budget::new(memory));
        let mut pack = |rows: Vec<Vec<Cell>>| -> Result<(), Ended> {
            for rows in rows.chunks(PACK) {
                if stop.load(Ordering::Relaxed) {
                    return Err(Ended::Stopped);
                }
                answer.add(&typed::batch(&schema, plan.output(), rows)?)?;
            }
            Ok(())
        };
        feed(&plan, &mut |row| {
            let flow = run.row(row)?;
            if let Some(rows) = run.take(PACK) {
                pack(rows)?;
            }
            Ok(flow == Flow::Goes)
        })?;
        pack(run.finish()?)
    };
    work().map_err(|ended| match ended {
        Ended::Refused(error) => error,
        Ended::Stopped => timed_out(settings),
        Ended::Engine(error) => CallError::exception(settings.without_paths(&error)),
    })
}

impl View {
    /// Gives every row of the view to `take`, until that has enough.
    fn rows(
        &self,
        mut wanted: Vec<bool>,
        bounds: &Bounds,
        mut take: &mut dyn FnMut(&dyn Fields) -> Result<bool, Ended>,
    ) -> Result<(), Ended> {
        let keyed = self.parts.iter().find_map(|part| if let Part::Keyed(rows) = part { Some(rows) } else { None });
        let mut merged = Merged::new(&self.table, keyed.map_or(&[][..], |rows| rows));
        // A row that the tail replaces has to be seen whatever it says.
        let everything = Bounds::default();
        let bounds = if keyed.is_some() { &everything } else { bounds };
        if keyed.is_some() {
            want(&mut wanted, &self.table.keys);
        }
        for part in &self.parts {
            match part {
                Part::Files { files, version, only } => {
                    for file in files.iter() {
                        if !self.file(file, *version, *only, &mut wanted, bounds, &mut merged, &mut take)? {
                            return Ok(());
                        }
                    }
                }
                Part::Tail { rows, received_until } => {
                    let received = self.stored.columns.len() - 1;
                    for rows in rows {
                        self.check()?;
                        for at in 0..rows.len() {
                            if at.is_multiple_of(16) {
                                self.check()?;
                            }
                            let seen = received_until.is_none_or(|until| rows.hidden(received, at) <= until);
                            if seen && !take(&rows.at(at))? {
                                return Ok(());
                            }
                        }
                    }
                }
                Part::Keyed(_) => {
                    for row in std::mem::take(&mut merged.rows) {
                        if !take(&row.as_slice())? {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one pass, taken apart for the borrow checker")]
    fn file(
        &self,
        file: &DataFile,
        version: Option<i64>,
        only: Option<Later>,
        wanted: &mut [bool],
        bounds: &Bounds,
        merged: &mut Merged<'_>,
        take: &mut impl FnMut(&dyn Fields) -> Result<bool, Ended>,
    ) -> Result<bool, Ended> {
        self.check()?;
        let received = self.stored.columns.len() - 1;
        let seq = received - 1;
        let whole = |place: usize| match file.range(place) {
            Some((_, Cell::Integer(high))) => i64::try_from(high).ok(),
            _ => None,
        };
        if !bounds.allow(|place| file.range(place))
            || only.is_some_and(|only| whole(seq).is_some_and(|high| high <= only.above))
        {
            return Ok(true);
        }
        if only.is_some() {
            want(wanted, &[seq, received]);
        }
        let wanted = Wanted { columns: wanted, bounds, version };
        let mut seen = 0_u32;
        scan(self.disk.as_ref(), file, &self.stored, &wanted, |rows: &Rows, at, _| {
            seen = seen.wrapping_add(1);
            if seen.is_multiple_of(16) {
                self.check()?;
            }
            if only.is_some_and(|only| rows.hidden(seq, at) <= only.above || rows.hidden(received, at) > only.received_until) {
                return Ok(true);
            }
            let row = rows.at(at);
            if merged.replaces(&row) { Ok(true) } else { take(&row) }
        })
    }

    fn check(&self) -> Result<(), Ended> {
        if self.stop.load(Ordering::Relaxed) { Err(Ended::Stopped) } else { Ok(()) }
    }
}

/// A keyed table's tail, as it is seen once the lake's rows have filled in what it does not say.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    table: &'a Table,
    tail: &'a [TailRow],
    places: HashMap<Vec<u8>, usize>,
    /// Cells of the table's columns, then the hidden ones.
    pub(super) rows: Vec<Vec<Cell>>,
}

impl<'a> Merged<'a> {
    pub(super) fn new(table: &'a Table, tail: &'a [TailRow]) -> Self {
        let places = tail.iter().enumerate().map(|(place, row)| (tail::key(&table.keys, &row.cells), place)).collect();
        let rows = tail.iter().map(|row| {
            let hidden = [Cell::Integer(row.seq.0.into()), Cell::Timestamp(row.received_us)];
            row.cells.iter().cloned().chain(hidden).collect()
        });
        Self { table, tail, places, rows: rows.collect() }
    }

    /// Whether the tail has this row anew; what it does not say about it is taken over.
    pub(super) fn replaces(&mut self, row: &super::rows::RowAt<'_>) -> bool {
        if self.tail.is_empty() {
            return false;
        }
        let mut cells = vec![Cell::Null; self.table.columns.len()];
        for key in &self.table.keys {
            if let Some(cell) = cells.get_mut(*key) {
                *cell = row.field(*key).into_cell();
            }
        }
        let Some(place) = self.places.get(&tail::key(&self.table.keys, &cells)) else { return false };
        if let (Some(newer), Some(cells)) = (self.tail.get(*place), self.rows.get_mut(*place)) {
            for ((index, cell), named) in cells.iter_mut().enumerate().zip(&newer.named) {
                if !named {
                    *cell = row.field(index).into_cell();
                }
            }
        }
        true
    }
}

impl Fields for &[Cell] {
    fn field(&self, index: usize) -> Value<'_> {
        self.get(index).map_or(Value::Null, Value::of)
    }
}
