//! What survives the process: sessions with their subscriptions, QoS 2 ids and queues, and retained messages.
//!
//! The state is what the log says. Every change of a session that may outlive its link is a record (kind 3, a CBOR list of
//! [`Change`]); a message's own record says which of these sessions get it, under which packet id, and where it came from if it
//! was of QoS 2 ([`Route`]). So a publication, its copies in offline queues and the id that makes it exactly-once are one record,
//! and are on the disk together or not at all.
//!
//! A snapshot ([`files`]) is the shortest log that leads to the same state, in the same records. At start the newest whole
//! snapshot is read, then the log behind it.
//!
//! What must be durable before it is told (CONNACK and SUBACK of a session that stays, PUBREL, PUBCOMP) waits at the gate like an
//! acknowledgement. What may happen twice (a PUBACK from a subscriber) is written when something else is.

mod commit;
pub(crate) mod files;
mod restore;
mod save;

pub(super) use commit::Pending;
pub use files::{Saved, StateFolder};
pub use restore::{RestoreError, Restorer};
pub use save::Snapshot;

use super::event::{Expiry, Filter, Subscription};
use super::session::SessionId;
use super::trail::Progress;
use crate::message::{Dialect, Qos, Seq};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One thing that happened to a session that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    Open {
        id: SessionId,
        dialect: Dialect,
        name: String,
        user: Option<String>,
        /// Of a client that did not say who it is: where it came from. Earlier releases did not write it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
        expiry: Expiry,
        /// The newest packet id it has been given.
        #[serde(default)]
        last_id: u32,
    },
    /// A link has it, and from now on it is this user's.
    Attach {
        id: SessionId,
        expiry: Expiry,
        #[serde(default)]
        user: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// No link has it since `wall` (ns since 1970).
    Leave {
        id: SessionId,
        expiry: Expiry,
        wall: u64,
    },
    End {
        id: SessionId,
    },
    /// `backfill`: retained messages are on their way to it.
    Subscribe {
        id: SessionId,
        subscription: Subscription,
        backfill: bool,
    },
    Backfilled {
        id: SessionId,
        filter: Filter,
    },
    Unsubscribe {
        id: SessionId,
        filter: Filter,
    },
    Expose {
        id: SessionId,
        method: String,
    },
    Unexpose {
        id: SessionId,
        method: String,
    },
    /// A QoS 2 publication of this session was accepted; only in snapshots, else the message's record says so.
    Accept {
        id: SessionId,
        token: u64,
    },
    /// And released.
    Release {
        id: SessionId,
        token: u64,
    },
    /// A retained message was queued for it.
    Retained {
        id: SessionId,
        topic: String,
        delivery: Copy,
    },
    /// The peer has these QoS 2 deliveries; they are to be released.
    Received {
        id: SessionId,
        deliveries: Vec<u32>,
    },
    /// These deliveries are over.
    Done {
        id: SessionId,
        deliveries: Vec<u32>,
    },
    /// Nothing is retained on these topics any more: the user whose messages they were was removed.
    Unretain {
        topics: Vec<String>,
    },
    /// Rembus: how much of what this subscription wants has reached the component.
    Seen {
        id: SessionId,
        number: u32,
        #[serde(flatten)]
        progress: Progress,
    },
    /// Rembus: the component takes no more for now, and was served up to record `upto`. What of that has not reached it is said
    /// behind this.
    Passed {
        id: SessionId,
        upto: Seq,
    },
}

/// What a message's record says about sessions that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    /// The session and the packet id of a QoS 2 publication.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<(SessionId, u64)>,
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) to: Vec<(SessionId, Copy)>,
    /// Whose message it is, if it is retained. Earlier releases did not write it.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

/// A delivery with QoS 1 or 2 for a session that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copy {
    #[serde(rename = "i")]
    pub(super) delivery: u32,
    #[serde(rename = "q")]
    pub(super) qos: Qos,
    #[serde(rename = "r", default, skip_serializing_if = "is_false")]
    pub(super) retain: bool,
    /// The session had a link, so the peer may see it before a crash.
    #[serde(rename = "s", default, skip_serializing_if = "is_false")]
    pub(super) sent: bool,
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) identifiers: Vec<u32>,
    /// Group and filter of a shared subscription.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(super) share: Option<(String, String)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// CBOR of something of this module; into memory, so that it cannot fail.
fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("plain data has a CBOR form, and memory takes it");
    bytes
}

impl Route {
    /// Empty when there is nothing to say.
    pub(super) fn encode(&self) -> Vec<u8> {
        if *self == Self::default() { Vec::new() } else { encode(self) }
    }
}
