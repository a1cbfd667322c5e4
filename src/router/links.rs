//! Links come and go; sessions get a link, lose it, and end.

use super::accounts::{AccountKey, Resource};
use super::core::{Held, Link, Router};
use super::event::{
    Attach, CloseReason, Closed, Effect, Expiry, Filter, LinkId, LinkInfo, OnConflict, Outbound, Refusal, Will,
};
use super::outgoing::Outgoing;
use super::ownership::owner_of;
use super::session::{Session, SessionId, SessionKey};
use super::state::Change;
use super::timers::Timer;
use super::tree::{AT_ONCE, Dest};
use crate::access::Identity;
use crate::message::{COMMON, Dialect};
use ahash::{AHashMap, AHashSet};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

impl Router {
    pub(super) fn opened(&mut self, link: LinkId, info: LinkInfo) {
        // A part of the gateway is no connection.
        if info.dialect != Dialect::Internal {
            *self.counters.connections.entry(info.dialect.name()).or_default() += 1;
            let open = self.counters.connections.values().sum();
            self.counters.connections_max = self.counters.connections_max.max(open);
        }
        // A Rembus component and a part of the gateway may do everything without a name; MQTT starts with CONNECT.
        let session = (info.dialect != Dialect::Mqtt).then(|| {
            let name = format!("~{}", link.0).into();
            let account = self.accounts.hold(owner_of(info.dialect, &info.identity, info.peer));
            let mut session = self.new_session(info.dialect, name, false, Some(link), account);
            session.identity = info.identity.clone();
            self.admit(session)
        });
        let known = self.links.insert(link, Link { info, session, no_room: None });
        assert!(known.is_none(), "a link number is never used twice");
    }

    pub(super) fn new_session(
        &self,
        dialect: Dialect,
        name: Arc<str>,
        named: bool,
        link: Option<LinkId>,
        account: AccountKey,
    ) -> Session {
        Session {
            account,
            order: 0,
            kept: None,
            dialect,
            tenant: if named { dialect.tenant_of(&name) } else { COMMON }.into(),
            name,
            named,
            identity: Identity::default(),
            link,
            reactive: dialect != Dialect::Rembus,
            expiry: Expiry::WithLink,
            left: None,
            leavings: 0,
            timers: Vec::new(),
            waits_for_answer: false,
            will: None,
            filters: BTreeMap::new(),
            exclusions: BTreeSet::new(),
            backfill: VecDeque::new(),
            pauses_backfill: false,
            exposed: BTreeSet::new(),
            out: self.new_queue(dialect, false, u16::MAX),
            unreleased: AHashMap::new(),
            serving: AHashSet::new(),
            packet_max: u32::MAX,
            resend_after: None,
            follower: None,
        }
    }

    pub(super) fn new_queue(&self, dialect: Dialect, kept: bool, receive_max: u16) -> Outgoing {
        let id_max = if dialect == Dialect::Mqtt { u32::from(u16::MAX) } else { u32::MAX };
        Outgoing::new(self.options.queue, window(receive_max), id_max, kept && dialect == Dialect::Mqtt)
    }

