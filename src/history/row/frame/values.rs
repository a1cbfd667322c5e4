//! The values of one column in one batch, read from its buffers.

use super::layout::Kind;
use super::{Cause, Cursor, FrameError, Reject};
use crate::history::row::item::{Item, half};
use std::borrow::Cow;

/// A column's buffers, borrowed from the stream.
#[derive(Debug)]
pub(super) struct Values<'a> {
    kind: Kind,
    length: usize,
    /// A bit for each value; empty if none is null.
    validity: &'a [u8],
    /// Fixed width values, bits, offsets or views.
    fixed: &'a [u8],
    /// What offsets and views point into.
    data: Vec<&'a [u8]>,
}

impl<'a> Values<'a> {
    /// Takes the column's buffers and checks that the fixed ones are as long as they must be.
    pub(super) fn read(kind: Kind, length: usize, cursor: &mut Cursor<'a>) -> Result<Self, FrameError> {
        let has_nulls = cursor.column(length)?;
        let mut values = Self { kind, length, validity: &[], fixed: &[], data: Vec::new() };
        if matches!(kind, Kind::Null) {
            return Ok(values);
        }
        let views = if matches!(kind, Kind::View(_)) { cursor.views()? } else { 0 };
        let validity = cursor.bytes()?;
        if has_nulls {
            values.validity = validity.get(..length.div_ceil(8)).ok_or(FrameError::Short("validity"))?;
        }
        values.fixed = cursor.bytes()?;
        let needed = match kind {
            Kind::Null | Kind::Other => 0,
            Kind::Bool => length.div_ceil(8),
            // An empty column may come without its one offset.
            Kind::Variable(width, _) => {
                if length == 0 {
                    0
                } else {
                    length.saturating_add(1).saturating_mul(width)
                }
            }
            Kind::Int(width) | Kind::Uint(width) | Kind::Float(width) | Kind::FixedBytes(width) => length.saturating_mul(width),
            Kind::View(_) => length.saturating_mul(16),
            Kind::Days => length.saturating_mul(4),
            Kind::DayMillis | Kind::Time(_) => length.saturating_mul(8),
        };
        if values.fixed.len() < needed {
            return Err(FrameError::Short("values"));
        }
        match kind {
            Kind::Variable(..) => values.data.push(cursor.bytes()?),
            Kind::View(_) => {
                for _ in 0..views {
                    values.data.push(cursor.bytes()?);
                }
            }
            _ => {}
        }
        Ok(values)
    }

    /// The value at `row`.
    pub(super) fn item(&self, row: usize) -> Result<Item<'a>, Reject> {
        if row >= self.length {
            return Err(broken("index"));
        }
        if !self.validity.is_empty() && !bit(self.validity, row) {
            return Ok(Item::Null);
        }
        Ok(match self.kind {
            Kind::Null | Kind::Other => Item::Null,
            Kind::Bool => Item::Bool(bit(self.fixed, row)),
            Kind::Int(width) => Item::Integer(self.int(row, width).into()),
            Kind::Uint(width) => Item::Integer(self.uint(self.fixed, row, width).into()),
            Kind::Float(width) => {
                let bits = self.uint(self.fixed, row, width);
                Item::Float(match width {
                    2 => half(u16::try_from(bits).unwrap_or_default()),
                    4 => f32::from_bits(u32::try_from(bits).unwrap_or_default()).into(),
                    _ => f64::from_bits(bits),
                })
            }
            Kind::Variable(width, text) => {
                let at = |row| usize::try_from(self.uint(self.fixed, row, width)).unwrap_or(usize::MAX);
                let bytes = self.data.first().and_then(|data| data.get(at(row)..at(row + 1)));
                string(bytes.ok_or(broken("offsets"))?, text)?
            }
            Kind::View(text) => string(self.view(row).ok_or(broken("views"))?, text)?,
            Kind::FixedBytes(width) => Item::Bytes(Cow::Borrowed(&self.fixed[row * width..][..width])),
            Kind::Days => Item::Days(i32::try_from(self.int(row, 4)).unwrap_or_default()),
            Kind::DayMillis => {
                let days = self.int(row, 8).div_euclid(86_400_000);
                Item::Days(i32::try_from(days).map_err(|_| broken("dates"))?)
            }
            Kind::Time(per_second) => {
                let count = self.int(row, 8);
                let micros = match per_second {
                    1_000_000_000 => Some(count.div_euclid(1_000)),
                    per_second => count.checked_mul(1_000_000 / per_second),
                };
                Item::Micros(micros.ok_or(broken("times"))?)
            }
        })
    }

    fn view(&self, row: usize) -> Option<&'a [u8]> {
        let view = self.fixed.get(row * 16..)?.get(..16)?;
        let word = |at: usize| self.uint(view, at, 4);
        let length = usize::try_from(word(0)).ok()?;
        if length <= 12 {
            return view.get(4..)?.get(..length);
        }
        let data = self.data.get(usize::try_from(word(2)).ok()?)?;
        data.get(usize::try_from(word(3)).ok()?..)?.get(..length)
    }

    fn uint(&self, from: &[u8], at: usize, width: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&from[at * width..][..width]);
        u64::from_le_bytes(bytes)
    }

    fn int(&self, at: usize, width: usize) -> i64 {
        let unused = 64 - 8 * u32::try_from(width).unwrap_or(8);
        (self.uint(self.fixed, at, width) << unused).cast_signed() >> unused
    }
}

/// The entry of a dictionary that `index` names; deltas append entries.
pub(super) fn entry<'a>(index: &Item<'_>, chunks: &[Values<'a>]) -> Result<Item<'a>, Reject> {
    let Item::Integer(index) = index else { return Ok(Item::Null) };
    let mut index = usize::try_from(*index).map_err(|_| broken("index"))?;
    for chunk in chunks {
        if index < chunk.length {
            return chunk.item(index);
        }
        index -= chunk.length;
    }
    Err(broken("index"))
}

fn string(bytes: &[u8], text: bool) -> Result<Item<'_>, Reject> {
    if !text {
        return Ok(Item::Bytes(Cow::Borrowed(bytes)));
    }
    std::str::from_utf8(bytes).map(|text| Item::Text(Cow::Borrowed(text))).map_err(|_| broken("text"))
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

fn broken(what: &str) -> Reject {
    Reject::whole(Cause::Malformed, format!("the frame's {what} is not valid"))
}
