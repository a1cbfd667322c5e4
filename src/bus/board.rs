//! Who is there: names, and what goes by name.

use super::announce;
use super::client::{Client, Sent, Traffic};
use super::frame::{Code, Kind};
use super::settings::Settings;
use super::{broker, mask, name};
use crate::clock::{Mono, SharedClock};
use ahash::AHashMap;
use bytes::Bytes;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What passed between programs by name; publications are counted by the router.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames to one program.
    pub messages: AtomicU64,
    /// Frames to all whose name fits a mask, each counted once.
    pub broadcasts: AtomicU64,
    /// Copies of frames that a full queue did not take, whether the sender was told or not.
    pub queue_full: AtomicU64,
    /// Frames for a name that nobody has.
    pub nobody: AtomicU64,
    /// Frames that the policy does not allow.
    pub denied: AtomicU64,
    pub(super) read: Traffic,
    pub(super) written: Traffic,
}

/// A name is taken from the moment on at which its owner asks for it, and used when the router knows it as well.
#[derive(Debug)]
enum Place {
    Reserved,
    Taken(Arc<Client>),
}

/// The names on the bus.
#[derive(Debug)]
pub struct Board {
    clients: RwLock<AHashMap<Arc<str>, Place>>,
    pub(super) settings: Arc<Settings>,
    pub(super) clock: SharedClock,
    pub(super) since: Mono,
}

impl Board {
    #[must_use]
    pub fn new(settings: Arc<Settings>, clock: SharedClock) -> Arc<Self> {
        let since = clock.mono();
        Arc::new(Self { clients: RwLock::default(), settings, clock, since })
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The programs that are here, as `client.list` has them.
    #[must_use]
    pub fn clients(&self) -> serde_json::Value {
        broker::clients(self, |_| true).into()
    }

    fn read(&self) -> RwLockReadGuard<'_, AHashMap<Arc<str>, Place>> {
        // Nothing that is done with it can panic half way.
        self.clients.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, AHashMap<Arc<str>, Place>> {
        self.clients.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name out of circulation.
    pub(super) fn reserve(self: &Arc<Self>, wanted: &str) -> Result<Reservation, Code> {
        name::check(wanted)?;
        let primary = name::primary(wanted);
        let mut clients = self.write();
        if clients.contains_key(wanted) {
            return Err(Code::BUSY);
        }
        if primary.len() < wanted.len() && !matches!(clients.get(primary), Some(Place::Taken(_))) {
            return Err(Code::NOT_REGISTERED);
        }
        if clients.len() >= self.settings.max_clients {
            return Err(Code::BUSY);
        }
        let name: Arc<str> = wanted.into();
        clients.insert(Arc::clone(&name), Place::Reserved);
        Ok(Reservation { board: Arc::clone(self), name, client: None })
    }

    /// Everybody, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        let taken = |place: &Place| match place {
            Place::Taken(client) => Some(Arc::clone(client)),
            Place::Reserved => None,
        };
        self.read().values().filter_map(taken).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Client>> {
        match self.read().get(name) {
            Some(Place::Taken(client)) => Some(Arc::clone(client)),
            Some(Place::Reserved) | None => None,
        }
    }

    /// Puts a frame into the queues of some. Returns those who have something to be written.
    pub(super) fn spread(&self, frame: &Sent<'_>, is_meant: impl Fn(&Client) -> bool) -> Vec<Arc<Client>> {
        let mut meant = self.all();
        meant.retain(|client| is_meant(client) && self.offer(client, frame).is_ok());
        meant
    }

    /// Puts a frame into a queue, and counts what does not fit.
    pub(super) fn offer(&self, client: &Client, frame: &Sent<'_>) -> Result<(), Code> {
        let outcome = client.offer(frame);
        match outcome {
            Err(Code::NOT_DELIVERED) => self.settings.counts.queue_full.fetch_add(1, Relaxed),
            Err(_) => self.settings.counts.nobody.fetch_add(1, Relaxed),
            Ok(()) => 0,
        };
        outcome
    }

    pub(super) fn broadcast(&self, mask: &str, frame: &Sent<'_>) -> Vec<Arc<Client>> {
        self.spread(frame, |client| mask::matches(mask, &client.name))
    }

    /// To one program and its secondaries, as far as they are subscribed.
    pub(super) fn publish_for(&self, receiver: &str, frame: &Sent<'_>) -> Vec<Arc<Client>> {
        let topic = frame.topic.unwrap_or_default();
        self.spread(frame, |client| client.primary() == receiver && client.wanted().wants(topic))
    }

    /// Tells everybody who has subscribed what happened to somebody. These publications never meet the router, so that nobody
    /// can make them up.
    pub(super) fn announce(&self, what: &str, who: &str) {
        let payload: Bytes = announce::event(what, Some(who), self.clock.wall()).into();
        let topic = Some(announce::INFO);
        let frame = Sent { kind: Kind::Publication, sender: announce::BROKER, topic, payload: &payload, realtime: false };
        for client in self.spread(&frame, |client| client.wanted().wants(announce::INFO)) {
            client.flush();
        }
    }
}

/// A name, for as long as this lives.
#[derive(Debug)]
pub(super) struct Reservation {
    board: Arc<Board>,
    pub(super) name: Arc<str>,
    client: Option<Arc<Client>>,
}

impl Reservation {
    /// From now on its owner can be reached. A secondary whose primary has gone meanwhile goes too.
    pub(super) fn take(&mut self, client: &Arc<Client>) {
        self.client = Some(Arc::clone(client));
        let mut clients = self.board.write();
        let orphan = !client.is_primary() && !matches!(clients.get(client.primary()), Some(Place::Taken(_)));
        clients.insert(Arc::clone(&self.name), Place::Taken(Arc::clone(client)));
        drop(clients);
        if orphan {
            client.close();
        } else if client.is_primary() {
            self.board.announce("reg", &self.name);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut clients = self.board.write();
        clients.remove(&self.name);
        let Some(client) = &self.client else { return };
        let secondaries: Vec<_> = clients
            .values()
            .filter_map(|place| match place {
                Place::Taken(other) if client.is_primary() && other.primary() == &*self.name => Some(Arc::clone(other)),
                _ => None,
            })
            .collect();
        drop(clients);
        client.outbox().closed = true;
        for secondary in secondaries {
            secondary.close();
        }
        if client.is_primary() {
            self.board.announce("unreg", &self.name);
        }
    }
}
