//! The lake and what is above it: takes rows and deletions in the order of the log, and gives pinned views to queries.

use super::catalog::{self, Stored};
use super::names::{LAKE, Own, ident};
use super::objects::Objects;
use super::query::{Pinned, value};
use super::running::Running;
use super::tail::Shown;
use super::upkeep::{self, Tidy};
use super::{batch, fit, lake, past, relation, statistics, tail, verify};
use crate::clock::Wall;
use crate::disk::{Disk, SharedDisk};
use crate::history::engine::columns::stored_as_text;
use crate::history::engine::covered::Covered;
use crate::history::engine::error::EngineError;
use crate::history::engine::hold::Named;
use crate::history::engine::store::{BatchError, DeleteError, Freed, Opened, Store, TableFigures, Upkeep, View};
use crate::history::engine::tail::Tail;
use crate::history::engine::{damage, folders};
use crate::history::evolution::Remembered;
use crate::history::model::{CallError, Row, Schema, Table};
use crate::history::settings::Settings;
use crate::history::sql::Predicate;
use crate::history::status::Tidied;
use crate::message::Seq;
use crate::wal::Identity;
use duckdb::{Connection, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries of the catalog's own log that are cut off in a row before the catalog counts as broken.
const TORN_ENTRIES: usize = 4;

/// A schema table and its place in the lake.
#[derive(Debug)]
pub(super) struct LakeTable {
    pub(super) table: Arc<Table>,
    pub(super) stored: Stored,
    pub(super) tail: Tail,
    /// The tail's rows that are not in `tail` any more; of a keyed table, as it was when it was asked for.
    pub(super) batches: tail::Batches,
    pub(super) rows_in_lake: u64,
}

#[derive(Debug)]
pub(in crate::history::engine) struct Lake {
    conn: Connection,
    disk: SharedDisk,
    lake: PathBuf,
    files: PathBuf,
    /// In schema order. A table that the lake cannot hold is here as the reason why.
    tables: Vec<(String, Result<usize, String>)>,
    usable: Vec<LakeTable>,
    log_id: u64,
    log: Identity,
    covered: Seq,
    in_use: Arc<()>,
    running: Running,
    settings: Settings,
    own: Own,
    tidy: Tidy,
}

/// The connection's destructor would roll back what is open, and end the process if there is no memory for that.
impl Drop for Lake {
    fn drop(&mut self) {
        self.running.end_before_close(&self.conn);
    }
}

impl Lake {
    /// Opens the lake, checks its files and makes its tables fit the schema. `log` is the one that rows will come from.
    pub(in crate::history::engine) fn open(
        settings: &Settings,
        schema: &Schema,
        disk: SharedDisk,
        log: impl Into<Identity>,
    ) -> Result<(Self, Opened), EngineError> {
        let log = &log.into();
        let mut opened = Opened::default();
        // What is written to a store of objects is durable when the writing ends.
        let disk = if settings.data.is_remote() { Objects::beside(disk) } else { disk };
        if settings.catalog.is_shared() {
            // A catalog elsewhere is never moved aside, whatever is wrong with it.
            return Ok((Self::open_checked(settings, schema, &disk, log, &mut opened)?, opened));
        }
        let catalog = folders::duck_catalog(settings);
        let others = [
            (folders::sqlite_catalog(settings), "backend = \"lite\""),
            (folders::catalog(settings), "catalog = \"duckdb\""),
            (folders::duck_sqlite(settings), "catalog = \"sqlite\""),
        ];
        let there = damage::is_there(&catalog)?;
        if let (false, Some((found, setting))) = (there, others.into_iter().find(|(other, _)| other.exists())) {
            return Err(EngineError::OtherStore { found, setting });
        }
        if !there && damage::has_files(&folders::files(settings)) {
            damage::set_aside(settings, disk.as_ref())?;
            opened.fresh = Some("it is missing".to_owned());
        }
        let mut tried = Self::open_checked(settings, schema, &disk, log, &mut opened);
        for _ in 0..TORN_ENTRIES {
            let Some(at) = tried.as_ref().err().and_then(EngineError::torn_at) else { break };
            lake::cut_log(settings, disk.as_ref(), at)?;
            opened = Opened::default();
            tried = Self::open_checked(settings, schema, &disk, log, &mut opened);
        }
        if tried.as_ref().is_err_and(EngineError::catalog_is_broken) {
            // What is damaged is damaged when it is read again.
            damage::confirm(settings, disk.as_ref())?;
            opened = Opened { fresh: opened.fresh, ..Opened::default() };
            tried = Self::open_checked(settings, schema, &disk, log, &mut opened);
        }
        match tried {
            Ok(store) => Ok((store, opened)),
            Err(error) if error.catalog_is_broken() => {
                damage::set_aside(settings, disk.as_ref())?;
                opened = Opened { fresh: Some(error.to_string()), ..Opened::default() };
                Ok((Self::open_checked(settings, schema, &disk, log, &mut opened)?, opened))
            }
            Err(error) => Err(error),
        }
    }

    fn open_checked(
        settings: &Settings,
        schema: &Schema,
        disk: &SharedDisk,
        log: &Identity,
        opened: &mut Opened,
    ) -> Result<Self, EngineError> {
        let files = folders::files(settings);
        let mut own = Own::of(settings);
        let mut conn = lake::open(settings)?;
        if !own.is_shared() {
            catalog::read_everything(&conn)?;
            opened.damage = verify::check(&conn, settings, disk.as_ref())?;
            opened.orphans = verify::remove_orphans(&conn, settings, &files, disk.as_ref())?;
        }
        fit::set_options(&conn)?;
        let remembered = Remembered::read(&settings.lake);
        let fitted =
            schema.tables.iter().map(|table| fit::fit(&conn, table, &own, &remembered)).collect::<Result<Vec<_>, _>>()?;
        let fits = |name: &str| schema.tables.iter().zip(&fitted).any(|(table, fitted)| table.name == name && fitted.is_ok());
        remembered.note(&settings.lake, disk.as_ref(), schema, fits).map_err(EngineError::io("remembering the schema"))?;
        let translated = statistics::translate(&conn)?;
        if translated || fitted.iter().any(|fitted| fitted.as_ref().is_ok_and(|fitted| fitted.widened)) {
            // DuckLake 1.0 goes on with the statistics that it has read of the narrower column, and the next batch overwrites what
            // the older files count for: wrong answers, not only slow ones (seen: 1 sorted as 257).
            drop(conn);
            conn = lake::open(settings)?;
        }
        own.note_widened(&conn)?;
        let mut tables = Vec::new();
        let mut usable = Vec::new();
        for (table, fitted) in schema.tables.iter().zip(fitted) {
            let place = match fitted {
                Ok(fitted) => {
                    let rows_in_lake = catalog::live_rows(&conn, &own, fitted.stored.id)?;
                    let (stored, tail) = (fitted.stored, Tail::new(table.clone()));
                    let batches = tail::Batches::default();
                    usable.push(LakeTable { table: table.clone(), stored, tail, batches, rows_in_lake });
                    Ok(usable.len() - 1)
                }
                Err(reason) => Err(reason),
            };
            tables.push((table.name.clone(), place));
        }
        let covered = catalog::covered(&conn, &own, None)?;
        opened.beyond = covered.beyond(log);
        let covered = covered.place_in(log);
        lake::lock_down(&conn, settings)?;
        sync_lake(disk.as_ref(), &settings.lake)?;
        Ok(Self {
            conn,
            disk: disk.clone(),
            lake: settings.lake.clone(),
            files,
            tables,
            usable,
            log_id: log.log_id(),
            log: log.clone(),
            covered,
            in_use: Arc::new(()),
            running: Running::default(),
            settings: settings.clone(),
            own,
            tidy: Tidy::default(),
        })
    }

    fn place(&self, table: &str) -> Result<usize, CallError> {
        match self.tables.iter().find(|(name, _)| name == table) {
            Some((_, Ok(place))) => Ok(*place),
            Some((_, Err(reason))) => Err(CallError::exception(format!("table {table} is not available: {reason}"))),
            None => Err(CallError::exception(format!("there is no table {table}"))),
        }
    }

    /// The first half of a batch: files that are safely on the disk and that nobody knows yet.
    pub(super) fn prepare(&mut self, upto: Seq) -> Result<Vec<batch::NewFile>, EngineError> {
        let free = self.disk.free_bytes(&self.lake).unwrap_or(u64::MAX);
        if free < self.settings.reserve / 2 {
            return Err(EngineError::NoRoom { free, reserve: self.settings.reserve / 2 });
        }
        for table in &mut self.usable {
            tail::settle(table)?;
        }
        let written =
            batch::write_files(&self.conn, self.disk.as_ref(), &self.files, &self.usable, (&self.own, self.covering(upto)))?;
        if let Err(error) = batch::sync_files(self.disk.as_ref(), &written) {
            batch::discard(self.disk.as_ref(), &written);
            return Err(error);
        }
        Ok(written)
    }

    /// The second half: the catalog learns of the files, the tail forgets.
    pub(super) fn commit(&mut self, prepared: &[batch::NewFile], upto: Seq) -> Result<(), EngineError> {
        let covering = (&self.own, self.covering(upto));
        batch::register(&self.conn, self.disk.as_ref(), &self.files, &self.usable, prepared, covering)?;
        sync_lake(self.disk.as_ref(), &self.lake)?;
        self.covered = upto;
        for table in self.usable.iter_mut().filter(|table| table.tail.len() > 0) {
            tail::clear(table);
        }
        // For the status alone: the batch is done, whatever becomes of this.
        self.count_rows();
        Ok(())
    }

    /// How many rows each table has in the lake; what cannot be read now stays as it was.
    fn count_rows(&mut self) {
        match catalog::live_rows_of_all(&self.conn, &self.own) {
            Ok(rows) => {
                for table in &mut self.usable {
                    table.rows_in_lake = rows.get(&table.stored.id).copied().unwrap_or(0);
                }
            }
            Err(error) => log::debug!(error:%; "the rows in the lake are not counted now"),
        }
    }

    /// A view of `table` as it is now, or as it was `at_us` (microseconds since 1970).
    pub(super) fn pinned(&mut self, table: &str, at_us: Option<i64>) -> Result<Result<Pinned, CallError>, EngineError> {
        let place = match self.place(table) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let running = self.running.clone();
        match running.with_memory(|| self.pin_once(place, at_us)) {
            // It is one view that there is no memory for, not the lake that is wrong.
            Err(error) if error.is_out_of_memory() => {
                Ok(Err(CallError::exception("there is no memory for a query at present (`[history] memory_limit`); try again")))
            }
            done => done,
        }
    }

    fn pin_once(&mut self, place: usize, at_us: Option<i64>) -> Result<Result<Pinned, CallError>, EngineError> {
        let table = self.usable.get_mut(place).expect("places point into the usable tables");
        tail::settle(table)?;
        let tail = if table.tail.len() > 0 { Some(Shown::new(table)?) } else { None };
        let source = tail.as_ref().map(Shown::source);
        let relation = match at_us {
            None => relation::now(&table.table, &self.own, source.as_deref()),
            Some(at_us) => match past::then(&self.conn, &self.own, table, source.as_deref(), at_us, self.log_id)? {
                Some(relation) => relation,
                None => {
                    let text = format!("No snapshot found at timestamp {}", past::show_time(at_us));
                    return Ok(Err(CallError::exception(text)));
                }
            },
        };
        let conn = self.conn.try_clone().map_err(EngineError::sql("connecting"))?;
        let name = ident(&table.table.name);
        // A transaction pins a database when it first touches it, so it is touched before anything can change.
        let begun = conn
            .execute_batch(&format!("BEGIN TRANSACTION; FROM {LAKE}.{name} LIMIT 0;"))
            .map_err(EngineError::sql("pinning a view"));
        // From here on the connection ends as it should, whatever has failed.
        let pinned = Pinned::new(conn, relation, tail, self.running.clone(), self.in_use.clone());
        begun.map(|()| Ok(pinned))
    }

    /// The schema's tables that the lake can hold.
    #[cfg(test)]
    pub(super) fn usable(&self) -> &[LakeTable] {
        &self.usable
    }

    /// Queries that were ended because the engine needed their memory.
    #[cfg(test)]
    pub(super) fn ended_for_memory(&self) -> u64 {
        self.running.ended_for_memory()
    }

    fn covering(&self, upto: Seq) -> Covered {
        Covered::of(&self.log, upto)
    }
}

impl Store for Lake {
    fn covered(&self) -> Seq {
        self.covered
    }

    fn restate(&mut self, last: Seq) -> Result<(), EngineError> {
        catalog::restate_covered(&self.conn, &self.own, self.covering(last))?;
        self.covered = last;
        Ok(())
    }

    fn figures(&self) -> Vec<TableFigures<'_>> {
        let tables = self.usable.iter();
        tables
            .map(|table| TableFigures {
                name: table.table.name.as_str(),
                rows_in_lake: table.rows_in_lake,
                rows_in_tail: table.tail.len() as u64,
            })
            .collect()
    }

    fn refused(&self) -> Vec<(&str, &str)> {
        self.tables.iter().filter_map(|(name, place)| Some((name.as_str(), place.as_ref().err()?.as_str()))).collect()
    }

    fn tail_rows(&self) -> usize {
        self.usable.iter().map(|table| table.tail.len()).sum()
    }

    fn tail_bytes(&self) -> usize {
        self.usable.iter().map(|table| table.tail.bytes()).sum()
    }

    fn append(&mut self, table: &str, rows: Vec<Row>, seq: Seq, received_us: i64) -> Result<(), EngineError> {
        let Ok(place) = self.place(table) else { return Ok(()) };
        let Some(table) = self.usable.get_mut(place) else { return Ok(()) };
        for row in rows {
            table.tail.push(row, seq, received_us);
        }
        if tail::is_heavy(&table.tail) { tail::settle(table) } else { Ok(()) }
    }

    fn batch(&mut self, upto: Seq) -> Result<(), BatchError> {
        let running = self.running.clone();
        let prepared = match running.with_memory(|| self.prepare(upto)) {
            Ok(prepared) => prepared,
            // What is above the lake is not what the log gave: it is made anew from there.
            Err(error @ EngineError::NotAsOwed { .. }) => return Err(BatchError::Reopen(error)),
            Err(error) => return Err(BatchError::Again(error)),
        };
        match running.with_memory(|| self.commit(&prepared, upto)) {
            Ok(()) => Ok(()),
            Err(error) if error.is_out_of_memory() => {
                batch::discard(self.disk.as_ref(), &prepared);
                Err(BatchError::Again(error))
            }
            Err(error) => Err(BatchError::Reopen(error)),
        }
    }

    fn delete(&mut self, table: &str, predicate: &Predicate, seq: Seq, only: Option<(Seq, Seq)>) -> Result<(), DeleteError> {
        let place = self.place(table).map_err(DeleteError::Refused)?;
        let covered = self.covering(seq);
        let Some(table) = self.usable.get_mut(place) else { return Ok(()) };
        assert_eq!(table.tail.len(), 0, "a batch empties the tail before a deletion");
        let name = ident(&table.table.name);
        let (sql, cells) = predicate.render();
        let only = only.map(|(first, last)| format!(" AND _seq BETWEEN {first} AND {last}")).unwrap_or_default();
        let only = only + &self.own.and("");
        let statement = if table.table.columns.iter().any(|column| stored_as_text(column.kind)) {
            format!(
                "DELETE FROM {LAKE}.{name} WHERE rowid IN (SELECT _row FROM {} WHERE {sql}){only}",
                relation::stored_with_rowid(&table.table, &self.own)
            )
        } else {
            format!("DELETE FROM {LAKE}.{name} AS {name} WHERE ({sql}){only}")
        };
        let folder = self.files.join(&table.stored.folder);
        let (mut refused, mut undone) = (None, false);
        let done = batch::transaction(&self.conn, || {
            batch::synced(self.disk.as_ref(), &folder, || {
                self.conn.execute(&statement, params_from_iter(cells.into_iter().map(value))).map_err(|source| {
                    refused = EngineError::is_of_statement(&source).then(|| source.to_string());
                    undone = refused.is_none();
                    EngineError::Sql { doing: "deleting rows", source }
                })
            })?;
            self.conn
                .execute_batch(&catalog::set_covered(&self.own, covered))
                .map_err(EngineError::sql("storing what is covered"))
        });
        match (done, refused) {
            (Ok(()), _) => {
                sync_lake(self.disk.as_ref(), &self.lake).map_err(DeleteError::Reopen)?;
                self.covered = self.covered.max(seq);
                table.rows_in_lake = catalog::live_rows(&self.conn, &self.own, table.stored.id).map_err(DeleteError::Reopen)?;
                Ok(())
            }
            // The statement itself failed, a cast for example: the caller's affair. The transaction is undone.
            (Err(_), Some(text)) => {
                let first = text.lines().next().unwrap_or_default();
                Err(DeleteError::Refused(CallError::exception(first.chars().take(300).collect::<String>())))
            }
            (Err(error), None) if undone => Err(DeleteError::Again(error)),
            (Err(error), None) => Err(DeleteError::Reopen(error)),
        }
    }

    fn restamp(&mut self, from: Seq, delta_us: i64, seq: Seq) -> Result<(), EngineError> {
        let covered = self.covering(seq);
        for table in &mut self.usable {
            assert_eq!(table.tail.len(), 0, "a batch empties the tail before times are corrected");
        }
        batch::transaction(&self.conn, || {
            for table in &self.usable {
                let statement = relation::restamp(&table.table, &self.own, from, seq, delta_us);
                let folder = self.files.join(&table.stored.folder);
                batch::synced(self.disk.as_ref(), &folder, || {
                    self.conn.execute_batch(&statement).map_err(EngineError::sql("correcting the times of rows"))
                })?;
            }
            self.conn
                .execute_batch(&catalog::set_covered(&self.own, covered))
                .map_err(EngineError::sql("storing what is covered"))
        })?;
        sync_lake(self.disk.as_ref(), &self.lake)?;
        self.covered = self.covered.max(seq);
        Ok(())
    }

    fn sequences(&mut self, table: &str, (first, last): (Seq, Seq)) -> Result<Vec<u64>, EngineError> {
        let doing = "looking for records that the lake has";
        let sql = format!(
            "SELECT DISTINCT _seq FROM {LAKE}.{} WHERE _seq BETWEEN {first} AND {last}{}",
            ident(table),
            self.own.and("")
        );
        let mut statement = self.conn.prepare(&sql).map_err(EngineError::sql(doing))?;
        let found = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
        found.map_err(EngineError::sql(doing))
    }

    fn pin(&mut self, table: &str, at_us: Option<i64>) -> Result<Result<Box<dyn View>, CallError>, EngineError> {
        Ok(self.pinned(table, at_us)?.map(|pinned| Box::new(pinned) as Box<dyn View>))
    }

    // The lock on the catalog file is the process's, so a second opening would succeed and destroy it.
    fn in_use(&self) -> bool {
        self.running.retry();
        Arc::strong_count(&self.in_use) > 1
    }

    fn upkeep(&mut self, now: Wall) -> Result<Upkeep, EngineError> {
        let mut place = upkeep::Place {
            covered: Covered::of(&self.log, self.covered),
            conn: &self.conn,
            disk: &self.disk,
            settings: &self.settings,
            files: &self.files,
            tables: &mut self.usable,
            own: &self.own,
            in_use: &self.in_use,
            running: &self.running,
        };
        self.tidy.step(&mut place, now)
    }

    fn make_room(&mut self) -> Result<Option<Freed>, EngineError> {
        let mut place = upkeep::Place {
            covered: Covered::of(&self.log, self.covered),
            conn: &self.conn,
            disk: &self.disk,
            settings: &self.settings,
            files: &self.files,
            tables: &mut self.usable,
            own: &self.own,
            in_use: &self.in_use,
            running: &self.running,
        };
        upkeep::evict::step(&mut place)
    }

    fn tidied(&self) -> Tidied {
        self.tidy.done()
    }

    fn named(&self) -> Result<Vec<Named>, EngineError> {
        // What others wrote is theirs to look after, and objects are.
        let elsewhere = self.settings.data.is_remote() || self.settings.catalog.is_shared();
        if elsewhere { Ok(Vec::new()) } else { verify::named(&self.conn, &self.files) }
    }

    fn decodes(&self, path: &Path) -> Result<u64, String> {
        verify::decodes(&self.conn, path)
    }

    fn set_aside(&mut self, bad: &[damage::Bad]) -> Result<Vec<damage::Damage>, EngineError> {
        verify::set_aside(&self.conn, &self.settings, self.disk.as_ref(), bad)
    }

    fn suspects(&mut self) -> Vec<String> {
        self.tidy.suspects()
    }

    fn copy_catalog(&self, to: &Path) -> Result<Vec<Named>, EngineError> {
        lake::copy_catalog(&self.conn, &self.settings, to)?;
        verify::named(&self.conn, &self.files)
    }

    fn hold(&self) -> Arc<()> {
        self.in_use.clone()
    }

    fn checkpoint(&self) -> Result<(), EngineError> {
        // The catalog's own log goes into the catalog.
        self.conn.execute_batch("CHECKPOINT __ducklake_metadata_lake").map_err(EngineError::sql("checkpointing the catalog"))
    }
}

/// DuckDB syncs its catalog and the log beside it, but not the folder in which it made them.
fn sync_lake(disk: &dyn Disk, lake: &Path) -> Result<(), EngineError> {
    disk.sync_dir(lake).map_err(EngineError::io("syncing the lake's folder"))
}
