//! MessagePack, which busrt programs speak by custom, from and to CBOR; one pass each way, nothing allocated from a declared
//! length.

use super::{frame, number, rows};
use crate::rembus::cbor::{self, CborError, Items, Reader, Writer};
use bytes::Bytes;
use ciborium_ll::{Header, simple};
use rmp::{Marker, encode};

/// As deep as the other mappings go.
const DEPTH_MAX: usize = cbor::DEPTH_MAX;
const FRAME_TAG: u64 = 80;
const BIGNUM_TAG: u64 = 2;
const NEGATIVE_BIGNUM_TAG: u64 = 3;
/// The extension that is a time.
const TIME: i8 = -1;

/// MessagePack as an argument list in CBOR: nothing or nil is no argument, an array all of them, anything else the only one.
/// `None` if it is not MessagePack.
#[must_use]
pub fn pack_to_arguments(payload: &[u8]) -> Option<Bytes> {
    let mut writer = Writer::with_capacity(payload.len() + 8);
    match payload.first().map(|first| Marker::from_u8(*first)) {
        None => {
            writer.array(0);
            return Some(writer.finish().into());
        }
        Some(Marker::Null) if payload.len() == 1 => {
            writer.array(0);
            return Some(writer.finish().into());
        }
        Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32) => {}
        Some(_) => {
            writer.array(1);
        }
    }
    whole(payload, writer)
}

/// MessagePack as a value in CBOR, nothing as null. `None` if it is not MessagePack.
#[must_use]
pub fn pack_to_cbor(payload: &[u8]) -> Option<Bytes> {
    if payload.is_empty() {
        return Some(Bytes::from_static(cbor::NULL));
    }
    whole(payload, Writer::with_capacity(payload.len() + 8))
}

fn whole(payload: &[u8], mut writer: Writer) -> Option<Bytes> {
    let mut input = Input(payload);
    input.value(&mut writer, 0)?;
    input.0.is_empty().then(|| writer.finish().into())
}

/// What is not read yet.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn len(&mut self, bytes: usize) -> Option<usize> {
        let number = self.take(bytes)?.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        usize::try_from(number).ok()
    }

    fn value(&mut self, out: &mut Writer, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match Marker::from_u8(self.array::<1>()?[0]) {
            Marker::Null | Marker::Reserved => {
                out.null();
            }
            Marker::True => {
                out.bool(true);
            }
            Marker::False => {
                out.bool(false);
            }
            Marker::FixPos(number) => {
                out.unsigned(number.into());
            }
            Marker::FixNeg(number) => {
                out.integer(number.into());
            }
            Marker::U8 => {
                out.unsigned(self.array::<1>()?[0].into());
            }
            Marker::U16 => {
                out.unsigned(u16::from_be_bytes(self.array()?).into());
            }
            Marker::U32 => {
                out.unsigned(u32::from_be_bytes(self.array()?).into());
            }
            Marker::U64 => {
                out.unsigned(u64::from_be_bytes(self.array()?));
            }
            Marker::I8 => {
                out.integer(i8::from_be_bytes(self.array()?).into());
            }
            Marker::I16 => {
                out.integer(i16::from_be_bytes(self.array()?).into());
            }
            Marker::I32 => {
                out.integer(i32::from_be_bytes(self.array()?).into());
            }
            Marker::I64 => {
                out.integer(i64::from_be_bytes(self.array()?));
            }
            Marker::F32 => {
                out.float(f32::from_be_bytes(self.array()?).into());
            }
            Marker::F64 => {
                out.float(f64::from_be_bytes(self.array()?));
            }
            Marker::FixStr(len) => self.text(len.into(), out)?,
            Marker::Str8 => {
                let len = self.len(1)?;
                self.text(len, out)?;
            }
            Marker::Str16 => {
                let len = self.len(2)?;
                self.text(len, out)?;
            }
            Marker::Str32 => {
                let len = self.len(4)?;
                self.text(len, out)?;
            }
            Marker::Bin8 => {
                let len = self.len(1)?;
                out.bytes(self.take(len)?);
            }
            Marker::Bin16 => {
                let len = self.len(2)?;
                out.bytes(self.take(len)?);
            }
            Marker::Bin32 => {
                let len = self.len(4)?;
                out.bytes(self.take(len)?);
            }
            Marker::FixArray(len) => self.items(len.into(), out, depth)?,
            Marker::Array16 => {
                let len = self.len(2)?;
                self.items(len, out, depth)?;
            }
            Marker::Array32 => {
                let len = self.len(4)?;
                self.items(len, out, depth)?;
            }
            Marker::FixMap(len) => self.pairs(len.into(), out, depth)?,
            Marker::Map16 => {
                let len = self.len(2)?;
                self.pairs(len, out, depth)?;
            }
            Marker::Map32 => {
                let len = self.len(4)?;
                self.pairs(len, out, depth)?;
            }
            Marker::FixExt1 => self.extension(1, out)?,
            Marker::FixExt2 => self.extension(2, out)?,
            Marker::FixExt4 => self.extension(4, out)?,
            Marker::FixExt8 => self.extension(8, out)?,
            Marker::FixExt16 => self.extension(16, out)?,
            Marker::Ext8 => {
                let len = self.len(1)?;
                self.extension(len, out)?;
            }
            Marker::Ext16 => {
                let len = self.len(2)?;
                self.extension(len, out)?;
            }
            Marker::Ext32 => {
                let len = self.len(4)?;
                self.extension(len, out)?;
            }
        }
        Some(())
    }

    /// Old writers put bytes into texts.
    fn text(&mut self, len: usize, out: &mut Writer) -> Option<()> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => out.text(text),
            Err(_) => out.bytes(bytes),
        };
        Some(())
    }

    fn items(&mut self, count: usize, out: &mut Writer, depth: usize) -> Option<()> {
        // Each takes a byte at least: a claim beyond that is found out before anything is written for it.
        if count > self.0.len() {
            return None;
        }
        out.array(count);
        (0..count).try_for_each(|_| self.value(out, depth + 1))
    }

    fn pairs(&mut self, count: usize, out: &mut Writer, depth: usize) -> Option<()> {
        if count > self.0.len() / 2 {
            return None;
        }
        out.map(count);
        (0..count * 2).try_for_each(|_| self.value(out, depth + 1))
    }

    fn extension(&mut self, len: usize, out: &mut Writer) -> Option<()> {
        let kind = i8::from_be_bytes(self.array()?);
        let bytes = self.take(len)?;
        match time(kind, bytes) {
            Some((seconds, 0)) => out.integer(seconds),
            #[expect(clippy::cast_precision_loss, reason = "a float is what seconds with a fraction are")]
            Some((seconds, nanoseconds)) => out.float(seconds as f64 + f64::from(nanoseconds) / 1e9),
            None => out.bytes(bytes),
        };
        Some(())
    }
}

