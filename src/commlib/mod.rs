//! commlib nodes take part (`protocol/commlib.md` section 9).
//!
//! They are ordinary MQTT clients, so topics, patterns, RPC, actions and events between them need nothing but a correct broker.
//! This part is what the gateway adds, as a [`Part`] of the router:
//!
//! ```text
//!  Rembus component ──rpc──▶ table, commlib/<name> ──Ask──▶ service topic ─▶ commlib service
//!                   ◀────────────── data ◀────── rpc-<ours><random> ◀──────────────┘            asking.rs, calls.rs
//!  commlib caller ──▶ service topic ──▶ [[commlib.expose]], gateway.query_T ──rpc──▶ component, history    serving.rs
//!  Rembus component ──▶ commlib/action/send, cancel, result, run ──▶ commlib action                        helpers.rs
//!  commlib, Rembus  ──▶ <a>/send_goal, action/<a>/send ──▶ goals.rs ──▶ on_goal of a component             actions.rs
//!  <node>/heartbeat ──▶ table ──▶ commlib/nodes, commlib/node/<name>                                       nodes.rs
//! ```
//!
//! What it does for somebody it does with his rights: whoever has a service called by its name must be allowed to publish on
//! the service's topic, and a commlib caller must be allowed to call the method behind a service.
//!
//! Limits: [`Settings::in_flight`] calls in each direction, [`NODES`](nodes) nodes, goals as in `goals.rs`, waits as in
//! `helpers.rs`; each with its outcome there. Nothing here survives the process, and nobody was promised that it would.

mod actions;
mod asking;
mod calls;
mod figures;
mod goals;
mod helpers;
pub mod names;
mod nodes;
mod serving;
mod settings;
mod slots;
mod voice;
mod wire;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use figures::{Figures, Shared};
pub use settings::{Expose, OnError, Rpc, Settings};

use crate::clock::Mono;
use crate::message::Qos;
use crate::router::{Author, CallId, Delivery, Filter, Inbound, Now, Outbound, Part, Status, Token};
use actions::{Actions, Asked};
use ahash::AHashMap;
use asking::{Asking, Fault};
use helpers::Helpers;
use nodes::{Change, Nodes};
use serde_json::{Value, json};
use serving::{Served, Serving};
use std::sync::Arc;
use voice::Voice;
use wire::Data;

const HEARTBEATS: &str = "+/heartbeat";

/// What an answer of a commlib service is for.
#[derive(Debug)]
enum Then {
    /// A Rembus component waits for it.
    Return { call: CallId, unwrap: Option<String> },
    /// A step of an action.
    Action(helpers::Step),
}

/// What a Rembus method was called for.
#[derive(Debug)]
enum Called {
    /// A commlib caller waits for the result.
    Served(Served),
    /// A component was asked about a goal.
    Asked(Asked),
}

#[derive(Debug)]
pub struct Commlib {
    settings: Settings,
    figures: Shared,
    voice: Voice,
    asking: Asking<Then>,
    /// Calls of Rembus methods that are not answered.
    called: AHashMap<Token, Called>,
    serving: Serving,
    helpers: Helpers,
    actions: Actions,
    nodes: Nodes,
}

impl Commlib {
    /// `name` is the gateway's, as the publisher of what it says.
    #[must_use]
    pub fn new(name: &str, settings: Settings, figures: Shared) -> Self {
        Self {
            voice: Voice::new(name),
            asking: Asking::new(settings.in_flight),
            called: AHashMap::new(),
            serving: Serving::new(settings.in_flight),
            helpers: Helpers::default(),
            actions: Actions::new(goals::Limits { goal_max: settings.goal_timeout, grace: settings.cancel_timeout }),
            nodes: Nodes::new(settings.heartbeat),
            settings,
            figures,
        }
    }

    fn request(&mut self, call: CallId, method: &str, data: &[u8], caller: Option<Arc<Author>>) {
        let arguments = arguments(data);
        if method == "commlib/nodes" {
            let list = self.nodes.list(self.voice.now.mono);
            return self.voice.give(call, &list);
        }
        if let Some(verb) = method.strip_prefix("commlib/action/") {
            return self.help(call, verb, arguments, caller.as_deref());
        }
        if let Some(rest) = method.strip_prefix("action/") {
            return self.action_called(call, rest, arguments);
        }
        self.call_service(call, method, arguments, caller.as_deref());
    }

    fn heard(&mut self, delivery: Delivery) {
        let Delivery { message, author, .. } = delivery;
        let (payload, _) = message.mqtt_body();
        let topic = message.topic.as_str();
        if self.asking.is_mine(topic) {
            if let Some((then, outcome)) = self.asking.heard(topic, payload) {
                self.answered(then, outcome);
            }
            return;
        }
        self.helpers_heard(topic, payload);
        if self.settings.nodes
            && (names::matches(HEARTBEATS, topic)
                || self.settings.heartbeats.iter().any(|filter| names::matches(filter, topic)))
        {
            self.beat(topic, payload);
        }
        if !self.action_heard(topic, payload, author.as_deref()) {
            self.serve(topic, payload, author.as_deref());
        }
    }

    /// A commlib service has answered, or will not.
    fn answered(&mut self, then: Then, outcome: Result<Data, Fault>) {
        let result = outcome.as_ref().map_or_else(|fault| fault.name(), |_| "ok");
        self.figures.change(|figures| *figures.calls.entry(result).or_default() += 1);
        match then {
            Then::Return { call, unwrap } => self.give_answer(call, unwrap.as_deref(), outcome),
            Then::Action(step) => self.action_answered(step, outcome),
        }
    }

