//! What is particular to busrt programs: topics they do not want, and what crosses between them and everybody else.
//!
//! Topics that begin with `.` are the bus's own (`.broker/info`) and never leave it; those that begin with `$` are the
//! gateway's own and never enter it (`protocol/busrt.md` section 9.1). Neither can be forged from the other side.

use super::accounts::Resource;
use super::core::Router;
use super::event::{Effect, Filter, Refusal};
use super::session::SessionKey;
use super::tree::{Dest, Target};
use crate::message::{Dialect, Message, Qos, Reach};

/// Topics of the configuration, by the rules of busrt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BusFilters(Vec<String>);

impl BusFilters {
    #[must_use]
    pub fn new(filters: Vec<String>) -> Self {
        Self(filters)
    }

    #[must_use]
    pub fn everything() -> Self {
        Self(vec!["#".into()])
    }

    /// A configuration has a handful of them: they are tried one by one.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.0.iter().any(|filter| matches(filter, topic))
    }

    /// Whether one filter means a topic.
    #[must_use]
    pub fn match_one(filter: &str, topic: &str) -> bool {
        matches(filter, topic)
    }
}

/// Whether a busrt topic filter means a topic; what the subscription tree does for many at once.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            // `a/#` wants a level below `a`; `a/#/b` takes `a` itself too.
            (Some("#"), level) => return level.is_some() || filter.next().is_some(),
            (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

impl Router {
    pub(super) fn exclude(&mut self, key: SessionKey, filter: Filter, effects: &mut Vec<Effect>) -> Result<Qos, Refusal> {
        if !self.options.names.allow_filter(&filter) {
            return Err(Refusal::FilterTooLong);
        }
        let max = self.options.registrations_max;
        let Some(session) = self.sessions.get(key) else { return Err(Refusal::LimitReached) };
        if !session.exclusions.contains(&filter) {
            if session.exclusions.len() >= max {
                return Err(Refusal::LimitReached);
            }
            self.room_for_registration(key, effects)?;
        }
        self.exclusions.insert(&filter, Target::exclusion(key));
        let Some(session) = self.sessions.get_mut(key) else { return Err(Refusal::LimitReached) };
        if session.exclusions.insert(filter) {
            self.accounts.add(session.account, Resource::Registrations, 1);
        }
        Ok(Qos::AtMostOnce)
    }

    /// Whether there was such an exclusion.
    pub(super) fn include(&mut self, key: SessionKey, filter: &Filter) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let known = session.exclusions.remove(filter);
        if known {
            self.accounts.sub(session.account, Resource::Registrations, 1);
        }
        known && self.exclusions.remove(filter, Dest::Session(key))
    }

    /// Whether a message may go from its publisher's side to a session's.
    pub(super) fn crosses(&self, message: &Message, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        let enters = session.dialect == Dialect::Bus && message.dialect != Dialect::Bus;
        match message.reach {
            Reach::Dialect => session.dialect == message.dialect,
            _ if enters => !message.topic.starts_with(['.', '$']) && self.options.bus_export.matches(&message.topic),
            // The door sees to it that what must not leave the bus has no such reach.
            Reach::Everywhere | Reach::Live => true,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tree::Tree;
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    /// All probed with the vendor's broker (busrt.md 4).
    pub(in crate::router) const RULES: &[(&str, &[&str], &[&str])] = &[
        ("a/#", &["a/b", "a/b/c", "a/"], &["a", "b", "ab"]),
        ("#", &["a", "a/b", ".broker/info", "$SYS/x", ""], &[]),
        ("a/#/b", &["a", "a/b", "a/x/y"], &["b", "ab/b"]),
        ("a/+/#", &["a/b/c", "a/b/c/d"], &["a", "a/b"]),
        ("+", &["a", "", ".x", "$y"], &["a/b", "/"]),
        ("+/+", &["a/b", "/", "$SYS/x"], &["a", "a/b/c"]),
        ("+x", &["+x"], &["ax", "x"]),
        ("a/+x/#x", &["a/+x/#x"], &["a/yx/#x", "a/+x/zx"]),
        ("sensors/+/temp", &["sensors/boiler/temp", "sensors//temp"], &["sensors/temp", "sensors/a/b/temp"]),
        ("", &[""], &["a", "/"]),
        ("a/b", &["a/b"], &["a", "a/b/c", "a/b/"]),
    ];

    #[test]
    fn topics_follow_the_rules_of_the_vendors_broker() {
        for (filter, yes, no) in RULES {
            for topic in *yes {
                assert!(matches(filter, topic), "{filter} {topic}");
            }
            for topic in *no {
                assert!(!matches(filter, topic), "{filter} {topic}");
            }
        }
    }

    /// busrt.md 4 put down as a pattern of text, which knows nothing of levels.
    fn model(filter: &str) -> Regex {
        let levels: Vec<&str> = filter.split('/').collect();
        let before = levels.iter().position(|level| *level == "#").unwrap_or(levels.len());
        let one = |level: &&str| if *level == "+" { "[^/]*".to_owned() } else { regex::escape(level) };
        let path = levels[..before].iter().map(one).collect::<Vec<_>>().join("/");
        let rest = match levels.len() - before {
            0 => "",
            // At the very beginning `#` is everything.
            _ if before == 0 => ".*",
            1 => "/.*",
            _ => "(/.*)?",
        };
        Regex::new(&format!("(?s)^{path}{rest}$")).unwrap()
    }

    fn path(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(levels), 1..6).prop_map(|levels| levels.join("/"))
    }

    const FILTER: &[&str] = &["a", "b", "", "+", "#", "+x", "#x", "$s", ".b"];
    const TOPIC: &[&str] = &["a", "b", "", "x", "+x", "#x", "$s", ".b"];

    fn key(slot: usize) -> SessionKey {
        SessionKey { slot: u32::try_from(slot).unwrap(), generation: 0 }
    }

    proptest! {
        #[test]
        fn single_filters_and_the_tree_agree_with_a_naive_model(
            filters in proptest::collection::btree_set(path(FILTER), 1..12),
            topics in proptest::collection::vec(path(TOPIC), 1..12),
            gone in proptest::collection::vec(any::<bool>(), 12),
        ) {
            let filters: Vec<(Filter, String, Regex)> =
                filters.into_iter().map(|filter| (Filter::Bus(filter.clone()), filter.clone(), model(&filter))).collect();
            let mut tree = Tree::default();
            for (slot, (filter, ..)) in filters.iter().enumerate() {
                tree.insert(filter, Target::exclusion(key(slot)));
            }
            // Once with all of them, and once more without some.
            for round in 0..2 {
                let there = |slot: &usize| round == 0 || !gone[*slot];
                let some = filters.iter().enumerate().filter(|(slot, _)| there(slot)).map(|(_, (_, text, _))| text.clone());
                let some = BusFilters::new(some.collect());
                for topic in &topics {
                    let mut wanted = Vec::new();
                    for (slot, (_, text, model)) in filters.iter().enumerate() {
                        prop_assert_eq!(matches(text, topic), model.is_match(topic), "{} {}", text, topic);
                        if there(&slot) && model.is_match(topic) {
                            wanted.push(Some(key(slot)));
                        }
                    }
                    let mut found: Vec<_> = tree.matches(topic).iter().map(Target::session).collect();
                    found.sort_unstable_by_key(|key| key.map(|key| key.slot));
                    prop_assert_eq!(some.matches(topic), !wanted.is_empty(), "{:?} {}", some, topic);
                    prop_assert_eq!(found, wanted, "{} in round {}", topic, round);
                }
                for (slot, (filter, ..)) in filters.iter().enumerate().filter(|(slot, _)| round == 0 && gone[*slot]) {
                    prop_assert!(tree.remove(filter, Dest::Session(key(slot))));
                }
            }
        }
    }
}
