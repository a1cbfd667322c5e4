//! Looks at every file that the catalog names before anything relies on it.
//!
//! One missing or torn file would make every query of its table fail, for ever. So such a file is moved to the quarantine and taken
//! out of the catalog, and what that costs is said exactly. Files that the catalog does not know are leftovers of batches that a
//! crash cut short; their rows are still in the log.

use super::error::EngineError;
use super::lake;
use super::names::META;
use crate::disk::Disk;
use crate::history::settings::Settings;
use duckdb::{Connection, params};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// A file that was taken out of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) table: String,
    pub(super) file: PathBuf,
    pub(super) what: String,
    /// Rows that are gone with it; for a file of deletions, deleted rows that are back.
    pub(super) rows: u64,
    pub(super) kind: FileKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Rows,
    Deletions,
}

impl FileKind {
    fn catalog_table(self) -> &'static str {
        match self {
            Self::Rows => "ducklake_data_file",
            Self::Deletions => "ducklake_delete_file",
        }
    }

    fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Rows => ("data_file_id", "record_count"),
            Self::Deletions => ("delete_file_id", "delete_count"),
        }
    }
}

struct Known {
    id: i64,
    table_id: i64,
    table: String,
    path: PathBuf,
    size: u64,
    rows: i64,
}

/// Checks existence, size and the closing magic of every file that any snapshot needs; repairs the catalog where one fails.
pub(super) fn check(conn: &Connection, settings: &Settings, disk: &dyn Disk) -> Result<Vec<Damage>, EngineError> {
    let files = lake::files(settings);
    let mut damage = Vec::new();
    for kind in [FileKind::Rows, FileKind::Deletions] {
        for known in known_files(conn, &files, kind)? {
            let Some(what) = look_at(disk, &known)? else { continue };
            // In this order: the file of a catalog entry may be missing after a crash in between, an orphan would be removed.
            quarantine(settings, disk, &known.path)?;
            take_out(conn, kind, &known)?;
            let rows = u64::try_from(known.rows).unwrap_or(0);
            damage.push(Damage { table: known.table, file: known.path, what, rows, kind });
        }
    }
    Ok(damage)
}

fn known_files(conn: &Connection, files: &Path, kind: FileKind) -> Result<Vec<Known>, EngineError> {
    let doing = "listing the lake's files";
    let (id, rows) = kind.columns();
    let sql = format!(
        "SELECT f.{id}, f.table_id, t.table_name, \
         CASE WHEN f.path_is_relative THEN s.path || t.path || f.path ELSE f.path END, f.file_size_bytes, f.{rows} \
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
            })
        })
        .map_err(EngineError::sql(doing))?;
    known.collect::<Result<_, _>>().map_err(EngineError::sql(doing))
}

/// The reason why a file is not what the catalog says, if so. A file that cannot be looked at, for lack of permission for
/// example, is not damaged: that is an error, and the lake stays as it is.
fn look_at(disk: &dyn Disk, known: &Known) -> Result<Option<String>, EngineError> {
    let doing = "checking the lake's files";
    let file = match disk.open(&known.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("is missing".to_owned())),
        Err(error) => return Err(EngineError::Io { doing, source: error }),
    };
    let size = file.len().map_err(EngineError::io(doing))?;
    if size != known.size {
        return Ok(Some(format!("has {size} bytes instead of {}", known.size)));
    }
    let mut magic = [0; 4];
    let read = file.read_at(&mut magic, size.saturating_sub(4)).map_err(EngineError::io(doing))?;
    Ok((read != 4 || &magic != b"PAR1").then(|| "does not end like a Parquet file".to_owned()))
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
        for table in ["ducklake_data_file", "ducklake_file_column_stats", "ducklake_delete_file"] {
            run(format!("DELETE FROM {META}.{table} WHERE data_file_id = ?"), &[known.id])?;
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
pub(super) fn remove_orphans(conn: &Connection, files: &Path, disk: &dyn Disk) -> Result<usize, EngineError> {
    let mut known: HashSet<PathBuf> = HashSet::new();
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
    for folder in folders(conn, files)? {
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

/// A name that the gateway or DuckLake gives; what somebody else put there stays.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "parquet")
        && (name.starts_with("batch-") || name.starts_with("ducklake-"))
}

fn folders(conn: &Connection, files: &Path) -> Result<HashSet<PathBuf>, EngineError> {
    let doing = "listing the tables' folders";
    let sql = format!(
        "SELECT DISTINCT s.path || t.path FROM {META}.ducklake_table t JOIN {META}.ducklake_schema s USING (schema_id) \
         WHERE t.path_is_relative AND s.path_is_relative"
    );
    let mut statement = conn.prepare(&sql).map_err(EngineError::sql(doing))?;
    let paths = statement.query_map([], |row| row.get::<_, String>(0)).map_err(EngineError::sql(doing))?;
    paths.map(|path| path.map(|path| files.join(path))).collect::<Result<_, _>>().map_err(EngineError::sql(doing))
}

/// Moves a file to the quarantine, so that somebody can look at what is left of it.
fn quarantine(settings: &Settings, disk: &dyn Disk, path: &Path) -> Result<(), EngineError> {
    let doing = "moving a file to the quarantine";
    if !path.exists() {
        return Ok(());
    }
    let quarantine = lake::quarantine(settings);
    disk.create_dir_all(&quarantine).map_err(EngineError::io(doing))?;
    let table = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    disk.rename(path, &unused(&quarantine, &format!("{table}-{name}"))).map_err(EngineError::io(doing))
}

/// Moves a catalog that cannot be opened, and the files it knew, out of the way of a fresh lake.
pub(super) fn set_aside(settings: &Settings, disk: &dyn Disk) -> Result<(), EngineError> {
    let doing = "moving the broken lake to the quarantine";
    let quarantine = lake::quarantine(settings);
    disk.create_dir_all(&quarantine).map_err(EngineError::io(doing))?;
    let place = unused(&quarantine, "lake");
    disk.create_dir_all(&place).map_err(EngineError::io(doing))?;
    // The files first: beside a fresh catalog they would be orphans.
    for name in ["files", "catalog.ducklake", "catalog.ducklake.wal"] {
        let from = settings.lake.join(name);
        if from.exists() {
            disk.rename(&from, &place.join(name)).map_err(EngineError::io(doing))?;
        }
    }
    disk.sync_dir(&quarantine).map_err(EngineError::io(doing))
}

/// Whether there are files in the lake's folders (`<schema>/<table>/<file>`): beside a catalog that is gone they are worth keeping.
pub(super) fn has_files(files: &Path) -> bool {
    let below = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    below(files.to_path_buf()).flat_map(below).flat_map(below).next().is_some()
}

/// `name` in `dir`, with a number if it is taken.
fn unused(dir: &Path, name: &str) -> PathBuf {
    let numbered = (1..).map(|n| dir.join(format!("{name}.{n}")));
    std::iter::once(dir.join(name)).chain(numbered).find(|path| !path.exists()).expect("numbers do not run out")
}
