//! Writes data files and files of deletions, and says what the catalog must know of them.

use super::super::error::EngineError;
use super::rows::Rows;
use super::schema::{Stored, value_text};
use crate::disk::{Disk, DiskFile};
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::eval::{Fields, Value, compare};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a row group: what a query reads at least, and what the writer holds in memory.
const ROW_GROUP: usize = 32 * 1024;
/// Longer texts are remembered as least or greatest by so much of them.
const RANGE_BYTES: usize = 256;

/// A file that is written, and synced, and that nobody knows yet.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) footer: u64,
    /// One for each column of the table, then the hidden ones.
    pub(super) columns: Vec<ColumnFacts>,
}

/// What the catalog keeps of a column.
#[derive(Debug, Clone)]
pub(super) struct ColumnFacts {
    pub(super) bytes: u64,
    pub(super) nulls: u64,
    pub(super) values: u64,
    pub(super) least: Option<Cell>,
    pub(super) most: Option<Cell>,
    /// Of a column of floats: whether one is not a number.
    pub(super) nan: Option<bool>,
}

impl ColumnFacts {
    fn new(kind: ColumnKind) -> Self {
        let nan = matches!(kind, ColumnKind::Float | ColumnKind::Double).then_some(false);
        Self { bytes: 0, nulls: 0, values: 0, least: None, most: None, nan }
    }

    fn see(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => {
                self.nulls += 1;
                return;
            }
            Value::Float(value) if value.is_nan() => {
                self.values += 1;
                self.nan = Some(true);
                return;
            }
            _ => self.values += 1,
        }
        match value {
            // What is in a blob nobody looks for by its order.
            Value::Blob(_) => {}
            Value::Text(text) if text.len() > RANGE_BYTES => {
                let kept = text.get(..text.floor_char_boundary(RANGE_BYTES)).unwrap_or_default();
                self.widen(&Value::Text(kept.into()));
                self.widen(&Value::Text(format!("{kept}\u{10ffff}").into()));
            }
            value => self.widen(value),
        }
    }

    fn widen(&mut self, value: &Value<'_>) {
        let beyond = |side: &Option<Cell>, wanted| side.as_ref().is_none_or(|cell| compare(value, &Value::of(cell)) == wanted);
        if beyond(&self.least, Ordering::Less) {
            self.least = Some(value.clone().into_cell());
        }
        if beyond(&self.most, Ordering::Greater) {
            self.most = Some(value.clone().into_cell());
        }
    }

    /// Least and greatest as the catalog writes them.
    pub(super) fn range(&self, kind: ColumnKind) -> (Option<String>, Option<String>) {
        let text = |cell: &Option<Cell>| cell.as_ref().and_then(|cell| value_text(cell, kind));
        (text(&self.least), text(&self.most))
    }
}

/// A data file in the making.
pub(super) struct DataWriter {
    out: ArrowWriter<Sink>,
    schema: SchemaRef,
    path: PathBuf,
    stored: Arc<Stored>,
    facts: Vec<ColumnFacts>,
    records: u64,
}

impl DataWriter {
    /// The folder must be there.
    pub(super) fn create(
        disk: &dyn Disk,
        path: PathBuf,
        stored: &Arc<Stored>,
        types: &[DataType],
    ) -> Result<Self, EngineError> {
        let fields: Vec<Field> =
            stored.columns.iter().zip(types).map(|(column, ty)| field(&column.name, ty.clone(), column.id)).collect();
        let schema = Arc::new(Schema::new(fields));
        let out = writer(disk, &path, &schema)?;
        let facts = stored.columns.iter().map(|column| ColumnFacts::new(column.kind)).collect();
        Ok(Self { out, schema, path, stored: stored.clone(), facts, records: 0 })
    }

    /// Arrays in the order of the stored columns.
    pub(super) fn add(&mut self, arrays: Vec<ArrayRef>) -> Result<(), EngineError> {
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(|error| EngineError::Arrow(error.to_string()))?;
        for (place, (column, facts)) in self.stored.columns.iter().zip(&mut self.facts).enumerate() {
            let mut rows = Rows::new(batch.num_rows(), place + 1);
            // Seen as it is stored: a 128-bit integer is a text there.
            let mut as_stored = column.clone();
            if super::super::columns::stored_as_text(column.kind) {
                as_stored.kind = ColumnKind::Text;
            }
            rows.set(place, &as_stored, batch.column(place));
            (0..rows.len()).for_each(|at| facts.see(&rows.at(at).field(place)));
        }
        self.records += batch.num_rows() as u64;
        self.out.write(&batch).map_err(EngineError::parquet("writing a data file"))
    }

