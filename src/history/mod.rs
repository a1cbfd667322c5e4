//! History: what matched the schema, kept on the card as DuckLake tables and asked for by RPC.
//!
//! A reader of the durable log, never a stage in front of it: it may lag, fail or be absent, and routing does not notice.
//!
//! ```text
//! log ─▶ topic → table, payload → rows ─▶ tail ─▶ batch: file, sync, one transaction ─▶ lake ─▶ log may forget
//!                                          └───────────── a query sees both ─────────────┘
//! ```
//!
//! Promises:
//!
//! * A query sees everything that was acknowledged before it was asked, each row once.
//! * A row leaves the log's care only when the file that holds it is synced and the catalog's transaction names it. The same
//!   transaction stores how far the log is covered, as JSON in the snapshot's `commit_extra_info`:
//!   `{"log_id":18446744073709551615,"log_seq":12345}`. So a crash at any moment brings neither loss nor a row twice.
//! * One row that does not fit is counted and left out; it never holds up others.
//! * A damaged file or catalog is moved to `lake/quarantine`, told exactly, and does not keep history from starting.
//! * Every query has a deadline, a limit of rows, bytes and memory, and can reach nothing but its table.
//!
//! Tables of the lake have the schema's columns and two hidden ones, `_seq` and `_recv` (log sequence and receive time of the
//! record that made the row), which make `when` exact to the microsecond for appended rows, across batches. Keyed tables look
//! back batch by batch. 128-bit integers are stored as text, because Parquet as DuckDB writes it has only doubles for them.
//! In a lake of many gateways (`[history] catalog = "postgres:…"`) every row has a third, `_gateway`, and a gateway sees its own.
//! Builds without DuckDB, and boards too small for it, keep the same lake with the `lite` store.
//!
//! | file | what |
//! |---|---|
//! | `handle.rs` | what the rest of the gateway uses: start, call, status, close |
//! | `model.rs`, `settings.rs`, `status.rs` | tables, columns, cells, rows, limits and figures: what the other files share |
//! | `schema.rs` | the schema file, with line and column of each mistake; topic → table |
//! | `row.rs`, `kind.rs` | payload → rows, value by value casts, rejects |
//! | `delete_topic.rs` | what a publication on it deletes |
//! | `evolution.rs` | which changes of the schema a lake with rows can follow |
//! | `sql.rs` | `where`, `cols`, `when`: parsed, allowed or refused, rendered with bound parameters |
//! | `tables.rs` | the answer of `tables` |
//! | `manifest.rs` | the lake at one moment: what backups and checks work with |
//! | `offline.rs` | what can be done to a lake while no gateway runs |
//! | `command.rs` | `delete_T` and `upsert_T` as log records |
//! | `engine/` | the lake: batches, tail, start-up check, queries; stores behind one trait |

pub mod command;
pub mod delete_topic;
mod engine;
pub mod evolution;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
pub mod kind;
pub mod manifest;
pub mod model;
mod offline;
pub mod row;
pub mod schema;
mod settings;
pub mod sql;
mod status;
mod tables;

pub use handle::{CommandLog, Held, History};
pub use offline::{compact_at_rest, manifest_at_rest};
pub use settings::{Backend, Catalog, Data, S3, Settings};
pub use status::{HistoryStatus, Loss, Phase, TableStatus, Tidied};
