//! JSON text to CBOR in one pass: serde's visitor writes as it parses.

use super::number::{self, Integers};
use crate::rembus::cbor::Writer;
use ahash::AHashSet;
use ciborium_ll::Header;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::ops::Range;

/// What becomes of integers beyond 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Large {
    /// Floats, as in the reference: what subscribers get.
    Floats,
    /// All their digits, as tags 2 and 3: what history keeps.
    Exact,
}

/// Writes the arguments that a JSON payload stands for: an array as it is, any other value as the only argument. False if the
/// payload is not JSON; what was written is then void.
pub(super) fn arguments(payload: &[u8], large: Large, writer: &mut Writer) -> bool {
    let is_array = payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        writer.array(1);
    }
    value(payload, large, writer)
}

/// Writes one JSON value. False if it is none; what was written is then void.
pub(super) fn value(text: &[u8], large: Large, writer: &mut Writer) -> bool {
    let start = writer.position();
    // Looking for such integers costs a pass over the bytes, so nobody but history pays for it.
    let mut integers = (large == Large::Exact && number::may_have_long_integers(text)).then(|| Integers::of(text));
    match transcode(text, writer, integers.as_mut()) {
        Ok(()) => true,
        Err(error) if error.to_string().starts_with(EQUAL_KEYS) => {
            // Rare, and a CBOR map must not repeat a key: let a tree of values sort it out, if it is not too large for that.
            writer.truncate(start);
            super::tree_of(text).map(|value| tree(&value, writer)).is_some()
        }
        Err(_) => false,
    }
}

fn transcode<'a>(payload: &'a [u8], writer: &mut Writer, integers: Option<&mut Integers<'a>>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    Transcode { writer, integers }.deserialize(&mut json)?;
    json.end()
}

const EQUAL_KEYS: &str = "equal keys";
/// Keys of one object: they are remembered while it is read.
const KEYS_MAX: usize = 1_000_000;
/// Up to here the keys of an object are compared one by one; beyond, by hash.
const COMPARE_MAX: usize = 16;

struct Transcode<'w, 't> {
    writer: &'w mut Writer,
    /// The same text once more, if integers beyond 64 bits are to be written with all their digits: serde has only floats for them.
    integers: Option<&'w mut Integers<'t>>,
}

impl<'de> DeserializeSeed<'de> for Transcode<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcode<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.writer.null();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.writer.bool(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.writer.unsigned(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.writer.integer(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        match self.integers.and_then(Integers::next_float).and_then(number::magnitude) {
            Some((magnitude, negative)) => self.writer.bignum(&magnitude, negative),
            None => self.writer.float(value),
        };
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.writer.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let start = self.writer.position();
        let mut count = 0;
        while items.next_element_seed(self.inner())?.is_some() {
            count += 1;
        }
        self.writer.wrap(start, Header::Array(Some(count)));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut pairs: A) -> Result<(), A::Error> {
        let start = self.writer.position();
        let mut keys = Keys::default();
        let mut count = 0;
        loop {
            let key = self.writer.position();
            if pairs.next_key_seed(self.inner())?.is_none() {
                break;
            }
            if !keys.is_new(self.writer.written(), key..self.writer.position()) {
                return Err(A::Error::custom(EQUAL_KEYS));
            }
            pairs.next_value_seed(self.inner())?;
            count += 1;
            if count == KEYS_MAX {
                return Err(A::Error::custom("an object has too many keys"));
            }
        }
        self.writer.wrap(start, Header::Map(Some(count)));
        Ok(())
    }
}

impl<'t> Transcode<'_, 't> {
    /// For a value within this one.
    fn inner(&mut self) -> Transcode<'_, 't> {
        Transcode { writer: self.writer, integers: self.integers.as_deref_mut() }
    }
}

/// The keys of one object, to find equal ones.
#[derive(Default)]
struct Keys {
    few: Vec<Range<usize>>,
    many: AHashSet<u64>,
    hasher: ahash::RandomState,
}

impl Keys {
    /// False also when two hashes happen to be equal; the slow path is right in that case too.
    fn is_new(&mut self, written: &[u8], key: Range<usize>) -> bool {
        let bytes = |range: &Range<usize>| written.get(range.clone()).unwrap_or_default();
        if self.few.len() < COMPARE_MAX {
            let new = bytes(&key);
            let known = self.few.iter().any(|old| bytes(old) == new);
            self.few.push(key);
            return !known;
        }
        if self.many.is_empty() {
            self.many = self.few.iter().map(|old| self.hasher.hash_one(bytes(old))).collect();
        }
        self.many.insert(self.hasher.hash_one(bytes(&key)))
    }
}

/// Writes a value that is parsed already.
pub(super) fn tree(value: &serde_json::Value, writer: &mut Writer) {
    match value {
        serde_json::Value::Null => writer.null(),
        serde_json::Value::Bool(value) => writer.bool(*value),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => writer.unsigned(value),
            (None, Some(value)) => writer.integer(value),
            (None, None) => writer.float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => writer.text(text),
        serde_json::Value::Array(items) => {
            writer.array(items.len());
            items.iter().for_each(|item| tree(item, writer));
            writer
        }
        serde_json::Value::Object(pairs) => {
            writer.map(pairs.len());
            for (key, item) in pairs {
                writer.text(key);
                tree(item, writer);
            }
            writer
        }
    };
}
