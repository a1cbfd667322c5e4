//! One value: from a text or from TOML, checked against the kind of its key.

use super::keys::{Key, Kind, Words, nearest};
use bytesize::ByteSize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Longest text that has rules of its own, in bytes; as a topic.
const TEXT_MAX: usize = 65_535;
/// Most texts in a list.
const TEXTS_MAX: usize = 1_000;
/// Shortest secret, in bytes.
const SECRET_MIN: usize = 4;

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// Not for anybody's eyes.
    Secret(String),
    Texts(Vec<String>),
    Secrets(BTreeMap<String, String>),
    Pairs(Vec<(String, String)>),
    Path(PathBuf),
    Off,
    Switch(bool),
    Duration(Duration),
    Size(u64),
    Count(u64),
}

/// As it would be written in the file.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Secret(_) => f.write_str("\"…\""),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Secrets(secrets) if secrets.is_empty() => f.write_str("{}"),
            Self::Secrets(secrets) => {
                let names: Vec<String> = secrets.keys().map(|name| format!("{name:?} = \"…\"")).collect();
                write!(f, "{{ {} }}", names.join(", "))
            }
            Self::Pairs(pairs) => f.debug_list().entries(pairs.iter().map(|(from, to)| [from, to])).finish(),
            Self::Path(path) => write!(f, "\"{}\"", path.display()),
            Self::Off => f.write_str("\"off\""),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Duration(duration) => write!(f, "\"{}\"", show_duration(*duration)),
            Self::Size(bytes) => write!(f, "\"{}\"", show_size(*bytes)),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// A duration as people write it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A size with the largest unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((name, shift)) => format!("{}{name}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// Why a value is none.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
}

fn wrong(text: impl Into<String>, hint: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), hint: Some(hint.into()) }
}

pub(crate) fn default(key: &Key) -> Value {
    from_text(key, key.default).expect("defaults follow the rules of their key")
}

/// Reads a value as the environment and the command line write it.
pub(crate) fn from_text(key: &Key, text: &str) -> Result<Value, Wrong> {
    match &key.kind {
        Kind::Switch => switch(text),
        Kind::Count(min, max) => count(key, text, *min, *max),
        Kind::Texts(words) => texts(words, text.split(',').map(str::trim).filter(|text| !text.is_empty())),
        Kind::Secrets(words) => {
            let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
            secrets(
                words,
                pairs.map(|pair| pair.split_once('=').ok_or_else(|| wrong("a name has no `=` behind it", "acme=12345678"))),
            )
        }
        Kind::Pairs(_) if text.is_empty() => Ok(Value::Pairs(Vec::new())),
        Kind::Pairs(_) => Err(wrong("a list of pairs is given in the file", format!("{} = {}", key.name, example(key)))),
        _ => from_quoted(key, text),
    }
}

