//! What the router counted; a consistent copy for `/metrics`.
//!
//! Two identities hold at every moment:
//!
//! * `copies = delivered + queued + in_flight + expired + Σ dropped` for the copies made for subscribers;
//! * `received = logged + not_logged` for messages.

use super::accounts::Resource;
use super::core::Router;
use super::outgoing::Leftover;
use crate::message::Dialect;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages accepted from publishers, by door.
    pub received: BTreeMap<&'static str, u64>,
    /// Publications refused with an error to the sender, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Messages handed to the log / let go without (QoS 0 while the log is behind or full).
    pub logged: u64,
    pub not_logged: u64,
    /// Messages nobody had subscribed to.
    pub unmatched: u64,
    /// Copies made for subscribers.
    pub copies: u64,
    /// QoS 0: handed to the socket; QoS 1 and 2: acknowledged by the subscriber.
    pub delivered: u64,
    /// Waiting in session queues, not sent.
    pub queued: u64,
    /// Sent and not yet written or acknowledged.
    pub in_flight: u64,
    pub expired: u64,
    /// By reason; what is `left_in_log` the component gets when it is back.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Messages with the retain flag that found no room among the retained.
    pub not_retained: u64,
    pub retained: u64,
    pub retained_bytes: u64,
    /// Bytes that wait in the queues of all sessions.
    pub queued_bytes: u64,
    pub sessions_offline: u64,
    /// Sessions that were alone too long.
    pub sessions_expired: u64,
    /// Sessions that ended before their time, by reason.
    pub sessions_ended: BTreeMap<&'static str, u64>,
    /// Retained messages that gave way to those of lighter users.
    pub retained_gave_way: u64,
    /// Users and addresses that anything is counted for.
    pub accounts: u64,
    /// The most that one of them has of each resource.
    pub heaviest: BTreeMap<&'static str, u64>,
    /// Stored sessions, subscriptions and methods that were not taken back at the start: their names are beyond the limits.
    pub set_aside: u64,
    pub shared_groups: u64,
    /// Open links, by door.
    pub connections: BTreeMap<&'static str, u64>,
    pub sessions: u64,
    pub subscriptions: u64,
    /// Bytes that they take.
    pub subscriptions_bytes: u64,
    /// Bytes of the answers for recent topics.
    pub recent_topics_bytes: u64,
    pub services: u64,
    pub calls: u64,
    /// Because their callers had too many under way.
    pub calls_refused: u64,
    pub calls_pending: u64,
    /// Acknowledgements waiting for the disk.
    pub acks_waiting: u64,
}

/// The router's own counters; [`Report`] adds what is read off its state.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: BTreeMap<&'static str, u64>,
    pub(super) refused: BTreeMap<&'static str, u64>,
    pub(super) logged: u64,
    pub(super) not_logged: u64,
    pub(super) unmatched: u64,
    pub(super) copies: u64,
    pub(super) delivered: u64,
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    pub(super) expired: u64,
    pub(super) dropped: BTreeMap<&'static str, u64>,
    pub(super) connections: BTreeMap<&'static str, u64>,
    pub(super) connections_max: u64,
    pub(super) sessions_expired: u64,
    pub(super) sessions_ended: BTreeMap<&'static str, u64>,
    pub(super) set_aside: u64,
    pub(super) not_retained: u64,
    pub(super) retained_gave_way: u64,
    pub(super) calls: u64,
    pub(super) calls_refused: u64,
}

impl Counters {
    /// Copies that ended with their session.
    pub(super) fn left_over(&mut self, left: Leftover, reason: &'static str) {
        self.queued -= left.queued;
        self.in_flight -= left.in_flight + left.back;
        self.queued += left.back;
        if left.stored > 0 {
            *self.dropped.entry("left_in_log").or_default() += left.stored;
        }
        let lost = left.queued + left.in_flight - left.stored;
        if lost > 0 {
            *self.dropped.entry(reason).or_default() += lost;
        }
    }
}

impl Router {
    /// After a restart: what waits was copied in an earlier life.
    pub(super) fn recount(&mut self) {
        let waiting: usize = self.sessions.iter().map(|(_, session)| session.out.queue_len()).sum();
        self.counters.copies = waiting as u64;
        self.counters.queued = waiting as u64;
        for (key, session) in self.sessions.iter() {
            self.accounts.queue_moved(session.account, key, 0, session.out.queue_bytes());
        }
        self.keep_queues_bounded();
    }

    /// A consistent copy of everything counted.
    #[must_use]
    pub fn report(&self) -> Report {
        let c = &self.counters;
        // Parts of the gateway are nobody's clients.
        let (mut parts, mut filters, mut methods) = (0, 0, 0);
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.dialect == Dialect::Internal) {
            parts += 1;
            filters += session.filters.len() as u64;
            methods += session.exposed.len() as u64;
        }
        Report {
            received: c.received.clone(),
            refused: c.refused.clone(),
            logged: c.logged,
            not_logged: c.not_logged,
            unmatched: c.unmatched,
            set_aside: c.set_aside,
            copies: c.copies,
            delivered: c.delivered,
            queued: c.queued,
            in_flight: c.in_flight,
            expired: c.expired,
            dropped: c.dropped.clone(),
            connections: c.connections.clone(),
            not_retained: c.not_retained,
            retained: self.retained.len() as u64,
            retained_bytes: self.retained.bytes() as u64,
            queued_bytes: self.accounts.total(Resource::Queued) as u64,
            sessions_offline: self.sessions.iter().filter(|(_, session)| session.link.is_none()).count() as u64,
            sessions_expired: c.sessions_expired,
            sessions_ended: c.sessions_ended.clone(),
            retained_gave_way: c.retained_gave_way,
            accounts: self.accounts.len() as u64,
            heaviest: Resource::NAMED.iter().map(|(name, resource)| (*name, self.accounts.most(*resource) as u64)).collect(),
            shared_groups: self.groups.len() as u64,
            sessions: self.sessions.len() as u64 - parts,
            subscriptions: self.tree.len() as u64 - filters,
            subscriptions_bytes: self.tree.bytes() as u64,
            recent_topics_bytes: self.tree.remembered_bytes() as u64,
            services: self.services.len() as u64 - methods,
            calls: c.calls,
            calls_refused: c.calls_refused,
            calls_pending: self.calls.len() as u64,
            acks_waiting: self.gate.len() as u64,
        }
    }
}
