//! What the files of [`history`](super) share.

use crate::router::{LinkId, Status};
use std::sync::Arc;
use std::time::Duration;

/// The schema file, checked.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub tables: Vec<Arc<Table>>,
}

#[derive(Debug, Clone)]
pub struct Table {
    /// A valid SQL identifier; also the suffix of `query_T`, `delete_T`, `upsert_T`.
    pub name: String,
    /// Segments of the topic pattern; see [`TopicSegment`].
    pub topic: Vec<TopicSegment>,
    /// In file order, then `recv_ts`, then `slot` (see [`ColumnSource`]). Rows have one cell for each.
    pub columns: Vec<Column>,
    /// Indexes into `columns`; empty: rows are appended, else upserted.
    pub keys: Vec<usize>,
    pub delete_topic: Option<String>,
    /// What the schema says about the table's size; what it does not say comes from the configuration.
    pub limits: Limits,
}

/// How much of a table is kept. What is `None` is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Rows received longer ago go.
    pub age: Option<Duration>,
    /// When the table's files are larger, the oldest rows go.
    pub bytes: Option<u64>,
    pub when_full: Option<WhenFull>,
}

/// What happens to a table when the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It stays; publishers are refused until there is room.
    Refuse,
    /// Its oldest rows go, as many as are needed.
    EvictOldest,
}

impl WhenFull {
    /// The value of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "refuse" => Some(Self::Refuse),
            "evict-oldest" => Some(Self::EvictOldest),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicSegment {
    Literal(String),
    /// `:name`
    Variable(String),
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
    pub nullable: bool,
    pub default: Option<Cell>,
    pub source: ColumnSource,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnSource {
    /// `columns` of the schema: the payload, a topic variable, or the default.
    Payload,
    /// `extras.recv_ts`: receive time, ns since 1970 (`UBIGINT NOT NULL`).
    ReceiveTime,
    /// `extras.slot`: the Rembus slot (`UINTEGER`).
    Slot,
}

/// SQL column types that tables may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    Boolean,
    TinyInt,
    SmallInt,
    Integer,
    BigInt,
    HugeInt,
    UTinyInt,
    USmallInt,
    UInteger,
    UBigInt,
    UHugeInt,
    Float,
    Double,
    Text,
    Blob,
    Date,
    /// Microseconds, UTC, without zone.
    Timestamp,
}

/// One value, already of its column's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Boolean(bool),
    /// Every integer kind; in range of its column. `UHUGEINT` above `i128::MAX` is refused.
    Integer(i128),
    /// `FLOAT` (already rounded to `f32`) and `DOUBLE`.
    Float(f64),
    Text(String),
    Blob(Vec<u8>),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Timestamp(i64),
}

/// One row, one cell for each of [`Table::columns`].
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cells: Vec<Cell>,
    /// For keyed tables: whether the row says something about the column. A map updates only the columns it names; a column not
    /// named holds its default (or null), used only if the key is new.
    pub named: Vec<bool>,
}

/// Who asks, so that nobody is kept waiting by one who asks much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

impl Caller {
    /// Commands on the gateway's own machine.
    pub const OPERATOR: Self = Self(u64::MAX);
    /// The gateway itself.
    pub const GATEWAY: Self = Self(u64::MAX - 1);
}

impl From<LinkId> for Caller {
    fn from(link: LinkId) -> Self {
        Self(link.0)
    }
}

/// Why a call failed; goes to the caller as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CallError {
    pub status: Status,
    pub text: String,
}

impl CallError {
    /// Status 40, what a Rembus client shows as an exception of the method.
    pub fn exception(text: impl Into<String>) -> Self {
        Self { status: Status::METHOD_EXCEPTION, text: text.into() }
    }
}
