//! Looks at every file that the catalog names before anything relies on it; see [`damage`](super::super::damage).

use super::super::damage::{self, Bad, Damage, FileKind, Span, is_ours};
use super::super::error::EngineError;
use super::super::hold::Named;
use super::super::{folders, loss};
use super::catalog::Catalog;
use crate::disk::Disk;
use crate::history::row::parse_timestamp;
use crate::history::settings::Settings;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// The files that a catalog names which nobody uses; the catalog is only read.
pub(in crate::history::engine) fn named_in(catalog: &Path, files: &Path) -> Result<Vec<Named>, EngineError> {
    let conn = Connection::open_with_flags(catalog, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(EngineError::sqlite("opening the catalog"))?;
    let found: String = conn
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(EngineError::sqlite("reading the catalog"))?;
    if found == "ok" { named(&conn, files) } else { Err(EngineError::Catalog(found)) }
}

/// The files that the catalog names, for today or for looks into the past.
pub(super) fn named(conn: &Connection, files: &Path) -> Result<Vec<Named>, EngineError> {
    let mut all = Vec::new();
    for kind in [FileKind::Rows, FileKind::Deletions] {
        all.extend(known_files(conn, files, kind)?.into_iter().map(|known| Named {
            table: known.table,
            path: known.path,
            bytes: known.bytes,
            rows: u64::try_from(known.rows).unwrap_or(0),
            kind,
        }));
    }
    Ok(all)
}

struct Known {
    id: i64,
    table_id: i64,
    table: String,
    path: PathBuf,
    bytes: u64,
    rows: i64,
    live: bool,
}

/// Checks existence, size and the end of every file that any snapshot needs; repairs the catalog where one fails.
pub(super) fn check(catalog: &mut Catalog, settings: &Settings, disk: &dyn Disk) -> Result<Vec<Damage>, EngineError> {
    let files = folders::files(settings);
    let all = all_known(&catalog.conn, &files)?;
    let mut bad = Vec::new();
    for (_, known) in &all {
        bad.extend(damage::look_at(disk, &known.path, known.bytes)?);
    }
    damage::is_of_the_disk(settings, &bad, all.len())?;
    take_aside(&catalog.conn, settings, disk, all, &bad)
}

/// Takes bad files out of the catalog; returns those that it names.
pub(super) fn set_aside(
    conn: &Connection,
    settings: &Settings,
    disk: &dyn Disk,
    bad: &[Bad],
) -> Result<Vec<Damage>, EngineError> {
    take_aside(conn, settings, disk, all_known(conn, &folders::files(settings))?, bad)
}

fn all_known(conn: &Connection, files: &Path) -> Result<Vec<(FileKind, Known)>, EngineError> {
    let mut all = Vec::new();
    for kind in [FileKind::Rows, FileKind::Deletions] {
        all.extend(known_files(conn, files, kind)?.into_iter().map(|known| (kind, known)));
    }
    Ok(all)
}

fn take_aside(
    conn: &Connection,
    settings: &Settings,
    disk: &dyn Disk,
    all: Vec<(FileKind, Known)>,
    bad: &[Bad],
) -> Result<Vec<Damage>, EngineError> {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for (kind, known) in all {
        let Some(bad) = bad.iter().find(|bad| bad.path == known.path) else { continue };
        let (table, file, rows) = (known.table.clone(), known.path.clone(), u64::try_from(known.rows).unwrap_or(0));
        let span = if kind == FileKind::Rows { span(conn, &known)? } else { None };
        let (what, in_place) = (bad.what.clone(), bad.in_place);
        found.push(Damage { table, file, what, rows, kind, live: known.live, span, in_place });
        broken.push((kind, known, in_place));
    }
    loss::note(settings, disk, &found)?;
    for (kind, known, in_place) in broken {
        // In this order: the file of a catalog entry may be missing after a crash in between, an orphan would be removed.
        if !in_place {
            damage::quarantine(settings, disk, &known.path)?;
        }
        take_out(conn, kind, &known).map_err(EngineError::sqlite("taking a damaged file out of the catalog"))?;
    }
    Ok(found)
}

/// Which records made the rows of a file, by its statistics.
fn span(conn: &Connection, known: &Known) -> Result<Option<Span>, EngineError> {
    let read = |column: &str| {
        conn.query_row(
            "SELECT s.min_value, s.max_value FROM ducklake_file_column_stats s JOIN ducklake_column c USING (table_id, column_id) \
             WHERE s.data_file_id = ? AND c.column_name = ? AND s.min_value IS NOT NULL AND s.max_value IS NOT NULL LIMIT 1",
            params![known.id, column],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
    };
    let doing = "looking up what a damaged file held";
    let seqs: Option<(String, String)> = read("_seq").map_err(EngineError::sqlite(doing))?;
    let times: Option<(String, String)> = read("_recv").map_err(EngineError::sqlite(doing))?;
    let Some((first, last)) = seqs.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?))) else {
        return Ok(None);
    };
    let micros = |text: &str| parse_timestamp(text).unwrap_or(0);
    let (from_us, until_us) = times.map_or((0, 0), |(from, until)| (micros(&from), micros(&until)));
    Ok(Some(Span { first, last, from_us, until_us }))
}

