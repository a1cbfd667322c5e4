//! A table as a JSON array of row objects.

use super::frame::{FrameError, Table};
use super::to_json::{base64, put};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, TimeUnit};
use jiff::tz::TimeZone;

/// Rows repeat the names of their columns: a small frame may become a very large text.
const JSON_MAX: usize = 64 << 20;

/// The rows of one batch as a JSON array of objects.
pub(super) fn of_batch(batch: &RecordBatch) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    let table = Table { schema: batch.schema(), batches: vec![batch.clone()] };
    write(&table, &mut out)?;
    Ok(out)
}

/// Appends the rows of `table`.
pub(super) fn write(table: &Table, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let limit = out.len() + JSON_MAX;
    out.push(b'[');
    let mut first = true;
    for batch in &table.batches {
        let names: Vec<Vec<u8>> = batch.schema_ref().fields().iter().map(|field| name(field.name())).collect();
        let columns: Vec<Column<'_>> = batch.columns().iter().map(Column::new).collect();
        for row in 0..batch.num_rows() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.push(b'{');
            for (index, (name, column)) in names.iter().zip(&columns).enumerate() {
                comma(index, out);
                out.extend_from_slice(name);
                column.cell(row, out);
            }
            out.push(b'}');
            if out.len() > limit {
                return Err(FrameError::TooLarge(JSON_MAX));
            }
        }
    }
    out.push(b']');
    Ok(())
}

fn name(name: &str) -> Vec<u8> {
    let mut json = Vec::with_capacity(name.len() + 3);
    put(&mut json, name);
    json.push(b':');
    json
}

fn comma(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// A column of a batch; of a dictionary the indices are resolved once, not for each row.
struct Column<'a> {
    array: &'a ArrayRef,
    indices: Option<(&'a ArrayRef, Vec<usize>)>,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Self {
        let dictionary = array.as_any_dictionary_opt().filter(|dictionary| !dictionary.values().is_empty());
        Self { array, indices: dictionary.map(|dictionary| (dictionary.values(), dictionary.normalized_keys())) }
    }

    fn cell(&self, row: usize, out: &mut Vec<u8>) {
        match &self.indices {
            Some((values, indices)) if self.array.is_valid(row) => {
                cell(values, indices.get(row).copied().unwrap_or_default(), out);
            }
            _ => cell(self.array, row, out),
        }
    }
}

fn cell(column: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match column.data_type() {
        DataType::Boolean => put(out, &column.as_boolean().value(row)),
        DataType::Int8 => put(out, &column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => put(out, &column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => put(out, &column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => put(out, &column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => put(out, &column.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => put(out, &column.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => put(out, &column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => put(out, &column.as_primitive::<UInt64Type>().value(row)),
        // serde_json writes null for NaN and the infinities.
        DataType::Float16 => put(out, &column.as_primitive::<Float16Type>().value(row).to_f32()),
        DataType::Float32 => put(out, &column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => put(out, &column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => put(out, column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => put(out, column.as_string::<i64>().value(row)),
        DataType::Utf8View => put(out, column.as_string_view().value(row)),
        DataType::Binary => base64(column.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => base64(column.as_binary::<i64>().value(row), out),
        DataType::BinaryView => base64(column.as_binary_view().value(row), out),
        DataType::Date32 => date(i64::from(column.as_primitive::<Date32Type>().value(row)), out),
        DataType::Date64 => date(column.as_primitive::<Date64Type>().value(row).div_euclid(86_400_000), out),
        DataType::Timestamp(unit, zone) => timestamp(column, *unit, zone.is_some(), row, out),
        DataType::Decimal128(_, 0) => whole(column.as_primitive::<Decimal128Type>().value(row), out),
        DataType::List(_) => list(&column.as_list::<i32>().value(row), out),
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(row), out),
        DataType::Struct(_) => structure(column.as_struct(), row, out),
        // A dictionary without values has only nulls; nothing else passes the check of the schema.
        _ => out.extend_from_slice(b"null"),
    }
}

/// As a text if a number of JSON could not hold it everywhere, like every integer beyond 64 bits.
fn whole(value: i128, out: &mut Vec<u8>) {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => put(out, &value),
        (_, Ok(value)) => put(out, &value),
        _ => put(out, value.to_string().as_str()),
    }
}

fn list(items: &ArrayRef, out: &mut Vec<u8>) {
    out.push(b'[');
    for index in 0..items.len() {
        comma(index, out);
        cell(items, index, out);
    }
    out.push(b']');
}

fn structure(fields: &StructArray, row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (column, array)) in fields.column_names().into_iter().zip(fields.columns()).enumerate() {
        comma(index, out);
        put(out, column);
        out.push(b':');
        cell(array, row, out);
    }
    out.push(b'}');
}

fn date(days: i64, out: &mut Vec<u8>) {
    let seconds = days.checked_mul(86_400).and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match seconds {
        Some(midnight) => put(out, midnight.to_zoned(TimeZone::UTC).date().to_string().as_str()),
        None => out.extend_from_slice(b"null"),
    }
}

/// ISO 8601; with the letter Z if the column has a zone (its instants are UTC), without if they are local times.
fn timestamp(column: &ArrayRef, unit: TimeUnit, zoned: bool, row: usize, out: &mut Vec<u8>) {
    let instant = match unit {
        TimeUnit::Second => jiff::Timestamp::from_second(column.as_primitive::<TimestampSecondType>().value(row)),
        TimeUnit::Millisecond => {
            jiff::Timestamp::from_millisecond(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        TimeUnit::Microsecond => {
            jiff::Timestamp::from_microsecond(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        TimeUnit::Nanosecond => {
            jiff::Timestamp::from_nanosecond(i128::from(column.as_primitive::<TimestampNanosecondType>().value(row)))
        }
    };
    match instant {
        Ok(instant) if zoned => put(out, instant.to_string().as_str()),
        Ok(instant) => put(out, instant.to_zoned(TimeZone::UTC).datetime().to_string().as_str()),
        Err(_) => out.extend_from_slice(b"null"),
    }
}
