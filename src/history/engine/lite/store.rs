//! The lake and what is above it: takes rows and deletions in the order of the log, and gives views to queries.

use super::super::covered::Covered;
use super::super::error::EngineError;
use super::super::hold::Named;
use super::super::store::{self, BatchError, DeleteError, Freed, Opened, Store, TableFigures, Upkeep};
use super::super::tail::Tail;
use super::super::{damage, folders, sums};
use super::catalog::{Catalog, Failed};
use super::change::{self, Change};
use super::files;
use super::read::{self, Wanted, scan, want};
use super::restamp::{self, Correction};
use super::rows::Rows;
use super::schema;
use super::statistics;
use super::table::{LOOSE_ROWS, LakeTable};
use super::upkeep::{self, Tidy};
use super::verify;
use super::view::{Later, Part, View};
use crate::clock::{SharedClock, SystemClock, Wall};
use crate::disk::SharedDisk;
use crate::history::evolution::Remembered;
use crate::history::model::{CallError, Row, Schema};
use crate::history::row::timestamp_text;
use crate::history::settings::Settings;
use crate::history::sql::Predicate;
use crate::history::sql::eval::Bounds;
use crate::history::status::Tidied;
use crate::message::Seq;
use crate::wal::Identity;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(in crate::history::engine) struct Lite {
    pub(super) catalog: Catalog,
    pub(super) disk: SharedDisk,
    pub(super) clock: SharedClock,
    pub(super) files: PathBuf,
    lake: PathBuf,
    /// In schema order. A table that the lake cannot hold is here as the reason why.
    tables: Vec<(String, Result<usize, String>)>,
    pub(super) usable: Vec<LakeTable>,
    log_id: u64,
    log: Identity,
    covered: Seq,
    pub(super) tidy: Tidy,
    settings: Arc<Settings>,
    in_use: Arc<()>,
}

impl Lite {
    pub(in crate::history::engine) fn open(
        settings: &Settings,
        schema: &Schema,
        disk: SharedDisk,
        log: impl Into<Identity>,
    ) -> Result<(Self, Opened), EngineError> {
        let log = &log.into();
        let mut opened = Opened::default();
        let catalog = folders::sqlite_catalog(settings);
        let others = [folders::catalog(settings), folders::duck_sqlite(settings)];
        let there = damage::is_there(&catalog)?;
        if let (false, Some(found)) = (there, others.into_iter().find(|other| other.exists())) {
            return Err(EngineError::OtherStore { found, setting: "backend = \"duckdb\"" });
        }
        if !there && damage::has_files(&folders::files(settings)) {
            damage::set_aside(settings, disk.as_ref())?;
            opened.fresh = Some("it is missing".to_owned());
        }
        let mut tried = Self::open_checked(settings, schema, &disk, log, &mut opened);
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
        disk.create_dir_all(&files).map_err(EngineError::io("creating the lake's folders"))?;
        let clock = SystemClock::shared();
        let now_us = now_us(&clock);
        let mut catalog = Catalog::open(&folders::sqlite_catalog(settings), &format!("{}/", files.display()), now_us)?;
        opened.damage = verify::check(&mut catalog, settings, disk.as_ref())?;
        opened.orphans = verify::remove_orphans(&catalog.conn, settings, &files, disk.as_ref())?;
        let remembered = Remembered::read(&settings.lake);
        let (mut tables, mut usable) = (Vec::new(), Vec::new());
        for table in &schema.tables {
            let fitted = match remembered.keys_conflict(table).filter(|_| schema::knows(&catalog.conn, table)) {
                Some(reason) => Err(reason),
                None => schema::fit(&mut catalog, table, now_us)?,
            };
            let place = match fitted {
                Ok(stored) => {
                    statistics::translate(&mut catalog.conn)?;
                    let stored = Arc::new(stored);
                    let live = files::at(&catalog.conn, &stored, &files, catalog.newest()?)?;
                    usable.push(LakeTable {
                        table: table.clone(),
                        stored,
                        tail: Tail::new(table.clone()),
                        packed: Vec::new(),
                        seen: None,
                        files: Arc::new(live),
                    });
                    Ok(usable.len() - 1)
                }
                Err(reason) => Err(reason),
            };
            tables.push((table.name.clone(), place));
        }
        let fits =
            |name: &str| tables.iter().any(|(known, place): &(String, Result<usize, String>)| known == name && place.is_ok());
        remembered.note(&settings.lake, disk.as_ref(), schema, fits).map_err(EngineError::io("remembering the schema"))?;
        let covered = catalog.covered(None)?;
        opened.beyond = covered.beyond(log);
        let covered = covered.place_in(log);
        let disk = sums::Checking::beside(disk.clone(), settings);
        let (lake, in_use) = (settings.lake.clone(), Arc::new(()));
        let settings = Arc::new(settings.clone());
        disk.sync_dir(&lake).map_err(EngineError::io("syncing the lake's folder"))?;
        let (log_id, log) = (log.log_id(), log.clone());
        Ok(Self {
            catalog,
            disk,
            clock,
            files,
            lake,
            tables,
            usable,
            log_id,
            log,
            covered,
            tidy: Tidy::default(),
            settings,
            in_use,
        })
    }

