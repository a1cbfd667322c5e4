//! Rows in Arrow columns, one of which can be looked at by a query.

use super::super::columns::stored_as_text;
use super::schema::{Stored, StoredColumn};
use crate::history::model::{Cell, ColumnKind, Table};
use crate::history::sql::eval::{Fields, Type, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, TimeUnit};
use std::borrow::Cow;

/// Columns by their place in the table; those that nobody needs are absent.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    columns: Vec<Option<Column>>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Column {
    /// The same for every row: a column that was added after the rows were written.
    Same(Cell),
    Boolean(BooleanArray),
    I8(Int8Array),
    I16(Int16Array),
    I32(Int32Array),
    I64(Int64Array),
    U8(UInt8Array),
    U16(UInt16Array),
    U32(UInt32Array),
    U64(UInt64Array),
    F32(Float32Array),
    F64(Float64Array),
    Text(StringArray),
    /// 128-bit integers, kept as text.
    Huge(StringArray),
    Blob(BinaryArray),
    Date(Date32Array),
    Timestamp(TimestampMicrosecondArray),
    /// Written when the column was of a narrower kind.
    Narrow(Box<Self>, Type, ColumnKind),
}

/// The batches of an answer that was made for a Rembus frame.
pub(in crate::history::engine) fn batches(frame: &[u8]) -> Option<Vec<RecordBatch>> {
    let stream = crate::history::engine::answer::stream_in(frame)?;
    arrow_ipc::reader::StreamReader::try_new(stream, None).ok()?.collect::<Result<_, _>>().ok()
}

/// The rows of a batch with a table's columns and the receive time; `None` if a column is of a kind that cells do not have.
pub(in crate::history::engine) fn cells(table: &Table, batch: &RecordBatch) -> Option<Vec<Vec<Cell>>> {
    let kinds = table.columns.iter().map(|column| column.kind).chain([ColumnKind::Timestamp]);
    let mut rows = Rows::new(batch.num_rows(), batch.num_columns());
    for (place, (kind, array)) in kinds.zip(batch.columns()).enumerate() {
        let column = StoredColumn { id: 0, name: String::new(), kind, initial: Cell::Null, since: 0 };
        if !rows.set(place, &column, array) {
            return None;
        }
    }
    let row = |at: usize| (0..batch.num_columns()).map(|place| rows.at(at).field(place).into_cell()).collect();
    Some((0..rows.len()).map(row).collect())
}

/// The rows of a data file as the table has them today, each with its record and when that was received; `None` if the file has
/// none of the hidden columns, or a column of another kind.
pub(in crate::history::engine) fn whole_rows(table: &Table, batch: &RecordBatch) -> Option<Vec<(Vec<Cell>, u64, i64)>> {
    let width = table.columns.len();
    let names = table.columns.iter().map(|column| (column.name.as_str(), column.kind));
    let hidden = [("_seq", ColumnKind::BigInt), ("_recv", ColumnKind::Timestamp)];
    let mut rows = Rows::new(batch.num_rows(), width + hidden.len());
    for (place, (name, kind)) in names.chain(hidden).enumerate() {
        let fields = batch.schema();
        let Some(found) = fields.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name)) else {
            // A column that is younger than the file; rows of the log have its default then, and so have these.
            let default = table.columns.get(place)?.default.clone().unwrap_or(Cell::Null);
            rows.set_same(place, default);
            continue;
        };
        let column = StoredColumn { id: 0, name: name.to_owned(), kind, initial: Cell::Null, since: 0 };
        if !rows.set(place, &column, batch.column(found)) {
            return None;
        }
    }
    let row = |at: usize| {
        let cells = (0..width).map(|place| rows.at(at).field(place).into_cell()).collect();
        (cells, rows.hidden(width, at).cast_unsigned(), rows.hidden(width + 1, at))
    };
    Some((0..rows.len()).map(row).collect())
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowAt<'a> {
    rows: &'a Rows,
    at: usize,
}

impl Rows {
    pub(super) fn new(len: usize, columns: usize) -> Self {
        Self { columns: vec![None; columns], len }
    }

    /// A batch of the tail, which has every column in its place.
    pub(super) fn of(batch: &arrow_array::RecordBatch, stored: &Stored) -> Self {
        let mut rows = Self::new(batch.num_rows(), stored.columns.len());
        for (place, (column, array)) in stored.columns.iter().zip(batch.columns()).enumerate() {
            let known = rows.set(place, column, array);
            debug_assert!(known, "the tail is made of kinds that columns can have");
        }
        rows
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn at(&self, at: usize) -> RowAt<'_> {
        RowAt { rows: self, at }
    }

    pub(super) fn set_same(&mut self, place: usize, cell: Cell) {
        if let Some(column) = self.columns.get_mut(place) {
            *column = Some(Column::Same(cell));
        }
    }