/// Reads a value of the file.
pub(crate) fn from_toml(key: &Key, value: &DeValue<'_>) -> Result<Value, Wrong> {
    match (&key.kind, value) {
        (Kind::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
        (Kind::Count(min, max), DeValue::Integer(number)) => count(key, &number.to_string(), *min, *max),
        (Kind::Texts(words), DeValue::Array(list)) => match list.iter().map(|text| text.get_ref().as_str()).collect() {
            Some(list) => texts(words, Vec::into_iter(list)),
            None => Err(wrong_type(key, value)),
        },
        (Kind::Secrets(words), DeValue::Table(table)) => {
            let pair = |secret: &DeValue<'_>| secret.as_str().map(str::to_owned).ok_or_else(|| wrong_type(key, value));
            let pairs: Vec<_> = table.iter().map(|(name, secret)| (name.get_ref(), pair(secret.get_ref()))).collect();
            secrets(
                words,
                pairs.iter().map(|(name, secret)| match secret {
                    Ok(secret) => Ok((&***name, secret.as_str())),
                    Err(_) => Err(wrong_type(key, value)),
                }),
            )
        }
        (Kind::Pairs(words), DeValue::Array(list)) => match list.iter().map(|pair| two(pair.get_ref())).collect() {
            Some(list) => pairs(words, list),
            None => Err(wrong_type(key, value)),
        },
        (Kind::Switch | Kind::Count(..) | Kind::Texts(_) | Kind::Secrets(_) | Kind::Pairs(_), _) => Err(wrong_type(key, value)),
        (_, DeValue::String(text)) => from_quoted(key, text),
        _ => Err(wrong_type(key, value)),
    }
}

fn wrong_type(key: &Key, value: &DeValue<'_>) -> Wrong {
    let wanted = match &key.kind {
        Kind::Switch => "true or false, without quotes",
        Kind::Count(..) => "a whole number, without quotes",
        Kind::Duration(..) | Kind::Size(..) | Kind::DurationOrOff(..) | Kind::SizeOrOff(..) => "a text with a unit",
        Kind::Texts(_) => "a list of texts",
        Kind::Secrets(_) => "a table of names with their secrets",
        Kind::Pairs(_) => "a list of pairs of texts",
        _ => "a text in quotes",
    };
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    wrong(format!("must be {wanted}, not {article} {}", value.type_str()), format!("{} = {}", key.name, example(key)))
}

/// A right value, as it stands in the file.
pub(crate) fn example(key: &Key) -> String {
    match &key.kind {
        Kind::Texts(words) => format!("[\"{}\"]", words.example),
        Kind::Secrets(words) => format!("{{ {} = \"12345678\" }}", words.example),
        Kind::Phrase(words) => format!("\"{}\"", words.example),
        Kind::Pairs(_) => "[[\"sonar\", \"range\"]]".into(),
        Kind::Name if key.default.is_empty() => "\"gw1\"".into(),
        Kind::PathOrOff if key.section == "tls" => "\"gateway.pem\"".into(),
        Kind::PathOrOff if key.default == "off" => "\"telemetry.json\"".into(),
        Kind::Listen if key.default == "off" => "\"127.0.0.1:8883\"".into(),
        _ => key.default_in_toml(),
    }
}

/// Reads what stands between quotes in the file.
fn from_quoted(key: &Key, text: &str) -> Result<Value, Wrong> {
    match &key.kind {
        Kind::Name => name(key, text),
        Kind::Path if text.is_empty() => Err(empty(key)),
        Kind::Path => Ok(Value::Path(text.into())),
        Kind::PathOrOff if text.is_empty() => Err(empty(key)),
        Kind::PathOrOff if text == "off" => Ok(Value::Off),
        Kind::PathOrOff => Ok(Value::Path(text.into())),
        Kind::Listen | Kind::DurationOrOff(..) | Kind::SizeOrOff(..) if text == "off" => Ok(Value::Off),
        Kind::Listen => listens(key, text),
        Kind::Duration(min, max) | Kind::DurationOrOff(min, max) => duration(key, text, *min, *max),
        Kind::Size(min, max) | Kind::SizeOrOff(min, max) => size(key, text, *min, *max),
        Kind::Choice(choices) => choice(text, choices),
        Kind::Text | Kind::Secret if text.is_empty() => Err(empty(key)),
        Kind::Text | Kind::Secret if text == "off" => Ok(Value::Off),
        Kind::Text => Ok(Value::Text(text.into())),
        Kind::Secret => Ok(Value::Secret(text.into())),
        Kind::Catalog => catalog(text),
        Kind::Phrase(_) if text.is_empty() && key.default.is_empty() && !key.required => Ok(Value::Text(String::new())),
        Kind::Phrase(words) => one(words, text).map(Value::Text),
        Kind::Switch | Kind::Count(..) | Kind::Texts(_) | Kind::Secrets(_) | Kind::Pairs(_) => {
            unreachable!("read by the callers, who know whether there were quotes")
        }
    }
}

/// How to connect to a database may hold a password.
fn catalog(text: &str) -> Result<Value, Wrong> {
    match text.split_once(':') {
        _ if text == "duckdb" || text == "sqlite" => Ok(Value::Text(text.into())),
        Some(("postgres", connection)) if !connection.trim().is_empty() => Ok(Value::Secret(text.into())),
        _ => Err(wrong(
            format!("`{text}` is no catalog"),
            "\"duckdb\", \"sqlite\", or for example \"postgres:host=db.example dbname=lake user=gateway\"",
        )),
    }
}

/// A text by its own rules, and by those of all: not empty, no control characters, no more than a topic may have.
fn one(words: &Words, text: &str) -> Result<String, Wrong> {
    let right = || format!("for example \"{}\"", words.example);
    if text.is_empty() {
        return Err(wrong("must not be empty", right()));
    }
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(wrong(format!("must have at most {TEXT_MAX} bytes and no control characters"), right()));
    }
    (words.check)(text).map_err(|reason| wrong(format!("`{text}` {reason}"), right()))?;
    Ok(text.to_owned())
}

