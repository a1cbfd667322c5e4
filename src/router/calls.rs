//! RPC: from a call to its answer, whatever happens to either side (`protocol/rembus.md` section 9).

use super::accounts::{AccountKey, Resource};
use super::core::{Router, respond};
use super::event::{Author, CallId, Effect, LinkId, Refusal, Status, Token};
use super::outgoing::Item;
use super::services::{Call, Callee, Resolved};
use super::session::{Session, SessionKey};
use super::timers::Timer;
use crate::access::Action;
use crate::message::{COMMON, Dialect};
use bytes::Bytes;
use std::sync::Arc;

/// Methods of the gateway that are nobody's secret: every tenant may call them.
pub(super) const OWN: [&str; 3] = ["rid", "version", "uptime"];

/// Who calls, and under which number it expects the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) link: LinkId,
    pub(super) session: SessionKey,
    pub(super) token: Token,
}

impl Router {
    pub(super) fn call(
        &mut self,
        caller: Caller,
        method: &str,
        target: Option<String>,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let Caller { link, session, token } = caller;
        self.counters.calls += 1;
        if !self.options.names.allow(method) || target.as_ref().is_some_and(|target| !self.options.names.allow(target)) {
            return respond(link, token, Status::GENERIC_ERROR, text(Refusal::NameTooLong.text()), effects);
        }
        if !self.may(link, Action::Call, method) {
            // As if there were none: who may not call it need not know (protocol/rembus.md, 19).
            return respond(link, token, Status::METHOD_NOT_FOUND, text(method), effects);
        }
        if let Some(target) = target.filter(|target| *target != self.options.name) {
            return self.call_directly(caller, method, target, data, effects);
        }
        let tenant = self.sessions.get(session).map_or(COMMON.into(), |session| Arc::clone(&session.tenant));
        if self.builtins.contains(method) {
            if *tenant != *COMMON && !OWN.contains(&method) {
                // The tables belong to the tenant that the gateway itself is in.
                return respond(link, token, Status::METHOD_NOT_FOUND, text(method), effects);
            }
            return self.call_builtin(link, token, method, data, effects);
        }
        if let Some((program, of_it)) = bus_method(method) {
            if *tenant != *COMMON {
                // So do the programs on this machine.
                return respond(link, token, Status::METHOD_NOT_FOUND, text(method), effects);
            }
            return self.call_program(caller, program, of_it, data, effects);
        }
        let sessions = &self.sessions;
        // Also whoever offered it before the topic became private.
        let serves = |session: &&Session| {
            session.link.is_some() && session.tenant == tenant && session.identity.permits(Action::Expose, method)
        };
        let load = |key| sessions.get(key).filter(serves).map(|session| session.serving.len());
        match self.services.resolve(method, session, self.options.policy, load) {
            Resolved::Provider(provider, method) => self.forward(caller, (provider, None), method, data, effects),
            Resolved::Unknown => respond(link, token, Status::METHOD_NOT_FOUND, text(method), effects),
            Resolved::Unavailable => respond(link, token, Status::METHOD_UNAVAILABLE, text(method), effects),
            Resolved::Loopback => respond(link, token, Status::METHOD_LOOPBACK, text(method), effects),
        }
    }

    /// Counts a call against whoever makes it. Who has as many under way as allowed is told so.
    fn account_for_call(&mut self, link: LinkId, token: Token, effects: &mut Vec<Effect>) -> Option<AccountKey> {
        let account = self.sessions.get(self.links.get(&link)?.session?)?.account;
        if self.accounts.used(account, Resource::Calls) >= self.options.users.of(self.accounts.owner(account), Resource::Calls)
        {
            self.counters.calls_refused += 1;
            let refusal = text(Refusal::TooManyCalls.text());
            respond(link, token, Status::GENERIC_ERROR, refusal, effects);
            return None;
        }
        self.accounts.hold_again(account);
        self.accounts.add(account, Resource::Calls, 1);
        Some(account)
    }

