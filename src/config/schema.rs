//! The schema file that `[history] schema` names, read with the configuration so that all mistakes are told together.

use super::file;
use super::keys::get;
use super::mistake::{ConfigErrors, Mistake, Place};
use super::settings::Settings;
use super::value::Value;
use crate::history::model::Schema;
use crate::history::schema::{self, Finding};
use std::path::Path;

/// A schema of a thousand tables is smaller.
const BYTES_MAX: u64 = 4 << 20;

/// Reads the schema, if there is one; what in it has no effect goes to `notes`.
pub(crate) fn read(settings: &Settings, notes: &mut Vec<String>, errors: &mut ConfigErrors) -> Option<Schema> {
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
