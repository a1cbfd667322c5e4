//! Random schemas, rows, changes of the schema and queries: the stores must give the same answers, and so must a stock DuckDB that
//! opens the lake when the gateway is gone.
//!
//! `SQL_SEEDS=1000` tries more seeds, `SQL_SEED=17` that one; a difference is told with its seed. What is known to differ stands in
//! `docs/sql-differences.md`, which this test reads.

mod answer;
mod grammar;
mod stock;

use super::*;
use crate::history::settings::Catalog;
use answer::Answered;
use grammar::{Dice, Grammar};

/// What `make test` tries; about half a minute of a busy core in a debug build.
const SEEDS: u64 = 6;
/// Queries of a seed while there is a tail, and again when all is in files.
const QUERIES: usize = 40;

/// Where the answers come from.
struct Side {
    name: &'static str,
    settings: Settings,
    store: Option<Box<dyn Store>>,
    _dir: tempfile::TempDir,
}

impl Side {
    fn new(name: &'static str, backend: Backend, catalog: Catalog) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { name, settings: Settings { backend, catalog, ..settings(dir.path()) }, store: None, _dir: dir }
    }

    fn open(&mut self, table: &Arc<Table>) {
        drop(self.store.take());
        let schema = Schema { tables: vec![table.clone()] };
        let (store, opened) = store::open(&self.settings, &schema, SystemDisk::shared(), LOG).unwrap();
        assert!(opened.damage.is_empty() && opened.fresh.is_none(), "{opened:?}");
        assert_eq!(store.refused(), []);
        self.store = Some(store);
    }

    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    fn ask(&mut self, query: &Query) -> Answered {
        let settings = self.settings.clone();
        let view = self.store().pin("t", None).unwrap().unwrap();
        run(view, query, &settings).map(|frame| answer::rows(&super::frame(&frame))).map_err(|error| error.text)
    }
}

/// What is known to differ: patterns of the query and its answers, from the table of the document.
struct Known(Vec<regex::Regex>);

impl Known {
    fn read() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sql-differences.md")).unwrap();
        // | `pattern` | what | why |
        let patterns = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(pattern, _)| pattern));
        // A bar inside of a table is written with a backslash.
        Self(patterns.map(|pattern| regex::Regex::new(&format!("(?i){}", pattern.replace("\\|", "|"))).unwrap()).collect())
    }

    fn has(&self, difference: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(difference))
    }
}