    pub(super) fn attach(&mut self, link: LinkId, attach: Attach, effects: &mut Vec<Effect>) {
        let Some(known) = self.links.get(&link) else { return };
        let dialect = known.info.dialect;
        let owner = owner_of(dialect, &attach.identity, known.info.peer);
        let anonymous = known.session;
        let refusal = if anonymous.and_then(|key| self.sessions.get(key)).is_some_and(|session| session.named) {
            Some(Refusal::AlreadyNamed)
        } else if attach.name.is_empty() && dialect != Dialect::Mqtt {
            Some(Refusal::NameInvalid)
        } else if !self.options.names.allow(&attach.name) {
            Some(Refusal::NameTooLong)
        } else if attach.will.as_ref().is_some_and(|will| !self.options.names.allow(&will.message.topic)) {
            Some(Refusal::TopicTooLong)
        } else if !attach.identity.is_valid() {
            // The user was removed since he logged in.
            Some(Refusal::NotAuthorized)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.refuse_link(link, refusal, effects);
        }
        let name: Arc<str> =
            if attach.name.is_empty() { self.assign_name(dialect).into() } else { attach.name.as_str().into() };
        let mut orphaned = false;
        let earlier = self.sessions.by_name(dialect, &name);
        if let Some(session) = earlier.and_then(|key| self.sessions.get(key)) {
            // A session belongs to its user, also if another has its name in his client id.
            let owner = session.identity.user.as_deref();
            if !attach.identity.may_take_up(owner) {
                return self.refuse_link(link, Refusal::NotAuthorized, effects);
            }
            orphaned = owner.is_some() && owner != attach.identity.user.as_deref();
            if let Some(older) = session.link {
                match attach.on_conflict {
                    OnConflict::Refuse => return self.claim(link, attach, older, effects),
                    OnConflict::TakeOver => self.close(older, CloseReason::TakenOver, effects),
                }
            }
        }
        // Closing the older link may have ended its session.
        let earlier = self.sessions.by_name(dialect, &name);
        let stays = attach.expiry > Expiry::WithLink || dialect == Dialect::Rembus;
        let is_its_own =
            |key: SessionKey| self.sessions.get(key).is_some_and(|session| *self.accounts.owner(session.account) == owner);
        let full = match earlier {
            // It has its place already.
            Some(key) if is_its_own(key) => None,
            Some(_) | None => self.room_for_session(&owner, effects).err(),
        };
        let had = earlier.and_then(|key| self.sessions.get(key)).map_or(0, Session::will_weight);
        let more = attach.will.as_ref().map_or(0, |will| will.message.weight()).saturating_sub(had);
        let full = full.or_else(|| self.room_for_will(&owner, more, effects).err());
        // The one of this name may have given way.
        let earlier = self.sessions.by_name(dialect, &name);
        let refusal = if full.is_some() {
            full
        } else if dialect == Dialect::Mqtt && stays && (earlier.is_none() || attach.clean) && !self.can_keep() {
            // It could not be promised.
            Some(Refusal::DiskFull)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.refuse_link(link, refusal, effects);
        }
        if let Some(anonymous) = anonymous {
            // What an anonymous link registered before it gave its name ends here.
            self.end_session(anonymous, effects);
        }
        let ended = (attach.clean && dialect == Dialect::Mqtt || orphaned) && earlier.is_some();
        let earlier = match earlier {
            // [MQTT-3.1.2-4]; and what a user left behind who is gone is nobody else's.
            Some(key) if ended => {
                self.end_session(key, effects);
                None
            }
            earlier => earlier,
        };
        let key = match earlier {
            Some(key) => key,
            None => {
                let account = self.accounts.hold(owner.clone());
                let mut session = self.new_session(dialect, Arc::clone(&name), true, Some(link), account);
                session.identity = attach.identity.clone();
                if stays {
                    self.keep(&mut session, attach.expiry);
                }
                session.out = self.new_queue(dialect, session.kept.is_some(), attach.receive_max);
                self.admit(session)
            }
        };
        if let Some(known) = self.links.get_mut(&link) {
            known.session = Some(key);
            known.info.identity = attach.identity.clone();
        }
        self.set_owner(key, owner);
        self.take_session(key, link, attach);
        self.tell_watchers_of(key, effects);
        let out = Outbound::Attached { session_present: earlier.is_some(), name };
        if dialect == Dialect::Mqtt && (earlier.is_none() || ended) {
            // That the old one is forgotten and the new one is not is a promise.
            self.say_when_kept(link, key, out, effects);
        } else {
            effects.push(Effect::Send { link, out });
        }
        // What was under way goes out again, behind the answer.
        if self.keeps_queue(key) {
            self.after_changes(Held::Pump(key), effects);
        }
    }

    /// Its changes go into the log from now on.
    fn keep(&mut self, session: &mut Session, expiry: Expiry) {
        let id = self.next_session;
        self.next_session = SessionId(id.0 + 1);
        session.kept = Some(id);
        session.follower = (session.dialect == Dialect::Rembus).then(Box::default);
        self.note(Change::Open {
            id,
            dialect: session.dialect,
            name: session.name.to_string(),
            user: session.identity.user.as_deref().map(str::to_owned),
            address: self.accounts.owner(session.account).address(),
            expiry,
            last_id: 0,
        });
    }

