//! Retained messages: the last word on each topic, for those who subscribe later (MQTT 5 section 3.3.1.3).

use crate::clock::Mono;
use crate::message::Message;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// How much may be retained, over all topics.
#[derive(Debug, Clone, Copy)]
pub struct RetainedLimits {
    pub messages: usize,
    pub bytes: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { messages: 100_000, bytes: 64 << 20 }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Retained {
    pub(super) message: Arc<Message>,
    pub(super) deadline: Option<Mono>,
}

/// By topic, in order: a filter with literal first levels looks at its own part only.
#[derive(Debug)]
pub(super) struct RetainedStore {
    limits: RetainedLimits,
    topics: BTreeMap<Box<str>, Retained>,
    bytes: usize,
}

/// The store has no room for another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl RetainedStore {
    pub(super) fn new(limits: RetainedLimits) -> Self {
        Self { limits, topics: BTreeMap::new(), bytes: 0 }
    }

    /// Replaces what the topic had \[MQTT-3.3.1-5\]; an empty payload removes it \[MQTT-3.3.1-6\], \[MQTT-3.3.1-7\].
    pub(super) fn set(&mut self, message: &Arc<Message>, deadline: Option<Mono>) -> Result<(), NoRoom> {
        if message.payload.is_empty() {
            self.remove(&message.topic);
            return Ok(());
        }
        let weight = message.weight();
        let before = self.topics.get(message.topic.as_str()).map(|known| known.message.weight());
        // What was there is out of date, whether the new one fits or not.
        let count = self.topics.len() + usize::from(before.is_none());
        if count > self.limits.messages || self.bytes - before.unwrap_or(0) + weight > self.limits.bytes {
            self.remove(&message.topic);
            return Err(NoRoom);
        }
        self.bytes = self.bytes - before.unwrap_or(0) + weight;
        let retained = Retained { message: Arc::clone(message), deadline };
        match self.topics.get_mut(message.topic.as_str()) {
            Some(known) => *known = retained,
            None => {
                self.topics.insert(message.topic.as_str().into(), retained);
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, topic: &str) {
        if let Some(gone) = self.topics.remove(topic) {
            self.bytes -= gone.message.weight();
        }
    }

    pub(super) fn get(&self, topic: &str) -> Option<&Retained> {
        self.topics.get(topic)
    }

    /// Up to `max` messages that an MQTT filter matches, in the order of their topics, behind `after`. The second value says
    /// where to go on, if there may be more.
    pub(super) fn matching(&self, filter: &str, after: Option<&str>, max: usize) -> (Vec<Retained>, Option<Box<str>>) {
        let prefix = literal_prefix(filter);
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut found = Vec::new();
        for (topic, retained) in self.topics.range::<str, _>((from, Bound::Unbounded)) {
            if !topic.starts_with(prefix) {
                break;
            }
            if filter_matches(filter, topic) {
                found.push(retained.clone());
                if found.len() >= max {
                    return (found, Some(topic.clone()));
                }
            }
        }
        (found, None)
    }

    /// Drops what has expired \[MQTT-3.3.2-5\]; returns the topics.
    pub(super) fn expire(&mut self, now: Mono) -> Vec<Box<str>> {
        let is_over = |retained: &Retained| retained.deadline.is_some_and(|deadline| deadline < now);
        let over: Vec<_> = self.topics.iter().filter(|(_, kept)| is_over(kept)).map(|(topic, _)| topic.clone()).collect();
        for topic in &over {
            self.remove(topic);
        }
        over
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Retained> {
        self.topics.values()
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What every topic that matches begins with. `a/#` matches `a` too, so the last slash is not part of it.
fn literal_prefix(filter: &str) -> &str {
    let wild = filter.find(['+', '#']).unwrap_or(filter.len());
    let prefix = filter.get(..wild).unwrap_or_default();
    if filter.get(wild..) == Some("#") { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
}

/// MQTT section 4.7: `+` is one level, `#` the rest and the parent, and neither begins with `$` \[MQTT-4.7.2-1\].
pub(super) fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (literal, Some(level)) if literal == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::message::{Dialect, Payload, Qos};
    use bytes::Bytes;

    fn store(topics: &[&str]) -> RetainedStore {
        let mut store = RetainedStore::new(RetainedLimits { messages: 5, bytes: 1 << 20 });
        for topic in topics {
            store.set(&message(topic, b"x"), None).unwrap();
        }
        store
    }

    fn message(topic: &str, payload: &'static [u8]) -> Arc<Message> {
        let payload = Payload::Mqtt(Bytes::from_static(payload));
        Arc::new(Message::new(topic.into(), payload, Qos::AtMostOnce, Wall(1), Dialect::Mqtt, "p".into()))
    }

    fn topics(store: &RetainedStore, filter: &str) -> Vec<String> {
        store.matching(filter, None, usize::MAX).0.iter().map(|kept| kept.message.topic.clone()).collect()
    }

    #[test]
    fn a_filter_finds_what_it_matches_and_nothing_else() {
        let store = store(&["a", "a/b", "a/b/c", "ab", "$SYS/a"]);
        assert_eq!(topics(&store, "#"), ["a", "a/b", "a/b/c", "ab"]);
        assert_eq!(topics(&store, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(topics(&store, "+"), ["a", "ab"]);
        assert_eq!(topics(&store, "a/+"), ["a/b"]);
        assert_eq!(topics(&store, "+/b/#"), ["a/b", "a/b/c"]);
        assert_eq!(topics(&store, "$SYS/#"), ["$SYS/a"]);
        assert_eq!(topics(&store, "a/b"), ["a/b"]);
    }

    #[test]
    fn a_long_answer_can_be_had_in_parts() {
        let store = store(&["a/1", "a/2", "a/3"]);
        let (first, more) = store.matching("a/+", None, 2);
        assert_eq!((first.len(), more.as_deref()), (2, Some("a/2")));
        let (rest, more) = store.matching("a/+", more.as_deref(), 2);
        assert_eq!((rest[0].message.topic.as_str(), rest.len(), more), ("a/3", 1, None));
    }

    #[test]
    fn a_full_store_takes_no_new_topic_and_keeps_no_old_word() {
        let mut store = store(&["1", "2", "3", "4", "5"]);
        assert_eq!(store.set(&message("6", b"x"), None), Err(NoRoom));
        assert_eq!(store.set(&message("5", b"y"), None), Ok(()));
        assert_eq!(store.set(&message("5", b""), None), Ok(()));
        assert_eq!(store.set(&message("6", b"x"), None), Ok(()));
        assert_eq!(store.len(), 5);
        for topic in ["1", "2", "3", "4", "6"] {
            store.remove(topic);
        }
        assert_eq!(store.bytes(), 0);
    }
}
