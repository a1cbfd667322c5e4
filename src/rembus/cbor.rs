//! CBOR (RFC 8949) by pulling: walk over an encoded value without building it.
//!
//! [`ciborium_ll`] reads and writes the item heads; this module adds what a broker needs on top: contents as slices of the
//! input (nothing is copied, and nothing is allocated from a declared length), a complete check of a value that somebody
//! else will decode later, and a limit to its nesting.

use ciborium_ll::{Decoder, Encoder, Header, simple};
use std::borrow::Cow;
use std::ops::Range;

/// How deep arrays, maps and tags may be nested. Real payloads have a handful of levels; decoders of clients recurse.
pub const DEPTH_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    #[error("the CBOR is cut short at byte {0}")]
    Truncated(usize),
    #[error("the CBOR is malformed at byte {0}")]
    Malformed(usize),
    #[error("a CBOR text at byte {0} is not UTF-8")]
    NotUtf8(usize),
    #[error("the CBOR is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("expected {expected} at byte {at}")]
    Unexpected { expected: &'static str, at: usize },
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// Walks over one encoded value (or several in a row).
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

/// How many items of an array or map are still to come.
#[derive(Debug)]
pub struct Items {
    /// `None`: until the break byte.
    left: Option<usize>,
}

impl Items {
    /// What the head of an array or map announced.
    #[must_use]
    pub fn new(left: Option<usize>) -> Self {
        Self { left }
    }
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Where the next item starts.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What is not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// The next head. The contents of text and bytes are left to [`Self::contents`].
    pub fn header(&mut self) -> Result<Header, CborError> {
        let rest = self.rest();
        let mut decoder = Decoder::from(rest);
        let header = decoder.pull().map_err(|error| match error {
            ciborium_ll::Error::Io(_) => CborError::Truncated(self.at),
            ciborium_ll::Error::Syntax(_) => CborError::Malformed(self.at),
        })?;
        let taken = decoder.offset();
        // Two-byte simple values below 32 are not well-formed (RFC 8949 section 3.3): they would be second spellings of true.
        if matches!(header, Header::Simple(value) if taken == 2 && value < 32) {
            return Err(CborError::Malformed(self.at));
        }
        self.at += taken;
        Ok(header)
    }

    /// The next head without taking it.
    pub fn peek(&self) -> Result<Header, CborError> {
        self.clone().header()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], CborError> {
        let start = self.at;
        let end = start.checked_add(len).ok_or(CborError::Truncated(start))?;
        let slice = self.input.get(start..end).ok_or(CborError::Truncated(start))?;
        self.at = end;
        Ok(slice)
    }

    /// The contents of a text or byte string whose head was just read; the chunks of an indefinite one are joined.
    pub fn contents(&mut self, head: Header) -> Result<Cow<'a, [u8]>, CborError> {
        match head {
            Header::Text(Some(len)) | Header::Bytes(Some(len)) => self.take(len).map(Cow::Borrowed),
            Header::Text(None) | Header::Bytes(None) => {
                let mut joined = Vec::new();
                self.chunks(head, |chunk| joined.extend_from_slice(chunk))?;
                Ok(Cow::Owned(joined))
            }
            _ => Err(CborError::Unexpected { expected: "a string", at: self.at }),
        }
    }

    /// Chunks of an indefinite string: definite strings of the same type, each text chunk valid on its own (section 3.2.3).
    fn chunks(&mut self, head: Header, mut each: impl FnMut(&[u8])) -> Result<(), CborError> {
        loop {
            let at = self.at;
            match (head, self.header()?) {
                (_, Header::Break) => return Ok(()),
                (Header::Text(_), Header::Text(Some(len))) => {
                    let chunk = self.take(len)?;
                    std::str::from_utf8(chunk).map_err(|_| CborError::NotUtf8(at))?;
                    each(chunk);
                }
                (Header::Bytes(_), Header::Bytes(Some(len))) => each(self.take(len)?),
                _ => return Err(CborError::Malformed(at)),
            }
        }
    }

    /// A text, whatever its spelling.
    pub fn text(&mut self) -> Result<Cow<'a, str>, CborError> {
        let at = self.at;
        let head = self.header()?;
        if !matches!(head, Header::Text(_)) {
            return Err(CborError::Unexpected { expected: "a text", at });
        }
        match self.contents(head)? {
            Cow::Borrowed(slice) => std::str::from_utf8(slice).map(Cow::Borrowed).map_err(|_| CborError::NotUtf8(at)),
            Cow::Owned(joined) => String::from_utf8(joined).map(Cow::Owned).map_err(|_| CborError::NotUtf8(at)),
        }
    }

    /// A byte string, whatever its spelling.
    pub fn bytes(&mut self) -> Result<Cow<'a, [u8]>, CborError> {
        let at = self.at;
        let head = self.header()?;
        match head {
            Header::Bytes(_) => self.contents(head),
            _ => Err(CborError::Unexpected { expected: "a byte string", at }),
        }
    }

    /// An unsigned integer, whatever its spelling.
    pub fn unsigned(&mut self) -> Result<u64, CborError> {
        let at = self.at;
        match self.header()? {
            Header::Positive(value) => Ok(value),
            _ => Err(CborError::Unexpected { expected: "an unsigned integer", at }),
        }
    }

    /// Takes a null (or undefined) if there is one.
    pub fn null(&mut self) -> Result<bool, CborError> {
        let is_null = matches!(self.peek()?, Header::Simple(simple::NULL | simple::UNDEFINED));
        if is_null {
            self.header()?;
        }
        Ok(is_null)
    }

    /// Enters an array.
    pub fn array(&mut self) -> Result<Items, CborError> {
        let at = self.at;
        match self.header()? {
            Header::Array(left) => Ok(Items { left }),
            _ => Err(CborError::Unexpected { expected: "an array", at }),
        }
    }

    /// Enters a map: keys and values alternate, [`Self::more`] counts pairs.
    pub fn map(&mut self) -> Result<Items, CborError> {
        let at = self.at;
        match self.header()? {
            Header::Map(left) => Ok(Items { left }),
            _ => Err(CborError::Unexpected { expected: "a map", at }),
        }
    }

    /// Whether another item (or pair) follows; takes the break byte at the end of an indefinite one.
    pub fn more(&mut self, items: &mut Items) -> Result<bool, CborError> {
        match &mut items.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.peek()? == Header::Break => {
                self.header()?;
                items.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Checks the next value completely and steps over it. Returns where it was.
    pub fn skip(&mut self) -> Result<Range<usize>, CborError> {
        let start = self.at;
        self.skip_within(DEPTH_MAX)?;
        Ok(start..self.at)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), CborError> {
        let at = self.at;
        let head = self.header()?;
        let deeper = || depth.checked_sub(1).ok_or(CborError::TooDeep);
        match head {
            Header::Positive(_) | Header::Negative(_) | Header::Float(_) | Header::Simple(_) => Ok(()),
            Header::Break => Err(CborError::Malformed(at)),
            Header::Text(Some(len)) => std::str::from_utf8(self.take(len)?).map(|_| ()).map_err(|_| CborError::NotUtf8(at)),
            Header::Bytes(Some(len)) => self.take(len).map(|_| ()),
            Header::Text(None) | Header::Bytes(None) => self.chunks(head, |_| ()),
            Header::Tag(_) => self.skip_within(deeper()?),
            Header::Array(left) => {
                let depth = deeper()?;
                let mut items = Items { left };
                while self.more(&mut items)? {
                    self.skip_within(depth)?;
                }
                Ok(())
            }
            Header::Map(left) => {
                let depth = deeper()?;
                let mut items = Items { left };
                while self.more(&mut items)? {
                    self.skip_within(depth)?;
                    self.skip_within(depth)?;
                }
                Ok(())
            }
        }
    }

    /// Fails unless everything was read.
    pub fn end(&self) -> Result<(), CborError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(CborError::Trailing(left)),
        }
    }
}

