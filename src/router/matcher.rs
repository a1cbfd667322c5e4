//! Which of several filters match a topic, by the rules of the subscription tree; for parts that read the log themselves.

use super::event::{Filter, Past, RetainHandling, Subscription};
use super::session::SessionKey;
use super::tree::{Dest, Target, Tree};
use crate::message::Qos;

/// A list of filters.
#[derive(Debug, Default)]
pub struct Matcher(Tree);

impl Matcher {
    #[must_use]
    pub fn new(filters: &[Filter]) -> Self {
        let mut tree = Tree::default();
        for (place, filter) in filters.iter().enumerate() {
            let slot = u32::try_from(place).expect("a configuration has far fewer filters");
            let subscription = Subscription {
                filter: filter.clone(),
                qos: Qos::AtMostOnce,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::DoNotSend,
                identifier: None,
                number: 0,
                past: Past::Nothing,
            };
            tree.insert(filter, Target::of(SessionKey { slot, generation: 0 }, &subscription, None));
        }
        Self(tree)
    }

    /// The places in the list of those that match.
    pub fn matches(&mut self, topic: &str) -> impl Iterator<Item = usize> + use<> {
        let found: Vec<usize> = self
            .0
            .matches(topic)
            .iter()
            .filter_map(|target| match target.dest {
                Dest::Session(key) => Some(key.slot as usize),
                Dest::Group(_) => None,
            })
            .collect();
        found.into_iter()
    }
}
