//! Links to other brokers: a Rembus broker that this gateway is a component of (`[[parent]]`), and MQTT brokers that topics and
//! calls are bridged with (`[remote.NAME]`, `[[bridge.topic]]`, `[[bridge.rpc]]`).
//!
//! ```text
//!                ┌──────────── backlog: a cursor on the log, what it still needs is held there ───────────┐
//!  durable log ──┤ select (which topics, under which name) ─▶ window ─▶ far end ─▶ acknowledged ─▶ progress on the disk
//!                └─ beyond its bound in size or age: given up, counted                                    │
//!  router ◀── port: a link like that of any client ◀── what the far end publishes, calls that it makes ◀──┘
//! ```
//!
//! Beside them, with none of this: TCP ports that lead to an address behind the gateway ([`tcp`]), and methods that ask an HTTP
//! service ([`rest`]).
//!
//! One forwarder ([`forward`]) and two kinds of far end ([`parent`], [`remote`]). Promises:
//!
//! * What the log has and a rule selects arrives at the far end in the order of the log, at least once. Nothing of it waits in
//!   memory: a link that is down for a month costs disk, not memory.
//! * The far end's acknowledgement moves the progress, nothing else does. After an orderly restart nothing is sent twice; after
//!   `kill -9` at most what was sent since the progress was last written (a second, or 5,000 messages).
//! * What a link gives up is counted, by reason.
//! * A link that does not work costs the others and the router nothing. It is limited in what it sends a second, so that live
//!   traffic keeps its latency while a backlog drains.
//! * No loops: what came from a far end does not go back to it, and what a gateway has seen before it does not take again
//!   ([`marks`]).

mod backlog;
mod forward;
mod marks;
mod parent;
mod port;
pub(crate) mod progress;
mod rate;
mod remote;
mod rest;
mod settings;
mod stats;
mod tcp;
mod topic;

#[cfg(test)]
mod tests;

use crate::clock::SharedClock;
use crate::disk::SharedDisk;
use crate::net::TcpListener;
use crate::router::HubHandle;
use crate::wal::LogHandle;
use backlog::Backlog;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use marks::{has_been_at, number};
pub use rest::{Allowed, RestProxy};
pub use settings::{
    BacklogLimits, Direction, Exposure, LinkSettings, Parent, Remote, RpcBridge, Settings, TlsFiles, TopicBridge, filter_of,
};
pub use stats::{LinkReport, LinkStats};
pub use tcp::TcpForward;

/// What links need of the rest of the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) hub: HubHandle,
    pub(crate) log: LogHandle,
    pub(crate) clock: SharedClock,
    pub(crate) disk: SharedDisk,
    /// The gateway's data folder; links keep their progress below it.
    pub(crate) data: PathBuf,
}

/// All links of the gateway, at work.
#[derive(Debug)]
pub(crate) struct Links {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    stats: Vec<Arc<LinkStats>>,
}

impl Links {
    /// Starts every link. None of them is waited for. Blocks for a few files. Fails only if a forward cannot listen; then its
    /// address is told.
    pub(crate) async fn start(settings: Settings, around: &Surroundings) -> Result<Self, (String, std::io::Error)> {
        let mut links = Self { tasks: JoinSet::new(), stop: watch::Sender::new(false), stats: Vec::new() };
        for forward in settings.forwards {
            let listener = TcpListener::bind(&forward.listen).await.map_err(|error| (forward.listen.clone(), error))?;
            log::info!(listen = forward.listen.as_str(), to = forward.to.as_str(); "forwarding TCP");
            let stats = links.count("tcp", &forward.listen);
            let (mut stop, clock) = (links.stop.subscribe(), Arc::clone(&around.clock));
            links.tasks.spawn(async move {
                tokio::select! {
                    () = tcp::serve(listener, forward, clock, stats) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
        }
        let folder = progress::Folder::open(&around.disk, &around.data);
        for proxy in settings.proxies {
            let stats = links.count("rest", &proxy.method);
            let (mut stop, around) = (links.stop.subscribe(), around.clone());
            links.tasks.spawn(async move {
                tokio::select! {
                    () = rest::serve(proxy, around, stats) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
        }
        for parent in settings.parents {
            let stats = links.count("parent", &parent.link.name);
            let progress = folder.progress(&format!("parent-{}", parent.link.name));
            let select = parent::Select::new(&parent);
            let backlog = Backlog::new(around, progress, &parent.link, Box::new(select), Arc::clone(&stats));
            let far = parent::Dialer::new(parent, around.clone(), Arc::clone(&stats));
            links.tasks.spawn(forward::run(far, backlog, Arc::clone(&around.clock), stats, links.stop.subscribe()));
        }
        for remote in settings.remotes {
            let stats = links.count("remote", &remote.link.name);
            let progress = folder.progress(&format!("remote-{}", remote.link.name));
            let select = remote::Select::new(&remote);
            let backlog = Backlog::new(around, progress, &remote.link, Box::new(select), Arc::clone(&stats));
            let far = remote::Dialer::new(remote, around.clone(), Arc::clone(&stats));
            links.tasks.spawn(forward::run(far, backlog, Arc::clone(&around.clock), stats, links.stop.subscribe()));
        }
        Ok(links)
    }

    fn count(&mut self, kind: &'static str, name: &str) -> Arc<LinkStats> {
        let stats = Arc::new(LinkStats::new(kind, name));
        self.stats.push(Arc::clone(&stats));
        stats
    }

    pub(crate) fn stats(&self) -> Vec<Arc<LinkStats>> {
        self.stats.clone()
    }

    /// Lets acknowledgements under way come in, writes the progress, closes.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
