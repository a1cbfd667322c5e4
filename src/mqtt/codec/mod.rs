//! Bytes to packets and back, for the server's side of MQTT 3.1, 3.1.1 and 5.0.
//!
//! ```text
//! u8 type (bits 4-7) and flags (bits 0-3) │ 1-4 bytes remaining length │ variable header │ payload
//! ```
//!
//! Decoding is strict: a packet comes out only if every clause holds that can be checked from the packet alone. It borrows from
//! the read buffer, so that a message is copied once, into what the router keeps, and never pins the buffer it came in.
//! `docs/decisions/0001-mqtt-core.md` tells why this is not a library; the tests compare every encoding with one.

mod connect;
mod decode;
mod encode;
mod fields;
mod reason;
pub(crate) mod topic;

#[cfg(test)]
mod commlib;
#[cfg(test)]
mod tests;

pub(crate) use connect::{Connect, ConnectError, Will, read_connect};
pub(crate) use decode::{AckKind, Filters, Frame, Packet, Publish, decode, frame};
pub(crate) use encode::{
    Alias, Connack, OutgoingPublish, Unsendable, ack, connack, disconnect, pingresp, publish, suback, unsuback,
};
pub(crate) use reason::{Fault, ReasonCode, protocol_error};

/// What the protocol level in CONNECT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The predecessor, level 3, protocol name `MQIsdp`. Served like 3.1.1, from which it hardly differs on the wire.
    V31,
    V311,
    V5,
}

impl Version {
    pub(crate) fn is_5(self) -> bool {
        self == Self::V5
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// The packet types, as in the upper half of the first byte.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const CONNACK: u8 = 2;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const SUBACK: u8 = 9;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const UNSUBACK: u8 = 11;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const PINGRESP: u8 = 13;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}
