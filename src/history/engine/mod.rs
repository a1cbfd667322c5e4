//! The lake: batches, tail, start-up check, queries.
//!
//! | file | what |
//! |---|---|
//! | `store.rs` | what the follower needs of a store |
//! | `duck/` | the store on DuckDB and DuckLake |
//! | `lite/` | the store without DuckDB: SQLite and Parquet |
//! | `columns.rs`, `covered.rs`, `folders.rs` | what lakes look like, whoever keeps them |
//! | `tail.rs`, `arrow.rs` | rows above the lake |
//! | `damage.rs` | files that are not what the catalog says; quarantine |
//! | `adopt.rs` | rows of files that the catalog does not name any more |
//! | `effect.rs` | what a record of the log does |
//! | `scrub.rs`, `sums.rs` | reads every file once in a while and compares checksums |
//! | `hold.rs` | the lake held still for backups and checks |
//! | `loss.rs` | what damage took, loaded again from the log |
//! | `newest.rs` | the newest row of each key in memory |
//! | `answer.rs`, `answer_memory.rs` | packs the answer to a query; how much memory all of them may take |
//! | `turns.rs` | whose query runs next |
//! | `follow.rs`, `session.rs` | the engine's thread: follows the log |
//! | `front.rs` | the other side: admission, deadlines |

mod adopt;
mod answer;
mod answer_memory;
mod arrow;
mod columns;
mod covered;
mod damage;
#[cfg(feature = "duckdb")]
mod duck;
mod effect;
mod error;
mod folders;
mod follow;
mod front;
mod hold;
mod lite;
mod loss;
mod newest;
mod scrub;
mod session;
mod store;
mod sums;
mod tail;
mod turns;

pub(super) use front::Engine;
pub(super) use hold::{HeldLake, at_rest, compact_at_rest};

#[cfg(test)]
mod tests;
