//! The messages that an operator acts on, or waits for, have an id in the journal.
//!
//! `journalctl MESSAGE_ID=…` finds one whatever its details are, and `journalctl -x` shows what it means and what to do, from
//! `systemd/rembus-gateway.catalog`. A message is known by how it begins, so that the places that say it need not know of
//! this. Ids are never used again for something else.

/// How a message begins, and its id.
const EVENTS: [(&str, &str); 10] = [
    ("ready", "bd50ffcf04c148bfb31bc8e7d5bd9fa3"),
    ("the log ended in the middle of a write", "db1d488fb524449e93f8fcb0b4ecd566"),
    ("the log is damaged", "16dd914b1e864e69a630d650f1f1f952"),
    ("the log is poisoned", "beb4ead14eaa43afb981e6abbd9f4594"),
    ("the disk has no room for the log beyond the reserve", "3ba0cc9d15c143ac8a3380537ff4ca43"),
    ("the gateway does not prove that it works", "91fab673329f45c2ac6526ba89176ef2"),
    ("history is not available", "8ca8653788de4c6ba9742826dddc5e17"),
    ("a file of the lake", "e4a68e61a344452087071253a6e7e38d"),
    ("login refused", "69b603deae1e4cbb87d69c3cd424b527"),
    ("the time is not known yet", "76c4a12047f94967b01276d12c743fba"),
];

/// The id of a message, if it has one.
pub(super) fn id_of(text: &str) -> Option<&'static str> {
    EVENTS.iter().find(|(beginning, _)| begins(text, beginning)).map(|(_, id)| *id)
}

/// With a whole word: `ready` is not the beginning of `ready-made`.
fn begins(text: &str, beginning: &str) -> bool {
    text.strip_prefix(beginning).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const CATALOG: &str = include_str!("../../systemd/rembus-gateway.catalog");

    /// All of our own sources but this file.
    fn sources(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if !path.ends_with("journal/events.rs") {
                into.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn the_catalog_explains_every_event_and_nothing_else() {
        let explained: Vec<_> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(explained, EVENTS.map(|(_, id)| id));
    }

    #[test]
    fn every_event_is_said_somewhere() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        for (beginning, _) in EVENTS {
            assert!(text.contains(&format!("\"{beginning}")), "no message begins with `{beginning}`");
        }
    }

    #[test]
    fn a_message_is_known_by_its_beginning() {
        assert_eq!(id_of("ready"), Some(EVENTS[0].1));
        assert_eq!(id_of("the log is damaged: segment 3"), Some(EVENTS[2].1));
        assert_eq!(id_of("ready-made"), None);
        assert_eq!(id_of("already"), None);
    }
}
