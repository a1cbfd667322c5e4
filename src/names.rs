//! How long, how deep and how wide a name may be: the one answer for all protocols.
//!
//! Topics, filters, patterns, methods, client ids and component names come from peers, and their length and depth decide what
//! they cost everywhere behind the listener: in the subscription tree, in the log, in the rules of access. So they have limits
//! that the router holds, whatever brought a name (`router/names.rs`), also when it takes stored sessions back.
//!
//! ```text
//! bytes      `[mqtt] max_topic`, 1 KiB unless the operator says otherwise
//! levels     128, and so many in a filter: `a/b` has two
//! wildcards  6 in a Rembus pattern, of the two kinds that cost more than `+`: `**`, and `*` beside other text (`a*`);
//!            neighbouring `**` are one, and `*` alone in its level is free
//! irregular  a Rembus pattern in which `**` touches other text (`a**`) has at most 256 bytes
//! ```

use crate::router::Filter;

/// Levels of a topic, a filter, a method or a name.
pub const LEVELS_MAX: usize = 128;
/// Expensive wildcards of a Rembus pattern.
pub const WILDCARDS_MAX: usize = 6;
/// Bytes of a Rembus pattern in which `**` touches other text: it is matched byte by byte.
pub const IRREGULAR_MAX: usize = 256;
/// Bytes of a name, unless the operator says otherwise.
pub const BYTES_DEFAULT: usize = 1024;

/// The limits, of which one is the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLimits {
    pub bytes: usize,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { bytes: BYTES_DEFAULT }
    }
}

impl NameLimits {
    /// Whether a topic, a method or a name is within the limits.
    #[must_use]
    pub fn allow(&self, name: &str) -> bool {
        name.len() <= self.bytes && name.bytes().filter(|byte| *byte == b'/').count() < LEVELS_MAX
    }

    /// Whether a filter is.
    #[must_use]
    pub fn allow_filter(&self, filter: &Filter) -> bool {
        let group = match filter {
            Filter::Shared { group, .. } => self.allow(group),
            Filter::Mqtt(_) | Filter::Rembus(_) | Filter::Bus(_) => true,
        };
        let wide = match filter {
            Filter::Rembus(pattern) => is_too_wide(pattern),
            Filter::Mqtt(_) | Filter::Shared { .. } | Filter::Bus(_) => false,
        };
        group && self.allow(filter.pattern()) && !wide
    }
}

fn is_too_wide(pattern: &str) -> bool {
    let (mut wildcards, mut irregular, mut after_any) = (0, false, false);
    for level in pattern.split('/') {
        let any = level == "**";
        wildcards += match level {
            "*" => 0,
            "**" => usize::from(!after_any),
            _ => stars(level),
        };
        irregular |= !any && level.contains("**");
        after_any = any;
    }
    wildcards > WILDCARDS_MAX || (irregular && pattern.len() > IRREGULAR_MAX)
}

/// Wildcards in a level: `a**b*` has two.
fn stars(level: &str) -> usize {
    let mut count = 0;
    let mut bytes = level.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'*' {
            bytes.next_if_eq(&b'*');
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pattern: &str) -> bool {
        NameLimits::default().allow_filter(&Filter::Rembus(pattern.into()))
    }

    #[test]
    fn a_name_has_so_many_bytes_and_levels() {
        let limits = NameLimits::default();
        assert!(limits.allow(&"x".repeat(1024)) && !limits.allow(&"x".repeat(1025)));
        assert!(limits.allow(&"/".repeat(127)) && !limits.allow(&"/".repeat(128)));
        assert!(limits.allow("") && limits.allow(&vec!["level"; 128].join("/")));
        assert!(NameLimits { bytes: 2000 }.allow(&"x".repeat(2000)));
    }

    #[test]
    fn a_filter_is_a_name_and_so_is_the_group_of_a_shared_one() {
        let limits = NameLimits::default();
        assert!(!limits.allow_filter(&Filter::Mqtt("+/".repeat(128))) && limits.allow_filter(&Filter::Mqtt("+/".repeat(127))));
        assert!(!limits.allow_filter(&Filter::Bus("+/".repeat(128))) && !allowed(&"x/".repeat(128)));
        let shared = |group: &str| Filter::Shared { group: group.into(), filter: "a".into() };
        assert!(limits.allow_filter(&shared("group")) && !limits.allow_filter(&shared(&"g".repeat(1025))));
    }

    #[test]
    fn a_pattern_has_so_many_wildcards_that_cost_something() {
        assert!(allowed(&vec!["*"; 128].join("/")), "as cheap as `+`");
        assert!(allowed(&vec!["**"; 100].join("/")), "neighbours are one");
        assert!(allowed(&"**/x/".repeat(6)) && !allowed(&"**/x/".repeat(7)));
        assert!(allowed(&"a*/".repeat(6)) && !allowed(&"a*/".repeat(7)));
        assert!(allowed("*a*a*a*a*a*a") && !allowed("*a*a*a*a*a*a*"));
        assert!(allowed("a**/b") && allowed("***") && !allowed(&"a**".repeat(7)));
        assert!(!allowed(&format!("a**{}", "x".repeat(254))) && allowed(&format!("a**{}", "x".repeat(253))));
    }

    #[test]
    fn levels_are_counted_before_neighbours_are_taken_for_one() {
        assert!(!allowed(&format!("dev1/{}x", "**/".repeat(6000))) && !allowed(&vec!["**"; 129].join("/")));
    }
}
