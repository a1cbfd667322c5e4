//! CBOR to JSON text in one pass.

use super::{frame, number, rows};
use crate::rembus::cbor::{CborError, DEPTH_MAX, Items, Reader};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ciborium_ll::{Header, simple};
use std::borrow::Cow;
use std::io::Write;

/// A table packed as an Arrow IPC stream in a byte string.
const FRAME_TAG: u64 = 80;
const BIGNUM_TAG: u64 = 2;
const NEGATIVE_BIGNUM_TAG: u64 = 3;

#[derive(Debug)]
pub(super) enum Body<'a> {
    Empty,
    Json(Vec<u8>),
    Octets(Cow<'a, [u8]>),
}

/// What `data` becomes on MQTT.
pub(super) fn body(data: &[u8]) -> Result<Body<'_>, CborError> {
    let mut reader = Reader::new(data);
    let mut inside = reader.clone();
    match inside.header()? {
        Header::Simple(simple::NULL | simple::UNDEFINED) | Header::Array(Some(0)) => Ok(Body::Empty),
        Header::Array(Some(1)) => single(inside),
        Header::Array(None) => {
            // One argument or none? Step over the first and look.
            if inside.peek()? == Header::Break {
                return Ok(Body::Empty);
            }
            let first = inside.clone();
            inside.skip()?;
            if inside.peek()? == Header::Break { single(first) } else { json(&mut reader) }
        }
        Header::Array(Some(_)) => json(&mut reader),
        _ => single(reader),
    }
}

/// The JSON text of `data`.
pub(super) fn text(data: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(data.len() * 2);
    value(&mut Reader::new(data), &mut out, 0).ok()?;
    String::from_utf8(out).ok()
}

/// The only argument: bytes and frames have a form of their own.
fn single(mut reader: Reader<'_>) -> Result<Body<'_>, CborError> {
    let mut inside = reader.clone();
    match inside.header()? {
        Header::Bytes(_) => Ok(Body::Octets(reader.bytes()?)),
        Header::Tag(FRAME_TAG) if matches!(inside.peek()?, Header::Bytes(_)) => {
            let packed = inside.bytes()?;
            let mut out = Vec::new();
            match frame::read_frame(&packed).and_then(|table| rows::write(&table, &mut out)) {
                Ok(()) => Ok(Body::Json(out)),
                Err(_) => Ok(Body::Octets(packed)),
            }
        }
        _ => json(&mut reader),
    }
}

fn json<'a>(reader: &mut Reader<'a>) -> Result<Body<'a>, CborError> {
    let mut out = Vec::with_capacity(reader.rest().len() * 2);
    value(reader, &mut out, 0)?;
    Ok(Body::Json(out))
}

/// Writes the next value. `level` 0 is the data itself, 1 its arguments.
fn value(reader: &mut Reader<'_>, out: &mut Vec<u8>, level: usize) -> Result<(), CborError> {
    if level > DEPTH_MAX {
        return Err(CborError::TooDeep);
    }
    let at = reader.offset();
    let head = reader.header()?;
    match head {
        Header::Positive(number) => put(out, &number),
        Header::Negative(number) => negative(number, out),
        Header::Float(number) if number.is_finite() => put(out, &number),
        Header::Simple(simple::TRUE) => out.extend_from_slice(b"true"),
        Header::Simple(simple::FALSE) => out.extend_from_slice(b"false"),
        Header::Float(_) | Header::Simple(_) => out.extend_from_slice(b"null"),
        Header::Text(_) => {
            let text = reader.contents(head)?;
            put(out, std::str::from_utf8(&text).map_err(|_| CborError::NotUtf8(at))?);
        }
        Header::Bytes(_) => base64(&reader.contents(head)?, out),
        Header::Array(left) => {
            let mut items = Items::new(left);
            let mut first = true;
            out.push(b'[');
            while reader.more(&mut items)? {
                comma(&mut first, out);
                value(reader, out, level + 1)?;
            }
            out.push(b']');
        }
        Header::Map(left) => {
            let mut pairs = Items::new(left);
            let mut first = true;
            out.push(b'{');
            while reader.more(&mut pairs)? {
                comma(&mut first, out);
                key(reader, out, level + 1)?;
                out.push(b':');
                value(reader, out, level + 1)?;
            }
            out.push(b'}');
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
                Some(text) => put(out, text.as_str()),
                None => base64(&magnitude, out),
            }
        }
        FRAME_TAG if is_bytes && level <= 1 => {
            let packed = reader.bytes()?;
            let start = out.len();
            if frame::read_frame(&packed).and_then(|table| rows::write(&table, out)).is_err() {
                out.truncate(start);
                base64(&packed, out);
            }
        }
        _ => value(reader, out, level + 1)?,
    }
    Ok(())
}

/// A key must be text in JSON: numbers and the like become the text of their JSON.
fn key(reader: &mut Reader<'_>, out: &mut Vec<u8>, level: usize) -> Result<(), CborError> {
    if matches!(reader.peek()?, Header::Text(_)) {
        return value(reader, out, level);
    }
    let mut json = Vec::new();
    value(reader, &mut json, level)?;
    if json.first() == Some(&b'"') {
        out.extend_from_slice(&json);
    } else {
        put(out, String::from_utf8_lossy(&json).as_ref());
    }
    Ok(())
}

/// CBOR negatives are -1 - n and reach one bit further than an `i64`.
fn negative(number: u64, out: &mut Vec<u8>) {
    match i64::try_from(number) {
        Ok(number) => put(out, &(-1 - number)),
        Err(_) => put(out, (-1 - i128::from(number)).to_string().as_str()),
    }
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    put(out, BASE64_STANDARD.encode(bytes).as_str());
}

/// Numbers and texts in JSON's spelling.
pub(super) fn put<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out.by_ref(), value).expect("numbers and texts are always JSON");
}
