//! Runs one query on a pinned view and packs the answer: an Arrow IPC stream in CBOR tag 80 (`protocol/rembus.md` section 12).

use crate::history::model::{CallError, Cell};
use crate::history::settings::Settings;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, InterruptHandle, params_from_iter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A connection inside a read transaction that sees lake and tail as they were at one moment.
pub(crate) struct Pinned {
    conn: Connection,
    /// The table as SQL, for [`crate::history::sql`] to select from.
    pub(crate) relation: String,
    stop: Stop,
    /// Tells the engine that its database is in use as long as this lives.
    _in_use: Arc<()>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").field("relation", &self.relation).finish_non_exhaustive()
    }
}

impl Drop for Pinned {
    /// The crate frees the connection first and tells its interrupt handle afterwards: an interrupt in between is a use after
    /// free (seen as a crash). So nobody can interrupt any more when the connection goes.
    fn drop(&mut self) {
        *self.stop.lock() = None;
    }
}

/// Ends a query that runs on another thread.
#[derive(Clone)]
pub(crate) struct Stop {
    /// Checked between chunks, because an interrupt only hits a running statement.
    flag: Arc<AtomicBool>,
    /// Present while the connection is.
    handle: Arc<Mutex<Option<Arc<InterruptHandle>>>>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").field("flag", &self.flag).finish_non_exhaustive()
    }
}

impl Stop {
    /// To be repeated until the query has returned: an interrupt between two statements hits nothing.
    pub(crate) fn now(&self) {
        self.flag.store(true, Ordering::Relaxed);
        if let Some(handle) = self.lock().as_ref() {
            handle.interrupt();
        }
    }

    fn asked(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<InterruptHandle>>> {
        // Nothing that holds it can panic half way.
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pinned {
    pub(super) fn new(conn: Connection, relation: String, in_use: Arc<()>) -> Self {
        let handle = Arc::new(Mutex::new(Some(conn.interrupt_handle())));
        Self { conn, relation, stop: Stop { flag: Arc::default(), handle }, _in_use: in_use }
    }

    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// The rows as CBOR data of an answer.
    pub(crate) fn run(self, sql: &str, cells: Vec<Cell>, settings: &Settings) -> Result<Bytes, CallError> {
        let tell = |error: duckdb::Error| self.explain(&error, settings);
        let mut statement = self.conn.prepare(sql).map_err(tell)?;
        // The iterator that this returns panics when a chunk fails, an interrupted one for example; so its steps are taken by hand.
        drop(statement.stream_arrow(params_from_iter(cells.into_iter().map(value))).map_err(tell)?);
        let schema = statement.schema();
        check(&schema)?;
        let mut out = StreamWriter::try_new(Frame::new(), &schema).map_err(|e| CallError::exception(e.to_string()))?;
        let mut rows = 0;
        while let Some(chunk) = statement.step().map_err(tell)? {
            let batch = RecordBatch::from(&chunk);
            rows += batch.num_rows();
            if self.stop.asked() {
                return Err(timed_out(settings));
            }
            if rows > settings.query_rows {
                return Err(CallError::exception(format!("the result has more than {} rows; narrow it", settings.query_rows)));
            }
            out.write(&batch).map_err(|e| CallError::exception(e.to_string()))?;
            if out.get_ref().bytes.len() > settings.query_bytes {
                let mebibytes = settings.query_bytes >> 20;
                return Err(CallError::exception(format!("the result has more than {mebibytes} MiB; narrow it")));
            }
        }
        let frame = out.into_inner().map_err(|e| CallError::exception(e.to_string()))?;
        Ok(frame.finish())
    }

    /// DuckDB's text for the caller: its first line, without the names of our files.
    fn explain(&self, error: &duckdb::Error, settings: &Settings) -> CallError {
        if self.stop.asked() {
            return timed_out(settings);
        }
        let text = settings.without_paths(error);
        CallError::exception(text.lines().next().unwrap_or_default().chars().take(300).collect::<String>())
    }
}

pub(crate) fn timed_out(settings: &Settings) -> CallError {
    CallError::exception(format!("the query took longer than {:?}", settings.query_timeout))
}

/// Refuses what the clients' Arrow readers cannot take; polars aborts its whole process on an interval.
fn check(schema: &SchemaRef) -> Result<(), CallError> {
    let bad = schema.fields().iter().find(|field| {
        matches!(
            field.data_type(),
            DataType::Interval(_)
                | DataType::Union(..)
                | DataType::Map(..)
                | DataType::Struct(_)
                | DataType::FixedSizeBinary(_)
        )
    });
    match bad {
        Some(field) => Err(CallError::exception(format!(
            "column {} is of type {}, which clients cannot read; cast it, to TEXT for example",
            field.name(),
            field.data_type()
        ))),
        None => Ok(()),
    }
}

pub(super) fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Boolean(value) => Value::Boolean(value),
        Cell::Integer(value) => i64::try_from(value).map_or(Value::HugeInt(value), Value::BigInt),
        Cell::Float(value) => Value::Double(value),
        Cell::Text(value) => Value::Text(value),
        Cell::Blob(value) => Value::Blob(value),
        Cell::Date(value) => Value::Date32(value),
        Cell::Timestamp(value) => Value::Timestamp(TimeUnit::Microsecond, value),
    }
}

/// The answer as it grows: `d8 50` (tag 80), the head of a byte string with room for its length, then the stream.
struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    const HEAD: usize = 7;

    fn new() -> Self {
        Self { bytes: vec![0; Self::HEAD] }
    }

    /// Fills in the head. The length always takes four bytes, which CBOR allows.
    fn finish(mut self) -> Bytes {
        let len = u32::try_from(self.bytes.len() - Self::HEAD).expect("query_bytes keeps an answer below 4 GiB");
        let [a, b, c, d] = len.to_be_bytes();
        for (place, byte) in self.bytes.iter_mut().zip([0xd8, 0x50, 0x5a, a, b, c, d]) {
            *place = byte;
        }
        Bytes::from(self.bytes)
    }
}

impl std::io::Write for Frame {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
