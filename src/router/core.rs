//! The router's state and what each event does to it. Calls and deliveries have files of their own.

use super::calls::Caller;
use super::event::{
    Attach, CloseReason, Closed, CommandId, Effect, Entry, Event, Inbound, LinkId, LinkInfo, Now, OnConflict, Outbound,
    Refusal, Status, Subscription, Token,
};
use super::gate::AckGate;
use super::outgoing::{Outgoing, QueueLimits};
use super::report::Counters;
use super::services::{Calls, Services};
use super::session::{Session, SessionKey, Sessions};
use super::timers::Timers;
use super::tree::Tree;
use crate::access::Action;
use crate::config::Policy;
use crate::message::{Dialect, Qos, Seq};
use crate::wal::{Health, LogState};
use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// CBOR null, the data of most answers.
pub(super) const NULL: Bytes = Bytes::from_static(&[0xf6]);

/// What an operator can set, and the bounds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Broker name, answered by `rid`.
    pub name: String,
    pub policy: Policy,
    /// How long an exposer may take.
    pub request_timeout: Duration,
    pub queue: QueueLimits,
    /// Sessions kept, offline ones included.
    pub sessions_max: usize,
    /// Filters and exposed methods of one session.
    pub registrations_max: usize,
    /// QoS 2 ids that one session may leave unreleased.
    pub unreleased_max: usize,
    /// Methods that the gateway serves itself through [`Effect::Invoke`].
    pub builtins: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "broker".into(),
            policy: Policy::FirstUp,
            request_timeout: Duration::from_secs(10),
            queue: QueueLimits::default(),
            sessions_max: 50_000,
            registrations_max: 10_000,
            unreleased_max: 10_000,
            builtins: Vec::new(),
        }
    }
}

/// A connection and the session it acts for.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) info: LinkInfo,
    /// An MQTT link has none until it is attached.
    pub(super) session: Option<SessionKey>,
}

/// Answers that wait for the disk.
#[derive(Debug)]
pub(super) enum Held {
    Accepted { link: LinkId, token: Token, qos: Qos },
    Command { id: CommandId, seq: Seq },
}

#[derive(Debug)]
pub struct Router {
    pub(super) options: Options,
    pub(super) builtins: AHashSet<String>,
    pub(super) links: AHashMap<LinkId, Link>,
    pub(super) sessions: Sessions,
    pub(super) tree: Tree,
    pub(super) services: Services,
    pub(super) calls: Calls,
    pub(super) timers: Timers,
    pub(super) gate: AckGate<Held>,
    pub(super) log: LogState,
    pub(super) log_behind: bool,
    /// Newest record handed to the log.
    pub(super) last: Seq,
    pub(super) counters: Counters,
    pub(super) now: Now,
    /// Links whose name others claim, and who waits for the outcome of the probe.
    pub(super) claims: AHashMap<LinkId, Vec<(LinkId, Attach)>>,
    assigned: u64,
}

impl Router {
    /// `log` is the state of the log as it was opened: numbering goes on after it.
    #[must_use]
    pub fn new(options: Options, log: LogState) -> Self {
        let mut builtins: AHashSet<String> = options.builtins.iter().cloned().collect();
        builtins.extend(["rid", "version", "uptime"].map(String::from));
        Self {
            options,
            builtins,
            links: AHashMap::new(),
            sessions: Sessions::default(),
            tree: Tree::default(),
            services: Services::default(),
            calls: Calls::default(),
            timers: Timers::default(),
            gate: AckGate::default(),
            log,
            log_behind: false,
            last: log.written,
            counters: Counters::default(),
            now: Now::default(),
            claims: AHashMap::new(),
            assigned: 0,
        }
    }

    /// Takes an event and says what is to be done about it, in order.
    pub fn handle(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        self.now = now;
        match event {
            Event::Opened { link, info } => self.opened(link, info),
            Event::Link { link, inbound } => self.inbound(link, inbound, effects),
            Event::Log(state) => self.log_moved(state, effects),
            Event::LogBehind(behind) => self.log_behind = behind,
            Event::Answered { call, status, data } => self.builtin_answered(call, status, data, effects),
            Event::Command { id, body } => self.command(id, body, effects),
            Event::Tick => self.tick(effects),
        }
    }

    /// When [`Event::Tick`] is wanted next.
    #[must_use]
    pub fn next_due(&self) -> Option<crate::clock::Mono> {
        self.timers.next_due()
    }

    fn opened(&mut self, link: LinkId, info: LinkInfo) {
        *self.counters.connections.entry(info.dialect.name()).or_default() += 1;
        // A Rembus component may do everything without a name; MQTT starts with CONNECT.
        let session = (info.dialect == Dialect::Rembus).then(|| {
            let name = format!("~{}", link.0).into();
            self.sessions.insert(self.new_session(info.dialect, name, false, Some(link), u16::MAX, None))
        });
        let known = self.links.insert(link, Link { info, session });
        assert!(known.is_none(), "a link number is never used twice");
    }