fn texts<'a>(words: &Words, list: impl Iterator<Item = &'a str>) -> Result<Value, Wrong> {
    let texts: Vec<String> = list.map(|text| one(words, text)).collect::<Result<_, _>>()?;
    if texts.len() > TEXTS_MAX {
        return Err(wrong(format!("has {} texts", texts.len()), format!("at most {TEXTS_MAX}")));
    }
    Ok(Value::Texts(texts))
}

/// Names and secrets. Whatever is wrong, the secret is not said.
fn secrets<'a>(words: &Words, pairs: impl Iterator<Item = Result<(&'a str, &'a str), Wrong>>) -> Result<Value, Wrong> {
    let mut secrets = BTreeMap::new();
    for pair in pairs {
        let (name, secret) = pair?;
        let name = one(words, name.trim())?;
        if secret.len() < SECRET_MIN || secret.len() > TEXT_MAX {
            let text = format!("the secret of `{name}` must have at least {SECRET_MIN} characters");
            return Err(wrong(text, "whoever knows it registers components; make it long"));
        }
        secrets.insert(name, secret.to_owned());
    }
    if secrets.len() > TEXTS_MAX {
        return Err(wrong(format!("has {} names", secrets.len()), format!("at most {TEXTS_MAX}")));
    }
    Ok(Value::Secrets(secrets))
}

fn pairs(words: &Words, list: Vec<(&str, &str)>) -> Result<Value, Wrong> {
    let pairs = list.into_iter().map(|(from, to)| Ok((one(words, from)?, one(words, to)?))).collect::<Result<Vec<_>, _>>()?;
    if pairs.len() > TEXTS_MAX {
        return Err(wrong(format!("has {} pairs", pairs.len()), format!("at most {TEXTS_MAX}")));
    }
    Ok(Value::Pairs(pairs))
}

fn two<'a>(value: &'a DeValue<'_>) -> Option<(&'a str, &'a str)> {
    let pair = value.as_array().filter(|pair| pair.len() == 2)?;
    let text = |at: usize| pair.get(at)?.get_ref().as_str();
    Some((text(0)?, text(1)?))
}

fn empty(key: &Key) -> Wrong {
    wrong("must not be empty", format!("for example {}", example(key)))
}

fn name(key: &Key, text: &str) -> Result<Value, Wrong> {
    if text.is_empty() {
        return Err(empty(key));
    }
    if text.len() > 128 || text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | '+' | '#' | '*')) {
        return Err(wrong(
            format!("`{text}` cannot be a name"),
            "at most 128 bytes without spaces and without `/`, `+`, `#`, `*`; for example \"plant-7\"",
        ));
    }
    Ok(Value::Text(text.into()))
}

/// Several addresses stand in one text: a flag, a variable and the file all write them alike.
fn listens(key: &Key, text: &str) -> Result<Value, Wrong> {
    let mut addresses = Vec::new();
    for address in text.split(',').map(str::trim) {
        listen(key, address)?;
        if addresses.contains(&address) {
            return Err(wrong(format!("`{address}` is there twice"), "name each address once"));
        }
        addresses.push(address);
    }
    Ok(Value::Text(addresses.join(", ")))
}

