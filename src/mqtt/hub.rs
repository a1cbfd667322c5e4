//! The router as this door sees it: a trait, so that the stories in the tests can play the router themselves.

use crate::router::{self, HubHandle, HubStopped, Inbound, LinkInfo, Outbound};

pub(crate) trait Hub: Clone + Send + Sync + 'static {
    type Sender: Sender;
    type Receiver: Receiver;
    /// Announces a connection.
    fn open(&self, info: LinkInfo) -> impl Future<Output = Result<(Self::Sender, Self::Receiver), HubStopped>> + Send;
}

pub(crate) trait Sender: Send + 'static {
    /// Hands a batch over, and waits while the router's inbox is full.
    fn send(&mut self, batch: Vec<Inbound>) -> impl Future<Output = Result<(), HubStopped>> + Send;
}

pub(crate) trait Receiver: Send + 'static {
    /// Cancel safe.
    fn recv(&mut self) -> impl Future<Output = Option<Vec<Outbound>>> + Send;
}

impl Hub for HubHandle {
    type Sender = router::LinkSender;
    type Receiver = router::LinkReceiver;

    async fn open(&self, info: LinkInfo) -> Result<(Self::Sender, Self::Receiver), HubStopped> {
        let link = Self::open(self, info).await?;
        Ok((link.sender, link.receiver))
    }
}

impl Sender for router::LinkSender {
    async fn send(&mut self, batch: Vec<Inbound>) -> Result<(), HubStopped> {
        Self::send(self, batch).await
    }
}

impl Receiver for router::LinkReceiver {
    async fn recv(&mut self) -> Option<Vec<Outbound>> {
        Self::recv(self).await
    }
}