    /// `false` for an array of a kind that the column cannot have.
    pub(super) fn set(&mut self, place: usize, column: &StoredColumn, array: &ArrayRef) -> bool {
        let made = match array.data_type() {
            DataType::Boolean => Column::Boolean(array.as_boolean().clone()),
            DataType::Int8 => Column::I8(array.as_primitive::<Int8Type>().clone()),
            DataType::Int16 => Column::I16(array.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Column::I32(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Column::I64(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt8 => Column::U8(array.as_primitive::<UInt8Type>().clone()),
            DataType::UInt16 => Column::U16(array.as_primitive::<UInt16Type>().clone()),
            DataType::UInt32 => Column::U32(array.as_primitive::<UInt32Type>().clone()),
            DataType::UInt64 => Column::U64(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float32 => Column::F32(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Column::F64(array.as_primitive::<Float64Type>().clone()),
            DataType::Utf8 if stored_as_text(column.kind) => Column::Huge(array.as_string::<i32>().clone()),
            DataType::Utf8 => Column::Text(array.as_string::<i32>().clone()),
            DataType::Binary => Column::Blob(array.as_binary::<i32>().clone()),
            DataType::Date32 => Column::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Column::Timestamp(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            _ => return false,
        };
        let made = match made.narrower(column.kind) {
            Some(from) => Column::Narrow(Box::new(made), from, column.kind),
            None => made,
        };
        if let Some(place) = self.columns.get_mut(place) {
            *place = Some(made);
        }
        true
    }

    /// The value of a hidden column, which is never null.
    pub(super) fn hidden(&self, place: usize, at: usize) -> i64 {
        match self.at(at).field(place) {
            Value::Integer(value) => i64::try_from(value).unwrap_or(i64::MAX),
            Value::Timestamp(value) => value,
            _ => 0,
        }
    }
}

macro_rules! whole {
    ($array:expr, $at:expr) => {
        if $array.is_null($at) { Value::Null } else { Value::Integer($array.value($at).into()) }
    };
}

impl Fields for RowAt<'_> {
    fn field(&self, index: usize) -> Value<'_> {
        match self.rows.columns.get(index) {
            Some(Some(column)) => column.value(self.at),
            _ => Value::Null,
        }
    }
}

impl Column {
    fn value(&self, at: usize) -> Value<'_> {
        match self {
            Self::Narrow(inner, from, kind) => inner.value(at).cast(*from, *kind).unwrap_or(Value::Null),
            Self::Same(cell) => Value::of(cell),
            Self::I8(array) => whole!(array, at),
            Self::I16(array) => whole!(array, at),
            Self::I32(array) => whole!(array, at),
            Self::I64(array) => whole!(array, at),
            Self::U8(array) => whole!(array, at),
            Self::U16(array) => whole!(array, at),
            Self::U32(array) => whole!(array, at),
            Self::U64(array) => whole!(array, at),
            column if column.is_null(at) => Value::Null,
            Self::Boolean(array) => Value::Boolean(array.value(at)),
            Self::F32(array) => Value::Float(array.value(at).into()),
            Self::F64(array) => Value::Float(array.value(at)),
            Self::Text(array) => Value::Text(Cow::Borrowed(array.value(at))),
            Self::Huge(array) => array.value(at).parse().map_or(Value::Null, Value::Integer),
            Self::Blob(array) => Value::Blob(Cow::Borrowed(array.value(at))),
            Self::Date(array) => Value::Date(array.value(at)),
            Self::Timestamp(array) => Value::Timestamp(array.value(at)),
        }
    }
}

impl Column {
    /// The kind that the values have, if they are not yet as `kind` has them.
    fn narrower(&self, kind: ColumnKind) -> Option<Type> {
        let float = matches!(kind, ColumnKind::Float | ColumnKind::Double);
        match self {
            Self::Boolean(_) if kind != ColumnKind::Boolean => Some(Type::Of(ColumnKind::Boolean)),
            Self::I8(_) | Self::I16(_) | Self::I32(_) | Self::U8(_) | Self::U16(_) | Self::U32(_) if float => {
                Some(Type::Of(ColumnKind::BigInt))
            }
            Self::Date(_) if kind == ColumnKind::Timestamp => Some(Type::Of(ColumnKind::Date)),
            _ => None,
        }
    }

    fn is_null(&self, at: usize) -> bool {
        match self {
            Self::Boolean(array) => array.is_null(at),
            Self::F32(array) => array.is_null(at),
            Self::F64(array) => array.is_null(at),
            Self::Text(array) | Self::Huge(array) => array.is_null(at),
            Self::Blob(array) => array.is_null(at),
            Self::Date(array) => array.is_null(at),
            Self::Timestamp(array) => array.is_null(at),
            _ => false,
        }
    }
}
