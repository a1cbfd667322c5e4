//! One script, every store: what they answer must be the same, letter for letter.
//!
//! The stories beside this file say what is right, each for every store. Here the stores are held against each other over a whole
//! life: appended and keyed rows, deletions, every part of a query, looks into the past, a schema that grows, upkeep, crashes.

use super::*;
use crate::history::model::WhenFull;
use crate::history::settings::Catalog;
use crate::history::status::Tidied;
use crate::mapping;
use serde_json::{Value, json};
use std::cell::RefCell;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// Every store that this build has.
fn stores() -> Vec<(&'static str, Backend, Catalog)> {
    let mut all = vec![("lite", Backend::Lite, Catalog::Duckdb)];
    #[cfg(feature = "duckdb")]
    all.extend([("duckdb", Backend::Duckdb, Catalog::Duckdb), ("duckdb on sqlite", Backend::Duckdb, Catalog::Sqlite)]);
    all
}

/// Plays a script on every store and compares what each of them said.
fn play(change: impl Fn(&mut Settings), script: impl Fn(&mut Stage)) {
    let transcripts: Vec<(&str, Vec<String>)> = stores()
        .into_iter()
        .map(|(name, backend, catalog)| {
            let dir = tempfile::tempdir().unwrap();
            let mut settings = Settings { backend, catalog, ..settings(dir.path()) };
            change(&mut settings);
            let mut stage = Stage { settings, schema: wide(), store: None, seq: 0, said: RefCell::default(), _dir: dir };
            stage.open();
            script(&mut stage);
            (name, stage.said.take())
        })
        .collect();
    let (first, expected) = &transcripts[0];
    for (name, said) in &transcripts[1..] {
        for (one, other) in expected.iter().zip(said) {
            assert_eq!(one, other, "{first} and {name} differ");
        }
        assert_eq!(expected.len(), said.len(), "{first} and {name}");
    }
}

/// `readings(dn, n, t, note)`, appended, newest by `dn`; `state(dn, mode, level)` by `dn`.
fn wide() -> Schema {
    let readings = vec![
        column("dn", ColumnKind::Text),
        column("n", ColumnKind::Integer),
        column("t", ColumnKind::Double),
        column("note", ColumnKind::Text),
    ];
    let state = vec![column("dn", ColumnKind::Text), column("mode", ColumnKind::Text), column("level", ColumnKind::BigInt)];
    let by_device = |name: &str, columns| {
        let topic = vec![TopicSegment::Variable("dn".to_owned()), TopicSegment::Literal(name.to_owned())];
        let limits = Limits::default();
        Arc::new(Table { name: name.to_owned(), topic, columns, keys: Vec::new(), delete_topic: None, limits })
    };
    Schema { tables: vec![by_device("readings", readings), table("state", state, vec![0])] }
}

struct Stage {
    settings: Settings,
    schema: Schema,
    store: Option<Box<dyn Store>>,
    seq: u64,
    said: RefCell<Vec<String>>,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn open(&mut self) {
        // A crash: nothing is checkpointed or written any more.
        drop(self.store.take());
        let (store, opened) = store::open(&self.settings, &self.schema, SystemDisk::shared(), LOG).unwrap();
        assert!(opened.damage.is_empty() && opened.fresh.is_none(), "{opened:?}");
        self.say(format!("open: covered {}, refused {:?}", store.covered(), store.refused()));
        self.store = Some(store);
    }

    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    fn say(&self, text: String) {
        self.said.borrow_mut().push(text);
    }

    fn table(&self, name: &str) -> Arc<Table> {
        self.schema.tables.iter().find(|table| table.name == name).unwrap().clone()
    }

    /// A reading, received at `at_us`.
    fn reading(&mut self, dn: &str, n: i64, at_us: i64) {
        self.seq += 1;
        let (seq, width) = (Seq(self.seq), self.table("readings").columns.len());
        let note = if n % 4 == 0 { Cell::Null } else { text(&format!("note {n} is 100% {}", "x".repeat(n as usize % 5))) };
        let mut cells = vec![text(dn), Cell::Integer(n.into()), Cell::Float(n as f64 / 2.0), note];
        cells.resize(width, Cell::Integer(7));
        self.store().append("readings", vec![row(cells)], seq, at_us).unwrap();
    }

