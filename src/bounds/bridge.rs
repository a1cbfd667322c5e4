//! Limits of `src/bridge`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "Messages read from the log for a link",
        fields: &["backlog.rs::Backlog.ready", "backlog.rs::Backlog.window"],
        unit: Unit::Entries("messages"),
        limit: "the link's window",
        at_limit: "the log is not read on",
        metric: None,
        test: None,
    },
    Bound {
        what: "Deliveries to the far end that it has not acknowledged",
        fields: &[
            "parent/session.rs::Session.sent",
            "remote/session.rs::Session.sent",
            "remote/session.rs::Session.queued",
            "remote/session.rs::Session.taken",
        ],
        unit: Unit::Entries("a number each"),
        limit: "64 at a parent (`WINDOW`), 256 at an MQTT broker (`IN_FLIGHT_MAX`)",
        at_limit: "nothing more is sent",
        metric: None,
        test: None,
    },
    Bound {
        what: "Calls to and from the far end",
        fields: &["parent/session.rs::Session.calls", "remote/calls.rs::Calls.0", "remote/calls.rs::Request.payload"],
        unit: Unit::Entries("a call each"),
        limit: "64 (`CALLS_MAX`)",
        at_limit: "refused",
        metric: None,
        test: None,
    },
    Bound {
        what: "What the far end has sent and the router has not taken",
        fields: &["port.rs::Port.waiting", "remote/wire.rs::Wire.events"],
        unit: Unit::Entries("packets of up to 16 MiB (`PACKET_MAX`)"),
        limit: "one batch, 16 events",
        at_limit: "the socket is not read",
        metric: None,
        test: None,
    },
];

pub(super) const EXEMPT: &[Exempt] = &[
    Exempt {
        reason: "one for each link of the configuration",
        fields: &["mod.rs::Links.stats", "mod.rs::Links.tasks", "rest.rs::RestProxy.allow", "settings.rs::*", "topic.rs::*"],
    },
    Exempt { reason: "by reason, which are words of the code", fields: &["stats.rs::LinkReport.dropped"] },
];
