//! The lake on DuckDB with its DuckLake extension.
//!
//! | file | what |
//! |---|---|
//! | `lake.rs` | opens DuckDB with the lake, and locks it |
//! | `catalog.rs` | questions to DuckLake's own tables; what the lake covers |
//! | `objects.rs` | a store of objects in the place of a disk |
//! | `fit.rs` | makes tables fit the schema |
//! | `statistics.rs` | what files hold whose columns became wider |
//! | `verify.rs` | the check of every file at the start |
//! | `tail.rs` | rows above the lake, as Arrow that DuckDB reads |
//! | `batch.rs` | the tail becomes files, then the lake's |
//! | `owed.rs` | whether a file has the rows that it should |
//! | `relation.rs` | the table a query sees, as SQL |
//! | `past.rs` | the same as it was at some time |
//! | `query.rs` | runs it |
//! | `running.rs` | what runs, what gives way for memory, how connections end |
//! | `upkeep.rs` | merging, retention, old snapshots and files |
//! | `store.rs` | all of that behind one door, on one thread |

mod batch;
mod catalog;
mod fit;
mod lake;
mod names;
mod objects;
mod owed;
mod past;
mod query;
mod relation;
mod running;
mod statistics;
mod store;
mod tail;
mod upkeep;
mod verify;

pub(super) use running::is_out_of_memory;
pub(super) use store::Lake;
pub(super) use verify::named_in;

#[cfg(test)]
pub(super) use tests::fill;

#[cfg(test)]
mod tests;
