//! Parts of the gateway that take part like clients: they serve methods, subscribe, publish and call.
//!
//! A part is a session of the dialect [`Internal`](Dialect::Internal) on a link of its own, so it has the same queue, the same
//! windows and the same place in the books as everybody else, and the router knows nothing of what it does. Beyond what a
//! Rembus component can say there are [`ExposeBelow`](Inbound::ExposeBelow) (all methods with a prefix),
//! [`WatchMethods`](Inbound::WatchMethods) and [`Ask`](Inbound::Ask) (a request to those who subscribed to its very topic).
//! Calls and messages come with their [`Author`](super::Author), because a part acts for others: it asks his rights before it
//! publishes or calls in his name; its own are unlimited.
//!
//! The logic of a part is a plain state machine ([`Part`]): what it hears goes in, what it says comes out. [`start`] runs it.
//! A part that has sockets of its own may also hold the link itself, as a door does.
//!
//! A part promises: it answers every call (the router sets no deadline), and it subscribes with QoS 0, because what it has in
//! memory ends with the process.

use super::core::{Router, respond};
use super::deliver::Queued;
use super::event::{Author, Delivery, Effect, Inbound, LinkId, LinkInfo, Outbound, Status, Token};
use super::hub::{HubHandle, HubStopped};
use super::link::Link;
use super::outgoing::Parcel;
use super::session::SessionKey;
use super::{Now, core};
use crate::access::Identity;
use crate::clock::{Mono, SharedClock};
use crate::message::{Dialect, Message, Seq};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Told at once, so that answers leave while more comes in.
const BATCH_MAX: usize = 256;

/// A part's logic. Everything it says goes into `out`, in order.
pub trait Part: Send + 'static {
    /// The link is open: time to subscribe and to expose.
    fn begin(&mut self, now: Now, out: &mut Vec<Inbound>);
    /// The router says something. Deliveries and requests need no [`Inbound::Written`]; [`start`] sees to that.
    fn hear(&mut self, now: Now, outbound: Outbound, out: &mut Vec<Inbound>);
    /// When [`tick`](Self::tick) is wanted next.
    fn next_due(&self) -> Option<Mono>;
    fn tick(&mut self, now: Now, out: &mut Vec<Inbound>);
}

/// A part on its link.
#[derive(Debug)]
pub struct Running<P> {
    part: P,
    link: Link,
    clock: SharedClock,
    out: Vec<Inbound>,
}

/// Opens the link of a part. What it says at the beginning is with the router before anything that comes later.
pub async fn start<P: Part>(mut part: P, hub: &HubHandle, clock: &SharedClock) -> Result<Running<P>, HubStopped> {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let link = hub.open(LinkInfo { dialect: Dialect::Internal, peer, identity: Identity::default() }).await?;
    let mut out = Vec::new();
    part.begin(now(clock), &mut out);
    let mut running = Running { part, link, clock: Arc::clone(clock), out };
    running.tell().await?;
    Ok(running)
}

impl<P: Part> Running<P> {
    /// Works until the gateway stops or `stop` is done.
    pub async fn serve(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::select! {
            // Only a stop of the router ends a link of ours.
            _ = self.work() => {}
            () = stop => {}
        }
    }

    async fn work(&mut self) -> Result<(), HubStopped> {
        loop {
            let due = self.part.next_due();
            let heard = tokio::select! {
                heard = self.link.receiver.recv() => heard.ok_or(HubStopped)?,
                () = sleep_until(due, &self.clock) => {
                    self.part.tick(now(&self.clock), &mut self.out);
                    self.tell().await?;
                    continue;
                }
            };
            let mut count = 0;
            for outbound in heard {
                count += u32::from(matches!(outbound, Outbound::Deliver(_) | Outbound::Request { .. }));
                self.part.hear(now(&self.clock), outbound, &mut self.out);
            }
            if count > 0 {
                self.out.push(Inbound::Written { count });
            }
            self.tell().await?;
        }
    }

    async fn tell(&mut self) -> Result<(), HubStopped> {
        while !self.out.is_empty() {
            let rest = self.out.split_off(self.out.len().min(BATCH_MAX));
            self.link.sender.send(std::mem::replace(&mut self.out, rest)).await?;
        }
        Ok(())
    }
}