/// The addresses of a checked value.
pub(crate) fn addresses(value: &Value) -> Vec<String> {
    match value {
        Value::Text(text) => text.split(", ").map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn listen(key: &Key, text: &str) -> Result<(), Wrong> {
    let right = || format!("host:port, several with commas between, or off; for example {}", example(key));
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(match text.parse::<u16>() {
            Ok(port) => wrong(format!("`{text}` has no host"), format!("did you mean \"127.0.0.1:{port}\"?")),
            Err(_) => wrong(format!("`{text}` is not an address"), right()),
        });
    };
    if host.is_empty() {
        let hint = format!("\"127.0.0.1:{port}\" for this machine only, \"0.0.0.0:{port}\" for the network");
        return Err(wrong(format!("`{text}` has no host"), hint));
    }
    if port.parse::<u16>().is_err() {
        return Err(wrong(format!("`{port}` is not a port"), "a number from 0 to 65535; 0 picks a free one"));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ipv6_fine = bare.map_or(!host.contains(':'), |host| host.parse::<std::net::Ipv6Addr>().is_ok());
    if !ipv6_fine {
        return Err(wrong(format!("`{text}` is not an address"), "an IPv6 address stands in brackets: \"[::1]:1883\""));
    }
    if host.chars().any(|c| c.is_whitespace() || c == '/') {
        return Err(wrong(format!("`{text}` is not an address"), right()));
    }
    Ok(())
}

fn switch(text: &str) -> Result<Value, Wrong> {
    match text {
        "true" => Ok(Value::Switch(true)),
        "false" => Ok(Value::Switch(false)),
        _ => Err(wrong(format!("`{text}` is neither true nor false"), "write true or false")),
    }
}

fn count(key: &Key, text: &str, min: u64, max: u64) -> Result<Value, Wrong> {
    let hint = || format!("a whole number from {min} to {max}; for example {}", key.default);
    let digits = text.replace('_', "");
    let number: u64 = digits.parse().map_err(|_| wrong(format!("`{text}` is not such a number"), hint()))?;
    if number < min || number > max {
        return Err(wrong(format!("`{text}` is out of range"), hint()));
    }
    Ok(Value::Count(number))
}

fn duration(key: &Key, text: &str, min: Duration, max: Duration) -> Result<Value, Wrong> {
    let range = || {
        let (min, max) = (show_duration(min), show_duration(max));
        format!("from {min} to {max}, with a unit (ms, s, m, h, days); for example \"{}\"", key.default)
    };
    let duration = humantime::parse_duration(text).map_err(|_| wrong(format!("`{text}` is not a duration"), range()))?;
    if duration < min || duration > max {
        return Err(wrong(format!("`{text}` is out of range"), range()));
    }
    Ok(Value::Duration(duration))
}

fn size(key: &Key, text: &str, min: u64, max: u64) -> Result<Value, Wrong> {
    let range = || {
        let (min, max) = (show_size(min), show_size(max));
        format!("from {min} to {max}, with a unit (B, KiB, MiB, GiB); for example \"{}\"", key.default)
    };
    // `bytesize` takes a bare number for bytes; whoever writes 64 meant something else.
    let bare = text.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let bytes = match text.parse::<ByteSize>() {
        Ok(size) if !bare => size.as_u64(),
        _ => return Err(wrong(format!("`{text}` is not a size"), range())),
    };
    if bytes < min || bytes > max {
        return Err(wrong(format!("`{text}` is out of range"), range()));
    }
    Ok(Value::Size(bytes))
}

fn choice(text: &str, choices: &'static [&'static str]) -> Result<Value, Wrong> {
    if choices.contains(&text) {
        return Ok(Value::Text(text.into()));
    }
    let listed = choices.join(", ");
    Err(wrong(
        format!("`{text}` is not one of {listed}"),
        match nearest(text, choices.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("for example \"{}\"", choices.first().copied().unwrap_or_default()),
        },
    ))
}
