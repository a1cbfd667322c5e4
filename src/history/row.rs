//! From a publication to rows, and from the argument of `upsert_T` to rows (`protocol/rembus.md` sections 14.2 and 14.5).
//!
//! Nothing here fails as a whole because of one value: a row that does not fit is refused with a reason, its neighbours stay.
//! Reasons say which column and what kind of value, never what the value was: payloads do not belong into logs.

mod cast;
mod civil;
mod frame;
mod item;
mod json;
#[cfg(test)]
mod tests;

use super::model::{Cell, Column, ColumnSource, Row, Table};
use crate::clock::Wall;
use crate::message::{ALLOCATION, COMMON, Message};

pub use cast::{CastError, cast};
pub use civil::{civil, date_text, days, parse_timestamp, timestamp_text};
pub use item::{Arguments, Children, Item, Malformed, Reader, arguments, micros_of};

/// Rows that one list of maps may hold. A map can be a single byte but a row cannot; a frame has its own limit.
const RECORDS_MAX: usize = 100_000;

/// Memory that the rows of one message may take. A row takes room for every column of its table, whatever the message says of
/// it: a megabyte of bits, or of empty maps, can be a million rows of hundreds of bytes each.
const ROWS_BYTES_MAX: usize = 128 << 20;

/// Bytes of one row beside its texts.
fn row_bytes(table: &Table) -> usize {
    size_of::<Row>() + table.columns.len() * (size_of::<Cell>() + size_of::<bool>()) + 2 * ALLOCATION / 4
}

/// What a payload became. Every row of it is in one of the two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub rows: Vec<Row>,
    /// One for each pair of cause and column, however many rows had it: a bad frame cannot fill the memory with reasons.
    pub rejects: Vec<Reject>,
}

/// Rows that were refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Reject {
    pub cause: Cause,
    /// How many rows this happened to.
    pub rows: usize,
    /// Index of the column, if one is to blame.
    pub column: Option<usize>,
    /// The first of them, in words.
    pub text: String,
}

/// The kinds of reasons, few and fixed, fit for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Not CBOR, or a frame that is not a whole Arrow stream.
    Malformed,
    /// Not the shape of a row: wrong number of values, or neither map, frame nor list.
    Shape,
    /// A column got no value and may not be without.
    Missing,
    /// Null where the column or a key does not take it.
    Null,
    /// A value that does not fit its column.
    Cast,
    /// From another tenant than the tables belong to.
    Tenant,
    /// The table itself is refused: the lake has it otherwise than the schema wants it.
    Refused,
}

impl Cause {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Shape => "shape",
            Self::Missing => "missing",
            Self::Null => "null",
            Self::Cast => "cast",
            Self::Tenant => "tenant",
            Self::Refused => "refused",
        }
    }
}

impl Rows {
    fn push(&mut self, row: Result<Row, Reject>) {
        match row {
            Ok(row) => self.rows.push(row),
            Err(reject) => match self.rejects.iter_mut().find(|r| r.cause == reject.cause && r.column == reject.column) {
                Some(known) => known.rows += reject.rows,
                None => self.rejects.push(reject),
            },
        }
    }

    pub(super) fn rejected(reject: Reject) -> Self {
        Self { rows: Vec::new(), rejects: vec![reject] }
    }
}

impl Reject {
    /// Tables belong to the tenant that the gateway is in. Others must neither be seen in them nor change what is there.
    pub(super) fn of_tenant(tenant: &str) -> Self {
        Self::whole(
            Cause::Tenant,
            format!("published in tenant `{tenant}`; tables keep what is published in tenant `{COMMON}`"),
        )
    }

    /// The table cannot be used, and why.
    pub(super) fn of_table(rows: usize, why: &str) -> Self {
        Self { rows, ..Self::whole(Cause::Refused, format!("the table is refused: {why}")) }
    }

    fn whole(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, rows: 1, column: None, text: text.into() }
    }

    fn column(cause: Cause, table: &Table, index: usize, why: impl std::fmt::Display) -> Self {
        let text = format!("column `{}`: {why}", table.columns[index].name);
        Self { cause, rows: 1, column: Some(index), text }
    }
}

