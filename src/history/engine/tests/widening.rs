//! Every widening that `evolution` allows: what was written when the column was narrow is found, ordered, left out, merged and
//! deleted as if it had always been wide.

use super::values::{edges, literal};
use super::*;
use crate::history::evolution;
use crate::history::kind;
use crate::history::sql::eval::{Value, compare};
use std::cmp::Ordering;

/// A table whose column `v` becomes wider, and what is in it.
struct Case {
    name: String,
    from: ColumnKind,
    to: ColumnKind,
    keyed: bool,
    /// `k` and `v` as they are once the column is wide.
    rows: Vec<(i128, Cell)>,
}

fn cases() -> Vec<Case> {
    let pairs = evolution::widenings();
    let case = |(from, to): (ColumnKind, ColumnKind), keyed: bool| {
        let kind = if keyed { "keyed" } else { "appended" };
        let name = format!("{kind}_{}_{}", kind::catalog_name(from), kind::catalog_name(to));
        Case { name, from, to, keyed, rows: Vec::new() }
    };
    // A key that is not a number may be there twice: NaN is one.
    let keyed = pairs.iter().filter(|(from, _)| *from != ColumnKind::Float);
    pairs.iter().map(|pair| case(*pair, false)).chain(keyed.map(|pair| case(*pair, true))).collect()
}

fn table_of(case: &Case, wide: bool) -> Arc<Table> {
    let kind = if wide { case.to } else { case.from };
    let columns = vec![column("k", ColumnKind::BigInt), column("v", kind)];
    table(&case.name, columns, if case.keyed { vec![1] } else { vec![] })
}

fn schema_of(cases: &[Case], wide: bool) -> Schema {
    Schema { tables: cases.iter().map(|case| table_of(case, wide)).collect() }
}

#[expect(clippy::cast_precision_loss, reason = "what widening to a FLOAT does")]
fn widened(cell: &Cell, to: ColumnKind) -> Cell {
    match (cell, to) {
        (Cell::Boolean(value), _) => Cell::Integer(i128::from(*value)),
        (Cell::Integer(value), ColumnKind::Float) => Cell::Float((*value as f32).into()),
        (Cell::Integer(value), ColumnKind::Double) => Cell::Float(*value as f64),
        (Cell::Date(days), _) => Cell::Timestamp(i64::from(*days) * 86_400_000_000),
        (other, _) => other.clone(),
    }
}

fn order(a: &Cell, b: &Cell) -> Ordering {
    compare(&Value::of(a), &Value::of(b))
}

impl Case {
    /// Adds a row, which in a keyed table takes the place of the one of its key.
    fn add(&mut self, store: &mut dyn Store, cell: &Cell, seq: &mut u64) {
        *seq += 1;
        let k = i128::from(*seq);
        store.append(&self.name, vec![row(vec![Cell::Integer(k), cell.clone()])], Seq(*seq), 1_000_000).unwrap();
        let wide = widened(cell, self.to);
        if self.keyed {
            self.rows.retain(|(_, old)| order(old, &wide) != Ordering::Equal);
        }
        self.rows.push((k, wide));
    }

    fn ask(&self, store: &mut dyn Store, condition: &str, wrong: &mut Vec<String>, expected: &[i128]) {
        let found = ask(store, &table_of(self, true), "k", condition, None).map(|batches| numbers(&batches));
        let found = found.map(|found| found.into_iter().map(i128::from).collect::<Vec<_>>());
        if found.as_deref() != Ok(expected) {
            wrong.push(format!("{}: {condition}: {found:?} instead of {expected:?}", self.name));
        }
    }

