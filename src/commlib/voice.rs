//! What the part says to the router, in one place.

use super::wire::Data;
use crate::mapping;
use crate::message::{Dialect, Message, Payload, Qos};
use crate::router::{CallId, Filter, Inbound, Now, Past, RetainHandling, Status, Subscription, Token};
use serde_json::Value;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Voice {
    pub(super) out: Vec<Inbound>,
    pub(super) now: Now,
    last: u64,
    publisher: Arc<str>,
}

impl Voice {
    pub(super) fn new(publisher: &str) -> Self {
        Self { out: Vec::new(), now: Now::default(), last: 0, publisher: publisher.into() }
    }

    fn token(&mut self) -> Token {
        self.last += 1;
        Token(self.last)
    }

    pub(super) fn expose(&mut self, method: impl Into<String>) {
        let token = self.token();
        self.out.push(Inbound::Expose { token, method: method.into() });
    }

    pub(super) fn expose_below(&mut self, prefix: &str) {
        let token = self.token();
        self.out.push(Inbound::ExposeBelow { token, prefix: prefix.into() });
    }

    /// QoS 0: what this part has heard ends with the process, so nothing is to be kept for it. Its own messages as well, for
    /// it serves what it calls.
    pub(super) fn subscribe(&mut self, filter: Filter) {
        let token = self.token();
        let subscription = Subscription {
            filter,
            qos: Qos::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
            identifier: None,
            number: 0,
            past: Past::Nothing,
        };
        self.out.push(Inbound::Subscribe { token, filters: vec![subscription] });
    }

    pub(super) fn unsubscribe(&mut self, filter: Filter) {
        let token = self.token();
        self.out.push(Inbound::Unsubscribe { token, filters: vec![filter] });
    }

    fn message(&self, topic: &str, payload: Vec<u8>, qos: Qos) -> Message {
        let (payload, publisher) = (Payload::Mqtt(payload.into()), Arc::clone(&self.publisher));
        Message::new(topic.into(), payload, qos, self.now.wall, Dialect::Internal, publisher)
    }

    pub(super) fn publish(&mut self, topic: &str, fields: &Value, qos: Qos) {
        let token = self.token();
        let message = self.message(topic, fields.to_string().into_bytes(), qos);
        self.out.push(Inbound::Publish { message, token });
    }

    /// To those who subscribed to the very topic; they are counted.
    pub(super) fn ask(&mut self, topic: &str, payload: Vec<u8>) -> Token {
        let token = self.token();
        // As commlib's own peers do, so that a service acknowledges.
        let message = self.message(topic, payload, Qos::AtLeastOnce);
        self.out.push(Inbound::Ask { message, token });
        token
    }

    /// Calls a Rembus method with positional arguments.
    pub(super) fn call(&mut self, method: &str, arguments: Vec<Value>) -> Token {
        let token = self.token();
        let data = mapping::json_to_cbor(&Value::Array(arguments));
        self.out.push(Inbound::Call { token, method: method.into(), target: None, data });
        token
    }

    pub(super) fn give(&mut self, call: CallId, value: &Value) {
        self.out.push(Inbound::Return { call, status: Status::OK, data: mapping::json_to_cbor(value) });
    }

    pub(super) fn refuse(&mut self, call: CallId, status: Status, text: impl Into<String>) {
        let data = mapping::json_to_cbor(&Value::String(text.into()));
        self.out.push(Inbound::Return { call, status, data });
    }
}

/// The fields of a result; one that is not an object goes below `key`.
pub(super) fn fields(value: Value, key: &str) -> Data {
    match value {
        Value::Object(fields) => fields,
        other => Data::from_iter([(key.to_owned(), other)]),
    }
}
