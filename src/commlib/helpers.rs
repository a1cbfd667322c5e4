//! Actions of commlib nodes for Rembus components, which need no more than RPC and subscribe:
//!
//! | method | answer |
//! |---|---|
//! | `commlib/action/send(name, goal, description?)` | `{"goal_id"}`; a refusal is METHOD_EXCEPTION with the node's text |
//! | `commlib/action/cancel(name, goal_id)` | true or false |
//! | `commlib/action/result(name, goal_id, wait_s?)` | `{"status", "result"}`, at the latest after `wait_s` |
//! | `commlib/action/run(name, goal, timeout_s?)` | `{"goal_id", "status", "result"}` at the end of the goal |
//!
//! Each also takes its arguments as one object. Feedback and status are plain topics, `robot/move/feedback`.
//!
//! A commlib service publishes the status on another connection than its answers, so they may come in any order
//! (`protocol/commlib.md` section 5). So the status topic is subscribed before the goal is sent, and the last status of each
//! goal is kept for [`STATUS_FOR`]. Because status is QoS 0, whoever waits asks again every [`POLL`].

use super::asking::Fault;
use super::calls::{may_publish, refusal};
use super::wire::{self, Data};
use super::{Commlib, Then, names};
use crate::clock::Mono;
use crate::router::{Author, CallId, Filter, Status};
use ahash::AHashMap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(super) const STATUS_FOR: Duration = Duration::from_secs(60);
pub(super) const POLL: Duration = Duration::from_secs(5);
/// Goals whose last status is kept; the oldest gives way.
const SEEN_MAX: usize = 10_000;
/// Status topics subscribed at once.
const WATCHED_MAX: usize = 1_000;
/// Callers that wait for the end of a goal.
const WAITS_MAX: usize = 1_024;
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
const RUN_DEFAULT: Duration = Duration::from_secs(60);
/// From here on a status is final.
const FINAL: u64 = 4;

/// What an answer of an action's service is for.
#[derive(Debug)]
pub(super) enum Step {
    Send { call: CallId, action: String, run: Option<Mono> },
    Cancel { call: CallId },
    Result(Wait),
}

#[derive(Debug)]
pub(super) struct Wait {
    call: CallId,
    action: String,
    id: String,
    /// `None`: what there is, now.
    until: Option<Mono>,
    /// The caller wants the end and nothing else.
    run: bool,
    /// When to ask again.
    poll: Mono,
}

#[derive(Debug, Default)]
pub(super) struct Helpers {
    /// Actions whose status topic is subscribed, and when that was needed last.
    watched: BTreeMap<String, Mono>,
    seen: AHashMap<String, u64>,
    order: VecDeque<(Mono, String)>,
    waits: Vec<Wait>,
}

impl Helpers {
    pub(super) fn next_due(&self) -> Option<Mono> {
        let waits = self.waits.iter().map(|wait| wait.until.map_or(wait.poll, |until| until.min(wait.poll)));
        let forgotten = self.order.front().map(|(at, _)| at.plus(STATUS_FOR));
        let unwatched = self.watched.values().min().map(|at| at.plus(STATUS_FOR));
        waits.chain(forgotten).chain(unwatched).min()
    }

    fn note(&mut self, id: &str, status: u64, now: Mono) {
        if self.seen.insert(id.into(), status).is_none() {
            self.order.push_back((now, id.into()));
        }
        if self.order.len() > SEEN_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.seen.remove(&id);
        }
    }

    fn has_ended(&self, id: &str) -> bool {
        self.seen.get(id).is_some_and(|status| *status >= FINAL)
    }
}

