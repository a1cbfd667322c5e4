//! JSON text to CBOR in one pass: serde's visitor writes as it parses.

use crate::rembus::cbor::Writer;
use ahash::AHashSet;
use ciborium_ll::Header;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::ops::Range;

/// Writes the arguments that a JSON payload stands for: an array as it is, any other value as the only argument. False if the
/// payload is not JSON; what was written is then void.
pub(super) fn arguments(payload: &[u8], writer: &mut Writer) -> bool {
    let is_array = payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        writer.array(1);
    }
    let start = writer.position();
    match transcode(payload, writer) {
        Ok(()) => true,
        Err(error) if error.to_string().starts_with(EQUAL_KEYS) => {
            // Rare, and a CBOR map must not repeat a key: let a tree of values sort it out.
            writer.truncate(start);
            serde_json::from_slice(payload).map(|value| tree(&value, writer)).is_ok()
        }
        Err(_) => false,
    }
}

fn transcode(payload: &[u8], writer: &mut Writer) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    Transcode { writer }.deserialize(&mut json)?;
    json.end()
}

const EQUAL_KEYS: &str = "equal keys";
/// Up to here the keys of an object are compared one by one; beyond, by hash.
const COMPARE_MAX: usize = 16;

struct Transcode<'a> {
    writer: &'a mut Writer,
}

impl<'de> DeserializeSeed<'de> for Transcode<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcode<'_> {
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
        self.writer.float(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.writer.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let start = self.writer.position();
        let mut count = 0;
        while items.next_element_seed(Transcode { writer: self.writer })?.is_some() {
            count += 1;
        }
        self.writer.wrap(start, Header::Array(Some(count)));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let start = self.writer.position();
        let mut keys = Keys::default();
        let mut count = 0;
        loop {
            let key = self.writer.position();
            if pairs.next_key_seed(Transcode { writer: self.writer })?.is_none() {
                break;
            }
            if !keys.is_new(self.writer.written(), key..self.writer.position()) {
                return Err(A::Error::custom(EQUAL_KEYS));
            }
            pairs.next_value_seed(Transcode { writer: self.writer })?;
            count += 1;
        }
        self.writer.wrap(start, Header::Map(Some(count)));
        Ok(())
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
