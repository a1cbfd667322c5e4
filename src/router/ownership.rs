//! Whose a session is, and since when it has been left: what `accounts.rs` has to know of it.

use super::accounts::{Owner, Resource};
use super::core::Router;
use super::event::{LinkId, Will};
use super::session::{Session, SessionKey};
use super::timers::Timer;
use crate::access::Identity;
use crate::clock::Mono;
use crate::message::Dialect;
use std::net::SocketAddr;

impl Router {
    /// A session begins, and counts for its account from now on. Without a name it lives as long as its connection, and counts
    /// as that.
    pub(super) fn admit(&mut self, mut session: Session) -> SessionKey {
        let (account, presence, named) = (session.account, session.presence(), session.named);
        self.presences += 1;
        session.order = self.presences;
        let key = self.sessions.insert(session);
        if named {
            self.accounts.add(account, Resource::Sessions, 1);
            self.accounts.join(account, presence, self.presences, key);
        }
        key
    }

    /// A session was left, or has a link again.
    pub(super) fn set_presence(&mut self, key: SessionKey, link: Option<LinkId>) {
        self.cancel_session_timers(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let before = (session.presence(), session.order);
        self.presences += 1;
        session.link = link;
        session.order = self.presences;
        if session.named {
            self.accounts.leave(session.account, before.0, before.1, key);
            self.accounts.join(session.account, session.presence(), session.order, key);
        }
    }

    /// Sets a timer that is void when the session is taken up again.
    pub(super) fn set_session_timer(&mut self, key: SessionKey, due: Mono, timer: Timer) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.timers.push((due, timer));
            self.timers.set(due, timer);
        }
    }

    pub(super) fn cancel_session_timers(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        for (due, timer) in std::mem::take(&mut session.timers) {
            self.timers.cancel(due, timer);
        }
    }

    /// Gives a session another will, or none. Returns the one it had.
    pub(super) fn set_will(&mut self, key: SessionKey, will: Option<Box<Will>>) -> Option<Box<Will>> {
        let session = self.sessions.get_mut(key)?;
        let before = session.will_weight();
        let had = std::mem::replace(&mut session.will, will);
        self.accounts.sub(session.account, Resource::Wills, before);
        self.accounts.add(session.account, Resource::Wills, session.will_weight());
        had
    }

    /// A session is somebody else's from now on: its user, or the address from which somebody came who did not say who he is.
    pub(super) fn set_owner(&mut self, key: SessionKey, owner: Owner) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let before = session.account;
        if *self.accounts.owner(before) == owner {
            return;
        }
        let after = self.accounts.hold(owner);
        let (presence, order, queued) = (session.presence(), session.order, session.out.queue_bytes());
        session.account = after;
        self.accounts.queue_moved(before, key, queued, 0);
        self.accounts.queue_moved(after, key, 0, queued);
        let (registrations, wills) = (session.registrations(), session.will_weight());
        let all = [
            (Resource::Registrations, registrations),
            (Resource::Sessions, usize::from(session.named)),
            (Resource::Wills, wills),
        ];
        for (resource, amount) in all {
            self.accounts.sub(before, resource, amount);
            self.accounts.add(after, resource, amount);
        }
        if session.named {
            self.accounts.leave(before, presence, order, key);
            self.accounts.join(after, presence, order, key);
        }
        self.accounts.release(before);
    }
}

/// Whose sessions, messages and calls those of a link are.
pub(super) fn owner_of(dialect: Dialect, identity: &Identity, peer: SocketAddr) -> Owner {
    match dialect {
        Dialect::Internal => Owner::Gateway,
        Dialect::Mqtt | Dialect::Rembus | Dialect::Bus => Owner::of(identity.user.as_ref(), peer.ip()),
    }
}
