//! Packs the rows of an answer: an Arrow IPC stream in CBOR tag 80 (`protocol/rembus.md` section 12).

use crate::history::model::CallError;
use crate::history::settings::Settings;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;

/// An answer as it grows, up to the limits of the settings.
pub(super) struct Answer {
    out: StreamWriter<Frame>,
    rows: usize,
    rows_max: usize,
    bytes_max: usize,
}

impl Answer {
    pub(super) fn new(schema: &SchemaRef, settings: &Settings) -> Result<Self, CallError> {
        check(schema)?;
        let out = StreamWriter::try_new(Frame::new(), schema).map_err(|e| CallError::exception(e.to_string()))?;
        Ok(Self { out, rows: 0, rows_max: settings.query_rows, bytes_max: settings.query_bytes })
    }

    /// Adds rows; too many of them are an error, never cut short.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), CallError> {
        self.rows += batch.num_rows();
        if self.rows > self.rows_max {
            return Err(CallError::exception(format!("the result has more than {} rows; narrow it", self.rows_max)));
        }
        self.out.write(batch).map_err(|e| CallError::exception(e.to_string()))?;
        if self.out.get_ref().bytes.len() > self.bytes_max {
            let mebibytes = self.bytes_max >> 20;
            return Err(CallError::exception(format!("the result has more than {mebibytes} MiB; narrow it")));
        }
        Ok(())
    }

    /// The CBOR data of the answer.
    pub(super) fn finish(self) -> Result<Bytes, CallError> {
        let frame = self.out.into_inner().map_err(|e| CallError::exception(e.to_string()))?;
        Ok(frame.finish())
    }
}

pub(super) fn timed_out(settings: &Settings) -> CallError {
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
