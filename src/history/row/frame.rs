//! Rows of a frame: an Arrow IPC *stream* (`protocol/rembus.md` section 12).
//!
//! ```text
//! [ffffffff] u32 length + metadata (flatbuffer) + body … repeated … [ffffffff] 00000000
//! schema, then dictionaries and record batches in any number
//! ```
//!
//! The metadata is read with arrow's generated and verified accessors, the buffers by hand: arrow's own reader trusts offsets
//! and lengths of the body and panics, or allocates, when they lie, and a panic here would come back at each restart with the
//! log. What is read here: booleans, integers, floats, text, binary and their large and view forms, fixed size binary, dates,
//! timestamps, null, and dictionaries of them. Other columns are passed over; a table's column of such a type is an error.

use super::{Absent, Cause, Draft, Extras, Reject, Rows};
use crate::history::model::{Cell, ColumnSource, Table};
use arrow_ipc::{MessageHeader, MetadataVersion, RecordBatch};
use std::collections::HashMap;

mod layout;
mod values;

use layout::Field;
use values::Values;

/// A frame may have more rows than bytes only by lying (or by having only null columns), and never more than this.
const ROWS_MAX: usize = 1_000_000;

/// A few bytes of views or dictionary indexes can name the same long text a million times; a frame that does is refused.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Parts of one dictionary: each is looked through for each row.
const DELTAS_MAX: usize = 64;