    /// Answers a commlib request. It may be one of ours: the gateway calls what it serves.
    fn reply(&mut self, reply_to: &str, data: &Data) {
        let answer = wire::answer(data, self.voice.now.wall);
        if !self.asking.is_mine(reply_to) {
            self.voice.ask(reply_to, answer);
        } else if let Some((then, outcome)) = self.asking.heard(reply_to, &answer) {
            self.answered(then, outcome);
        }
    }

    /// A Rembus method has answered.
    fn responded(&mut self, token: Token, status: Status, data: &[u8]) {
        let Some(called) = self.called.remove(&token) else { return };
        match called {
            Called::Served(served) => self.served(token, &served, status, data),
            Called::Asked(asked) => self.component_answered(asked, status, data),
        }
    }

    fn beat(&mut self, topic: &str, payload: &[u8]) {
        let node = topic.strip_suffix("/heartbeat").unwrap_or(topic);
        let Some(ts) = nodes::read_beat(payload) else { return };
        let Now { mono, wall } = self.voice.now;
        if let Some(change) = self.nodes.beat(node, ts, mono, wall) {
            self.tell(&change);
        }
        let nodes = self.nodes.counts();
        self.figures.change(|figures| figures.nodes = nodes);
    }

    /// Changes are messages like others: subscribers hear them and history may keep them.
    fn tell(&mut self, change: &Change) {
        let state = json!({"node": change.node, "state": change.life.name(), "age_s": change.age.as_secs()});
        self.voice.publish(&format!("commlib/node/{}", change.node), &state, Qos::AtLeastOnce);
        self.figures.change(|figures| figures.node_changes += 1);
    }

    /// Gauges that are read off the state.
    fn settle(&mut self, out: &mut Vec<Inbound>) {
        let (calls, served) = (self.asking.len() as u64, self.serving.len() as u64);
        let (actions, running) = self.actions.counts();
        self.figures.change(|figures| {
            (figures.calls_pending, figures.served_pending) = (calls, served);
            (figures.actions, figures.goals_running) = (actions, running);
        });
        out.append(&mut self.voice.out);
    }
}

impl Part for Commlib {
    fn begin(&mut self, now: Now, out: &mut Vec<Inbound>) {
        self.voice.now = now;
        self.voice.subscribe(self.asking.filter());
        for method in
            ["commlib/nodes", "commlib/action/send", "commlib/action/cancel", "commlib/action/result", "commlib/action/run"]
        {
            self.voice.expose(method);
        }
        for rpc in &self.settings.rpc {
            self.voice.expose(rpc.method.as_str());
        }
        if !self.settings.callable.is_empty() {
            self.voice.expose_below(calls::PREFIX);
        }
        self.voice.expose_below("action/");
        self.voice.out.push(Inbound::WatchMethods { suffix: actions::ON_GOAL.into() });
        for service in self.settings.expose.iter().map(|expose| &expose.service) {
            self.voice.subscribe(Filter::Mqtt(service.clone()));
        }
        if self.settings.gateway_services {
            self.voice.subscribe(Filter::Mqtt(format!("{}+", serving::GATEWAY)));
        }
        if self.settings.nodes {
            self.voice.subscribe(Filter::Mqtt(HEARTBEATS.into()));
            for filter in &self.settings.heartbeats {
                self.voice.subscribe(Filter::Mqtt(filter.clone()));
            }
        }
        self.settle(out);
    }

    fn hear(&mut self, now: Now, outbound: Outbound, out: &mut Vec<Inbound>) {
        self.voice.now = now;
        match outbound {
            Outbound::Deliver(delivery) => self.heard(delivery),
            Outbound::Request { call, method, data, caller } => self.request(call, &method, &data, caller),
            Outbound::Asked { token, takers } => {
                if let Some((then, fault)) = self.asking.asked(token, takers) {
                    self.answered(then, Err(fault));
                }
            }
            Outbound::Offered { method, offered } => self.offered(&method, offered),
            Outbound::Response { token, status, data } => self.responded(token, status, &data),
            _ => {}
        }
        self.settle(out);
    }

    fn next_due(&self) -> Option<Mono> {
        let due = [
            self.asking.next_due(),
            self.serving.next_due(),
            self.helpers.next_due(),
            self.actions.next_due(),
            self.nodes.next_due(),
        ];
        due.into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Inbound>) {
        self.voice.now = now;
        while let Some(then) = self.asking.overdue(now.mono) {
            self.answered(then, Err(Fault::Timeout));
        }
        self.serving_overdue();
        self.helpers_overdue();
        self.actions_overdue();
        for change in self.nodes.tick(now.mono) {
            self.tell(&change);
        }
        let nodes = self.nodes.counts();
        self.figures.change(|figures| figures.nodes = nodes);
        self.settle(out);
    }
}

/// Positional arguments of a call.
fn arguments(data: &[u8]) -> Vec<Value> {
    match crate::mapping::tree_of(crate::mapping::cbor_to_json(data).as_bytes()) {
        Some(Value::Array(arguments)) => arguments,
        Some(Value::Null) | None => Vec::new(),
        Some(other) => vec![other],
    }
}
