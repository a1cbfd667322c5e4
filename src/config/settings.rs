//! The values that were given, and by whom.

use super::keys::{KEYS, Key, Kind};
use super::mistake::{ConfigErrors, Place};
use super::sections::{Entry, Section};
use super::value::{self, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag(&'static str),
    /// One word for many keys; `said` is where it stands.
    Profile {
        name: &'static str,
        said: Box<Self>,
    },
}

impl Origin {
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::File { path, line, column } => Place::File { path: path.clone(), line: *line, column: *column },
            Self::Variable(name) => Place::Variable(name.clone()),
            Self::Flag(name) => Place::Flag(name),
            Self::Profile { said, .. } => said.place(),
        }
    }

    /// Relative paths start here: beside the file that names them, else where the gateway was started.
    fn base(&self) -> PathBuf {
        let dir = match self {
            Self::File { path, .. } => path.parent().unwrap_or(Path::new("")),
            Self::Variable(_) | Self::Flag(_) | Self::Profile { .. } => Path::new(""),
        };
        // Fails only without a working directory; a relative path is then all there is.
        std::path::absolute(dir.join(".")).unwrap_or_else(|_| dir.to_path_buf())
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Profile { name, said } => write!(f, "profile `{name}`, {said}"),
        }
    }
}

/// A value that was given.
#[derive(Debug, Clone)]
pub struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// What was given, by key; a later source replaces an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    keys: BTreeMap<(&'static str, &'static str), Setting>,
    /// The entries of structured sections, in their order.
    entries: Vec<Entry>,
}

impl Settings {
    /// What somebody set explicitly; `None` if the default holds.
    #[must_use]
    pub fn given(&self, key: &Key) -> Option<&Setting> {
        self.keys.get(&(key.section, key.name))
    }

    /// The value that holds.
    #[must_use]
    pub fn value(&self, key: &Key) -> Value {
        match self.given(key) {
            Some(setting) => setting.value.clone(),
            None => value::default(key),
        }
    }

    /// Keys whose value is not the default, in the order of the table.
    pub fn changed(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        KEYS.iter()
            .filter_map(|key| Some((key, self.given(key)?)))
            .filter(|(key, setting)| setting.value != value::default(key))
    }

    /// The entries of a structured section that are no mistake by themselves.
    pub fn entries(&self, path: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.section.path == path && entry.sound)
    }

    /// The entries of all structured sections.
    #[must_use]
    pub fn all_entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Forgets what was said of a structured section so far.
    pub(crate) fn forget(&mut self, section: &Section) {
        self.entries.retain(|entry| entry.section.path != section.path);
    }

    /// Checks a text from the environment or the command line and keeps it.
    pub(crate) fn set_text(&mut self, key: &'static Key, text: &str, origin: Origin, errors: &mut ConfigErrors) {
        self.set(key, value::from_text(key, text), origin, errors);
    }

    /// Keeps a value, or the reason why it is none.
    pub(crate) fn set(
        &mut self,
        key: &'static Key,
        value: Result<Value, value::Wrong>,
        origin: Origin,
        errors: &mut ConfigErrors,
    ) {
        match value {
            Ok(value) => {
                let value = rooted(key, value, &origin);
                self.keys.insert((key.section, key.name), Setting { value, origin });
            }
            Err(wrong) => errors.add(origin.place(), format!("{key}: {}", wrong.text), wrong.hint),
        }
    }
}

fn rooted(key: &Key, value: Value, origin: &Origin) -> Value {
    match (&key.kind, value) {
        // The bus socket lies in the data folder unless its path says otherwise.
        (_, Value::Path(path)) if key.section == "bus" => Value::Path(path),
        (Kind::Path | Kind::PathOrOff, Value::Path(path)) => {
            Value::Path(origin.base().join(path).components().collect::<PathBuf>())
        }
        (_, value) => value,
    }
}