impl Commlib {
    pub(super) fn help(&mut self, call: CallId, verb: &str, arguments: Vec<Value>, caller: Option<&Author>) {
        let (order, topic): (&[&str], _) = match verb {
            "send" => (&["name", "goal", "description"], "send_goal"),
            "run" => (&["name", "goal", "timeout_s"], "send_goal"),
            "cancel" => (&["name", "goal_id"], "cancel_goal"),
            _ => (&["name", "goal_id", "wait_s"], "get_result"),
        };
        let mut given = by_name(arguments, order);
        let Some(action) = given.get("name").and_then(Value::as_str).and_then(names::topic) else {
            return self.voice.refuse(call, Status::METHOD_EXCEPTION, format!("give {}", order.join(", ")));
        };
        let service = format!("{action}/{topic}");
        if !may_publish(caller, &service) {
            return self.voice.refuse(call, Status::METHOD_NOT_FOUND, service);
        }
        let now = self.voice.now.mono;
        let seconds = |given: &Data, name: &str| {
            let seconds = given.get(name).and_then(Value::as_f64).filter(|seconds| *seconds > 0.0)?;
            Some(Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX).min(WAIT_MAX))
        };
        let id = given.get("goal_id").and_then(Value::as_str).map(str::to_owned);
        match (verb, id) {
            ("send" | "run", _) => {
                let Some(Value::Object(goal)) = given.remove("goal") else {
                    return self.voice.refuse(call, Status::METHOD_EXCEPTION, "the goal must be an object");
                };
                if !self.watch(&action) {
                    return self.voice.refuse(call, Status::METHOD_UNAVAILABLE, "too many actions are in use");
                }
                let run = (verb == "run").then(|| now.plus(seconds(&given, "timeout_s").unwrap_or(RUN_DEFAULT)));
                let description = given.remove("description").filter(Value::is_string).unwrap_or_else(|| "".into());
                let data = Map::from_iter([("description".to_owned(), description), ("goal_data".to_owned(), goal.into())]);
                self.step(&service, &data, Step::Send { call, action, run });
            }
            (_, None) => self.voice.refuse(call, Status::METHOD_EXCEPTION, format!("give {}", order.join(", "))),
            ("cancel", Some(id)) => {
                let data =
                    Map::from_iter([("goal_id".to_owned(), id.into()), ("timestamp".to_owned(), self.voice.now.wall.0.into())]);
                self.step(&service, &data, Step::Cancel { call });
            }
            (_, Some(id)) => {
                let until = seconds(&given, "wait_s").map(|wait| now.plus(wait));
                if until.is_some() && !self.watch(&action) {
                    return self.voice.refuse(call, Status::METHOD_UNAVAILABLE, "too many actions are in use");
                }
                self.ask_result(Wait { call, action, id, until, run: false, poll: now });
            }
        }
    }

    /// Listens to an action's status.
    fn watch(&mut self, action: &str) -> bool {
        let now = self.voice.now.mono;
        if let Some(used) = self.helpers.watched.get_mut(action) {
            *used = now;
            return true;
        }
        if self.helpers.watched.len() >= WATCHED_MAX {
            return false;
        }
        self.helpers.watched.insert(action.into(), now);
        self.voice.subscribe(Filter::Mqtt(format!("{action}/status")));
        true
    }

    fn step(&mut self, service: &str, data: &Data, step: Step) {
        let timeout = self.settings.timeout;
        if let Err(Then::Action(step)) = self.asking.ask(&mut self.voice, None, service, data, timeout, Then::Action(step)) {
            self.action_answered(step, Err(Fault::Busy));
        }
    }

    fn ask_result(&mut self, wait: Wait) {
        let data = Map::from_iter([("goal_id".to_owned(), wait.id.as_str().into())]);
        self.step(&format!("{}/get_result", wait.action), &data, Step::Result(wait));
    }

    /// The action's service has answered, or will not.
    pub(super) fn action_answered(&mut self, step: Step, outcome: Result<Data, Fault>) {
        let data = match (outcome, step) {
            (Ok(data), step) => Ok((data, step)),
            // A service that is busy cancelling does not answer; whoever waits can wait.
            (Err(Fault::Timeout), Step::Result(wait)) if wait.until.is_some_and(|until| until > self.voice.now.mono) => {
                return self.wait(wait);
            }
            (Err(fault), Step::Send { call, .. } | Step::Cancel { call } | Step::Result(Wait { call, .. })) => {
                Err((fault, call))
            }
        };
        let (data, step) = match data {
            Ok(answered) => answered,
            Err((fault, call)) => {
                let (status, text) = refusal(fault);
                return self.voice.refuse(call, status, text);
            }
        };
        let status = data.get("status").and_then(Value::as_u64).unwrap_or_default();
        match step {
            Step::Cancel { call } => self.voice.give(call, &Value::Bool(status == 1)),
            Step::Send { call, action, run } => {
                let id = data.get("goal_id").and_then(Value::as_str).unwrap_or_default();
                match run {
                    _ if status != 1 || id.is_empty() => {
                        let reason = data.get("error").and_then(Value::as_str).filter(|text| !text.is_empty());
                        self.voice.refuse(call, Status::METHOD_EXCEPTION, reason.unwrap_or("the goal was refused"));
                    }
                    None => self.voice.give(call, &json!({"goal_id": id})),
                    Some(until) => {
                        let poll = self.voice.now.mono.plus(POLL);
                        self.wait(Wait { call, action, id: id.into(), until: Some(until), run: true, poll });
                    }
                }
            }
            Step::Result(wait) => {
                let is_over = wait.until.is_none_or(|until| until <= self.voice.now.mono);
                if status < FINAL && !is_over && status > 0 {
                    return self.wait(Wait { poll: self.voice.now.mono.plus(POLL), ..wait });
                }
                if wait.run && status < FINAL {
                    let text = format!("goal {} was not done in time and goes on", wait.id);
                    return self.voice.refuse(wait.call, Status::METHOD_UNAVAILABLE, text);
                }
                let result = data.get("result").cloned().unwrap_or_else(|| json!({}));
                let mut answer = json!({"status": status, "result": result});
                if wait.run {
                    answer["goal_id"] = wait.id.into();
                }
                self.voice.give(wait.call, &answer);
            }
        }
    }

    fn wait(&mut self, mut wait: Wait) {
        if self.helpers.has_ended(&wait.id) {
            wait.until = None;
            return self.ask_result(wait);
        }
        if self.helpers.waits.len() >= WAITS_MAX {
            return self.voice.refuse(wait.call, Status::METHOD_UNAVAILABLE, "too many callers wait for goals");
        }
        self.helpers.waits.push(wait);
    }

    /// A message that may be a status.
    pub(super) fn helpers_heard(&mut self, topic: &str, payload: &[u8]) {
        let Some(action) = topic.strip_suffix("/status").filter(|action| self.helpers.watched.contains_key(*action)) else {
            return;
        };
        let Some(fields) = wire::object(payload) else { return };
        let status = fields.get("status").and_then(Value::as_u64);
        let Some((id, status)) = fields.get("goal_id").and_then(Value::as_str).zip(status) else { return };
        self.helpers.note(id, status, self.voice.now.mono);
        if status >= FINAL {
            let ended: Vec<Wait> = self.helpers.waits.extract_if(.., |wait| wait.id == id && wait.action == action).collect();
            for wait in ended {
                self.ask_result(Wait { until: None, ..wait });
            }
        }
    }

    pub(super) fn helpers_overdue(&mut self) {
        let now = self.voice.now.mono;
        let is_due = |wait: &mut Wait| wait.poll <= now || wait.until.is_some_and(|until| until <= now);
        let due: Vec<Wait> = self.helpers.waits.extract_if(.., is_due).collect();
        for wait in due {
            self.ask_result(wait);
        }
        while self.helpers.order.front().is_some_and(|(at, _)| at.plus(STATUS_FOR) <= now) {
            self.helpers.forget_oldest();
        }
        let waits = &self.helpers.waits;
        for (action, used) in &mut self.helpers.watched {
            if waits.iter().any(|wait| wait.action == *action) {
                *used = now;
            }
        }
        let idle: Vec<String> = self
            .helpers
            .watched
            .iter()
            .filter(|(_, used)| used.plus(STATUS_FOR) <= now)
            .map(|(action, _)| action.clone())
            .collect();
        for action in idle {
            self.helpers.watched.remove(&action);
            self.voice.unsubscribe(Filter::Mqtt(format!("{action}/status")));
        }
    }
}

/// Arguments by their names, given so or in this order.
fn by_name(mut arguments: Vec<Value>, order: &[&str]) -> Data {
    if let [Value::Object(_)] = arguments.as_slice()
        && let Some(Value::Object(given)) = arguments.pop()
    {
        return given;
    }
    order.iter().map(|name| (*name).to_owned()).zip(arguments).collect()
}
