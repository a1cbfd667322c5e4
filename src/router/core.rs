//! The router's state and what each event does to it. Links, calls and deliveries have files of their own.

use super::accounts::Accounts;
use super::bus::BusFilters;
use super::calls::{Caller, bus_method, text};
use super::event::{
    Attach, CloseReason, CommandId, Effect, Entry, Event, Inbound, LinkId, LinkInfo, Now, Outbound, Past, ReadId, Refusal,
    Status, Token,
};
use super::fairness::{GaveWay, Notices, UserLimits};
use super::gate::AckGate;
use super::groups::Groups;
use super::outgoing::QueueLimits;
use super::report::Counters;
use super::retained::{RetainedLimits, RetainedStore};
use super::services::{Calls, Services};
use super::session::{SessionId, SessionKey, Sessions};
use super::state::Pending;
use super::system::System;
use super::timers::Timers;
use super::tree::Tree;
use crate::access::{Action, Identify, Identity};
use crate::clock::Mono;
use crate::config::Policy;
use crate::message::{Dialect, Forms, Qos, Seq};
use crate::names::NameLimits;
use crate::wal::{Health, LogState};
use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// CBOR null, the data of most answers.
pub(super) const NULL: Bytes = Bytes::from_static(&[0xf6]);

/// Commands of so many bytes are taken although the disk is full.
const COMMAND_BYTES_FULL: usize = 64 << 10;

/// How the methods of history begin, those of tables that may come among them.
pub const RESERVED: [&str; 4] = ["query_", "latest_", "upsert_", "delete_"];

/// Code that is uploaded and run, in the words of the Python and the Julia broker: never here, and nobody else shall collect it.
const UPLOADS: [&str; 4] = ["python_service_", "python_subscriber_", "julia_service_", "julia_subscriber_"];

/// What an operator can set, and the bounds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Broker name, answered by `rid`.
    pub name: String,
    pub policy: Policy,
    /// How long an exposer may take.
    pub request_timeout: Duration,
    pub queue: QueueLimits,
    /// How long and how deep names may be.
    pub names: NameLimits,
    /// Bytes that may wait in the queues of all sessions together.
    pub queues_bytes: usize,
    pub retained: RetainedLimits,
    /// How often `$SYS` tells figures; zero is never.
    pub system_interval: Duration,
    /// Sessions kept, offline ones included.
    pub sessions_max: usize,
    /// Filters and exposed methods of one session.
    pub registrations_max: usize,
    /// And of all sessions together.
    pub registrations_total: usize,
    /// What one user may use.
    pub users: UserLimits,
    /// Bytes that the filters of all sessions may take.
    pub filters_bytes: usize,
    /// QoS 2 ids that one session may leave unreleased.
    pub unreleased_max: usize,
    /// Topics whose messages have another form in the other world.
    pub forms: Arc<Forms>,
    /// What actions say is kept from history and Rembus patterns.
    pub private_actions: bool,
    /// Methods that the gateway serves itself through [`Effect::Invoke`].
    pub builtins: Vec<String>,
    /// Beginnings of method names that nobody may offer: with them somebody could pose as the gateway.
    pub reserved: Vec<String>,
    /// The gateway's number in the path of a message; empty if it has none. See `bridge/marks.rs`.
    pub number: String,
    /// What busrt programs may be told of the other doors' topics; no topic that begins with `.` or `$` is.
    pub bus_export: BusFilters,
    /// Says what sessions may do that were left behind by an earlier process; without it, everything.
    pub identities: Option<Arc<dyn Identify>>,
}