impl From<Malformed> for Reject {
    fn from(malformed: Malformed) -> Self {
        Self::whole(Cause::Malformed, malformed.to_string())
    }
}

/// The rows that a publication adds to `table`; `variables` are those that the topic matched with.
#[must_use]
pub fn rows(table: &Table, variables: &[(String, String)], message: &Message) -> Rows {
    let extras = Extras { received: message.received, slot: message.slot };
    let data = message.exact_data();
    let Arguments { first, count } = match arguments(&data, table.columns.len() + 1) {
        Ok(arguments) => arguments,
        Err(malformed) => return Rows::rejected(malformed.into()),
    };
    match first.as_slice() {
        [Item::Map(raw)] => one(by_name(table, variables, Some(raw), extras)),
        [Item::Frame(stream)] => frame::rows(table, stream, extras, Absent::Refused),
        [] if !variables.is_empty() => one(by_name(table, variables, None, extras)),
        values => one(positional(table, values, count, extras)),
    }
}

/// The rows of an `upsert_T` call's object: a map, a list of maps, or a frame. Columns that it does not name become null,
/// defaults are not applied. `None` if it is something else.
#[must_use]
pub fn records(table: &Table, object: &Item<'_>, received: Wall) -> Option<Rows> {
    let extras = Extras { received, slot: None };
    let mut rows = Rows::default();
    match object {
        Item::Map(raw) => rows.push(record(table, raw, extras)),
        Item::Frame(stream) => return Some(frame::rows(table, stream, extras, Absent::Null)),
        Item::List(raw) => {
            let mut children = Children::of(raw);
            let room = ROWS_BYTES_MAX / row_bytes(table);
            for count in 0.. {
                if count == room {
                    return Some(Rows::rejected(too_large()));
                }
                if count == RECORDS_MAX {
                    return Some(Rows::rejected(Reject::whole(
                        Cause::Shape,
                        format!("more than {RECORDS_MAX} rows in one list"),
                    )));
                }
                match children.next_item() {
                    Ok(None) => break,
                    Ok(Some(Item::Map(raw))) => rows.push(record(table, raw, extras)),
                    Ok(Some(other)) => {
                        let text = format!("an element of the list is {}, not a map", other.describe());
                        rows.push(Err(Reject::whole(Cause::Shape, text)));
                    }
                    Err(malformed) => {
                        rows.push(Err(malformed.into()));
                        break;
                    }
                }
            }
        }
        _ => return None,
    }
    Some(rows)
}

fn too_large() -> Reject {
    let text = format!("its rows would take more than {} MiB of memory; send them in parts", ROWS_BYTES_MAX >> 20);
    Reject::whole(Cause::Shape, text)
}

fn one(row: Result<Row, Reject>) -> Rows {
    let mut rows = Rows::default();
    rows.push(row);
    rows
}

/// What a frame may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Publications: a frame names every column.
    Refused,
    /// `upsert_T`: the others are null.
    Null,
}

/// What the gateway itself knows about a row.
#[derive(Debug, Clone, Copy)]
struct Extras {
    received: Wall,
    slot: Option<u32>,
}

impl Extras {
    /// The cell of an extra column, and whether the row says something about it: a slot of an earlier publication stays when
    /// a later one has none.
    fn cell(self, source: ColumnSource) -> (Cell, bool) {
        match (source, self.slot) {
            (ColumnSource::ReceiveTime, _) => (Cell::Integer(self.received.0.into()), true),
            (ColumnSource::Slot, Some(slot)) => (Cell::Integer(slot.into()), true),
            (ColumnSource::Slot | ColumnSource::Payload, _) => (Cell::Null, false),
        }
    }
}

/// A row in the making. Cells that nobody set are found out at the end.
struct Draft<'a> {
    table: &'a Table,
    cells: Vec<Cell>,
    named: Vec<bool>,
}

impl<'a> Draft<'a> {
    fn new(table: &'a Table) -> Self {
        let count = table.columns.len();
        Self { table, cells: vec![Cell::Null; count], named: vec![false; count] }
    }

