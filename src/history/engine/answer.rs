//! Packs the rows of an answer as an Arrow IPC stream: whole in CBOR tag 80 (`protocol/rembus.md` section 12), or piece by piece
//! for whoever reads it as it comes.

use crate::history::model::CallError;
use crate::history::settings::Settings;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use std::io;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// What is handed on at once of an answer that is read as it comes.
const PIECE: usize = 64 << 10;
/// A reader who takes nothing for so long gets nothing more.
const STALLED: Duration = Duration::from_secs(30);

/// An answer as it grows, up to its limits.
pub(crate) struct Answer {
    stage: Stage,
    rows: usize,
    rows_max: usize,
    bytes_max: usize,
}

enum Stage {
    Empty(Target),
    Open(StreamWriter<Target>),
    Broken,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Answer {
    /// The data of a Rembus answer, up to the limits of the settings.
    pub(super) fn frame(settings: &Settings) -> Self {
        let target = Target::Frame(vec![0; HEAD]);
        Self { stage: Stage::Empty(target), rows: 0, rows_max: settings.query_rows, bytes_max: settings.query_bytes }
    }

    /// A stream of any length to a reader who slows it down.
    pub(super) fn stream(to: mpsc::Sender<Bytes>) -> Self {
        let target = Target::Stream { piece: Vec::new(), to };
        Self { stage: Stage::Empty(target), rows: 0, rows_max: usize::MAX, bytes_max: usize::MAX }
    }

    /// Says which columns there are; comes first.
    pub(super) fn begin(&mut self, schema: &SchemaRef) -> Result<(), CallError> {
        check(schema)?;
        match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Empty(target) => {
                self.stage = Stage::Open(StreamWriter::try_new(target, schema).map_err(|e| failed(&e))?);
                Ok(())
            }
            Stage::Open(_) | Stage::Broken => Err(CallError::exception("an answer begins once")),
        }
    }

    /// Adds rows; too many of them are an error, never cut short.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), CallError> {
        let Stage::Open(out) = &mut self.stage else { return Err(CallError::exception("an answer begins with its columns")) };
        self.rows += batch.num_rows();
        if self.rows > self.rows_max {
            return Err(CallError::exception(format!("the result has more than {} rows; narrow it", self.rows_max)));
        }
        out.write(batch).map_err(|e| failed(&e))?;
        if let Target::Frame(bytes) = out.get_ref()
            && bytes.len() > self.bytes_max
        {
            let mebibytes = self.bytes_max >> 20;
            return Err(CallError::exception(format!("the result has more than {mebibytes} MiB; narrow it")));
        }
        Ok(())
    }

    /// The CBOR data of a frame; nothing of a stream, whose last piece leaves.
    pub(super) fn finish(self) -> Result<Bytes, CallError> {
        let Stage::Open(out) = self.stage else { return Err(CallError::exception("an answer begins with its columns")) };
        match out.into_inner().map_err(|e| failed(&e))? {
            Target::Frame(bytes) => Ok(packed(bytes)),
            Target::Stream { piece, to } => {
                send(&to, piece).map_err(|e| CallError::exception(e.to_string()))?;
                Ok(Bytes::new())
            }
        }
    }
}

fn failed(error: &arrow_schema::ArrowError) -> CallError {
    CallError::exception(error.to_string())
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

/// `d8 50` (tag 80) and the head of a byte string with room for its length.
const HEAD: usize = 7;

/// The Arrow stream in the data of a frame.
pub(super) fn stream_in(frame: &[u8]) -> Option<&[u8]> {
    frame.get(HEAD..)
}

/// Where the stream goes.
enum Target {
    /// Begins with room for the head.
    Frame(Vec<u8>),
    Stream {
        piece: Vec<u8>,
        to: mpsc::Sender<Bytes>,
    },
}

/// Fills in the head. The length always takes four bytes, which CBOR allows.
fn packed(mut bytes: Vec<u8>) -> Bytes {
    let len = u32::try_from(bytes.len() - HEAD).expect("query_bytes keeps an answer below 4 GiB");
    let [a, b, c, d] = len.to_be_bytes();
    for (place, byte) in bytes.iter_mut().zip([0xd8, 0x50, 0x5a, a, b, c, d]) {
        *place = byte;
    }
    Bytes::from(bytes)
}

/// Queries run on threads that may wait.
fn send(to: &mpsc::Sender<Bytes>, piece: Vec<u8>) -> io::Result<()> {
    let sent = Handle::current().block_on(async { tokio::time::timeout(STALLED, to.send(piece.into())).await });
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the reader is gone")),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the reader does not read")),
    }
}

impl io::Write for Target {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Frame(bytes) => bytes.extend_from_slice(buf),
            Self::Stream { piece, to } => {
                piece.extend_from_slice(buf);
                if piece.len() >= PIECE {
                    send(to, std::mem::take(piece))?;
                }
            }
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
