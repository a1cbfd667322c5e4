//! Runs the router: carries events in, effects out, between doors, log and history.

use super::{Inbound, LinkId, LinkInfo, Outbound, Refusal};
use crate::message::Seq;
use tokio::sync::mpsc;

/// How doors and services reach the router.
#[derive(Debug, Clone)]
pub struct HubHandle {}

impl HubHandle {
    /// Announces a connection. Fails only when the gateway stops.
    pub async fn open(&self, _info: LinkInfo) -> Result<Link, HubStopped> {
        todo!()
    }

    /// Writes a record that is not a message into the log, in order with everything else; returns once it is durable.
    pub async fn append_command(&self, _body: Vec<u8>) -> Result<Seq, Refusal> {
        todo!()
    }

    /// A consistent copy of counters and gauges, for `/metrics` and `status`.
    pub async fn report(&self) -> Result<super::Report, HubStopped> {
        todo!()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is stopping")]
pub struct HubStopped;

/// A door's end of one connection. Dropping the sender closes the link as [`super::Closed::Lost`], whatever happened to its task.
#[derive(Debug)]
pub struct Link {
    pub sender: LinkSender,
    pub receiver: LinkReceiver,
}

#[derive(Debug)]
pub struct LinkSender {
    id: LinkId,
}

impl LinkSender {
    #[must_use]
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// Hands over what was decoded from the socket, in order. Waits while the router's inbox is full: the caller stops reading
    /// its socket meanwhile, and so the peer is slowed down.
    pub async fn send(&mut self, _batch: Vec<Inbound>) -> Result<(), HubStopped> {
        todo!()
    }
}

/// What the router wants sent. At most `window` deliveries and requests are under way at once (the door reports each as
/// [`Inbound::Written`] once it is in the socket); answers are as many as the door's own unanswered requests, which the door
/// must bound by not reading on.
#[derive(Debug)]
pub struct LinkReceiver {
    out: mpsc::Receiver<Vec<Outbound>>,
}

impl LinkReceiver {
    /// The next batch in order; `None` when the router has dropped the link (after an [`Outbound::Close`], or when it stops).
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<Vec<Outbound>> {
        self.out.recv().await
    }

    /// Like [`recv`](Self::recv), without waiting.
    pub fn try_recv(&mut self) -> Option<Vec<Outbound>> {
        self.out.try_recv().ok()
    }
}
