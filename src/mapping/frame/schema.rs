//! The schema of a frame: which columns there are, and only kinds that the reader handles without a panic.

use super::{COLUMNS_MAX, FrameError, LEVELS_MAX};
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{DateUnit, Endianness, Field, Precision, Schema, TimeUnit, Type};
use arrow_schema::DataType;

/// What the layout of a column depends on.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) data_type: DataType,
    dictionary: Option<i64>,
}

impl Column {
    pub(super) fn plain(data_type: DataType) -> Self {
        Self { data_type, dictionary: None }
    }

    /// The type of the values of dictionary `id`, if this column uses it.
    pub(super) fn dictionary_values(&self, id: i64) -> Option<DataType> {
        match &self.data_type {
            DataType::Dictionary(_, values) if self.dictionary == Some(id) => Some(values.as_ref().clone()),
            _ => None,
        }
    }
}

/// Checks a schema, then converts it with the library.
pub(super) fn read(schema: Schema<'_>) -> Result<Vec<Column>, FrameError> {
    if schema.endianness() != Endianness::Little {
        return Err(FrameError::Unsupported("big endian numbers"));
    }
    let fields = schema.fields().ok_or(FrameError::Layout)?;
    let mut room = COLUMNS_MAX;
    for field in fields {
        check(field, LEVELS_MAX, &mut room)?;
    }
    let ids = fields.iter().map(|field| field.dictionary().map(|dictionary| dictionary.id()));
    let converted = fb_to_schema(schema);
    let columns = converted.fields().iter().map(|field| field.data_type().clone());
    Ok(columns.zip(ids).map(|(data_type, dictionary)| Column { data_type, dictionary }).collect())
}

fn check(field: Field<'_>, levels: usize, room: &mut usize) -> Result<(), FrameError> {
    let levels = levels.checked_sub(1).ok_or(FrameError::Unsupported("columns nested too deeply"))?;
    *room = room.checked_sub(1).ok_or(FrameError::Unsupported("too many columns"))?;
    let children = || field.children().into_iter().flatten();
    let known = match field.type_type() {
        Type::Null | Type::Bool | Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => true,
        Type::Binary | Type::LargeBinary | Type::BinaryView => true,
        Type::Int => field.type_as_int().is_some_and(|int| matches!(int.bitWidth(), 8 | 16 | 32 | 64)),
        Type::FloatingPoint => field
            .type_as_floating_point()
            .is_some_and(|float| matches!(float.precision(), Precision::HALF | Precision::SINGLE | Precision::DOUBLE)),
        Type::Date => field.type_as_date().is_some_and(|date| matches!(date.unit(), DateUnit::DAY | DateUnit::MILLISECOND)),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|time| {
            matches!(time.unit(), TimeUnit::SECOND | TimeUnit::MILLISECOND | TimeUnit::MICROSECOND | TimeUnit::NANOSECOND)
        }),
        // What DuckDB's integers of 128 bits become; a sum of integers is one.
        Type::Decimal => {
            field.type_as_decimal().is_some_and(|d| d.bitWidth() == 128 && (1..=38).contains(&d.precision()) && d.scale() == 0)
        }
        Type::List | Type::LargeList => children().count() == 1,
        // Without columns its length would stand for nothing.
        Type::Struct_ => children().count() > 0,
        _ => false,
    };
    if !known {
        return Err(FrameError::Unsupported("a column of a type that Rembus does not use"));
    }
    if let Some(dictionary) = field.dictionary() {
        let index = dictionary.indexType().is_some_and(|int| matches!(int.bitWidth(), 8 | 16 | 32 | 64));
        let text = matches!(field.type_type(), Type::Utf8 | Type::LargeUtf8 | Type::Utf8View);
        // Of nested ones the reader would look up values in an order of its own.
        let top = levels + 1 == LEVELS_MAX;
        return if index && text && top { Ok(()) } else { Err(FrameError::Unsupported("a dictionary that is not of text")) };
    }
    children().try_for_each(|child| check(child, levels, room))
}