/// A life of one table in every store. Gives the differences that were found.
fn live(seed: u64, known: &Known) -> Vec<String> {
    let mut dice = Dice(seed);
    let [first, later] = dice.tables();
    let mut sides = [Side::new("duckdb", Backend::Duckdb, Catalog::Duckdb), Side::new("lite", Backend::Lite, Catalog::Duckdb)];
    let (mut seq, mut found) = (0, Vec::new());
    let mut add = |dice: &mut Dice, sides: &mut [Side], table: &Table, count: usize| {
        for _ in 0..count {
            seq += 1;
            let mut cells: Vec<Cell> = table.columns.iter().map(|column| dice.cell(column.kind)).collect();
            let again = !table.keys.is_empty() && dice.chance(30);
            cells[0] = Cell::Integer(if again { dice.below(1 + seq as usize) as i128 } else { seq.into() });
            let named = (0..cells.len()).map(|place| place == 0 || !again || dice.chance(50)).collect::<Vec<_>>();
            for side in sides.iter_mut() {
                let row = Row { cells: cells.clone(), named: named.clone() };
                side.store().append("t", vec![row], Seq(seq), 1_700_000_000_000_000 + i64::try_from(seq).unwrap()).unwrap();
            }
        }
        seq
    };
    let batch = |sides: &mut [Side], seq| {
        for side in sides {
            side.store().batch(Seq(seq)).map_err(|error| format!("{}: {error:?}", side.name)).unwrap();
        }
    };
    sides.iter_mut().for_each(|side| side.open(&first));
    for rows in [12, 9] {
        let seq = add(&mut dice, &mut sides, &first, rows);
        batch(&mut sides, seq);
    }
    sides.iter_mut().for_each(|side| side.open(&later));
    let seq = add(&mut dice, &mut sides, &later, 9);
    batch(&mut sides, seq);
    let seq = add(&mut dice, &mut sides, &later, 5);
    compare(&mut dice, &mut sides, &later, known, seed, &mut found);
    batch(&mut sides, seq);
    let everything = (later.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>().join(", "), "1=1 ORDER BY k");
    let all = query(&later, &everything.0, everything.1);
    let mut answers: Vec<(String, Answered)> = sides.iter_mut().map(|side| (side.name.to_owned(), side.ask(&all))).collect();
    let [duckdb, mut lite] = sides;
    let settings = [duckdb.settings.clone(), lite.settings.clone()];
    drop(duckdb.store);
    drop(lite.store.take());
    let dirs = (duckdb._dir, lite._dir);
    // The gateway is gone; whoever has a DuckDB opens what it left.
    let lakes = settings.map(|settings| stock::open(&settings, &later));
    for (lake, name) in lakes.iter().zip(["stock on duckdb's", "stock on lite's"]) {
        answers.push((name.to_owned(), stock::ask(lake, &everything.0, everything.1)));
    }
    for (name, rows) in &answers[1..] {
        if !answer::same_values(&answers[0].1, rows) {
            found.push(format!("seed {seed}: everything\n   {}: {:?}\n   {name}: {rows:?}", answers[0].0, answers[0].1));
        }
    }
    let [lake, _] = lakes;
    let mut reopened = [Side { name: "duckdb", settings: Settings::clone(&lake.settings), store: None, _dir: dirs.0 }];
    let questions = stock::answers(&lake, &mut dice, &later, QUERIES / 2);
    drop(lake);
    reopened[0].open(&later);
    for (cols, condition, theirs) in questions {
        let Ok(query) = parse(&later, &cols, &condition) else { continue };
        let ours = reopened[0].ask(&query);
        let shown = format!("{cols} │ {condition}");
        let difference = format!("seed {seed}: {shown}\n   stock  {theirs:?}\n   duckdb {ours:?}");
        if !stock::agrees(&ours, &theirs) && !known.has(&difference) {
            found.push(difference);
        }
    }
    found
}

fn parse(table: &Table, cols: &str, condition: &str) -> Result<Query, CallError> {
    let data = cbor(&cbor!([{ "cols" => cols, "where" => condition }]).unwrap());
    Query::parse(table, &data, Wall(1_700_000_000_000_000_000))
}

fn compare(dice: &mut Dice, sides: &mut [Side], table: &Table, known: &Known, seed: u64, found: &mut Vec<String>) {
    for _ in 0..QUERIES {
        let (cols, condition) = Grammar { dice, table }.query();
        let Ok(query) = parse(table, &cols, &condition) else { continue };
        let shown = format!("{cols} │ {condition}");
        let answers: Vec<Answered> = sides.iter_mut().map(|side| side.ask(&query)).collect();
        let same = answers.iter().all(|answer| answer::same(&answers[0], answer));
        if !same {
            let each = sides.iter().zip(&answers).map(|(side, answer)| format!("\n   {:6} {answer:?}", side.name));
            let kinds =
                table.columns.iter().map(|column| format!("{} {}", column.name, crate::history::kind::name(column.kind)));
            let difference =
                format!("seed {seed}: {shown} [{}]{}", kinds.collect::<Vec<_>>().join(", "), each.collect::<String>());
            if !known.has(&difference) {
                found.push(difference);
            }
        }
    }
}

#[test]
fn the_stores_and_a_stock_duckdb_give_the_same_answers() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SQL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SQL_SEEDS").unwrap_or(SEEDS),
    };
    let known = Known::read();
    let mut found = Vec::new();
    for seed in seeds {
        found.extend(live(seed, &known));
    }
    assert!(found.is_empty(), "{} differences; SQL_SEED=… plays one again:\n{}", found.len(), found.join("\n"));
}
