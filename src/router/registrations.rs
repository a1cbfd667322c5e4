//! What a session asked to be told and offers to do: filters in the tree, methods in the service table. Both are bounded.

use super::core::{Held, Router};
use super::event::{Effect, Filter, LinkId, Refusal, RetainHandling, Subscription};
use super::groups::Member;
use super::outgoing::Parcel;
use super::session::{Backfill, SessionKey};
use super::state::Change;
use super::tree::{Dest, Target};
use crate::access::Action;
use crate::message::Qos;
use std::sync::Arc;

impl Router {
    pub(super) fn subscribe(&mut self, link: LinkId, key: SessionKey, wanted: Subscription) -> Result<Qos, Refusal> {
        if !self.links.get(&link).is_some_and(|known| known.info.identity.may_subscribe(&wanted.filter)) {
            return Err(Refusal::NotAuthorized);
        }
        let can_keep = self.can_keep();
        let max = self.options.registrations_max;
        let Some(session) = self.sessions.get_mut(key) else { return Err(Refusal::LimitReached) };
        let is_new = !session.filters.contains_key(&wanted.filter);
        if session.filters.len() >= max && is_new {
            return Err(Refusal::LimitReached);
        }
        if session.keeps_queue() && !can_keep {
            return Err(Refusal::DiskFull);
        }
        let kept = session.kept;
        // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; a shared subscription gets none (section 4.8.2), nor does a Rembus component.
        let backfill = matches!(wanted.filter, Filter::Mqtt(_))
            && match wanted.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
        self.register(key, &wanted);
        let qos = wanted.qos;
        if let Some(id) = kept {
            self.note(Change::Subscribe { id, subscription: wanted.clone(), backfill });
        }
        if let (true, Some(session)) = (backfill, self.sessions.get_mut(key)) {
            session.backfill.retain(|fill| fill.subscription.filter != wanted.filter);
            session.backfill.push_back(Backfill { subscription: wanted, after: None });
        }
        Ok(qos)
    }

    /// Puts a subscription where publications find it.
    pub(super) fn register(&mut self, key: SessionKey, wanted: &Subscription) {
        let pattern = match &wanted.filter {
            Filter::Rembus(pattern) if pattern.contains('*') => Some(Arc::from(pattern.as_str())),
            Filter::Rembus(_) | Filter::Mqtt(_) | Filter::Shared { .. } | Filter::Bus(_) => None,
        };
        match &wanted.filter {
            Filter::Shared { group, filter } => {
                let member = Member { session: key, subscription: wanted.clone() };
                let (group, is_new) = self.groups.join(group, filter, member);
                if is_new {
                    self.tree.insert(&Filter::Mqtt(filter.clone()), Target::group(group));
                }
            }
            plain @ (Filter::Mqtt(_) | Filter::Rembus(_) | Filter::Bus(_)) => {
                self.tree.insert(plain, Target::of(key, wanted, pattern));
            }
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.filters.insert(wanted.filter.clone(), wanted.clone());
        }
    }

    pub(super) fn unsubscribe(&mut self, key: SessionKey, filter: &Filter, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if !session.filters.contains_key(filter) {
            return false;
        }
        let kept = session.kept;
        session.backfill.retain(|fill| fill.subscription.filter != *filter);
        let orphans = self.unregister(key, filter);
        if let Some(id) = kept {
            self.note(Change::Unsubscribe { id, filter: filter.clone() });
        }
        self.adopt(orphans, effects);
        true
    }

    /// Takes a subscription out. Returns what the session had got in the name of a group and not yet passed on.
    pub(super) fn unregister(&mut self, key: SessionKey, filter: &Filter) -> Vec<Parcel> {
        if let Some(session) = self.sessions.get_mut(key) {
            session.filters.remove(filter);
        }
        let Filter::Shared { group: name, filter } = filter else {
            self.tree.remove(filter, Dest::Session(key));
            return Vec::new();
        };
        let Some((group, ended)) = self.groups.leave(name, filter, key) else { return Vec::new() };
        if ended {
            self.tree.remove(&Filter::Mqtt(filter.clone()), Dest::Group(group));
        }
        self.take_back(key, group)
    }

    pub(super) fn expose(&mut self, link: LinkId, key: SessionKey, method: String) -> bool {
        if !self.may(link, Action::Expose, &method) {
            return false;
        }
        let max = self.options.registrations_max;
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if session.exposed.len() >= max && !session.exposed.contains(&method) {
            return false;
        }
        let kept = session.kept;
        let is_new = session.exposed.insert(method.clone());
        self.services.expose(&method, key);
        if let (Some(id), true) = (kept, is_new) {
            self.note(Change::Expose { id, method });
        }
        true
    }

    pub(super) fn unexpose(&mut self, key: SessionKey, method: String) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let kept = session.kept;
        if session.exposed.remove(&method) {
            self.services.unexpose(&method, key);
            if let Some(id) = kept {
                self.note(Change::Unexpose { id, method });
            }
        }
    }

    /// Deliveries wait until SUBACK is out, if that waits.
    pub(super) fn hold_back_until_answered(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get_mut(key)
            && session.keeps_queue()
        {
            session.waits_for_answer = true;
            self.after_changes(Held::Pump(key), effects);
        } else {
            self.pump(key, effects);
        }
    }
}

impl Subscription {
    /// What a busrt program asks for: whatever there is, its own as well.
    #[must_use]
    pub fn bus(topic: String) -> Self {
        Self {
            filter: Filter::Bus(topic),
            qos: Qos::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
            identifier: None,
        }
    }

    /// What a Rembus component asks for: as published, never its own.
    #[must_use]
    pub fn rembus(topic: String) -> Self {
        Self {
            filter: Filter::Rembus(topic),
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            identifier: None,
        }
    }
}
