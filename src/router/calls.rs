//! RPC: from a call to its answer, whatever happens to either side (`protocol/rembus.md` section 9).

use super::core::{Router, respond};
use super::event::{CallId, Effect, LinkId, Status, Token};
use super::outgoing::Item;
use super::services::{Call, Callee, Resolved};
use super::session::SessionKey;
use super::timers::Timer;
use crate::access::Action;
use crate::message::Dialect;
use bytes::Bytes;
use std::sync::Arc;

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
        if !self.may(link, Action::Call, method) {
            // As if there were none: who may not call it need not know (protocol/rembus.md, 19).
            return respond(link, token, Status::METHOD_NOT_FOUND, text(method), effects);
        }
        if let Some(target) = target.filter(|target| *target != self.options.name) {
            return self.call_directly(link, token, method, &target, data, effects);
        }
        if self.builtins.contains(method) {
            return self.call_builtin(link, token, method, data, effects);
        }
        if let Some((program, method)) = bus_method(method) {
            return self.call_program(link, token, program, method, data, effects);
        }
        let sessions = &self.sessions;
        let load = |key| sessions.get(key).filter(|session| session.link.is_some()).map(|session| session.serving.len());
        match self.services.resolve(method, session, self.options.policy, load) {
            Resolved::Provider(provider, method) => self.forward(link, token, provider, method, data, effects),
            Resolved::Unknown => respond(link, token, Status::METHOD_NOT_FOUND, text(method), effects),
            Resolved::Unavailable => respond(link, token, Status::METHOD_UNAVAILABLE, text(method), effects),
            Resolved::Loopback => respond(link, token, Status::METHOD_LOOPBACK, text(method), effects),
        }
    }

    /// To one component by its name. Whether it exposes the method is its own affair: Python users call built-ins this way.
    fn call_directly(
        &mut self,
        link: LinkId,
        token: Token,
        method: &str,
        target: &str,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let online = self.sessions.by_name(Dialect::Rembus, target).filter(|key| {
            // An offline twin and an unknown name are the same to a caller.
            self.sessions.get(*key).is_some_and(|session| session.link.is_some())
        });
        match online {
            Some(key) => self.forward(link, token, key, method.into(), data, effects),
            None => respond(link, token, Status::TARGET_NOT_FOUND, text(target), effects),
        }
    }

    /// To a busrt program. Whether it serves the method is its own affair here as well.
    fn call_program(
        &mut self,
        link: LinkId,
        token: Token,
        program: &str,
        method: &str,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        match self.sessions.by_name(Dialect::Bus, program) {
            Some(key) => self.forward(link, token, key, method.into(), data, effects),
            None => respond(link, token, Status::TARGET_NOT_FOUND, text(program), effects),
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
                let call = self.calls.start(Call { caller: link, token, callee, method: Arc::clone(&method) });
                effects.push(Effect::Invoke { call, caller: link, method, data, upto: self.last });
                return;
            }
        };
        respond(link, token, Status::OK, answer, effects);
    }

    fn forward(
        &mut self,
        link: LinkId,
        token: Token,
        provider: SessionKey,
        method: Arc<str>,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let callee = Callee::Session(provider);
        let call = self.calls.start(Call { caller: link, token, callee, method: Arc::clone(&method) });
        match self.offer(provider, Item::Request { call, method: Arc::clone(&method), data }) {
            Ok(_) => {
                if let Some(session) = self.sessions.get_mut(provider) {
                    session.serving.insert(call);
                }
                self.timers.set(self.now.mono.plus(self.options.request_timeout), Timer::Call(call));
                self.pump(provider, effects);
            }
            Err(_) => {
                self.calls.finish(call, callee);
                respond(link, token, Status::METHOD_UNAVAILABLE, text(&method), effects);
            }
        }
    }

    /// An exposer answers. Late answers and answers to calls of others find nothing.
    pub(super) fn returned(&mut self, from: SessionKey, call: CallId, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
        if let Some(done) = self.calls.finish(call, Callee::Session(from)) {
            if let Some(session) = self.sessions.get_mut(from) {
                session.serving.remove(&call);
            }
            self.answer(&done, status, data, effects);
        }
    }

    pub(super) fn builtin_answered(&mut self, call: CallId, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
        if let Some(done) = self.calls.finish(call, Callee::Builtin) {
            self.answer(&done, status, data, effects);
        }
    }

    fn answer(&self, done: &Call, status: Status, data: Bytes, effects: &mut Vec<Effect>) {
        if self.links.contains_key(&done.caller) {
            respond(done.caller, done.token, status, data, effects);
        }
    }

    /// The caller is gone: what the gateway itself works on for it is given up. Exposers are not told, Rembus has no words for it.
    pub(super) fn abandon_calls_of(&mut self, link: LinkId, effects: &mut Vec<Effect>) {
        effects.extend(self.calls.abandon(link).into_iter().map(|call| Effect::Cancel { call }));
    }

    /// The exposer is gone: whoever waits for it is told at once instead of running into a time-out.
    pub(super) fn fail_calls_of(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        for call in std::mem::take(&mut session.serving) {
            if let Some(done) = self.calls.finish(call, Callee::Session(key)) {
                self.answer(&done, Status::METHOD_UNAVAILABLE, text(&done.method), effects);
            }
        }
    }

    pub(super) fn tick(&mut self, effects: &mut Vec<Effect>) {
        while let Some(timer) = self.timers.pop_due(self.now.mono) {
            match timer {
                Timer::Session(key, leaving) => self.session_expired(key, leaving, effects),
                Timer::Will(key, leaving) => self.will_due(key, leaving, effects),
                Timer::Retained => self.expire_retained(),
                Timer::System => self.tell_system(effects),
                Timer::Resend(key, id) => self.resend(key, id, effects),
                Timer::Probe(link) => self.probe_failed(link, effects),
                Timer::Call(call) => {
                    let Some(Callee::Session(key)) = self.calls.get(call).map(|call| call.callee) else { continue };
                    if let Some(session) = self.sessions.get_mut(key) {
                        session.serving.remove(&call);
                    }
                    if let Some(done) = self.calls.finish(call, Callee::Session(key)) {
                        self.answer(&done, Status::METHOD_EXCEPTION, text("timeout"), effects);
                    }
                }
            }
        }
    }
}

/// `bus/{program}/{method}`: who is asked, and for what.
fn bus_method(method: &str) -> Option<(&str, &str)> {
    method.strip_prefix("bus/")?.split_once('/')
}

/// A CBOR text.
pub(super) fn text(value: &str) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + 5);
    ciborium::into_writer(value, &mut out).expect("writing to a vector cannot fail");
    out.into()
}
