//! What the doors tell the router, and what it tells them.

pub use super::attach::{Attach, Expiry, OnConflict, Will};
use super::interest::Interest;
pub use super::refusal::{CloseReason, Closed, Refusal, Status};
use crate::access::Identity;
use crate::clock::{Mono, Wall};
use crate::message::{Dialect, Message, Qos, Seq};
use crate::wal::LogState;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;

/// One connection. Numbers are never used twice while the process runs, so a late event cannot hit a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The peer's own number for a request; the answer carries it back. An MQTT packet id or a Rembus message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The router's number for a delivery that the peer must acknowledge: 1 to 65535 for MQTT, 1 to 2^32-1 for Rembus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u32);

/// The router's number for a call on its way to an exposer. Never used twice while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a door knows when a connection arrives.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    pub dialect: Dialect,
    pub peer: SocketAddr,
    /// Until an [`Inbound::Attach`] brings another.
    pub identity: Identity,
}

/// Who is behind a message or a call, for parts of the gateway that act in his name (`part.rs`).
#[derive(Debug, Clone)]
pub struct Author {
    pub link: Option<LinkId>,
    /// Client id or component name.
    pub name: Arc<str>,
    pub identity: Identity,
    /// The router's number for the user, or for the address of somebody who did not log in. Another one may have it later.
    pub account: usize,
}

/// From a door: what happened on a link.
#[derive(Debug)]
pub enum Inbound {
    /// The peer names itself (MQTT CONNECT, Rembus IDENTITY). Until then a Rembus link is an anonymous session of its own and
    /// an MQTT link may do nothing. Answered by [`Outbound::Attached`] or [`Outbound::Refused`].
    Attach(Attach),
    /// A publication. With QoS 1 or 2 answered by [`Outbound::Accepted`] once durable; with QoS 0 never.
    Publish { message: Message, token: Token },
    /// The publisher of a QoS 2 message is done with it (MQTT PUBREL, Rembus ACK2). Answered by [`Outbound::Completed`].
    Release { token: Token },
    /// The peer has the delivery (MQTT PUBACK; PUBREC when `Received`, PUBCOMP; Rembus ACK).
    Delivered { id: DeliveryId, stage: Stage },
    /// Answered by [`Outbound::Subscribed`], one outcome a filter, in order.
    Subscribe { token: Token, filters: Vec<Subscription> },
    /// Answered by [`Outbound::Unsubscribed`], one outcome a filter, in order.
    Unsubscribe { token: Token, filters: Vec<Filter> },
    /// busrt: topics that match are not delivered, whatever is subscribed. Answered by [`Outbound::Subscribed`].
    Exclude { token: Token, filters: Vec<Filter> },
    /// busrt: takes exclusions back. Answered by [`Outbound::Unsubscribed`].
    Include { token: Token, filters: Vec<Filter> },
    /// Rembus: publications may be delivered from now on, or no more. Stored ones reach back as far as `reach` at most.
    /// Answered by [`Outbound::Response`].
    Reactive { token: Token, on: bool, reach: Past },
    /// Rembus: offers a method. Answered by [`Outbound::Response`].
    Expose { token: Token, method: String },
    /// Rembus: takes it back. Answered by [`Outbound::Response`].
    Unexpose { token: Token, method: String },
    /// Rembus: registration in bulk after a reconnect, then reactive. Answered by [`Outbound::Response`].
    Setup { token: Token, exposers: Vec<String>, subscribers: Vec<String> },
    /// Rembus: which components offer and subscribe to what; the door has seen to it that an admin asks. Answered by
    /// [`Outbound::Response`].
    Inventory { token: Token },
    /// Calls a method; `target` is a component's name for a direct call. `data` is CBOR. Answered by [`Outbound::Response`].
    Call { token: Token, method: String, target: Option<String>, data: Bytes },
    /// Part: offers every method below `prefix` (`commlib/`) that nobody offers by its full name. Answered by
    /// [`Outbound::Response`].
    ExposeBelow { token: Token, prefix: String },
    /// Part: wants to know which methods with this ending are offered by somebody who is there, now and whenever that changes.
    /// Each is told by
    /// [`Outbound::Offered`].
    WatchMethods { suffix: String },
    /// Part: a publication for those who subscribed to its very topic, wildcards aside: a request to a service. It is not
    /// logged. Answered at once by [`Outbound::Asked`].
    Ask { message: Message, token: Token },
    /// Answer of an exposer to [`Outbound::Request`].
    Return { call: CallId, status: Status, data: Bytes },
    /// So many `Deliver` and `Request` were written to the socket; room for more.
    Written { count: u32 },
    /// So many of the QoS 0 deliveries under way cannot be said to this peer (its packet limit, a topic that is a filter to it)
    /// and are let go; each is reported as `Written` too. For QoS 1 and 2 there is [`Stage::Refused`].
    Unsendable { count: u32 },
    /// The peer has been heard since [`Outbound::Probe`].
    Alive,
    /// How long the session stays after the link, from now on (MQTT 5 DISCONNECT). Not answered.
    Expire { expiry: Expiry },
    /// The connection is over. Nothing follows.
    Closed { reason: Closed },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// PUBACK, PUBCOMP, Rembus ACK for QoS 1: finished.
    Done,
    /// PUBREC or Rembus ACK for QoS 2: the peer has it; answered by [`Outbound::Release`].
    Received,
    /// MQTT 5 PUBACK or PUBREC with an error code: finished, not delivered.
    Refused,
}

