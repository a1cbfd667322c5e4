//! From the JSON of a schema file to tables, gathering every mistake on the way.

use super::json::{self, Key, Node, Place, Value};
use super::{Finding, SchemaErrors};
use crate::history::kind;
use crate::history::model::{Cell, Column, ColumnKind, ColumnSource, Limits, Schema, Table, TopicSegment, WhenFull};
use crate::history::row::{Item, cast};
use std::sync::Arc;
use std::time::Duration;

/// Longest name; what PostgreSQL catalogs take.
const NAME_BYTES_MAX: usize = 63;
/// More tables than this make a start on a small board slow, and every message is compared with each.
const TABLES_MAX: usize = 256;
/// A row of more columns is not telemetry any more.
const COLUMNS_MAX: usize = 1024;

/// The least that a table may be told to keep.
const RETENTION_MIN: Duration = Duration::from_secs(3600);
const SIZE_MIN: u64 = 1 << 20;

/// Columns that each table of the lake has besides those of the schema.
const RESERVED: [&str; 3] = ["_seq", "_recv", "_day"];

/// Whether the gateway keeps this column name for itself.
#[must_use]
pub fn reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Reads and checks the whole file.
pub(super) fn read(text: &str) -> Result<(Schema, Vec<Finding>), SchemaErrors> {
    let mut check = Check::default();
    let tables = match json::parse(text) {
        Ok(root) => check.root(&root),
        Err((place, words)) => {
            check.error(place, "", format!("this is not JSON: {words}"), None);
            Vec::new()
        }
    };
    if check.errors.is_empty() {
        return Ok((Schema { tables }, check.warnings));
    }
    check.errors.sort_by_key(|finding| (finding.line, finding.column));
    Err(SchemaErrors(check.errors))
}

/// The known name nearest to a misspelt one.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    let score = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let best = known.into_iter().map(|known| (score(known), known)).min_by_key(|(distance, _)| *distance)?;
    (best.0 <= 1 + best.1.len() / 4).then(|| format!("did you mean `{}`?", best.1))
}

