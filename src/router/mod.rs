//! The router: who gets what. A pure state machine, events in and effects out.
//!
//! It owns sessions, the subscription tree, the service table, delivery queues, QoS state and the ack gate, and never touches
//! a socket, a file, a clock or a thread: [`Hub`] does that, and hands it the time with every event. So a unit test can run a
//! simulated week, and the simulation runs the very code that ships.

mod event;
mod hub;
mod report;

pub use event::*;
pub use hub::{HubHandle, HubStopped, Link, LinkReceiver, LinkSender};
pub use report::Report;