    /// To one component of the caller's tenant by its name. Whether it exposes the method is its own affair: Python users call
    /// built-ins this way.
    fn call_directly(&mut self, caller: Caller, method: &str, target: String, data: Bytes, effects: &mut Vec<Effect>) {
        let tenant = self.sessions.get(caller.session).map(|session| &session.tenant);
        let online = self.sessions.by_name(Dialect::Rembus, &target).filter(|key| {
            // An offline twin, one of another tenant and an unknown name are the same to a caller.
            let there = |session: &Session| session.link.is_some() && Some(&session.tenant) == tenant;
            self.sessions.get(*key).is_some_and(there)
        });
        match online {
            Some(key) => self.forward(caller, (key, Some(target.into())), method.into(), data, effects),
            None => respond(caller.link, caller.token, Status::TARGET_NOT_FOUND, text(&target), effects),
        }
    }

    /// To a busrt program. Whether it serves the method is its own affair here as well.
    fn call_program(&mut self, caller: Caller, program: &str, method: &str, data: Bytes, effects: &mut Vec<Effect>) {
        match self.sessions.by_name(Dialect::Bus, program) {
            Some(key) => self.forward(caller, (key, None), method.into(), data, effects),
            None => respond(caller.link, caller.token, Status::TARGET_NOT_FOUND, text(program), effects),
        }
    }

    fn call_builtin(&mut self, link: LinkId, token: Token, method: &str, data: Bytes, effects: &mut Vec<Effect>) {
        let answer = match method {
            "rid" => text(&self.options.name),
            "version" => text(concat!("rembus-gateway_", env!("CARGO_PKG_VERSION"))),
            "uptime" => {
                text(&format!("up for {:.3} seconds", self.now.mono.since(crate::clock::Mono::default()).as_secs_f64()))
            }
            _ => {
                let method: Arc<str> = method.into();
                let callee = Callee::Builtin;
                let Some(account) = self.account_for_call(link, token, effects) else { return };
                let (target, due) = (None, None);
                let call =
                    self.calls.start(Call { caller: link, token, callee, method: Arc::clone(&method), target, account, due });
                effects.push(Effect::Invoke { call, caller: link, method, data, upto: self.last });
                return;
            }
        };
        respond(link, token, Status::OK, answer, effects);
    }

    /// `target` is the component's name if it was called by that.
    fn forward(
        &mut self,
        caller: Caller,
        (provider, target): (SessionKey, Option<Arc<str>>),
        method: Arc<str>,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let Caller { link, token, .. } = caller;
        let callee = Callee::Session(provider);
        let Some(account) = self.account_for_call(link, token, effects) else { return };
        // A part of the gateway answers every call in a time of its own.
        let is_part = self.sessions.get(provider).is_some_and(|session| session.dialect == Dialect::Internal);
        let due = (!is_part).then(|| self.now.mono.plus(self.options.request_timeout));
        let call = self.calls.start(Call { caller: link, token, callee, method: Arc::clone(&method), target, account, due });
        let caller = if is_part { self.author(link) } else { None };
        match self.offer(provider, Item::Request { call, method, data, caller }) {
            Ok(_) => {
                if let Some(session) = self.sessions.get_mut(provider) {
                    session.serving.insert(call);
                }
                if let Some(due) = due {
                    self.timers.set(due, Timer::Call(call));
                }
                self.pump(provider, effects);
            }
            Err(_) => {
                if let Some(done) = self.finish_call(call, callee) {
                    self.answer_unavailable(&done, effects);
                }
            }
        }
    }

    /// Who is at the other end of a link.
    pub(super) fn author(&self, link: LinkId) -> Option<Arc<Author>> {
        let known = self.links.get(&link)?;
        let session = self.sessions.get(known.session?)?;
        let (name, identity, account) = (Arc::clone(&session.name), known.info.identity.clone(), session.account.number());
        Some(Arc::new(Author { link: Some(link), name, identity, account }))
    }

    /// An exposer answers. Late answers and answers to calls of others find nothing.
    pub(super) fn returned(&mut self, from: SessionKey, call: CallId, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
        if let Some(done) = self.finish_call(call, Callee::Session(from)) {
            if let Some(session) = self.sessions.get_mut(from) {
                session.serving.remove(&call);
            }
            self.answer(&done, status, data, effects);
        }
    }