/// A filter in its own dialect; each keeps its exact rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Filter {
    /// MQTT topic filter with `+` and `#`, already checked for syntax by the door.
    Mqtt(String),
    /// `$share/{group}/{filter}`: each message goes to one member of the group (MQTT 5 section 4.8.2).
    Shared { group: String, filter: String },
    /// Rembus topic; a pattern if it contains `*`.
    Rembus(String),
    /// busrt topic with `+` and `#`, by rules of its own (`protocol/busrt.md` section 4); every text is one.
    Bus(String),
}

impl Filter {
    /// What a topic is compared with.
    #[must_use]
    pub fn pattern(&self) -> &str {
        match self {
            Self::Mqtt(filter) | Self::Shared { filter, .. } | Self::Rembus(filter) | Self::Bus(filter) => filter,
        }
    }
}

/// Which retained messages a new subscription brings (MQTT 5 section 3.8.3.1, retain handling).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetainHandling {
    Send,
    SendIfNew,
    DoNotSend,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub filter: Filter,
    /// Highest QoS wanted. Rembus asks for [`Qos::ExactlyOnce`]: as published.
    pub qos: Qos,
    /// MQTT 5: not to the one who published it. Always so for Rembus.
    pub no_local: bool,
    /// MQTT 5: keep the retain flag as published.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    /// MQTT 5 subscription identifier, sent along with each delivery.
    pub identifier: Option<u32>,
    /// Rembus: which stored messages it brings.
    #[serde(default)]
    pub past: Past,
    /// The router's number for it among those that the session ever had; zero if the session is not kept.
    #[serde(default)]
    pub number: u32,
}

/// How far a Rembus subscription reaches back when its component becomes reactive (`msg_from`). What the component has had
/// already does not come again, however far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Past {
    /// `Now`: what is published from then on.
    #[default]
    Nothing,
    /// What was published in so many nanoseconds before.
    Window(u64),
    /// `LastReceived`: everything.
    Unseen,
}

impl Past {
    /// From `msg_from`: nanoseconds, infinite for everything.
    #[must_use]
    pub fn from_ns(ns: f64) -> Self {
        if ns >= u64::MAX as f64 {
            Self::Unseen
        } else if ns > 0.0 {
            Self::Window(ns as u64)
        } else {
            Self::Nothing
        }
    }
}

/// To a door: what to send to the peer.
#[derive(Debug, Clone)]
pub enum Outbound {
    Attached {
        session_present: bool,
        name: Arc<str>,
    },
    Refused(Refusal),
    /// The message of `token` is durable (PUBACK, PUBREC, Rembus ACK) or was refused.
    Accepted {
        token: Token,
        qos: Qos,
        outcome: Result<(), Refusal>,
    },
    /// MQTT PUBCOMP. `known` is false if the router had no such message.
    Completed {
        token: Token,
        known: bool,
    },
    Subscribed {
        token: Token,
        outcomes: Vec<Result<Qos, Refusal>>,
    },
    /// `true` if the filter had been subscribed.
    Unsubscribed {
        token: Token,
        outcomes: Vec<bool>,
    },
    /// Boxed because control answers are far more frequent in a queue than their size suggests.
    Deliver(Delivery),
    /// MQTT PUBREL, Rembus ACK2.
    Release {
        id: DeliveryId,
    },
    /// A call to serve; answer with [`Inbound::Return`].
    Request {
        call: CallId,
        method: Arc<str>,
        data: Bytes,
        /// For parts of the gateway only.
        caller: Option<Arc<Author>>,
    },
    /// So many sessions, all of them online, got the request of [`Inbound::Ask`]; at 0 nobody did.
    Asked {
        token: Token,
        takers: usize,
    },
    /// Whether somebody who is there offers a method that was asked for by [`Inbound::WatchMethods`]; it may not be news.
    Offered {
        method: Arc<str>,
        offered: bool,
    },
    Response {
        token: Token,
        status: Status,
        data: Bytes,
    },
    /// Somebody else claims the name of this link: find out whether the peer still lives, answer with [`Inbound::Alive`].
    Probe,
    /// Send what the dialect says for this reason, then close. Nothing follows.
    Close(CloseReason),
}

