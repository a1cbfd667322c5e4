//! From the records of a snapshot and of the log to the state they describe.

use super::{Change, Copy, Pending, Route};
use crate::clock::{Mono, Wall};
use crate::message::{self, Dialect, Message, RecordError, Seq, kind};
use crate::router::accounts::{Owner, Resource};
use crate::router::core::Router;
use crate::router::event::{Delivery, DeliveryId, Expiry, Now, Token};
use crate::router::outgoing::Parcel;
use crate::router::publish::{elapsed, stored_deadline};
use crate::router::session::{Backfill, SessionId, SessionKey};
use crate::router::timers::Timer;
use ahash::AHashMap;
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A record that says nothing this gateway understands.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Message(#[from] RecordError),
    #[error("a state record cannot be read: {0}")]
    State(#[from] ciborium::de::Error<std::io::Error>),
}

/// Feeds records to a router that has not begun.
#[derive(Debug)]
pub struct Restorer<'a> {
    router: &'a mut Router,
    now: Now,
    sessions: AHashMap<SessionId, SessionKey>,
    /// Since when each session is alone, as far as the records say; absent while it has a link.
    left: AHashMap<SessionId, Wall>,
    set_aside: u64,
}

/// So many things that are set aside are told one by one.
const TOLD_MAX: u64 = 20;
/// Of a name that is too long, so much is told.
const EXCERPT: usize = 80;

impl<'a> Restorer<'a> {
    pub fn new(router: &'a mut Router, now: Now) -> Self {
        router.now = now;
        Self { router, now, sessions: AHashMap::new(), left: AHashMap::new(), set_aside: 0 }
    }

    /// Takes the next record, in the order in which they were written.
    pub fn take(&mut self, seq: Seq, kind: u8, body: &Bytes) -> Result<(), RestoreError> {
        match kind {
            kind::MESSAGE | kind::CONVERSATION if !message::concerns_state(body) => {}
            kind::MESSAGE | kind::CONVERSATION | kind::COPY => {
                let (message, route) = message::decode_routed(body)?;
                let message = Arc::new(message);
                let route: Route = if route.is_empty() { Route::default() } else { ciborium::from_reader(route.as_ref())? };
                if kind != kind::COPY && message.retain {
                    let deadline = stored_deadline(&message, self.now);
                    let owner = Owner::from_text(route.owner.as_deref());
                    // What did not fit then does not fit now; it was counted then.
                    self.router.retain(owner, &message, deadline).ok();
                }
                self.route(seq, &message, route);
            }
            kind::STATE => {
                let changes: Vec<Change> = ciborium::from_reader(body.as_ref())?;
                changes.into_iter().for_each(|change| self.change(seq, change));
            }
            _ => {}
        }
        Ok(())
    }

    /// All records are in. What has expired meanwhile ends with the first tick.
    pub fn finish(self) {
        let Self { router, now, sessions, left, set_aside } = self;
        if set_aside > 0 {
            log::warn!(set_aside; "stored sessions, subscriptions or methods have names beyond the limits and were not taken back");
        }
        router.counters.set_aside += set_aside;
        let mut sessions: Vec<_> = sessions.into_iter().collect();
        // Whose turn it is to give way goes by who was left first; those that had a link come last.
        sessions.sort_by_key(|(id, _)| (left.get(id).map_or(u64::MAX, |wall| wall.0), *id));
        for (id, key) in sessions {
            router.set_presence(key, None);
            let Some(session) = router.sessions.get_mut(key) else { continue };
            let alone = left.get(&id).map_or(Duration::ZERO, |since| elapsed(*since, now.wall));
            session.left = Some(left.get(&id).copied().unwrap_or(now.wall));
            let rest = match session.expiry {
                Expiry::WithLink => Some(Duration::ZERO),
                Expiry::Never if session.dialect == Dialect::Mqtt => None,
                Expiry::Never => session.memory_left(alone),
                Expiry::After(seconds) => Some(Duration::from_secs(seconds.into()).saturating_sub(alone)),
            };
            if let (None, Some(follower)) = (left.get(&id), session.follower.as_deref_mut()) {
                let last = router.last;
                follower.lines.values_mut().for_each(|line| line.trail.restore_cut_off(last));
            }
            if let Some(rest) = rest {
                session.leavings += 1;
                let timer = Timer::Session(key, session.leavings);
                router.set_session_timer(key, now.mono.plus(rest), timer);
            }
            router.next_session = SessionId(router.next_session.0.max(id.0 + 1));
        }
        router.recount();
        router.expire_retained();
        // What ended in an earlier life is in the log already.
        router.pending = Pending::default();
    }

