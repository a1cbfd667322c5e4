//! Reads a Rembus frame: an Arrow IPC stream from a peer that nobody vouches for.
//!
//! `arrow-ipc` validates values but trusts the layout around them: lengths that point outside of a message make it panic or
//! allocate without bound, and a panic ends the gateway. So the layout is walked and checked first, with exactly the steps
//! that the reader will take, and only then is it handed over. Everything that Rembus clients send is accepted (section 12);
//! types and compressions that they do not produce are refused.
//!
//! ```text
//! stream = message* [end]     message = [ff ff ff ff] │ i32 metadata length │ metadata (flatbuffer) │ body
//! ```

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{ArrowError, DataType, SchemaRef};

mod schema;

/// Batches in one frame, columns in one schema, levels of nested columns.
const BATCHES_MAX: usize = 10_000;
const COLUMNS_MAX: usize = 4_096;
const LEVELS_MAX: usize = 16;
/// Rows of columns that take no room (nulls only) beyond eight a byte.
const FREE_ROWS_MAX: i64 = 65_536;

const CONTINUATION: [u8; 4] = [0xff; 4];

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the Arrow stream is cut short or its lengths point outside of it")]
    Layout,
    #[error("the Arrow stream has {0}")]
    Unsupported(&'static str),
    #[error("the frame would take more than {0} bytes of JSON")]
    TooLarge(usize),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// A table: its columns' types and the rows in batches.
#[derive(Debug)]
pub struct Table {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// Unpacks the contents of a byte string under CBOR tag 80. Never panics, and allocates no more than a few times the input.
pub fn read_frame(packed: &[u8]) -> Result<Table, FrameError> {
    check(packed)?;
    let reader = StreamReader::try_new(packed, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(Table { schema, batches })
}

/// Walks all messages as the reader will.
fn check(packed: &[u8]) -> Result<(), FrameError> {
    let mut rest = packed;
    let mut columns = None;
    let mut batches = 0;
    while let Some(Encapsulated { metadata, after }) = next_message(rest)? {
        let message = root_as_message(metadata).map_err(|_| FrameError::Layout)?;
        let body_len = usize::try_from(message.bodyLength()).map_err(|_| FrameError::Layout)?;
        let (body, after) = after.split_at_checked(body_len).ok_or(FrameError::Layout)?;
        rest = after;
        batches += 1;
        if batches > BATCHES_MAX {
            return Err(FrameError::Unsupported("too many batches"));
        }
        match (message.header_type(), &columns) {
            (MessageHeader::Schema, None) => {
                let header = message.header_as_schema().ok_or(FrameError::Layout)?;
                columns = Some(schema::read(header)?);
            }
            (MessageHeader::RecordBatch, Some(columns)) => {
                let batch = message.header_as_record_batch().ok_or(FrameError::Layout)?;
                check_batch(batch, columns, body.len())?;
            }
            (MessageHeader::DictionaryBatch, Some(columns)) => {
                let dictionary = message.header_as_dictionary_batch().ok_or(FrameError::Layout)?;
                let batch = dictionary.data().ok_or(FrameError::Layout)?;
                let values = columns
                    .iter()
                    .find_map(|column| column.dictionary_values(dictionary.id()))
                    .ok_or(FrameError::Unsupported("a dictionary of no column"))?;
                check_batch(batch, std::slice::from_ref(&schema::Column::plain(values)), body.len())?;
            }
            _ => return Err(FrameError::Unsupported("messages in an unknown order")),
        }
    }
    if columns.is_some() { Ok(()) } else { Err(FrameError::Layout) }
}

/// The metadata of a message and what follows it: its body and the rest of the stream.
struct Encapsulated<'a> {
    metadata: &'a [u8],
    after: &'a [u8],
}

/// `None` at the end of the stream.
fn next_message(stream: &[u8]) -> Result<Option<Encapsulated<'_>>, FrameError> {
    if stream.is_empty() {
        return Ok(None);
    }
    let (mut head, mut rest) = stream.split_first_chunk::<4>().ok_or(FrameError::Layout)?;
    if *head == CONTINUATION {
        (head, rest) = rest.split_first_chunk::<4>().ok_or(FrameError::Layout)?;
    }
    let len = usize::try_from(i32::from_le_bytes(*head)).map_err(|_| FrameError::Layout)?;
    if len == 0 {
        return Ok(None);
    }
    let (metadata, after) = rest.split_at_checked(len).ok_or(FrameError::Layout)?;
    Ok(Some(Encapsulated { metadata, after }))
}

fn check_batch(batch: arrow_ipc::RecordBatch<'_>, columns: &[schema::Column], body: usize) -> Result<(), FrameError> {
    if batch.compression().is_some() {
        return Err(FrameError::Unsupported("compressed buffers"));
    }
    let body = i64::try_from(body).map_err(|_| FrameError::Layout)?;
    let rows_max = body.saturating_mul(8).saturating_add(FREE_ROWS_MAX);
    if !(0..=rows_max).contains(&batch.length()) {
        return Err(FrameError::Layout);
    }
    let mut walk = Walk {
        nodes: batch.nodes().ok_or(FrameError::Layout)?.iter(),
        buffers: batch.buffers().ok_or(FrameError::Layout)?.iter(),
        views: batch.variadicBufferCounts().into_iter().flatten().collect::<Vec<_>>().into_iter(),
        body,
        rows_max,
    };
    for column in columns {
        walk.column(&column.data_type)?;
    }
    // The reader asserts that all are used.
    if walk.views.next().is_some() { Err(FrameError::Layout) } else { Ok(()) }
}

/// Takes nodes and buffers in the order in which the reader takes them.
struct Walk<N, B> {
    nodes: N,
    buffers: B,
    views: std::vec::IntoIter<i64>,
    body: i64,
    rows_max: i64,
}

impl<'a, N, B> Walk<N, B>
where
    N: Iterator<Item = &'a arrow_ipc::FieldNode>,
    B: Iterator<Item = &'a arrow_ipc::Buffer>,
{
    fn column(&mut self, data_type: &DataType) -> Result<(), FrameError> {
        let node = self.nodes.next().ok_or(FrameError::Layout)?;
        if !(0..=self.rows_max).contains(&node.length()) || !(0..=node.length()).contains(&node.null_count()) {
            return Err(FrameError::Layout);
        }
        if matches!(data_type, DataType::Null) {
            return Ok(());
        }
        let validity = self.buffer(1)?;
        if node.null_count() > 0 && validity.saturating_mul(8) < node.length() {
            return Err(FrameError::Layout);
        }
        match data_type {
            DataType::Struct(fields) => fields.iter().try_for_each(|field| self.column(field.data_type())),
            DataType::List(field) => {
                self.buffer(4)?;
                self.column(field.data_type())
            }
            DataType::LargeList(field) => {
                self.buffer(8)?;
                self.column(field.data_type())
            }
            DataType::Utf8 | DataType::Binary => self.buffer(4).and_then(|_| self.buffer(1)).map(|_| ()),
            DataType::LargeUtf8 | DataType::LargeBinary => self.buffer(8).and_then(|_| self.buffer(1)).map(|_| ()),
            DataType::Utf8View | DataType::BinaryView => {
                let count = self.views.next().filter(|count| *count >= 0).ok_or(FrameError::Layout)?;
                self.buffer(16)?;
                (0..count).try_for_each(|_| self.buffer(1).map(|_| ()))
            }
            DataType::Dictionary(index, _) => self.buffer(width(index)).map(|_| ()),
            other => self.buffer(width(other)).map(|_| ()),
        }
    }

    /// The length of the next buffer: within the body, aligned, and of whole values. The reader views it as a slice of them.
    fn buffer(&mut self, width: i64) -> Result<i64, FrameError> {
        let buffer = self.buffers.next().ok_or(FrameError::Layout)?;
        let (offset, length) = (buffer.offset(), buffer.length());
        let inside = offset >= 0 && length >= 0 && offset.checked_add(length).is_some_and(|end| end <= self.body);
        if inside && offset % 8 == 0 && length % width == 0 { Ok(length) } else { Err(FrameError::Layout) }
    }
}

/// Bytes of a value of fixed width; 1 for packed booleans.
fn width(data_type: &DataType) -> i64 {
    data_type.primitive_width().and_then(|width| i64::try_from(width).ok()).unwrap_or(1)
}
