//! Looks at every file that the catalog names before anything relies on it.
//!
//! One missing or torn file would make every query of its table fail, for ever. So such a file is moved to the quarantine and taken
//! out of the catalog, and what that costs is said exactly. Files that the catalog does not know are leftovers of batches that a
//! crash cut short; their rows are still in the log.

use super::names::META;
use crate::disk::Disk;
use crate::history::engine::damage::{self, Bad, Damage, FileKind, Span, is_ours};
use crate::history::engine::error::EngineError;
use crate::history::engine::hold::Named;
use crate::history::engine::{folders, loss};
use crate::history::settings::Settings;
use duckdb::{Connection, params};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// The files that a catalog names which nobody uses; the catalog is only read.
pub(in crate::history::engine) fn named_in(catalog: &Path, files: &Path) -> Result<Vec<Named>, EngineError> {
    let conn = Connection::open_in_memory().map_err(EngineError::sql("opening DuckDB"))?;
    let attach = format!("ATTACH {} AS __ducklake_metadata_lake (READ_ONLY)", super::lake::path_text(catalog));
    conn.execute_batch(&attach).map_err(EngineError::sql("opening the catalog"))?;
    super::catalog::read_everything(&conn)?;
    named(&conn, files)
}

/// The files that the catalog names, for today or for looks into the past.
pub(super) fn named(conn: &Connection, files: &Path) -> Result<Vec<Named>, EngineError> {
    let mut all = Vec::new();
    for kind in [FileKind::Rows, FileKind::Deletions] {
        all.extend(known_files(conn, files, kind)?.into_iter().map(|known| Named {
            table: known.table,
            path: known.path,
            bytes: known.size,
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
    size: u64,
    rows: i64,
    live: bool,
}

/// Checks existence, size and the end of every file that any snapshot needs; repairs the catalog where one fails.
pub(super) fn check(conn: &Connection, settings: &Settings, disk: &dyn Disk) -> Result<Vec<Damage>, EngineError> {
    let files = folders::files(settings);
    // A store of objects has whole ones only; and what others wrote is theirs to look after.
    if settings.data.is_remote() || settings.catalog.is_shared() {
        return Ok(Vec::new());
    }
    let all = all_known(conn, &files)?;
    let mut bad = Vec::new();
    for (_, known) in &all {
        bad.extend(damage::look_at(disk, &known.path, known.size)?);
    }
    damage::is_of_the_disk(settings, &bad, all.len())?;
    take_aside(conn, settings, disk, all, &bad)
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
        take_out(conn, kind, &known)?;
    }
    Ok(found)
}

/// Which records made the rows of a file, by its statistics.
fn span(conn: &Connection, known: &Known) -> Result<Option<Span>, EngineError> {
    let sql = format!(
        "SELECT max(TRY_CAST(min_value AS UBIGINT)) FILTER (n = '_seq'), max(TRY_CAST(max_value AS UBIGINT)) FILTER (n = '_seq'), \
         max(epoch_us(TRY_CAST(min_value AS TIMESTAMP))) FILTER (n = '_recv'), max(epoch_us(TRY_CAST(max_value AS TIMESTAMP))) FILTER (n = '_recv') \
         FROM (SELECT DISTINCT s.min_value, s.max_value, c.column_name AS n FROM {META}.ducklake_file_column_stats s \
           JOIN {META}.ducklake_column c USING (table_id, column_id) \
           WHERE s.data_file_id = ? AND c.column_name IN ('_seq', '_recv'))"
    );
    let ends: [Option<i64>; 4] = conn
        .query_row(&sql, params![known.id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
        .map_err(EngineError::sql("looking up what a damaged file held"))?;
    let [Some(first), Some(last), from_us, until_us] = ends else { return Ok(None) };
    let (first, last) = (first.cast_unsigned(), last.cast_unsigned());
    Ok(Some(Span { first, last, from_us: from_us.unwrap_or(0), until_us: until_us.unwrap_or(0) }))
}

/// Lets DuckDB decode every value of a file; how many rows that are.
pub(super) fn decodes(conn: &Connection, path: &Path) -> Result<u64, String> {
    let sql = format!("SELECT count(*), max(hash(t)) FROM read_parquet({}) AS t", super::lake::path_text(path));
    conn.query_row(&sql, [], |row| row.get(0)).map_err(|error| EngineError::sql("decoding a file")(error).to_string())
}

fn known_files(conn: &Connection, files: &Path, kind: FileKind) -> Result<Vec<Known>, EngineError> {
    let doing = "listing the lake's files";
    let (id, rows) = kind.columns();
    let sql = format!(
        "SELECT f.{id}, f.table_id, t.table_name, \
         CASE WHEN f.path_is_relative THEN s.path || t.path || f.path ELSE f.path END, f.file_size_bytes, f.{rows}, \
         f.end_snapshot IS NULL \
         FROM {META}.{} f \
         JOIN (SELECT table_id, schema_id, table_name, path FROM {META}.ducklake_table \
               QUALIFY row_number() OVER (PARTITION BY table_id ORDER BY begin_snapshot DESC) = 1) t USING (table_id) \
         JOIN (SELECT schema_id, path FROM {META}.ducklake_schema \
               QUALIFY row_number() OVER (PARTITION BY schema_id ORDER BY begin_snapshot DESC) = 1) s USING (schema_id)",
        kind.catalog_table()
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let known = statement
        .query_map([], |row| {
            Ok(Known {
                id: row.get(0)?,
                table_id: row.get(1)?,
                table: row.get(2)?,
                // An absolute path stays one: join replaces.
                path: files.join(row.get::<_, String>(3)?),
                size: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                rows: row.get(5)?,
                live: row.get(6)?,
            })
        })
        .map_err(EngineError::sql(doing))?;
    known.collect::<Result<_, _>>().map_err(EngineError::sql(doing))
}

/// Removes a file from the catalog as if it had never been added. Minima and maxima of its table stay as they were: too wide is
/// harmless, since they only steer which files are looked at.
fn take_out(conn: &Connection, kind: FileKind, known: &Known) -> Result<(), EngineError> {
    let doing = "taking a damaged file out of the catalog";
    let run = |sql: String, values: &[i64]| {
        conn.execute(&sql, duckdb::params_from_iter(values.iter())).map(|_| ()).map_err(EngineError::sql(doing))
    };
    super::batch::transaction(conn, || {
        if kind == FileKind::Deletions {
            return run(format!("DELETE FROM {META}.ducklake_delete_file WHERE delete_file_id = ?"), &[known.id]);
        }
        for table in
            ["ducklake_data_file", "ducklake_file_column_stats", "ducklake_file_partition_value", "ducklake_delete_file"]
        {
            run(format!("DELETE FROM {META}.{table} WHERE data_file_id = ?"), &[known.id])?;
        }
        if !known.live {
            return Ok(());
        }
        conn.execute(
            &format!(
                "UPDATE {META}.ducklake_table_stats SET record_count = greatest(record_count - ?, 0), \
                 file_size_bytes = greatest(file_size_bytes - ?, 0) WHERE table_id = ?"
            ),
            params![known.rows, i64::try_from(known.size).unwrap_or(i64::MAX), known.table_id],
        )
        .map(|_| ())
        .map_err(EngineError::sql(doing))
    })
}

/// Removes Parquet files that no snapshot needs and no clean-up of DuckLake's own will find.
pub(super) fn remove_orphans(
    conn: &Connection,
    settings: &Settings,
    files: &Path,
    disk: &dyn Disk,
) -> Result<usize, EngineError> {
    // The log has let go of records that the catalog knows nothing of: it forgot them, and their rows are in such files alone.
    if settings.log_first > super::catalog::covered(conn, &super::names::Own::default(), None)?.seq().next() {
        return Ok(0);
    }
    let mut known: HashSet<PathBuf> = loss::in_place(settings).into_iter().collect();
    for kind in [FileKind::Rows, FileKind::Deletions] {
        known.extend(known_files(conn, files, kind)?.into_iter().map(|file| file.path));
    }
    let doing = "listing files that wait for removal";
    let sql = format!("SELECT path FROM {META}.ducklake_files_scheduled_for_deletion");
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let waiting: Vec<String> =
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(EngineError::sql(doing))?;
    known.extend(waiting.into_iter().map(|path| files.join(path)));
    let mut removed = 0;
    for folder in table_folders(conn, files)? {
        let all = match super::batch::files_below(disk, &folder) {
            Ok(all) => all,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(EngineError::Io { doing: "listing a table's folder", source: error }),
        };
        for path in all {
            if is_ours(&path) && !known.contains(&path) {
                disk.remove(&path).map_err(EngineError::io("removing a leftover file"))?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn table_folders(conn: &Connection, files: &Path) -> Result<HashSet<PathBuf>, EngineError> {
    let doing = "listing the tables' folders";
    let sql = format!(
        "SELECT DISTINCT s.path || t.path FROM {META}.ducklake_table t JOIN {META}.ducklake_schema s USING (schema_id) \
         WHERE t.path_is_relative AND s.path_is_relative"
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let paths = statement.query_map([], |row| row.get::<_, String>(0)).map_err(EngineError::sql(doing))?;
    paths.map(|path| path.map(|path| files.join(path))).collect::<Result<_, _>>().map_err(EngineError::sql(doing))
}