    fn state(&mut self, dn: &str, mode: Option<&str>, level: Option<i128>, at_us: i64) {
        self.seq += 1;
        let cells = vec![text(dn), mode.map_or(Cell::Null, text), level.map_or(Cell::Null, Cell::Integer)];
        let row = Row { cells, named: vec![true, mode.is_some(), level.is_some()] };
        let seq = Seq(self.seq);
        self.store().append("state", vec![row], seq, at_us).unwrap();
    }

    fn batch(&mut self) {
        let upto = Seq(self.seq);
        self.store().batch(upto).map_err(|error| format!("{error:?}")).unwrap();
    }

    fn delete(&mut self, table: &str, condition: &str) {
        self.seq += 1;
        let (table, seq) = (self.table(table), self.seq);
        let done = super::delete(self.store(), &table, condition, seq);
        self.say(format!("delete {condition}: {}", if done.is_ok() { "done" } else { "refused" }));
    }

    /// A call of `query_T`; what it answers is said.
    fn ask(&mut self, table: &str, arguments: Value) -> Value {
        let table = self.table(table);
        let data = mapping::json_to_cbor(&json!([arguments]));
        let query = Query::parse(&table, &data, Wall(0));
        let shown = arguments.as_object().unwrap().iter().filter(|(key, _)| *key != "when");
        let shown = shown.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ");
        self.answer(&table, &shown, query)
    }

    fn latest(&mut self, table: &str, arguments: Value) {
        let table = self.table(table);
        let query = Query::newest(&table, &mapping::json_to_cbor(&json!([arguments])));
        self.answer(&table, &format!("latest {arguments}"), query);
    }

    fn answer(&mut self, table: &Table, shown: &str, query: Result<Query, CallError>) -> Value {
        let settings = self.settings.clone();
        let answer = query.and_then(|query| {
            let at_us = query.when().map(|when| i64::try_from(when.0 / 1000).unwrap());
            let view = self.store().pin(&table.name, at_us).unwrap()?;
            run(view, &query, &settings)
        });
        let answer: Value = match answer {
            Ok(frame) => serde_json::from_str(&mapping::cbor_to_json(&frame)).unwrap(),
            Err(_) => "refused".into(),
        };
        self.say(format!("{} {shown}\n  {answer}", table.name));
        answer
    }

    /// Whole passes of upkeep.
    fn tidy(&mut self, now_us: i64) -> Tidied {
        let now = Wall(u64::try_from(now_us).unwrap() * 1000);
        for _ in 0..2 {
            while self.store().upkeep(now).unwrap() == store::Upkeep::More {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.store().tidied()
    }

    /// Data files of a table.
    fn files(&self, table: &str) -> usize {
        let mut folders = vec![self.settings.lake.join("files/main").join(table)];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files += usize::from(!path.to_string_lossy().contains("delete"));
                }
            }
        }
        files
    }

    fn everything(&mut self) {
        self.ask("readings", json!({"order": "n, dn"}));
        self.ask("state", json!({"order": "dn"}));
    }
}

fn now_us() -> i64 {
    i64::try_from(crate::clock::SystemClock::shared().wall().0 / 1000).unwrap()
}

