//! The newest row of each key in memory, for `latest_T`: dashboards ask for it every second, and it would cost a look at every file.
//!
//! ```text
//! nothing known ─ somebody asks ─▶ filling: a query reads the lake beside, new rows gather ─ it is done ─▶ known, and kept so
//!       ▲                                                                                                      │
//!       └───────────── rows were deleted, or their times corrected: an older one may be the newest now ◀───────┘
//! ```
//! A table with more keys than [`ROWS_MAX`], or larger rows than [`BYTES_MAX`], or a row without a time, is left to queries until the
//! lake is opened anew. Nothing is kept of a table that nobody asks for.

use super::answer::Answer;
use super::lite::{self, Ended};
use super::store::{self, View};
use super::tail;
use crate::history::model::{CallError, Cell, Row, Table};
use crate::history::settings::Settings;
use crate::history::sql::{self, Query};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys of a table.
const ROWS_MAX: usize = 10_000;
/// Roughly what its rows may take.
const BYTES_MAX: usize = 8 << 20;

/// What is known of the tables.
#[derive(Debug, Default)]
pub(super) struct Newest {
    tables: HashMap<String, State>,
    fillings: u64,
}

#[derive(Debug)]
enum State {
    /// By the number of the filling: one that began before rows were deleted comes to nothing.
    Filling(u64, Known),
    Known(Known),
    LeftToQueries,
}

/// What a caller of `latest_T` gets.
#[derive(Debug)]
pub(super) enum Found {
    /// The rows.
    Rows(Box<dyn View>),
    /// A query must tell. With a number, its answer to [`Query::newest_of_all`] is wanted here.
    Nothing(Option<u64>),
}

/// A row of the table, then its sequence (unknown) and receive time, as queries see them.
#[derive(Debug, Clone)]
struct Held {
    cells: Vec<Cell>,
    named: Vec<bool>,
}

#[derive(Debug)]
struct Known {
    table: Arc<Table>,
    keys: Vec<usize>,
    /// Which cell is the row's time.
    time: usize,
    places: HashMap<Vec<u8>, usize>,
    rows: Vec<Held>,
    bytes: usize,
    /// The rows as the last caller got them.
    shown: Option<Arc<Vec<Vec<Cell>>>>,
}

impl Newest {
    /// Rows of an appended record, or what it sets of a keyed table's rows.
    pub(super) fn append(&mut self, table: &Table, rows: &[Row], received_us: i64) {
        let Some(state) = self.tables.get_mut(&table.name) else { return };
        let (State::Known(known) | State::Filling(_, known)) = state else { return };
        let fits = rows.iter().all(|row| {
            let mut cells = row.cells.clone();
            cells.extend([Cell::Null, Cell::Timestamp(received_us)]);
            known.put(Held { cells, named: row.named.clone() })
        });
        if !fits {
            *state = State::LeftToQueries;
        }
    }

    /// Rows were deleted, or are otherwise than they were.
    pub(super) fn forget(&mut self, table: &str) {
        self.tables.remove(table);
    }

    /// The same of any table.
    pub(super) fn forget_all(&mut self) {
        self.tables.clear();
    }

    /// The newest rows of a table, or how they can become known.
    pub(super) fn find(&mut self, table: &Arc<Table>) -> Found {
        match self.tables.get_mut(&table.name) {
            Some(State::Known(known)) => Found::Rows(Box::new(known.view())),
            Some(State::Filling(..) | State::LeftToQueries) => Found::Nothing(None),
            None => {
                self.fillings += 1;
                self.tables.insert(table.name.clone(), State::Filling(self.fillings, Known::new(table.clone())));
                Found::Nothing(Some(self.fillings))
            }
        }
    }

