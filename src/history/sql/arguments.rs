//! The map that `query_T` and `delete_T` take, out of CBOR.

use super::moment;
use crate::clock::Wall;
use crate::history::model::CallError;
use crate::history::row::{Children, Item, arguments};

/// Most columns that a list may name.
const COLS_MAX: usize = 1024;

/// Keys of the argument of `query_T`.
pub(super) const OF_QUERIES: [&str; 8] = ["where", "cols", "when", "since", "until", "order", "limit", "every"];
/// Keys of the argument of `delete_T`.
pub(super) const OF_DELETIONS: [&str; 2] = ["where", "when"];

/// What the caller gave.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Arguments {
    condition: Option<String>,
    pub(super) cols: Option<Cols>,
    when: Option<Result<i64, String>>,
    pub(super) since_us: Option<i64>,
    pub(super) until_us: Option<i64>,
    pub(super) order: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) every_us: Option<i64>,
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
    pub(super) fn read(data: &[u8], known: &[&str], now: Wall) -> Result<Self, CallError> {
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
        Self::map(raw, known, now)
    }

    fn map(raw: &[u8], known: &[&str], now: Wall) -> Result<Self, CallError> {
        let mut this = Self::default();
        let mut unknown = Vec::new();
        let mut children = Children::of(raw);
        while let Some((key, value)) = children.next_pair().map_err(|why| CallError::exception(why.to_string()))? {
            let key = match &key {
                Item::Text(key) => key.chars().take(64).collect(),
                Item::Integer(key) => key.to_string(),
                other => other.describe().into_owned(),
            };
            let wrong = |why: String| CallError::exception(format!("{key}: {why}"));
            let moment = || moment::moment(&value, now).transpose();
            match key.as_str() {
                known_not if !known.contains(&known_not) => {
                    // A map of thousands of keys need not come back whole.
                    if unknown.len() < 16 {
                        unknown.push(key.clone());
                    }
                }
                "where" => this.condition = text(value, "where")?,
                "cols" => this.cols = cols(&value)?,
                "since" => this.since_us = moment().map_err(wrong)?,
                "until" => this.until_us = moment().map_err(wrong)?,
                "order" => this.order = order(&value)?,
                "limit" => this.limit = limit(&value).map_err(wrong)?,
                "every" => this.every_us = moment::width(&value).transpose().map_err(wrong)?,
                // Said later: `delete_T` takes it and does not look at it.
                _ => this.when = moment::moment(&value, now).map(|when| when.map_err(|why| format!("when: {why}"))),
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
        // Nothing was before 1970; the engine will find no snapshot either way.
        let wall = |micros: i64| Wall(u64::try_from(micros).unwrap_or_default().saturating_mul(1_000));
        self.when.clone().transpose().map(|when| when.map(wall)).map_err(CallError::exception)
    }
}

fn text(value: Item<'_>, key: &str) -> Result<Option<String>, CallError> {
    match value {
        Item::Null => Ok(None),
        Item::Text(text) => Ok(Some(text.into_owned())),
        other => Err(CallError::exception(format!("{key}: expected a text, found {}", other.describe()))),
    }
}

fn list(raw: &[u8], key: &str) -> Result<Vec<String>, CallError> {
    let mut list = Vec::new();
    let mut children = Children::of(raw);
    while let Some(child) = children.next_item().map_err(|why| CallError::exception(why.to_string()))? {
        let name = text(child, key)?.ok_or_else(|| CallError::exception(format!("{key}: expected a text, found null")))?;
        list.push(name);
        if list.len() > COLS_MAX {
            return Err(CallError::exception(format!("{key}: more than {COLS_MAX} names")));
        }
    }
    Ok(list)
}

fn cols(value: &Item<'_>) -> Result<Option<Cols>, CallError> {
    match value {
        Item::Null => Ok(None),
        Item::Text(text) => Ok((!text.trim().is_empty()).then(|| Cols::Text(text.to_string()))),
        Item::List(raw) => list(raw, "cols").map(|list| (!list.is_empty()).then_some(Cols::List(list))),
        other => Err(CallError::exception(format!("cols: expected a text or a list of texts, found {}", other.describe()))),
    }
}

/// As after `ORDER BY`, or one entry a column.
fn order(value: &Item<'_>) -> Result<Option<String>, CallError> {
    let order = match value {
        Item::Null => return Ok(None),
        Item::Text(text) => text.to_string(),
        Item::List(raw) => list(raw, "order")?.join(", "),
        other => {
            return Err(CallError::exception(format!("order: expected a text or a list of texts, found {}", other.describe())));
        }
    };
    Ok((!order.trim().is_empty()).then_some(order))
}

fn limit(value: &Item<'_>) -> Result<Option<u64>, String> {
    let limit = match value {
        Item::Null => return Ok(None),
        Item::Integer(limit) => u64::try_from(*limit).ok().filter(|limit| *limit <= i64::MAX.unsigned_abs()),
        _ => None,
    };
    limit.map(Some).ok_or_else(|| format!("expected a whole number of rows, found {}", value.describe()))
}
