//! Limits of `src/mqtt`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "Bytes of packets that are not complete",
        fields: &["inbox.rs::Inbox.bytes"],
        unit: Unit::Bytes,
        limit: "`[mqtt] max_packet`, and 64 KiB read ahead; 64 KiB before CONNECT is accepted",
        at_limit: "the connection is closed (packet too large)",
        metric: None,
        test: Some("a_claimed_length_allocates_nothing_before_the_bytes_come"),
    },
    Bound {
        what: "Packets decoded and not yet with the router",
        fields: &["connection.rs::Connection.batch", "connection.rs::Connection.sender"],
        unit: Unit::Entries("bytes of what was read"),
        limit: "256 packets",
        at_limit: "the socket is not read",
        metric: None,
        test: None,
    },
    Bound {
        what: "Packets from the router that are not yet encoded",
        fields: &[
            "connection.rs::Connection.waiting",
            "connection.rs::Connection.receiver",
            "handshake.rs::Admitted.waiting",
            "handshake.rs::Admitted.link",
        ],
        unit: Unit::Entries("what the session's window lets out"),
        limit: "2,048 deliveries and 1 MiB of them (`UNWRITTEN_MAX`, `UNWRITTEN_BYTES_MAX`), one may be larger",
        at_limit: "the queue of the session grows instead",
        metric: Some("copies_in_flight"),
        test: None,
    },
    Bound {
        what: "Topic aliases of a client",
        fields: &["dialogue.rs::Dialogue.aliases"],
        unit: Unit::Entries("a topic each"),
        limit: "the topic alias maximum that the gateway announces",
        at_limit: "the connection is closed (topic alias invalid)",
        metric: None,
        test: None,
    },
    Bound {
        what: "Answers that need no router",
        fields: &[
            "dialogue.rs::Dialogue.own_answers",
            "dialogue.rs::Dialogue.verdicts",
            "dialogue.rs::Verdicts.codes",
            "dialogue.rs::OwnAnswer::Suback.codes",
            "dialogue.rs::OwnAnswer::Unsuback.codes",
        ],
        unit: Unit::Entries("a byte for each filter of a packet"),
        limit: "256 (`OTHER_ANSWERS_MAX`)",
        at_limit: "the socket is not read",
        metric: None,
        test: None,
    },
    Bound {
        what: "Topics whose alias the client was told",
        fields: &["dialogue.rs::Dialogue.told"],
        unit: Unit::Entries("a topic each"),
        limit: "the client's topic alias maximum, and the gateway's",
        at_limit: "further topics are written in full",
        metric: None,
        test: None,
    },
    Bound {
        what: "Bytes encoded and not yet with the socket",
        fields: &["outbox.rs::Outbox.gathered"],
        unit: Unit::Bytes,
        limit: "32 KiB (`GATHER_MAX`) and one packet",
        at_limit: "nothing is encoded until the socket takes them",
        metric: None,
        test: None,
    },
    Bound {
        what: "WebSocket frames not yet with the socket, and one pong",
        fields: &["websocket.rs::Frames.out", "websocket.rs::Frames.pong", "websocket.rs::Next::Control.payload"],
        unit: Unit::Bytes,
        limit: "32 KiB (`FRAME_MAX`); 125 bytes for a pong",
        at_limit: "nothing is encoded until the socket takes them",
        metric: None,
        test: None,
    },
];

pub(super) const EXEMPT: &[Exempt] = &[];
