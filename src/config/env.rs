//! The environment twins: `REMBUS_GATEWAY_<SECTION>_<KEY>` for a key, `REMBUS_GATEWAY_<SECTION>` for a structured section,
//! which is given whole, as TOML, and replaces what the file says of it.

use super::file::{self, Source};
use super::keys::{KEYS, nearest};
use super::mistake::{ConfigErrors, Place};
use super::sections;
use super::settings::{Origin, Settings};
use std::ffi::OsString;

/// All our variables begin so.
pub(super) const PREFIX: &str = "REMBUS_GATEWAY_";

/// Variables of ours that are not a key: configuration file, log level, folder of the engine's library, two for building.
const OTHERS: [&str; 5] = ["CONFIG", "LOG", "LIB_DIR", "DEV_LIB_DIR", "DIST"];

/// The variable of a key or a structured section, from its name in the file.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', "_"))
}

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
        } else if let Some(section) = sections::top().find(|section| variable(section.path) == name) {
            settings.forget(section);
            file::read_section(&Source::Variable(name), section, &value, settings, errors);
        } else if name.strip_prefix(PREFIX) == Some("LOG") {
            if value.parse::<log::LevelFilter>().is_err() {
                let text = format!("`{value}` is not a log level");
                errors.add(place, text, "one of off, error, warn, info, debug, trace".to_owned());
            }
        } else if name.strip_prefix(PREFIX).is_none_or(|rest| !OTHERS.contains(&rest)) {
            let sections = sections::top().map(|section| variable(section.path));
            let variables: Vec<_> = KEYS.iter().map(super::Key::variable).chain(sections).collect();
            let near = nearest(&name, variables.iter().map(String::as_str));
            errors.add(place, "unknown variable", near.map(|near| format!("did you mean {near}?")));
        }
    }
}