impl Options {
    pub(super) fn identity_of(&self, dialect: Dialect, user: Option<&str>, client: &str) -> Identity {
        match &self.identities {
            Some(identities) => identities.identity_of(dialect, user, client),
            None => Identity { user: user.map(Arc::from), rights: None },
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "broker".into(),
            policy: Policy::FirstUp,
            request_timeout: Duration::from_secs(10),
            queue: QueueLimits::default(),
            names: NameLimits::default(),
            queues_bytes: 64 << 20,
            retained: RetainedLimits::default(),
            system_interval: Duration::ZERO,
            sessions_max: 50_000,
            registrations_max: 10_000,
            registrations_total: 1_000_000,
            users: UserLimits::default(),
            filters_bytes: 64 << 20,
            unreleased_max: 10_000,
            forms: Arc::default(),
            private_actions: true,
            builtins: Vec::new(),
            reserved: RESERVED.map(String::from).into(),
            number: String::new(),
            bus_export: BusFilters::everything(),
            identities: None,
        }
    }
}

/// Methods of the gateway, those of the router among them.
fn with_own(methods: impl Iterator<Item = String>) -> AHashSet<String> {
    methods.chain(super::calls::OWN.map(String::from)).collect()
}

/// A connection and the session it acts for.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) info: LinkInfo,
    /// An MQTT link has none until it is attached.
    pub(super) session: Option<SessionKey>,
    /// When the log last had no room for one of its messages.
    pub(super) no_room: Option<Mono>,
}

/// Answers that wait for the disk.
#[derive(Debug)]
pub(super) enum Held {
    Accepted {
        link: LinkId,
        token: Token,
        qos: Qos,
    },
    Command {
        id: CommandId,
        seq: Seq,
    },
    /// Boxed: acknowledgements are far more frequent.
    Say {
        link: LinkId,
        out: Box<Outbound>,
    },
    /// Deliveries of this session may leave now.
    Pump(SessionKey),
}

#[derive(Debug)]
pub struct Router {
    pub(super) options: Options,
    pub(super) builtins: AHashSet<String>,
    pub(super) links: AHashMap<LinkId, Link>,
    pub(super) sessions: Sessions,
    pub(super) tree: Tree,
    /// What sessions do not want, although they are subscribed.
    pub(super) exclusions: Tree,
    pub(super) groups: Groups,
    pub(super) retained: RetainedStore,
    /// Who uses how much.
    pub(super) accounts: Accounts,
    pub(super) gave_way: GaveWay,
    pub(super) notices: Notices,
    /// Counts sessions that are left or taken up, so that it is known which was left first.
    pub(super) presences: u64,
    pub(super) pending: Pending,
    pub(super) next_session: SessionId,
    pub(super) system: System,
    pub(super) services: Services,
    pub(super) calls: Calls,
    pub(super) timers: Timers,
    /// When retained messages are looked through.
    pub(super) retained_due: Option<Mono>,
    pub(super) gate: AckGate<Held>,
    pub(super) log: LogState,
    pub(super) log_behind: bool,
    /// Newest record handed to the log.
    pub(super) last: Seq,
    pub(super) counters: Counters,
    pub(super) now: Now,
    /// Components whose progress the log is to be told.
    pub(super) progressed: Vec<SessionKey>,
    /// Who catches up.
    pub(super) reads: AHashMap<ReadId, SessionKey>,
    pub(super) last_read: ReadId,
    /// Parts of the gateway that want to know about methods with these endings.
    pub(super) watchers: Vec<(SessionKey, String)>,
    /// Links whose name others claim, and who waits for the outcome of the probe.
    pub(super) claims: AHashMap<LinkId, Vec<(LinkId, Attach)>>,
    pub(super) assigned: u64,
}

impl Router {
    /// The gateway serves these methods itself from now on.
    pub fn set_builtins(&mut self, methods: Vec<String>) {
        self.builtins = with_own(methods.into_iter());
    }

