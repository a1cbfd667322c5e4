//! The map that `query_T` and `delete_T` take, out of CBOR.

use crate::clock::Wall;
use crate::history::model::CallError;
use crate::history::row::{Children, Item, arguments, parse_timestamp};

/// Most columns that a list may name.
const COLS_MAX: usize = 1024;
/// Seconds of the year 10000; a number beyond is not in seconds.
const SECONDS_MAX: f64 = 253_402_300_800.0;

/// What the caller gave.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Arguments {
    condition: Option<String>,
    pub(super) cols: Option<Cols>,
    when: Option<Result<Wall, String>>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Cols {
    /// As in SQL.
    Text(String),
    /// One entry a column.
    List(Vec<String>),
}

impl Arguments {
    /// Reads no argument, null, or a map of the `known` keys.
    pub(super) fn read(data: &[u8], known: &[&str]) -> Result<Self, CallError> {
        let given = arguments(data, 1).map_err(|malformed| CallError::exception(malformed.to_string()))?;
        if given.count > 1 {
            return Err(CallError::exception(format!("one argument is possible, {} were given", given.count)));
        }
        let raw = match given.first.first() {
            None | Some(Item::Null) => return Ok(Self::default()),
            Some(Item::Map(raw)) => raw,
            Some(other) => {
                let text = format!("the argument is a map with {}, not {}", known.join(", "), other.describe());
                return Err(CallError::exception(text));
            }
        };
        Self::map(raw, known)
    }

    fn map(raw: &[u8], known: &[&str]) -> Result<Self, CallError> {
        let mut this = Self::default();
        let mut unknown = Vec::new();
        let mut children = Children::of(raw);
        while let Some((key, value)) = children.next_pair().map_err(|why| CallError::exception(why.to_string()))? {
            let key = match &key {
                Item::Text(key) => key.chars().take(64).collect(),
                Item::Integer(key) => key.to_string(),
                other => other.describe().into_owned(),
            };
            match key.as_str() {
                key if !known.contains(&key) => {
                    // A map of thousands of keys need not come back whole.
                    if unknown.len() < 16 {
                        unknown.push(key.to_owned());
                    }
                }
                "where" => this.condition = text(value, "where")?,
                "cols" => this.cols = cols(&value)?,
                _ => this.when = when(&value),
            }
        }
        // The words are the reference's.
        if unknown.is_empty() { Ok(this) } else { Err(CallError::exception(format!("invalid keys: {}", unknown.join(", ")))) }
    }

    /// The condition, if it says anything.
    pub(super) fn condition(&self) -> Option<&str> {
        self.condition.as_deref().map(str::trim).filter(|condition| !condition.is_empty())
    }

    pub(super) fn when(&self) -> Result<Option<Wall>, CallError> {
        self.when.clone().transpose().map_err(CallError::exception)
    }
}

fn text(value: Item<'_>, key: &str) -> Result<Option<String>, CallError> {
    match value {
        Item::Null => Ok(None),
        Item::Text(text) => Ok(Some(text.into_owned())),
        other => Err(CallError::exception(format!("{key}: expected a text, found {}", other.describe()))),
    }
}

fn cols(value: &Item<'_>) -> Result<Option<Cols>, CallError> {
    match value {
        Item::Null => Ok(None),
        Item::Text(text) => Ok((!text.trim().is_empty()).then(|| Cols::Text(text.to_string()))),
        Item::List(raw) => {
            let mut list = Vec::new();
            let mut children = Children::of(raw);
            while let Some(child) = children.next_item().map_err(|why| CallError::exception(why.to_string()))? {
                let name = text(child, "cols")?.ok_or_else(|| CallError::exception("cols: expected a text, found null"))?;
                list.push(name);
                if list.len() > COLS_MAX {
                    return Err(CallError::exception(format!("cols: more than {COLS_MAX} names")));
                }
            }
            Ok((!list.is_empty()).then_some(Cols::List(list)))
        }
        other => Err(CallError::exception(format!("cols: expected a text or a list of texts, found {}", other.describe()))),
    }
}

/// Seconds since 1970, fractions allowed, or a text such as `2026-11-21 12:00:00.5`, in UTC.
fn when(value: &Item<'_>) -> Option<Result<Wall, String>> {
    let micros = match value {
        Item::Null => return None,
        Item::Micros(micros) => Ok(*micros),
        Item::Integer(seconds) => match i64::try_from(*seconds) {
            Ok(seconds) => seconds_to_micros(seconds),
            Err(_) => Err(not_seconds(*seconds)),
        },
        Item::Float(seconds) if seconds.is_finite() && *seconds < SECONDS_MAX => {
            crate::history::row::micros_of(*seconds).ok_or_else(|| not_seconds(seconds))
        }
        Item::Float(seconds) => Err(not_seconds(seconds)),
        Item::Text(text) => parse_timestamp(text).ok_or_else(|| "when: expected a time like `2026-11-21 12:00:00`".to_owned()),
        other => Err(format!("when: expected a number of seconds or a text, found {}", other.describe())),
    };
    // Nothing was before 1970; the engine will find no snapshot either way.
    Some(micros.map(|micros| Wall(u64::try_from(micros).unwrap_or_default().saturating_mul(1_000))))
}

fn seconds_to_micros(seconds: i64) -> Result<i64, String> {
    #[expect(clippy::cast_possible_truncation, reason = "a constant that fits")]
    let most = SECONDS_MAX as i64;
    if seconds < most { Ok(seconds.saturating_mul(1_000_000)) } else { Err(not_seconds(seconds)) }
}

fn not_seconds(number: impl std::fmt::Display) -> String {
    format!("when: {number} is not a number of seconds since 1970")
}
