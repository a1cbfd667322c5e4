//! The environment twins: `REMBUS_GATEWAY_<SECTION>_<KEY>`.

use super::keys::{KEYS, nearest};
use super::mistake::{ConfigErrors, Place};
use super::settings::{Origin, Settings};
use std::ffi::OsString;

/// All our variables begin so.
pub(super) const PREFIX: &str = "REMBUS_GATEWAY_";

/// Variables of ours that are not a key: configuration file, log level, folder of the engine's library, two for building.
const OTHERS: [&str; 5] = ["CONFIG", "LOG", "LIB_DIR", "DEV_LIB_DIR", "DIST"];

/// Reads the variables with our prefix into `settings`, in the order of their names.
pub(crate) fn read(env: impl IntoIterator<Item = (OsString, OsString)>, settings: &mut Settings, errors: &mut ConfigErrors) {
    let mut ours: Vec<(String, OsString)> = env
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok().filter(|name| name.starts_with(PREFIX))?, value)))
        .collect();
    ours.sort();
    for (name, value) in ours {
        let place = Place::Variable(name.clone());
        let Ok(value) = value.into_string() else {
            errors.add(place, "is not UTF-8", None);
            continue;
        };
        if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
            settings.set_text(key, &value, Origin::Variable(name), errors);
        } else if name.strip_prefix(PREFIX) == Some("LOG") {
            if value.parse::<log::LevelFilter>().is_err() {
                let text = format!("`{value}` is not a log level");
                errors.add(place, text, "one of off, error, warn, info, debug, trace".to_owned());
            }
        } else if name.strip_prefix(PREFIX).is_none_or(|rest| !OTHERS.contains(&rest)) {
            let variables: Vec<_> = KEYS.iter().map(super::Key::variable).collect();
            let near = nearest(&name, variables.iter().map(String::as_str));
            errors.add(place, "unknown variable", near.map(|near| format!("did you mean {near}?")));
        }
    }
}
