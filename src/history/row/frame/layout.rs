//! What the schema of a stream says about its columns: which kind of values, and how many nodes and buffers each owns.

use super::{Cursor, FrameError};
use arrow_ipc::{DateUnit, Precision, TimeUnit, Type, UnionMode};

/// Kinds of values that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    /// Bytes wide, with a sign.
    Int(usize),
    /// Bytes wide, without a sign.
    Uint(usize),
    /// Bytes wide: 2, 4 or 8.
    Float(usize),
    /// Offsets of so many bytes, then text (`true`) or bytes.
    Variable(usize, bool),
    /// 16 byte views, of text (`true`) or bytes.
    View(bool),
    FixedBytes(usize),
    /// Days since 1970 in 4 bytes.
    Days,
    /// Milliseconds since 1970 in 8 bytes, a whole day.
    DayMillis,
    /// So many units a second, in 8 bytes.
    Time(i64),
    /// Anything else: passed over.
    Other,
}

/// A column of the stream.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Of the values; a dictionary's entries if there is one.
    pub(super) kind: Kind,
    /// Id, and the kind of the indexes that stand in the batches.
    pub(super) dictionary: Option<(i64, Kind)>,
    own: Own,
    children: Vec<Self>,
}

/// Buffers that a column owns, besides those of its children.
#[derive(Debug, Clone, Copy)]
enum Own {
    Fixed(usize),
    /// Validity and views, and as many data buffers as the batch says.
    Views,
}

impl Field {
    /// Passes over the column in a batch.
    pub(super) fn pass(&self, cursor: &mut Cursor<'_>) -> Result<(), FrameError> {
        match self.own {
            _ if self.dictionary.is_some() => {
                cursor.pass(1, 2);
                return Ok(());
            }
            Own::Fixed(buffers) => cursor.pass(1, buffers),
            Own::Views => {
                let views = cursor.views()?;
                cursor.pass(1, views + 2);
            }
        }
        self.children.iter().try_for_each(|child| child.pass(cursor))
    }
}

/// The columns of a stream. Until version 4 of the format unions had a validity buffer.
pub(super) fn fields(schema: &arrow_ipc::Schema<'_>, old_unions: bool) -> Result<Vec<Field>, FrameError> {
    let fields = schema.fields().ok_or(FrameError::Invalid("schema"))?;
    let mut left = FIELDS_MAX;
    fields.iter().map(|field| read(&field, old_unions, &mut left)).collect()
}

/// Columns of a stream, those within others included. The metadata may name one and the same column in four bytes, a million times.
const FIELDS_MAX: usize = 16_384;
/// No column of a table has a longer name, so no more is kept of one: a megabyte of name may be shared by all columns.
const NAME_MAX: usize = 1_024;

/// Recursion is bounded by the verifier of the metadata, which allows 64 levels.
fn read(field: &arrow_ipc::Field<'_>, old_unions: bool, left: &mut usize) -> Result<Field, FrameError> {
    *left = left.checked_sub(1).ok_or(FrameError::TooManyColumns)?;
    let (kind, own) = kind(field, old_unions)?;
    let dictionary = match field.dictionary() {
        Some(encoding) => {
            // Without a type the indexes are 32 bit integers.
            let index = encoding.indexType().map_or(Ok(Kind::Int(4)), |int| integer(int.bitWidth(), int.is_signed()))?;
            Some((encoding.id(), index))
        }
        None => None,
    };
    let children = field.children().map(|children| children.iter().map(|child| read(&child, old_unions, left)).collect());
    Ok(Field {
        name: field.name().filter(|name| name.len() <= NAME_MAX).unwrap_or_default().to_owned(),
        kind,
        dictionary,
        own,
        children: children.transpose()?.unwrap_or_default(),
    })
}

fn integer(bits: i32, signed: bool) -> Result<Kind, FrameError> {
    let bytes = match bits {
        8 => 1,
        16 => 2,
        32 => 4,
        64 => 8,
        _ => return Err(FrameError::Invalid("integer width")),
    };
    Ok(if signed { Kind::Int(bytes) } else { Kind::Uint(bytes) })
}

fn kind(field: &arrow_ipc::Field<'_>, old_unions: bool) -> Result<(Kind, Own), FrameError> {
    let invalid = FrameError::Invalid("column type");
    Ok(match field.type_type() {
        Type::Null => (Kind::Null, Own::Fixed(0)),
        Type::Bool => (Kind::Bool, Own::Fixed(2)),
        Type::Int => {
            let int = field.type_as_int().ok_or(invalid)?;
            (integer(int.bitWidth(), int.is_signed())?, Own::Fixed(2))
        }
        Type::FloatingPoint => {
            let bytes = match field.type_as_floating_point().ok_or(invalid.clone())?.precision() {
                Precision::HALF => 2,
                Precision::SINGLE => 4,
                Precision::DOUBLE => 8,
                _ => return Err(invalid),
            };
            (Kind::Float(bytes), Own::Fixed(2))
        }
        Type::Utf8 => (Kind::Variable(4, true), Own::Fixed(3)),
        Type::LargeUtf8 => (Kind::Variable(8, true), Own::Fixed(3)),
        Type::Binary => (Kind::Variable(4, false), Own::Fixed(3)),
        Type::LargeBinary => (Kind::Variable(8, false), Own::Fixed(3)),
        Type::Utf8View => (Kind::View(true), Own::Views),
        Type::BinaryView => (Kind::View(false), Own::Views),
        Type::FixedSizeBinary => {
            let width = field.type_as_fixed_size_binary().ok_or(invalid.clone())?.byteWidth();
            (Kind::FixedBytes(usize::try_from(width).map_err(|_| invalid)?), Own::Fixed(2))
        }
        Type::Date => match field.type_as_date().ok_or(invalid)?.unit() {
            DateUnit::DAY => (Kind::Days, Own::Fixed(2)),
            _ => (Kind::DayMillis, Own::Fixed(2)),
        },
        Type::Timestamp => {
            let per_second = match field.type_as_timestamp().ok_or(invalid.clone())?.unit() {
                TimeUnit::SECOND => 1,
                TimeUnit::MILLISECOND => 1_000,
                TimeUnit::MICROSECOND => 1_000_000,
                TimeUnit::NANOSECOND => 1_000_000_000,
                _ => return Err(invalid),
            };
            (Kind::Time(per_second), Own::Fixed(2))
        }
        // Known only well enough to be passed over.
        Type::Decimal | Type::Time | Type::Interval | Type::Duration => (Kind::Other, Own::Fixed(2)),
        Type::List | Type::LargeList | Type::Map => (Kind::Other, Own::Fixed(2)),
        Type::ListView | Type::LargeListView => (Kind::Other, Own::Fixed(3)),
        Type::FixedSizeList | Type::Struct_ => (Kind::Other, Own::Fixed(1)),
        Type::RunEndEncoded => (Kind::Other, Own::Fixed(0)),
        Type::Union => {
            let dense = field.type_as_union().ok_or(invalid)?.mode() == UnionMode::Dense;
            (Kind::Other, Own::Fixed(1 + usize::from(dense) + usize::from(old_unions)))
        }
        _ => return Err(invalid),
    })
}
