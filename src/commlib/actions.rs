//! Actions that Rembus components serve, for Rembus callers and commlib's action clients alike.
//!
//! A component that exposes `<action>/on_goal` serves the action `<action>`. The gateway keeps the goals (`goals.rs`):
//!
//! | the component exposes | called when | it answers |
//! |---|---|---|
//! | `<action>/on_goal(goal_id, goal)` | a goal arrives | nothing or true: it is at work; an object: done, and this is the result; false or a text: refused |
//! | `<action>/on_cancel(goal_id)`, optional | somebody wants the goal to end | false: it goes on; else it will end |
//! | `<action>/on_preempt(goal_id, goal)`, optional | another goal arrives while one runs | true: it gives up the one it has |
//!
//! It calls `action/<action>/done(goal_id, result)`, `…/failed(goal_id, reason)` and `…/feedback(goal_id, data)`. These are
//! calls of their own, and `on_goal` returns at once, because the published Rembus client serves one call after the other:
//! while `on_goal` runs it could not hear of a cancellation.
//!
//! Others call `action/<action>/send(goal)`, `…/cancel(goal_id)` and `…/result(goal_id, wait_s)`, or are commlib action
//! clients, which use the topics `<action>/send_goal`, `cancel_goal`, `get_result`; status and feedback are published on
//! `<action>/status` and `<action>/feedback`.

use super::asking::hex;
use super::goals::{Deed, Goals, Limits, Status as Goal, Verdict};
use super::serving::may_answer;
use super::wire::{self, Data};
use super::{Called, Commlib, names, voice};
use crate::clock::Mono;
use crate::mapping;
use crate::message::Qos;
use crate::router::{Author, CallId, Filter, Status};
use ahash::AHashMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const ON_GOAL: &str = "/on_goal";
/// Actions served at once; more are not served.
const ACTIONS_MAX: usize = 1_000;
/// Callers that wait for results; more get what there is.
const WAITS_MAX: usize = 1_024;
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
const VERBS: [&str; 3] = ["send_goal", "cancel_goal", "get_result"];

/// What a component was asked.
#[derive(Debug)]
pub(super) struct Asked {
    action: String,
    id: String,
    about: About,
}

#[derive(Debug, Clone, Copy)]
enum About {
    Goal,
    Cancel,
    Preempt,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Asker {
    Rembus(CallId),
    /// The reply topic.
    Commlib(String),
}

#[derive(Debug)]
struct Known {
    goals: Goals,
    /// The component is there.
    offered: bool,
}

#[derive(Debug)]
struct Wait {
    action: String,
    id: String,
    deadline: Mono,
    call: CallId,
}

#[derive(Debug)]
pub(super) struct Actions {
    limits: Limits,
    known: BTreeMap<String, Known>,
    askers: AHashMap<u64, Asker>,
    last_asker: u64,
    waits: Vec<Wait>,
}

impl Actions {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, known: BTreeMap::new(), askers: AHashMap::new(), last_asker: 0, waits: Vec::new() }
    }

    /// Actions served, and goals under way.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |is: fn(&&Known) -> bool| self.known.values().filter(is).count() as u64;
        (count(|known| known.offered), count(|known| known.goals.is_busy()))
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        let waits = self.waits.iter().map(|wait| wait.deadline);
        self.known.values().filter_map(|known| known.goals.next_due()).chain(waits).min()
    }

    fn asker(&mut self, asker: Asker) -> u64 {
        self.last_asker += 1;
        self.askers.insert(self.last_asker, asker);
        self.last_asker
    }

    fn goals(&mut self, action: &str) -> Option<&mut Goals> {
        Some(&mut self.known.get_mut(action)?.goals)
    }
}