    /// What the lake and the tail had when the filling began; `None` if that cannot be known.
    pub(super) fn filled(&mut self, table: &str, filling: u64, rows: Option<Vec<Vec<Cell>>>) {
        let Some(state) = self.tables.get_mut(table) else { return };
        let State::Filling(number, gathered) = state else { return };
        if *number != filling {
            return;
        }
        let mut known = Known::new(gathered.table.clone());
        let came = std::mem::take(&mut gathered.rows);
        let held = rows.map(|rows| {
            let whole = |cells: Vec<Cell>| Held { named: vec![true; cells.len()], cells };
            rows.into_iter().map(whole).chain(came).all(|held| known.put(held))
        });
        *state = if held == Some(true) { State::Known(known) } else { State::LeftToQueries };
    }
}

impl Known {
    fn new(table: Arc<Table>) -> Self {
        let keys = sql::newest_keys(&table);
        let received = table.columns.len() + 1;
        let time = sql::time_place(&table).unwrap_or(received);
        Self { table, keys, time, places: HashMap::new(), rows: Vec::new(), bytes: 0, shown: None }
    }

    /// `false` if it cannot be kept.
    fn put(&mut self, newer: Held) -> bool {
        self.shown = None;
        if newer.cells.get(self.time).is_none_or(|time| *time == Cell::Null) && self.table.keys.is_empty() {
            return false;
        }
        let key = tail::key(&self.keys, &newer.cells);
        match self.places.get(&key).and_then(|place| self.rows.get_mut(*place)) {
            Some(older) => {
                self.bytes -= tail::weight(&older.cells);
                if !self.table.keys.is_empty() {
                    older.take(newer);
                } else if newer.cells.get(self.time).map(instant) >= older.cells.get(self.time).map(instant) {
                    *older = newer;
                }
                self.bytes += tail::weight(&older.cells);
            }
            None => {
                self.bytes += tail::weight(&newer.cells);
                self.places.insert(key, self.rows.len());
                self.rows.push(newer);
            }
        }
        self.rows.len() <= ROWS_MAX && self.bytes <= BYTES_MAX
    }

    fn view(&mut self) -> Memory {
        let rows = self.shown.get_or_insert_with(|| Arc::new(self.rows.iter().map(|held| held.cells.clone()).collect()));
        Memory { table: self.table.clone(), rows: rows.clone(), stop: Arc::default() }
    }
}

impl Held {
    /// What a later row of the same key says replaces what was there.
    fn take(&mut self, newer: Self) {
        for (i, cell) in newer.cells.into_iter().enumerate() {
            if newer.named.get(i).copied().unwrap_or(true)
                && let Some(place) = self.cells.get_mut(i)
            {
                *place = cell;
                if let Some(named) = self.named.get_mut(i) {
                    *named = true;
                }
            }
        }
    }
}

/// Times compare as numbers; those of one table are of one kind.
fn instant(time: &Cell) -> i128 {
    match time {
        Cell::Timestamp(micros) => (*micros).into(),
        Cell::Integer(nanos) => *nanos,
        _ => i128::MIN,
    }
}

