//! A router played by a test: what a door tells it, and what the test answers.

use super::event::{Inbound, LinkId, LinkInfo, Outbound};
use super::hub::{HubHandle, Letter};
use std::collections::{HashMap, VecDeque};
use tokio::sync::mpsc;

#[derive(Debug)]
pub(crate) struct StandIn {
    inbox: mpsc::Receiver<Letter>,
    links: HashMap<LinkId, mpsc::Sender<Vec<Outbound>>>,
    heard: VecDeque<(LinkId, Inbound)>,
}

impl StandIn {
    /// The router, and the handle for the door under test.
    pub(crate) fn new() -> (Self, HubHandle) {
        let (tx, inbox) = mpsc::channel(16);
        (Self { inbox, links: HashMap::new(), heard: VecDeque::new() }, HubHandle::of(tx))
    }

    /// Waits for the next connection. What other links say meanwhile is kept.
    pub(crate) async fn opened(&mut self) -> (LinkId, LinkInfo) {
        loop {
            match self.inbox.recv().await.expect("the door is still there") {
                Letter::Open { link, info, out } => {
                    self.links.insert(link, out);
                    return (link, info);
                }
                Letter::Batch { link, batch } => self.heard.extend(batch.into_iter().map(|inbound| (link, inbound))),
                other => panic!("a door does not send {other:?}"),
            }
        }
    }

    /// The next event from any link.
    pub(crate) async fn hear(&mut self) -> (LinkId, Inbound) {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            match self.inbox.recv().await.expect("the door is still there") {
                Letter::Open { link, out, .. } => drop(self.links.insert(link, out)),
                Letter::Batch { link, batch } => self.heard.extend(batch.into_iter().map(|inbound| (link, inbound))),
                other => panic!("a door does not send {other:?}"),
            }
        }
    }

    /// Whether nothing was said that the test has not heard.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.heard.is_empty() && self.inbox.try_recv().is_err()
    }

    pub(crate) async fn say(&self, link: LinkId, out: Vec<Outbound>) {
        self.links[&link].send(out).await.expect("the link is open");
    }

    /// Lets go of a link, as the router does after it closed one.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.links.remove(&link);
    }
}

/// Whether a filter matches a topic, as the router sees it.
pub(crate) fn matches(filter: &super::Filter, topic: &str) -> bool {
    super::tree::hits(filter, topic)
}
