//! Topics of bridges: filters in commlib or MQTT notation, what they become on the other side, and topics that stay at home.

use crate::router::{Filter, Matcher};

/// A filter as MQTT writes it. Texts with `/`, `+` or `#` are MQTT; others are commlib: `a.*.b` is `a/+/b`, a star at the end
/// is everything below (commlib.md section 2).
///
/// # Errors
/// What is wrong with the text, as the end of a sentence that begins with it.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let filter = if text.contains(['/', '+', '#']) {
        text.to_owned()
    } else {
        let levels: Vec<&str> = text.split('.').collect();
        let last = levels.len() - 1;
        let levels = levels.into_iter().enumerate().map(|(at, level)| match level {
            "*" if at == last => "#",
            "*" => "+",
            level => level,
        });
        levels.collect::<Vec<_>>().join("/")
    };
    let levels: Vec<&str> = filter.split('/').collect();
    let fine = |(at, level): (usize, &&str)| match *level {
        "#" => at + 1 == levels.len(),
        "+" => true,
        level => !level.contains(['#', '+', '*', '\0']),
    };
    if filter.is_empty() || !levels.iter().enumerate().all(fine) {
        return Err("is not a filter: `+` or `*` stands for a level, `#` or a `*` at the end for all below".into());
    }
    if filter.starts_with('$') {
        return Err("begins with `$`: such topics are a broker's own".into());
    }
    Ok(filter)
}

/// A topic name as MQTT writes it; a commlib name has dots in place of slashes.
pub(super) fn name(text: &str) -> Result<String, String> {
    let name = filter(text)?;
    if name.contains(['+', '#']) { Err("is a pattern where one name is needed".into()) } else { Ok(name) }
}

/// What a topic becomes on the other side of a bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rename {
    pub(super) prefix: Option<String>,
    /// Whole levels, in this order.
    pub(super) replace: Vec<(String, String)>,
}

impl Rename {
    pub(super) fn apply(&self, topic: &str) -> String {
        let mut levels: Vec<&str> = topic.split('/').collect();
        for (from, to) in &self.replace {
            for level in levels.iter_mut().filter(|level| *level == from) {
                *level = to;
            }
        }
        let renamed = levels.join("/");
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{renamed}"),
            None => renamed,
        }
    }
}

/// Topics that no link forwards: a broker's own, and the reply topics of calls.
pub(super) fn stays_at_home(topic: &str) -> bool {
    topic.starts_with('$') || is_reply(topic)
}

/// `rpc-` and 32 hexadecimal digits (commlib.md section 2).
fn is_reply(topic: &str) -> bool {
    topic
        .strip_prefix("rpc-")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Rules in the order of the configuration, each with its filter.
#[derive(Debug)]
pub(super) struct Rules<T> {
    matcher: Matcher,
    rules: Vec<T>,
}

impl<T> Rules<T> {
    pub(super) fn new(rules: Vec<(Filter, T)>) -> Self {
        let (filters, rules): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
        Self { matcher: Matcher::new(&filters), rules }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule for a topic.
    pub(super) fn find(&mut self, topic: &str) -> Option<&T> {
        if stays_at_home(topic) {
            return None;
        }
        let first = self.matcher.matches(topic).min()?;
        self.rules.get(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_in_both_notations() {
        for (text, wanted) in [
            ("sensors.*", "sensors/#"),
            ("sensors.*.front", "sensors/+/front"),
            ("a.*.b.*", "a/+/b/#"),
            ("a/+/b/#", "a/+/b/#"),
            ("dev.1/x", "dev.1/x"),
            ("alarms", "alarms"),
            ("*", "#"),
        ] {
            assert_eq!(filter(text).as_deref(), Ok(wanted), "{text}");
        }
        for wrong in ["", "a/#/b", "a#", "a+/b", "*x", "sens*", "$SYS/#", "a/*"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
        assert!(name("thing.*").is_err() && name("thing.ops.add").as_deref() == Ok("thing/ops/add"));
    }

    #[test]
    fn whole_levels_are_replaced_in_order_and_a_prefix_comes_before() {
        let rename = Rename {
            prefix: Some("site1".into()),
            replace: vec![("sonar".into(), "range".into()), ("range".into(), "r".into())],
        };
        assert_eq!(rename.apply("sensors/sonar/sonars"), "site1/sensors/r/sonars");
        assert_eq!(Rename::default().apply("/a//b/"), "/a//b/");
    }

    #[test]
    fn replies_and_a_brokers_own_topics_stay_at_home() {
        assert!(stays_at_home("$SYS/broker/uptime") && stays_at_home("rpc-0123456789abcdef0123456789abcdef"));
        assert!(!stays_at_home("rpc-0123456789abcdef0123456789abcdeg") && !stays_at_home("rpc-1/x"));
        let mut rules = Rules::new(vec![(Filter::Mqtt("#".into()), 1), (Filter::Mqtt("a/#".into()), 2)]);
        assert_eq!(rules.find("a/b"), Some(&1), "the first one in the configuration counts");
        assert_eq!(rules.find("rpc-0123456789abcdef0123456789abcdef"), None);
    }
}
