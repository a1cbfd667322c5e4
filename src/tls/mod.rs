//! TLS 1.2 and 1.3, for all doors: one certificate, one handshake queue, new files without a restart.
//!
//! ```text
//!  files.rs    certificate chain, key, client CA ─▶ checked server configuration
//!  server.rs   the configuration in use; a reload swaps it, connections keep the one they began with
//!  turns.rs    who may use the processor for a handshake, one after the other
//!  client.rs   the other side: links to other brokers
//!  refusal.rs  what a failed handshake means, for whoever reads the log
//! ```
//!
//! A client that comes back resumes its session: tickets are sealed with a key that lives as long as the configuration in use,
//! so that a new client CA is asked for by everybody. The key changes every few hours, and never touches the disk.

pub mod client;
mod files;
mod refusal;
mod server;
mod turns;

#[cfg(test)]
pub(crate) mod pki;
#[cfg(test)]
mod tests;

pub use files::{ClientCertificate, Files, TlsError, Validity};
pub(crate) use refusal::TlsRefusal;
pub use server::Server;
pub(crate) use turns::Ticket;
