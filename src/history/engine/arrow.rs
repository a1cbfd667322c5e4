//! Rows of the tail as Arrow, the form in which DuckDB takes many at once.

use super::columns::{HIDDEN, stored_as_text};
use super::error::EngineError;
use super::tail::TailRow;
use crate::history::model::{Cell, ColumnKind, Table};
use arrow_array::types::{ArrowPrimitiveType, UInt64Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, types,
};
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

/// The stored columns, the hidden ones, and for keyed tables one flag a column that tells whether the row set it.
pub(super) fn batch(table: &Table, rows: &[TailRow]) -> Result<RecordBatch, EngineError> {
    let keyed = !table.keys.is_empty();
    let mut names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let mut arrays: Vec<ArrayRef> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, column)| array(column.kind, rows.iter().map(move |row| row.cells.get(i))))
        .collect();
    names.extend(HIDDEN.iter().map(|(name, ..)| (*name).to_owned()));
    arrays.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.seq.0.cast_signed()))));
    arrays.push(Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.received_us))));
    if keyed {
        for i in 0..table.columns.len() {
            names.push(flag(i));
            arrays.push(Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.named.get(i).copied()))));
        }
    }
    let fields: Vec<Field> =
        names.into_iter().zip(&arrays).map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| EngineError::Arrow(e.to_string()))
}

/// Name of the column that tells whether a tail row set column `i`.
pub(super) fn flag(i: usize) -> String {
    format!("_set_{i}")
}

/// Arrow's type of a stored column.
pub(super) fn data_type(kind: ColumnKind) -> DataType {
    array(kind, std::iter::empty()).data_type().clone()
}

/// Cells of one column.
pub(super) fn array<'a>(kind: ColumnKind, cells: impl Iterator<Item = Option<&'a Cell>>) -> ArrayRef {
    if stored_as_text(kind) {
        return Arc::new(StringArray::from_iter(cells.map(|cell| integer(cell).map(|n| n.to_string()))));
    }
    match kind {
        ColumnKind::Boolean => Arc::new(BooleanArray::from_iter(cells.map(|cell| match cell {
            Some(Cell::Boolean(value)) => Some(*value),
            _ => None,
        }))),
        ColumnKind::TinyInt => integers::<types::Int8Type>(cells),
        ColumnKind::SmallInt => integers::<types::Int16Type>(cells),
        ColumnKind::Integer => integers::<types::Int32Type>(cells),
        ColumnKind::BigInt | ColumnKind::HugeInt => integers::<types::Int64Type>(cells),
        ColumnKind::UTinyInt => integers::<types::UInt8Type>(cells),
        ColumnKind::USmallInt => integers::<types::UInt16Type>(cells),
        ColumnKind::UInteger => integers::<types::UInt32Type>(cells),
        ColumnKind::UBigInt | ColumnKind::UHugeInt => integers::<UInt64Type>(cells),
        #[expect(clippy::cast_possible_truncation, reason = "the cell was rounded to f32 when it was made")]
        ColumnKind::Float => Arc::new(Float32Array::from_iter(cells.map(|cell| float(cell).map(|f| f as f32)))),
        ColumnKind::Double => Arc::new(Float64Array::from_iter(cells.map(float))),
        ColumnKind::Text => Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
            Some(Cell::Text(value)) => Some(value.as_str()),
            _ => None,
        }))),
        ColumnKind::Blob => Arc::new(BinaryArray::from_iter(cells.map(|cell| match cell {
            Some(Cell::Blob(value)) => Some(value.as_slice()),
            _ => None,
        }))),
        ColumnKind::Date => Arc::new(Date32Array::from_iter(cells.map(|cell| match cell {
            Some(Cell::Date(value)) => Some(*value),
            _ => None,
        }))),
        ColumnKind::Timestamp => Arc::new(TimestampMicrosecondArray::from_iter(cells.map(|cell| match cell {
            Some(Cell::Timestamp(value)) => Some(*value),
            _ => None,
        }))),
    }
}

fn integers<'a, T: ArrowPrimitiveType>(cells: impl Iterator<Item = Option<&'a Cell>>) -> ArrayRef
where
    T::Native: TryFrom<i128>,
{
    let values = cells.map(|cell| integer(cell).and_then(|n| T::Native::try_from(n).ok()));
    Arc::new(values.collect::<PrimitiveArray<T>>())
}

fn integer(cell: Option<&Cell>) -> Option<i128> {
    match cell {
        Some(Cell::Integer(value)) => Some(*value),
        _ => None,
    }
}

fn float(cell: Option<&Cell>) -> Option<f64> {
    match cell {
        Some(Cell::Float(value)) => Some(*value),
        _ => None,
    }
}
