//! What the door must remember of a client to translate for it. Plain state, no socket: packets in, [`Inbound`] out, and back.

mod inward;
mod outward;

use super::Settings;
use super::codec::{Connect, Fault, ReasonCode, Version};
use super::outbox::Outbox;
use crate::router::{CloseReason, Closed};
use ahash::AHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Answers of ours that may be outstanding on top of the receive maximum: pings, subscriptions, PUBREL.
const OTHER_ANSWERS_MAX: u32 = 256;

/// One client's side of the translation.
#[derive(Debug)]
pub(crate) struct Dialogue {
    version: Version,
    /// The client id, as the router knows it.
    publisher: Arc<str>,
    settings: Arc<Settings>,
    /// The largest packet the client takes.
    max_packet: u32,
    /// The client asked for a session that ends with the connection, and must not change its mind (5.0 section 3.14.2.2.2).
    session_ends_with_connection: bool,
    /// Packets read that will be answered and are not yet. The bound on it is what bounds the answers under way.
    unanswered: u32,
    /// QoS 1 and 2 publications of a 5.0 client without PUBACK or PUBCOMP (section 4.9).
    in_flight: u32,
    /// Topic aliases by number - 1; allocated when the first comes.
    aliases: Vec<Option<String>>,
    /// Topics that the client knows by a number of ours: the first ones that it is told of, as many as it wants and we care to keep.
    told: AHashMap<String, u16>,
    told_max: u16,
    /// Answers that need no router.
    own_answers: VecDeque<OwnAnswer>,
    /// What the door itself said about some filters of a packet whose other filters the router is looking at.
    verdicts: Vec<Verdicts>,
    /// Deliveries put into the outbox that the router has not been told of.
    delivered: u32,
}

#[derive(Debug)]
enum OwnAnswer {
    Ping,
    Suback { id: u16, codes: Vec<ReasonCode> },
    Unsuback { id: u16, codes: Vec<ReasonCode> },
}

#[derive(Debug)]
struct Verdicts {
    id: u16,
    subscribing: bool,
    /// `None` where the router decides.
    codes: Vec<Option<ReasonCode>>,
}

/// How a connection ends, and so what both sides are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client's DISCONNECT.
    Goodbye(Closed),
    /// The socket broke or was closed.
    Lost,
    /// The peer broke the specification or a limit.
    Fault(Fault),
    /// The peer leaves our bytes unread.
    Stalled,
    /// The router, or the end of the gateway.
    Closed(CloseReason),
}

impl Dialogue {
    pub(crate) fn new(connect: &Connect, publisher: Arc<str>, settings: Arc<Settings>) -> Self {
        Self {
            version: connect.version,
            publisher,
            max_packet: connect.max_packet.unwrap_or(u32::MAX),
            session_ends_with_connection: connect.session_expiry == 0,
            unanswered: 0,
            in_flight: 0,
            aliases: Vec::new(),
            told: AHashMap::new(),
            told_max: connect.topic_alias_max.min(settings.topic_alias_max),
            settings,
            own_answers: VecDeque::new(),
            verdicts: Vec::new(),
            delivered: 0,
        }
    }

    /// Whether another packet may be read. A 3.1.1 client knows no receive maximum, so it is made to wait instead; a 5.0 client
    /// gets a little further, so that breaking its promise can be seen.
    pub(crate) fn may_read(&self) -> bool {
        let beyond = if self.version.is_5() { OTHER_ANSWERS_MAX } else { 0 };
        self.unanswered < u32::from(self.settings.receive_max) + beyond
    }

    /// Nothing that was read waits for an answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.unanswered == 0
    }

    /// Deliveries encoded since the last call; the caller tells the router once the socket took them.
    pub(crate) fn take_delivered(&mut self) -> u32 {
        std::mem::take(&mut self.delivered)
    }

    /// The last words to a peer that is still there: DISCONNECT in 5.0 \[MQTT-3.14.4-3\]; 3.1.1 has none for servers.
    pub(crate) fn last_words(&self, ending: Ending, outbox: &mut Outbox) {
        let (reason, what) = match ending {
            Ending::Fault(fault) => (fault.reason, fault.what),
            Ending::Closed(reason) => (reason.into(), ""),
            Ending::Goodbye(_) | Ending::Lost | Ending::Stalled => return,
        };
        if self.version.is_5() {
            let mut words = Vec::new();
            super::codec::disconnect(&mut words, reason, what, self.max_packet);
            outbox.append_last(&words);
        }
    }
}
