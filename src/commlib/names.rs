//! commlib's names, MQTT's topics (`protocol/commlib.md` section 2).
//!
//! ```text
//! thing.device0.ops.add   thing/device0/ops/add       every `.` becomes `/`
//! sensors.*               sensors/#                   a star at the end is everything below, and `sensors` itself
//! sensors.*.front         sensors/+/front             elsewhere it is one level
//! ```

/// Longest name taken, in bytes.
const NAME_MAX: usize = 512;

/// The topic of a name. `None` if commlib would refuse the name: letters, digits and `/ . - _` are allowed, and no empty level.
#[must_use]
pub fn topic(name: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_');
    let topic = name.replace('.', "/");
    let whole =
        !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(fits) && topic.split('/').all(|level| !level.is_empty());
    whole.then_some(topic)
}

/// The MQTT filter of a pattern in commlib's notation or MQTT's. `None` if it has a wildcard beside other text.
#[must_use]
pub fn filter(pattern: &str) -> Option<String> {
    let dotted = pattern.replace('.', "/");
    let levels: Vec<&str> = dotted.split('/').collect();
    let last = levels.len() - 1;
    let mut filter = Vec::with_capacity(levels.len());
    for (at, level) in levels.into_iter().enumerate() {
        filter.push(match level {
            "*" if at == last => "#",
            "*" => "+",
            "#" if at < last => return None,
            "#" | "+" => level,
            _ if level.contains(['*', '+', '#']) || level.is_empty() => return None,
            _ => level,
        });
    }
    Some(filter.join("/"))
}

/// Whether an MQTT filter matches a topic (MQTT 3.1.1 section 4.7).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_are_levels() {
        assert_eq!(topic("thing.device0.ops.add_two_ints").as_deref(), Some("thing/device0/ops/add_two_ints"));
        assert_eq!(topic("thing/device0.ops").as_deref(), Some("thing/device0/ops"));
        for wrong in ["", "a..b", ".a", "a/", "a b", "a.*", "a#", "+", "é", &"x".repeat(513)] {
            assert_eq!(topic(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_star_is_a_level_or_the_rest() {
        let cases = [
            ("sensors.*", "sensors/#"),
            ("sensors.*.front", "sensors/+/front"),
            ("a.*.b.*", "a/+/b/#"),
            ("*", "#"),
            ("a/+/b", "a/+/b"),
            ("a/#", "a/#"),
            ("a.b", "a/b"),
        ];
        for (pattern, wanted) in cases {
            assert_eq!(filter(pattern).as_deref(), Some(wanted), "{pattern}");
        }
        for wrong in ["sens*", "a.#.b", "", "a..b", "a+"] {
            assert_eq!(filter(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn filters_match_as_in_mqtt() {
        for (filter, topic) in
            [("sensors/#", "sensors"), ("sensors/#", "sensors/a/b"), ("a/+/c", "a//c"), ("#", "x"), ("+", "x")]
        {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("sensors/#", "sensor"), ("a/+", "a"), ("a/+", "a/b/c"), ("#", "$SYS/x"), ("a", "a/b"), ("a/b", "a")]
        {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