fn now(clock: &SharedClock) -> Now {
    Now { mono: clock.mono(), wall: clock.wall() }
}

async fn sleep_until(due: Option<Mono>, clock: &SharedClock) {
    match due {
        Some(due) => tokio::time::sleep(due.since(clock.mono())).await,
        None => std::future::pending().await,
    }
}

impl Router {
    /// What only a part may say; anybody else is not heard.
    pub(super) fn part(&mut self, link: LinkId, key: SessionKey, inbound: Inbound, effects: &mut Vec<Effect>) {
        if self.sessions.get(key).is_none_or(|session| session.dialect != Dialect::Internal) {
            return;
        }
        match inbound {
            Inbound::ExposeBelow { token, prefix } => {
                self.services.expose_below(&prefix, key);
                respond(link, token, Status::OK, core::NULL, effects);
            }
            Inbound::WatchMethods { suffix } => {
                for method in self.services.ending_with(&suffix) {
                    let offered = self.is_offered(&method);
                    effects.push(Effect::Send { link, out: Outbound::Offered { method, offered } });
                }
                self.watchers.push((key, suffix));
            }
            Inbound::Ask { message, token } => self.ask(link, message, token, effects),
            _ => unreachable!("said to be for parts"),
        }
    }

    /// A request to whoever subscribed to the topic by name and is there.
    fn ask(&mut self, link: LinkId, message: Message, token: Token, effects: &mut Vec<Effect>) {
        let message = Arc::new(message);
        let author = self.author(link);
        let targets: Vec<_> =
            self.tree.by_name(&message.topic).iter().filter_map(|target| target.session().zip(Some(target.qos))).collect();
        let mut takers = 0;
        for (key, qos) in targets {
            let Some(session) = self.sessions.get(key).filter(|session| session.link.is_some()) else { continue };
            let delivery = Delivery {
                message: Arc::clone(&message),
                qos: message.qos.min(qos),
                id: None,
                dup: false,
                retain: false,
                pattern: None,
                identifiers: Vec::new(),
                expiry_s: None,
                author: author.clone().filter(|_| session.dialect == Dialect::Internal),
            };
            let seq = self.last.next();
            // It is worthless to a session that comes back after a restart, so it is in no record.
            let parcel = Parcel { delivery, deadline: None, seq, after: Seq(0), share: None, line: None };
            if matches!(self.queue(key, parcel), Queued::Yes(_)) {
                takers += 1;
                self.pump(key, effects);
            }
        }
        effects.push(Effect::Send { link, out: Outbound::Asked { token, takers } });
    }

    /// Somebody offers these methods, or does so no more, or came or went.
    pub(super) fn tell_watchers<'a>(&self, methods: impl IntoIterator<Item = &'a String>, effects: &mut Vec<Effect>) {
        if self.watchers.is_empty() {
            return;
        }
        for method in methods {
            for (key, _) in self.watchers.iter().filter(|(_, suffix)| method.ends_with(suffix.as_str())) {
                if let Some(link) = self.sessions.get(*key).and_then(|session| session.link) {
                    let (method, offered) = (method.as_str().into(), self.is_offered(method));
                    effects.push(Effect::Send { link, out: Outbound::Offered { method, offered } });
                }
            }
        }
    }

    /// Likewise, for all methods of a session.
    pub(super) fn tell_watchers_of(&self, key: SessionKey, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get(key) {
            self.tell_watchers(session.exposed.iter(), effects);
        }
    }

    /// Whether somebody who is there offers a method.
    fn is_offered(&self, method: &str) -> bool {
        let is_there = |key: &SessionKey| self.sessions.get(*key).is_some_and(|session| session.link.is_some());
        self.services.providers(method).iter().any(is_there)
    }

    pub(super) fn part_ended(&mut self, key: SessionKey) {
        self.services.unexpose_below(key);
        self.watchers.retain(|(known, _)| *known != key);
    }

    /// For a part that hears a message: who published it.
    pub(super) fn publisher(&self, from: Option<SessionKey>) -> Option<Arc<Author>> {
        let session = self.sessions.get(from?)?;
        let (link, name, identity) = (session.link, Arc::clone(&session.name), session.identity.clone());
        Some(Arc::new(Author { link, name, identity, account: session.account.number() }))
    }
}
