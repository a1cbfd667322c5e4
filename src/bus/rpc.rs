//! The RPC layer inside the payload of messages (busrt.md 5), and its errors beside those of Rembus.
//!
//! ```text
//!  00 data                                 notification
//!  01 call id u32 │ method 00 │ parameters   request; call id 0: no reply is wanted
//!  11 call id u32 │ result                   reply
//!  12 call id u32 │ code i16 │ text          error
//! ```

use super::frame::Code;
use crate::router::Status;
use bytes::{Buf, Bytes};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rpc {
    Notification,
    Request { id: u32, method: String, parameters: Bytes },
    Reply { id: u32, result: Bytes },
    Error { id: u32, code: i16, text: Bytes },
}

const REQUEST: u8 = 0x01;
const REPLY: u8 = 0x11;
const ERROR: u8 = 0x12;

/// What a payload says; `None` if it is not of this layer.
pub(super) fn parse(payload: &Bytes) -> Option<Rpc> {
    let mut rest = payload.clone();
    let kind = rest.try_get_u8().ok()?;
    if kind == 0 {
        return Some(Rpc::Notification);
    }
    let id = rest.try_get_u32_le().ok()?;
    Some(match kind {
        REQUEST => {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let method = String::from_utf8(rest.split_to(end).into()).ok()?;
            rest.advance(1);
            Rpc::Request { id, method, parameters: rest }
        }
        REPLY => Rpc::Reply { id, result: rest },
        ERROR => {
            let code = rest.try_get_i16_le().ok()?;
            Rpc::Error { id, code, text: rest }
        }
        _ => return None,
    })
}

/// Whether it ends a call. What answers needs no right of its own: the question had one.
pub(super) fn is_answer(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(&(REPLY | ERROR)))
}

pub(super) fn request(id: u32, method: &str, parameters: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(6 + method.len() + parameters.len());
    out.push(REQUEST);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(method.as_bytes());
    out.push(0);
    out.extend_from_slice(parameters);
    out
}

pub(super) fn reply(id: u32, result: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + result.len());
    out.push(REPLY);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(result);
    out
}

pub(super) fn error(id: u32, code: i16, text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(7 + text.len());
    out.push(ERROR);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

pub(super) const NO_METHOD: i16 = -32601;
pub(super) const BAD_PARAMETERS: i16 = -32602;
const INTERNAL: i16 = -32603;

/// The code of an error of the bus itself.
const fn of_bus(code: Code) -> i16 {
    -32000 - code.0 as i16
}

/// What a Rembus status is here.
pub(super) fn code(status: Status, text: &str) -> i16 {
    match status {
        Status::METHOD_NOT_FOUND | Status::METHOD_LOOPBACK => NO_METHOD,
        Status::TARGET_NOT_FOUND | Status::TARGET_DOWN => of_bus(Code::NOT_REGISTERED),
        Status::METHOD_UNAVAILABLE => of_bus(Code::TIMEOUT),
        // So the router says that an exposer took too long.
        Status::METHOD_EXCEPTION if text == "timeout" => of_bus(Code::TIMEOUT),
        _ => INTERNAL,
    }
}

/// What an error of a program is to Rembus.
pub(super) fn status(code: i16) -> Status {
    if code == NO_METHOD {
        Status::METHOD_NOT_FOUND
    } else if code == of_bus(Code::NOT_REGISTERED) {
        Status::TARGET_NOT_FOUND
    } else if code == of_bus(Code::TIMEOUT) {
        Status::METHOD_UNAVAILABLE
    } else {
        Status::METHOD_EXCEPTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_have_a_counterpart_on_the_other_side() {
        assert_eq!(code(Status::METHOD_NOT_FOUND, "m"), -32601);
        assert_eq!(code(Status::TARGET_NOT_FOUND, "c"), -32113);
        assert_eq!(code(Status::METHOD_UNAVAILABLE, "m"), -32120);
        assert_eq!(code(Status::METHOD_EXCEPTION, "timeout"), -32120);
        assert_eq!(code(Status::METHOD_EXCEPTION, "division by zero"), -32603);
        assert_eq!(status(-32601), Status::METHOD_NOT_FOUND);
        assert_eq!(status(-777), Status::METHOD_EXCEPTION);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes.into());
        }

        #[test]
        fn what_is_written_is_read(id: u32, method in "[a-z._/]{0,20}", parameters: Vec<u8>, failure: i16, text in ".{0,20}") {
            let parameters = Bytes::from(parameters);
            let parsed = parse(&request(id, &method, &parameters).into());
            prop_assert_eq!(parsed, Some(Rpc::Request { id, method, parameters: parameters.clone() }));
            prop_assert_eq!(parse(&reply(id, &parameters).into()), Some(Rpc::Reply { id, result: parameters }));
            let text_bytes = Bytes::from(text.clone().into_bytes());
            prop_assert_eq!(parse(&error(id, failure, &text).into()), Some(Rpc::Error { id, code: failure, text: text_bytes }));
        }
    }
}
