//! Which topic names and filters MQTT allows (section 4.7 of both versions). U+0000 never gets here: the string reader
//! refuses it.

use crate::router::Filter;

/// A topic name: at least one character \[MQTT-4.7.3-1\], no wildcards \[MQTT-3.3.2-2\].
pub(crate) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// A filter: at least one character, `#` alone in the last level \[MQTT-4.7.1-2\], `+` alone in its level \[MQTT-4.7.1-3\].
pub(crate) fn is_filter(filter: &str) -> bool {
    if filter.is_empty() {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let fits = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.bytes().any(|byte| matches!(byte, b'+' | b'#')),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// A shared subscription (5.0 section 4.8.2); 3.1.1 peers use the same form.
pub(crate) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/") || filter == "$share"
}

/// A filter in the router's terms. `None` if it is not valid: a group has at least one character and no wildcards, and a filter
/// follows \[MQTT-4.8.2-1\], \[MQTT-4.8.2-2\].
pub(crate) fn parse(filter: &str) -> Option<Filter> {
    if !is_shared(filter) {
        return is_filter(filter).then(|| Filter::Mqtt(filter.to_owned()));
    }
    let (group, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    let valid = !group.is_empty() && !group.contains(['+', '#']) && is_filter(filter);
    valid.then(|| Filter::Shared { group: group.to_owned(), filter: filter.to_owned() })
}

/// Whether a topic that another dialect made can be sent to an MQTT peer.
pub(crate) fn is_sendable(topic: &str) -> bool {
    is_name(topic) && topic.len() <= usize::from(u16::MAX) && !topic.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_wildcards_and_at_least_one_character() {
        for name in ["a", "/", "a/b", "a//b", "$SYS/x", "a b", "température"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "+", "#", "a/+", "a#", "a+b"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_wildcard_stands_alone_in_its_level_and_a_hash_comes_last() {
        for filter in ["a", "#", "+", "/", "+/+", "a/#", "a/+/b", "/#", "+/a/#", "$SYS/#", "a//+"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "#/a", "a/#/b", "a#", "a/b#", "#a", "a+", "+a", "a/+b/c", "##", "++", "a/#/", "#+"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }

    #[test]
    fn a_shared_filter_is_known_by_its_first_level() {
        assert!(is_shared("$share/g/a"));
        assert!(is_shared("$share"));
        assert!(!is_shared("$shared/g/a"));
        assert!(!is_shared("a/$share/b"));
    }
}
