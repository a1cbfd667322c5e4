//! Answers, so that they can be compared.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Whole(i128),
    Float(f64),
    Other(String),
}

/// Types and rows, or the error.
pub(super) type Answered = Result<(Vec<DataType>, Vec<Vec<Value>>), String>;

pub(super) fn rows(batches: &[RecordBatch]) -> (Vec<DataType>, Vec<Vec<Value>>) {
    let types = batches.first().map(|batch| batch.schema().fields().iter().map(|field| field.data_type().clone()).collect());
    let rows = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(|at| batch.columns().iter().map(|column| value(column, at)).collect::<Vec<_>>())
    });
    (types.unwrap_or_default(), rows.collect())
}

fn value(array: &dyn Array, at: usize) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    macro_rules! whole {
        ($kind:ty) => {
            Value::Whole(array.as_primitive::<$kind>().value(at).into())
        };
    }
    match array.data_type() {
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Decimal128(_, 0) => whole!(Decimal128Type),
        #[expect(clippy::cast_precision_loss, reason = "literals of stock DuckDB, which are short")]
        DataType::Decimal128(_, scale) => {
            Value::Float(array.as_primitive::<Decimal128Type>().value(at) as f64 / 10f64.powi((*scale).into()))
        }
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(at).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(at)),
        DataType::Boolean => Value::Other(array.as_boolean().value(at).to_string()),
        DataType::Utf8 => Value::Other(array.as_string::<i32>().value(at).to_owned()),
        DataType::Binary => Value::Other(format!("{:?}", array.as_binary::<i32>().value(at))),
        DataType::Date32 => Value::Other(format!("day {}", array.as_primitive::<Date32Type>().value(at))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Other(format!("at {}", array.as_primitive::<TimestampMicrosecondType>().value(at)))
        }
        other => Value::Other(format!("{other:?}")),
    }
}

/// Floats are the same to some digits: sums are added up in another order.
#[expect(clippy::cast_precision_loss, reason = "a whole number beside a float")]
fn alike(a: &Value, b: &Value) -> bool {
    let near = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => near(*a, *b),
        (Value::Whole(a), Value::Float(b)) | (Value::Float(b), Value::Whole(a)) => near(*a as f64, *b),
        (a, b) => a == b,
    }
}

/// The same rows, whatever their types are called.
pub(super) fn same_values(a: &Answered, b: &Answered) -> bool {
    match (a, b) {
        (Ok((_, a)), Ok((_, b))) => {
            // Groups come in any order.
            let sorted = |rows: &[Vec<Value>]| {
                let mut rows = rows.to_vec();
                rows.sort_by_key(|row| format!("{row:?}"));
                rows
            };
            let same = |a: &[Vec<Value>], b: &[Vec<Value>]| {
                let each = |(a, b): (&Vec<Value>, &Vec<Value>)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b));
                a.len() == b.len() && a.iter().zip(b).all(each)
            };
            same(a, b) || same(&sorted(a), &sorted(b))
        }
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// The same rows of the same types.
pub(super) fn same(a: &Answered, b: &Answered) -> bool {
    let types = |answer: &Answered| answer.as_ref().ok().map(|(types, _)| types.clone());
    same_values(a, b) && types(a) == types(b)
}