    fn set(&mut self, index: usize, value: &Item<'_>) -> Result<(), Reject> {
        let cell = cast(value, self.table.columns[index].kind);
        self.cells[index] = cell.map_err(|why| Reject::column(Cause::Cast, self.table, index, why))?;
        self.named[index] = true;
        Ok(())
    }

    /// Fills what only the gateway knows and checks what every row must keep.
    fn finish(mut self, extras: Extras) -> Result<Row, Reject> {
        for (index, column) in self.table.columns.iter().enumerate() {
            if column.source != ColumnSource::Payload && !self.named[index] {
                (self.cells[index], self.named[index]) = extras.cell(column.source);
            }
            if self.cells[index] == Cell::Null {
                let key = self.table.keys.contains(&index);
                if key {
                    return Err(Reject::column(Cause::Null, self.table, index, "a key is never null"));
                }
                if !column.nullable {
                    return Err(Reject::column(Cause::Null, self.table, index, "null, but the column is NOT NULL"));
                }
            }
        }
        Ok(Row { cells: self.cells, named: self.named })
    }
}

/// Finds a payload's name among the columns. Payloads mostly come in the schema's order, so the search starts where the last
/// one ended.
struct Names<'a> {
    columns: &'a [Column],
    next: usize,
}

impl<'a> Names<'a> {
    fn of(table: &'a Table) -> Self {
        Self { columns: &table.columns, next: 0 }
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let count = self.columns.len();
        let fits = |index: &usize| self.columns[*index].source == ColumnSource::Payload && self.columns[*index].name == name;
        let found = (self.next..count).chain(0..self.next.min(count)).find(fits)?;
        self.next = found + 1;
        Some(found)
    }
}

/// Reads the pairs of a map into the draft. Names that are no columns are ignored, the last of a repeated name wins.
fn fill(draft: &mut Draft<'_>, raw: &[u8]) -> Result<(), Reject> {
    let mut names = Names::of(draft.table);
    let mut children = Children::of(raw);
    while let Some((key, value)) = children.next_pair()? {
        if let Item::Text(name) = &key
            && let Some(index) = names.find(name)
        {
            draft.set(index, &value)?;
        }
    }
    Ok(())
}

/// Payload value, else topic variable, else default, else null if that is allowed.
fn by_name(table: &Table, variables: &[(String, String)], raw: Option<&[u8]>, extras: Extras) -> Result<Row, Reject> {
    let mut draft = Draft::new(table);
    if let Some(raw) = raw {
        fill(&mut draft, raw)?;
    }
    for (index, column) in table.columns.iter().enumerate() {
        if draft.named[index] || column.source != ColumnSource::Payload {
            continue;
        }
        if let Some((_, value)) = variables.iter().find(|(name, _)| *name == column.name) {
            draft.set(index, &Item::Text(value.into()))?;
        } else if let Some(default) = &column.default {
            draft.cells[index] = default.clone();
        } else if !column.nullable || table.keys.contains(&index) {
            return Err(Reject::column(Cause::Missing, table, index, "no value, no topic variable and no default"));
        }
    }
    draft.finish(extras)
}

/// One value a column, in the schema's order.
fn positional(table: &Table, values: &[Item<'_>], count: usize, extras: Extras) -> Result<Row, Reject> {
    let mut draft = Draft::new(table);
    let expected = table.columns.iter().filter(|column| column.source == ColumnSource::Payload).count();
    if count != expected {
        let given = if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
        let text = format!("{given} given by position, but table `{}` has {expected} columns", table.name);
        return Err(Reject::whole(Cause::Shape, text));
    }
    for (index, value) in values.iter().enumerate() {
        draft.set(index, value)?;
    }
    draft.finish(extras)
}

/// One map of `upsert_T`.
fn record(table: &Table, raw: &[u8], extras: Extras) -> Result<Row, Reject> {
    let mut draft = Draft::new(table);
    fill(&mut draft, raw)?;
    draft.finish(extras)
}
