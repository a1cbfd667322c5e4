//! What every door does alike: accept for ever, bound who is inside, carry bytes over TLS where asked to, count what happens.
//!
//! ```text
//!  listener ─▶ entrance ─▶ arrival ─▶ carry ─▶ line ─▶ the dialect's own handshake
//!  (net.rs)    its way:    a task of  PROXY header, TLS   and a Peer: the real address, how the bytes come,
//!              TLS? PROXY? its own    (in that task)      and the verified certificate
//! ```
//!
//! The accept loop itself never waits for a peer. It waits for two things only: for room among the newcomers ([`Gate`]), and
//! for the TLS handshakes before it ([`Turns`](crate::tls::Turns)); the kernel keeps the others in line meanwhile.

mod accept;
mod arrival;
mod entrance;
mod gate;
mod line;
mod peer;
mod places;
mod proxy;
mod pulse;
mod stats;
mod web;

pub(crate) use accept::accept;
pub(crate) use arrival::{Arrival, TransportError};
pub(crate) use entrance::Entrances;
pub use entrance::{Entrance, Way};
pub(crate) use gate::{Entry, Gate, NEWCOMER_BYTES_MAX, NEWCOMERS_MAX, Origin};
pub(crate) use line::Line;
pub use peer::{Peer, Transport};
pub use places::Places;
pub use pulse::{NoPulse, Pulse};
pub(crate) use stats::Present;
pub use stats::Stats;
pub(crate) use web::check_origin;
pub use web::{Foreign, Origins, is_near};
