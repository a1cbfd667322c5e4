//! The tail as DuckDB sees it: Arrow batches outside of DuckDB's memory, read by a table function.
//!
//! ```text
//! rows of the log ─▶ loose rows ─▶ batches of Arrow ─▶ gateway_tail(7), a view of the batches at one moment
//! ```
//! A table of DuckDB's own would take 256 KiB a column however few its rows are, twice while a query still sees the old one, and a
//! failed append leaves it with columns of different lengths. Here a column takes what its values take, a view is a copy of some
//! pointers, and what was added cannot change any more.

use super::store::LakeTable;
use crate::history::engine::arrow as rows;
use crate::history::engine::error::EngineError;
use crate::history::engine::tail::Tail;
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use duckdb::Connection;
use duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use duckdb::vtab::{BindInfo, InitInfo, TableFunctionInfo, VTab};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Name of the table function.
const FUNCTION: &str = "gateway_tail";
/// Loose rows become a batch when they are so many, or take so much; a query makes one of them at any time.
const LOOSE_ROWS: usize = 4096;
const LOOSE_BYTES: usize = 1 << 20;
/// Small batches are put together up to this.
const BATCH_ROWS: usize = 16 << 10;
const BATCH_BYTES: usize = 2 << 20;
/// Rows that DuckDB takes at once.
const VECTOR: usize = 2048;

/// Batches of one table's tail, oldest first; immutable once they are here.
#[derive(Debug, Clone, Default)]
pub(super) struct Batches {
    all: Vec<RecordBatch>,
}

impl Batches {
    fn bytes(&self) -> usize {
        self.all.iter().map(size).sum()
    }

    /// Adds a batch. Its neighbours are put together like digits of a number, so that every row is copied a few times at most
    /// however often a query comes.
    fn push(&mut self, batch: RecordBatch) -> Result<(), EngineError> {
        self.all.push(batch);
        while let [.., older, newer] = self.all.as_slice()
            && older.num_rows() < 2 * newer.num_rows()
            && older.num_rows() + newer.num_rows() <= BATCH_ROWS
            && size(older) + size(newer) <= BATCH_BYTES
        {
            let both = arrow::compute::concat_batches(&older.schema(), [older, newer])
                .map_err(|error| EngineError::Arrow(error.to_string()))?;
            self.all.truncate(self.all.len() - 2);
            self.all.push(both);
        }
        Ok(())
    }

    pub(super) fn all(&self) -> &[RecordBatch] {
        &self.all
    }
}

fn size(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.get_buffer_memory_size()).sum()
}

/// Whether enough rows have gathered to become a batch without being asked.
pub(super) fn is_heavy(tail: &Tail) -> bool {
    !tail.keyed() && (tail.rows().len() >= LOOSE_ROWS || tail.loose_bytes() >= LOOSE_BYTES)
}

/// Makes batches of loose rows. What fails leaves everything as it was.
pub(super) fn settle(table: &mut LakeTable) -> Result<(), EngineError> {
    if !table.tail.is_dirty() {
        return Ok(());
    }
    let mut batches = if table.tail.keyed() { Batches::default() } else { table.batches.clone() };
    // In pieces, because one frame may carry a million rows and the Arrow copy of them should not be another million.
    for piece in table.tail.rows().chunks(LOOSE_ROWS) {
        batches.push(rows::batch(&table.table, piece)?)?;
    }
    table.tail.taken_over(batches.bytes());
    table.batches = batches;
    Ok(())
}

/// Forgets everything: the lake has it. Queries that already run keep what they see.
pub(super) fn clear(table: &mut LakeTable) {
    table.batches = Batches::default();
    table.tail.clear();
}

/// What views show, by number. DuckDB hands a table function nothing but its arguments.
static SHOWN: Mutex<Shelf> = Mutex::new(Shelf { last: 0, views: BTreeMap::new() });

struct Shelf {
    last: u64,
    views: BTreeMap<u64, Arc<Rows>>,
}

fn shelf() -> MutexGuard<'static, Shelf> {
    // Nothing that holds it can panic half way.
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Rows {
    schema: SchemaRef,
    batches: Batches,
}

/// Rows above the lake as they were at one moment; statements can read them as long as this lives.
#[derive(Debug)]
pub(super) struct Shown {
    number: u64,
    rows: Arc<Rows>,
}

impl Shown {
    /// The rows of a table that has settled.
    pub(super) fn new(table: &LakeTable) -> Result<Self, EngineError> {
        let schema = match table.batches.all.first() {
            Some(batch) => batch.schema(),
            None => rows::batch(&table.table, &[])?.schema(),
        };
        let rows = Arc::new(Rows { schema, batches: table.batches.clone() });
        let mut shelf = shelf();
        shelf.last += 1;
        let number = shelf.last;
        shelf.views.insert(number, rows.clone());
        Ok(Self { number, rows })
    }

    /// As SQL: a table without an alias.
    pub(super) fn source(&self) -> String {
        format!("{FUNCTION}({})", self.number)
    }

    pub(super) fn batches(&self) -> &[RecordBatch] {
        self.rows.batches.all()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        shelf().views.remove(&self.number);
    }
}

/// Lets statements of this database read tails.
pub(super) fn register(conn: &Connection) -> Result<(), EngineError> {
    conn.register_table_function::<TailFunction>(FUNCTION).map_err(EngineError::sql("making room for the tail"))
}

struct TailFunction;

/// How far a scan has come.
struct Scan {
    columns: Vec<usize>,
    at: Mutex<(usize, usize)>,
}

impl VTab for TailFunction {
    type InitData = Scan;
    type BindData = Arc<Rows>;

    fn bind(bind: &BindInfo) -> Result<Self::BindData, Box<dyn Error>> {
        let number = bind.get_parameter(0).to_int64().cast_unsigned();
        let rows = shelf().views.get(&number).cloned().ok_or("the view of the newest rows has ended")?;
        for field in rows.schema.fields() {
            bind.add_result_column(field.name(), duckdb::vtab::to_duckdb_logical_type_for_field(field)?);
        }
        let count = rows.batches.all.iter().map(RecordBatch::num_rows).sum::<usize>();
        bind.set_cardinality(count as u64, true);
        Ok(rows)
    }

    fn init(init: &InitInfo) -> Result<Self::InitData, Box<dyn Error>> {
        let columns = init.get_column_indices().into_iter().map(|column| usize::try_from(column).unwrap_or(usize::MAX));
        Ok(Scan { columns: columns.collect(), at: Mutex::default() })
    }

    fn func(call: &TableFunctionInfo<Self>, output: &mut DataChunkHandle) -> Result<(), Box<dyn Error>> {
        let (rows, scan) = (call.get_bind_data(), call.get_init_data());
        let mut at = scan.at.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(batch) = rows.batches.all.get(at.0) {
            let left = batch.num_rows() - at.1;
            if left == 0 {
                *at = (at.0 + 1, 0);
                continue;
            }
            let piece = batch.slice(at.1, left.min(VECTOR));
            at.1 += piece.num_rows();
            return duckdb::vtab::record_batch_to_duckdb_data_chunk(&piece.project(&scan.columns)?, output);
        }
        output.set_len(0);
        Ok(())
    }

    fn supports_pushdown() -> bool {
        true
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::Bigint)])
    }
}
