//! `delete_T` and `upsert_T`: checked when they are called, kept in the log, and done again from there after a restart.
//!
//! The log keeps what the caller sent, not what was made of it, so that the meaning of a record does not depend on how this
//! release represents conditions:
//!
//! ```text
//! u8 version = 1 │ u8 action: 1 delete, 2 upsert │ u64 received (ns since 1970) │ u8 len + table │ argument data, CBOR
//! ```
//! Integers are little endian. The record is checked against the schema again when it is read: a table may be gone by then.

use super::model::{CallError, Row, Schema, Table};
use super::row::{Arguments, Item, arguments, records};
use super::sql::Predicate;
use crate::clock::{Correction, Wall};
use crate::message::Seq;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A correction of times has no table: `u8 version = 1 │ u8 3 │ u64 first record │ i64 nanoseconds to add`.
const CORRECTION: u8 = 3;

/// The body of a record that says: the times of records from `from` up to this one are wrong by so much.
#[must_use]
pub fn encode_correction(correction: Correction) -> Vec<u8> {
    let mut body = vec![VERSION, CORRECTION];
    body.extend_from_slice(&correction.from.0.to_le_bytes());
    body.extend_from_slice(&correction.delta_ns.to_le_bytes());
    body
}

/// Reads such a body; `None` for other commands.
#[must_use]
pub fn decode_correction(body: &[u8]) -> Option<Correction> {
    let rest = body.strip_prefix(&[VERSION, CORRECTION])?;
    let (from, rest) = rest.split_first_chunk::<8>()?;
    let delta = rest.first_chunk::<8>().filter(|_| rest.len() == 8)?;
    Some(Correction { from: Seq(u64::from_le_bytes(*from)), delta_ns: i64::from_le_bytes(*delta) })
}

const VERSION: u8 = 1;

/// A change to a table, asked for by RPC.
#[derive(Debug, Clone)]
pub struct Command {
    pub table: Arc<Table>,
    pub action: Action,
    /// When it was called: the receive time of upserted rows, and `now()` of conditions.
    pub received: Wall,
    data: Vec<u8>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Delete(Predicate),
    /// Keyed tables merge by key, the last row of a key wins, and columns a row does not name are left alone; others append.
    Upsert(Vec<Row>),
}