    /// Earlier releases took names that this one does not, and the operator may have changed `max_topic`. The rest of the
    /// session is taken back; without its name nobody could ever come for it.
    fn is_set_aside(&mut self, change: &Change) -> bool {
        let names = self.router.options.names;
        let (id, what, text) = match change {
            Change::Open { id, name, .. } if !names.allow(name) => (id, "a session", name.as_str()),
            Change::Subscribe { id, subscription, .. } if !names.allow_filter(&subscription.filter) => {
                (id, "a subscription", subscription.filter.pattern())
            }
            Change::Expose { id, method } if !names.allow(method) => (id, "a method", method.as_str()),
            _ => return false,
        };
        self.set_aside += 1;
        if self.set_aside <= TOLD_MAX {
            let session = self.sessions.get(id).and_then(|key| self.router.sessions.get(*key)).map(|session| &*session.name);
            let begins = text.char_indices().nth(EXCERPT).map_or(text, |(end, _)| text.get(..end).unwrap_or_default());
            log::warn!(
                what, begins, bytes = text.len(), levels = text.split('/').count(), session = session.unwrap_or_default();
                "what was stored has a name beyond the limits and is not taken back"
            );
        }
        true
    }

    fn change(&mut self, seq: Seq, change: Change) {
        if self.is_set_aside(&change) {
            return;
        }
        match change {
            Change::Open { id, dialect, name, user, address, expiry, last_id } => {
                self.router.next_session = SessionId(self.router.next_session.0.max(id.0 + 1));
                let account = self.router.accounts.hold(stored_owner(user.as_deref(), address));
                let mut session = self.router.new_session(dialect, name.into(), true, None, account);
                session.kept = Some(id);
                session.expiry = expiry;
                session.identity = self.router.options.identity_of(dialect, user.as_deref(), &session.name);
                session.out = self.router.new_queue(dialect, true, u16::MAX);
                session.follower = (dialect == Dialect::Rembus).then(Box::default);
                session.out.set_last_id(last_id);
                // One that should have ended: the record of its end was lost with the power.
                if let Some(twin) = self.router.sessions.by_name(dialect, &session.name) {
                    self.end(twin);
                }
                let key = self.router.admit(session);
                self.sessions.insert(id, key);
            }
            Change::Attach { id, expiry, user, address } => {
                self.left.remove(&id);
                let Some(key) = self.sessions.get(&id).copied() else { return };
                let Some(known) = self.router.sessions.get(key) else { return };
                let identity = self.router.options.identity_of(known.dialect, user.as_deref(), &known.name);
                self.router.set_owner(key, stored_owner(user.as_deref(), address));
                self.with(id, |_, session| {
                    session.identity = identity;
                    session.expiry = expiry;
                    session.out.restore_sent();
                });
            }
            Change::Leave { id, expiry, wall } => {
                self.left.insert(id, Wall(wall));
                self.with(id, |_, session| session.expiry = expiry);
            }
            Change::End { id } => {
                if let Some(key) = self.sessions.remove(&id) {
                    self.end(key);
                }
            }
            Change::Subscribe { id, subscription, backfill } => {
                let Some(key) = self.sessions.get(&id).copied() else { return };
                self.router.register(key, &subscription);
                if let (true, Some(session)) = (backfill, self.router.sessions.get_mut(key)) {
                    session.backfill.push_back(Backfill { subscription, after: None });
                }
            }
            Change::Backfilled { id, filter } => {
                self.with(id, |_, session| session.backfill.retain(|fill| fill.subscription.filter != filter));
            }
            Change::Unsubscribe { id, filter } => {
                if let Some(key) = self.sessions.get(&id).copied() {
                    // What others of its group got instead has records of its own.
                    self.router.unregister(key, &filter);
                }
            }
            Change::Seen { id, number, progress } => self.with(id, |_, session| {
                let line = session.follower.as_deref_mut().and_then(|follower| follower.lines.get_mut(&number));
                if let Some(line) = line {
                    line.trail.restore(progress);
                }
            }),
            Change::Passed { id, upto } => self.with(id, |_, session| {
                let lines = session.follower.as_deref_mut().map(|follower| follower.lines.values_mut());
                lines.into_iter().flatten().for_each(|line| line.trail.restore_left(upto));
            }),
            // An earlier release may have let it.
            Change::Expose { method, .. } if self.router.is_reserved(&method) => {}
            Change::Expose { id, method } => {
                if let Some(key) = self.sessions.get(&id).copied() {
                    self.router.services.expose(&method, key);
                    if let Some(session) = self.router.sessions.get_mut(key)
                        && session.exposed.insert(method)
                    {
                        self.router.accounts.add(session.account, Resource::Registrations, 1);
                    }
                }
            }
            Change::Unexpose { id, method } => {
                if let Some(key) = self.sessions.get(&id).copied() {
                    self.router.services.unexpose(&method, key);
                    if let Some(session) = self.router.sessions.get_mut(key)
                        && session.exposed.remove(&method)
                    {
                        self.router.accounts.sub(session.account, Resource::Registrations, 1);
                    }
                }
            }
            Change::Accept { id, token } => {
                let now = self.now.mono;
                self.with(id, |_, session| session.unreleased.insert(Token(token), now));
            }
            Change::Release { id, token } => {
                self.with(id, |_, session| session.unreleased.remove(&Token(token)));
            }
            Change::Retained { id, topic, delivery } => {
                if let Some(retained) = self.router.retained.get(&topic).cloned() {
                    self.queue(id, seq, &retained.message, delivery, retained.deadline);
                }
            }
            Change::Unretain { topics } => {
                let router = &mut *self.router;
                topics.iter().for_each(|topic| router.retained.remove(topic, &mut router.accounts));
            }
            Change::Received { id, deliveries } => self.with(id, |_, session| {
                for delivery in deliveries.into_iter().map(DeliveryId) {
                    if !session.out.restore_received(delivery) {
                        session.out.restore_release(delivery);
                    }
                }
            }),
            Change::Done { id, deliveries } => self.with(id, |_, session| {
                for delivery in deliveries {
                    session.out.restore_done(DeliveryId(delivery));
                }
            }),
        }
    }

