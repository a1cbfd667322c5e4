//! Limits of `src/door`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[Bound {
    what: "Connections that have not finished their handshake",
    fields: &["gate.rs::Waiting.by_age"],
    unit: Unit::Entries("one place each"),
    limit: "one gate for each listener, `max_half_open` (`NEWCOMERS_MAX`, 256)",
    at_limit: "the oldest gives its place to the newest",
    metric: None,
    test: Some("the_oldest_makes_room_for_the_newest"),
}];

pub(super) const EXEMPT: &[Exempt] = &[
    Exempt { reason: "one for each listener of the configuration", fields: &["entrance.rs::Entrances.list"] },
    Exempt { reason: "one question of the watchdog at a time", fields: &["pulse.rs::Beat.0", "pulse.rs::Pulse.0"] },
];
