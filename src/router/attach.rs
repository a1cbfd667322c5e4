//! What a peer says about itself when it names itself.

use crate::access::Identity;
use crate::message::Message;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Attach {
    /// Client id or component name; empty asks the router to assign one.
    pub name: String,
    /// What happens to a live session of the same name.
    pub on_conflict: OnConflict,
    /// MQTT clean session / clean start: forget what an earlier session left behind.
    pub clean: bool,
    /// How long the session stays after the link. Rembus: for ever, while it has registrations.
    pub expiry: Expiry,
    /// What is to be published if the peer vanishes.
    pub will: Option<Box<Will>>,
    /// How many unacknowledged QoS 1 and 2 deliveries the peer takes (MQTT 5 receive maximum).
    pub receive_max: u16,
    /// The largest packet that the peer takes; `u32::MAX` if it did not say (MQTT 5 maximum packet size).
    pub packet_max: u32,
    /// Resend an unacknowledged delivery after this time (Rembus). MQTT never resends on a living connection.
    pub resend_after: Option<Duration>,
    /// Whom the link acts for from now on.
    pub identity: Identity,
}

/// How long a session stays without a link (MQTT 5 section 3.1.2.11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Expiry {
    /// It ends with the link.
    WithLink,
    /// Seconds.
    After(u32),
    Never,
}

/// A publication that its author leaves to the gateway (MQTT section 3.1.2.5).
#[derive(Debug, Clone)]
pub struct Will {
    /// `received` is set when it is published.
    pub message: Message,
    /// How long the peer may take to come back before it is published, at most as long as the session stays.
    pub delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The newcomer wins and the older link is closed with [`CloseReason::TakenOver`](super::refusal::CloseReason::TakenOver).
    TakeOver,
    /// The newcomer is refused with [`Refusal::NameInUse`](super::refusal::Refusal::NameInUse) if the older peer answers an [`Outbound::Probe`](super::event::Outbound::Probe); after a cut cable
    /// nobody does, and the newcomer gets the name.
    Refuse,
}