    fn place(&self, table: &str) -> Result<usize, CallError> {
        match self.tables.iter().find(|(name, _)| name == table) {
            Some((_, Ok(place))) => Ok(*place),
            Some((_, Err(reason))) => Err(CallError::exception(format!("table {table} is not available: {reason}"))),
            None => Err(CallError::exception(format!("there is no table {table}"))),
        }
    }

    pub(super) fn log_id(&self) -> u64 {
        self.log_id
    }

    pub(super) fn now_us(&self) -> i64 {
        now_us(&self.clock)
    }

    pub(super) fn covering(&self, upto: Seq) -> Covered {
        Covered::of(&self.log, upto)
    }

    /// The first half of a batch: files that are safely on the disk and that nobody knows yet.
    pub(super) fn prepare(&mut self, upto: Seq) -> Result<Vec<Change>, EngineError> {
        let free = self.disk.free_bytes(&self.lake).unwrap_or(u64::MAX);
        if free < self.settings.reserve / 2 {
            return Err(EngineError::NoRoom { free, reserve: self.settings.reserve / 2 });
        }
        let name = folders::batch_name(self.log_id, upto.0);
        let mut changes = Vec::new();
        for (place, table) in self.usable.iter_mut().enumerate().filter(|(_, table)| table.tail.len() > 0) {
            let done = table.settle().and_then(|()| change::of_batch(&self.disk, &self.files, table, place, &name));
            match done {
                Ok(change) => changes.push(change),
                Err(error) => {
                    change::discard(self.disk.as_ref(), &changes);
                    return Err(error);
                }
            }
        }
        Ok(changes)
    }

    /// The second half: the catalog learns of the files, the tail forgets.
    pub(super) fn commit(&mut self, changes: &[Change], upto: Seq) -> Result<(), Failed> {
        let covered = self.covering(upto);
        self.register(changes, Some(covered))?;
        self.covered = upto;
        for table in self.usable.iter_mut().filter(|table| table.tail.len() > 0) {
            table.tail.clear();
            table.packed.clear();
            table.seen = None;
        }
        Ok(())
    }

    /// One transaction for all changes; afterwards the tables know their files anew.
    pub(super) fn register(&mut self, changes: &[Change], covered: Option<Covered>) -> Result<(), Failed> {
        let (usable, now_us) = (&self.usable, now_us(&self.clock));
        self.catalog.commit(now_us, covered, |transaction, snapshot| {
            changes.iter().try_for_each(|change| {
                let Some(table) = usable.get(change.place()) else { return Ok(()) };
                change.register(transaction, snapshot, &table.stored)
            })
        })?;
        let mut places = changes.iter().map(Change::place).collect::<Vec<_>>();
        places.dedup();
        self.refresh(&places).map_err(Failed::Unknown)
    }

