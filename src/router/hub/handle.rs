//! How doors and services reach the router: what they may put into its inbox.

use crate::message::Seq;
use crate::router::event::{CallId, Found, Inbound, LinkId, LinkInfo, Outbound, ReadId, Refusal, Status};
use crate::router::interest::Search;
use crate::router::link::{Gone, Link, LinkReceiver, LinkSender};
use crate::router::{Ended, Report};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Batches that may wait for a door. Windows keep it far below; reaching it means that the door does not keep its side.
const OUTBOX: usize = 8_192;

/// What lies in the router's inbox.
#[derive(Debug)]
pub(in crate::router) enum Letter {
    Open {
        link: LinkId,
        info: LinkInfo,
        out: mpsc::Sender<Vec<Outbound>>,
    },
    Batch {
        link: LinkId,
        batch: Vec<Inbound>,
    },
    Answered {
        call: CallId,
        status: Status,
        data: Bytes,
    },
    Command {
        body: Vec<u8>,
        done: oneshot::Sender<Result<Seq, Refusal>>,
    },
    PolicyChanged,
    /// Everything of this user ends.
    EndUser {
        name: String,
        done: oneshot::Sender<Ended>,
    },
    /// What was found in the log up to `reached`; the search comes back with it.
    Found {
        read: ReadId,
        search: Box<Search>,
        found: Vec<Found>,
        reached: Seq,
    },
    Report(oneshot::Sender<Report>),
    /// Dropped when the state is saved, or could not be.
    Save(oneshot::Sender<()>),
    Builtins(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is stopping")]
pub struct HubStopped;

/// How doors and services reach the router.
#[derive(Debug, Clone)]
pub struct HubHandle {
    pub(super) inbox: mpsc::Sender<Letter>,
    pub(super) gone: Arc<Gone>,
    pub(super) last_link: Arc<AtomicU64>,
}

impl HubHandle {
    /// For a router that a test plays.
    #[cfg(test)]
    pub(in crate::router) fn of(inbox: mpsc::Sender<Letter>) -> Self {
        Self { inbox, gone: Arc::default(), last_link: Arc::default() }
    }

    /// Announces a connection. Fails only when the gateway stops.
    pub async fn open(&self, info: LinkInfo) -> Result<Link, HubStopped> {
        let id = LinkId(self.last_link.fetch_add(1, Ordering::Relaxed) + 1);
        let (tx, out) = mpsc::channel(OUTBOX);
        self.inbox.send(Letter::Open { link: id, info, out: tx }).await.map_err(|_| HubStopped)?;
        let sender = LinkSender { id, inbox: self.inbox.clone(), gone: Arc::clone(&self.gone) };
        Ok(Link { sender, receiver: LinkReceiver { out } })
    }

    /// Writes a record that is not a message into the log, in order with everything else; returns once it is durable.
    pub async fn append_command(&self, body: Vec<u8>) -> Result<Seq, Refusal> {
        let (done, wait) = oneshot::channel();
        self.inbox.send(Letter::Command { body, done }).await.map_err(|_| Refusal::LogFailed)?;
        wait.await.unwrap_or(Err(Refusal::LogFailed))
    }

    /// Saves the state now, so that the next start need not read the log. Returns when that is done or has failed.
    pub async fn save_state(&self) {
        let (done, wait) = oneshot::channel();
        if self.inbox.send(Letter::Save(done)).await.is_ok() {
            wait.await.ok();
        }
    }

    /// The gateway serves these methods from now on, in place of those that it started with. Blocks while the inbox is full.
    pub fn set_builtins(&self, methods: Vec<String>) -> Result<(), HubStopped> {
        self.inbox.blocking_send(Letter::Builtins(methods)).map_err(|_| HubStopped)
    }

    /// Users or rules have changed.
    pub async fn policy_changed(&self) -> Result<(), HubStopped> {
        self.inbox.send(Letter::PolicyChanged).await.map_err(|_| HubStopped)
    }

    /// Ends connections, sessions and retained messages of a user who was removed, and says how many there were. Returns when the
    /// disk knows it.
    pub async fn end_user(&self, name: String) -> Result<Ended, HubStopped> {
        let (done, wait) = oneshot::channel();
        self.inbox.send(Letter::EndUser { name, done }).await.map_err(|_| HubStopped)?;
        let ended = wait.await.map_err(|_| HubStopped)?;
        self.save_state().await;
        Ok(ended)
    }

    /// A consistent copy of counters and gauges, for `/metrics` and `status`.
    pub async fn report(&self) -> Result<Report, HubStopped> {
        let (tx, wait) = oneshot::channel();
        self.inbox.send(Letter::Report(tx)).await.map_err(|_| HubStopped)?;
        wait.await.map_err(|_| HubStopped)
    }
}