#[test]
fn every_part_of_a_query_means_the_same() {
    play(
        |_| {},
        |stage| {
            let noon = now_us().div_euclid(DAY) * DAY - DAY / 2;
            for n in 0..60 {
                stage.reading(["a", "b", "c"][n as usize % 3], n, noon + n * 10 * SECOND);
                if n % 25 == 24 {
                    stage.batch();
                }
            }
            let at = |seconds: i64| json!((noon / SECOND) + seconds);
            for arguments in [
                json!({"where": "n < 5", "order": "n"}),
                json!({"where": "n BETWEEN 22 AND 27 AND dn <> 'a' OR n IN (1, 59)", "cols": "dn, n, t", "order": "n DESC"}),
                json!({"where": "note IS NULL AND n > 30", "cols": ["n", "coalesce(note, '-') AS note"], "order": "n"}),
                json!({"where": "note LIKE '%1__ 100%' AND NOT dn = 'b'", "cols": "n, upper(note) AS loud, length(note) AS l", "order": "n"}),
                json!({"where": "t > 20.5 GROUP BY dn HAVING count(*) > 3 ORDER BY dn",
                       "cols": "dn, count(*) AS rows, min(n) AS low, max(t) AS high, avg(t) AS mean, sum(n) AS total"}),
                json!({"cols": "DISTINCT dn", "order": "dn"}),
                json!({"cols": "count(*) AS n, count(note) AS notes, count(DISTINCT dn) AS devices"}),
                json!({"where": "n % 7 = 3", "cols": "n, n * 2 + 1 AS odd, n / 4 AS quarter, CAST(n AS TEXT) AS t", "order": "n"}),
                json!({"since": at(100), "until": at(200), "order": "oldest", "cols": "n"}),
                json!({"order": "newest", "limit": 3}),
                json!({"order": "oldest", "limit": 4, "where": "dn = 'b'"}),
                json!({"every": "1m", "cols": "dn, n", "where": "dn IN ('a', 'b')"}),
                json!({"every": "5m", "since": at(0)}),
                json!({"where": "x = 1"}),
                json!({"where": "n = 1; DROP TABLE readings"}),
                json!({"cols": "n / 0 AS nothing", "where": "n = 1"}),
            ] {
                stage.ask("readings", arguments);
            }
            stage.latest("readings", json!({}));
            stage.latest("readings", json!({"dn": "b"}));
            stage.latest("readings", json!({"dn": "nobody"}));
            stage.latest("readings", json!({"n": 1}));
        },
    );
}

#[test]
fn keyed_rows_deletions_and_crashes_leave_the_same() {
    play(
        |_| {},
        |stage| {
            let now = now_us();
            stage.state("a", Some("on"), Some(1), now);
            stage.state("b", Some("off"), None, now);
            stage.batch();
            stage.state("a", None, Some(2), now);
            stage.state("c", None, Some(3), now);
            stage.everything();
            stage.batch();
            stage.state("b", Some("on"), None, now);
            stage.state("b", None, Some(9), now);
            stage.everything();
            // What is not in a batch comes from the log again.
            stage.open();
            stage.everything();
            stage.state("b", Some("again"), Some(10), now);
            for n in 0..10 {
                stage.reading(if n % 2 == 0 { "a" } else { "b" }, n, now + n);
            }
            stage.batch();
            stage.delete("readings", "n IN (3, 4) OR dn = 'nobody'");
            stage.delete("readings", "n > 7");
            stage.delete("state", "level < 3");
            stage.delete("state", "CAST(mode AS INTEGER) = 1");
            stage.everything();
            stage.latest("readings", json!({}));
            stage.latest("state", json!({}));
            stage.latest("state", json!({"dn": "b"}));
            stage.open();
            stage.everything();
            stage.state("a", Some("new"), None, now);
            stage.batch();
            stage.everything();
            stage.ask("state", json!({"cols": "count(*) AS n"}));
        },
    );
}

#[test]
fn the_past_looks_the_same_before_and_after_files_are_merged() {
    play(
        |_| {},
        |stage| {
            let mut moments = Vec::new();
            for n in 0..12 {
                let now = now_us();
                stage.reading("a", n, now);
                stage.state("a", None, Some(n.into()), now);
                if n % 3 == 2 {
                    stage.batch();
                    moments.push(now_us());
                    // So that the next row is later than this moment, on any clock.
                    while now_us() <= moments[moments.len() - 1] + 2 {}
                }
            }
            let look = |stage: &mut Stage| {
                for at in &moments {
                    let when = *at as f64 / SECOND as f64;
                    let seen = stage.ask("readings", json!({"when": when, "cols": "count(*) AS n, max(n) AS newest"}));
                    assert_ne!(seen, json!("refused"));
                    stage.ask("state", json!({"when": when}));
                }
                stage.ask("readings", json!({"when": 1, "cols": "n"}));
            };
            look(stage);
            assert_eq!(stage.files("readings"), 4);
            assert!(stage.tidy(now_us()).merges > 0);
            look(stage);
            stage.delete("readings", "n < 6");
            look(stage);
            stage.open();
            look(stage);
            stage.everything();
        },
    );
}

