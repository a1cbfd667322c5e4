//! An MQTT broker as the far end, by `rumqttc`, MQTT 5.
//!
//! What of `rumqttc` matters here, and what is done about it:
//!
//! * Its event loop keeps a list of what it has not got acknowledged, sends it again after a reconnect, and forgets it when the
//!   session is new. The log is our list: after any failure the event loop is thrown away, and the next session begins behind
//!   what was acknowledged. So the order is that of the log, and nothing hangs on the far end's idea of the session.
//! * `poll` must not be dropped half way, and `Outgoing::Publish` tells the packet id of each publication in the order in which
//!   they were handed over. So a task of its own polls ([`pump`](wire)), and the ids are matched by that order.
//! * While its in-flight window is full it takes no requests at all, acknowledgements of ours included. So ours is smaller.
//! * What comes in is acknowledged by hand, when it is on this gateway's disk.
//!
//! QoS 2 is not used: its packet ids would have to outlive the event loop. Towards the far end a message may come twice after a
//! failure, never out of order and never not at all.

mod calls;
mod convert;
mod session;
mod wire;

use super::Surroundings;
use super::backlog::Select as Selects;
use super::forward::{Dial, LinkError};
use super::marks;
use super::port::Port;
use super::settings::{Direction, Remote};
use super::stats::LinkStats;
use super::topic::{Rename, Rules};
use crate::message::{Message, Qos};
use crate::router::Filter;
use session::Session;
use std::sync::Arc;

/// Which messages go to the remote.
#[derive(Debug)]
pub(super) struct Select {
    rules: Rules<(Rename, Qos)>,
    origin: String,
}

impl Select {
    pub(super) fn new(remote: &Remote) -> Self {
        let out = remote.topics.iter().filter(|bridge| bridge.direction == Direction::Out);
        let rules = out.map(|bridge| (Filter::Mqtt(bridge.filter.clone()), (bridge.rename.clone(), bridge.qos))).collect();
        Self { rules: Rules::new(rules), origin: marks::origin("remote", &remote.link.name) }
    }
}

impl Selects for Select {
    fn select(&mut self, message: &Message) -> Option<(String, Qos)> {
        if self.rules.is_empty() || *message.publisher == *self.origin {
            return None;
        }
        self.rules.find(&message.topic).map(|(rename, qos)| (rename.apply(&message.topic), *qos))
    }
}

/// Connects to one remote.
#[derive(Debug)]
pub(super) struct Dialer {
    remote: Arc<Remote>,
    around: Surroundings,
    stats: Arc<LinkStats>,
}

impl Dialer {
    pub(super) fn new(remote: Remote, around: Surroundings, stats: Arc<LinkStats>) -> Self {
        Self { remote: Arc::new(remote), around, stats }
    }
}

impl Dial for Dialer {
    type Session = Session;

    async fn dial(&mut self) -> Result<Session, LinkError> {
        let wire = wire::connect(&self.remote).await?;
        let origin = marks::origin("remote", &self.remote.link.name);
        let port = Port::open(&self.around.hub, &self.around.clock, &origin).await?;
        let number = marks::number(self.around.log.log_id());
        let (remote, clock, stats) = (Arc::clone(&self.remote), Arc::clone(&self.around.clock), Arc::clone(&self.stats));
        Session::begin(wire, port, remote, number, clock, stats).await
    }
}
