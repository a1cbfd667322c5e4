//! The parts of a JSON text as slices of it, so that an envelope can be opened without a tree of what is in it: a tree takes
//! forty times the bytes of its text.

use serde::de::IgnoredAny;
use std::borrow::Cow;

/// A whole JSON value, known to be well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a>(&'a str);

/// What a tree of values may take that is made where there is no way without one.
const TREE_BYTES_MAX: usize = 16 << 20;
/// A value in a tree, with its share of what holds it.
const NODE_BYTES: usize = 96;

/// A JSON text as a tree; `None` if it is not JSON, or would take more than 16 MiB.
#[must_use]
pub fn tree_of(text: &[u8]) -> Option<serde_json::Value> {
    let values = text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    if values.saturating_mul(NODE_BYTES).saturating_add(text.len()) > TREE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(text).ok()
}

impl<'a> Part<'a> {
    /// The text as a whole; `None` if it is not JSON.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(text).ok().map(|_| Self(text.trim_matches(is_space)))
    }

    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    #[must_use]
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    #[must_use]
    pub fn is_number(self) -> bool {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    #[must_use]
    pub fn unsigned(self) -> Option<u64> {
        if self.is_number() { serde_json::from_str(self.0).ok() } else { None }
    }

    /// What a string says, if it has at most `max` bytes as it is written.
    #[must_use]
    pub fn string(self, max: usize) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inside.len() > max {
            return None;
        }
        if inside.contains('\\') { serde_json::from_str(self.0).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inside)) }
    }

    /// The elements of an array; none of anything else.
    #[must_use]
    pub fn elements(self) -> Parts<'a> {
        Parts(if self.is_array() { inside(self.0) } else { "" })
    }

    /// The values of members by their names; the last of equal ones counts. Names with escapes in them are read as others.
    #[must_use]
    pub fn members<const N: usize>(self, names: [&str; N]) -> [Option<Self>; N] {
        let mut found = [None; N];
        if !self.is_object() {
            return found;
        }
        let mut rest = Parts(inside(self.0));
        while let Some(name) = rest.next() {
            rest.0 = rest.0.trim_start_matches(is_space).strip_prefix(':').unwrap_or_default();
            let Some(value) = rest.next() else { break };
            if let Some(name) = name.string(NAME_MAX)
                && let Some(place) = names.iter().position(|known| *known == name)
                && let Some(slot) = found.get_mut(place)
            {
                *slot = Some(value);
            }
        }
        found
    }

    /// Whether an object or array has nothing in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        (self.is_object() || self.is_array()) && inside(self.0).trim_matches(is_space).is_empty()
    }
}

/// No name that is looked for is longer.
const NAME_MAX: usize = 64;

/// Values with something between them.
#[derive(Debug, Clone)]
pub struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let from = self.0.trim_start_matches(|c| is_space(c) || c == ',');
        let (value, rest) = from.split_at_checked(end(from.as_bytes()))?;
        self.0 = rest;
        (!value.is_empty()).then_some(Part(value))
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn inside(text: &str) -> &str {
    text.get(1..text.len() - 1).unwrap_or_default()
}

/// Where the value ends that the text begins with.
fn end(text: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = false;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn an_envelope_is_opened_without_a_look_at_what_is_in_it() {
        let text = r#" {"id" : 7,"a\"b":{"id":8,"x":"}]"}, "m":"\u0069d" ,"id":[1, {"id":2}, "],"] , "e":{} }"#;
        let whole = Part::of(text).unwrap();
        let [id, m, e, none] = whole.members(["id", "m", "e", "x"]);
        assert_eq!(m.unwrap().string(64).unwrap(), "id");
        assert!(e.unwrap().is_empty() && none.is_none());
        let elements: Vec<_> = id.unwrap().elements().map(Part::text).collect();
        assert_eq!(elements, ["1", r#"{"id":2}"#, r#""],""#]);
        assert_eq!(Part::of("[ ]").unwrap().elements().count(), 0);
        assert_eq!(Part::of("[1,]"), None);
    }

    #[test]
    fn no_tree_is_made_of_a_text_that_would_make_a_large_one() {
        assert_eq!(tree_of(b"[1,2]"), Some(json!([1, 2])));
        assert_eq!(tree_of(format!("[{}0]", "0,".repeat(1 << 20)).as_bytes()), None);
        assert!(tree_of(format!("\"{}\"", "x".repeat(8 << 20)).as_bytes()).is_some());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c\"{]{1,2}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_parts_are_those_of_a_tree(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let whole = Part::of(&text).unwrap();
            let read = |part: Part<'_>| serde_json::from_str::<Value>(part.text()).unwrap();
            prop_assert_eq!(read(whole), value.clone());
            if let Value::Array(items) = &value {
                prop_assert_eq!(&whole.elements().map(read).collect::<Vec<_>>(), items);
            }
            let [a, b] = whole.members(["a", "{"]);
            prop_assert_eq!(a.map(read), value.get("a").cloned());
            prop_assert_eq!(b.map(read), value.get("{").cloned());
        }
    }
}