impl Commlib {
    /// A component offers `<action>/on_goal`, or does so no more.
    pub(super) fn offered(&mut self, method: &str, offered: bool) {
        let Some(action) = method.strip_suffix(ON_GOAL).filter(|action| names::topic(action).as_deref() == Some(action)) else {
            return;
        };
        let (limits, is_full) = (self.actions.limits, self.actions.known.len() >= ACTIONS_MAX);
        if !self.actions.known.contains_key(action) {
            if !offered {
                return;
            }
            if is_full {
                log::warn!(action; "more than {ACTIONS_MAX} actions; this one is not served");
                return;
            }
            self.actions.known.insert(action.into(), Known { goals: Goals::new(limits), offered: false });
        }
        let known = self.actions.known.get_mut(action).expect("it is there by now");
        if std::mem::replace(&mut known.offered, offered) == offered {
            return;
        }
        for verb in VERBS {
            let filter = Filter::Mqtt(format!("{action}/{verb}"));
            if offered { self.voice.subscribe(filter) } else { self.voice.unsubscribe(filter) }
        }
        if !offered {
            self.goal_event(action, |goals, now, deeds| goals.gone(now, deeds));
            self.forget_idle();
        }
    }

    /// A message for an action of ours. False if it is none.
    pub(super) fn action_heard(&mut self, topic: &str, payload: &[u8], author: Option<&Author>) -> bool {
        let Some((action, verb)) = topic.rsplit_once('/').filter(|(_, verb)| VERBS.contains(verb)) else { return false };
        if !self.actions.known.contains_key(action) {
            return false;
        }
        let allowed = |reply_to: &str| author.is_some_and(|author| may_answer(author, reply_to));
        let Some(request) = wire::read_request(payload).filter(|request| allowed(&request.reply_to)) else { return true };
        let mut data = request.data;
        let id = data.get("goal_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        match verb {
            "send_goal" => {
                let goal = match data.remove("goal_data") {
                    Some(Value::Object(goal)) => goal,
                    _ => Data::new(),
                };
                let asker = self.actions.asker(Asker::Commlib(request.reply_to));
                self.goal_event(action, |goals, now, deeds| goals.send(asker, hex(), goal, now, deeds));
            }
            "cancel_goal" => {
                let asker = self.actions.asker(Asker::Commlib(request.reply_to));
                self.goal_event(action, |goals, now, deeds| goals.cancel(asker, &id, now, deeds));
            }
            _ => {
                let Some(goals) = self.actions.goals(action) else { return true };
                let (status, result) = goals.result(&id);
                let answer = json!({"status": status.number(), "timestamp": -1, "result": result, "error": ""});
                self.reply(&request.reply_to, &voice::fields(answer, "result"));
            }
        }
        true
    }

    /// A Rembus component calls `action/<name>/<verb>`.
    pub(super) fn action_called(&mut self, call: CallId, rest: &str, arguments: Vec<Value>) {
        let target = rest.rsplit_once('/').and_then(|(name, verb)| Some((names::topic(name)?, verb)));
        let Some((action, verb)) = target.filter(|(action, _)| self.actions.known.contains_key(action)) else {
            return self.voice.refuse(call, Status::METHOD_NOT_FOUND, format!("action/{rest}"));
        };
        let mut arguments = arguments.into_iter();
        let first = arguments.next();
        let id = first.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        match verb {
            "send" => {
                let Some(Value::Object(goal)) = first else {
                    return self.voice.refuse(call, Status::METHOD_EXCEPTION, "give the goal as one object");
                };
                let asker = self.actions.asker(Asker::Rembus(call));
                self.goal_event(&action, |goals, now, deeds| goals.send(asker, hex(), goal, now, deeds));
            }
            "cancel" => {
                let asker = self.actions.asker(Asker::Rembus(call));
                self.goal_event(&action, |goals, now, deeds| goals.cancel(asker, &id, now, deeds));
            }
            "result" => self.action_result(call, action, id, arguments.next()),
            "done" | "failed" => {
                let about = arguments.next().unwrap_or(Value::Null);
                let mut known = false;
                self.goal_event(&action, |goals, now, deeds| {
                    known = match (verb, about) {
                        ("done", Value::Null) => goals.done(&id, Data::new(), now, deeds),
                        ("done", result) => goals.done(&id, voice::fields(result, "result"), now, deeds),
                        (_, Value::String(reason)) => goals.failed(&id, reason, now, deeds),
                        (_, reason) => goals.failed(&id, reason.to_string(), now, deeds),
                    };
                });
                self.give_if(call, known);
            }
            "feedback" => {
                let known = self.actions.goals(&action).is_some_and(|goals| goals.running(&id).is_some());
                if known {
                    let data = voice::fields(arguments.next().unwrap_or(Value::Null), "value");
                    let feedback = json!({"feedback_data": data, "goal_id": id});
                    self.voice.publish(&format!("{action}/feedback"), &feedback, Qos::AtMostOnce);
                }
                self.give_if(call, known);
            }
            _ => self.voice.refuse(call, Status::METHOD_NOT_FOUND, format!("action/{rest}")),
        }
    }