    fn new_session(
        &self,
        dialect: Dialect,
        name: Arc<str>,
        named: bool,
        link: Option<LinkId>,
        receive_max: u16,
        resend_after: Option<Duration>,
    ) -> Session {
        let id_max = if dialect == Dialect::Mqtt { u32::from(u16::MAX) } else { u32::MAX };
        // A window beyond this only moves memory from one queue to the other.
        let window = usize::from(receive_max.clamp(1, 1024));
        Session {
            dialect,
            name,
            named,
            link,
            reactive: dialect == Dialect::Mqtt,
            filters: BTreeSet::new(),
            exposed: BTreeSet::new(),
            out: Outgoing::new(self.options.queue, window, id_max),
            unreleased: AHashMap::new(),
            serving: AHashSet::new(),
            resend_after,
        }
    }

    fn inbound(&mut self, link: LinkId, inbound: Inbound, effects: &mut Vec<Effect>) {
        // The link may be gone already: closed by a takeover while this was on its way.
        let Some(known) = self.links.get(&link) else { return };
        match inbound {
            Inbound::Attach(attach) => return self.attach(link, attach, effects),
            Inbound::Closed { reason } => return self.closed(link, reason, effects),
            Inbound::Alive => return self.refuse_claims(link, effects),
            _ => {}
        }
        let Some(session) = known.session else {
            // [MQTT-3.1.0-1]: the first packet is CONNECT. The door checks; this is the second lock.
            self.close(link, CloseReason::ProtocolError, effects);
            return;
        };
        match inbound {
            Inbound::Publish { message, token } => self.publish(link, session, message, token, effects),
            Inbound::Release { token } => {
                let known = self.sessions.get_mut(session).is_some_and(|s| s.unreleased.remove(&token).is_some());
                effects.push(Effect::Send { link, out: Outbound::Completed { token, known } });
            }
            Inbound::Delivered { id, stage } => self.delivered(link, session, id, stage, effects),
            Inbound::Written { count } => self.written(session, count, effects),
            Inbound::Unsendable { count } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.out.unsendable(count);
                }
            }
            Inbound::Subscribe { token, filters } => {
                let outcomes = filters.into_iter().map(|wanted| self.subscribe(link, session, wanted)).collect();
                effects.push(Effect::Send { link, out: Outbound::Subscribed { token, outcomes } });
            }
            Inbound::Unsubscribe { token, filters } => {
                let outcomes = filters.iter().map(|filter| self.unsubscribe(session, filter)).collect();
                effects.push(Effect::Send { link, out: Outbound::Unsubscribed { token, outcomes } });
            }
            Inbound::Reactive { token, on } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.reactive = on;
                }
                respond(link, token, Status::OK, NULL, effects);
            }
            Inbound::Expose { token, method } => {
                let status = if self.expose(link, session, method) { Status::OK } else { Status::GENERIC_ERROR };
                respond(link, token, status, NULL, effects);
            }
            Inbound::Unexpose { token, method } => {
                if self.sessions.get_mut(session).is_some_and(|s| s.exposed.remove(&method)) {
                    self.services.unexpose(&method, session);
                }
                respond(link, token, Status::OK, NULL, effects);
            }
            Inbound::Setup { token, exposers, subscribers } => {
                let mut fits = true;
                for method in exposers {
                    fits &= self.expose(link, session, method);
                }
                for topic in subscribers {
                    fits &= self.subscribe(link, session, Subscription::rembus(topic)).is_ok();
                }
                if let Some(session) = self.sessions.get_mut(session) {
                    session.reactive = true;
                }
                respond(link, token, if fits { Status::OK } else { Status::GENERIC_ERROR }, NULL, effects);
            }
            Inbound::Call { token, method, target, data } => {
                self.call(Caller { link, session, token }, &method, target, data, effects);
            }
            Inbound::Return { call, status, data } => self.returned(session, call, status, data, effects),
            Inbound::Attach(_) | Inbound::Alive | Inbound::Closed { .. } => unreachable!("handled above"),
        }
    }

    /// Whether the policy lets the one behind a link do this.
    pub(super) fn may(&self, link: LinkId, action: Action, subject: &str) -> bool {
        self.links.get(&link).is_some_and(|known| known.info.identity.may(action, subject))
    }

    fn attach(&mut self, link: LinkId, attach: Attach, effects: &mut Vec<Effect>) {
        let Some(known) = self.links.get(&link) else { return };
        let dialect = known.info.dialect;
        let anonymous = known.session;
        let refusal = if anonymous.and_then(|key| self.sessions.get(key)).is_some_and(|session| session.named) {
            Some(Refusal::AlreadyNamed)
        } else if attach.name.is_empty() && dialect == Dialect::Rembus {
            Some(Refusal::NameInvalid)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            effects.push(Effect::Send { link, out: Outbound::Refused(refusal) });
            return;
        }
        let name: Arc<str> =
            if attach.name.is_empty() { self.assign_name(dialect).into() } else { attach.name.as_str().into() };
        let earlier = self.sessions.by_name(dialect, &name);
        if let Some(older) = earlier.and_then(|key| self.sessions.get(key)).and_then(|session| session.link) {
            match attach.on_conflict {
                OnConflict::Refuse => return self.claim(link, attach, older, effects),
                OnConflict::TakeOver => self.close(older, CloseReason::TakenOver, effects),
            }
        }
        // Closing the older link may have ended its session.
        let earlier = self.sessions.by_name(dialect, &name);
        if earlier.is_none() && self.sessions.len() >= self.options.sessions_max {
            effects.push(Effect::Send { link, out: Outbound::Refused(Refusal::LimitReached) });
            return;
        }
        if let Some(anonymous) = anonymous {
            // What an anonymous link registered before it gave its name ends here.
            self.end_session(anonymous, effects);
        }
        let key = match earlier {
            Some(key) => {
                let session = self.sessions.get_mut(key).expect("the name was just looked up");
                session.link = Some(link);
                session.reactive = dialect == Dialect::Mqtt;
                session.resend_after = attach.resend_after;
                key
            }
            None => {
                let session =
                    self.new_session(dialect, Arc::clone(&name), true, Some(link), attach.receive_max, attach.resend_after);
                self.sessions.insert(session)
            }
        };
        if let Some(known) = self.links.get_mut(&link) {
            known.session = Some(key);
            known.info.identity = attach.identity;
        }
        // MQTT sessions do not outlive their link yet (issue 3), so none is ever present.
        let session_present = earlier.is_some() && dialect == Dialect::Rembus;
        effects.push(Effect::Send { link, out: Outbound::Attached { session_present, name } });
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

    fn closed(&mut self, link: LinkId, _reason: Closed, effects: &mut Vec<Effect>) {
        let Some(known) = self.links.remove(&link) else { return };
        if let Some(open) = self.counters.connections.get_mut(known.info.dialect.name()) {
            *open -= 1;
        }
        effects.push(Effect::Drop { link });
        self.abandon_calls_of(link, effects);
        self.leave(link, known.session, effects);
        // Whoever waited for the name may have it now.
        for (newcomer, attach) in self.claims.remove(&link).unwrap_or_default() {
            self.attach(newcomer, attach, effects);
        }
    }

    /// What the end of a link means for its session.
    fn leave(&mut self, link: LinkId, session: Option<SessionKey>, effects: &mut Vec<Effect>) {
        let Some(key) = session else { return };
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.link != Some(link) {
            return;
        }
        session.link = None;
        session.reactive = false;
        let left = session.out.clear();
        self.counters.left_over(left);
        self.fail_calls_of(key, effects);
        // A named component finds its registrations again; an MQTT session ends with its link until issue 3 keeps it.
        let stays = self.sessions.get(key).is_some_and(|session| {
            session.named
                && session.dialect == Dialect::Rembus
                && !(session.filters.is_empty() && session.exposed.is_empty() && session.unreleased.is_empty())
        });
        if !stays {
            self.end_session(key, effects);
        }
    }

    fn end_session(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        self.fail_calls_of(key, effects);
        let Some(mut session) = self.sessions.remove(key) else { return };
        self.counters.left_over(session.out.clear());
        for filter in &session.filters {
            self.tree.remove(filter, key);
        }
        for method in &session.exposed {
            self.services.unexpose(method, key);
        }
    }

    pub(super) fn log_moved(&mut self, state: LogState, effects: &mut Vec<Effect>) {
        self.log = state;
        if state.health == Health::Poisoned {
            // Nothing that waits may ever be acknowledged; the process is about to end.
            return;
        }
        for held in self.gate.release(state.durable) {
            match held {
                Held::Accepted { link, token, qos } => {
                    if self.links.contains_key(&link) {
                        effects.push(Effect::Send { link, out: Outbound::Accepted { token, qos, outcome: Ok(()) } });
                    }
                }
                Held::Command { id, seq } => effects.push(Effect::CommandDone { id, outcome: Ok(seq) }),
            }
        }
    }

    fn command(&mut self, id: CommandId, body: Vec<u8>, effects: &mut Vec<Effect>) {
        match self.log.health {
            Health::Fine => {
                self.last = self.last.next();
                effects.push(Effect::Append { seq: self.last, entry: Entry::Command(body), ack_waits: true });
                self.gate.hold(self.last, Held::Command { id, seq: self.last });
            }
            Health::Full => effects.push(Effect::CommandDone { id, outcome: Err(Refusal::DiskFull) }),
            Health::Poisoned => effects.push(Effect::CommandDone { id, outcome: Err(Refusal::LogFailed) }),
        }
    }
}

pub(super) fn respond(link: LinkId, token: Token, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
    effects.push(Effect::Send { link, out: Outbound::Response { token, status, data } });
}
