//! Reads a data file: only the columns that are asked for, only the row groups that can hold a wanted row.

use super::super::error::EngineError;
use super::files::DataFile;
use super::rows::Rows;
use super::schema::Stored;
use crate::disk::{Disk, DiskFile};
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::eval::Bounds;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{ConvertedType, LogicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Rows that are decoded at once.
const BATCH: usize = 2048;
/// Field ids that DuckLake gives to columns of its own.
const SNAPSHOT_ID: i32 = 2_147_483_539;
const DELETED_POSITION: i32 = 2_147_483_645;

/// A file as the `parquet` crate reads it.
#[derive(Debug, Clone)]
struct Source(Arc<dyn DiskFile>);

impl Length for Source {
    fn len(&self) -> u64 {
        self.0.len().unwrap_or(0)
    }
}

impl ChunkReader for Source {
    type T = SourceFrom;

    fn get_read(&self, start: u64) -> Result<SourceFrom, ParquetError> {
        Ok(SourceFrom { file: self.0.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        SourceFrom { file: self.0.clone(), at: start }.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

struct SourceFrom {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Read for SourceFrom {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What a reader wants of a file.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Which columns, by place; the hidden ones after the table's own.
    pub(super) columns: &'a [bool],
    pub(super) bounds: &'a Bounds,
    /// As of this snapshot; `None` is now.
    pub(super) version: Option<i64>,
}

/// Marks columns as wanted.
pub(super) fn want(columns: &mut [bool], places: &[usize]) {
    for place in places {
        if let Some(wanted) = columns.get_mut(*place) {
            *wanted = true;
        }
    }
}

/// Gives every wanted row that is not deleted to `take`, in order: its batch, its place in it, its position in the file. Ends
/// early when `take` says so.
pub(super) fn scan<E: From<EngineError>>(
    disk: &dyn Disk,
    file: &DataFile,
    stored: &Stored,
    wanted: &Wanted<'_>,
    mut take: impl FnMut(&Rows, usize, u64) -> Result<bool, E>,
) -> Result<bool, E> {
    let doing = "reading a data file";
    let source = open(disk, &file.path, doing)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(&source, options).map_err(EngineError::parquet(doing))?;
    let deleted = match &file.deletes {
        Some(deletes) => positions(disk, &deletes.path, file.records)?,
        None => Vec::new(),
    };
    let leaves = leaves(metadata.parquet_schema(), stored);
    let snapshots = wanted.version.filter(|version| file.newest.is_some_and(|newest| newest > *version));
    let mut picked = Vec::new();
    for (place, leaf) in leaves.columns.iter().enumerate() {
        if let (Some(true), Some(leaf)) = (wanted.columns.get(place), leaf) {
            picked.push((place, *leaf));
        }
    }
    let mut mask: Vec<usize> = picked.iter().map(|(_, leaf)| *leaf).collect();
    mask.extend(snapshots.and(leaves.snapshot));
    // The reader gives the columns in the file's order.
    picked.sort_unstable_by_key(|(_, leaf)| *leaf);
    let in_order = |leaf: usize| mask.iter().filter(|other| **other < leaf).count();
    let groups = metadata.metadata().row_groups();
    let mut base = 0;
    for (index, group) in groups.iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let range = |place: usize| {
            let leaf = (*leaves.columns.get(place)?)?;
            let column = stored.columns.get(place)?;
            group_range(group.column(leaf).column_descr(), group.column(leaf).statistics()?, column.kind)
        };
        if wanted.bounds.allow(range) {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(source.clone(), metadata.clone())
                .with_projection(ProjectionMask::leaves(metadata.parquet_schema(), mask.iter().copied()))
                .with_row_groups(vec![index])
                .with_batch_size(BATCH)
                .build()
                .map_err(EngineError::parquet(doing))?;
            let mut position = base;
            for batch in reader {
                let batch = batch.map_err(|error| EngineError::Arrow(error.to_string()))?;
                let rows = columns(&batch, stored, wanted, &leaves, &picked, in_order)?;
                let of_snapshot = snapshots.and(leaves.snapshot).map(|leaf| batch.column(in_order(leaf)).clone());
                for at in 0..rows.len() {
                    let place = usize::try_from(position).unwrap_or(usize::MAX);
                    position += 1;
                    let later = of_snapshot.as_ref().is_some_and(|ids| {
                        ids.as_primitive_opt::<Int64Type>().is_some_and(|ids| Some(ids.value(at)) > wanted.version)
                    });
                    if later || deleted.get(place).copied().unwrap_or(false) {
                        continue;
                    }
                    if !take(&rows, at, place as u64)? {
                        return Ok(false);
                    }
                }
            }
        }
        base += rows;
    }
    Ok(true)
}

/// Which leaf of the file holds a column.
struct Leaves {
    columns: Vec<Option<usize>>,
    snapshot: Option<usize>,
}

fn leaves(schema: &SchemaDescriptor, stored: &Stored) -> Leaves {
    let mut by_id = HashMap::new();
    let mut by_name = HashMap::new();
    for (leaf, column) in schema.columns().iter().enumerate() {
        let info = column.self_type().get_basic_info();
        if info.has_id() {
            by_id.insert(i64::from(info.id()), leaf);
        } else {
            by_name.insert(info.name().to_lowercase(), leaf);
        }
    }
    let find = |id: i64, name: &str| by_id.get(&id).or_else(|| by_name.get(&name.to_lowercase())).copied();
    Leaves {
        columns: stored.columns.iter().map(|column| find(column.id, &column.name)).collect(),
        snapshot: by_id.get(&i64::from(SNAPSHOT_ID)).copied(),
    }
}

fn columns(
    batch: &RecordBatch,
    stored: &Stored,
    wanted: &Wanted<'_>,
    leaves: &Leaves,
    picked: &[(usize, usize)],
    in_order: impl Fn(usize) -> usize,
) -> Result<Rows, EngineError> {
    let mut rows = Rows::new(batch.num_rows(), stored.columns.len());
    for (place, column) in stored.columns.iter().enumerate() {
        let absent = leaves.columns.get(place).copied().flatten().is_none();
        if absent && wanted.columns.get(place) == Some(&true) {
            // Looking back to when there was no such column there is nothing in it.
            let was_there = wanted.version.is_none_or(|version| version >= column.since);
            rows.set_same(place, if was_there { column.initial.clone() } else { Cell::Null });
        }
    }
    for (place, leaf) in picked {
        let column = stored.columns.get(*place).expect("places are those of the stored columns");
        if !rows.set(*place, column, batch.column(in_order(*leaf))) {
            return Err(EngineError::Arrow(format!("column {} is of a kind that is not expected", column.name)));
        }
    }
    Ok(rows)
}

/// Which rows of a data file are deleted.
pub(super) fn positions(disk: &dyn Disk, path: &Path, records: u64) -> Result<Vec<bool>, EngineError> {
    let doing = "reading a file of deletions";
    let source = open(disk, path, doing)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(source, options).map_err(EngineError::parquet(doing))?;
    let leaf = builder.parquet_schema().columns().iter().position(|column| {
        let info = column.self_type().get_basic_info();
        (info.has_id() && info.id() == DELETED_POSITION) || info.name() == "pos"
    });
    let leaf = leaf.ok_or_else(|| EngineError::Arrow("a file of deletions has no positions".to_owned()))?;
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [leaf]);
    let reader = builder.with_projection(mask).build().map_err(EngineError::parquet(doing))?;
    let mut deleted = vec![false; usize::try_from(records).unwrap_or(0)];
    for batch in reader {
        let batch = batch.map_err(|error| EngineError::Arrow(error.to_string()))?;
        let Some(positions) = batch.column(0).as_primitive_opt::<Int64Type>() else { continue };
        for at in (0..positions.len()).filter(|at| positions.is_valid(*at)) {
            let position = usize::try_from(positions.value(at)).unwrap_or(usize::MAX);
            if let Some(deleted) = deleted.get_mut(position) {
                *deleted = true;
            }
        }
    }
    Ok(deleted)
}

/// Decodes every value of a file; how many rows that are.
pub(super) fn decodes(disk: &dyn Disk, path: &Path) -> Result<u64, String> {
    let mut rows = 0;
    for batch in batches_of(disk, path).map_err(|error| error.to_string())? {
        rows += batch.map_err(|error| error.to_string())?.num_rows() as u64;
    }
    Ok(rows)
}

/// All columns of a file, whatever the catalog says of it.
pub(in crate::history::engine) fn batches_of(
    disk: &dyn Disk,
    path: &Path,
) -> Result<impl Iterator<Item = Result<RecordBatch, EngineError>> + use<>, EngineError> {
    let doing = "decoding a file of the lake";
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(open(disk, path, doing)?, options)
        .and_then(|builder| builder.with_batch_size(BATCH).build())
        .map_err(EngineError::parquet(doing))?;
    Ok(reader.map(|batch| batch.map_err(|error| EngineError::Arrow(error.to_string()))))
}

fn open(disk: &dyn Disk, path: &Path, doing: &'static str) -> Result<Source, EngineError> {
    disk.open(path).map(Source).map_err(EngineError::io(doing))
}

/// Least and greatest value of a row group's column, which has the type that the column had when the file was written: it may
/// have become wider since.
fn group_range(column: &ColumnDescriptor, statistics: &Statistics, kind: ColumnKind) -> Option<(Cell, Cell)> {
    use ColumnKind::{Blob, Boolean, Date, Double, Float, HugeInt, Text, Timestamp, UHugeInt};
    let integers = kind::integer_range(kind).is_some();
    match (statistics, kind) {
        // Not-a-numbers are not in the statistics, and are above every number.
        (_, Blob | HugeInt | UHugeInt | Boolean | Float | Double) => None,
        (Statistics::Int64(values), Timestamp) => {
            Some((Cell::Timestamp(*values.min_opt()?), Cell::Timestamp(*values.max_opt()?)))
        }
        (Statistics::Int32(values), Date) => Some((Cell::Date(*values.min_opt()?), Cell::Date(*values.max_opt()?))),
        (Statistics::Int64(values), _) if integers => {
            let cell = |value: i64| Cell::Integer(if unsigned(column) { value.cast_unsigned().into() } else { value.into() });
            Some((cell(*values.min_opt()?), cell(*values.max_opt()?)))
        }
        (Statistics::Int32(values), _) if integers => {
            let cell = |value: i32| Cell::Integer(if unsigned(column) { value.cast_unsigned().into() } else { value.into() });
            Some((cell(*values.min_opt()?), cell(*values.max_opt()?)))
        }
        (Statistics::ByteArray(values), Text) if statistics.min_is_exact() && statistics.max_is_exact() => {
            let cell = |bytes: &parquet::data_type::ByteArray| bytes.as_utf8().ok().map(|text| Cell::Text(text.to_owned()));
            Some((cell(values.min_opt()?)?, cell(values.max_opt()?)?))
        }
        _ => None,
    }
}

/// Whether the file's integers are unsigned: Parquet keeps both kinds in the same bits.
fn unsigned(column: &ColumnDescriptor) -> bool {
    match column.logical_type_ref() {
        Some(LogicalType::Integer { is_signed, .. }) => !is_signed,
        _ => matches!(
            column.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        ),
    }
}