#[derive(Default)]
struct Check {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Pairs of an object, each asked for by name; what nobody asked for is unknown.
struct Fields<'a> {
    place: Place,
    path: String,
    pairs: &'a [(Key, Node)],
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Node> {
        self.pairs.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl Check {
    fn error(&mut self, place: Place, key: &str, text: String, hint: Option<String>) {
        self.errors.push(Finding { line: place.line, column: place.column, key: key.to_owned(), text, hint });
    }

    fn warn(&mut self, place: Place, key: &str, text: String, hint: Option<String>) {
        self.warnings.push(Finding { line: place.line, column: place.column, key: key.to_owned(), text, hint });
    }

    fn wrong_type(&mut self, node: &Node, key: &str, expected: &str) {
        self.error(node.place, key, format!("expected {expected}, found {}", node.describe()), None);
    }

    /// The object's pairs, after complaining about keys that come twice and warning of keys without effect.
    fn object<'a>(&mut self, node: &'a Node, path: &str, what: &str, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Map(pairs) = &node.value else {
            self.wrong_type(node, path, what);
            return None;
        };
        let fields = Fields { place: node.place, path: path.to_owned(), pairs };
        for (index, (key, _)) in pairs.iter().enumerate() {
            if pairs.iter().take(index).any(|(before, _)| before.name == key.name) {
                self.error(key.place, &fields.path(&key.name), format!("`{}` is given twice", key.name), None);
            } else if !known.contains(&key.name.as_str()) {
                // `format` is in files that people have; the reference ignores it too.
                let hint = nearest(&key.name, known.iter().copied()).filter(|_| key.name != "format");
                self.warn(key.place, &fields.path(&key.name), format!("`{}` has no effect", key.name), hint);
            }
        }
        Some(fields)
    }

    /// Elements of a list that may be absent.
    fn list<'a>(&mut self, fields: &Fields<'a>, name: &str, what: &str, limit: usize) -> &'a [Node] {
        let Some(node) = fields.get(name) else { return &[] };
        match &node.value {
            Value::List(list) if list.len() > limit => {
                let text = format!("{} are more than the {limit} that are possible", list.len());
                self.error(node.place, &fields.path(name), text, None);
                &[]
            }
            Value::List(list) => list,
            Value::Scalar(serde_json::Value::Null) => &[],
            _ => {
                self.wrong_type(node, &fields.path(name), what);
                &[]
            }
        }
    }

    /// A text that must be there.
    fn required<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<(&'a Node, &'a str)> {
        let Some(node) = fields.get(name) else {
            let misspelt = fields.pairs.iter().map(|(key, _)| key.name.as_str());
            let hint = nearest(name, misspelt).and(Some(format!("a similar key is there; the name is `{name}`")));
            self.error(fields.place, &fields.path, format!("`{name}` is missing"), hint);
            return None;
        };
        let text = node.as_text();
        if text.is_none() {
            self.wrong_type(node, &fields.path(name), "a text");
        }
        text.map(|text| (node, text))
    }

    /// Checks a name that becomes an SQL identifier, a folder and part of a method name.
    fn identifier(&mut self, node: &Node, path: &str, name: &str) -> bool {
        let wrong = if name.is_empty() {
            "a name may not be empty".to_owned()
        } else if name.len() > NAME_BYTES_MAX {
            format!("a name may have {NAME_BYTES_MAX} bytes, this has {}", name.len())
        } else if name.starts_with(|first: char| first.is_ascii_digit()) {
            format!("`{name}` starts with a digit")
        } else if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_') {
            format!("`{name}` has the character `{}`; letters a to z, digits and `_` are possible", bad.escape_debug())
        } else if reserved(name) {
            format!("`{name}` is kept for the gateway itself")
        } else {
            return true;
        };
        let fixed: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(NAME_BYTES_MAX).collect();
        let usable = fixed != name && !reserved(&fixed) && fixed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        self.error(node.place, path, wrong, usable.then(|| format!("`{fixed}` would do")));
        false
    }

    fn root(&mut self, root: &Node) -> Vec<Arc<Table>> {
        let Some(fields) = self.object(root, "", "an object with `tables`", &["tables", "$schema"]) else { return Vec::new() };
        if fields.get("tables").is_none() {
            self.error(root.place, "", "`tables` is missing".to_owned(), Some("write {\"tables\": […]}".to_owned()));
        }
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for (index, node) in self.list(&fields, "tables", "a list of tables", TABLES_MAX).iter().enumerate() {
            let path = format!("tables[{index}]");
            let Some(table) = self.table(node, &path) else { continue };
            let place = match &node.value {
                Value::Map(pairs) => {
                    pairs.iter().find(|(key, _)| key.name == "table").map_or(node.place, |(_, name)| name.place)
                }
                _ => node.place,
            };
            if let Some(other) = tables.iter().find(|other| other.name.eq_ignore_ascii_case(&table.name)) {
                self.error(place, &format!("{path}.table"), already("table", &other.name, &table.name), None);
            }
            if let Some(other) = tables.iter().find(|other| same_topics(other, &table)) {
                let text = format!("table `{}` never gets a row by pattern, `{}` takes them first", table.name, other.name);
                self.warn(place, &format!("{path}.topic"), text, None);
            }
            tables.push(Arc::new(table));
        }
        tables
    }

    /// The table as far as it can be understood; whether it is right is in `errors`.
    fn table(&mut self, node: &Node, path: &str) -> Option<Table> {
        const KNOWN: [&str; 9] =
            ["table", "topic", "columns", "keys", "extras", "delete_topic", "retention", "max_size", "when_full"];
        let fields = self.object(node, path, "an object describing a table", &KNOWN)?;
        let (name_node, name) = self.required(&fields, "table")?;
        self.identifier(name_node, &fields.path("table"), name);
        let mut columns = Vec::new();
        for (index, node) in self.list(&fields, "columns", "a list of columns", COLUMNS_MAX).iter().enumerate() {
            self.column(node, &format!("{path}.columns[{index}]"), &mut columns);
        }
        let keys = self.keys(&fields, &columns);
        self.extras(&fields, &mut columns);
        if columns.is_empty() && self.errors.is_empty() {
            self.error(fields.place, path, format!("table `{name}` has no columns"), None);
        }
        let topic = match self.optional_text(&fields, "topic") {
            Some((node, topic)) => self.topic(node, &fields.path("topic"), topic, &columns),
            None => vec![TopicSegment::Literal(name.to_owned())],
        };
        let delete_topic = self.optional_text(&fields, "delete_topic").map(|(_, topic)| topic.to_owned());
        let limits = self.limits(&fields);
        Some(Table { name: name.to_owned(), topic, columns, keys, delete_topic, limits })
    }

    /// How much of the table is kept: the values of `[history]` in the configuration, for this table alone.
    fn limits(&mut self, fields: &Fields<'_>) -> Limits {
        let age = self.optional_text(fields, "retention").and_then(|(node, text)| {
            let age = humantime::parse_duration(text).ok().filter(|age| *age >= RETENTION_MIN);
            if age.is_none() {
                let wrong = format!("`{text}` is not a duration of an hour or more");
                self.error(node.place, &fields.path("retention"), wrong, Some("for example \"90d\"".to_owned()));
            }
            age
        });
        let bytes = self.optional_text(fields, "max_size").and_then(|(node, text)| {
            let bare = text.ends_with(|c: char| c.is_ascii_digit() || c == '.');
            let size = text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
            let size = size.filter(|size| !bare && *size >= SIZE_MIN);
            if size.is_none() {
                let wrong = format!("`{text}` is not a size of 1MiB or more");
                self.error(node.place, &fields.path("max_size"), wrong, Some("for example \"8GiB\"".to_owned()));
            }
            size
        });
        let when_full = self.optional_text(fields, "when_full").and_then(|(node, text)| {
            let policy = WhenFull::parse(text);
            if policy.is_none() {
                let wrong = format!("`{text}` is neither `refuse` nor `evict-oldest`");
                self.error(node.place, &fields.path("when_full"), wrong, nearest(text, ["refuse", "evict-oldest"]));
            }
            policy
        });
        Limits { age, bytes, when_full }
    }

    fn optional_text<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Option<(&'a Node, &'a str)> {
        let node = fields.get(name)?;
        match &node.value {
            Value::Scalar(serde_json::Value::Null) => None,
            _ => {
                let text = node.as_text();
                if text.is_none() {
                    self.wrong_type(node, &fields.path(name), "a text");
                }
                text.map(|text| (node, text))
            }
        }
    }

    fn topic(&mut self, node: &Node, path: &str, topic: &str, columns: &[Column]) -> Vec<TopicSegment> {
        if topic.is_empty() {
            self.error(node.place, path, "a topic may not be empty".to_owned(), None);
        }
        let mut segments = Vec::new();
        for segment in topic.split('/') {
            let Some(name) = segment.strip_prefix(':') else {
                if segment.contains(['+', '#', '*']) {
                    let text = format!("`{segment}` is compared letter by letter, it is no wildcard");
                    self.warn(node.place, path, text, Some("`:name` matches any segment".to_owned()));
                }
                segments.push(TopicSegment::Literal(segment.to_owned()));
                continue;
            };
            if name.is_empty() {
                self.error(node.place, path, "`:` needs a name".to_owned(), Some("write `:name`".to_owned()));
            } else if segments.contains(&TopicSegment::Variable(name.to_owned())) {
                self.error(node.place, path, format!("`:{name}` is there twice"), None);
            } else if !columns.iter().any(|column| column.name == name && column.source == ColumnSource::Payload) {
                let hint = nearest(name, columns.iter().map(|column| column.name.as_str()));
                self.warn(node.place, path, format!("`:{name}` is stored nowhere, no column has that name"), hint);
            }
            segments.push(TopicSegment::Variable(name.to_owned()));
        }
        segments
    }

    fn add(&mut self, columns: &mut Vec<Column>, node: &Node, path: &str, column: Column) {
        if self.identifier(node, path, &column.name) {
            let taken = columns.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name));
            if let Some(other) = taken {
                self.error(node.place, path, already("column", &other.name, &column.name), None);
            }
        }
        columns.push(column);
    }

    fn column(&mut self, node: &Node, path: &str, columns: &mut Vec<Column>) {
        const KNOWN: [&str; 4] = ["col", "type", "nullable", "default"];
        let Some(fields) = self.object(node, path, "an object with `col` and `type`", &KNOWN) else { return };
        let name = self.required(&fields, "col");
        let kind = self.required(&fields, "type").and_then(|(node, text)| self.kind(node, &fields.path("type"), text));
        let nullable = match fields.get("nullable").map(|node| (node, &node.value)) {
            None => true,
            Some((_, Value::Scalar(serde_json::Value::Bool(nullable)))) => *nullable,
            Some((node, _)) => {
                self.wrong_type(node, &fields.path("nullable"), "true or false");
                true
            }
        };
        let default = match (fields.get("default"), kind) {
            (Some(node), Some(kind)) => self.default_cell(node, &fields.path("default"), kind),
            _ => None,
        };
        let Some((name_node, name)) = name else { return };
        // A column whose type is unknown is kept, so that keys and variables that name it raise no further complaint.
        let kind = kind.unwrap_or(ColumnKind::Text);
        let column = Column { name: name.to_owned(), kind, nullable, default, source: ColumnSource::Payload };
        self.add(columns, name_node, &fields.path("col"), column);
    }

    fn kind(&mut self, node: &Node, path: &str, text: &str) -> Option<ColumnKind> {
        let found = kind::parse(text);
        if found.is_none() {
            let names = kind::ALL.map(kind::name);
            let hint = match text.to_ascii_uppercase() {
                upper if upper.starts_with("DECIMAL") || upper.starts_with("NUMERIC") => Some("`DOUBLE` would do".to_owned()),
                _ => nearest(text, names),
            };
            self.error(node.place, path, format!("`{text}` is not a column type; possible are {}", names.join(", ")), hint);
        }
        found
    }

    fn default_cell(&mut self, node: &Node, path: &str, kind: ColumnKind) -> Option<Cell> {
        let item = match &node.value {
            Value::Scalar(serde_json::Value::Null) => return None,
            Value::Scalar(serde_json::Value::Bool(value)) => Item::Bool(*value),
            Value::Scalar(serde_json::Value::String(text)) => Item::Text(text.into()),
            Value::Scalar(serde_json::Value::Number(number)) => match number.as_i128() {
                Some(whole) => Item::Integer(whole),
                None => Item::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            _ => {
                self.wrong_type(node, path, "a number, a text, true, false or null");
                return None;
            }
        };
        cast(&item, kind).map_err(|why| self.error(node.place, path, format!("{why}"), None)).ok()
    }

    fn keys(&mut self, fields: &Fields<'_>, columns: &[Column]) -> Vec<usize> {
        let mut keys = Vec::new();
        let path = fields.path("keys");
        for node in self.list(fields, "keys", "a list of column names", COLUMNS_MAX) {
            let Some(name) = node.as_text() else {
                self.wrong_type(node, &path, "the name of a column");
                continue;
            };
            match columns.iter().position(|column| column.name == name) {
                None => {
                    let hint = nearest(name, columns.iter().map(|column| column.name.as_str()));
                    self.error(node.place, &path, format!("`{name}` is not a column of this table"), hint);
                }
                Some(index) if keys.contains(&index) => {
                    self.error(node.place, &path, format!("`{name}` is there twice"), None);
                }
                Some(index) => keys.push(index),
            }
        }
        keys
    }

    fn extras(&mut self, fields: &Fields<'_>, columns: &mut Vec<Column>) {
        let Some(node) = fields.get("extras").filter(|node| !matches!(node.value, Value::Scalar(serde_json::Value::Null)))
        else {
            return;
        };
        let path = fields.path("extras");
        let Value::Map(pairs) = &node.value else {
            return self.wrong_type(node, &path, "an object with `recv_ts` or `slot`");
        };
        // Others would be a column name later without being a column, the reference says so itself.
        for (key, _) in pairs.iter().filter(|(key, _)| !["recv_ts", "slot"].contains(&key.name.as_str())) {
            let text = format!("`{}` is not an extra; possible are `recv_ts` and `slot`", key.name);
            self.error(key.place, &format!("{path}.{}", key.name), text, nearest(&key.name, ["recv_ts", "slot"]));
        }
        if self.object(node, &path, "an object", &["recv_ts", "slot"]).is_none() {
            return;
        }
        // Unknown keys were an error above, so the warning that says they have no effect is not wanted.
        self.warnings.retain(|finding| !finding.key.starts_with(&format!("{path}.")));
        let extras = [
            ("recv_ts", ColumnKind::UBigInt, false, ColumnSource::ReceiveTime),
            ("slot", ColumnKind::UInteger, true, ColumnSource::Slot),
        ];
        let fields = Fields { place: node.place, path, pairs };
        for (name, kind, nullable, source) in extras {
            if let Some((node, column)) = self.optional_text(&fields, name) {
                let column = Column { name: column.to_owned(), kind, nullable, default: None, source };
                self.add(columns, node, &fields.path(name), column);
            }
        }
    }
}

fn already(what: &str, other: &str, name: &str) -> String {
    let case = if other == name { "" } else { ", and names that differ only in case are the same" };
    format!("there is already a {what} `{other}`{case}")
}

fn same_topics(one: &Table, other: &Table) -> bool {
    let covers = |(one, other): (&TopicSegment, &TopicSegment)| matches!(one, TopicSegment::Variable(_)) || one == other;
    one.topic.len() == other.topic.len() && one.topic.iter().zip(&other.topic).all(covers)
}
