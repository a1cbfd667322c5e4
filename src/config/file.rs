//! The TOML file.

use super::keys::{self, nearest};
use super::mistake::{ConfigErrors, Place};
use super::settings::{Origin, Settings};
use super::value;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A configuration is a page; whatever is larger was given by mistake.
const BYTES_MAX: u64 = 1 << 20;

/// Reads `path` into `settings`; goes on after a mistake, so that all of them are told at once.
pub(crate) fn read(path: &Path, settings: &mut Settings, errors: &mut ConfigErrors) {
    match text(path, BYTES_MAX) {
        Ok(text) => File { path, text: &text }.read(settings, errors),
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

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn read(&self, settings: &mut Settings, errors: &mut ConfigErrors) {
        let (document, syntax) = DeTable::parse_recoverable(self.text);
        let mut found = ConfigErrors::default();
        for section in entries(document.get_ref()) {
            self.section(section, settings, &mut found);
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

    fn section(&self, (name, value): Entry<'_>, settings: &mut Settings, errors: &mut ConfigErrors) {
        let section: &str = name.get_ref();
        let known = keys::sections();
        if !known.contains(&section) {
            self.unknown_section(name, value, &known, errors);
            return;
        }
        let DeValue::Table(table) = value.get_ref() else {
            let text = format!("`{section}` is a section, not a key");
            errors.add(self.place(&name.span()), text, format!("write [{section}] on a line of its own, its keys below"));
            return;
        };
        for (key, value) in entries(table) {
            match keys::find(section, key.get_ref()) {
                Some(known) => {
                    let (line, column) = self.line_column(&value.span());
                    let origin = Origin::File { path: self.path.into(), line, column };
                    settings.set(known, value::from_toml(known, value.get_ref()), origin, errors);
                }
                None => self.unknown_key(section, key, errors),
            }
        }
    }

    fn unknown_section(
        &self,
        name: &Spanned<Text<'_>>,
        value: &Spanned<DeValue<'_>>,
        known: &[&str],
        errors: &mut ConfigErrors,
    ) {
        let typed: &str = name.get_ref();
        let place = self.place(&name.span());
        if !value.get_ref().is_table() {
            let owner = keys::KEYS.iter().find(|key| key.name == typed);
            let hint = owner.map(|key| format!("`{typed}` belongs below [{}]", key.section));
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
        let here: Vec<_> = keys::KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
        let elsewhere = keys::KEYS.iter().find(|key| key.name == typed);
        let hint = match (elsewhere, nearest(typed, here.iter().copied())) {
            (Some(other), _) => format!("`{typed}` belongs below [{}]", other.section),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("[{section}] has {}", here.join(", ")),
        };
        errors.add(self.place(&key.span()), format!("unknown key `{typed}` in [{section}]"), hint);
    }

    /// What most broken lines need: quotes around their text.
    fn unquoted(&self, span: &Range<usize>) -> Option<String> {
        let (line, _) = self.line_column(span);
        let (key, value) = self.text.lines().nth(line - 1)?.split('#').next()?.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let bare = !value.is_empty() && !value.contains(['"', '\'', '[', '{']);
        bare.then(|| format!("texts stand in quotes: {key} = \"{value}\""))
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let (line, column) = self.line_column(span);
        Place::File { path: self.path.into(), line, column }
    }

    fn line_column(&self, span: &Range<usize>) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        (before.matches('\n').count() + 1, in_line.chars().count() + 1)
    }
}

type Text<'a> = std::borrow::Cow<'a, str>;
type Entry<'a> = (&'a Spanned<Text<'a>>, &'a Spanned<DeValue<'a>>);

fn entries<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Entry<'a>> {
    table.iter()
}
