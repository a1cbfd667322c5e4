//! What hangs in the tree: who gets a message, and how.

use crate::message::Qos;
use crate::router::event::Subscription;
use crate::router::groups::GroupKey;
use crate::router::session::SessionKey;
use std::sync::Arc;

/// Whom a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    match targets.iter_mut().find(|known| known.dest == target.dest) {
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

pub(super) fn take(targets: &mut Vec<Target>, dest: Dest) -> bool {
    let Some(at) = targets.iter().position(|known| known.dest == dest) else { return false };
    targets.swap_remove(at);
    if targets.len() * 4 < targets.capacity() {
        targets.shrink_to_fit();
    }
    true
}

/// Adds targets to those found. Overlapping filters of one MQTT session make one delivery with the highest QoS
/// \[MQTT-3.3.5-1\] and every identifier \[MQTT-3.3.4-3\]; a Rembus session gets one for each pattern.
pub(super) fn collect(targets: &[Target], found: &mut Vec<Target>) {
    if found.is_empty() {
        // One list names a session once: nothing to merge.
        found.extend_from_slice(targets);
        return;
    }
    for target in targets {
        let same = |known: &&mut Target| known.dest == target.dest && known.pattern.is_none() && target.pattern.is_none();
        match found.iter_mut().find(same) {
            Some(known) => {
                known.qos = known.qos.max(target.qos);
                known.no_local &= target.no_local;
                known.retain_as_published |= target.retain_as_published;
                known.identifiers.extend_from_slice(&target.identifiers);
            }
            None => found.push(target.clone()),
        }
    }
}
