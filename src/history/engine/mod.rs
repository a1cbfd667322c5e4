//! The lake: batches, tail, start-up check, queries, on DuckDB and DuckLake.
//!
//! | file | what |
//! |---|---|
//! | `lake.rs` | opens DuckDB with the lake, and locks it |
//! | `catalog.rs` | questions to DuckLake's own tables; makes tables fit the schema |
//! | `verify.rs` | the check of every file at the start; quarantine, leftovers |
//! | `tail.rs`, `arrow.rs` | rows above the lake |
//! | `batch.rs` | the tail becomes files, then the lake's |
//! | `relation.rs` | the table a query sees, as SQL |
//! | `query.rs` | runs it, packs the answer |
//! | `store.rs` | all of that behind one door, on one thread |
//! | `follow.rs`, `session.rs` | that thread: follows the log |
//! | `front.rs` | the other side: admission, deadlines |

mod arrow;
mod batch;
mod catalog;
mod error;
mod follow;
mod front;
mod lake;
mod names;
mod query;
mod relation;
mod session;
mod store;
mod tail;
mod verify;

pub(super) use front::Engine;

#[cfg(test)]
mod tests;