    /// What it had left was counted, or handed on, in the life in which it ended.
    fn end(&mut self, key: SessionKey) {
        if let Some(session) = self.router.sessions.get_mut(key) {
            session.out.clear();
        }
        self.router.end_session(key, &mut Vec::new());
    }

    fn with<T>(&mut self, id: SessionId, change: impl FnOnce(SessionKey, &mut crate::router::session::Session) -> T) {
        if let Some(key) = self.sessions.get(&id).copied()
            && let Some(session) = self.router.sessions.get_mut(key)
        {
            change(key, session);
        }
    }

    fn route(&mut self, seq: Seq, message: &Arc<Message>, route: Route) {
        let now = self.now.mono;
        if let Some((id, token)) = route.from {
            self.with(id, |_, session| session.unreleased.insert(Token(token), now));
        }
        let deadline = stored_deadline(message, self.now);
        for (id, copy) in route.to {
            self.queue(id, seq, message, copy, deadline);
        }
    }

    fn queue(&mut self, id: SessionId, seq: Seq, message: &Arc<Message>, copy: Copy, deadline: Option<Mono>) {
        let share = copy.share.and_then(|(group, filter)| self.router.groups.key(&group, &filter));
        let delivery = Delivery {
            message: Arc::clone(message),
            qos: copy.qos,
            id: Some(DeliveryId(copy.delivery)),
            dup: copy.sent,
            retain: copy.retain,
            pattern: None,
            identifiers: copy.identifiers,
            expiry_s: None,
            author: None,
        };
        let parcel = Parcel { delivery, deadline, seq, after: Seq(0), share, line: None };
        self.with(id, |_, session| session.out.restore(parcel));
    }
}

/// Whose session it is, as it is written down. Without a word of that it is nobody's until its client is back.
fn stored_owner(user: Option<&str>, address: Option<IpAddr>) -> Owner {
    match user {
        Some(user) => Owner::User(user.into()),
        None => Owner::Address(address),
    }
}