fn known_files(conn: &Connection, files: &Path, kind: FileKind) -> Result<Vec<Known>, EngineError> {
    let doing = "listing the lake's files";
    let (id, rows) = kind.columns();
    // A table or a schema that was renamed or dropped keeps its folder.
    let sql = format!(
        "SELECT f.{id}, f.table_id, t.table_name, \
         CASE WHEN f.path_is_relative THEN s.path || t.path || f.path ELSE f.path END, f.file_size_bytes, f.{rows}, f.end_snapshot IS NULL \
         FROM {} f \
         JOIN (SELECT table_id, schema_id, table_name, path, max(begin_snapshot) FROM ducklake_table GROUP BY table_id) t \
           USING (table_id) \
         JOIN (SELECT schema_id, path, max(begin_snapshot) FROM ducklake_schema GROUP BY schema_id) s USING (schema_id)",
        kind.catalog_table()
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sqlite(doing))?;
    let known = statement
        .query_map([], |row| {
            Ok(Known {
                id: row.get(0)?,
                table_id: row.get(1)?,
                table: row.get(2)?,
                // An absolute path stays one: join replaces.
                path: files.join(row.get::<_, String>(3)?),
                bytes: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                rows: row.get(5)?,
                live: row.get(6)?,
            })
        })
        .map_err(EngineError::sqlite(doing))?;
    known.collect::<Result<_, _>>().map_err(EngineError::sqlite(doing))
}

/// Removes a file from the catalog as if it had never been added. Minima and maxima of its table stay as they were: too wide is
/// harmless, since they only steer which files are looked at.
fn take_out(conn: &Connection, kind: FileKind, known: &Known) -> rusqlite::Result<()> {
    let transaction = conn.unchecked_transaction()?;
    if kind == FileKind::Deletions {
        transaction.execute("DELETE FROM ducklake_delete_file WHERE delete_file_id = ?", [known.id])?;
        return transaction.commit();
    }
    for table in ["ducklake_data_file", "ducklake_file_column_stats", "ducklake_delete_file", "ducklake_file_partition_value"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE data_file_id = ?"), [known.id])?;
    }
    transaction.execute(
        "UPDATE ducklake_table_stats SET record_count = max(record_count - ?, 0), \
         file_size_bytes = max(file_size_bytes - ?, 0) WHERE table_id = ?",
        params![known.rows, i64::try_from(known.bytes).unwrap_or(i64::MAX), known.table_id],
    )?;
    transaction.commit()
}

/// Removes Parquet files that no snapshot needs and no clean-up will find.
pub(super) fn remove_orphans(
    conn: &Connection,
    settings: &Settings,
    files: &Path,
    disk: &dyn Disk,
) -> Result<usize, EngineError> {
    // The log has let go of records that the catalog knows nothing of: it forgot them, and their rows are in such files alone.
    if settings.log_first > super::catalog::covered(conn, None)?.seq().next() {
        return Ok(0);
    }
    let mut known: HashSet<PathBuf> = loss::in_place(settings).into_iter().collect();
    for kind in [FileKind::Rows, FileKind::Deletions] {
        known.extend(known_files(conn, files, kind)?.into_iter().map(|file| file.path));
    }
    let list = |sql: &str| -> rusqlite::Result<Vec<PathBuf>> {
        let mut statement = conn.prepare(sql)?;
        let paths = statement.query_map([], |row| Ok(files.join(row.get::<_, String>(0)?)))?;
        paths.collect()
    };
    let doing = "listing files that wait for removal";
    known.extend(list("SELECT path FROM ducklake_files_scheduled_for_deletion").map_err(EngineError::sqlite(doing))?);
    let folders = list(
        "SELECT DISTINCT s.path || t.path FROM ducklake_table t JOIN ducklake_schema s USING (schema_id) \
         WHERE t.path_is_relative AND s.path_is_relative",
    );
    let mut removed = 0;
    for folder in folders.map_err(EngineError::sqlite("listing the tables' folders"))? {
        let names = match disk.list(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(EngineError::Io { doing: "listing a table's folder", source: error }),
        };
        for path in names.into_iter().map(|name| folder.join(name)) {
            if is_ours(&path) && !known.contains(&path) {
                disk.remove(&path).map_err(EngineError::io("removing a leftover file"))?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}
