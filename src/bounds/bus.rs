//! Limits of `src/bus`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "Programs on the bus",
        fields: &["board.rs::Board.clients"],
        unit: Unit::Entries("a connection each"),
        limit: "`[bus] max_clients`",
        at_limit: "refused",
        metric: None,
        test: None,
    },
    Bound {
        what: "Topics that a program subscribes to or excludes",
        fields: &[
            "client.rs::Wanted.subscribed",
            "client.rs::Wanted.excluded",
            "dialogue.rs::Change.topics",
            "dialogue.rs::Dialogue.changes",
        ],
        unit: Unit::Entries("topics of up to 1 MiB together for `client.list` (`FILTER_BYTES_MAX`)"),
        limit: "`[bus] max_subscriptions`",
        at_limit: "refused",
        metric: None,
        test: None,
    },
    Bound {
        what: "Frames not complete",
        fields: &["inbox.rs::Inbox.bytes"],
        unit: Unit::Bytes,
        limit: "`[bus] max_frame`, and 64 KiB read ahead",
        at_limit: "the connection is closed",
        metric: None,
        test: None,
    },
    Bound {
        what: "Frames decoded and not yet with the router, and those they woke",
        fields: &["dialogue.rs::Dialogue.batch", "dialogue.rs::Dialogue.touched"],
        unit: Unit::Entries("bytes of what was read"),
        limit: "one read of the socket",
        at_limit: "the socket is not read",
        metric: None,
        test: None,
    },
    Bound {
        what: "Calls of a program under way",
        fields: &["dialogue.rs::Dialogue.calls"],
        unit: Unit::Entries("a number each"),
        limit: "the router's calls of one link",
        at_limit: "refused",
        metric: Some("calls_pending"),
        test: None,
    },
    Bound {
        what: "Frames that wait for a program",
        fields: &["outbox.rs::Outbox.frames", "outbox.rs::Outbox.ready", "outbox.rs::Outbox.gathered"],
        unit: Unit::Bytes,
        limit: "`[bus] queue_size`, `[bus] queue`",
        at_limit: "the sender is refused",
        metric: None,
        test: None,
    },
];

pub(super) const EXEMPT: &[Exempt] = &[Exempt { reason: "from the configuration", fields: &["settings.rs::*"] }];
