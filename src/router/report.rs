//! What the router counted; a consistent copy for `/metrics`.
//!
//! Two identities hold at every moment:
//!
//! * `copies = delivered + queued + in_flight + expired + Σ dropped` for the copies made for subscribers;
//! * `received = logged + not_logged` for messages.

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
    pub dropped: BTreeMap<&'static str, u64>,
    /// Open links, by door.
    pub connections: BTreeMap<&'static str, u64>,
    pub sessions: u64,
    pub subscriptions: u64,
    pub services: u64,
    pub calls: u64,
    pub calls_pending: u64,
    /// Acknowledgements waiting for the disk.
    pub acks_waiting: u64,
}
