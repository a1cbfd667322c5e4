//! A Rembus broker as the far end: the gateway is one of its components.
//!
//! ```text
//! dial ─▶ [TLS] ─▶ WebSocket ─▶ [REGISTER] ─▶ IDENTITY ─▶ [challenge, ATTESTATION] ─▶ expose … ─▶ publish (QoS 1), serve calls
//! ```
//! Publications are QoS 1 and kept in a window; each ACK is matched by its id. A call for an exposed method goes through the
//! router like that of any client, under the method's name here.

mod key;
mod login;
mod session;

use super::backlog::Select as Selects;
use super::forward::{Dial, LinkError};
use super::marks;
use super::port::Port;
use super::stats::LinkStats;
use super::topic::Rules;
use super::{Parent, Surroundings};
use crate::message::{Message, Qos};
use crate::router::Filter;
use session::Session;
use std::sync::Arc;

/// Which messages go to the parent.
#[derive(Debug)]
pub(super) struct Select {
    rules: Rules<()>,
    origin: String,
}

impl Select {
    pub(super) fn new(parent: &Parent) -> Self {
        let rules = parent.forward.iter().map(|pattern| (Filter::Rembus(pattern.clone()), ())).collect();
        Self { rules: Rules::new(rules), origin: marks::origin("parent", &parent.link.name) }
    }
}

impl Selects for Select {
    fn select(&mut self, message: &Message) -> Option<(String, Qos)> {
        if self.rules.is_empty() || *message.publisher == *self.origin {
            return None;
        }
        self.rules.find(&message.topic).map(|()| (message.topic.clone(), Qos::AtLeastOnce))
    }
}

/// Connects to one parent.
#[derive(Debug)]
pub(super) struct Dialer {
    parent: Arc<Parent>,
    around: Surroundings,
    stats: Arc<LinkStats>,
}

impl Dialer {
    pub(super) fn new(parent: Parent, around: Surroundings, stats: Arc<LinkStats>) -> Self {
        Self { parent: Arc::new(parent), around, stats }
    }
}

impl Dial for Dialer {
    type Session = Session;

    async fn dial(&mut self) -> Result<Session, LinkError> {
        let mut socket = login::connect(&self.parent).await?;
        login::log_in(&mut socket, &self.parent).await?;
        let origin = marks::origin("parent", &self.parent.link.name);
        let port = Port::open(&self.around.hub, &self.around.clock, &origin).await?;
        let mut session = Session::new(socket, port, Arc::clone(&self.parent), Arc::clone(&self.stats));
        session.expose().await?;
        Ok(session)
    }
}
