//! `delete_topic`: a publication on it deletes the rows that have the values it names.
//!
//! ```text
//! telemetry/delete {"dn": "dev1"}                            every row of dev1
//! telemetry/delete {"dn": "dev1", "pressure": null}          its rows without a pressure
//! ```
//! All named columns must be columns of the table, and at least one must be named: nobody empties a table by an empty message.

use super::model::{Cell, Table};
use super::row::{Arguments, Cause, Children, Item, Reject, arguments, cast, date_text, timestamp_text};
use super::sql::Predicate;
use crate::message::Message;

/// What `message` wants deleted from `table`.
pub fn predicate(table: &Table, message: &Message) -> Result<Predicate, Reject> {
    let data = message.exact_data();
    let Arguments { first, .. } = arguments(&data, 2)?;
    let [Item::Map(raw)] = first.as_slice() else {
        return Err(reject(Cause::Shape, None, "a deletion is one object of columns and values"));
    };
    let mut conditions = Vec::new();
    let mut children = Children::of(raw);
    while let Some((key, value)) = children.next_pair()? {
        let Item::Text(name) = &key else { return Err(reject(Cause::Shape, None, "a deletion names columns")) };
        let Some(index) = table.columns.iter().position(|column| column.name == *name) else {
            return Err(reject(Cause::Shape, None, "a deletion names a column that the table does not have"));
        };
        let Some(column) = table.columns.get(index) else { continue };
        let cell = cast(&value, column.kind)
            .map_err(|why| reject(Cause::Cast, Some(index), &format!("column `{}`: {why}", column.name)))?;
        let Some(literal) = literal(&cell) else {
            return Err(reject(
                Cause::Cast,
                Some(index),
                &format!("column `{}` cannot be compared in a deletion", column.name),
            ));
        };
        let name = &column.name;
        conditions.push(match cell {
            Cell::Null => format!("\"{name}\" IS NULL"),
            _ => format!("\"{name}\" = {literal}"),
        });
    }
    if conditions.is_empty() {
        return Err(reject(Cause::Shape, None, "a deletion names at least one column"));
    }
    let mut data = Vec::new();
    let call = ciborium::Value::Array(vec![ciborium::Value::Map(vec![(
        ciborium::Value::Text("where".to_owned()),
        ciborium::Value::Text(conditions.join(" AND ")),
    )])]);
    ciborium::into_writer(&call, &mut data).expect("writing to a vector cannot fail");
    Predicate::parse(table, &data, message.received).map_err(|error| reject(Cause::Cast, None, &error.text))
}

/// A value as a condition writes it; `None` for what conditions cannot compare with.
fn literal(cell: &Cell) -> Option<String> {
    let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
    Some(match cell {
        Cell::Null => String::new(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Float(value) if value.is_finite() => format!("{value:?}"),
        Cell::Float(_) | Cell::Blob(_) => return None,
        Cell::Text(value) => text(value),
        Cell::Date(days) => text(&date_text(*days)),
        Cell::Timestamp(micros) => text(&timestamp_text(*micros)),
    })
}

fn reject(cause: Cause, column: Option<usize>, why: &str) -> Reject {
    Reject { cause, rows: 1, column, text: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::history::schema;
    use crate::message::{Dialect, Payload, Qos};
    use bytes::Bytes;
    use std::sync::Arc;

    fn of(json: &str) -> Result<String, String> {
        let schema = schema::parse(
            r#"{"tables": [{"table": "t", "topic": ":dn/t", "delete_topic": "t/delete", "columns": [
                {"col": "dn", "type": "TEXT"}, {"col": "n", "type": "INTEGER"}, {"col": "at", "type": "TIMESTAMP"}]}]}"#,
        )
        .unwrap();
        let payload = Payload::Mqtt(Bytes::from(json.to_owned()));
        let message = Message::new("t/delete".into(), payload, Qos::AtLeastOnce, Wall(0), Dialect::Mqtt, Arc::from("a"));
        let (sql, cells) = predicate(&schema.tables[0], &message).map_err(|reject| reject.text)?.render();
        Ok(format!("{sql} {cells:?}"))
    }

    #[test]
    fn the_named_values_select_the_rows() {
        assert_eq!(of(r#"{"dn": "it's"}"#).unwrap(), r#"("dn" = ?) [Text("it's")]"#);
        let both = of(r#"{"n": 5, "at": "2026-11-21T10:00:00Z"}"#).unwrap();
        assert!(both.contains(r#""n" = ?"#) && both.contains(r#""at" = ?"#), "{both}");
        assert!(of(r#"{"n": null}"#).unwrap().contains("IS NULL"));
    }

    #[test]
    fn what_says_nothing_deletes_nothing() {
        for (json, why) in [
            ("{}", "at least one column"),
            ("", "one object"),
            ("[1]", "one object"),
            (r#"{"other": 1}"#, "does not have"),
            (r#"{"n": "x"}"#, "column `n`"),
        ] {
            let error = of(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
