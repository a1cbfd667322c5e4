//! How columns are kept in the lake, whichever store keeps them.

use crate::history::model::ColumnKind;

/// Hidden columns that every lake table has: the log sequence of the record that made the row, and when it was received.
pub(super) const HIDDEN: [(&str, &str, &str); 2] = [("_seq", "BIGINT", "int64"), ("_recv", "TIMESTAMP", "timestamp")];

/// The hidden column by which appended tables are partitioned: the day of `_recv`, UTC. It is told by the folder of a batch's
/// file, not by the file.
pub(super) const DAY: &str = "_day";

/// Whether a column is kept as text and reading needs a cast: DuckDB writes 128-bit integers to Parquet as doubles.
pub(super) fn stored_as_text(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::HugeInt | ColumnKind::UHugeInt)
}
