//! Limits of `src/rembus`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "Messages read and not yet understood",
        fields: &["connection.rs::Connection.inbox"],
        unit: Unit::Bytes,
        limit: "256 KiB (`BATCH_BYTES`), and one message of up to `[rembus] max_message`",
        at_limit: "the socket is not read",
        metric: None,
        test: None,
    },
    Bound {
        what: "Answers and deliveries not yet with the socket",
        fields: &[
            "connection.rs::Connection.answers",
            "connection.rs::Connection.frames",
            "connection.rs::Connection.queue",
            "connection.rs::Connection.reconsidered",
            "connection.rs::Woken::Router.0",
            "login.rs::Verdict.answers",
        ],
        unit: Unit::Entries("bytes of the router's window"),
        limit: "1,024 unanswered requests (`unanswered_max`); 1 MiB of deliveries (`UNWRITTEN_BYTES_MAX`)",
        at_limit: "the socket is not read; a peer that takes nothing for 30 s is dropped",
        metric: Some("copies_in_flight"),
        test: None,
    },
    Bound {
        what: "Bytes of messages over TCP that are not complete",
        fields: &["tcp.rs::Framed.inbox", "tcp.rs::Framed.pieces", "tcp.rs::Framed.outbox"],
        unit: Unit::Bytes,
        limit: "`[rembus] max_message`, and 8 KiB read ahead",
        at_limit: "the connection is closed",
        metric: None,
        test: Some("what_is_no_header_or_claims_too_much_ends_it_and_so_does_half_a_message"),
    },
    Bound {
        what: "JSON calls that may have been publications or direct calls",
        fields: &["dialogue.rs::Dialogue.doubts"],
        unit: Unit::Entries("a call each"),
        limit: "1,024 unanswered requests",
        at_limit: "the socket is not read",
        metric: None,
        test: None,
    },
    Bound {
        what: "QoS 2 deliveries that are not released",
        fields: &["dialogue.rs::Dialogue.exactly_once"],
        unit: Unit::Entries("16 bytes"),
        limit: "8,192 (`EXACTLY_ONCE_MAX`)",
        at_limit: "the oldest is forgotten; its release carries its number alone",
        metric: None,
        test: None,
    },
    Bound {
        what: "Logins that wait for one under way, and work behind them",
        fields: &["login.rs::Login.deferred", "login.rs::Login.errands"],
        unit: Unit::Entries("an id or a task"),
        limit: "4 (`DEFERRED_MAX`)",
        at_limit: "refused: another login is under way",
        metric: None,
        test: None,
    },
];

pub(super) const EXEMPT: &[Exempt] = &[
    Exempt {
        reason: "being written by one function, into a message that is bounded by what it is made of",
        fields: &["cbor.rs::Writer.out", "login.rs::Done::Told.data"],
    },
    Exempt {
        reason: "names of one message, at most 10,000 (`SETUP_MAX`), inside `[rembus] max_message`",
        fields: &[
            "codec/admin.rs::AdminCommand::Setup.exposers",
            "codec/admin.rs::AdminCommand::Setup.subscribers",
            "codec/admin.rs::Fields.exposers",
            "codec/admin.rs::Fields.subscribers",
        ],
    },
];
