//! What a session asked to be told and offers to do: filters in the tree, methods in the service table. Both are bounded.

use super::accounts::Resource;
use super::core::{Held, Router};
use super::event::{Effect, Filter, LinkId, Past, Refusal, RetainHandling, Subscription};
use super::groups::{GroupKey, Member};
use super::replay::Line;
use super::session::{Backfill, SessionKey};
use super::state::Change;
use super::timers::Timer;
use super::trail::Trail;
use super::tree::{Dest, Target, Tree};
use crate::access::Action;
use crate::message::{Qos, Seq};
use std::sync::Arc;
use std::time::Duration;

/// Between two turns in which filters are taken out.
const PAUSE: Duration = Duration::from_millis(1);

impl Router {
    pub(super) fn subscribe(
        &mut self,
        link: LinkId,
        key: SessionKey,
        mut wanted: Subscription,
        effects: &mut Vec<Effect>,
    ) -> Result<Qos, Refusal> {
        if !self.options.names.allow_filter(&wanted.filter) {
            return Err(Refusal::FilterTooLong);
        }
        if !self.links.get(&link).is_some_and(|known| known.info.identity.may_subscribe(&wanted.filter)) {
            return Err(Refusal::NotAuthorized);
        }
        let can_keep = self.can_keep();
        let max = self.options.registrations_max;
        let Some(session) = self.sessions.get(key) else { return Err(Refusal::LimitReached) };
        let is_new = !session.filters.contains_key(&wanted.filter);
        if is_new {
            if session.filters.len() >= max {
                return Err(Refusal::LimitReached);
            }
            self.room_for_registration(key, effects)?;
        }
        // Beside their number their size: a filter may have many levels, each of which takes more than its text.
        if is_new && self.tree.bytes() + Tree::cost(&wanted.filter) > self.options.filters_bytes {
            return Err(Refusal::LimitReached);
        }
        let Some(session) = self.sessions.get_mut(key) else { return Err(Refusal::LimitReached) };
        if let Some(follower) = session.follower.as_deref_mut() {
            let known = session.filters.get(&wanted.filter).map(|known| known.number).filter(|number| *number > 0);
            wanted.number = known.unwrap_or_else(|| follower.number());
            if session.filters.get(&wanted.filter) == Some(&wanted) {
                return Ok(wanted.qos);
            }
        }
        if session.kept.is_some() && !can_keep {
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
        if wanted.number > 0 {
            self.follow(key, &wanted, is_new, effects);
        }
        if let (true, Some(session)) = (backfill, self.sessions.get_mut(key)) {
            session.backfill.retain(|fill| fill.subscription.filter != wanted.filter);
            session.backfill.push_back(Backfill { subscription: wanted, after: None });
        }
        Ok(qos)
    }

    /// A named component has another subscription, or wants another part of the past from one.
    fn follow(&mut self, key: SessionKey, wanted: &Subscription, is_new: bool, effects: &mut Vec<Effect>) {
        let last = self.last;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(follower) = session.follower.as_deref_mut() else { return };
        let position = if session.reactive { follower.position(last) } else { Seq(0) };
        let Some(line) = follower.lines.get_mut(&wanted.number) else { return };
        match (wanted.past, is_new) {
            (Past::Nothing, true) => {
                line.trail.skip_to(last);
                self.renew_interest(key);
            }
            (Past::Nothing, false) => {}
            (Past::Window(_) | Past::Unseen, _) => {
                if !is_new {
                    line.trail.look_back(position);
                }
                self.resume_one(key, wanted.number, effects);
            }
        }
        self.note_progress_of(key);
    }

    /// After a reconnect: what is stored of the subscription stays.
    pub(super) fn subscribe_again(
        &mut self,
        link: LinkId,
        key: SessionKey,
        topic: String,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let mut wanted = Subscription::rembus(topic);
        if let Some(known) = self.sessions.get(key).and_then(|session| session.filters.get(&wanted.filter)) {
            wanted.past = known.past;
        }
        self.subscribe(link, key, wanted, effects).map(drop)
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
                let target = Target::of(key, wanted, pattern);
                self.tree.insert(plain, target.clone());
                if let Some(follower) = self.follower(key).filter(|_| wanted.number > 0) {
                    follower.last_number = follower.last_number.max(wanted.number);
                    let line = Line { filter: plain.clone(), target, trail: Trail::new(wanted.past, Seq(0)) };
                    follower.lines.entry(wanted.number).or_insert(line).trail.past = wanted.past;
                }
            }
        }
        if let Some(session) = self.sessions.get_mut(key) {
            let is_new = session.filters.insert(wanted.filter.clone(), wanted.clone()).is_none();
            if is_new {
                self.accounts.add(session.account, Resource::Registrations, 1);
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, key: SessionKey, filter: &Filter, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if !session.filters.contains_key(filter) {
            return false;
        }
        let kept = session.kept;
        session.backfill.retain(|fill| fill.subscription.filter != *filter);
        let orphans = self.unregister(key, filter).map(|group| self.take_back(key, group)).unwrap_or_default();
        if let Some(id) = kept {
            self.note(Change::Unsubscribe { id, filter: filter.clone() });
        }
        self.adopt(orphans, effects);
        true
    }

    /// Takes a subscription out. Returns the group that the session was in for it.
    pub(super) fn unregister(&mut self, key: SessionKey, filter: &Filter) -> Option<GroupKey> {
        if let Some(session) = self.sessions.get_mut(key)
            && let Some(ended) = session.filters.remove(filter)
        {
            self.accounts.sub(session.account, Resource::Registrations, 1);
            if let Some(follower) = session.follower.as_deref_mut() {
                follower.lines.remove(&ended.number);
            }
        }
        let Filter::Shared { group: name, filter } = filter else {
            self.tree.remove(filter, Dest::Session(key));
            return None;
        };
        let (group, ended) = self.groups.leave(name, filter, key)?;
        if ended {
            self.tree.remove(&Filter::Mqtt(filter.clone()), Dest::Group(group));
        }
        Some(group)
    }

    /// The session is about to end: nobody has to wait until thousands of its filters are gone.
    pub(super) fn unregister_later(&mut self, key: SessionKey, filter: Filter) {
        if self.tree.remove_later(filter, Dest::Session(key)) {
            self.timers.set(self.now.mono.plus(PAUSE), Timer::Filters);
        }
    }

    /// Takes out some of what sessions left behind that are gone.
    pub(super) fn let_filters_go(&mut self) {
        if self.tree.let_some_go() {
            self.timers.set(self.now.mono.plus(PAUSE), Timer::Filters);
        }
    }

    pub(super) fn expose(
        &mut self,
        link: LinkId,
        key: SessionKey,
        method: String,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if !self.options.names.allow(&method) {
            return Err(Refusal::NameTooLong);
        }
        if self.is_reserved(&method) {
            return Err(Refusal::Reserved);
        }
        if !self.may(link, Action::Expose, &method) {
            return Err(Refusal::NotAuthorized);
        }
        let (max, can_keep) = (self.options.registrations_max, self.can_keep());
        let Some(session) = self.sessions.get(key) else { return Err(Refusal::LimitReached) };
        if session.exposed.contains(&method) {
            return Ok(());
        }
        if session.exposed.len() >= max {
            return Err(Refusal::LimitReached);
        }
        if session.kept.is_some() && !can_keep {
            return Err(Refusal::DiskFull);
        }
        self.room_for_registration(key, effects)?;
        let Some(session) = self.sessions.get_mut(key) else { return Err(Refusal::LimitReached) };
        let kept = session.kept;
        session.exposed.insert(method.clone());
        self.accounts.add(session.account, Resource::Registrations, 1);
        self.services.expose(&method, key);
        self.tell_watchers([&method], effects);
        if let Some(id) = kept {
            self.note(Change::Expose { id, method });
        }
        Ok(())
    }

    pub(super) fn unexpose(&mut self, key: SessionKey, method: String, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let kept = session.kept;
        if session.exposed.remove(&method) {
            self.accounts.sub(session.account, Resource::Registrations, 1);
            self.services.unexpose(&method, key);
            self.tell_watchers([&method], effects);
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
            number: 0,
            past: Past::Nothing,
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
            past: Past::Nothing,
            number: 0,
        }
    }
}
