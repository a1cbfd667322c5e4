//! Reason codes of MQTT 5 (section 2.4), their shadow in 3.1.1, and what is wrong with a packet.

use crate::access;
use crate::router::{CloseReason, Refusal};

/// An MQTT 5 reason code; 0x80 and above are errors. 3.1.1 peers see its [`connect_return_code`](Self::connect_return_code),
/// its [`suback_code`](Self::suback_code), or a closed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReasonCode(pub(crate) u8);

impl ReasonCode {
    pub(crate) const SUCCESS: Self = Self(0x00);
    pub(crate) const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    pub(crate) const MALFORMED_PACKET: Self = Self(0x81);
    pub(crate) const PROTOCOL_ERROR: Self = Self(0x82);
    pub(crate) const IMPLEMENTATION_ERROR: Self = Self(0x83);
    pub(crate) const UNSUPPORTED_VERSION: Self = Self(0x84);
    pub(crate) const CLIENT_ID_NOT_VALID: Self = Self(0x85);
    pub(crate) const BAD_CREDENTIALS: Self = Self(0x86);
    pub(crate) const NOT_AUTHORIZED: Self = Self(0x87);
    pub(crate) const SERVER_UNAVAILABLE: Self = Self(0x88);
    pub(crate) const SERVER_BUSY: Self = Self(0x89);
    pub(crate) const BANNED: Self = Self(0x8A);
    pub(crate) const SERVER_SHUTTING_DOWN: Self = Self(0x8B);
    pub(crate) const BAD_AUTHENTICATION_METHOD: Self = Self(0x8C);
    pub(crate) const KEEP_ALIVE_TIMEOUT: Self = Self(0x8D);
    pub(crate) const SESSION_TAKEN_OVER: Self = Self(0x8E);
    pub(crate) const TOPIC_FILTER_INVALID: Self = Self(0x8F);
    pub(crate) const TOPIC_NAME_INVALID: Self = Self(0x90);
    pub(crate) const PACKET_ID_NOT_FOUND: Self = Self(0x92);
    pub(crate) const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    pub(crate) const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    pub(crate) const PACKET_TOO_LARGE: Self = Self(0x95);
    pub(crate) const QUOTA_EXCEEDED: Self = Self(0x97);

    pub(crate) fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The CONNACK return code of 3.1.1 (table 3.1) that comes nearest.
    pub(crate) fn connect_return_code(self) -> u8 {
        match self.0 {
            0x00 => 0,
            0x84 => 1,
            0x85 => 2,
            0x86 => 4,
            0x87 | 0x8A | 0x8C => 5,
            _ => 3,
        }
    }

    /// The SUBACK return code of 3.1.1: a granted QoS, or failure.
    pub(crate) fn suback_code(self) -> u8 {
        self.0.min(0x80)
    }
}

impl From<Refusal> for ReasonCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NameInvalid | Refusal::NameInUse | Refusal::NameTooLong => Self::CLIENT_ID_NOT_VALID,
            Refusal::TopicTooLong => Self::TOPIC_NAME_INVALID,
            Refusal::FilterTooLong => Self::TOPIC_FILTER_INVALID,
            Refusal::AlreadyNamed => Self::PROTOCOL_ERROR,
            Refusal::DiskFull | Refusal::LimitReached | Refusal::TooManyCalls => Self::QUOTA_EXCEEDED,
            Refusal::LogFailed => Self::IMPLEMENTATION_ERROR,
            Refusal::NotAuthorized | Refusal::Reserved => Self::NOT_AUTHORIZED,
        }
    }
}

/// 3.1.1 hears 4 for wrong credentials, 5 for what is not allowed, 3 for what may work later.
impl From<access::Refused> for ReasonCode {
    fn from(why: access::Refused) -> Self {
        match why {
            access::Refused::Credentials => Self::BAD_CREDENTIALS,
            access::Refused::Anonymous | access::Refused::Certificate | access::Refused::Attestation | access::Refused::Pin => {
                Self::NOT_AUTHORIZED
            }
            access::Refused::Disabled => Self::BANNED,
            access::Refused::Throttled => Self::SERVER_BUSY,
            access::Refused::Connections => Self::QUOTA_EXCEEDED,
        }
    }
}

impl From<CloseReason> for ReasonCode {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TakenOver => Self::SESSION_TAKEN_OVER,
            CloseReason::ShuttingDown => Self::SERVER_SHUTTING_DOWN,
            CloseReason::Silent => Self::KEEP_ALIVE_TIMEOUT,
            CloseReason::TooSlow | CloseReason::PublishRefused | CloseReason::QuotaExceeded => Self::QUOTA_EXCEEDED,
            CloseReason::NotAuthorized => Self::NOT_AUTHORIZED,
            CloseReason::ProtocolError => Self::PROTOCOL_ERROR,
        }
    }
}

/// Why a connection must end: the code that a 5.0 peer is told, and a sentence for it and for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Fault {
    pub(crate) reason: ReasonCode,
    pub(crate) what: &'static str,
}

/// The bytes cannot be parsed according to the specification (5.0 section 4.13.1).
pub(crate) fn malformed(what: &'static str) -> Fault {
    Fault { reason: ReasonCode::MALFORMED_PACKET, what }
}

/// The packet can be parsed, and must not be there or must not say that.
pub(crate) fn protocol_error(what: &'static str) -> Fault {
    Fault { reason: ReasonCode::PROTOCOL_ERROR, what }
}