    fn take_session(&mut self, key: SessionKey, link: LinkId, attach: Attach) {
        self.set_presence(key, Some(link));
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.identity = attach.identity;
        session.reactive = session.dialect != Dialect::Rembus;
        session.packet_max = attach.packet_max;
        session.resend_after = attach.resend_after;
        session.expiry = attach.expiry;
        session.left = None;
        session.leavings += 1;
        session.out.set_window(window(attach.receive_max));
        session.waits_for_answer = session.keeps_queue();
        if let Some(id) = session.kept {
            let user = session.identity.user.as_deref().map(str::to_owned);
            let address = self.accounts.owner(session.account).address();
            self.note(Change::Attach { id, expiry: attach.expiry, user, address });
        }
        // A will that was still waiting is not sent: its author is back [MQTT-3.1.3-9].
        drop(self.set_will(key, attach.will));
    }

    fn refuse_link(&mut self, link: LinkId, refusal: Refusal, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send { link, out: Outbound::Refused(refusal) });
    }

    /// A client id for a client that left it to us; never one that is taken.
    fn assign_name(&mut self, dialect: Dialect) -> String {
        loop {
            self.assigned += 1;
            let name = format!("auto-{}-{}", self.options.name, self.assigned);
            if self.sessions.by_name(dialect, &name).is_none() {
                return name;
            }
        }
    }

    /// Ends a link from our side; the door says so to the peer.
    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send { link, out: Outbound::Close(reason) });
        self.closed(link, Closed::Lost, effects);
    }

    pub(super) fn closed(&mut self, link: LinkId, reason: Closed, effects: &mut Vec<Effect>) {
        let Some(known) = self.links.remove(&link) else { return };
        if let Some(open) = self.counters.connections.get_mut(known.info.dialect.name()) {
            *open -= 1;
        }
        effects.push(Effect::Drop { link });
        self.abandon_calls_of(link, effects);
        self.leave(link, known.session, reason, effects);
        // Whoever waited for the name may have it now.
        for (newcomer, attach) in self.claims.remove(&link).unwrap_or_default() {
            self.attach(newcomer, attach, effects);
        }
    }

    /// What the end of a link means for its session.
    fn leave(&mut self, link: LinkId, session: Option<SessionKey>, reason: Closed, effects: &mut Vec<Effect>) {
        let Some(key) = session else { return };
        let now = self.now;
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.link != Some(link) {
            return;
        }
        let dialect = session.dialect;
        self.set_presence(key, None);
        if dialect == Dialect::Rembus {
            self.lose_track(key, effects);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.left = Some(now.wall);
        session.leavings += 1;
        if reason == Closed::Orderly {
            // [MQTT-3.1.2-10]
            drop(self.set_will(key, None));
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let stays = match session.dialect {
            Dialect::Mqtt => session.expiry > Expiry::WithLink,
            // A named component finds its registrations again.
            Dialect::Rembus => session.named && session.has_registrations(),
            // Nothing waits for a program that is gone (busrt.md 4).
            Dialect::Bus | Dialect::Internal => false,
        };
        let before = session.out.queue_bytes();
        // What a group gave goes to others, even if the session ends.
        let shares = session.filters.keys().any(|filter| matches!(filter, Filter::Shared { .. }));
        let waits = shares || (session.keeps_queue() && stays);
        let mut left = if waits { session.out.suspend() } else { session.out.clear() };
        if !stays {
            left.stored = 0;
        }
        let after = session.out.queue_bytes();
        self.accounts.queue_moved(session.account, key, before, after);
        self.counters.left_over(left, "disconnected");
        self.keep_queues_bounded();
        self.fail_calls_of(key, effects);
        self.tell_watchers_of(key, effects);
        if !stays {
            return self.end_session(key, effects);
        }
        self.note_leaving(key);
        self.set_timers_of_leaving(key, effects);
        self.hand_on(key, effects);
    }

    fn note_leaving(&mut self, key: SessionKey) {
        let wall = self.now.wall.0;
        let Some(session) = self.sessions.get(key) else { return };
        if let Some(id) = session.kept {
            let expiry = session.expiry;
            self.note(Change::Leave { id, expiry, wall });
        }
    }

    fn set_timers_of_leaving(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get(key) else { return };
        let (leaving, expiry) = (session.leavings, session.expiry);
        let memory = session.memory_left(Duration::ZERO).filter(|_| session.dialect == Dialect::Rembus);
        let will = session.will.as_ref().map(|will| will.delay);
        if let Expiry::After(seconds) = expiry {
            self.set_session_timer(key, now.plus(Duration::from_secs(seconds.into())), Timer::Session(key, leaving));
        }
        if let Some(rest) = memory {
            self.set_session_timer(key, now.plus(rest), Timer::Session(key, leaving));
        }
        match will {
            None => {}
            Some(Duration::ZERO) => self.publish_will(key, effects),
            Some(delay) => self.set_session_timer(key, now.plus(delay), Timer::Will(key, leaving)),
        }
    }

    /// A session has been alone as long as it may.
    pub(super) fn session_expired(&mut self, key: SessionKey, leaving: u32, effects: &mut Vec<Effect>) {
        let alone = |session: &&Session| session.link.is_none() && session.leavings == leaving;
        if self.sessions.get(key).filter(alone).is_some() {
            self.counters.sessions_expired += 1;
            self.end_session(key, effects);
        }
    }

    /// Its author has not come back in time.
    pub(super) fn will_due(&mut self, key: SessionKey, leaving: u32, effects: &mut Vec<Effect>) {
        let alone = |session: &&Session| session.link.is_none() && session.leavings == leaving;
        if self.sessions.get(key).filter(alone).is_some() {
            self.publish_will(key, effects);
        }
    }

    fn publish_will(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.will.is_none() {
            return;
        }
        let Some(will) = self.set_will(key, None) else { return };
        let Some(session) = self.sessions.get(key) else { return };
        let Will { mut message, .. } = *will;
        let may = session.identity.may(crate::access::Action::Publish, &message.topic);
        message.received = self.now.wall;
        if may {
            self.publish_own(Some(key), message, effects);
        } else {
            *self.counters.refused.entry(Refusal::NotAuthorized.name()).or_default() += 1;
        }
    }

    pub(super) fn end_session(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        self.end_session_as(key, "disconnected", effects);
    }

    /// `reason` is what becomes of the copies that still wait for it.
    pub(super) fn end_session_as(&mut self, key: SessionKey, reason: &'static str, effects: &mut Vec<Effect>) {
        self.fail_calls_of(key, effects);
        self.end_read(key, effects);
        // A will is due at the end of the session at the latest [MQTT-3.1.2-8].
        self.publish_will(key, effects);
        let Some(session) = self.sessions.get(key) else { return };
        let filters: Vec<_> = session.filters.keys().cloned().collect();
        let kept = session.kept;
        let mut orphans = Vec::new();
        let many = filters.len() > AT_ONCE;
        for filter in filters {
            if many && !matches!(filter, Filter::Shared { .. }) {
                self.unregister_later(key, filter);
            } else if let Some(group) = self.unregister(key, &filter) {
                orphans.extend(self.take_back(key, group));
            }
        }
        self.cancel_session_timers(key);
        let Some(mut session) = self.sessions.remove(key) else { return };
        self.accounts.queue_moved(session.account, key, session.out.queue_bytes(), 0);
        self.counters.left_over(session.out.clear(), reason);
        self.accounts.sub(session.account, Resource::Registrations, session.registrations());
        if session.named {
            self.accounts.sub(session.account, Resource::Sessions, 1);
            self.accounts.leave(session.account, session.presence(), session.order, key);
        }
        self.accounts.release(session.account);
        if session.dialect == Dialect::Internal {
            self.part_ended(key);
        }
        for filter in &session.exclusions {
            self.exclusions.remove(filter, Dest::Session(key));
        }
        for method in &session.exposed {
            self.services.unexpose(method, key);
        }
        self.tell_watchers(session.exposed.iter(), effects);
        if let Some(id) = kept {
            self.note(Change::End { id });
        }
        self.adopt(orphans, effects);
    }
}

/// A window beyond this only moves memory from one queue to the other.
fn window(receive_max: u16) -> usize {
    usize::from(receive_max.clamp(1, 1024))
}