/// One copy of a message for one subscriber.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub message: Arc<Message>,
    pub qos: Qos,
    /// Present for QoS 1 and 2.
    pub id: Option<DeliveryId>,
    /// Sent before, on an earlier connection or unanswered.
    pub dup: bool,
    pub retain: bool,
    /// The Rembus pattern that matched; its delivery form differs (`protocol/rembus.md` section 7.1).
    pub pattern: Option<Arc<str>>,
    /// MQTT 5 subscription identifiers of every filter that matched.
    pub identifiers: Vec<u32>,
    /// Seconds left until the message is worthless \[MQTT-3.3.2-6\].
    pub expiry_s: Option<u32>,
    /// For parts of the gateway only.
    pub author: Option<Arc<Author>>,
}

/// What happens to the router.
#[derive(Debug)]
pub enum Event {
    Opened {
        link: LinkId,
        info: LinkInfo,
    },
    Link {
        link: LinkId,
        inbound: Inbound,
    },
    /// The log moved, filled up or failed.
    Log(LogState),
    /// The log has more to write than it should; QoS 0 messages are not logged while it lasts.
    LogBehind(bool),
    /// A service of the gateway answered [`Effect::Invoke`].
    Answered {
        call: CallId,
        status: Status,
        data: Bytes,
    },
    /// A part of the gateway wants a record in the log; answered by [`Effect::CommandDone`].
    Command {
        id: CommandId,
        body: Vec<u8>,
    },
    /// Users or rules have changed: links that are not valid any more are closed.
    PolicyChanged,
    /// What [`Effect::Read`] found in the log, up to record `reached`.
    Found {
        read: ReadId,
        found: Vec<Found>,
        reached: Seq,
    },
    /// Time has passed; see [`Router::next_due`](super::Router::next_due).
    Tick,
}

/// The caller's number for a [`Event::Command`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// The router's number for a component that catches up. Never used twice while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A stored message, and the numbers of the subscriptions that it matches.
#[derive(Debug, Clone)]
pub struct Found {
    pub seq: Seq,
    pub message: Arc<Message>,
    pub numbers: Vec<u32>,
}

/// What the router wants done. The caller owns sockets, disk and clock.
#[derive(Debug)]
pub enum Effect {
    /// `ack_waits`: somebody waits for it to become durable.
    Append {
        seq: Seq,
        entry: Entry,
        ack_waits: bool,
    },
    Send {
        link: LinkId,
        out: Outbound,
    },
    /// Forget the link once everything sent to it has been handed over.
    Drop {
        link: LinkId,
    },
    /// Run a service of the gateway; it sees everything up to `upto`.
    Invoke {
        call: CallId,
        /// Who asks, so that a service can be fair.
        caller: LinkId,
        method: Arc<str>,
        data: Bytes,
        upto: Seq,
    },
    /// Nobody waits for this [`Effect::Invoke`] any more: its caller is gone.
    Cancel {
        call: CallId,
    },
    /// Look for messages in the log after record `after` and up to `upto`, some at a time; answered by [`Event::Found`].
    Read {
        read: ReadId,
        after: Seq,
        upto: Seq,
        interest: Arc<Interest>,
    },
    /// Nothing more will be read for it.
    EndRead {
        read: ReadId,
    },
    /// The command's record is durable, or was refused.
    CommandDone {
        id: CommandId,
        outcome: Result<Seq, Refusal>,
    },
}

/// What goes into the log.
#[derive(Debug)]
pub enum Entry {
    /// `route` says who will get it and where it came from, for sessions that outlive the process; empty if none does.
    Message { message: Arc<Message>, route: Vec<u8> },
    /// A message of one conversation: kept for its sessions, and not for history.
    Conversation { message: Arc<Message>, route: Vec<u8> },
    /// Changes of sessions, as the body of a [`kind::STATE`](crate::message::kind::STATE) record.
    State(Vec<u8>),
    /// A copy of a message that was logged before, for another session than at first.
    Copy { message: Arc<Message>, route: Vec<u8> },
    /// The body of a [`kind::TABLE_COMMAND`](crate::message::kind::TABLE_COMMAND) record.
    Command(Vec<u8>),
}

/// The time of an event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    pub mono: Mono,
    /// For what must be compared after a restart, and never to wait for.
    pub wall: Wall,
}
