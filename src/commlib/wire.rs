//! Requests and answers of commlib's RPC as JSON (`protocol/commlib.md` section 4).
//!
//! ```text
//! {"header": {"reply_to": "rpc-…", "correlation_id": null, "timestamp": ns, "content_type": "json", "encoding": "utf8",
//!             "agent": "commlib"}, "data": {…}}
//! ```
//!
//! A request is valid with `data` and a `reply_to`, an answer with `data`; nothing else in the header is looked at, because
//! releases differ (0.10 has two fields, and milliseconds).

use crate::clock::Wall;
use serde::Serialize;
use serde_json::{Map, Value};

/// The fields of a message.
pub(super) type Data = Map<String, Value>;

#[derive(Serialize)]
struct Packet<'a> {
    header: Header<'a>,
    data: &'a Data,
}

#[derive(Serialize)]
struct Header<'a> {
    reply_to: &'a str,
    correlation_id: (),
    timestamp: u64,
    content_type: &'static str,
    encoding: &'static str,
    agent: &'static str,
}

/// A request to be answered on `reply_to`.
#[must_use]
pub(super) fn request(reply_to: &str, data: &Data, now: Wall) -> Vec<u8> {
    let header =
        Header { reply_to, correlation_id: (), timestamp: now.0, content_type: "json", encoding: "utf8", agent: "commlib" };
    serde_json::to_vec(&Packet { header, data }).expect("texts and JSON values are always JSON")
}

/// An answer.
#[must_use]
pub(super) fn answer(data: &Data, now: Wall) -> Vec<u8> {
    request("", data, now)
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) reply_to: String,
    pub(super) data: Data,
}

/// `None`: not a request; a service says nothing to it.
#[must_use]
pub(super) fn read_request(payload: &[u8]) -> Option<Request> {
    let mut packet = object(payload)?;
    let header = packet.remove("header")?;
    let reply_to = header.as_object()?.get("reply_to")?.as_str()?;
    let Some(Value::Object(data)) = packet.remove("data") else { return None };
    (!reply_to.is_empty()).then(|| Request { reply_to: reply_to.to_owned(), data })
}

/// The data of an answer; `None` if there are none.
#[must_use]
pub(super) fn read_answer(payload: &[u8]) -> Option<Data> {
    match object(payload)?.remove("data")? {
        Value::Object(data) => Some(data),
        _ => None,
    }
}

/// The fields of a plain publication, such as a status or a heartbeat.
#[must_use]
pub(super) fn object(payload: &[u8]) -> Option<Data> {
    match crate::mapping::tree_of(payload)? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Data {
        match value {
            Value::Object(fields) => fields,
            other => panic!("{other} is not an object"),
        }
    }

    #[test]
    fn a_request_looks_like_the_one_of_the_published_client() {
        let data = fields(json!({"a": 2, "b": 3}));
        let text = String::from_utf8(request("rpc-0", &data, Wall(5))).unwrap();
        assert_eq!(
            text,
            r#"{"header":{"reply_to":"rpc-0","correlation_id":null,"timestamp":5,"content_type":"json","encoding":"utf8","agent":"commlib"},"data":{"a":2,"b":3}}"#
        );
    }

    #[test]
    fn only_data_and_reply_topic_make_a_request() {
        let least = br#"{"header":{"reply_to":"rpc-1"},"data":{"x":null}}"#;
        assert_eq!(read_request(least).unwrap(), Request { reply_to: "rpc-1".into(), data: fields(json!({"x": null})) });
        for wrong in [
            &br#"{"header":{"reply_to":""},"data":{}}"#[..],
            br#"{"header":{"reply_to":"rpc-1"},"data":[1]}"#,
            br#"{"header":{"reply_to":"rpc-1"}}"#,
            br#"{"header":null,"data":{}}"#,
            br#"{"data":{}}"#,
            b"21.5",
            b"",
            b"\xff",
        ] {
            assert_eq!(read_request(wrong), None);
        }
    }

    #[test]
    fn an_answer_needs_only_data() {
        assert_eq!(read_answer(br#"{"header":{},"data":{"c":5}}"#).unwrap(), fields(json!({"c": 5})));
        assert_eq!(read_answer(br#"{"data":{}}"#).unwrap(), Data::new());
        assert_eq!(read_answer(br#"{"header":{}}"#), None);
        assert_eq!(read_answer(br#"{"data":5}"#), None);
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(payload: Vec<u8>) {
        drop(read_request(&payload));
            drop(read_answer(&payload));
        }
    }
}