    /// Cells, column by column in the order of the stored columns; what is kept as text comes as text. Takes them out.
    pub(super) fn add_cells(&mut self, chunk: &mut [Vec<Cell>]) -> Result<(), EngineError> {
        let columns = self.stored.columns.iter().zip(chunk.iter());
        let arrays = columns.map(|(column, cells)| super::super::arrow::array(column.kind, cells.iter().map(Some)));
        self.add(arrays.collect())?;
        chunk.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    /// Writes the rest and syncs the file. The caller syncs the folder.
    pub(super) fn finish(self) -> Result<Written, EngineError> {
        let Self { mut out, path, stored, mut facts, records, .. } = self;
        let metadata = out.finish().map_err(EngineError::parquet("writing a data file"))?;
        for group in metadata.row_groups() {
            for (facts, column) in facts.iter_mut().zip(group.columns()) {
                facts.bytes += u64::try_from(column.compressed_size()).unwrap_or(0);
            }
        }
        debug_assert_eq!(stored.columns.len(), facts.len(), "one for each column");
        let (bytes, footer) = sealed(out.inner())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Written { path, name, records, bytes, footer, columns: facts })
    }
}

/// Writes which rows of a data file are deleted, and syncs.
pub(super) fn deletions(disk: &dyn Disk, path: PathBuf, of: &Path, positions: &[u64]) -> Result<Written, EngineError> {
    let fields = vec![field("file_path", DataType::Utf8, 2_147_483_646), field("pos", DataType::Int64, 2_147_483_645)];
    let schema = Arc::new(Schema::new(fields));
    let mut out = writer(disk, &path, &schema)?;
    let of = of.to_string_lossy();
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(positions.iter().map(|_| of.as_ref())));
    let places: ArrayRef = Arc::new(Int64Array::from_iter_values(positions.iter().map(|at| i64::try_from(*at).unwrap_or(0))));
    let batch = RecordBatch::try_new(schema, vec![names, places]).map_err(|error| EngineError::Arrow(error.to_string()))?;
    let doing = "writing a file of deletions";
    out.write(&batch).map_err(EngineError::parquet(doing))?;
    out.finish().map_err(EngineError::parquet(doing))?;
    let (bytes, footer) = sealed(out.inner())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Written { path, name, records: positions.len() as u64, bytes, footer, columns: Vec::new() })
}

fn field(name: &str, ty: DataType, id: i64) -> Field {
    let metadata = HashMap::from([(parquet::arrow::PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Field::new(name, ty, true).with_metadata(metadata)
}

fn writer(disk: &dyn Disk, path: &Path, schema: &SchemaRef) -> Result<ArrowWriter<Sink>, EngineError> {
    let file = disk.create(path).map_err(EngineError::io("creating a data file"))?;
    let level = ZstdLevel::try_new(3).map_err(EngineError::parquet("choosing a compression"))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(None)
        .set_created_by(format!("rembus-gateway {}", env!("CARGO_PKG_VERSION")))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let sink = Sink { file, at: 0, buffer: Vec::with_capacity(Sink::BUFFER) };
    ArrowWriter::try_new_with_options(sink, schema.clone(), options).map_err(EngineError::parquet("starting a data file"))
}

/// Size of a file that is written, and of its footer; the file is synced and looked at again.
fn sealed(sink: &Sink) -> Result<(u64, u64), EngineError> {
    let doing = "syncing a data file";
    debug_assert!(sink.buffer.is_empty(), "the writer flushes at its end");
    sink.file.sync().map_err(EngineError::io(doing))?;
    let mut end = [0; 8];
    let read = sink.file.read_at(&mut end, sink.at.saturating_sub(8)).map_err(EngineError::io(doing))?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = end else {
        return Err(EngineError::Arrow(format!("a data file does not end as it should after {read} bytes")));
    };
    Ok((sink.at, u32::from_le_bytes([a, b, c, d]).into()))
}

/// A file that grows.
struct Sink {
    file: Arc<dyn DiskFile>,
    at: u64,
    buffer: Vec<u8>,
}

impl Sink {
    const BUFFER: usize = 64 << 10;
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= Self::BUFFER {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
