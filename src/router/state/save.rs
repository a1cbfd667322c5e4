//! From the state to the shortest list of records that leads to it.

use super::{Change, Copy, Route, encode};
use crate::message::{self, Message, Seq, kind};
use crate::router::core::Router;
use crate::router::outgoing::{Parcel, Waiting};
use crate::router::session::{Session, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state after everything up to [`Snapshot::upto`]. Messages are shared with the router; encoding them is for another thread.
#[derive(Debug)]
pub struct Snapshot {
    /// The log's records up to here are part of it.
    pub upto: Seq,
    changes: Vec<Change>,
    /// In the order in which they were set, and whose each is.
    retained: Vec<(Arc<Message>, Option<String>)>,
    /// By the record that queued them first, which is the order in every queue; and by message.
    queued: BTreeMap<(Seq, usize), Queued>,
}

/// One message, and the sessions in whose queues it waits.
#[derive(Debug)]
struct Queued {
    message: Arc<Message>,
    to: Vec<(SessionId, Copy)>,
}

/// Changes in one record.
const CHANGES: usize = 500;

impl Router {
    /// The state as it is now. To be called when nothing is pending (right after [`settle`](Router::settle)).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { upto: self.last, changes: Vec::new(), retained: Vec::new(), queued: BTreeMap::new() };
        for (_, session) in self.sessions.iter() {
            if let Some(id) = session.kept {
                snapshot.session(id, session, self);
            }
        }
        snapshot.exposed(self);
        let own = |message: &Message| message.dialect != crate::message::Dialect::Internal;
        let mut retained: Vec<_> = self.retained.iter().filter(|kept| own(&kept.message)).collect();
        retained.sort_unstable_by_key(|kept| kept.order);
        let owner = |account| self.accounts.owner(account).to_text();
        snapshot.retained.extend(retained.into_iter().map(|kept| (Arc::clone(&kept.message), owner(kept.account))));
        snapshot
    }
}

impl Snapshot {
    fn session(&mut self, id: SessionId, session: &Session, router: &Router) {
        self.changes.push(Change::Open {
            id,
            dialect: session.dialect,
            name: session.name.to_string(),
            user: session.identity.user.as_deref().map(str::to_owned),
            address: router.accounts.owner(session.account).address(),
            expiry: session.expiry,
            last_id: session.out.last_id(),
        });
        for (filter, subscription) in &session.filters {
            let backfill = session.backfill.iter().any(|fill| fill.subscription.filter == *filter);
            self.changes.push(Change::Subscribe { id, subscription: subscription.clone(), backfill });
        }
        self.changes.extend(session.unreleased.keys().map(|token| Change::Accept { id, token: token.0 }));
        let mut released = Vec::new();
        if session.keeps_queue() {
            for waiting in session.out.waiting() {
                match waiting {
                    Waiting::Delivery { parcel, sent } => self.parcel(id, parcel, sent || session.link.is_some(), router),
                    Waiting::Release(id) => released.push(id.0),
                }
            }
        }
        if !released.is_empty() {
            self.changes.push(Change::Received { id, deliveries: released });
        }
        if let (None, Some(wall)) = (session.link, session.left) {
            self.changes.push(Change::Leave { id, expiry: session.expiry, wall: wall.0 });
        }
        if let Some(follower) = session.follower.as_deref() {
            if let (false, Some(upto)) = (session.reactive, follower.left()) {
                self.changes.push(Change::Passed { id, upto });
            }
            let progress = follower.progress(session.reactive, router.last);
            self.changes.extend(progress.map(|(number, progress)| Change::Seen { id, number, progress }));
        }
    }

    /// Exposers in their order: the first one is called first.
    fn exposed(&mut self, router: &Router) {
        for (method, session) in router.services.offers() {
            if let Some(id) = router.sessions.get(session).and_then(|session| session.kept) {
                self.changes.push(Change::Expose { id, method: method.to_owned() });
            }
        }
    }

    fn parcel(&mut self, id: SessionId, parcel: &Parcel, sent: bool, router: &Router) {
        let delivery = &parcel.delivery;
        let copy = Copy {
            delivery: delivery.id.expect("a queue that is kept numbers what it tracks").0,
            qos: delivery.qos,
            retain: delivery.retain,
            sent,
            identifiers: delivery.identifiers.clone(),
            share: parcel.share.and_then(|group| router.groups.name(group)),
        };
        let message = &delivery.message;
        let place = (parcel.seq, Arc::as_ptr(message).addr());
        let queued = self.queued.entry(place).or_insert_with(|| Queued { message: Arc::clone(message), to: Vec::new() });
        queued.to.push((id, copy));
    }

    /// Whether there is anything to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.retained.is_empty()
    }

    /// Gives each record to `write`, as its kind and body.
    pub fn records<E>(&self, mut write: impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        for changes in self.changes.chunks(CHANGES) {
            write(kind::STATE, &encode(&changes))?;
        }
        let mut body = Vec::new();
        let mut put = |kind, message: &Message, route: &[u8]| {
            body.clear();
            message::encode(message, route, &mut body);
            write(kind, &body)
        };
        for (message, owner) in &self.retained {
            put(kind::MESSAGE, message, &Route { owner: owner.clone(), ..Route::default() }.encode())?;
        }
        for Queued { message, to } in self.queued.values() {
            put(kind::COPY, message, &Route { to: to.clone(), ..Route::default() }.encode())?;
        }
        Ok(())
    }
}
