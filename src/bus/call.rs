//! Calls from a program to whoever serves the method, and from others to a program.
//!
//! A program asks `.gateway` for any method that the router knows, and `.rembus.NAME` for one of that component. Its parameters
//! are MessagePack: an array is the arguments, a map the only one, nothing none; so is the result. It is asked by others as
//! `bus/NAME/METHOD`: then the request comes from `.gateway`.

use super::dialogue::Dialogue;
use super::frame::{self, Code, Header, Kind};
use super::outbox::Origin;
use super::rpc::{self, Rpc};
use crate::mapping;
use crate::rembus::cbor::{self, Reader};
use crate::router::{CallId, Inbound, Status, Token};
use bytes::Bytes;
use std::sync::Arc;

pub(super) const GATEWAY: &str = ".gateway";
pub(super) const COMPONENT: &str = ".rembus.";

/// Tokens of calls begin here; those of other operations are 32 bits and a flag.
const CALLS: u64 = 1 << 40;

/// A call that a program made.
#[derive(Debug)]
pub(super) struct Asked {
    /// Whom it asked, and so who answers.
    target: Arc<str>,
    /// Its own number; 0 wants no answer.
    id: u32,
}

impl Dialogue {
    /// A message to `.gateway` or a component. What is not of the RPC layer says nothing to anybody there.
    pub(super) fn ask(&mut self, target: &str, header: Header, payload: &Bytes) {
        let component = target.strip_prefix(COMPONENT);
        let said = rpc::parse(payload);
        let is_known = match &said {
            Some(Rpc::Request { .. }) => true,
            Some(Rpc::Reply { .. } | Rpc::Error { .. }) => component.is_none(),
            Some(Rpc::Notification) | None => false,
        };
        self.acknowledge(header, if is_known { Code::OK } else { Code::NOT_SUPPORTED });
        match said {
            Some(Rpc::Request { id, method, parameters }) => {
                let Some(data) = mapping::pack_to_arguments(&parameters) else {
                    return self.answer(target, id, &rpc::error(id, rpc::BAD_PARAMETERS, "the parameters are not MessagePack"));
                };
                self.next_call += 1;
                let token = CALLS + self.next_call;
                self.calls.insert(token, Asked { target: target.into(), id });
                self.unanswered += 1;
                let target = component.map(str::to_owned);
                self.batch.push(Inbound::Call { token: Token(token), method, target, data });
            }
            Some(Rpc::Reply { id, result }) if component.is_none() => {
                let data = mapping::pack_to_cbor(&result).unwrap_or_else(|| bytes_value(&result));
                self.returned(id, Status::OK, data);
            }
            Some(Rpc::Error { id, code, text }) if component.is_none() => {
                let text = match (String::from_utf8_lossy(&text), rpc::status(code)) {
                    (text, _) if text.is_empty() => format!("error {code}"),
                    (text, _) => text.into_owned(),
                };
                self.returned(id, rpc::status(code), cbor::text(&text).into());
            }
            _ => {}
        }
    }

    fn returned(&mut self, id: u32, status: Status, data: Bytes) {
        if let Some(call) = call_of(id, self.last_request) {
            self.batch.push(Inbound::Return { call, status, data });
        }
    }

    /// The router's answer to a call.
    pub(super) fn respond(&mut self, token: Token, status: Status, data: &Bytes) {
        let Some(asked) = self.calls.remove(&token.0) else { return };
        self.answered();
        let payload = if status == Status::OK {
            rpc::reply(asked.id, &mapping::cbor_to_pack(data))
        } else {
            let text = text_of(data);
            rpc::error(asked.id, rpc::code(status, &text), &text)
        };
        self.answer(&asked.target, asked.id, &payload);
    }

    fn answer(&self, from: &str, id: u32, payload: &[u8]) {
        // Nobody waits for the answer to 0.
        if id == 0 {
            return;
        }
        let prefix = frame::prefix(Kind::Message, from, None, payload.len(), false);
        self.client.put(&prefix, &Bytes::copy_from_slice(payload), Origin::Other);
    }

    /// Somebody calls this program.
    pub(super) fn request(&mut self, call: CallId, method: &str, data: &[u8]) {
        self.last_request = self.last_request.max(call.0);
        let id = low(call);
        // Once in four billion: 0 would mean that no answer is wanted.
        if id == 0 || method.contains('\0') {
            let data = cbor::text("the method cannot be asked for").into();
            self.batch.push(Inbound::Return { call, status: Status::METHOD_UNAVAILABLE, data });
            self.pretend_written();
            return;
        }
        let payload = rpc::request(id, method, &mapping::parameters_to_pack(data));
        let prefix = frame::prefix(Kind::Message, GATEWAY, None, payload.len(), false);
        self.client.put(&prefix, &payload.into(), Origin::Router);
    }
}

fn low(call: CallId) -> u32 {
    u32::try_from(call.0 & u64::from(u32::MAX)).expect("the rest is masked")
}

/// The call of which a program knows the lower half: the newest one so far, `last`, is less than a half's range away.
fn call_of(id: u32, last: u64) -> Option<CallId> {
    let near = (last & !u64::from(u32::MAX)) | u64::from(id);
    if near > last { near.checked_sub(1 << 32).map(CallId) } else { Some(CallId(near)) }
}

fn bytes_value(bytes: &[u8]) -> Bytes {
    let mut writer = cbor::Writer::with_capacity(bytes.len() + 9);
    writer.bytes(bytes);
    writer.finish().into()
}

/// What is said about an error: a text as such, anything else as JSON.
fn text_of(data: &[u8]) -> String {
    match Reader::new(data).text() {
        Ok(text) => text.into_owned(),
        Err(_) => mapping::cbor_to_json(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_number_finds_its_call() {
        for (last, call) in [(7, 7), (7, 3), ((1 << 32) + 5, 9), ((1 << 32) + 5, (1 << 32) + 5), ((1 << 33) + 1, (1 << 33) - 7)]
        {
            assert_eq!(call_of(low(CallId(call)), last), Some(CallId(call)), "{last} {call}");
        }
        assert_eq!(call_of(9, 7), None, "nothing like it was asked");
    }
}
