//! Where a message has been, so that it does not go round in circles.
//!
//! Two marks, for two kinds of circle:
//!
//! * *Origin*: a message from a far end is published here in the name of [`origin`]; a link never forwards what came in by
//!   itself. That is kept in the log with the message, so it also holds for a backlog and after a restart.
//! * *Path*: whatever a gateway hands to an MQTT broker, or fetches from one, has the user property [`VIA`] with the gateway's
//!   number (its log's id, which is random and lives as long as the data folder). A gateway that gets a message with its own
//!   number has had it before: it acknowledges it, counts it (as refused, `reason="loop"`, or as dropped by the link), and
//!   that is all.

use crate::message::{Message, Properties};

/// Name of the user property (MQTT 5 section 3.3.2.3.7).
const VIA: &str = "rembus-gateway-via";

/// Who publishes what comes from a far end: seen by subscribers and in the log.
pub(super) fn origin(kind: &str, name: &str) -> String {
    format!("${kind}/{name}")
}

/// A gateway's number as the property says it.
pub(crate) fn number(log_id: u64) -> String {
    format!("{log_id:016x}")
}

/// Whether a gateway with this number has had the message before.
pub(crate) fn has_been_at(message: &Message, number: &str) -> bool {
    message.properties.as_ref().is_some_and(|properties| has(properties, number))
}

/// The properties, and that the message has been here.
pub(super) fn stamped(mut properties: Properties, number: &str) -> Properties {
    if !has(&properties, number) {
        properties.user.push((VIA.to_owned(), number.to_owned()));
    }
    properties
}

/// Whether the properties have this number.
pub(super) fn has(properties: &Properties, number: &str) -> bool {
    properties.user.iter().any(|(name, value)| name == VIA && value == number)
}