/// Appends CBOR to a buffer: definite lengths, shortest integers, floats with 64 bits (as the Python client writes them).
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity) }
    }

    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        // What is kept is counted by its length; a buffer that has grown by doubling may be twice that.
        if self.out.capacity() - self.out.len() > self.out.len() / 8 {
            self.out.shrink_to_fit();
        }
        self.out
    }

    /// Writes a head as it is.
    pub fn header(&mut self, header: Header) -> &mut Self {
        Encoder::from(&mut self.out).push(header).expect("a Vec takes every byte");
        self
    }

    pub fn array(&mut self, len: usize) -> &mut Self {
        self.header(Header::Array(Some(len)))
    }

    pub fn map(&mut self, len: usize) -> &mut Self {
        self.header(Header::Map(Some(len)))
    }

    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.header(Header::Positive(value))
    }

    pub fn integer(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(positive) => self.unsigned(positive),
            Err(_) => self.header(Header::Negative(!value.cast_unsigned())),
        }
    }

    pub fn float(&mut self, value: f64) -> &mut Self {
        self.out.push(0xfb);
        self.out.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.header(Header::Simple(if value { simple::TRUE } else { simple::FALSE }))
    }

    pub fn null(&mut self) -> &mut Self {
        self.header(Header::Simple(simple::NULL))
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.header(Header::Text(Some(text.len())));
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.header(Header::Bytes(Some(bytes.len())));
        self.out.extend_from_slice(bytes);
        self
    }

    /// An integer beyond 64 bits: its magnitude, or for a negative one the magnitude of -1 - n.
    pub fn bignum(&mut self, magnitude: &[u8], negative: bool) -> &mut Self {
        self.header(Header::Tag(if negative { 3 } else { 2 })).bytes(magnitude)
    }

    /// How much is written.
    #[must_use]
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// What is written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.out
    }

    /// Forgets everything from `position` on.
    pub fn truncate(&mut self, position: usize) {
        self.out.truncate(position);
    }

    /// Puts the head of a container in front of what was written since `position`: for containers whose length is known only
    /// at their end.
    pub fn wrap(&mut self, position: usize, head: Header) {
        let end = self.out.len();
        self.header(head);
        let head_len = self.out.len() - end;
        self.out.get_mut(position..).expect("position is inside what was written").rotate_right(head_len);
    }

    /// A value that is encoded already.
    pub fn encoded(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value);
        self
    }
}

/// The encoding of null.
pub const NULL: &[u8] = &[0xf6];

/// The encoding of a text.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    let mut writer = Writer::with_capacity(text.len() + 5);
    writer.text(text);
    writer.finish()
}