    fn give_if(&mut self, call: CallId, known: bool) {
        if known {
            self.voice.give(call, &Value::Bool(true));
        } else {
            self.voice.refuse(call, Status::METHOD_EXCEPTION, "that goal is not running");
        }
    }

    fn action_result(&mut self, call: CallId, action: String, id: String, wait: Option<Value>) {
        let Some(goals) = self.actions.goals(&action) else { return };
        let (status, result) = goals.result(&id);
        let wait = wait.as_ref().and_then(Value::as_f64).filter(|seconds| *seconds > 0.0);
        match wait {
            Some(seconds)
                if !id.is_empty() && status != Goal::Unknown && !status.is_final() && self.actions.waits.len() < WAITS_MAX =>
            {
                let wait = Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX).min(WAIT_MAX);
                self.actions.waits.push(Wait { action, id, deadline: self.voice.now.mono.plus(wait), call });
            }
            _ => self.voice.give(call, &json!({"status": status.number(), "result": result})),
        }
    }

    /// The component has answered.
    pub(super) fn component_answered(&mut self, asked: Asked, status: Status, data: &[u8]) {
        let value: Value = mapping::tree_of(mapping::cbor_to_json(data).as_bytes()).unwrap_or(Value::Null);
        let failed = status != Status::OK;
        let Asked { action, id, about } = asked;
        self.goal_event(&action, |goals, now, deeds| match about {
            About::Goal => {
                let verdict = match value {
                    _ if failed => Verdict::No(value.as_str().map_or_else(|| "the component failed".into(), str::to_owned)),
                    Value::Null | Value::Bool(true) => Verdict::Yes,
                    Value::Bool(false) => Verdict::No("the component refused".into()),
                    Value::String(reason) => Verdict::No(reason),
                    done => Verdict::Done(voice::fields(done, "result")),
                };
                goals.goal_answered(&id, verdict, now, deeds);
            }
            About::Cancel => goals.cancel_answered(&id, !failed && value != Value::Bool(false), now, deeds),
            About::Preempt => goals.preempt_answered(&id, !failed && value == Value::Bool(true), now, deeds),
        });
    }

    pub(super) fn actions_overdue(&mut self) {
        let now = self.voice.now.mono;
        let due = |known: &Known| known.goals.next_due().is_some_and(|due| due <= now);
        let due: Vec<String> =
            self.actions.known.iter().filter(|(_, known)| due(known)).map(|(name, _)| name.clone()).collect();
        for action in &due {
            self.goal_event(action, |goals, now, deeds| goals.tick(now, deeds));
        }
        if !due.is_empty() {
            self.forget_idle();
        }
        self.finish_waits(|wait, _| wait.deadline <= now);
    }

    /// Actions whose component is gone, and of which nothing is remembered.
    fn forget_idle(&mut self) {
        self.actions.known.retain(|_, known| known.offered || !known.goals.is_idle());
    }

    fn goal_event(&mut self, action: &str, event: impl FnOnce(&mut Goals, Mono, &mut Vec<Deed>)) {
        let now = self.voice.now.mono;
        let mut deeds = Vec::new();
        if let Some(goals) = self.actions.goals(action) {
            event(goals, now, &mut deeds);
        }
        for deed in deeds {
            self.carry_out(action, deed);
        }
    }

    fn carry_out(&mut self, action: &str, deed: Deed) {
        match deed {
            Deed::AskGoal { id, goal } => self.ask_component(action, id, About::Goal, Some(goal)),
            Deed::AskCancel { id } => self.ask_component(action, id, About::Cancel, None),
            Deed::AskPreempt { id, goal } => self.ask_component(action, id, About::Preempt, Some(goal)),
            Deed::Tell { id, status } => {
                let body = json!({"goal_id": id, "status": status.number()});
                self.voice.publish(&format!("{action}/status"), &body, Qos::AtMostOnce);
                let end = match status {
                    Goal::Succeeded => "succeeded",
                    Goal::Aborted => "aborted",
                    Goal::Canceled => "canceled",
                    _ => return,
                };
                self.figures.change(|figures| *figures.goals.entry(end).or_default() += 1);
                self.finish_waits(|wait, _| wait.action == action && wait.id == id);
            }
            Deed::Accepted { asker, id } => match self.actions.askers.remove(&asker) {
                Some(Asker::Rembus(call)) => self.voice.give(call, &json!({"goal_id": id})),
                Some(Asker::Commlib(reply_to)) => {
                    self.reply(
                        &reply_to,
                        &voice::fields(json!({"status": 1, "timestamp": -1, "goal_id": id, "error": ""}), "result"),
                    );
                }
                None => {}
            },
            Deed::Refused { asker, reason } => {
                self.figures.change(|figures| *figures.goals.entry("refused").or_default() += 1);
                match self.actions.askers.remove(&asker) {
                    Some(Asker::Rembus(call)) => self.voice.refuse(call, Status::METHOD_EXCEPTION, reason),
                    Some(Asker::Commlib(reply_to)) => {
                        self.reply(
                            &reply_to,
                            &voice::fields(json!({"status": 0, "timestamp": -1, "goal_id": "", "error": reason}), "result"),
                        );
                    }
                    None => {}
                }
            }
            Deed::Cancelled { asker, done } => match self.actions.askers.remove(&asker) {
                Some(Asker::Rembus(call)) => self.voice.give(call, &Value::Bool(done)),
                Some(Asker::Commlib(reply_to)) => {
                    let now = self.voice.now.wall.0;
                    self.reply(
                        &reply_to,
                        &voice::fields(
                            json!({"status": u8::from(done), "timestamp": now, "result": {}, "error": ""}),
                            "result",
                        ),
                    );
                }
                None => {}
            },
        }
    }

    fn ask_component(&mut self, action: &str, id: String, about: About, goal: Option<Data>) {
        let method = match about {
            About::Goal => ON_GOAL,
            About::Cancel => "/on_cancel",
            About::Preempt => "/on_preempt",
        };
        let arguments = [Some(Value::from(id.as_str())), goal.map(Value::Object)].into_iter().flatten().collect();
        let token = self.voice.call(&format!("{action}{method}"), arguments);
        self.called.insert(token, Called::Asked(Asked { action: action.into(), id, about }));
    }

    fn finish_waits(&mut self, is_over: impl Fn(&Wait, Mono) -> bool) {
        let now = self.voice.now.mono;
        let over: Vec<Wait> = self.actions.waits.extract_if(.., |wait| is_over(wait, now)).collect();
        for Wait { action, id, call, .. } in over {
            let (status, result) = self.actions.goals(&action).map_or((Goal::Unknown, Data::new()), |goals| goals.result(&id));
            self.voice.give(call, &json!({"status": status.number(), "result": result}));
        }
    }
}
