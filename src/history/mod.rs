//! History: what matched the schema, kept on the card as DuckLake tables and asked for by RPC.
//!
//! A reader of the durable log, never a stage in front of it: it may lag, fail or be absent, and routing does not notice.
//!
//! | file | what |
//! |---|---|
//! | `model.rs` | tables, columns, cells, rows: what the other files share |
//! | `schema.rs` | the schema file, with line and column of each mistake; topic → table |
//! | `row.rs` | payload → rows, value by value casts, rejects |
//! | `sql/` | `where`, `cols`, `when`: parsed, allowed or refused, rendered with bound parameters |
//! | `command.rs` | `delete_T` and `upsert_T` as log records |
//! | `engine/` | the lake: batches, tail, start-up check, queries (DuckDB) |

#[cfg(not(feature = "duckdb"))]
mod absent;
pub mod command;
#[cfg(feature = "duckdb")]
mod engine;
mod handle;
pub mod kind;
pub mod model;
pub mod row;
pub mod schema;
mod settings;
pub mod sql;
mod status;

pub use handle::{CommandLog, History};
pub use settings::Settings;
pub use status::{HistoryStatus, Phase, TableStatus};
