//! The TOML file.

use super::keys::{self, nearest};
use super::mistake::{ConfigErrors, Place};
use super::sections::{self, Form, Section};
use super::settings::{Origin, Settings};
use super::value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A configuration is a page; whatever is larger was given by mistake.
const BYTES_MAX: u64 = 1 << 20;

/// Reads `path` into `settings`; goes on after a mistake, so that all of them are told at once.
pub(crate) fn read(path: &Path, settings: &mut Settings, errors: &mut ConfigErrors) {
    match text(path, BYTES_MAX) {
        Ok(text) => Document { source: &Source::File(path.into()), text: &text }.read(settings, errors),
        Err(reason) => errors.add(Place::Path(path.into()), format!("the configuration file cannot be read: {reason}"), None),
    }
}

/// Reads a text of at most `bytes_max`; the error is for the operator.
pub(crate) fn text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let found = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !found.is_file() {
        return Err("it is not a file".into());
    }
    if found.len() > bytes_max {
        return Err(format!("it has {} bytes; at most {bytes_max} make sense", found.len()));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Where a text of TOML is from.
pub(super) enum Source {
    File(PathBuf),
    Variable(String),
}

impl Source {
    fn origin(&self, line: usize, column: usize) -> Origin {
        match self {
            Self::File(path) => Origin::File { path: path.clone(), line, column },
            Self::Variable(name) => Origin::Variable(name.clone()),
        }
    }
}

/// Reads the entries of a structured section out of a text that has nothing else: what stands behind the `=`.
pub(super) fn read_section(
    source: &Source,
    section: &'static Section,
    text: &str,
    settings: &mut Settings,
    errors: &mut ConfigErrors,
) {
    let document = Document { source, text };
    match DeValue::parse(text.trim()) {
        Ok(value) => document.entries(section, &value, settings, errors),
        Err(error) => {
            let hint = format!("as it would stand behind `{} =` in the file: {}", section.path, sections::example(section));
            errors.add(source.origin(1, 1).place(), format!("not valid TOML: {}", error.message()), hint);
        }
    }
}

struct Document<'a> {
    source: &'a Source,
    text: &'a str,
}

