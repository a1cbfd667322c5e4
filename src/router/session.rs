//! A session: what the gateway remembers of a peer, whatever it speaks. An MQTT client's session and a Rembus twin are one.

use super::accounts::{AccountKey, Presence};
use super::event::{CallId, Expiry, Filter, LinkId, Subscription, Token, Will};
use super::outgoing::Outgoing;
use super::replay::Follower;
use super::timers::Timer;
use crate::access::Identity;
use crate::clock::{Mono, Wall};
use crate::message::{Dialect, Message};
use ahash::{AHashMap, AHashSet};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// An unreleased QoS 2 id is forgotten after this; a Rembus client stops after 22 s.
pub(super) const UNRELEASED_AGE_MAX: Duration = Duration::from_secs(3600);

/// Where a session is kept. The generation makes a key that outlived its session miss instead of hitting the slot's next user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionKey {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What the log calls a session. Never used twice on one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub(super) struct SessionId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Session {
    /// Set if the session may outlive the process: its changes go into the log.
    pub(super) kept: Option<SessionId>,
    pub(super) dialect: Dialect,
    pub(super) name: Arc<str>,
    /// An anonymous session ends with its link and cannot be addressed.
    pub(super) named: bool,
    pub(super) identity: Identity,
    /// Whose part of everything it takes.
    pub(super) account: AccountKey,
    /// Its place among the sessions of this account.
    pub(super) order: u64,
    /// Fixed by the name: publications, calls and direct calls stay within it.
    pub(super) tenant: Arc<str>,
    pub(super) link: Option<LinkId>,
    /// Takes publications now. MQTT always does; a Rembus component says when (`reactive`).
    pub(super) reactive: bool,
    pub(super) expiry: Expiry,
    /// When the link went, if it did.
    pub(super) left: Option<Wall>,
    /// How often the session was left; a timer set at an earlier end of a link finds another number and does nothing.
    pub(super) leavings: u32,
    /// Timers that were set when it was left.
    pub(super) timers: Vec<(Mono, Timer)>,
    /// Deliveries wait for the answer to [`Attach`](super::event::Attach).
    pub(super) waits_for_answer: bool,
    pub(super) will: Option<Box<Will>>,
    pub(super) filters: BTreeMap<Filter, Subscription>,
    /// busrt: what it does not want although it is subscribed.
    pub(super) exclusions: BTreeSet<Filter>,
    /// Subscriptions that still have retained messages to come.
    pub(super) backfill: VecDeque<Backfill>,
    /// The search for them goes on in a moment, after others had their turn.
    pub(super) pauses_backfill: bool,
    pub(super) exposed: BTreeSet<String>,
    pub(super) out: Outgoing,
    /// QoS 2 publications that were accepted and not released yet; a repetition of one is answered and not routed again.
    pub(super) unreleased: AHashMap<Token, Mono>,
    /// Calls this session is serving.
    pub(super) serving: AHashSet<CallId>,
    /// The largest packet that its peer takes.
    pub(super) packet_max: u32,
    pub(super) resend_after: Option<Duration>,
    /// How far the subscriptions of a named component have come.
    pub(super) follower: Option<Box<Follower>>,
}

/// Retained messages on their way to a new subscription, some at a time.
#[derive(Debug)]
pub(super) struct Backfill {
    pub(super) subscription: Subscription,
    /// The last topic that was sent.
    pub(super) after: Option<Arc<str>>,
}

impl Session {
    /// QoS 1 and 2 deliveries wait for the peer while it is away. A Rembus component asks for what it missed instead.
    pub(super) fn keeps_queue(&self) -> bool {
        self.kept.is_some() && self.dialect == Dialect::Mqtt
    }

    /// Whether this session may see that message, live or out of the log: it is of its tenant, and the policy lets it have the
    /// topic, private ones included. Everything that hands messages to sessions asks here.
    pub(super) fn may_see(&self, message: &Message) -> bool {
        *self.tenant == *message.tenant() && self.identity.may_receive(&message.topic)
    }

    /// Whether it published this message.
    pub(super) fn wrote(&self, message: &Message) -> bool {
        self.dialect == message.dialect && *self.name == *message.publisher
    }

    /// Filters, exclusions and methods.
    pub(super) fn registrations(&self) -> usize {
        self.filters.len() + self.exclusions.len() + self.exposed.len()
    }

    pub(super) fn will_weight(&self) -> usize {
        self.will.as_ref().map_or(0, |will| will.message.weight())
    }

    pub(super) fn presence(&self) -> Presence {
        if self.link.is_some() { Presence::Online } else { Presence::Offline }
    }

    pub(super) fn has_registrations(&self) -> bool {
        !(self.filters.is_empty() && self.exposed.is_empty() && self.unreleased.is_empty())
    }

    /// How much longer a component that is not there is remembered, if not for ever: without subscriptions and methods only as
    /// long as its QoS 2 ids.
    pub(super) fn memory_left(&self, alone: Duration) -> Option<Duration> {
        if !(self.filters.is_empty() && self.exposed.is_empty()) {
            return None;
        }
        let rest = if self.unreleased.is_empty() { Duration::ZERO } else { UNRELEASED_AGE_MAX };
        Some(rest.saturating_sub(alone))
    }
}

/// Sessions by key and by name.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: slab::Slab<(u32, Session)>,
    /// Generation for the next session; never repeats within four billion sessions.
    generation: u32,
    names: AHashMap<(Dialect, Arc<str>), SessionKey>,
}

impl Sessions {
    pub(super) fn insert(&mut self, session: Session) -> SessionKey {
        self.generation = self.generation.wrapping_add(1);
        let name = session.named.then(|| (session.dialect, Arc::clone(&session.name)));
        let slot = self.slots.insert((self.generation, session));
        let slot = u32::try_from(slot).expect("sessions are bounded far below 2^32");
        let key = SessionKey { slot, generation: self.generation };
        if let Some(name) = name {
            let twin = self.names.insert(name, key);
            assert!(twin.is_none(), "a name has one session");
        }
        key
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.slots.get(key.slot as usize).filter(|(generation, _)| *generation == key.generation).map(|(_, session)| session)
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.slots
            .get_mut(key.slot as usize)
            .filter(|(generation, _)| *generation == key.generation)
            .map(|(_, session)| session)
    }

    pub(super) fn by_name(&self, dialect: Dialect, name: &str) -> Option<SessionKey> {
        // A borrowed pair cannot be looked up without an allocation; attaching is rare.
        self.names.get(&(dialect, Arc::from(name))).copied()
    }

    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        self.get(key)?;
        let (_, session) = self.slots.remove(key.slot as usize);
        if session.named {
            self.names.remove(&(session.dialect, Arc::clone(&session.name)));
        }
        Some(session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.slots.iter().map(|(slot, (generation, session))| {
            let slot = u32::try_from(slot).expect("sessions are bounded far below 2^32");
            (SessionKey { slot, generation: *generation }, session)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
