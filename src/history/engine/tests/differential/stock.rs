//! A DuckDB as anybody has it, on the lake that the gateway left.

use super::answer::{self, Answered};
use super::grammar::{Dice, Grammar};
use super::*;
use crate::history::engine::columns::stored_as_text;
use crate::history::engine::folders;
use crate::history::kind;
use duckdb::Connection;

pub(super) struct Lake {
    conn: Connection,
    pub(super) settings: Settings,
}

fn text(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

/// Opens the lake as its owner would; only 128-bit integers, which are kept as text, are made numbers again.
pub(super) fn open(settings: &Settings, table: &Table) -> Lake {
    let config = duckdb::Config::default().with("threads", "1").unwrap();
    let conn = Connection::open_in_memory_with_flags(config).unwrap();
    let load = |name: &str| {
        let file = format!("{name}.duckdb_extension");
        let path = settings.library_dirs.iter().map(|dir| dir.join(&file)).find(|path| path.is_file()).unwrap();
        conn.execute_batch(&format!("LOAD {}", text(&path))).unwrap();
    };
    let catalog = if settings.backend == Backend::Lite {
        load("sqlite_scanner");
        format!("sqlite:{}", folders::sqlite_catalog(settings).display())
    } else {
        folders::catalog(settings).display().to_string()
    };
    load("ducklake");
    conn.execute_batch(&format!(
        "ATTACH {} AS lake (DATA_PATH {}, OVERRIDE_DATA_PATH true)",
        text(Path::new(&format!("ducklake:{catalog}"))),
        text(&folders::files(settings).join("")),
    ))
    .unwrap();
    let columns = table.columns.iter().map(|column| match stored_as_text(column.kind) {
        true => format!("CAST({0} AS {1}) AS {0}", column.name, kind::name(column.kind)),
        false => column.name.clone(),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    conn.execute_batch(&format!("CREATE VIEW t AS SELECT {columns} FROM lake.main.t")).unwrap();
    Lake { conn, settings: settings.clone() }
}

/// What it answers to the caller's own words.
pub(super) fn ask(lake: &Lake, cols: &str, condition: &str) -> Answered {
    let run = || {
        let mut statement = lake.conn.prepare(&format!("SELECT {cols} FROM t WHERE {condition}"))?;
        drop(statement.stream_arrow([])?);
        let mut batches = vec![RecordBatch::new_empty(statement.schema())];
        while let Some(chunk) = statement.step()? {
            batches.push(RecordBatch::from(&chunk));
        }
        Ok::<_, duckdb::Error>(answer::rows(&batches))
    };
    run().map_err(|error| error.to_string())
}

/// Random questions and what it says to them.
pub(super) fn answers(lake: &Lake, dice: &mut Dice, table: &Table, count: usize) -> Vec<(String, String, Answered)> {
    let question = |_| {
        let (cols, condition) = Grammar { dice, table }.query();
        let answer = ask(lake, &cols, &condition);
        (cols, condition, answer)
    };
    // No byte of zero fits into a text of SQL; parameters take it.
    (0..count).map(question).filter(|(cols, condition, _)| !format!("{cols}{condition}").contains('\0')).collect()
}

/// Literals of SQL are as narrow as they can be, parameters are 64 bits wide, and texts among them are read early: so what is out
/// of range, or not of the type, for one of the two may be fine for the other.
pub(super) fn agrees(ours: &Answered, theirs: &Answered) -> bool {
    let excused =
        |error: &str| ["Out of Range", "Conversion Error", "Binder Error", "Overflow"].iter().any(|kind| error.contains(kind));
    match (ours, theirs) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => excused(error),
        _ => answer::same_values(ours, theirs),
    }
}
