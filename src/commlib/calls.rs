//! A Rembus component calls a commlib service: by a method of the configuration, or as `commlib/<name>`.
//!
//! | what happens | what the component gets |
//! |---|---|
//! | nobody subscribed to the service's topic | METHOD_NOT_FOUND, at once |
//! | not allowed by `callable`, or no right to publish on that topic | METHOD_NOT_FOUND |
//! | no answer in time | METHOD_UNAVAILABLE, and how long it took |
//! | too many calls under way | METHOD_UNAVAILABLE |
//! | an answer without `data`, or arguments that do not fit | METHOD_EXCEPTION |

use super::asking::Fault;
use super::wire::Data;
use super::{Commlib, Then, names};
use crate::access::Action;
use crate::router::{Author, CallId, Status};
use serde_json::Value;

pub(super) const PREFIX: &str = "commlib/";

impl Commlib {
    pub(super) fn call_service(&mut self, call: CallId, method: &str, arguments: Vec<Value>, caller: Option<&Author>) {
        let rule = self.settings.rpc_of(method).cloned();
        let (service, timeout, args, unwrap) = match rule {
            Some(rpc) => (Some(rpc.service), rpc.timeout, rpc.args, rpc.unwrap),
            None => {
                let topic = method.strip_prefix(PREFIX).and_then(names::topic);
                let allowed = topic.filter(|topic| self.settings.is_callable(topic) && may_publish(caller, topic));
                (allowed, self.settings.timeout, Vec::new(), None)
            }
        };
        let Some(service) = service else {
            self.figures.change(|figures| *figures.calls.entry("denied").or_default() += 1);
            return self.voice.refuse(call, Status::METHOD_NOT_FOUND, method);
        };
        let data = match named(arguments, &args) {
            Ok(data) => data,
            Err(text) => return self.voice.refuse(call, Status::METHOD_EXCEPTION, text),
        };
        let then = Then::Return { call, unwrap };
        let caller = caller.map(|caller| caller.account);
        if let Err(then) = self.asking.ask(&mut self.voice, caller, &service, &data, timeout, then) {
            self.answered(then, Err(Fault::Busy));
        }
    }

    pub(super) fn give_answer(&mut self, call: CallId, unwrap: Option<&str>, outcome: Result<Data, Fault>) {
        let voice = &mut self.voice;
        match (outcome, unwrap) {
            (Ok(mut data), Some(field)) => match data.remove(field) {
                Some(value) => voice.give(call, &value),
                None => voice.refuse(call, Status::METHOD_EXCEPTION, format!("the answer has no field `{field}`")),
            },
            (Ok(data), None) => voice.give(call, &Value::Object(data)),
            (Err(fault), _) => {
                let (status, text) = refusal(fault);
                voice.refuse(call, status, text);
            }
        }
    }
}

/// What a component is told.
pub(super) fn refusal(fault: Fault) -> (Status, &'static str) {
    match fault {
        Fault::Nobody => (Status::METHOD_NOT_FOUND, "no commlib node serves it"),
        Fault::Timeout => (Status::METHOD_UNAVAILABLE, "the commlib service did not answer in time"),
        Fault::Busy => (Status::METHOD_UNAVAILABLE, "too many calls of commlib services are under way"),
        Fault::Malformed => (Status::METHOD_EXCEPTION, "the answer of the commlib service has no data"),
    }
}

/// Whether somebody may publish there by himself.
pub(super) fn may_publish(caller: Option<&Author>, topic: &str) -> bool {
    caller.is_some_and(|caller| caller.identity.may(Action::Publish, topic))
}

/// The fields of a request: the only argument, if it is an object; else the arguments, by the names that belong to them.
fn named(mut arguments: Vec<Value>, names: &[String]) -> Result<Data, String> {
    if let [Value::Object(_)] = arguments.as_slice()
        && let Some(Value::Object(fields)) = arguments.pop()
    {
        return Ok(fields);
    }
    if arguments.len() == names.len() {
        return Ok(names.iter().cloned().zip(arguments).collect());
    }
    match names {
        [] => Err("give the fields of the request as one object".into()),
        names => Err(format!("give {} arguments ({}) or one object", names.len(), names.join(", "))),
    }
}