/// Rows in memory, for a query that thinks they are a table.
#[derive(Debug)]
struct Memory {
    table: Arc<Table>,
    rows: Arc<Vec<Vec<Cell>>>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl store::Stop for Stop {
    fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl View for Memory {
    fn stop(&self) -> Box<dyn store::Stop> {
        Box::new(Stop(self.stop.clone()))
    }

    fn run(self: Box<Self>, query: &Query, settings: &Settings, answer: &mut Answer) -> Result<(), CallError> {
        lite::answer_from(&self.table, &self.stop, query, settings, answer, |_, take| {
            for row in self.rows.iter() {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Ended::Stopped);
                }
                if !take(&row.as_slice())? {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// The rows of an answer to [`Query::newest_of_all`]: each with a place for its sequence. `None` if one has a value that cannot be
/// kept.
pub(super) fn cells(table: &Table, frame: &[u8]) -> Option<Vec<Vec<Cell>>> {
    let width = table.columns.len();
    let mut all = Vec::new();
    for batch in lite::batches(frame)? {
        let rows = lite::cells(table, &batch)?;
        all.extend(rows.into_iter().map(|mut cells| {
            cells.insert(width, Cell::Null);
            cells
        }));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::engine::tests::{column, row, table, text};
    use crate::history::model::{ColumnKind, TopicSegment};

    fn readings() -> Arc<Table> {
        let mut table =
            Table::clone(&table("r", vec![column("dn", ColumnKind::Text), column("n", ColumnKind::BigInt)], vec![]));
        table.topic = vec![TopicSegment::Variable("dn".to_owned())];
        Arc::new(table)
    }

    fn add(newest: &mut Newest, dn: &str, n: i64, at_us: i64) {
        newest.append(&readings(), &[row(vec![text(dn), Cell::Integer(n.into())])], at_us);
    }

    /// As the answer to the query has it.
    fn answered(dn: &str, n: i64, at_us: i64) -> Vec<Cell> {
        vec![text(dn), Cell::Integer(n.into()), Cell::Null, Cell::Timestamp(at_us)]
    }

    /// What is known, as `dn n`; `None` if a query must tell.
    fn known(newest: &mut Newest) -> Option<Vec<String>> {
        newest.find(&readings());
        let Some(State::Known(known)) = newest.tables.get("r") else { return None };
        let shown = |held: &Held| match held.cells.as_slice() {
            [Cell::Text(dn), Cell::Integer(n), ..] => format!("{dn} {n}"),
            other => panic!("{other:?}"),
        };
        let mut rows: Vec<String> = known.rows.iter().map(shown).collect();
        rows.sort_unstable();
        Some(rows)
    }

    #[test]
    fn what_comes_while_the_lake_is_read_counts_with_what_it_had() {
        let mut newest = Newest::default();
        add(&mut newest, "a", 0, 0);
        assert!(newest.tables.is_empty(), "nobody has asked");
        let Found::Nothing(Some(filling)) = newest.find(&readings()) else { panic!("nothing is known") };
        assert!(matches!(newest.find(&readings()), Found::Nothing(None)), "one filling at a time");
        add(&mut newest, "a", 2, 20);
        add(&mut newest, "c", 3, 30);
        newest.filled("r", filling, Some(vec![answered("a", 1, 10), answered("b", 9, 10)]));
        assert_eq!(known(&mut newest).unwrap(), ["a 2", "b 9", "c 3"]);
        // A row with an older time is not the newest, however late it comes.
        add(&mut newest, "a", 4, 15);
        add(&mut newest, "b", 5, 40);
        assert_eq!(known(&mut newest).unwrap(), ["a 2", "b 5", "c 3"]);
    }

    #[test]
    fn a_reading_from_before_a_deletion_comes_to_nothing() {
        let mut newest = Newest::default();
        let Found::Nothing(Some(old)) = newest.find(&readings()) else { panic!("nothing is known") };
        newest.forget("r");
        newest.filled("r", old, Some(vec![answered("a", 1, 10)]));
        let Found::Nothing(Some(again)) = newest.find(&readings()) else { panic!("nothing is known") };
        newest.filled("r", old, Some(vec![answered("a", 1, 10)]));
        assert_eq!(known(&mut newest), None);
        newest.filled("r", again, Some(Vec::new()));
        assert_eq!(known(&mut newest).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_table_with_too_many_keys_is_left_to_queries() {
        let mut newest = Newest::default();
        let Found::Nothing(Some(filling)) = newest.find(&readings()) else { panic!("nothing is known") };
        newest.filled("r", filling, Some(Vec::new()));
        let keys = i64::try_from(ROWS_MAX).unwrap();
        (0..keys).for_each(|n| add(&mut newest, &format!("d{n}"), n, n));
        assert_eq!(known(&mut newest).unwrap().len(), ROWS_MAX);
        add(&mut newest, "one too many", keys, keys);
        assert!(matches!(newest.find(&readings()), Found::Nothing(None)));
    }
}