    pub(super) fn refresh(&mut self, places: &[usize]) -> Result<(), EngineError> {
        self.disk.sync_dir(&self.lake).map_err(EngineError::io("syncing the lake's folder"))?;
        let newest = self.catalog.newest()?;
        for place in places {
            if let Some(table) = self.usable.get_mut(*place) {
                table.files = Arc::new(files::at(&self.catalog.conn, &table.stored, &self.files, newest)?);
            }
        }
        Ok(())
    }

    /// The parts for a look into the past; `None` if there was nothing yet.
    fn parts_then(&mut self, place: usize, at_us: i64) -> Result<Option<Vec<Part>>, EngineError> {
        let Some(version) = self.catalog.in_force(at_us)? else { return Ok(None) };
        let newest = self.catalog.newest()?;
        let table = self.usable.get_mut(place).expect("places point into the usable tables");
        if !schema::existed(&self.catalog.conn, table.stored.id, version)? {
            return Ok(None);
        }
        // Later than everything there is: that is now.
        if version == newest && table.tail.newest_us() <= at_us {
            return Ok(Some(table.parts_now()));
        }
        let files = Arc::new(files::at(&self.catalog.conn, &table.stored, &self.files, version)?);
        let mut parts = vec![Part::Files { files, version: Some(version), only: None }];
        // A keyed table does not say which of its rows replaced which, so it is seen as of its last batch. Neither do sequence
        // numbers of a log that was lost say anything about those of the present one.
        if table.table.keys.is_empty() && self.catalog.knows_no_other_log(self.log_id)? {
            let above = self.catalog.covered(Some(version))?.log_seq.cast_signed();
            let only = Some(Later { above, received_until: at_us });
            parts.push(Part::Files { files: table.files.clone(), version: None, only });
            parts.push(Part::Tail { rows: table.tail_rows(), received_until: Some(at_us) });
        }
        Ok(Some(parts))
    }
}

fn now_us(clock: &SharedClock) -> i64 {
    i64::try_from(clock.wall().0 / 1000).unwrap_or(i64::MAX)
}

impl Store for Lite {
    fn covered(&self) -> Seq {
        self.covered
    }

    fn restate(&mut self, last: Seq) -> Result<(), EngineError> {
        let covered = self.covering(last);
        if !self.catalog.restate_covered(covered)? {
            self.register(&[], Some(covered)).map_err(Failed::into_error)?;
        }
        self.covered = last;
        Ok(())
    }

