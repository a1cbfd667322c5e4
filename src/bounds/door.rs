//! Limits of `src/door`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[Bound {
    what: "Connections that have not said who they are: handshake, CONNECT, or a login that is needed",
    fields: &["gate.rs::Waiting.by_age"],
    unit: Unit::Entries("one place each"),
    limit: "256 a door (`NEWCOMERS_MAX`), bus and HTTP 64; at most a quarter of the descriptors for connections (`files.rs`)",
    at_limit: "the oldest of the address block that has most of them gives its place to the newest",
    metric: None,
    test: Some("a_flood_from_one_block_displaces_itself_and_nobody_else"),
}];

pub(super) const EXEMPT: &[Exempt] = &[
    Exempt { reason: "one for each listener of the configuration", fields: &["entrance.rs::Entrances.list"] },
    Exempt { reason: "one question of the watchdog at a time", fields: &["pulse.rs::Beat.0", "pulse.rs::Pulse.0"] },
];