    /// `log` is the state of the log as it was opened: numbering goes on after it.
    #[must_use]
    pub fn new(options: Options, log: LogState) -> Self {
        let builtins = with_own(options.builtins.iter().cloned());
        let retained = RetainedStore::new(options.retained);
        Self {
            options,
            builtins,
            links: AHashMap::new(),
            sessions: Sessions::default(),
            tree: Tree::default(),
            exclusions: Tree::default(),
            groups: Groups::default(),
            retained,
            accounts: Accounts::default(),
            gave_way: GaveWay::default(),
            notices: Notices::default(),
            presences: 0,
            pending: Pending::default(),
            next_session: SessionId(1),
            system: System::default(),
            services: Services::default(),
            calls: Calls::default(),
            timers: Timers::default(),
            retained_due: None,
            gate: AckGate::default(),
            log,
            log_behind: false,
            last: log.written,
            counters: Counters::default(),
            now: Now::default(),
            progressed: Vec::new(),
            reads: AHashMap::new(),
            last_read: ReadId(0),
            watchers: Vec::new(),
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
            Event::Found { read, found, reached } => self.found(read, found, reached, effects),
            Event::PolicyChanged => self.policy_changed(effects),
            Event::Tick => self.tick(effects),
        }
    }

    /// Ends a turn: what was noted in it goes into the log together. To be called before the effects are carried out.
    pub fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.settle_what_gave_way(effects);
        self.note_progress();
        self.commit(effects);
    }

    /// Whether changes were let go while the disk was full, so that only a snapshot has them. Asking resets it.
    pub(super) fn wants_snapshot(&mut self) -> bool {
        self.can_keep() && std::mem::take(&mut self.pending.overflowed)
    }

    /// When [`Event::Tick`] is wanted next.
    #[must_use]
    pub fn next_due(&self) -> Option<crate::clock::Mono> {
        self.timers.next_due()
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
            Inbound::Release { token } => self.released(link, session, token, effects),
            Inbound::Expire { expiry } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.expiry = expiry;
                }
            }
            Inbound::Delivered { id, stage } => self.delivered(link, session, id, stage, effects),
            Inbound::Written { count } => self.written(session, count, effects),
            Inbound::Unsendable { count } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.out.unsendable(count);
                }
            }
            Inbound::Subscribe { token, filters } => {
                let outcomes = filters.into_iter().map(|wanted| self.subscribe(link, session, wanted, effects)).collect();
                self.say_when_kept(link, session, Outbound::Subscribed { token, outcomes }, effects);
                self.hold_back_until_answered(session, effects);
            }
            Inbound::Unsubscribe { token, filters } => {
                let outcomes = filters.iter().map(|filter| self.unsubscribe(session, filter, effects)).collect();
                self.say_when_kept(link, session, Outbound::Unsubscribed { token, outcomes }, effects);
            }
            Inbound::Exclude { token, filters } => {
                let outcomes = filters.into_iter().map(|filter| self.exclude(session, filter, effects)).collect();
                effects.push(Effect::Send { link, out: Outbound::Subscribed { token, outcomes } });
            }
            Inbound::Include { token, filters } => {
                let outcomes = filters.iter().map(|filter| self.include(session, filter)).collect();
                effects.push(Effect::Send { link, out: Outbound::Unsubscribed { token, outcomes } });
            }
            Inbound::Reactive { token, on, reach } => {
                if on {
                    self.resume(session, reach);
                } else {
                    self.pause(session, effects);
                }
                respond(link, token, Status::OK, NULL, effects);
                self.pump(session, effects);
            }
            Inbound::Expose { token, method } => {
                let outcome = self.expose(link, session, method, effects);
                self.say_when_kept(link, session, answer(token, outcome), effects);
            }
            Inbound::Unexpose { token, method } => {
                self.unexpose(session, method, effects);
                self.say_when_kept(link, session, answer(token, Ok(())), effects);
            }
            Inbound::Setup { token, exposers, subscribers } => {
                // One that is refused does not keep the others from what they had before the link was lost.
                let mut outcome = Ok(());
                for method in exposers {
                    outcome = outcome.and(self.expose(link, session, method, effects));
                }
                for topic in subscribers {
                    outcome = outcome.and(self.subscribe_again(link, session, topic, effects));
                }
                self.resume(session, Past::Unseen);
                self.say_when_kept(link, session, answer(token, outcome), effects);
                self.pump(session, effects);
            }
            Inbound::Inventory { token } => self.inventory(link, token, effects),
            Inbound::Call { token, method, target, data } => {
                self.call(Caller { link, session, token }, &method, target, data, effects);
            }
            Inbound::Return { call, status, data } => self.returned(session, call, status, data, effects),
            Inbound::ExposeBelow { .. } | Inbound::WatchMethods { .. } | Inbound::Ask { .. } => {
                self.part(link, session, inbound, effects);
            }
            Inbound::Attach(_) | Inbound::Alive | Inbound::Closed { .. } => unreachable!("handled above"),
        }
    }

    /// Whether a method is the gateway's own, or looks like one of its own.
    pub(super) fn is_reserved(&self, method: &str) -> bool {
        self.builtins.contains(method)
            || bus_method(method).is_some()
            || UPLOADS.iter().any(|beginning| method.starts_with(beginning))
            || self.options.reserved.iter().any(|beginning| method.starts_with(beginning.as_str()))
    }

    /// Whether the policy lets the one behind a link do this.
    pub(super) fn may(&self, link: LinkId, action: Action, subject: &str) -> bool {
        self.links.get(&link).is_some_and(|known| known.info.identity.may(action, subject))
    }

    pub(super) fn log_moved(&mut self, state: LogState, effects: &mut Vec<Effect>) {
        self.log = state;
        if state.health == Health::Poisoned {
            // Nothing that waits may ever be acknowledged; the process is about to end.
            return;
        }
        let ready: Vec<_> = self.gate.release(state.durable).collect();
        for held in ready {
            self.fulfil(held, effects);
        }
    }

    /// What a held answer waited for has come.
    pub(super) fn fulfil(&mut self, held: Held, effects: &mut Vec<Effect>) {
        match held {
            Held::Accepted { link, token, qos } => {
                if self.links.contains_key(&link) {
                    effects.push(Effect::Send { link, out: Outbound::Accepted { token, qos, outcome: Ok(()) } });
                }
            }
            Held::Command { id, seq } => effects.push(Effect::CommandDone { id, outcome: Ok(seq) }),
            Held::Say { link, out } => {
                if self.links.contains_key(&link) {
                    effects.push(Effect::Send { link, out: *out });
                }
            }
            Held::Pump(key) => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.waits_for_answer = false;
                }
                self.pump(key, effects);
            }
        }
    }

    /// An answer about what the session will find again: once that is on the disk. At once if the session ends with its link.
    pub(super) fn say_when_kept(&mut self, link: LinkId, session: SessionKey, out: Outbound, effects: &mut Vec<Effect>) {
        if self.kept(session).is_some() && self.can_keep() {
            self.after_changes(Held::Say { link, out: Box::new(out) }, effects);
        } else {
            effects.push(Effect::Send { link, out });
        }
    }

    fn command(&mut self, id: CommandId, body: Vec<u8>, effects: &mut Vec<Effect>) {
        match self.log.health {
            // It may be a deletion, which makes room; the log has a part of the reserve for it.
            Health::Full if body.len() > COMMAND_BYTES_FULL => {
                effects.push(Effect::CommandDone { id, outcome: Err(Refusal::DiskFull) });
            }
            Health::Fine | Health::Full => {
                self.last = self.last.next();
                effects.push(Effect::Append { seq: self.last, entry: Entry::Command(body), ack_waits: true });
                self.gate.hold(self.last, Held::Command { id, seq: self.last });
            }
            Health::Poisoned => effects.push(Effect::CommandDone { id, outcome: Err(Refusal::LogFailed) }),
        }
    }
}

/// The answer to a command.
fn answer(token: Token, outcome: Result<(), Refusal>) -> Outbound {
    let (status, data) = match outcome {
        Ok(()) => (Status::OK, NULL),
        Err(refusal) => (Status::GENERIC_ERROR, text(refusal.text())),
    };
    Outbound::Response { token, status, data }
}

pub(super) fn respond(link: LinkId, token: Token, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
    effects.push(Effect::Send { link, out: Outbound::Response { token, status, data } });
}
