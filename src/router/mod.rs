//! The router: who gets what. A pure state machine, events in and effects out.
//!
//! It owns sessions, the subscription tree, the service table, delivery queues, QoS state and the ack gate, and never touches
//! a socket, a file, a clock or a thread: [`Hub`] does that, and hands it the time with every event. So a unit test can run a
//! simulated week, and the simulation runs the very code that ships.
//!
//! | file | what |
//! |---|---|
//! | `event.rs`, `attach.rs`, `refusal.rs` | what goes in and out, and why the router says no |
//! | `core.rs` | the state, and what each event does |
//! | `links.rs`, `session.rs` | links come and go, sessions stay or end, wills |
//! | `state.rs`, `keeper.rs` | what survives the process: changes in the log, snapshots |
//! | `publish.rs`, `deliver.rs` | log, acknowledgement, copies; what becomes of each copy |
//! | `retained.rs`, `backfill.rs` | retained messages, and how they reach new subscriptions |
//! | `groups.rs`, `sharing.rs` | shared subscriptions |
//! | `system.rs` | `$SYS` |
//! | `replay.rs`, `trail.rs`, `interest.rs` | what a component missed, from the log |
//! | `registrations.rs` | filters and methods of a session |
//! | `claims.rs` | two components, one name |
//! | `policy.rs` | links whose user is gone |
//! | `accounts.rs`, `ownership.rs`, `fairness.rs` | limits by user, and who gives way when a total is reached |
//! | `calls.rs`, `services.rs` | RPC |
//! | `inventory.rs` | who offers and subscribes to what |
//! | `part.rs` | parts of the gateway that take part like clients |
//! | `conversation.rs` | traffic between two that is nobody else's business |
//! | `bus.rs` | busrt: exclusions, and what crosses between its programs and everybody else |
//! | `tree.rs`, `pattern.rs` | who subscribed to a topic |
//! | `outgoing.rs` | a session's bounded queue and what is under way |
//! | `matcher.rs` | the rules of the tree, for others |
//! | `gate.rs` | acknowledgements wait for the disk |
//! | `hub.rs`, `link.rs` | runs the router between doors, log and history |

mod accounts;
mod attach;
mod backfill;
mod bus;
mod calls;
mod claims;
mod conversation;
mod core;
mod deliver;
mod event;
mod fairness;
mod gate;
mod groups;
mod hub;
mod interest;
mod inventory;
mod keeper;
mod link;
mod links;
mod matcher;
mod outgoing;
mod ownership;
mod part;
mod pattern;
mod policy;
mod publish;
mod refusal;
mod registrations;
mod replay;
mod report;
mod retained;
mod services;
mod session;
mod sharing;
mod state;
mod system;
mod timers;
mod trail;
mod tree;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
pub(crate) mod stand_in;

#[cfg(test)]
mod tests;

pub use self::core::{Options, RESERVED, Router};
pub use bus::BusFilters;
pub use conversation::is_reply as is_reply_topic;
pub use event::*;
pub use fairness::{Ended, UserLimits};
pub use hub::{Hub, HubHandle, HubStopped, NoServices, Services};
pub use interest::Interest;
pub use keeper::{KeepError, Restored};
pub use link::{Link, LinkReceiver, LinkSender, Unsent};
pub use matcher::Matcher;
pub use outgoing::QueueLimits;
pub use part::{Part, Running, start};
pub use report::Report;
pub use retained::RetainedLimits;
pub use state::{RestoreError, Restorer, Saved, Snapshot, StateFolder};
