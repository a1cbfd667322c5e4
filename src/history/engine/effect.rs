//! What a record of the log does to the tables.

use crate::clock::{Correction, Wall};
use crate::history::command::{Action, Command, CommandError, decode_correction};
use crate::history::model::{Schema, Table};
use crate::history::row::{self, Reject, Rows};
use crate::history::sql::Predicate;
use crate::history::{delete_topic, model::Row};
use crate::message::{self, COMMON, kind};
use crate::wal::Record;
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Effect {
    Nothing,
    /// Rows for a table; those that do not fit are among the rejects.
    Rows {
        table: Arc<Table>,
        rows: Rows,
        received_us: i64,
    },
    Delete {
        table: Arc<Table>,
        predicate: Predicate,
    },
    /// The time became known.
    Correction(Correction),
    /// A publication on a table's `delete_topic` that does not say what to delete.
    Refused {
        table: Arc<Table>,
        reject: Reject,
    },
    /// A record that no part of history can read.
    Unreadable,
    /// A call that the schema of today refuses.
    Outdated(CommandError),
}

/// Reads a record.
pub(super) fn of(schema: &Schema, record: &Record) -> Effect {
    match record.kind {
        kind::MESSAGE => {
            let Ok(message) = message::decode(&record.body) else { return Effect::Unreadable };
            let foreign = (message.tenant() != COMMON).then(|| Reject::of_tenant(message.tenant()));
            if let Some(table) = schema.delete_table_for(&message.topic) {
                if let Some(reject) = foreign {
                    return Effect::Refused { table: Arc::clone(table), reject };
                }
                return match delete_topic::predicate(table, &message) {
                    Ok(predicate) => Effect::Delete { table: Arc::clone(table), predicate },
                    Err(reject) => Effect::Refused { table: Arc::clone(table), reject },
                };
            }
            let Some((table, variables)) = schema.table_for(&message.topic) else { return Effect::Nothing };
            let rows = foreign.map_or_else(|| row::rows(table, &variables, &message), Rows::rejected);
            Effect::Rows { table: Arc::clone(table), rows, received_us: micros(message.received) }
        }
        kind::TABLE_COMMAND if let Some(correction) = decode_correction(&record.body) => Effect::Correction(correction),
        kind::TABLE_COMMAND => match Command::decode(schema, &record.body) {
            Ok(Command { table, action: Action::Delete(predicate), .. }) => Effect::Delete { table, predicate },
            Ok(Command { table, action: Action::Upsert(rows), received, .. }) => upsert(table, rows, received),
            Err(error) => Effect::Outdated(error),
        },
        _ => Effect::Nothing,
    }
}

fn upsert(table: Arc<Table>, rows: Vec<Row>, received: Wall) -> Effect {
    Effect::Rows { table, rows: Rows { rows, rejects: Vec::new() }, received_us: micros(received) }
}

fn micros(at: Wall) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}
