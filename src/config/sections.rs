//! Structured sections: tables of which there may be several, `[[parent]]`, `[remote.NAME]`, `[[bridge.topic]]`.
//!
//! To add one:
//!
//! 1. Describe it in [`SECTIONS`]: its path as in the file, its [`Form`], its keys with the kinds of `keys.rs` (so values are
//!    checked, rooted and shown like any other), each key with the path as its section. A table inside an entry is a section
//!    of its own, with the longer path: `parent.expose` is `expose = [{ … }]` or `[[parent.expose]]` below a `[[parent]]`.
//! 2. Read it in a file of your own beside `links.rs`: [`Settings::entries`] gives the entries of a path, [`Entry`] the values
//!    of its keys by kind ([`Entry::text`], [`Entry::duration`], …) and the place of each for mistakes of more than one key.
//!    Call it in `Loaded::load`; the result is a field of [`Config`](super::Config).
//! 3. Put its table into the README; a test says what it must look like.
//!
//! What follows by itself: unknown keys, missing ones ([`required`](super::keys::required)), wrong values and too many entries
//! are mistakes with their place and a likely fix; `check` lists the entries; the environment twin of the whole section,
//! `REMBUS_GATEWAY_BRIDGE_TOPIC='[{ from = "local", … }]'`, replaces what the file says of it. (Single keys of an entry have no
//! twin: entries of a list have no names. Passwords and keys are in files anyhow.)
//!
//! An ordinary table of keys that only stands deeper (`[commlib.rpc_prefix]`) is no structured section: give its keys in
//! `keys.rs` the section `commlib.rpc_prefix`.

use super::build::Values;
use super::commlib;
use super::keys::{self, Key};
use super::links;
use super::mistake::Place;
use super::settings::{Origin, Setting, Settings};
use super::value;
use std::path::PathBuf;
use std::time::Duration;

/// One structured section.
#[derive(Debug)]
pub struct Section {
    /// As in the file, without brackets: `bridge.topic`.
    pub path: &'static str,
    pub form: Form,
    pub keys: &'static [Key],
    /// How many entries there may be.
    pub max: usize,
}

/// How entries stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `[[path]]`.
    List,
    /// `[path.NAME]`.
    Named,
}

/// All of them, in the order of the README.
pub static SECTIONS: &[Section] = &[
    links::PARENT,
    links::PARENT_EXPOSE,
    links::REMOTE,
    links::BRIDGE_TOPIC,
    links::BRIDGE_RPC,
    links::TCP_FORWARD,
    links::REST_PROXY,
    commlib::RPC,
    commlib::EXPOSE,
    commlib::ZLIB,
];

/// One entry of a structured section.
#[derive(Debug, Clone)]
pub struct Entry {
    pub section: &'static Section,
    /// What stands for NAME in `[remote.NAME]`.
    pub name: Option<String>,
    pub origin: Origin,
    /// Its keys, and the entries inside it.
    pub settings: Settings,
    /// Nothing in it is a mistake by itself, so that its values can be asked for.
    pub sound: bool,
}

impl Entry {
    /// What was given, in the order of the keys.
    pub fn given(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        self.section.keys.iter().filter_map(|key| Some((key, self.settings.given(key)?)))
    }
}

/// As its header in the file: `[[bridge.topic]]`, `[remote.NAME]`.
impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.form {
            Form::List => write!(f, "[[{}]]", self.path),
            Form::Named => write!(f, "[{}.NAME]", self.path),
        }
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "[{}.{name}]", self.section.path),
            None => self.section.fmt(f),
        }
    }
}

pub(crate) fn find(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

/// Those that are not inside an entry of another.
pub(crate) fn top() -> impl Iterator<Item = &'static Section> {
    let inside = |section: &Section| section.path.rsplit_once('.').is_some_and(|(outer, _)| find(outer).is_some());
    SECTIONS.iter().filter(move |section| !inside(section))
}

/// The paths of all sections, ordinary and structured.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    keys::sections().into_iter().chain(SECTIONS.iter().map(|section| section.path))
}

/// Whether a path is `known`, or the beginning of it.
pub(crate) fn leads_to(path: &str, known: &str) -> bool {
    known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A section as its header in the file.
pub(crate) fn show(path: &str) -> String {
    find(path).map_or_else(|| format!("[{path}]"), ToString::to_string)
}

/// How an entry is written, for hints.
pub(crate) fn example(section: &Section) -> String {
    let keys: Vec<String> =
        section.keys.iter().filter(|key| key.required).map(|key| format!("{} = {}", key.name, value::example(key))).collect();
    match section.form {
        Form::List => format!("[{{ {} }}]", keys.join(", ")),
        Form::Named => format!("{{ NAME = {{ {} }} }}", keys.join(", ")),
    }
}

/// Whether an entry can be called so.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[expect(dead_code, reason = "whoever adds a section takes what it needs")]
impl Entry {
    fn key(&self, name: &str) -> &'static Key {
        keys::get(self.section.path, name)
    }

    fn values(&self) -> Values<'_> {
        Values(&self.settings)
    }

    /// Where a value was given, or the entry if it was not.
    pub(crate) fn place(&self, name: &str) -> Place {
        self.settings.given(self.key(name)).map_or_else(|| self.origin.place(), |setting| setting.origin.place())
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.settings.given(self.key(name)).is_some()
    }

    /// Of the kinds `Text`, `Name`, `Choice`; empty is none.
    pub(crate) fn text(&self, name: &str) -> String {
        self.values().text(self.section.path, name)
    }

    pub(crate) fn text_or_none(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.values().texts(self.section.path, name)
    }

    pub(crate) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.values().pairs(self.section.path, name)
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.values().path(self.section.path, name)
    }

    pub(crate) fn switch(&self, name: &str) -> bool {
        self.values().switch(self.section.path, name)
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.values().count(self.section.path, name)
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        self.values().duration(self.section.path, name)
    }

    pub(crate) fn duration_or_off(&self, name: &str) -> Option<Duration> {
        self.values().duration_or_off(self.section.path, name)
    }

    pub(crate) fn bytes(&self, name: &str) -> u64 {
        self.values().bytes(self.section.path, name)
    }

    pub(crate) fn bytes_or_off(&self, name: &str) -> Option<u64> {
        self.values().bytes_or_off(self.section.path, name)
    }
}