    pub(super) fn builtin_answered(&mut self, call: CallId, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
        if let Some(done) = self.finish_call(call, Callee::Builtin) {
            self.answer(&done, status, data, effects);
        }
    }

    fn answer(&self, done: &Call, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
        if self.links.contains_key(&done.caller) {
            respond(done.caller, done.token, status, data, effects);
        }
    }

    /// Whoever was to answer cannot: a target that was called by its name is down, a method is not there at present.
    fn answer_unavailable(&self, done: &Call, effects: &mut Vec<Effect>) {
        let (status, data) = match &done.target {
            Some(target) => (Status::TARGET_DOWN, text(target)),
            None => (Status::METHOD_UNAVAILABLE, text(&done.method)),
        };
        self.answer(done, status, data, effects);
    }

    /// The caller is gone: what the gateway itself works on for it is given up. Exposers are not told, Rembus has no words for it.
    pub(super) fn abandon_calls_of(&mut self, link: LinkId, effects: &mut Vec<Effect>) {
        for (call, account) in self.calls.abandon(link) {
            self.accounts.sub(account, Resource::Calls, 1);
            self.accounts.release(account);
            effects.push(Effect::Cancel { call });
        }
    }

    /// A call is not asked any more, because there is no room for it.
    pub(super) fn fail_call(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        let Some(Callee::Session(key)) = self.calls.get(call).map(|call| call.callee) else { return };
        if let Some(session) = self.sessions.get_mut(key) {
            session.serving.remove(&call);
        }
        if let Some(done) = self.finish_call(call, Callee::Session(key)) {
            self.answer_unavailable(&done, effects);
        }
    }

    /// Ends a call if `callee` is the one who was asked.
    fn finish_call(&mut self, call: CallId, callee: Callee) -> Option<Call> {
        let done = self.calls.finish(call, callee)?;
        self.accounts.sub(done.account, Resource::Calls, 1);
        self.accounts.release(done.account);
        if let Some(due) = done.due {
            self.timers.cancel(due, Timer::Call(call));
        }
        Some(done)
    }

    /// The exposer is gone: whoever waits for it is told at once instead of running into a time-out.
    pub(super) fn fail_calls_of(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        for call in std::mem::take(&mut session.serving) {
            if let Some(done) = self.finish_call(call, Callee::Session(key)) {
                self.answer_unavailable(&done, effects);
            }
        }
    }

    pub(super) fn tick(&mut self, effects: &mut Vec<Effect>) {
        while let Some(timer) = self.timers.pop_due(self.now.mono) {
            match timer {
                Timer::Session(key, leaving) => self.session_expired(key, leaving, effects),
                Timer::Will(key, leaving) => self.will_due(key, leaving, effects),
                Timer::Retained => self.expire_retained(),
                Timer::Backfill(key) => self.resume_backfill(key, effects),
                Timer::Filters => self.let_filters_go(),
                Timer::System => self.tell_system(effects),
                Timer::Resend(key, id) => self.resend(key, id, effects),
                Timer::Probe(link) => self.probe_failed(link, effects),
                Timer::Call(call) => {
                    let Some(Callee::Session(key)) = self.calls.get(call).map(|call| call.callee) else { continue };
                    if let Some(session) = self.sessions.get_mut(key) {
                        session.serving.remove(&call);
                    }
                    if let Some(done) = self.finish_call(call, Callee::Session(key)) {
                        self.answer(&done, Status::METHOD_EXCEPTION, text("timeout"), effects);
                    }
                }
            }
        }
    }
}

/// `bus/{program}/{method}`: who is asked, and for what.
pub(super) fn bus_method(method: &str) -> Option<(&str, &str)> {
    method.strip_prefix("bus/")?.split_once('/')
}

/// A CBOR text.
pub(super) fn text(value: &str) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + 5);
    ciborium::into_writer(value, &mut out).expect("writing to a vector cannot fail");
    out.into()
}