    fn figures(&self) -> Vec<TableFigures<'_>> {
        let tables = self.usable.iter();
        tables
            .map(|table| TableFigures {
                name: table.table.name.as_str(),
                rows_in_lake: table.rows_in_lake(),
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
        if !table.tail.keyed() && table.tail.rows().len() >= LOOSE_ROWS { table.settle() } else { Ok(()) }
    }

    fn batch(&mut self, upto: Seq) -> Result<(), BatchError> {
        let changes = self.prepare(upto).map_err(BatchError::Again)?;
        self.commit(&changes, upto).map_err(|failed| match failed {
            Failed::Undone(error) => {
                change::discard(self.disk.as_ref(), &changes);
                BatchError::Again(error)
            }
            Failed::Unknown(error) => BatchError::Reopen(error),
        })
    }

    fn delete(&mut self, table: &str, predicate: &Predicate, seq: Seq, only: Option<(Seq, Seq)>) -> Result<(), DeleteError> {
        let place = self.place(table).map_err(DeleteError::Refused)?;
        let covered = self.covering(seq);
        let Some(table) = self.usable.get(place) else { return Ok(()) };
        assert_eq!(table.tail.len(), 0, "a batch empties the tail before a deletion");
        let change = change::of_deletion(&self.disk, &self.files, table, place, (predicate, only))?;
        match self.register(std::slice::from_ref(&change), Some(covered)) {
            Ok(()) => {
                self.covered = self.covered.max(seq);
                Ok(())
            }
            Err(Failed::Undone(error)) => {
                change::discard(self.disk.as_ref(), std::slice::from_ref(&change));
                Err(DeleteError::Again(error))
            }
            Err(Failed::Unknown(error)) => Err(DeleteError::Reopen(error)),
        }
    }

    fn restamp(&mut self, from: Seq, delta_us: i64, seq: Seq) -> Result<(), EngineError> {
        for table in &self.usable {
            assert_eq!(table.tail.len(), 0, "a batch empties the tail before times are corrected");
        }
        let covered = self.covering(seq);
        let changes = restamp::changes(self, Correction { from, before: seq, delta_us })?;
        self.register(&changes, Some(covered)).map_err(|failed| {
            if let Failed::Undone(_) = &failed {
                change::discard(self.disk.as_ref(), &changes);
            }
            failed.into_error()
        })?;
        self.covered = self.covered.max(seq);
        Ok(())
    }

    fn sequences(&mut self, table: &str, (first, last): (Seq, Seq)) -> Result<Vec<u64>, EngineError> {
        let Some(table) = self.usable.iter().find(|known| known.table.name == table) else { return Ok(Vec::new()) };
        let seq = table.table.columns.len();
        let mut columns = vec![false; table.stored.columns.len()];
        want(&mut columns, &[seq]);
        let bounds = Bounds::between(seq, first.0, last.0);
        let wanted = Wanted { columns: &columns, bounds: &bounds, version: None };
        let mut found = BTreeSet::new();
        for file in table.files.iter().filter(|file| bounds.allow(|place| file.range(place))) {
            scan(self.disk.as_ref(), file, &table.stored, &wanted, |rows: &Rows, at, _| -> Result<bool, EngineError> {
                found.extend(Some(rows.hidden(seq, at).cast_unsigned()).filter(|seq| (first.0..=last.0).contains(seq)));
                Ok(true)
            })?;
        }
        Ok(found.into_iter().collect())
    }

    fn pin(&mut self, table: &str, at_us: Option<i64>) -> Result<Result<Box<dyn store::View>, CallError>, EngineError> {
        let place = match self.place(table) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let table = self.usable.get_mut(place).expect("places point into the usable tables");
        table.settle()?;
        let (known, stored) = (table.table.clone(), table.stored.clone());
        let parts = match at_us {
            None => table.parts_now(),
            Some(at_us) => match self.parts_then(place, at_us)? {
                Some(parts) => parts,
                None => {
                    let time = timestamp_text(at_us);
                    return Ok(Err(CallError::exception(format!("No snapshot found at timestamp {time}"))));
                }
            },
        };
        Ok(Ok(Box::new(View {
            table: known,
            stored,
            disk: self.disk.clone(),
            parts,
            stop: Arc::default(),
            _in_use: self.in_use.clone(),
        })))
    }

    fn in_use(&self) -> bool {
        Arc::strong_count(&self.in_use) > 1
    }

    fn upkeep(&mut self, now: Wall) -> Result<Upkeep, EngineError> {
        let settings = self.settings.clone();
        upkeep::step(self, &settings, now)
    }

    fn make_room(&mut self) -> Result<Option<Freed>, EngineError> {
        let settings = self.settings.clone();
        upkeep::evict::step(self, &settings)
    }

    fn tidied(&self) -> Tidied {
        self.tidy.done
    }

    fn named(&self) -> Result<Vec<Named>, EngineError> {
        verify::named(&self.catalog.conn, &self.files)
    }

    fn decodes(&self, path: &Path) -> Result<u64, String> {
        read::decodes(self.disk.as_ref(), path)
    }

    fn set_aside(&mut self, bad: &[damage::Bad]) -> Result<Vec<damage::Damage>, EngineError> {
        verify::set_aside(&self.catalog.conn, &self.settings, self.disk.as_ref(), bad)
    }

    fn suspects(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tidy.suspects)
    }

    fn copy_catalog(&self, to: &Path) -> Result<Vec<Named>, EngineError> {
        self.catalog.copy(&to.join("catalog.sqlite"))?;
        verify::named(&self.catalog.conn, &self.files)
    }

    fn hold(&self) -> Arc<()> {
        self.in_use.clone()
    }

    fn checkpoint(&self) -> Result<(), EngineError> {
        self.catalog.checkpoint()
    }
}
