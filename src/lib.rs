//! Rembus Gateway: an edge broker in which an acknowledgement means the message is on the disk.
//!
//! # A tour for newcomers
//!
//! ```text
//!  socket ─▶ door ─▶ bounded inbox ─▶ router ─▶ effects ─┬─▶ deliver: link ─▶ door ─▶ socket
//!           (mqtt/,                  (router/)           ├─▶ append:  wal/ ─▶ durable ─▶ acknowledgements leave
//!            rembus/)                                    └─▶ invoke:  history/ (query_T, delete_T, upsert_T)
//!                                                            ▲
//!                                                   wal/ ────┘ history reads the log with a cursor and fills the lake
//! ```
//!
//! * A *door* ([`mqtt`], [`rembus`], [`bus`], [`http`]) speaks one dialect. It turns bytes into [`router::Inbound`] and
//!   [`router::Outbound`] into bytes, and decides nothing else.
//!   What all doors do alike is in [`door`]: who comes in by which way (TCP, [`tls`], WebSocket, behind a proxy), and how many.
//! * The *router* ([`router`]) is a pure state machine: events in, effects out. It owns sessions, subscriptions, services,
//!   queues and acknowledgements, and never touches a socket, a file or a clock. [`router::Hub`] runs it.
//! * The *log* ([`wal`]) makes every message durable once, in order, with group commit. It knows no protocol.
//! * *Links* ([`bridge`]) carry messages and calls to other brokers and back; what waits for them is a cursor on the log.
//! * *History* ([`history`]) is a reader of the log. It can lag or die without touching routing.
//! * Commands ([`cli`]) reach the running gateway through [`control`], a socket for its owner.
//! * [`clock`], [`disk`] and [`net`] are the only ways to the outside world, so that a seeded simulation can replace them.
//! * [`gateway`] wires it all together; `main.rs` only starts it.

pub mod access;
pub mod bounds;
pub mod bridge;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod commlib;
pub mod config;
pub mod control;
pub mod disk;
pub mod door;
#[cfg(test)]
mod faults;
pub mod files;
pub mod gateway;
pub mod history;
pub mod http;
pub mod journal;
pub mod mapping;
pub mod message;
pub mod metrics;
pub mod mqtt;
pub mod names;
pub mod net;
pub mod rembus;
pub mod router;
pub mod systemd;
pub mod tls;
pub mod visible;
pub mod wal;
pub mod wear;
