//! Corrects receive times once the time is known.
//!
//! Files stay as they are: the rows of the records in question are deleted from them and written anew with the right times, file by
//! file. All of that is one snapshot, which also says that the correction is covered, so it happens once, or not at all.

use super::change::{self, Change};
use super::files::DataFile;
use super::read::{Wanted, scan};
use super::rows::Rows;
use super::schema::{Stored, whole};
use super::store::Lite;
use super::write::DataWriter;
use crate::history::engine::arrow;
use crate::history::engine::error::EngineError;
use crate::history::engine::folders;
use crate::history::model::{Cell, ColumnSource};
use crate::history::sql::eval::{Bounds, Fields};
use crate::message::Seq;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// Rows that are put together at once.
const CHUNK: usize = 4096;

/// What is corrected: records from `from` up to the one before `before`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correction {
    pub(super) from: Seq,
    pub(super) before: Seq,
    pub(super) delta_us: i64,
}

impl Correction {
    fn hits(self, seq: i64) -> bool {
        (self.from.0..self.before.0).contains(&seq.cast_unsigned())
    }

    fn later(self, cell: &mut Cell) {
        match cell {
            Cell::Timestamp(at_us) => *at_us = at_us.saturating_add(self.delta_us),
            // `recv_ts`, nanoseconds since 1970.
            Cell::Integer(at_ns) => *at_ns = (*at_ns + i128::from(self.delta_us) * 1000).clamp(0, u64::MAX.into()),
            _ => {}
        }
    }
}

/// A table's columns as the lake has them, and which of those a correction is about.
struct Layout {
    stored: Arc<Stored>,
    seq: usize,
    times: Vec<usize>,
}

/// What corrects every table: files that are safely on the disk and that nobody knows yet.
pub(super) fn changes(lake: &mut Lite, correction: Correction) -> Result<Vec<Change>, EngineError> {
    let mut changes = Vec::new();
    for place in 0..lake.usable.len() {
        if let Err(error) = of_table(lake, place, correction, &mut changes) {
            change::discard(lake.disk.as_ref(), &changes);
            return Err(error);
        }
    }
    Ok(changes)
}

fn of_table(lake: &mut Lite, place: usize, correction: Correction, changes: &mut Vec<Change>) -> Result<(), EngineError> {
    let Some(table) = lake.usable.get(place) else { return Ok(()) };
    let seq = table.table.columns.len();
    let bounds = Bounds::between(seq, correction.from.0, correction.before.0.saturating_sub(1));
    let files: Vec<_> = table.files.iter().filter(|file| bounds.allow(|place| file.range(place))).cloned().collect();
    if files.is_empty() {
        return Ok(());
    }
    let Some(layout) = layout(lake, place)? else {
        let table = lake.usable.get(place).map(|table| table.table.name.clone());
        log::warn!(table; "another program gave this table a column that the gateway does not know: its rows keep their times");
        return Ok(());
    };
    let folder = lake.files.join(&layout.stored.folder);
    let before = changes.len();
    for file in &files {
        let path = folder.join(folders::batch_name(lake.log_id(), correction.before.0));
        let mut change = Change::new(place);
        let done = of_file(lake, file, &layout, correction, (&folder, &path), &mut change);
        if let Err(error) = done {
            change::discard(lake.disk.as_ref(), &[change]);
            change::remove(lake.disk.as_ref(), &path);
            return Err(error);
        }
        if change.has_data() {
            changes.push(change);
        }
    }
    if changes.len() > before {
        lake.disk.sync_dir(&folder).map_err(EngineError::io("syncing a table's folder"))?;
    }
    Ok(())
}

/// `None` if the lake's table has columns of a type that only others use.
fn layout(lake: &Lite, place: usize) -> Result<Option<Layout>, EngineError> {
    let table = lake.usable.get(place).expect("asked for by its place");
    let Some(stored) = whole(&lake.catalog.conn, &table.stored)? else { return Ok(None) };
    let own = &table.table.columns;
    let is_time =
        |place: usize| own.get(place).map_or(place == own.len() + 1, |column| column.source == ColumnSource::ReceiveTime);
    let known = table.stored.columns.iter().enumerate();
    let ids: HashSet<i64> = known.filter(|(place, _)| is_time(*place)).map(|(_, column)| column.id).collect();
    let seq_id = table.stored.columns.get(own.len()).map(|column| column.id);
    let seq = stored.columns.iter().position(|column| Some(column.id) == seq_id);
    let seq = seq.ok_or_else(|| EngineError::Catalog(format!("table {} has no `_seq`", table.table.name)))?;
    let times = stored.columns.iter().enumerate().filter(|(_, column)| ids.contains(&column.id)).map(|(place, _)| place);
    Ok(Some(Layout { times: times.collect(), seq, stored }))
}

fn of_file(
    lake: &Lite,
    file: &Arc<DataFile>,
    layout: &Layout,
    correction: Correction,
    (folder, path): (&Path, &Path),
    change: &mut Change,
) -> Result<(), EngineError> {
    let stored = &layout.stored;
    let types: Vec<_> = stored.columns.iter().map(|column| arrow::data_type(column.kind)).collect();
    let everything = vec![true; stored.columns.len()];
    let bounds = Bounds::between(layout.seq, correction.from.0, correction.before.0.saturating_sub(1));
    let wanted = Wanted { columns: &everything, bounds: &bounds, version: None };
    let mut writer: Option<DataWriter> = None;
    let mut chunk: Vec<Vec<Cell>> = vec![Vec::new(); stored.columns.len()];
    let mut gone = Vec::new();
    scan(lake.disk.as_ref(), file, stored, &wanted, |rows: &Rows, at, position| -> Result<bool, EngineError> {
        if !correction.hits(rows.hidden(layout.seq, at)) {
            return Ok(true);
        }
        gone.push(position);
        let row = rows.at(at);
        for (place, cells) in chunk.iter_mut().enumerate() {
            let mut cell = row.field(place).into_cell();
            if layout.times.contains(&place) {
                correction.later(&mut cell);
            }
            cells.push(cell);
        }
        if chunk.first().is_some_and(|cells| cells.len() >= CHUNK) {
            opened(&mut writer, lake, stored, path, &types)?.add_cells(&mut chunk)?;
        }
        Ok(true)
    })?;
    if gone.is_empty() {
        return Ok(());
    }
    opened(&mut writer, lake, stored, path, &types)?.add_cells(&mut chunk)?;
    if let Some(writer) = writer {
        change.put(writer.finish()?, stored.clone());
    }
    change.delete(&lake.disk, folder, file, gone)?;
    Ok(())
}

/// The file is made when there is a row for it.
fn opened<'a>(
    writer: &'a mut Option<DataWriter>,
    lake: &Lite,
    stored: &Arc<Stored>,
    path: &Path,
    types: &[arrow_schema::DataType],
) -> Result<&'a mut DataWriter, EngineError> {
    Ok(match writer {
        Some(writer) => writer,
        None => writer.insert(DataWriter::create(lake.disk.as_ref(), path.to_path_buf(), stored, types)?),
    })
}