#[test]
fn a_schema_grows_in_the_same_way() {
    play(
        |_| {},
        |stage| {
            let now = now_us();
            (0..6).for_each(|n| stage.reading("a", n, now));
            stage.batch();
            let change = |stage: &mut Stage, change: &dyn Fn(&mut Vec<Column>)| {
                let mut table = Table::clone(&stage.schema.tables[0]);
                change(&mut table.columns);
                stage.schema.tables[0] = Arc::new(table);
                stage.open();
            };
            change(stage, &|columns| {
                columns[1].kind = ColumnKind::BigInt;
                let with_default = Column { default: Some(Cell::Integer(42)), ..column("more", ColumnKind::Integer) };
                columns.push(with_default);
                columns.push(column("empty", ColumnKind::Integer));
            });
            stage.everything();
            (6..9).for_each(|n| stage.reading("b", n, now));
            stage.batch();
            (9..11).for_each(|n| stage.reading("b", n, now));
            stage.everything();
            stage.ask(
                "readings",
                json!({"where": "more = 42 GROUP BY dn", "cols": "dn, count(*) AS n, sum(n) AS s, min(empty) AS e"}),
            );
            stage.batch();
            stage.tidy(now_us());
            stage.everything();
            // What no rows can follow is refused, and the other table goes on.
            change(stage, &|columns| columns[0].kind = ColumnKind::BigInt);
            stage.ask("readings", json!({}));
            stage.ask("state", json!({}));
            let added = table("added", vec![column("n", ColumnKind::Integer)], vec![]);
            stage.schema.tables.push(added);
            stage.open();
            stage.ask("added", json!({}));
        },
    );
}

#[test]
fn what_is_too_old_or_too_much_goes_everywhere() {
    let limits = Limits { age: Some(Duration::from_secs(5 * 24 * 3600)), ..Limits::default() };
    play(
        |settings| settings.limits = limits,
        |stage| {
            let now = now_us();
            for (days, n) in [(9, 0), (9, 1), (7, 2), (2, 3), (0, 4)] {
                stage.reading("a", n, now - days * DAY);
                stage.state(&format!("d{n}"), Some("on"), None, now - days * DAY);
                stage.batch();
            }
            stage.everything();
            assert!(stage.tidy(now).rows_expired > 0);
            stage.everything();
            stage.latest("readings", json!({}));
            stage.open();
            stage.everything();
            // A clock that was never set makes nothing old.
            stage.tidy(1);
            stage.everything();
        },
    );
}

#[test]
fn a_full_disk_costs_the_oldest_rows_of_a_table_that_may_lose_them() {
    let limits = Limits { when_full: Some(WhenFull::EvictOldest), ..Limits::default() };
    // No disk has so much room.
    play(
        |settings| (settings.limits, settings.reserve) = (limits, 1 << 60),
        |stage| {
            let now = now_us();
            let reserve = std::mem::take(&mut stage.settings.reserve);
            stage.open();
            for day in 0..3 {
                (0..5).for_each(|n| stage.reading("a", day * 5 + n, now - (2 - day) * DAY));
                stage.batch();
            }
            stage.settings.reserve = reserve;
            stage.open();
            let view = stage.store().pin("readings", None).unwrap().unwrap();
            assert_eq!(stage.store().make_room().unwrap(), Some(store::Freed::Later), "somebody reads");
            drop(view);
            let mut lost = Vec::new();
            while let Some(freed) = stage.store().make_room().unwrap() {
                if let store::Freed::Rows { table, rows } = freed {
                    lost.push((table, rows));
                    stage.everything();
                }
            }
            stage.say(format!("{lost:?}"));
            assert_eq!(lost.iter().map(|(_, rows)| rows).sum::<u64>(), 15);
        },
    );
}