/// Seconds and nanoseconds of a time, in its three sizes.
fn time(kind: i8, bytes: &[u8]) -> Option<(i64, u32)> {
    match (kind, bytes.len()) {
        (TIME, 4) => Some((u32::from_be_bytes(bytes.try_into().ok()?).into(), 0)),
        (TIME, 8) => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            Some((i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?))
        }
        (TIME, 12) => {
            let (nanoseconds, seconds) = bytes.split_at_checked(4)?;
            let nanoseconds = u32::from_be_bytes(nanoseconds.try_into().ok()?);
            Some((i64::from_be_bytes(seconds.try_into().ok()?), nanoseconds))
        }
        _ => None,
    }
}

/// A CBOR value as MessagePack. Total: what cannot be read goes as its bytes.
#[must_use]
pub fn cbor_to_pack(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 8);
    if value(&mut Reader::new(data), &mut out, 0).is_err() {
        out.clear();
        bytes(data, &mut out);
    }
    out
}

/// An argument list as the payload of a publication: nothing, the only argument, or an array of several.
#[must_use]
pub fn arguments_to_pack(data: &[u8]) -> Vec<u8> {
    match arguments(data) {
        Some(Arguments::None) => Vec::new(),
        Some(Arguments::One(only)) => cbor_to_pack(only),
        Some(Arguments::Several) | None => cbor_to_pack(data),
    }
}

/// An argument list as the parameters of a call: nothing, the map that is the only argument, or an array.
#[must_use]
pub fn parameters_to_pack(data: &[u8]) -> Vec<u8> {
    match arguments(data) {
        Some(Arguments::None) => Vec::new(),
        Some(Arguments::One(only)) if matches!(Reader::new(only).peek(), Ok(Header::Map(_))) => cbor_to_pack(only),
        _ => cbor_to_pack(data),
    }
}

enum Arguments<'a> {
    None,
    One(&'a [u8]),
    Several,
}

fn arguments(data: &[u8]) -> Option<Arguments<'_>> {
    let mut reader = Reader::new(data);
    match reader.peek().ok()? {
        Header::Simple(simple::NULL | simple::UNDEFINED) => return Some(Arguments::None),
        Header::Array(_) => {}
        _ => return Some(Arguments::One(data)),
    }
    let mut items = reader.array().ok()?;
    if !reader.more(&mut items).ok()? {
        return Some(Arguments::None);
    }
    let first = reader.skip().ok()?;
    let several = reader.more(&mut items).ok()?;
    Some(if several { Arguments::Several } else { Arguments::One(data.get(first)?) })
}

