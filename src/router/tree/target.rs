//! What hangs in the tree: who gets a message, and how.

use crate::message::Qos;
use crate::router::event::Subscription;
use crate::router::groups::GroupKey;
use crate::router::session::SessionKey;
use ahash::AHashMap;
use std::sync::Arc;

/// Whom a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::router) enum Dest {
    Session(SessionKey),
    /// One of its members.
    Group(GroupKey),
}

/// One subscription, or several of one MQTT session merged into one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::router) struct Target {
    pub(in crate::router) dest: Dest,
    pub(in crate::router) qos: Qos,
    pub(in crate::router) no_local: bool,
    pub(in crate::router) retain_as_published: bool,
    /// MQTT 5 subscription identifiers.
    pub(in crate::router) identifiers: Vec<u32>,
    /// The Rembus pattern, for its delivery form.
    pub(in crate::router) pattern: Option<Arc<str>>,
    /// The session's number for the subscription.
    pub(in crate::router) number: u32,
}

impl Target {
    pub(in crate::router) fn of(session: SessionKey, wanted: &Subscription, pattern: Option<Arc<str>>) -> Self {
        Self {
            dest: Dest::Session(session),
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            identifiers: wanted.identifier.into_iter().collect(),
            pattern,
            number: wanted.number,
        }
    }

    /// The session that subscribed, if it did so for itself.
    pub(in crate::router) fn session(&self) -> Option<SessionKey> {
        match self.dest {
            Dest::Session(key) => Some(key),
            Dest::Group(_) => None,
        }
    }

    /// Only whose it is matters.
    pub(in crate::router) fn exclusion(session: SessionKey) -> Self {
        Self {
            dest: Dest::Session(session),
            qos: Qos::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            identifiers: Vec::new(),
            pattern: None,
            number: 0,
        }
    }

    /// The options are those of the member that is picked.
    pub(in crate::router) fn group(group: GroupKey) -> Self {
        Self {
            dest: Dest::Group(group),
            qos: Qos::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            identifiers: Vec::new(),
            pattern: None,
            number: 0,
        }
    }
}

pub(super) fn put(targets: &mut Vec<Target>, target: Target) -> bool {
    // Two patterns of a component may mean the same (`a/**`, `a/**/**`): each is delivered under its own name.
    match targets.iter_mut().find(|known| known.dest == target.dest && known.pattern == target.pattern) {
        Some(known) => {
            *known = target;
            false
        }
        None => {
            targets.push(target);
            true
        }
    }
}

/// `text` is the filter as it was written.
pub(super) fn take(targets: &mut Vec<Target>, dest: Dest, text: &str) -> bool {
    let is_it = |known: &Target| known.dest == dest && known.pattern.as_deref().is_none_or(|pattern| pattern == text);
    let Some(at) = targets.iter().position(is_it) else { return false };
    targets.swap_remove(at);
    if targets.len() * 4 < targets.capacity() {
        targets.shrink_to_fit();
    }
    true
}

/// Targets that were found for a topic. Overlapping filters of one MQTT session make one delivery with the highest QoS
/// \[MQTT-3.3.5-1\] and every identifier \[MQTT-3.3.4-3\]; a Rembus session gets one for each pattern.
#[derive(Debug, Default)]
pub(super) struct Found {
    targets: Vec<Target>,
    /// Where those without a pattern are, once there are many.
    places: AHashMap<Dest, usize>,
    /// How many targets `places` has been told of.
    placed: usize,
}

/// So many are looked through as they are.
const FEW: usize = 16;

impl Found {
    pub(super) fn add(&mut self, targets: &[Target]) {
        if self.targets.is_empty() {
            // One list names a session once: nothing to merge.
            self.targets.extend_from_slice(targets);
            return;
        }
        for target in targets {
            let known = if target.pattern.is_none() { self.place(target.dest) } else { None };
            match known.and_then(|at| self.targets.get_mut(at)) {
                Some(known) => {
                    known.qos = known.qos.max(target.qos);
                    known.no_local &= target.no_local;
                    known.retain_as_published |= target.retain_as_published;
                    known.identifiers.extend_from_slice(&target.identifiers);
                }
                None => self.targets.push(target.clone()),
            }
        }
    }

    fn place(&mut self, dest: Dest) -> Option<usize> {
        if self.targets.len() <= FEW {
            return self.targets.iter().position(|known| known.dest == dest && known.pattern.is_none());
        }
        let news = self.targets.iter().enumerate().skip(self.placed).filter(|(_, target)| target.pattern.is_none());
        self.places.extend(news.map(|(at, target)| (target.dest, at)));
        self.placed = self.targets.len();
        self.places.get(&dest).copied()
    }

    pub(super) fn targets(self) -> Vec<Target> {
        self.targets
    }
}
