//! Why the router says no, why a link ends, and what an answer says.

/// Why the router says no. Each dialect has its own code for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// MQTT 0x85 / 3.1.1 code 2; Rembus 10 `empty cid`.
    NameInvalid,
    /// A client id, a component's name or a method beyond the limits of [`crate::names`]: MQTT 0x85 / 3.1.1 code 2, Rembus 10.
    NameTooLong,
    /// Likewise a topic: MQTT 5 0x90, Rembus 10.
    TopicTooLong,
    /// Likewise a filter or a pattern: MQTT 5 0x8F, Rembus 10.
    FilterTooLong,
    /// Rembus 10 `already connected`.
    NameInUse,
    /// A second identity on a named link.
    AlreadyNamed,
    /// The disk has no room beyond the reserve: MQTT 5 0x97, Rembus 10.
    DiskFull,
    /// The log takes no more writes; the gateway is about to restart.
    LogFailed,
    /// A configured limit (subscriptions, sessions, in-flight) is reached.
    LimitReached,
    /// The caller has as many calls under way as one user may have.
    TooManyCalls,
    /// Not allowed by the access policy.
    NotAuthorized,
    /// A method of this name is the gateway's own, or kept free for it.
    Reserved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// A newer link has the session: MQTT 5 0x8E, Rembus close code 4000.
    TakenOver,
    /// The gateway stops: MQTT 5 0x8B, WebSocket 1001.
    ShuttingDown,
    /// The link let its queue overflow beyond its limits.
    TooSlow,
    /// The peer did not answer a probe while somebody else claimed its name.
    Silent,
    /// The user was removed or disabled, or has another password: MQTT 5 0x87, WebSocket 1008.
    NotAuthorized,
    /// A total is used up, and this user has the largest part of it: MQTT 5 0x97, WebSocket 1008.
    QuotaExceeded,
    /// The peer broke the protocol in a way only the router can see.
    ProtocolError,
    /// An MQTT 3.1.1 publisher cannot be told that a message was refused; its link is closed instead \[MQTT-3.3.5-2\].
    PublishRefused,
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The peer said goodbye (MQTT DISCONNECT, WebSocket close).
    Orderly,
    /// The connection broke, timed out or misbehaved.
    Lost,
}

/// Rembus status of an answer. The client raises `KeyError` on a number it does not know: never invent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    pub const OK: Self = Self(0);
    pub const GENERIC_ERROR: Self = Self(10);
    pub const CHALLENGE: Self = Self(11);
    pub const METHOD_EXCEPTION: Self = Self(40);
    pub const METHOD_NOT_FOUND: Self = Self(42);
    pub const METHOD_UNAVAILABLE: Self = Self(43);
    pub const METHOD_LOOPBACK: Self = Self(44);
    pub const TARGET_NOT_FOUND: Self = Self(45);
    pub const TARGET_DOWN: Self = Self(46);
    pub const UNKNOWN_ADMIN_COMMAND: Self = Self(47);
    pub const NAME_ALREADY_TAKEN: Self = Self(60);
}

impl Refusal {
    /// The reason as metrics and log lines name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NameInvalid => "name_invalid",
            Self::NameTooLong => "name_too_long",
            Self::TopicTooLong => "topic_too_long",
            Self::FilterTooLong => "filter_too_long",
            Self::NameInUse => "name_in_use",
            Self::AlreadyNamed => "already_named",
            Self::DiskFull => "disk_full",
            Self::LogFailed => "log_failed",
            Self::LimitReached => "limit_reached",
            Self::TooManyCalls => "too_many_calls",
            Self::NotAuthorized => "not_authorized",
            Self::Reserved => "reserved",
        }
    }

    /// The text of a Rembus answer with status 10.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NameInvalid => "empty cid",
            Self::NameTooLong => "name too long: it has more bytes than `[mqtt] max_topic` allows, or more than 128 levels",
            Self::TopicTooLong => "topic too long: it has more bytes than `[mqtt] max_topic` allows, or more than 128 levels",
            Self::FilterTooLong => {
                "pattern too long: it has more bytes than `[mqtt] max_topic` allows, more than 128 levels, or more than 6 `**` and \
                 `*` beside other text"
            }
            Self::NameInUse => "already connected",
            Self::AlreadyNamed => "already named",
            Self::DiskFull => "the disk is full; the message is not stored",
            Self::LogFailed => "the log has failed; the message is not stored",
            Self::LimitReached => "limit reached",
            Self::TooManyCalls => "limit reached: too many calls of this user are under way",
            Self::NotAuthorized => "unauthorized",
            Self::Reserved => "reserved: methods of this name are the gateway's own",
        }
    }
}

impl CloseReason {
    /// The reason as log lines name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TakenOver => "taken_over",
            Self::ShuttingDown => "shutting_down",
            Self::TooSlow => "too_slow",
            Self::Silent => "silent",
            Self::NotAuthorized => "not_authorized",
            Self::QuotaExceeded => "quota_exceeded",
            Self::ProtocolError => "protocol_error",
            Self::PublishRefused => "publish_refused",
        }
    }
}
