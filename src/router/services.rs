//! The service table: who offers which method, and the calls under way.

use super::accounts::AccountKey;
use super::event::{CallId, LinkId, Token};
use super::session::SessionKey;
use crate::clock::Mono;
use crate::config::Policy;
use ahash::AHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A method and its providers in the order in which they exposed it.
#[derive(Debug, Default)]
pub(super) struct Service {
    providers: Vec<SessionKey>,
    /// Where round robin goes on.
    cursor: usize,
}

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callee {
    Session(SessionKey),
    /// A service of the gateway itself.
    Builtin,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: LinkId,
    pub(super) token: Token,
    pub(super) callee: Callee,
    pub(super) method: Arc<str>,
    /// The component that was called by its name.
    pub(super) target: Option<Arc<str>>,
    /// Whose call it is.
    pub(super) account: AccountKey,
    /// When whoever is asked has had its time, if that is bounded.
    pub(super) due: Option<Mono>,
}

#[derive(Debug, Default)]
pub(super) struct Services {
    table: AHashMap<Arc<str>, Service>,
    /// Parts of the gateway that offer everything below a name; a handful.
    below: Vec<(Box<str>, SessionKey)>,
}

/// Whom a call goes to, or why to nobody (`protocol/rembus.md` section 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolved {
    Provider(SessionKey, Arc<str>),
    /// Nobody offers it (42).
    Unknown,
    /// Somebody does, but not now (43).
    Unavailable,
    /// Only the caller itself does (44).
    Loopback,
}

impl Services {
    /// Exposing again keeps the place in the order.
    pub(super) fn expose(&mut self, method: &str, session: SessionKey) {
        let service = self.table.entry(method.into()).or_default();
        if !service.providers.contains(&session) {
            service.providers.push(session);
        }
    }

    pub(super) fn unexpose(&mut self, method: &str, session: SessionKey) {
        if let Some(service) = self.table.get_mut(method) {
            service.providers.retain(|known| *known != session);
            if service.providers.is_empty() {
                self.table.remove(method);
            }
        }
    }

    /// Those who offer a method.
    pub(super) fn providers(&self, method: &str) -> &[SessionKey] {
        self.table.get(method).map(|service| service.providers.as_slice()).unwrap_or_default()
    }

    /// `session` offers every method that begins with `prefix` and that nobody offers by its full name.
    pub(super) fn expose_below(&mut self, prefix: &str, session: SessionKey) {
        self.below.push((prefix.into(), session));
    }

    /// Takes back what a session offers below names.
    pub(super) fn unexpose_below(&mut self, session: SessionKey) {
        self.below.retain(|(_, known)| *known != session);
    }

    /// The methods with this ending.
    pub(super) fn ending_with(&self, suffix: &str) -> Vec<Arc<str>> {
        let mut found: Vec<_> = self.table.keys().filter(|method| method.ends_with(suffix)).cloned().collect();
        found.sort();
        found
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Everybody who offers a method, in the order in which they began.
    pub(super) fn offers(&self) -> impl Iterator<Item = (&str, SessionKey)> {
        self.table.iter().flat_map(|(method, service)| service.providers.iter().map(|session| (&**method, *session)))
    }

    /// Chooses among the providers that are online; `load` tells how many calls one is serving, or `None` if it is offline.
    pub(super) fn resolve(
        &mut self,
        method: &str,
        caller: SessionKey,
        policy: Policy,
        load: impl Fn(SessionKey) -> Option<usize>,
    ) -> Resolved {
        let Some((name, _)) = self.table.get_key_value(method) else { return self.resolve_below(method, caller, &load) };
        let name = Arc::clone(name);
        let service = self.table.get_mut(method).expect("the method was just found");
        let others = service.providers.iter().filter(|known| **known != caller).count();
        if others == 0 {
            return Resolved::Loopback;
        }
        let online = |at: usize| {
            let session = *service.providers.get(at)?;
            load(session).filter(|_| session != caller).map(|load| (at, session, load))
        };
        let count = service.providers.len();
        let chosen = match policy {
            Policy::FirstUp => (0..count).find_map(online),
            Policy::RoundRobin => (0..count).map(|step| (service.cursor + step) % count).find_map(online),
            Policy::LessBusy => (0..count).filter_map(online).min_by_key(|(at, _, load)| (*load, *at)),
        };
        match chosen {
            Some((at, session, _)) => {
                service.cursor = at + 1;
                Resolved::Provider(session, name)
            }
            None => Resolved::Unavailable,
        }
    }

    /// Whom the caller does not see, because it is of another tenant, offers it nothing.
    fn resolve_below(&self, method: &str, caller: SessionKey, load: &impl Fn(SessionKey) -> Option<usize>) -> Resolved {
        let offers = |(prefix, session): &&(Box<str>, SessionKey)| method.starts_with(&**prefix) && load(*session).is_some();
        match self.below.iter().find(offers) {
            None => Resolved::Unknown,
            Some((_, session)) if *session == caller => Resolved::Loopback,
            Some((_, session)) => Resolved::Provider(*session, method.into()),
        }
    }
}

/// Calls that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pending: AHashMap<CallId, Call>,
    /// Those that a service of the gateway answers, by caller: they end with it.
    own: BTreeSet<(LinkId, CallId)>,
    last: u64,
}

impl Calls {
    pub(super) fn start(&mut self, call: Call) -> CallId {
        self.last += 1;
        let id = CallId(self.last);
        if call.callee == Callee::Builtin {
            self.own.insert((call.caller, id));
        }
        self.pending.insert(id, call);
        id
    }

    /// Ends a call if `callee` is the one who was asked: an answer from anybody else changes nothing.
    pub(super) fn finish(&mut self, id: CallId, callee: Callee) -> Option<Call> {
        if self.pending.get(&id)?.callee != callee {
            return None;
        }
        let call = self.pending.remove(&id)?;
        self.own.remove(&(call.caller, id));
        Some(call)
    }

    /// Ends the calls of a link that services of the gateway are working on.
    pub(super) fn abandon(&mut self, caller: LinkId) -> Vec<(CallId, AccountKey)> {
        let calls: Vec<CallId> =
            self.own.range((caller, CallId(0))..=(caller, CallId(u64::MAX))).map(|(_, call)| *call).collect();
        let end = |call: CallId| {
            self.own.remove(&(caller, call));
            Some((call, self.pending.remove(&call)?.account))
        };
        calls.into_iter().filter_map(end).collect()
    }

    pub(super) fn get(&self, id: CallId) -> Option<&Call> {
        self.pending.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}
