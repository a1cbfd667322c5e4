//! A commlib caller's request becomes a call of a Rembus method: of a component's, or of the gateway's own.
//!
//! | what happens | what the caller gets |
//! |---|---|
//! | the method answers | its result; one that is not an object below `result` |
//! | it fails, nobody offers it, the arguments do not fit | nothing, or `{"error": …, "code": …}` by `on_error` |
//! | no answer within `timeout`, not allowed, too many under way, not a request | nothing |
//!
//! Each is counted by its outcome. The request is an ordinary message and stays visible to other subscribers.

use super::settings::{Expose, OnError};
use super::slots::{Caller, Slots};
use super::{Called, Commlib, voice, wire};
use crate::access::Action;
use crate::clock::Mono;
use crate::mapping;
use crate::router::{Author, Status, Token};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Below this the gateway's own methods are services, as `gateway.query_telemetry`.
pub(super) const GATEWAY: &str = "gateway/";
/// A caller waits 10 s.
const TIMEOUT: Duration = Duration::from_secs(9);

#[derive(Debug)]
pub(super) struct Served {
    reply_to: String,
    service: String,
    result: String,
    on_error: OnError,
    deadline: Mono,
    caller: Caller,
}

#[derive(Debug)]
pub(super) struct Serving {
    deadlines: BTreeSet<(Mono, Token)>,
    slots: Slots,
}

impl Serving {
    pub(super) fn new(max: usize) -> Self {
        Self { deadlines: BTreeSet::new(), slots: Slots::new(max) }
    }

    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

impl Commlib {
    /// A message on a topic that may be that of a service.
    pub(super) fn serve(&mut self, topic: &str, payload: &[u8], author: Option<&Author>) {
        let Some(expose) = self.exposed(topic) else { return };
        let Some(request) = wire::read_request(payload) else { return self.count_served("malformed") };
        let allowed = author.is_some_and(|author| {
            let user = author.identity.user.as_deref();
            let listed = expose.users.as_ref().is_none_or(|users| users.iter().any(|name| Some(name.as_str()) == user));
            listed && author.identity.may(Action::Call, &expose.method) && may_answer(author, &request.reply_to)
        });
        if !allowed {
            log::debug!(service = topic, client = author.map_or("", |author| &author.name); "a commlib caller is not allowed");
            return self.count_served("denied");
        }
        let deadline = self.voice.now.mono.plus(expose.timeout);
        let Expose { result, on_error, .. } = expose;
        let served = Served {
            reply_to: request.reply_to,
            service: topic.into(),
            result,
            on_error,
            deadline,
            caller: author.map(|author| author.account),
        };
        let arguments = match expose.args {
            None => vec![Value::Object(request.data)],
            Some(names) => {
                let mut data = request.data;
                match names.iter().map(|name| data.remove(name).ok_or(name)).collect() {
                    Ok(arguments) => arguments,
                    Err(missing) => {
                        let text = format!("the request has no field `{missing}`");
                        return self.fail(&served, Status::METHOD_EXCEPTION, text);
                    }
                }
            }
        };
        if !self.serving.slots.take(served.caller) {
            return self.count_served("busy");
        }
        let token = self.voice.call(&expose.method, arguments);
        self.serving.deadlines.insert((deadline, token));
        self.called.insert(token, Called::Served(served));
    }

    fn exposed(&self, topic: &str) -> Option<Expose> {
        if let Some(expose) = self.settings.expose.iter().find(|expose| expose.service == topic) {
            return Some(expose.clone());
        }
        // What asks history; what changes it needs a table of the configuration.
        let method = topic.strip_prefix(GATEWAY).filter(|_| self.settings.gateway_services)?;
        let asks = method == "tables" || method.starts_with("query_") || method.starts_with("latest_");
        asks.then(|| Expose {
            service: topic.into(),
            method: method.into(),
            args: None,
            result: "rows".into(),
            users: None,
            on_error: self.settings.on_error,
            timeout: TIMEOUT,
        })
    }

    /// The method has answered.
    pub(super) fn served(&mut self, token: Token, served: &Served, status: Status, data: &[u8]) {
        self.serving.deadlines.remove(&(served.deadline, token));
        self.serving.slots.leave(served.caller);
        let value = mapping::tree_of(mapping::cbor_to_json(data).as_bytes()).unwrap_or(Value::Null);
        if status != Status::OK {
            let text = value.as_str().map_or_else(|| format!("status {}", status.0), str::to_owned);
            return self.fail(served, status, text);
        }
        self.count_served("ok");
        self.reply(&served.reply_to, &voice::fields(value, &served.result));
    }

    fn fail(&mut self, served: &Served, status: Status, text: String) {
        self.count_served("error");
        log::info!(service = served.service.as_str(), code = status.0, reason = text.as_str(); "a request of a commlib caller failed");
        if served.on_error == OnError::Reply {
            self.reply(&served.reply_to, &voice::fields(json!({"error": text, "code": status.0}), "error"));
        }
    }

    /// The caller does not wait any more: the answer must not come later.
    pub(super) fn serving_overdue(&mut self) {
        while let Some((deadline, token)) = self.serving.deadlines.first().copied() {
            if deadline > self.voice.now.mono {
                break;
            }
            self.serving.deadlines.remove(&(deadline, token));
            if let Some(Called::Served(served)) = self.called.remove(&token) {
                self.serving.slots.leave(served.caller);
            }
            self.count_served("timeout");
        }
    }

    fn count_served(&self, outcome: &'static str) {
        self.figures.change(|figures| *figures.served.entry(outcome).or_default() += 1);
    }
}

/// Whether an answer may go where the caller wants it. On a one-shot reply topic, always; elsewhere the gateway would publish
/// for him, so he must be allowed to.
pub(super) fn may_answer(author: &Author, reply_to: &str) -> bool {
    if crate::router::is_reply_topic(reply_to) {
        return true;
    }
    let is_topic = !reply_to.contains(['+', '#', '\0']) && !reply_to.starts_with('$');
    is_topic && author.identity.may(Action::Publish, reply_to)
}
