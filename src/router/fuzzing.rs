//! For `fuzz/`: filters of all dialects and topics in the tree, with the bound of what matching may cost as an invariant.

use super::bus::BusFilters;
use super::event::Filter;
use super::retained::filter_matches;
use super::session::SessionKey;
use super::tree::{BYTE_STEPS_MAX, Dest, STEPS_MAX, Target, Tree};
use crate::mqtt::fuzzing::filter;
use crate::names::{LEVELS_MAX, NameLimits};

/// A filter of the dialect that a number stands for; `None` if it is none, or is not accepted.
fn accepted(dialect: u8, text: &str) -> Option<Filter> {
    let found = match dialect % 3 {
        0 => filter(text).filter(|found| matches!(found, Filter::Mqtt(_)))?,
        1 => Filter::Rembus(text.to_owned()),
        _ => Filter::Bus(text.to_owned()),
    };
    NameLimits::default().allow_filter(&found).then_some(found)
}

fn target(slot: usize, filter: &Filter) -> Target {
    let session = SessionKey { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation: 0 };
    let mut target = Target::exclusion(session);
    target.pattern = match filter {
        Filter::Rembus(pattern) if pattern.contains('*') => Some(pattern.as_str().into()),
        _ => None,
    };
    target
}

/// Puts filters in, looks for topics, takes the filters out again. All filters together must find what each finds alone, no
/// topic may cost more than the bound, and nothing may be left.
///
/// # Panics
/// If that does not hold.
pub fn names(filters: &[(u8, &str)], topics: &[&str]) {
    let filters: Vec<Filter> = filters.iter().filter_map(|(dialect, text)| accepted(*dialect, text)).collect();
    let mut tree = Tree::default();
    for (slot, filter) in filters.iter().enumerate() {
        tree.insert(filter, target(slot, filter));
    }
    let names = NameLimits::default();
    for topic in topics.iter().filter(|topic| names.allow(topic)) {
        let (found, steps) = tree.counted(topic);
        let most = filters.len() * STEPS_MAX.max(BYTE_STEPS_MAX) + LEVELS_MAX;
        assert!(steps <= most, "{steps} steps of {most} for {topic}");
        for (slot, filter) in filters.iter().enumerate() {
            let alone = {
                let mut alone = Tree::default();
                alone.insert(filter, target(slot, filter));
                !alone.search(topic).is_empty()
            };
            let together = found.iter().any(|found| found.dest == target(slot, filter).dest);
            assert_eq!(together, alone, "{filter:?} and {topic}");
            match filter {
                Filter::Mqtt(text) => assert_eq!(alone, filter_matches(text, topic), "{text} and {topic}"),
                Filter::Bus(text) => assert_eq!(alone, BusFilters::match_one(text, topic), "{text} and {topic}"),
                Filter::Rembus(_) | Filter::Shared { .. } => {}
            }
        }
    }
    for (slot, filter) in filters.iter().enumerate() {
        let Dest::Session(key) = target(slot, filter).dest else { continue };
        assert!(tree.remove(filter, Dest::Session(key)), "{filter:?} was there");
    }
    assert!(tree.is_bare(), "nothing is left of filters that are gone");
}