impl Document<'_> {
    fn read(&self, settings: &mut Settings, errors: &mut ConfigErrors) {
        let (document, syntax) = DeTable::parse_recoverable(self.text);
        let mut found = ConfigErrors::default();
        for section in entries(document.get_ref()) {
            self.top(section, settings, &mut found);
        }
        // What the parser made of a broken line is a guess; only the break itself is worth telling.
        let broken: Vec<_> = syntax.iter().map(|error| self.line_column(&error.span().unwrap_or_default()).0).collect();
        found.0.retain(|mistake| !matches!(&mistake.place, Place::File { line, .. } if broken.contains(line)));
        for error in &syntax {
            let span = error.span().unwrap_or_default();
            let message = error.message().trim_end_matches(", expected nothing");
            found.add(self.place(&span), format!("not valid TOML: {message}"), self.unquoted(&span));
        }
        found.0.sort_by_key(|mistake| match mistake.place {
            Place::File { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        errors.0.append(&mut found.0);
    }

    fn top(&self, (name, value): Entry<'_>, settings: &mut Settings, errors: &mut ConfigErrors) {
        let path: &str = name.get_ref();
        if let Some(section) = sections::find(path) {
            self.entries(section, value, settings, errors);
        } else if !sections::paths().any(|known| sections::leads_to(path, known)) {
            self.unknown_section(name, value, errors);
        } else if let DeValue::Table(table) = value.get_ref() {
            self.table(path, table, settings, errors);
        } else {
            let text = format!("`{path}` is a section, not a key");
            errors.add(self.place(&name.span()), text, format!("write [{path}] on a line of its own, its keys below"));
        }
    }

    /// The keys of a table, and the sections inside it.
    fn table(&self, path: &str, table: &DeTable<'_>, settings: &mut Settings, errors: &mut ConfigErrors) {
        for (name, value) in entries(table) {
            let inner = format!("{path}.{}", name.get_ref());
            if let Some(known) = keys::find(path, name.get_ref()) {
                settings.set(known, value::from_toml(known, value.get_ref()), self.origin(&value.span()), errors);
            } else if let Some(section) = sections::find(&inner) {
                self.entries(section, value, settings, errors);
            } else if let Some(table) = value.get_ref().as_table()
                && sections::paths().any(|known| sections::leads_to(&inner, known))
            {
                self.table(&inner, table, settings, errors);
            } else {
                self.unknown_key(path, name, errors);
            }
        }
    }

    /// The entries of a structured section.
    fn entries(
        &self,
        section: &'static Section,
        value: &Spanned<DeValue<'_>>,
        settings: &mut Settings,
        errors: &mut ConfigErrors,
    ) {
        let wrong = |span: Range<usize>, text: String| (self.place(&span), text, Some(sections::example(section)));
        let mut found: Vec<(Option<String>, Range<usize>, &DeTable<'_>)> = Vec::new();
        let mut mistakes = Vec::new();
        match (section.form, value.get_ref()) {
            (Form::List, DeValue::Array(list)) => {
                for entry in list.iter() {
                    match entry.get_ref().as_table() {
                        Some(table) => found.push((None, entry.span(), table)),
                        None => mistakes.push(wrong(entry.span(), format!("{section}: an entry is a table"))),
                    }
                }
            }
            (Form::Named, DeValue::Table(table)) => {
                for (name, entry) in entries(table) {
                    match (entry.get_ref().as_table(), sections::is_name(name.get_ref())) {
                        (None, _) => mistakes.push(wrong(name.span(), format!("{section}: every NAME is a table"))),
                        (_, false) => {
                            mistakes.push(wrong(name.span(), format!("{section}: `{}` cannot be a name", name.get_ref())))
                        }
                        (Some(table), true) => found.push((Some(name.get_ref().to_string()), name.span(), table)),
                    }
                }
            }
            (Form::List, _) => {
                mistakes.push(wrong(value.span(), format!("{section}: there may be several, so brackets are double")))
            }
            (Form::Named, _) => mistakes.push(wrong(value.span(), format!("{section}: every entry has a name"))),
        }
        if found.len() > section.max {
            let text = format!("{section}: there are {}, and at most {} make sense", found.len(), section.max);
            mistakes.push((self.place(&value.span()), text, None));
        }
        for (place, text, hint) in mistakes {
            errors.add(place, text, hint);
        }
        for (name, span, table) in found {
            settings.add(self.entry(section, name, &span, table, errors));
        }
    }

    fn entry(
        &self,
        section: &'static Section,
        name: Option<String>,
        span: &Range<usize>,
        table: &DeTable<'_>,
        errors: &mut ConfigErrors,
    ) -> sections::Entry {
        let before = errors.0.len();
        let mut settings = Settings::default();
        self.table(section.path, table, &mut settings, errors);
        for key in section.keys.iter().filter(|key| key.required && !entries(table).any(|(name, _)| name.get_ref() == key.name))
        {
            errors.add(self.place(span), format!("{key}: is missing"), format!("{} = {}", key.name, value::example(key)));
        }
        let sound = errors.0.len() == before;
        sections::Entry { section, name, origin: self.origin(span), settings, sound }
    }

    fn unknown_section(&self, name: &Spanned<Text<'_>>, value: &Spanned<DeValue<'_>>, errors: &mut ConfigErrors) {
        let mut known: Vec<_> = sections::paths().collect();
        known.dedup();
        let typed: &str = name.get_ref();
        let place = self.place(&name.span());
        if !value.get_ref().is_table() {
            let hint = owner(typed).map(|section| format!("`{typed}` belongs below {section}"));
            errors.add(place, format!("unknown key `{typed}` outside of a section"), hint);
            return;
        }
        let hint = match nearest(typed, known.iter().copied()) {
            Some(near) => format!("did you mean [{near}]?"),
            None => format!("the sections are {}", known.join(", ")),
        };
        errors.add(place, format!("unknown section [{typed}]"), hint);
    }

    fn unknown_key(&self, section: &str, key: &Spanned<Text<'_>>, errors: &mut ConfigErrors) {
        let typed: &str = key.get_ref();
        let shown = sections::show(section);
        let inner = sections::paths().filter_map(|path| path.strip_prefix(section)?.strip_prefix('.'));
        let here: Vec<_> = keys::of(section).map(|key| key.name).chain(inner).collect();
        let hint = match (owner(typed), nearest(typed, here.iter().copied())) {
            (_, Some(near)) if sections::find(section).is_some() => format!("did you mean `{near}`?"),
            (Some(other), _) => format!("`{typed}` belongs below {other}"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("{shown} has {}", here.join(", ")),
        };
        errors.add(self.place(&key.span()), format!("unknown key `{typed}` in {shown}"), hint);
    }

    /// What most broken lines need: quotes around their text.
    fn unquoted(&self, span: &Range<usize>) -> Option<String> {
        let (line, _) = self.line_column(span);
        let (key, value) = self.text.lines().nth(line - 1)?.split('#').next()?.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let bare = !value.is_empty() && !value.contains(['"', '\'', '[', '{']);
        bare.then(|| format!("texts stand in quotes: {key} = \"{value}\""))
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let (line, column) = self.line_column(span);
        self.source.origin(line, column)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        self.origin(span).place()
    }

    fn line_column(&self, span: &Range<usize>) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        (before.matches('\n').count() + 1, in_line.chars().count() + 1)
    }
}

/// The section that has a key of this name.
fn owner(name: &str) -> Option<String> {
    let key = keys::KEYS.iter().find(|key| key.name == name)?;
    Some(sections::show(key.section))
}

type Text<'a> = std::borrow::Cow<'a, str>;
type Entry<'a> = (&'a Spanned<Text<'a>>, &'a Spanned<DeValue<'a>>);

fn entries<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Entry<'a>> {
    table.iter()
}
