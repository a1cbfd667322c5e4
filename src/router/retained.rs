//! Retained messages: the last word on each topic, for those who subscribe later (MQTT 5 section 3.3.1.3).

use super::accounts::{AccountKey, Accounts, Owner, Resource};
use super::core::Router;
use crate::clock::Mono;
use crate::message::Message;
use ahash::AHashMap;
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
    /// Whose it is.
    pub(super) account: AccountKey,
    /// Of all that were set, the how manyth.
    pub(super) order: u64,
}

/// By topic, in order: a filter with literal first levels looks at its own part only.
#[derive(Debug)]
pub(super) struct RetainedStore {
    limits: RetainedLimits,
    topics: BTreeMap<Arc<str>, Retained>,
    /// The same by account, the oldest first.
    owned: AHashMap<AccountKey, BTreeMap<u64, Arc<str>>>,
    bytes: usize,
    last: u64,
}

/// What a message takes with its place in the store, which has the topic once more, by topic and by owner.
pub(super) fn weight_of(message: &Message) -> usize {
    message.weight() + message.topic.len() + 3 * size_of::<(Arc<str>, Retained)>()
}

/// The store has no room for this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl RetainedStore {
    pub(super) fn new(limits: RetainedLimits) -> Self {
        Self { limits, topics: BTreeMap::new(), owned: AHashMap::new(), bytes: 0, last: 0 }
    }

    /// Replaces what the topic had \[MQTT-3.3.1-5\]; an empty payload removes it \[MQTT-3.3.1-6\], \[MQTT-3.3.1-7\]. `own_max` is
    /// what the owner may have. Where all have too much, the oldest of the heaviest owner give way. Returns how many.
    pub(super) fn set(
        &mut self,
        owner: Owner,
        own_max: usize,
        message: &Arc<Message>,
        deadline: Option<Mono>,
        accounts: &mut Accounts,
    ) -> Result<u64, NoRoom> {
        // What was there is out of date, whether the new one fits or not.
        self.remove(&message.topic, accounts);
        if message.payload.is_empty() {
            return Ok(0);
        }
        let message = Arc::new(message.in_one_form());
        let weight = weight_of(&message);
        let own = accounts.key(&owner).map_or(0, |key| accounts.used(key, Resource::RetainedBytes));
        if own + weight > own_max || weight > self.limits.bytes || self.limits.messages == 0 {
            return Err(NoRoom);
        }
        let mut gave_way = 0;
        while let Some((resource, amount)) = self.shortage(weight) {
            let heavier = accounts.heavier(resource, &owner, amount).ok_or(NoRoom)?;
            let oldest = self.owned.get(&heavier).and_then(|owned| owned.values().next()).cloned().ok_or(NoRoom)?;
            self.remove(&oldest, accounts);
            gave_way += 1;
        }
        let account = accounts.hold(owner);
        accounts.add(account, Resource::RetainedBytes, weight);
        accounts.add(account, Resource::RetainedMessages, 1);
        self.bytes += weight;
        self.last += 1;
        let topic: Arc<str> = message.topic.as_str().into();
        self.owned.entry(account).or_default().insert(self.last, Arc::clone(&topic));
        self.topics.insert(topic, Retained { message, deadline, account, order: self.last });
        Ok(gave_way)
    }

    /// What there is too little of for one more message.
    fn shortage(&self, weight: usize) -> Option<(Resource, usize)> {
        if self.topics.len() >= self.limits.messages {
            Some((Resource::RetainedMessages, 1))
        } else if self.bytes + weight > self.limits.bytes {
            Some((Resource::RetainedBytes, weight))
        } else {
            None
        }
    }

    pub(super) fn remove(&mut self, topic: &str, accounts: &mut Accounts) {
        let Some(gone) = self.topics.remove(topic) else { return };
        let weight = weight_of(&gone.message);
        self.bytes -= weight;
        if let Some(owned) = self.owned.get_mut(&gone.account) {
            owned.remove(&gone.order);
            if owned.is_empty() {
                self.owned.remove(&gone.account);
            }
        }
        accounts.sub(gone.account, Resource::RetainedBytes, weight);
        accounts.sub(gone.account, Resource::RetainedMessages, 1);
        accounts.release(gone.account);
    }

    /// Removes what belongs to one account; returns the topics.
    pub(super) fn remove_all_of(&mut self, account: AccountKey, accounts: &mut Accounts) -> Vec<String> {
        let topics: Vec<_> = self.owned.get(&account).into_iter().flat_map(|owned| owned.values().cloned()).collect();
        topics.iter().for_each(|topic| self.remove(topic, accounts));
        topics.iter().map(|topic| topic.to_string()).collect()
    }

    pub(super) fn get(&self, topic: &str) -> Option<&Retained> {
        self.topics.get(topic)
    }

    /// Up to `max` messages that an MQTT filter matches, in the order of their topics, behind `after`. At most `budget` topics are
    /// looked at, and taken off it. The second value says where to go on, if there may be more.
    pub(super) fn matching(
        &self,
        filter: &str,
        after: Option<&str>,
        max: usize,
        budget: &mut usize,
    ) -> (Vec<Retained>, Option<Arc<str>>) {
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
            *budget = budget.saturating_sub(1);
            if filter_matches(filter, topic) {
                // A copy: what is converted for this subscriber must not stay in the store.
                found.push(Retained { message: Arc::new(retained.message.in_one_form()), ..*retained });
            }
            if found.len() >= max || *budget == 0 {
                return (found, Some(topic.clone()));
            }
        }
        (found, None)
    }

    /// Drops what has expired \[MQTT-3.3.2-5\]. Says when the next one will have.
    pub(super) fn expire(&mut self, now: Mono, accounts: &mut Accounts) -> Option<Mono> {
        let is_over = |retained: &Retained| retained.deadline.is_some_and(|deadline| deadline < now);
        let over: Vec<_> = self.topics.iter().filter(|(_, kept)| is_over(kept)).map(|(topic, _)| topic.clone()).collect();
        for topic in &over {
            self.remove(topic, accounts);
        }
        self.topics.values().filter_map(|kept| kept.deadline).min()
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

impl Router {
    /// Retains a message of `owner`.
    pub(super) fn retain(&mut self, owner: Owner, message: &Arc<Message>, deadline: Option<Mono>) -> Result<(), NoRoom> {
        let own_max = self.options.users.of(&owner, Resource::RetainedBytes);
        let gave_way = self.retained.set(owner, own_max, message, deadline, &mut self.accounts)?;
        self.counters.retained_gave_way += gave_way;
        Ok(())
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
    use crate::message::{Dialect, Payload, Properties, Qos};
    use bytes::Bytes;

    fn store(topics: &[&str]) -> RetainedStore {
        let mut store = RetainedStore::new(RetainedLimits { messages: 5, bytes: 1 << 20 });
        for topic in topics {
            set(&mut store, &mut Accounts::default(), "a", topic, b"x").unwrap();
        }
        store
    }

    /// Sets what `user` says on a topic.
    fn set(
        store: &mut RetainedStore,
        accounts: &mut Accounts,
        user: &str,
        topic: &str,
        payload: &'static [u8],
    ) -> Result<u64, NoRoom> {
        store.set(Owner::User(user.into()), usize::MAX, &message(topic, payload), None, accounts)
    }

    fn message(topic: &str, payload: &'static [u8]) -> Arc<Message> {
        let payload = Payload::Mqtt(Bytes::from_static(payload));
        Arc::new(Message::new(topic.into(), payload, Qos::AtMostOnce, Wall(1), Dialect::Mqtt, "p".into()))
    }

    fn topics(store: &RetainedStore, filter: &str) -> Vec<String> {
        store
            .matching(filter, None, usize::MAX, &mut usize::MAX.clone())
            .0
            .iter()
            .map(|kept| kept.message.topic.clone())
            .collect()
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
    fn properties_count_against_the_limit() {
        let mut store = RetainedStore::new(RetainedLimits { messages: 1_000, bytes: 1 << 20 });
        let (mut accounts, mut refused) = (Accounts::default(), 0);
        for n in 0..100 {
            let mut message = Message::clone(&message(&n.to_string(), b"x"));
            let user = (0..100).map(|n| (format!("{n}"), "v".repeat(500))).collect();
            message.properties = Some(Box::new(Properties { user, ..Properties::default() }));
            refused +=
                usize::from(store.set(Owner::User("a".into()), usize::MAX, &Arc::new(message), None, &mut accounts).is_err());
        }
        let real: usize =
            store.iter().flat_map(|kept| &kept.message.properties).flat_map(|known| &known.user).map(|p| p.1.len()).sum();
        assert!(real <= 1 << 20 && refused > 50, "{real} bytes of properties are kept, {refused} were refused");
    }

    #[test]
    fn what_was_converted_for_a_subscriber_does_not_stay() {
        let mut store = store(&[]);
        let published = message("1", b"[1,2,3]");
        store.set(Owner::User("a".into()), usize::MAX, &published, None, &mut Accounts::default()).unwrap();
        published.rembus_data();
        let (found, _) = store.matching("#", None, 10, &mut 100);
        found[0].message.rembus_data();
        assert!(!store.get("1").unwrap().message.is_converted() && published.is_converted());
    }

    #[test]
    fn a_long_answer_can_be_had_in_parts() {
        let store = store(&["a/1", "a/2", "a/3"]);
        let mut budget = 100;
        let (first, more) = store.matching("a/+", None, 2, &mut budget);
        assert_eq!((first.len(), more.as_deref()), (2, Some("a/2")));
        let (rest, more) = store.matching("a/+", more.as_deref(), 2, &mut budget);
        assert_eq!((rest[0].message.topic.as_str(), rest.len(), more), ("a/3", 1, None));
    }

    #[test]
    fn a_search_that_finds_nothing_stops_when_it_has_looked_at_enough() {
        let store = store(&["a/1", "a/2", "a/3"]);
        let mut budget = 2;
        let (found, more) = store.matching("+/3", None, 10, &mut budget);
        assert_eq!((found.len(), more.as_deref(), budget), (0, Some("a/2"), 0));
        let (found, more) = store.matching("+/3", more.as_deref(), 10, &mut 5);
        assert_eq!((found.len(), more), (1, None));
    }

    #[test]
    fn a_full_store_takes_no_new_topic_and_keeps_no_old_word() {
        let (mut store, mut accounts) = (store(&[]), Accounts::default());
        let mut set = |topic, payload| set(&mut store, &mut accounts, "a", topic, payload);
        for topic in ["1", "2", "3", "4", "5"] {
            assert_eq!(set(topic, b"x"), Ok(0));
        }
        assert_eq!(set("6", b"x"), Err(NoRoom));
        assert_eq!(set("5", b"y"), Ok(0));
        assert_eq!(set("5", b""), Ok(0));
        assert_eq!(set("6", b"x"), Ok(0));
        assert_eq!(store.len(), 5);
        for topic in ["1", "2", "3", "4", "6"] {
            store.remove(topic, &mut accounts);
        }
        assert_eq!((store.bytes(), accounts.len()), (0, 0));
    }

    #[test]
    fn who_retains_most_gives_way_the_oldest_first_and_the_lighter_keep_all_they_have() {
        let (mut store, mut accounts) = (store(&[]), Accounts::default());
        for topic in ["1", "2", "3", "4", "5"] {
            set(&mut store, &mut accounts, "heavy", topic, b"x").unwrap();
        }
        assert_eq!(set(&mut store, &mut accounts, "light", "l1", b"x"), Ok(1));
        assert_eq!(set(&mut store, &mut accounts, "light", "l2", b"x"), Ok(1));
        assert_eq!(topics(&store, "#"), ["3", "4", "5", "l1", "l2"]);
        assert_eq!(set(&mut store, &mut accounts, "light", "l3", b"x"), Err(NoRoom), "three are more than half");
        assert_eq!(set(&mut store, &mut accounts, "heavy", "6", b"x"), Err(NoRoom));
        let heavy = accounts.key(&Owner::User("heavy".into())).unwrap();
        assert_eq!(store.remove_all_of(heavy, &mut accounts), ["3", "4", "5"]);
        assert_eq!(topics(&store, "#"), ["l1", "l2"]);
    }

    #[test]
    fn one_user_retains_no_more_than_allowed() {
        let (mut store, mut accounts) = (store(&[]), Accounts::default());
        let own_max = 2 * weight_of(&message("1", b"x"));
        let mut set = |topic| store.set(Owner::User("a".into()), own_max, &message(topic, b"x"), None, &mut accounts);
        assert_eq!([set("1"), set("2"), set("3"), set("2")], [Ok(0), Ok(0), Err(NoRoom), Ok(0)]);
    }
}