/// Why a record of the log is no command any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the command ends inside its {0}")]
    Short(&'static str),
    #[error("command version {0} was written by a newer gateway")]
    Version(u8),
    #[error("the command's {0} is not valid")]
    Invalid(&'static str),
    #[error("table `{0}` is not in the schema any more")]
    TableGone(String),
    /// The schema has changed so that the call would be refused today.
    #[error("the command does not fit the schema any more: {0}")]
    Refused(#[source] CallError),
}

impl Command {
    /// Checks a call of `delete_T` or `upsert_T`, given its `data` value. An error goes to the caller as it is.
    pub fn prepare(schema: &Schema, method: &str, data: &[u8], received: Wall) -> Result<Self, CallError> {
        let verb = |verb: &str| method.strip_prefix(verb).and_then(|table| schema.table(table));
        if let Some(table) = verb("delete_") {
            let action = Action::Delete(Predicate::parse(table, data, received)?);
            return Ok(Self { table: Arc::clone(table), action, received, data: data.to_vec() });
        }
        if let Some(table) = verb("upsert_") {
            let action = Action::Upsert(upsert(table, data, received)?);
            return Ok(Self { table: Arc::clone(table), action, received, data: data.to_vec() });
        }
        Err(CallError { status: crate::router::Status::METHOD_NOT_FOUND, text: format!("{method}: unknown method") })
    }

    /// The body of the log record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.data.len() + self.table.name.len() + 11);
        body.push(VERSION);
        body.push(match self.action {
            Action::Delete(_) => 1,
            Action::Upsert(_) => 2,
        });
        body.extend_from_slice(&self.received.0.to_le_bytes());
        body.push(u8::try_from(self.table.name.len()).expect("the schema's names have at most 63 bytes"));
        body.extend_from_slice(self.table.name.as_bytes());
        body.extend_from_slice(&self.data);
        body
    }

    /// Reads a body and checks it against the schema of today.
    pub fn decode(schema: &Schema, body: &[u8]) -> Result<Self, CommandError> {
        let (version, rest) = body.split_first().ok_or(CommandError::Short("version"))?;
        if *version != VERSION {
            return Err(CommandError::Version(*version));
        }
        let (action, rest) = rest.split_first().ok_or(CommandError::Short("action"))?;
        let (received, rest) = rest.split_first_chunk::<8>().ok_or(CommandError::Short("time"))?;
        let (length, rest) = rest.split_first().ok_or(CommandError::Short("table"))?;
        let (name, data) = rest.split_at_checked((*length).into()).ok_or(CommandError::Short("table"))?;
        let name = std::str::from_utf8(name).map_err(|_| CommandError::Invalid("table"))?;
        let verb = match action {
            1 => "delete",
            2 => "upsert",
            _ => return Err(CommandError::Invalid("action")),
        };
        if schema.table(name).is_none() {
            return Err(CommandError::TableGone(name.to_owned()));
        }
        let received = Wall(u64::from_le_bytes(*received));
        Self::prepare(schema, &format!("{verb}_{name}"), data, received).map_err(CommandError::Refused)
    }
}

/// The rows of `upsert_T`, all or none: the caller is there to be told.
fn upsert(table: &Table, data: &[u8], received: Wall) -> Result<Vec<Row>, CallError> {
    let failed = |why: String| CallError::exception(format!("upsert failed: {why}"));
    let Arguments { first, count } = arguments(data, 2).map_err(|why| failed(why.to_string()))?;
    if count > 2 {
        return Err(failed(format!("a record and options are possible, {count} arguments were given")));
    }
    let object = first.first().ok_or_else(|| failed("the record is missing".to_owned()))?;
    let nulls = options(first.get(1))?;
    // The reference names its own classes here; the first words are what people search for.
    let found = records(table, object, received);
    let mut rows = found.ok_or_else(|| failed(format!("invalid record type: {}", object.describe())))?;
    if let Some(reject) = rows.rejects.first() {
        return Err(failed(reject.text.clone()));
    }
    for row in &mut rows.rows {
        match nulls {
            // Says something about every column, and what it does not name is null.
            Nulls::Overwrite => row.named.fill(true),
            // Null says nothing, as in the reference, but decided for each row by itself.
            Nulls::LeaveAlone => {
                for (cell, named) in row.cells.iter().zip(&mut row.named) {
                    *named &= *cell != super::model::Cell::Null;
                }
            }
        }
    }
    Ok(rows.rows)
}

/// What a null in a record does to a row that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nulls {
    LeaveAlone,
    Overwrite,
}

fn options(given: Option<&Item<'_>>) -> Result<Nulls, CallError> {
    let failed = |why: String| CallError::exception(format!("upsert failed: {why}"));
    let raw = match given {
        None | Some(Item::Null) => return Ok(Nulls::LeaveAlone),
        Some(Item::Map(raw)) => raw,
        Some(other) => return Err(failed(format!("options are a map, not {}", other.describe()))),
    };
    let mut nulls = Nulls::LeaveAlone;
    let mut children = super::row::Children::of(raw);
    while let Some((key, value)) = children.next_pair().map_err(|why| failed(why.to_string()))? {
        match (&key, &value) {
            (Item::Text(key), Item::Bool(true)) if key == "nulls" => nulls = Nulls::Overwrite,
            (Item::Text(key), Item::Bool(false) | Item::Null) if key == "nulls" => nulls = Nulls::LeaveAlone,
            (Item::Text(key), other) if key == "nulls" => {
                return Err(failed(format!("option nulls is true or false, not {}", other.describe())));
            }
            _ => {}
        }
    }
    Ok(nulls)
}
