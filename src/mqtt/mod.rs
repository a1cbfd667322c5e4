//! The MQTT door: 3.1.1 and 5.0 (and 3.1, which hardly differs) on one port.
//!
//! It turns packets into [`Inbound`](crate::router::Inbound) and [`Outbound`](crate::router::Outbound) into packets, and
//! decides nothing about who gets what. What the specification lets a server check from the packets of one connection alone is
//! checked here: formats, limits, order, keep alive.
//!
//! ```text
//!  socket ─▶ inbox ─▶ codec ─▶ dialogue ─▶ batch ─▶ router       one task per connection (connection.rs); before CONNACK
//!  socket ◀─ outbox ◀─ codec ◀─ dialogue ◀──────── router       handshake.rs, behind a gate that never blocks accept
//! ```
//!
//! It promises: an acknowledgement leaves only when the router says so; one client's silence, flood, garbage or refusal to read
//! costs the others nothing; every buffer is bounded and an idle connection keeps almost nothing.
//!
//! Not done, as the specification allows: enhanced authentication (answered with 0x8C).

mod accept;
mod codec;
mod connection;
mod dialogue;
mod farewell;
mod handshake;
mod hub;
mod inbox;
mod outbox;
mod settings;
pub(crate) mod websocket;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod stories;

pub use accept::serve;
pub use settings::Settings;
