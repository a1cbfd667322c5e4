//! The lake without DuckDB: a DuckLake 1.0 catalog in SQLite, Parquet files by the `parquet` crate, queries by our own evaluation.
//!
//! For 32-bit processors, for which there is no DuckDB, and for very small boards. The lake is the same: DuckDB's own extension
//! reads it, looks back in it, merges it, and this store goes on with what that left behind.
//!
//! ```text
//! <data>/lake/catalog.sqlite        the 28 tables of DuckLake 1.0 (catalog.sql), journal beside it
//! <data>/lake/files/main/<table>/   Parquet: batch-*.parquet, merged-*.parquet, ducklake-*-delete.parquet by us
//! ```
//!
//! A batch: write the file, sync it, sync its folder, then one SQLite transaction that names it, stores what the log is covered up
//! to, and is synced before it returns. A crash before that leaves a file that the next start removes; after it nothing is missing.
//!
//! | file | what |
//! |---|---|
//! | `catalog.rs`, `catalog.sql` | the catalog: snapshots, what is covered |
//! | `schema.rs` | tables and columns; makes them fit the schema |
//! | `files.rs` | the data files that a snapshot sees, with what is known of them |
//! | `read.rs`, `rows.rs` | reads data files: columns, row groups, deletions |
//! | `write.rs` | writes data files and files of deletions |
//! | `change.rs` | a batch or a deletion: files, then the catalog |
//! | `restamp.rs` | corrects receive times once the time is known |
//! | `table.rs` | one table: what its files hold, and the rows above them |
//! | `view.rs`, `typed.rs` | what a query sees, and its answer |
//! | `statistics.rs` | what files hold whose columns became wider |
//! | `verify.rs` | the check of every file at the start |
//! | `upkeep.rs` | merging, retention, old snapshots |
//! | `store.rs` | all of that behind one door, on one thread |

mod catalog;
mod change;
mod files;
mod read;
mod restamp;
mod rows;
mod schema;
mod statistics;
mod store;
mod table;
mod typed;
mod upkeep;
mod verify;
mod view;
mod write;

pub(super) use read::batches_of;
pub(super) use rows::{batches, cells, whole_rows};
pub(super) use store::Lite;
pub(super) use verify::named_in;
pub(super) use view::{Ended, answer_from};

#[cfg(test)]
mod tests;
