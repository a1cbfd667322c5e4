//! JSON with the place of each value, so that a mistake in a schema file can be pointed at.
//!
//! `serde_json` checks the text first and reports broken syntax with line and column; here the text is known to be whole, and
//! only the places are found.

/// A place in a text, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Null, booleans, numbers and texts.
    Scalar(serde_json::Value),
    List(Vec<Node>),
    /// In the order of the file; a key may come twice.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) name: String,
}

impl Node {
    /// What it is, for people.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
            Value::Scalar(serde_json::Value::Null) => "null",
            Value::Scalar(serde_json::Value::Bool(_)) => "a boolean",
            Value::Scalar(serde_json::Value::Number(_)) => "a number",
            Value::Scalar(_) => "a text",
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => scalar.as_str(),
            _ => None,
        }
    }
}

/// The text as nodes, or where and why it is not JSON.
pub(super) fn parse(text: &str) -> Result<Node, (Place, String)> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        let place = Place { line: error.line().max(1), column: error.column().max(1) };
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default().to_owned();
        return Err((place, words));
    }
    let mut walk = Walk { text, at: 0, counted: 0, place: Place { line: 1, column: 1 } };
    Ok(walk.node())
}

/// Walks over JSON that `serde_json` has accepted, so nesting is at most 128 and every token is whole.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// Up to where `place` has been counted.
    counted: usize,
    place: Place,
}

impl Walk<'_> {
    fn peek(&mut self) -> u8 {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    fn here(&mut self) -> Place {
        for character in self.text.get(self.counted..self.at).unwrap_or_default().chars() {
            if character == '\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else {
                self.place.column += 1;
            }
        }
        self.counted = self.at;
        self.place
    }

    fn scalar(&mut self) -> serde_json::Value {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
        let value = stream.next().and_then(Result::ok).unwrap_or_default();
        self.at += stream.byte_offset().max(1);
        value
    }

    fn node(&mut self) -> Node {
        let first = self.peek();
        let place = self.here();
        let value = match first {
            b'[' => {
                let mut list = Vec::new();
                self.each(b']', |walk| list.push(walk.node()));
                Value::List(list)
            }
            b'{' => {
                let mut map = Vec::new();
                self.each(b'}', |walk| {
                    walk.peek();
                    let place = walk.here();
                    let name = walk.scalar().as_str().unwrap_or_default().to_owned();
                    walk.peek();
                    walk.at += 1; // the colon
                    map.push((Key { place, name }, walk.node()));
                });
                Value::Map(map)
            }
            _ => Value::Scalar(self.scalar()),
        };
        Node { place, value }
    }

    /// Calls `read` for each element until `end`.
    fn each(&mut self, end: u8, mut read: impl FnMut(&mut Self)) {
        self.at += 1;
        while self.at < self.text.len() && self.peek() != end {
            if self.peek() == b',' {
                self.at += 1;
            }
            read(self);
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_and_column() {
        let node = parse("{\n  \"é\": [1, {\"b\" : \"x\"}],\n  \"c\": null }").unwrap();
        let Value::Map(map) = node.value else { panic!("a map") };
        assert_eq!(map[0].0.place, Place { line: 2, column: 3 });
        let Value::List(list) = &map[0].1.value else { panic!("a list") };
        assert_eq!(list[0].place, Place { line: 2, column: 9 });
        let Value::Map(inner) = &list[1].value else { panic!("a map") };
        assert_eq!((inner[0].0.place, inner[0].1.place), (Place { line: 2, column: 13 }, Place { line: 2, column: 19 }));
        assert_eq!(inner[0].1.as_text(), Some("x"));
        assert_eq!(map[1].1.place, Place { line: 3, column: 8 });
    }

    #[test]
    fn broken_json_is_pointed_at() {
        let (place, words) = parse("{\n \"a\": 1,\n}").unwrap_err();
        assert_eq!(place.line, 3);
        assert_eq!(words, "trailing comma");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_in_ends(text in r#"[\[\]{}:,"a1 \n\\u-]{0,60}"#) {
            drop(parse(&text));
        }
    }
}
