//! The recorded session of a JSON client beside a CBOR one (`tests/transcripts/11-json-rpc-session.json`), with the gateway in the
//! broker's place: what they said is said again, and the JSON client must be answered in the same words.
//!
//! On purpose different: the payloads of JSON publications arrive (the reference delivers null), and so does what looks like a call
//! of no method but is a publication with a slot; deliveries have a copy of their data where the unmodified Python client
//! looks for it; no names are told at login; deliveries and forwarded calls have the gateway's own numbers, which the replay
//! translates.

use crate::gateway::{Gateway, Plan};
use crate::rembus_peer::{PUB, Received, RembusPeer, encode};
use crate::transcripts::{parts, unhex};
use ciborium::Value;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const SLOT: u64 = 0x40;

type Json = serde_json::Value;

struct JsonPeer {
    socket: WebSocketStream<TcpStream>,
    /// The gateway's number for what the reference numbered otherwise.
    ids: BTreeMap<String, Json>,
}

impl JsonPeer {
    async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.doors.rembus).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async("ws://gateway/", stream).await.unwrap();
        Self { socket, ids: BTreeMap::new() }
    }

    async fn say(&mut self, mut message: Json) {
        let theirs = message["id"].to_string();
        if let (true, Some(ours)) = (message.get("result").is_some(), self.ids.get(&theirs)) {
            message["id"] = ours.clone();
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Json {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.socket.next());
            match next.await.expect("a message in time").expect("an open connection").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Binary(_) | Message::Close(_) => panic!("a JSON client is spoken to in JSON"),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn expect(&mut self, mut wanted: Json, place: &str) {
        let mut got = self.hear().await;
        // Calls and deliveries are numbered by the gateway.
        if wanted.get("method").is_some() && wanted.get("id").is_some() {
            self.ids.insert(wanted["id"].to_string(), got["id"].take());
            wanted["id"].take();
        }
        let arguments = if got["params"].is_array() { &got["params"] } else { &got["params"]["data"] };
        if got.get("data").is_some_and(|copy| copy == arguments) {
            // A copy, for who looks there.
            got.as_object_mut().unwrap().remove("data");
        }
        if wanted["result"]["data"][0].is_array() {
            // Names at login.
            assert_eq!(got["result"]["data"], json!([[], []]), "{place}");
            wanted["result"]["data"].take();
            got["result"]["data"].take();
        }
        assert_eq!(wanted, got, "{place}");
    }
}

/// The CBOR client and the gateway's numbers for its deliveries.
struct CborPeer {
    peer: RembusPeer,
    ids: BTreeMap<Vec<u8>, Value>,
    /// What was delivered to it.
    payloads: Vec<Json>,
    slotted: u32,
}

impl CborPeer {
    fn ours(&self, theirs: &Value) -> Value {
        theirs.as_bytes().and_then(|id| self.ids.get(id)).unwrap_or(theirs).clone()
    }

    async fn say(&mut self, mut message: Vec<Value>) {
        message[1] = self.ours(&message[1]);
        self.peer.send(encode(message)).await;
    }

    async fn expect(&mut self, mut wanted: Vec<Value>, place: &str) {
        let mut got = self.peer.receive().await.unwrap();
        let slotted = |got: &Received| got.kind == PUB && got.flags == SLOT;
        if slotted(&got) && wanted[0] != (PUB | SLOT).into() {
            self.slotted += 1;
            got = self.peer.receive().await.unwrap();
        }
        let head = u64::try_from(wanted.remove(0).as_integer().unwrap()).unwrap();
        assert_eq!(got.kind | got.flags, head, "{place}");
        if got.kind != PUB {
            wanted[0] = self.ours(&wanted[0]);
            assert_eq!(got.rest, wanted, "{place}");
            return;
        }
        if got.flags > 0 {
            self.ids.insert(wanted[0].as_bytes().unwrap().clone(), got.rest[0].clone());
        }
        let topic = wanted.len() - 2;
        assert_eq!(got.rest[topic], wanted[topic], "{place}");
        // The reference lost them.
        self.payloads.push(serde_json::to_value(got.rest.last().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_client_is_answered_as_the_reference_does() {
    let session: Json = serde_json::from_str(include_str!("../transcripts/11-json-rpc-session.json")).unwrap();
    let gateway = Plan::without_history().start();
    let peer = RembusPeer::connect(gateway.doors.rembus).await;
    let mut cbor = CborPeer { peer, ids: BTreeMap::new(), payloads: Vec::new(), slotted: 0 };
    let mut node = JsonPeer::connect(&gateway).await;
    let mut heard = 0;
    for (number, event) in session["events"].as_array().unwrap().iter().enumerate() {
        let place = format!("event {number}: {event}");
        let to_broker = event["dir"] == "C>B";
        if let Some(text) = event["text"].as_str() {
            let message = serde_json::from_str(text).unwrap();
            if to_broker { node.say(message).await } else { node.expect(message, &place).await }
        } else if let Some(hex) = event["hex"].as_str() {
            let message = parts(&unhex(hex)).unwrap();
            if to_broker { cbor.say(message).await } else { cbor.expect(message, &place).await }
        }
        heard += u32::from(event["dir"] == "B>C");
    }
    assert_eq!(cbor.payloads, [json!(["q0"]), json!(["q1"]), json!(["q2"])]);
    assert_eq!(cbor.slotted, 1);
    assert_eq!(heard, 20, "messages of the reference that were compared");
}
