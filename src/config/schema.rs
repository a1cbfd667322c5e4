//! The schema file that `[history] schema` names, read with the configuration so that all mistakes are told together.

use super::file;
use super::keys::get;
use super::mistake::{ConfigErrors, Mistake, Place};
use super::settings::Settings;
use super::value::Value;
use crate::history::evolution::{Conflict, Remembered};
use crate::history::model::Schema;
use crate::history::schema::{self, Finding};
use std::path::Path;

/// A schema of a thousand tables is smaller.
const BYTES_MAX: u64 = 4 << 20;

/// Reads the schema, if there is one; what in it has no effect goes to `notes`, what the lake cannot follow to `conflicts`.
pub(crate) fn read(
    settings: &Settings,
    notes: &mut Vec<String>,
    conflicts: &mut Vec<Mistake>,
    errors: &mut ConfigErrors,
) -> Option<Schema> {
    let key = get("history", "schema");
    let Value::Path(path) = settings.value(key) else { return None };
    let text = match file::text(&path, BYTES_MAX) {
        Ok(text) => text,
        Err(reason) => {
            let place = settings.given(key).map_or(Place::Nowhere, |setting| setting.origin.place());
            errors.add(place, format!("{key}: `{}` cannot be read: {reason}", path.display()), None);
            return None;
        }
    };
    match schema::parse_with_warnings(&text) {
        Ok((schema, warnings)) => {
            let data = settings.value(get("gateway", "data"));
            if let Value::Path(data) = data {
                let lake = data.join("lake");
                conflicts
                    .extend(Remembered::read(&lake).conflicts(&schema).into_iter().map(|found| conflict(&path, &text, found)));
            }
            notes.extend(warnings.into_iter().map(|warning| mistake(&path, warning).to_string()));
            Some(schema)
        }
        Err(found) => {
            errors.0.extend(found.0.into_iter().map(|finding| mistake(&path, finding)));
            None
        }
    }
}

fn mistake(path: &Path, finding: Finding) -> Mistake {
    let place = Place::File { path: path.into(), line: finding.line, column: finding.column };
    let text = if finding.key.is_empty() { finding.text } else { format!("{}: {}", finding.key, finding.text) };
    Mistake { place, text, hint: finding.hint }
}

fn conflict(path: &Path, text: &str, found: Conflict) -> Mistake {
    let (line, column) = place_of(text, &found);
    let place = Place::File { path: path.into(), line, column };
    let text = format!("table `{}`: {}", found.table, found.reason);
    let hint = "give what is new another name, or keep what is there; the rows stay as they are".to_owned();
    Mistake { place, text, hint: Some(hint) }
}

/// Where the table's name, or its column's, stands in the file; both from 1.
fn place_of(text: &str, found: &Conflict) -> (usize, usize) {
    let after =
        |from: usize, name: &str| text.get(from..).and_then(|rest| rest.find(&format!("\"{name}\""))).map(|at| from + at);
    let table = after(0, "table").and_then(|from| after(from, &found.table)).unwrap_or(0);
    let at = found.column.as_ref().and_then(|column| after(table, column)).unwrap_or(table);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1)
}
