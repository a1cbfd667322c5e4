//! The calls of RPC bridges: commlib's convention (`protocol/commlib.md` section 4) across the link.
//!
//! ```text
//! caller ── request on `service`, reply_to R ──▶ bridge ── request on `target`, reply_to R' ──▶ service
//! caller ◀─────────── answer on R ────────────── bridge ◀────────── answer on R' ──────────────── service
//! ```
//! R' is a topic of one call. Failure is silence, as commlib does it.

use crate::clock::Mono;
use ahash::AHashMap;
use serde_json::Value;
use std::time::Duration;

/// A request whose answer is awaited.
#[derive(Debug)]
struct Pending {
    /// Where the caller waits.
    reply_to: String,
    /// Which bridge it belongs to.
    bridge: usize,
    deadline: Mono,
}

/// Calls in one direction.
#[derive(Debug, Default)]
pub(super) struct Calls(AHashMap<String, Pending>);

/// A request to be passed on.
#[derive(Debug)]
pub(super) struct Request {
    /// The topic of its answer on the other side.
    pub(super) reply: String,
    pub(super) payload: Vec<u8>,
}

impl Calls {
    /// Takes a request of a caller. `None` if it is none, or too many are under way.
    pub(super) fn take(&mut self, bridge: usize, payload: &[u8], in_flight_max: usize, deadline: Mono) -> Option<Request> {
        let under_way = self.0.values().filter(|pending| pending.bridge == bridge).count();
        if under_way >= in_flight_max {
            return None;
        }
        let mut request: Value = crate::mapping::tree_of(payload)?;
        if !request.get("data").is_some_and(Value::is_object) {
            return None;
        }
        let reply_to = request.get_mut("header")?.as_object_mut()?.get_mut("reply_to")?;
        let asked = reply_to.as_str().filter(|topic| is_topic(topic))?.to_owned();
        let reply = format!("rpc-{}", uuid::Uuid::new_v4().simple());
        *reply_to = Value::from(reply.as_str());
        self.0.insert(reply.clone(), Pending { reply_to: asked, bridge, deadline });
        Some(Request { reply, payload: request.to_string().into_bytes() })
    }

    /// An answer came on this topic: where it goes. Only the first one counts.
    pub(super) fn answered(&mut self, reply: &str) -> Option<String> {
        self.0.remove(reply).map(|pending| pending.reply_to)
    }

    pub(super) fn is_reply(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    /// Topics of calls that nobody answered in time.
    pub(super) fn expired(&mut self, now: Mono) -> Vec<String> {
        self.0.extract_if(|_, pending| pending.deadline <= now).map(|(reply, _)| reply).collect()
    }
}

/// When a call that begins now has had its time.
pub(super) fn deadline(now: Mono, timeout: Duration) -> Mono {
    now.plus(timeout)
}

fn is_topic(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1_000 && !text.starts_with('$') && !text.contains(['+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = br#"{"header":{"reply_to":"rpc-1","timestamp":5},"data":{"b":2,"a":1.5}}"#;

    #[test]
    fn a_request_gets_a_reply_topic_of_its_own_and_one_answer() {
        let mut calls = Calls::default();
        let request = calls.take(0, REQUEST, 2, Mono(10)).unwrap();
        assert_eq!(
            String::from_utf8(request.payload).unwrap(),
            format!(r#"{{"header":{{"reply_to":"{}","timestamp":5}},"data":{{"b":2,"a":1.5}}}}"#, request.reply)
        );
        assert_eq!(request.reply.len(), 36);
        assert_eq!(calls.answered(&request.reply).as_deref(), Some("rpc-1"));
        assert_eq!(calls.answered(&request.reply), None);
    }

    #[test]
    fn what_is_no_request_or_too_much_is_not_passed_on() {
        let mut calls = Calls::default();
        for wrong in [
            &b"21.5"[..],
            b"{}",
            br#"{"header":{},"data":{}}"#,
            br#"{"header":{"reply_to":""},"data":{}}"#,
            br#"{"header":{"reply_to":"a/#"},"data":{}}"#,
            br#"{"header":{"reply_to":"r"},"data":[]}"#,
        ] {
            assert!(calls.take(0, wrong, 2, Mono(10)).is_none(), "{}", String::from_utf8_lossy(wrong));
        }
        assert!(calls.take(0, REQUEST, 1, Mono(10)).is_some() && calls.take(0, REQUEST, 1, Mono(10)).is_none());
        assert!(calls.take(1, REQUEST, 1, Mono(20)).is_some(), "another bridge has its own limit");
        assert_eq!(calls.expired(Mono(10)).len(), 1);
        assert!(calls.take(0, REQUEST, 1, Mono(20)).is_some(), "a call that has had its time makes room");
    }
}
