//! Rows of an answer as Arrow, typed as DuckDB types them.

use super::super::error::EngineError;
use crate::history::kind;
use crate::history::model::{Cell, ColumnKind};
use crate::history::sql::eval::Type;
use arrow_array::{ArrayRef, Decimal128Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// What DuckDB gives 128-bit integers as.
const HUGE: DataType = DataType::Decimal128(38, 0);

pub(super) fn schema<'a>(output: impl Iterator<Item = (&'a str, Type)>) -> Result<SchemaRef, String> {
    let fields = output.map(|(name, ty)| match ty {
        Type::Interval => {
            Err(format!("column {name} is of type INTERVAL, which clients cannot read; cast it, to TEXT for example"))
        }
        Type::Null => Ok(Field::new(name, DataType::Int32, true)),
        Type::Of(kind) if is_huge(kind) => Ok(Field::new(name, HUGE, true)),
        Type::Of(kind) => Ok(Field::new(name, super::super::arrow::data_type(kind), true)),
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
}

pub(super) fn batch<'a>(
    schema: &SchemaRef,
    output: impl Iterator<Item = (&'a str, Type)>,
    rows: &[Vec<Cell>],
) -> Result<RecordBatch, EngineError> {
    let arrays = output.enumerate().map(|(place, (name, ty))| {
        let cells = rows.iter().map(|row| row.get(place));
        let kind = if let Type::Of(kind) = ty { kind } else { ColumnKind::Integer };
        if is_huge(kind) {
            let whole = |cell: Option<&Cell>| if let Some(Cell::Integer(value)) = cell { Some(*value) } else { None };
            let array = Decimal128Array::from_iter(cells.map(whole)).with_precision_and_scale(38, 0);
            return array.map(|array| Arc::new(array) as ArrayRef).map_err(|error| EngineError::Arrow(error.to_string()));
        }
        // A result that is too large for its type must not become null without a word.
        if let Some((low, high)) = kind::integer_range(kind)
            && cells.clone().any(|cell| matches!(cell, Some(Cell::Integer(value)) if !(low..=high).contains(value)))
        {
            return Err(EngineError::Arrow(format!(
                "Out of Range Error: a value of {name} is too large for {}",
                kind::name(kind)
            )));
        }
        Ok(super::super::arrow::array(kind, cells))
    });
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(|error| EngineError::Arrow(error.to_string()))
}

fn is_huge(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::HugeInt | ColumnKind::UHugeInt)
}