    fn check(&mut self, store: &mut dyn Store, wrong: &mut Vec<String>) {
        let mut sorted = self.rows.clone();
        sorted.sort_by(|(a_k, a), (b_k, b)| order(a, b).then(a_k.cmp(b_k)));
        let ks = |rows: &[(i128, Cell)]| rows.iter().map(|(k, _)| *k).collect::<Vec<_>>();
        self.ask(store, "1=1 ORDER BY v, k", wrong, &ks(&sorted));
        for (column, place) in [("min(v)", sorted.first()), ("max(v)", sorted.last())] {
            let found = ask(store, &table_of(self, true), &format!("CAST({column} AS TEXT) AS t"), "1=1", None);
            let Ok(found) = found else {
                wrong.push(format!("{}: {column}: {found:?}", self.name));
                continue;
            };
            let (_, cell) = place.unwrap();
            let text = Value::of(cell).cast(crate::history::sql::eval::Type::Of(self.to), ColumnKind::Text).unwrap();
            let Value::Text(text) = text else { panic!("a text") };
            // The zeros are equal, and either may be the least.
            let plain = |text: &str| text.trim_start_matches('-').to_owned();
            if texts(&found).iter().map(|text| plain(text)).ne([plain(&text)]) {
                wrong.push(format!("{}: {column}: {:?} instead of {text}", self.name, texts(&found)));
            }
        }
        for edge in edges(self.to) {
            type Holds = fn(Ordering) -> bool;
            let conditions: [(&str, Holds); 3] = [("=", Ordering::is_eq), (">=", Ordering::is_ge), ("<=", Ordering::is_le)];
            // How rows of a key replace each other has no sides.
            for (op, holds) in conditions.into_iter().take(if self.keyed { 1 } else { 3 }) {
                let mut expected: Vec<_> = self.rows.iter().filter(|(_, v)| holds(order(v, &edge))).cloned().collect();
                expected.sort_by_key(|(k, _)| *k);
                self.ask(store, &format!("v {op} {} ORDER BY k", literal(&edge)), wrong, &ks(&expected));
            }
        }
    }
}

/// Every case: narrow files, one for each half of the values and one of all; then wide ones beside them, in the tail and in files.
fn live(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let (mut cases, mut seq, mut wrong) = (cases(), 0, Vec::new());
    let (mut store, _) = open_with(dir.path(), backend, &schema_of(&cases, false));
    for part in 0..4 {
        for case in &mut cases {
            let values = edges(case.from);
            let half = values.len() / 2;
            let values = match part {
                0 => &values[..half],
                1 => &values[half..],
                2 => &values[..],
                // Alone in its file, whose least and greatest value it is: 0.1 as a FLOAT is another number than as a DOUBLE.
                _ => &values[half..=half],
            };
            values.iter().for_each(|value| case.add(store.as_mut(), value, &mut seq));
        }
        store.batch(Seq(seq)).map_err(|error| format!("{error:?}")).unwrap();
    }
    drop(store);

    let (mut store, _) = open_with(dir.path(), backend, &schema_of(&cases, true));
    assert_eq!(store.refused(), []);
    let mut check_all = |store: &mut dyn Store, cases: &mut Vec<Case>, stage: &str| {
        cases.iter_mut().for_each(|case| case.check(store, &mut wrong));
        assert!(wrong.is_empty(), "{stage}, {} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    };
    check_all(store.as_mut(), &mut cases, "old files");
    for case in &mut cases {
        edges(case.to).iter().for_each(|value| case.add(store.as_mut(), value, &mut seq));
    }
    store.batch(Seq(seq)).map_err(|error| format!("{error:?}")).unwrap();
    let now = crate::clock::SystemClock::shared().wall();
    for _ in 0..2 {
        while store.upkeep(now).unwrap() == store::Upkeep::More {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for case in &mut cases {
        // Deletions look for their rows in files of both kinds.
        let edge = edges(case.from).pop().map(|cell| widened(&cell, case.to)).unwrap();
        seq += 1;
        delete(store.as_mut(), &table_of(case, true), &format!("v = {}", literal(&edge)), seq).unwrap();
        case.rows.retain(|(_, v)| order(v, &edge) != Ordering::Equal);
    }
    drop(store);
    let (mut store, _) = open_with(dir.path(), backend, &schema_of(&cases, true));
    check_all(store.as_mut(), &mut cases, "merged, deleted, opened anew");
}

#[test]
fn what_was_narrow_is_found_by_the_lite_store() {
    live(Backend::Lite);
}

#[cfg(feature = "duckdb")]
#[test]
fn what_was_narrow_is_found_by_duckdb() {
    live(Backend::Duckdb);
}
