//! The Rembus door: WebSocket with binary messages in CBOR and text messages in JSON, as the Python and Julia clients speak it;
//! and CBOR behind lengths on a plain stream, as Rembus.jl does (`tcp.rs`).
//!
//! It turns messages into [`Inbound`](crate::router::Inbound) and [`Outbound`](crate::router::Outbound) into messages, and
//! decides nothing about who gets what. `data` passes untouched.
//!
//! ```text
//!  accept.rs ─▶ gate.rs, handshake.rs ─▶ connection.rs ◀─▶ dialogue.rs, login.rs ◀─▶ codec/ (cbor.rs)
//!  (listens)    (before the WebSocket)   (one task each)   (what is said)   (how it is written)
//! ```
//!
//! It promises: an ACK leaves only when the router says so; one peer's silence, flood, garbage or refusal to read costs the
//! others nothing; every buffer is bounded; a stop ends listening before it ends connections.
//!
//! How connections are closed:
//!
//! | code | when |
//! |---|---|
//! | 1001 | the gateway stops |
//! | 1002 | a message that is not Rembus, or a broken WebSocket frame (the Python broker says 1000 and nothing else) |
//! | 1007 | text that is not UTF-8 |
//! | 1008 | too slow; not logged in where that is needed, in time, or with the right key (the reason says which); no longer allowed |
//! | 1009 | a message above `max_message` |
//! | 4000 | another connection took the name (`overwrite_connection`); Python clients do not come back after it |
//!
//! The encoding is that of the peer's last message: a text message switches everything to JSON, a binary one back.
//!
//! A publication that is refused (the disk is full) gets no answer at all: the Python client takes even an error response for
//! an acknowledgement. It repeats the message for 22 s and then fails.
//!
//! Ids have exactly 8 bytes (section 2.1); the reference takes shorter ones and stumbles over longer ones.

mod accept;
mod carrier;
pub mod cbor;
pub mod codec;
mod connection;
mod dialogue;
mod ending;
mod handshake;
mod login;
pub mod name;
mod packet;
mod settings;
mod tcp;
mod traffic;
mod watch;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use accept::serve;
pub use settings::Settings;
