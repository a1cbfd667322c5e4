//! The bus door: busrt 0.5 (and elbus, which is the same on the wire) for programs on this machine.
//!
//! ```text
//!  broker  EB 01 00              greeting, version 1             client ─▶ broker: op id u32 │ QoS 2 bits, op 6 bits │ len u32 │ body
//!  client  EB 01 00                                              broker ─▶ client: kind u8 │ len u32 │ realtime u8 │ body
//!  broker  01 or 75                                                                FE │ op id u32 │ 01 or an error
//!  client  len u16, name         registration                                      00 │ 0 │ 0     every half timeout
//!  broker  01, 71, 72, 76, 79
//! ```
//! All integers are little endian; `protocol/busrt.md` has the rest.
//!
//! Two ways lead from here:
//!
//! ```text
//!  message, broadcast, publish-for ─▶ board: who has that name ─▶ its outbox ─▶ its socket, written by whoever filled it
//!  publish, subscribe, exclude ─▶ router ─▶ log, history, MQTT, Rembus, and back to programs here
//!  message to .gateway, .rembus.NAME ─▶ router: a call ─▶ whoever serves the method
//! ```
//!
//! What programs say to each other by name is theirs alone: it is not logged and waits for no disk. What they publish is for
//! everybody.
//!
//! # What an acknowledgement means
//!
//! | operation | 01 means | else |
//! |---|---|---|
//! | publish | on the disk (topics of `history`); else handed to all who listen now | 79 denied, 73 the disk takes nothing |
//! | publish-for, broadcast | in the queues of all who are meant and had room | 79 denied |
//! | message to a program | in its queue | 71 nobody of that name, 77 its queue is full, 79 denied |
//! | message to `.broker`, `.gateway`, `.rembus.NAME` | the call is taken; its outcome is the answer | 75 it is no call |
//! | subscribe, exclude and back | in force for what is published from now on | 79 one of the topics is denied, 76 too many |
//!
//! There is exactly one acknowledgement for an operation that asks for one, and none for one that does not.
//!
//! # Who is slow
//!
//! A program has an outbox of `queue` frames and `queue_size` bytes for what others send it by name; at the bound a frame
//! without QoS is dropped and counted and one with QoS is refused to its sender (77). Publications wait in the router as for
//! any other subscriber, and are dropped and counted there. A program whose own outbox is full is not read; one that takes
//! nothing for a `timeout` is disconnected. Nobody else waits for it at any time.
//!
//! Differences from busrtd, all on purpose: names have at most 255 bytes of a small alphabet (72), nobody may publish below
//! `.broker/` (79), a full queue does not disconnect, there is no WebSocket, fifo, cursor or force-register.

mod accept;
mod announce;
mod board;
mod broker;
mod call;
mod client;
mod connection;
mod dialogue;
pub mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod inbox;
mod mask;
mod name;
mod outbox;
mod outward;
mod rpc;
mod settings;
mod socket;

#[cfg(test)]
mod tests;

pub use accept::serve;
pub use board::{Board, Counts};
pub use settings::Settings;
pub use socket::{BusListener, Socket};
