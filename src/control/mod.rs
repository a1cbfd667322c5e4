//! The control socket: how commands on the same machine (`status`, `doctor`, `admin`, `query` …) reach the running gateway.
//!
//! HTTP/1.1 with JSON on the unix socket `<data>/control.sock`. Whoever may use it may do everything, so only two may: the user
//! the gateway runs as, and root. The file's mode says so (0600) and the kernel's word on each peer (`SO_PEERCRED`) is checked
//! as well, because the mode of a socket is decided after its name exists.
//!
//! | path | answer |
//! |---|---|
//! | `/status` | [`Status`] |
//! | others | registered by the parts they belong to |
//!
//! A refusal is a status code from 400 on with `{"error": "one sentence", "hint": "what to do"}`; [`Failure`] makes it and
//! [`Client`] reads it. Long answers stream.
//!
//! Limits: [`CONNECTIONS_MAX`] commands at work, [`HEADER_TIMEOUT`] to say what is wanted, [`BODY_MAX`] for a body that is taken
//! as a whole. A socket left behind by a killed process is replaced (the lock of the data folder says that nobody uses it); an
//! orderly stop removes it.

mod client;
mod failure;
mod server;
mod socket;
mod status;

#[cfg(test)]
mod tests;

pub use client::{Client, ControlError};
pub use failure::Failure;
pub use server::serve;
pub use socket::Socket;
pub use status::{Access, Commlib, Door, History, Log, Router, Status, StatusSource, Table, routes as status_routes};

use std::time::Duration;

/// Commands at work at the same time; one more is told to come again.
pub const CONNECTIONS_MAX: usize = 64;
/// For the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest body that a handler takes as a whole; a route that needs more says so with its own layer.
pub const BODY_MAX: usize = 4 << 20;