/// What is wrong with a stream, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum FrameError {
    #[error("the frame ends inside its {0}")]
    Short(&'static str),
    #[error("the frame's {0} is not valid")]
    Invalid(&'static str),
    #[error("the frame is in Arrow's file format, only the stream format is read")]
    FileFormat,
    #[error("the frame is compressed, which is not supported")]
    Compressed,
    #[error("the frame has {0} rows, more than its size allows")]
    TooManyRows(i64),
    #[error("the frame's texts take more than {TEXT_BYTES_MAX} bytes when written out")]
    TooMuchText,
    #[error("the frame has too many columns")]
    TooManyColumns,
    #[error("the frame's dictionary comes in more than {DELTAS_MAX} parts")]
    TooManyParts,
    #[error("the frame is big endian, which is not supported")]
    BigEndian,
}

impl From<FrameError> for Reject {
    fn from(error: FrameError) -> Self {
        Self::whole(Cause::Malformed, error.to_string())
    }
}

/// The rows of `stream`. A stream that breaks off adds nothing: half a frame is not what its publisher meant.
pub(super) fn rows(table: &Table, stream: &[u8], extras: Extras, absent: Absent) -> Rows {
    let mut rows = Rows::default();
    match read(table, stream, extras, absent, &mut rows) {
        Ok(()) => rows,
        Err(reject) => Rows::rejected(reject),
    }
}

fn read(table: &Table, stream: &[u8], extras: Extras, absent: Absent, rows: &mut Rows) -> Result<(), Reject> {
    let mut messages = Messages { rest: stream };
    let mut schema: Option<Plan> = None;
    let mut dictionaries: HashMap<i64, Vec<Values<'_>>> = HashMap::new();
    let mut total = 0_usize;
    let mut text_bytes = 0_usize;
    while let Some((message, body)) = messages.next_message()? {
        match (message.header_type(), &schema) {
            (MessageHeader::Schema, None) => {
                let header = message.header_as_schema().ok_or(FrameError::Invalid("schema"))?;
                if header.endianness() != arrow_ipc::Endianness::Little {
                    return Err(FrameError::BigEndian.into());
                }
                let fields = layout::fields(&header, message.version() < MetadataVersion::V5)?;
                schema = Some(Plan::new(table, fields, absent)?);
            }
            (MessageHeader::DictionaryBatch, Some(plan)) => {
                let header = message.header_as_dictionary_batch().ok_or(FrameError::Invalid("dictionary"))?;
                let data = header.data().ok_or(FrameError::Invalid("dictionary"))?;
                // One that nobody of ours uses is passed over.
                let stored =
                    plan.fields.iter().zip(&plan.columns).filter(|(_, column)| column.is_some()).map(|(field, _)| field);
                let mut owners = stored.filter(|field| field.dictionary.is_some_and(|(id, _)| id == header.id()));
                if let Some(field) = owners.next() {
                    let length = checked_rows(&data, body.len(), 0)?;
                    let mut cursor = Cursor::new(&data, body)?;
                    let values = Values::read(field.kind, length, &mut cursor)?;
                    let known = dictionaries.entry(header.id()).or_default();
                    if !header.isDelta() {
                        known.clear();
                    }
                    if known.len() == DELTAS_MAX {
                        return Err(FrameError::TooManyParts.into());
                    }
                    known.push(values);
                }
            }
            (MessageHeader::RecordBatch, Some(plan)) => {
                let data = message.header_as_record_batch().ok_or(FrameError::Invalid("record batch"))?;
                let length = checked_rows(&data, stream.len(), total)?;
                total += length;
                if total > super::ROWS_BYTES_MAX / super::row_bytes(table) {
                    return Err(super::too_large());
                }
                batch(table, plan, &data, body, length, &dictionaries, extras, rows, &mut text_bytes)?;
            }
            _ => return Err(FrameError::Invalid("order of messages").into()),
        }
    }
    if schema.is_none() { Err(FrameError::Short("schema").into()) } else { Ok(()) }
}

fn checked_rows(data: &RecordBatch<'_>, bytes: usize, before: usize) -> Result<usize, FrameError> {
    let length = usize::try_from(data.length()).map_err(|_| FrameError::Invalid("row count"))?;
    let most = bytes.min(ROWS_MAX);
    if length.saturating_add(before) > most { Err(FrameError::TooManyRows(data.length())) } else { Ok(length) }
}

#[expect(clippy::too_many_arguments, reason = "one call, and a struct for it would only rename these")]
fn batch<'a>(
    table: &Table,
    plan: &Plan,
    data: &RecordBatch<'a>,
    body: &'a [u8],
    length: usize,
    dictionaries: &HashMap<i64, Vec<Values<'a>>>,
    extras: Extras,
    rows: &mut Rows,
    text_bytes: &mut usize,
) -> Result<(), FrameError> {
    let mut cursor = Cursor::new(data, body)?;
    let mut columns: Vec<(usize, Values<'a>, Option<&[Values<'a>]>)> = Vec::new();
    for (field, column) in plan.fields.iter().zip(&plan.columns) {
        match column {
            Some(index) => {
                let entries = field.dictionary.map(|(id, _)| dictionaries.get(&id).map_or(&[][..], Vec::as_slice));
                let kind = field.dictionary.map_or(field.kind, |(_, index_kind)| index_kind);
                columns.push((*index, Values::read(kind, length, &mut cursor)?, entries));
            }
            None => field.pass(&mut cursor)?,
        }
    }
    for row in 0..length {
        let mut draft = Draft::new(table);
        let mut set = || {
            for (index, values, entries) in &columns {
                let item = match entries {
                    None => values.item(row),
                    Some(entries) => values.item(row).and_then(|at| values::entry(&at, entries)),
                };
                draft.set(*index, &item?)?;
            }
            Ok::<(), Reject>(())
        };
        let done = set().and_then(|()| draft.finish(extras));
        if let Ok(row) = &done {
            *text_bytes += row.cells.iter().map(text_length).sum::<usize>();
            if *text_bytes > TEXT_BYTES_MAX {
                return Err(FrameError::TooMuchText);
            }
        }
        rows.push(done);
    }
    Ok(())
}

