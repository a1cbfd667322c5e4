//! The schema file: which topics become rows of which tables (`protocol/rembus.md` section 14).
//!
//! ```json
//! {"tables": [{"table": "telemetry", "topic": ":dn/telemetry",
//!              "columns": [{"col": "dn", "type": "TEXT"}, {"col": "temperature", "type": "DOUBLE", "default": 0.0}],
//!              "keys": ["dn"], "extras": {"recv_ts": "ts", "slot": "bucket"}, "delete_topic": "telemetry/delete"}]}
//! ```
//!
//! Files written for Rembus work as they are. What the reference would find out later, by losing data, is a mistake here and
//! said at the start, all mistakes at once: names that are no SQL identifiers, types that do not exist, keys without a column,
//! defaults that do not fit. Keys that the reference ignores are ignored, with a warning.

mod check;
mod json;
#[cfg(test)]
mod tests;

use super::model::{Schema, Table, TopicSegment};
use std::fmt;
use std::sync::Arc;

pub use check::reserved;

/// Something to say about a place in the schema file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Path of the key, such as `tables[0].columns[1].type`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, in a sentence.
    pub text: String,
    /// A likely fix.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.text)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

/// Everything that is wrong with a schema file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaErrors(pub Vec<Finding>);

impl std::error::Error for SchemaErrors {}

impl fmt::Display for SchemaErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// Names and values of a pattern's variables.
pub type Variables = Vec<(String, String)>;

/// Reads a schema file.
pub fn parse(text: &str) -> Result<Schema, SchemaErrors> {
    parse_with_warnings(text).map(|(schema, _)| schema)
}

/// Reads a schema file, and tells what in it has no effect.
pub fn parse_with_warnings(text: &str) -> Result<(Schema, Vec<Finding>), SchemaErrors> {
    check::read(text)
}

/// The methods that the tables offer, as the list of exported topics shows them: sorted.
#[must_use]
pub fn methods(schema: &Schema) -> Vec<String> {
    let each = |verb: &'static str| schema.tables.iter().map(move |table| format!("{verb}_{}", table.name));
    let mut methods: Vec<String> = ["delete", "latest", "query", "upsert"].into_iter().flat_map(each).collect();
    methods.push("tables".to_owned());
    methods.sort_unstable();
    methods
}

impl Schema {
    /// The table that keeps publications on `topic`, and the variables of its pattern. Patterns are tried in the order of the
    /// file; if none matches, a table of the topic's own name takes it, without variables. Called for each message: topics
    /// that match nothing cost one comparison of a segment for most tables, and no memory.
    #[must_use]
    pub fn table_for(&self, topic: &str) -> Option<(&Arc<Table>, Variables)> {
        let segments = topic.bytes().filter(|byte| *byte == b'/').count() + 1;
        let matching = self.tables.iter().find(|table| table.topic.len() == segments && matches(table, topic));
        match matching {
            Some(table) => Some((table, variables(table, topic))),
            None => self.table(topic).map(|table| (table, Vec::new())),
        }
    }

    /// The table of exactly this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The table whose `delete_topic` is `topic`. The schema knows it; deleting by publication comes with a later release.
    #[must_use]
    pub fn delete_table_for(&self, topic: &str) -> Option<&Arc<Table>> {
        self.tables.iter().find(|table| table.delete_topic.as_deref() == Some(topic))
    }
}

fn matches(table: &Table, topic: &str) -> bool {
    table.topic.iter().zip(topic.split('/')).all(|(segment, name)| match segment {
        TopicSegment::Literal(literal) => literal == name,
        TopicSegment::Variable(_) => true,
    })
}

/// All variables or none: a topic with an empty one matches, but says nothing (observed, `schema-topic//telemetry`).
fn variables(table: &Table, topic: &str) -> Variables {
    let mut variables = Vec::new();
    for (segment, value) in table.topic.iter().zip(topic.split('/')) {
        if let TopicSegment::Variable(name) = segment {
            if value.is_empty() {
                return Vec::new();
            }
            variables.push((name.clone(), value.to_owned()));
        }
    }
    variables
}
