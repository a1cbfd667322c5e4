//! The Prometheus text format: families of samples with help and type.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

const INFALLIBLE: &str = "a String takes everything";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A page of families, in the order in which they are written.
#[derive(Debug)]
pub(super) struct Page {
    prefix: &'static str,
    text: String,
}

impl Page {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::with_capacity(8 * 1024) }
    }

    /// Begins a family; its samples must follow at once.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let name = format!("{}{name}", self.prefix);
        self.begin(name, kind, help)
    }

    /// Begins a family whose name is a standard of its own.
    pub(super) fn standard(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        self.begin(name.to_owned(), kind, help)
    }

    /// A family of one sample without labels.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.family(name, kind, help).labelled(&[], value);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn begin(&mut self, name: String, kind: Kind, help: &str) -> Family<'_> {
        debug_assert!(!help.contains(['\\', '\n']), "help texts need no escapes: {help}");
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "counters end in _total: {name}");
        let kind = kind.name();
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect(INFALLIBLE);
        Family { page: self, name }
    }
}

/// Samples of one name.
#[derive(Debug)]
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: String,
}

impl Family<'_> {
    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let text = &mut self.page.text;
        text.push_str(&self.name);
        for (index, (label, content)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            write!(text, "{open}{label}=\"{}\"", escaped(content)).expect(INFALLIBLE);
        }
        if !labels.is_empty() {
            text.push('}');
        }
        writeln!(text, " {value}").expect(INFALLIBLE);
    }

    pub(super) fn each<K: AsRef<str>>(&mut self, label: &str, values: &BTreeMap<K, u64>) {
        for (content, value) in values {
            self.labelled(&[(label, content.as_ref())], value);
        }
    }
}

fn escaped(content: &str) -> String {
    content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