fn text_length(cell: &Cell) -> usize {
    match cell {
        Cell::Text(text) => text.len(),
        Cell::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Which field of the frame goes into which column.
struct Plan {
    fields: Vec<Field>,
    /// One for each field.
    columns: Vec<Option<usize>>,
}

impl Plan {
    fn new(table: &Table, fields: Vec<Field>, absent: Absent) -> Result<Self, Reject> {
        let mut columns = vec![None; fields.len()];
        for (index, column) in table.columns.iter().enumerate() {
            let at = fields.iter().position(|field| field.name == column.name);
            match at {
                Some(at) if fields[at].kind == layout::Kind::Other => {
                    return Err(Reject::column(
                        Cause::Cast,
                        table,
                        index,
                        "the frame's column has a type that cannot be stored",
                    ));
                }
                Some(at) => columns[at] = Some(index),
                // The gateway fills the extras that a frame does not bring.
                None if column.source != ColumnSource::Payload || absent == Absent::Null => {}
                None => return Err(Reject::column(Cause::Missing, table, index, "not in the frame")),
            }
        }
        Ok(Self { fields, columns })
    }
}

/// The messages of a stream, one after the other.
struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(FrameError::Short(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn next_message(&mut self) -> Result<Option<(arrow_ipc::Message<'a>, &'a [u8])>, FrameError> {
        if self.rest.starts_with(b"ARROW1") {
            return Err(FrameError::FileFormat);
        }
        // Streams without the end marker exist and are fine, if they end between messages.
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.rest.starts_with(&[0xff; 4]) {
            self.take(4, "length")?;
        }
        let length = self.take(4, "length")?;
        let length = u32::from_le_bytes(length.try_into().expect("four bytes were taken"));
        if length == 0 {
            return Ok(None);
        }
        let metadata = self.take(usize::try_from(length).unwrap_or(usize::MAX), "metadata")?;
        let message = arrow_ipc::root_as_message(metadata).map_err(|_| FrameError::Invalid("metadata"))?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| FrameError::Invalid("body length"))?;
        Ok(Some((message, self.take(body, "body")?)))
    }
}

/// Walks the nodes and buffers of a batch in the order in which its columns own them.
struct Cursor<'a> {
    nodes: Vec<(i64, i64)>,
    buffers: Vec<(i64, i64)>,
    variadic: Vec<i64>,
    body: &'a [u8],
    node: usize,
    buffer: usize,
    view: usize,
}

impl<'a> Cursor<'a> {
    fn new(batch: &RecordBatch<'a>, body: &'a [u8]) -> Result<Self, FrameError> {
        if batch.compression().is_some() {
            return Err(FrameError::Compressed);
        }
        let nodes = batch.nodes().map(|nodes| nodes.iter().map(|node| (node.length(), node.null_count())).collect());
        let buffers = batch.buffers().map(|buffers| buffers.iter().map(|buffer| (buffer.offset(), buffer.length())).collect());
        let variadic = batch.variadicBufferCounts().map(|counts| counts.iter().collect());
        Ok(Self {
            nodes: nodes.unwrap_or_default(),
            buffers: buffers.unwrap_or_default(),
            variadic: variadic.unwrap_or_default(),
            body,
            node: 0,
            buffer: 0,
            view: 0,
        })
    }

    /// Whether the next column has nulls. Its length must be that of the batch.
    fn column(&mut self, length: usize) -> Result<bool, FrameError> {
        let (own, nulls) = *self.nodes.get(self.node).ok_or(FrameError::Short("columns"))?;
        self.node += 1;
        if usize::try_from(own) == Ok(length) { Ok(nulls != 0) } else { Err(FrameError::Invalid("column length")) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let (offset, length) = *self.buffers.get(self.buffer).ok_or(FrameError::Short("buffers"))?;
        self.buffer += 1;
        let range = || Some((usize::try_from(offset).ok()?, usize::try_from(length).ok()?));
        let (offset, length) = range().ok_or(FrameError::Invalid("buffer position"))?;
        let end = offset.checked_add(length).ok_or(FrameError::Invalid("buffer position"))?;
        self.body.get(offset..end).ok_or(FrameError::Short("body"))
    }

    /// How many data buffers the next column of views has.
    fn views(&mut self) -> Result<usize, FrameError> {
        let count = *self.variadic.get(self.view).ok_or(FrameError::Short("views"))?;
        self.view += 1;
        usize::try_from(count).ok().filter(|count| *count <= self.buffers.len()).ok_or(FrameError::Invalid("views"))
    }

    /// Passes over what somebody else's column owns.
    fn pass(&mut self, nodes: usize, buffers: usize) {
        self.node = self.node.saturating_add(nodes);
        self.buffer = self.buffer.saturating_add(buffers);
    }
}
