//! A door's end of one connection.

use super::event::{Closed, Inbound, LinkId, Outbound};
use super::hub::{HubStopped, Letter};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc};

/// Dropping the sender closes the link as [`Closed::Lost`], whatever happened to the door's task.
#[derive(Debug)]
pub struct Link {
    pub sender: LinkSender,
    pub receiver: LinkReceiver,
}

#[derive(Debug)]
pub struct LinkSender {
    pub(super) id: LinkId,
    pub(super) inbox: mpsc::Sender<Letter>,
    pub(super) gone: Arc<Gone>,
}

impl LinkSender {
    #[must_use]
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// Likewise, without waiting; hands the batch back if the inbox is full.
    pub fn try_send(&mut self, batch: Vec<Inbound>) -> Result<(), Unsent> {
        self.inbox.try_send(Letter::Batch { link: self.id, batch }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(Letter::Batch { batch, .. }) => Unsent::Full(batch),
            _ => Unsent::Stopped,
        })
    }

    /// Hands over what was decoded from the socket, in order. Waits while the router's inbox is full: the caller stops reading
    /// its socket meanwhile, and so the peer is slowed down. Cancel safe, but the batch is lost with the call.
    pub async fn send(&mut self, batch: Vec<Inbound>) -> Result<(), HubStopped> {
        self.inbox.send(Letter::Batch { link: self.id, batch }).await.map_err(|_| HubStopped)
    }
}

/// Why a batch is not with the router.
#[derive(Debug)]
pub enum Unsent {
    Full(Vec<Inbound>),
    Stopped,
}

impl Drop for LinkSender {
    fn drop(&mut self) {
        self.gone.push(self.id);
    }
}

/// What the router wants sent. At most a window of deliveries and requests is under way at once (the door reports each as
/// [`Inbound::Written`] once it is in the socket); answers are as many as the door's own unanswered requests, which the door
/// must bound by not reading on.
#[derive(Debug)]
pub struct LinkReceiver {
    pub(super) out: mpsc::Receiver<Vec<Outbound>>,
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

/// Links whose door has let go of them. A drop cannot wait for room in the inbox, so it leaves a note here; there are at most
/// as many notes as links.
#[derive(Debug, Default)]
pub(super) struct Gone {
    links: Mutex<Vec<LinkId>>,
    pub(super) noted: Notify,
}

impl Gone {
    fn push(&self, link: LinkId) {
        self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(link);
        self.noted.notify_one();
    }

    pub(super) fn take(&self) -> Vec<LinkId> {
        std::mem::take(&mut *self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Inbound {
    /// A link that ended without saying so.
    pub(super) const LOST: Self = Self::Closed { reason: Closed::Lost };
}