const MEMORY: &str = "memory takes every byte";

/// Writes the next value. `level` 0 is the data itself, 1 its arguments.
fn value(reader: &mut Reader<'_>, out: &mut Vec<u8>, level: usize) -> Result<(), CborError> {
    if level > DEPTH_MAX {
        return Err(CborError::TooDeep);
    }
    let at = reader.offset();
    let head = reader.header()?;
    match head {
        Header::Positive(number) => {
            encode::write_uint(out, number).expect(MEMORY);
        }
        Header::Negative(number) => match i64::try_from(number) {
            Ok(number) => {
                encode::write_sint(out, -1 - number).expect(MEMORY);
            }
            Err(_) => text(&(-1 - i128::from(number)).to_string(), out),
        },
        Header::Float(number) => encode::write_f64(out, number).expect(MEMORY),
        Header::Simple(simple::TRUE) => encode::write_bool(out, true).expect(MEMORY),
        Header::Simple(simple::FALSE) => encode::write_bool(out, false).expect(MEMORY),
        Header::Simple(_) => encode::write_nil(out).expect(MEMORY),
        Header::Text(_) => {
            let contents = reader.contents(head)?;
            text(std::str::from_utf8(&contents).map_err(|_| CborError::NotUtf8(at))?, out);
        }
        Header::Bytes(_) => bytes(&reader.contents(head)?, out),
        Header::Array(left) => {
            let mut inside = Vec::new();
            let mut items = Items::new(left);
            let mut count = 0;
            while reader.more(&mut items)? {
                value(reader, &mut inside, level + 1)?;
                count += 1;
            }
            encode::write_array_len(out, count).expect(MEMORY);
            out.append(&mut inside);
        }
        Header::Map(left) => {
            let mut inside = Vec::new();
            let mut pairs = Items::new(left);
            let mut count = 0;
            while reader.more(&mut pairs)? {
                value(reader, &mut inside, level + 1)?;
                value(reader, &mut inside, level + 1)?;
                count += 1;
            }
            encode::write_map_len(out, count).expect(MEMORY);
            out.append(&mut inside);
        }
        Header::Tag(tag) => tagged(tag, reader, out, level)?,
        Header::Break => return Err(CborError::Malformed(at)),
    }
    Ok(())
}

fn tagged(tag: u64, reader: &mut Reader<'_>, out: &mut Vec<u8>, level: usize) -> Result<(), CborError> {
    let is_bytes = matches!(reader.peek()?, Header::Bytes(_));
    match tag {
        BIGNUM_TAG | NEGATIVE_BIGNUM_TAG if is_bytes => {
            let magnitude = reader.bytes()?;
            match number::bignum(&magnitude, tag == NEGATIVE_BIGNUM_TAG) {
                Some(decimal) => text(&decimal, out),
                None => bytes(&magnitude, out),
            }
        }
        FRAME_TAG if is_bytes && level <= 1 => {
            let packed = reader.bytes()?;
            match table(&packed) {
                Some(rows) => json(&rows, out),
                None => bytes(&packed, out),
            }
        }
        _ => value(reader, out, level + 1)?,
    }
    Ok(())
}

/// The rows of a frame.
fn table(packed: &[u8]) -> Option<serde_json::Value> {
    let mut text = Vec::new();
    frame::read_frame(packed).and_then(|table| rows::write(&table, &mut text)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn json(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value;
    match value {
        Value::Null => encode::write_nil(out).expect(MEMORY),
        Value::Bool(value) => encode::write_bool(out, *value).expect(MEMORY),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => {
                encode::write_uint(out, value).expect(MEMORY);
            }
            (None, Some(value)) => {
                encode::write_sint(out, value).expect(MEMORY);
            }
            (None, None) => encode::write_f64(out, number.as_f64().unwrap_or(f64::NAN)).expect(MEMORY),
        },
        Value::String(value) => text(value, out),
        Value::Array(items) => {
            encode::write_array_len(out, length(items.len())).expect(MEMORY);
            items.iter().for_each(|item| json(item, out));
        }
        Value::Object(pairs) => {
            encode::write_map_len(out, length(pairs.len())).expect(MEMORY);
            for (key, item) in pairs {
                text(key, out);
                json(item, out);
            }
        }
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    encode::write_str(out, value).expect(MEMORY);
}

fn bytes(value: &[u8], out: &mut Vec<u8>) {
    encode::write_bin(out, value).expect(MEMORY);
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("messages are bounded far below this")
}

#[cfg(test)]
mod tests;
