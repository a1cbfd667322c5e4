//! Recorded sessions between the published client and the Python broker (`tests/transcripts/`), replayed with the gateway in the
//! broker's place: what the client said is said again, and what the broker answered must be answered.
//!
//! What differs on purpose is listed with each session. Everywhere: the gateway sends plain clients no ADMIN messages, tells no names
//! at login, and numbers deliveries and forwarded calls itself, which the replay translates.

use crate::gateway::{Gateway, Plan};
use ciborium::Value;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const DEADLINE: Duration = Duration::from_secs(20);
const BARRIER: u64 = 0xba_0000_0000;
const PUB: u64 = 1;
const RPC: u64 = 2;
const ADMIN: u64 = 3;
const RESPONSE: u64 = 4;
const ACK: u64 = 5;
const ACK2: u64 = 6;

/// What the gateway does otherwise in one session.
#[derive(Debug, Default)]
struct Differences {
    /// Data of messages that it does not send.
    without: &'static [&'static str],
    /// Data of messages that it sends as well.
    with: &'static [&'static str],
    /// Methods of which the reference says that they are unavailable (43), and the gateway that there are none (42).
    unknown: &'static [&'static str],
    /// Connections that the reference closes and the gateway serves.
    served: &'static [&'static str],
}

struct Peer {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    /// What is read; somebody always reads, so that pings are answered.
    stream: mpsc::Receiver<Result<Vec<Value>, u16>>,
    /// Came while something else was waited for.
    heard: VecDeque<Vec<Value>>,
    /// The gateway's number for what the reference numbered otherwise.
    ids: BTreeMap<u64, u64>,
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub(crate) fn parts(bytes: &[u8]) -> Option<Vec<Value>> {
    ciborium::from_reader::<Value, _>(bytes).ok()?.into_array().ok()
}

fn encode(parts: &[Value]) -> Message {
    let mut bytes = Vec::new();
    ciborium::into_writer(parts, &mut bytes).unwrap();
    Message::binary(bytes)
}

fn kind(parts: &[Value]) -> u64 {
    u64::try_from(parts[0].as_integer().unwrap()).unwrap() & 0x0f
}

fn id(parts: &[Value]) -> Option<u64> {
    Some(u64::from_le_bytes(parts.get(1)?.as_bytes()?.as_slice().try_into().ok()?))
}

fn set_id(parts: &mut [Value], id: u64) {
    parts[1] = Value::Bytes(id.to_le_bytes().to_vec());
}

fn data(parts: &[Value]) -> String {
    let last = parts.last().unwrap();
    serde_json::to_string(last).unwrap_or_else(|_| format!("{last:?}"))
}

impl Peer {
    async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.doors.rembus).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async("ws://gateway/", stream).await.unwrap();
        let (sink, mut stream) = socket.split();
        let (to, heard) = mpsc::channel(1_000);
        tokio::spawn(async move {
            loop {
                let message = match stream.next().await {
                    Some(Ok(Message::Binary(bytes))) => Ok(parts(&bytes).unwrap()),
                    Some(Ok(Message::Close(frame))) => Err(frame.map_or(1005, |frame| frame.code.into())),
                    Some(Ok(_)) => continue,
                    None | Some(Err(_)) => return,
                };
                if to.send(message).await.is_err() {
                    return;
                }
            }
        });
        Self { sink, stream: heard, heard: VecDeque::new(), ids: BTreeMap::new() }
    }

    /// The next message; `Err` with the code of a close frame.
    async fn next(&mut self) -> Result<Vec<Value>, u16> {
        let next = tokio::time::timeout(DEADLINE, self.stream.recv());
        next.await.expect("a message in time").unwrap_or(Err(1006))
    }

    /// Everything said so far has been understood.
    async fn settle(&mut self) {
        let mut rid = vec![RPC.into(), Value::Null, Value::Text("rid".into()), Value::Null, Value::Array(vec![])];
        set_id(&mut rid, BARRIER);
        self.sink.send(encode(&rid)).await.unwrap();
        loop {
            let message = self.next().await.expect("the connection is open");
            if kind(&message) == RESPONSE && id(&message) == Some(BARRIER) {
                return;
            }
            self.heard.push_back(message);
        }
    }

    async fn say(&mut self, mut message: Vec<Value>) {
        if matches!(kind(&message), ACK | RESPONSE)
            && let Some(ours) = id(&message).and_then(|id| self.ids.get(&id))
        {
            set_id(&mut message, *ours);
        }
        self.sink.send(encode(&message)).await.unwrap();
        if kind(&message) != RPC {
            self.settle().await;
        }
    }

    async fn hear(&mut self) -> Vec<Value> {
        match self.heard.pop_front() {
            Some(message) => message,
            None => self.next().await.expect("the connection is open"),
        }
    }

    /// Hears what the reference said.
    async fn expect(&mut self, mut wanted: Vec<Value>, differences: &Differences, place: &str) {
        let mut got = self.hear().await;
        // What the reference did not want acknowledged is, and is released.
        while differences.with.contains(&data(&got).as_str()) || (kind(&got) == ACK2 && kind(&wanted) != ACK2) {
            self.acknowledge(&got).await;
            got = self.hear().await;
        }
        let is_pattern = kind(&wanted) == PUB && data(&wanted).contains("/telemetry\"");
        if is_pattern {
            // The reference lowers these to QoS 0.
            self.acknowledge(&got).await;
            assert_eq!((kind(&got), &got[got.len() - 2..]), (PUB, &wanted[wanted.len() - 2..]), "{place}");
            return;
        }
        if let (Some(theirs), Some(ours)) = (id(&wanted), id(&got)) {
            let is_ours = matches!(kind(&wanted), PUB | RPC) || self.ids.contains_key(&theirs);
            if is_ours {
                let known = *self.ids.entry(theirs).or_insert(ours);
                assert_eq!(known, ours, "{place}: the same message has the same id");
                let flags = u64::try_from(wanted[0].as_integer().unwrap()).unwrap();
                if kind(&wanted) == PUB && flags & 0x40 != 0 {
                    assert_eq!(ours & 0xffff_ffff, theirs & 0xffff_ffff, "{place}: the slot");
                }
                set_id(&mut wanted, ours);
            }
        }
        let said = (data(&wanted), data(&got));
        if kind(&wanted) == RESPONSE && wanted[2] == 43.into() && differences.unknown.contains(&said.0.as_str()) {
            wanted[2] = 42.into();
        }
        let names_at_login = kind(&wanted) == RESPONSE && said.1 == "[[],[]]";
        let own_text = ["\"python_", "\"up for "].iter().any(|start| said.0.starts_with(start)) && kind(&got) == RESPONSE;
        if names_at_login || own_text {
            assert_eq!(wanted[..wanted.len() - 1], got[..got.len() - 1], "{place}");
            return;
        }
        assert_eq!(wanted, got, "{place}");
    }

    async fn acknowledge(&mut self, message: &[Value]) {
        let flags = u64::try_from(message[0].as_integer().unwrap()).unwrap();
        if kind(message) == PUB && flags & 0x30 != 0 {
            self.sink.send(encode(&[ACK.into(), message[1].clone()])).await.unwrap();
        }
    }
}

async fn replay(name: &str, text: &str, differences: Differences) {
    let session: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut plan = Plan::without_history();
    for (variable, value) in session["broker"]["env"].as_object().unwrap() {
        plan = match variable.as_str() {
            "REMBUS_ACK_TIMEOUT" => plan.set("rembus.ack_timeout", &format!("{}s", value.as_str().unwrap())),
            "REMBUS_OVERWRITE_CONNECTION" => plan.set("rembus.overwrite_connection", "true"),
            other => panic!("{name}: {other}"),
        };
    }
    let mut gateway = plan.start();
    let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
    let events = session["events"].as_array().unwrap();
    let mut heard = 0;
    for (number, event) in events.iter().enumerate() {
        let place = format!("{name}, event {number}: {event}");
        if event["note"].as_str().is_some_and(|note| note.contains("broker restarted")) {
            assert!(gateway.stop().success());
            gateway.start_again_on_the_same_doors();
            peers.clear();
        }
        let Some(conn) = event["conn"].as_str() else { continue };
        let to_broker = event["dir"] == "C>B";
        match event["event"].as_str() {
            Some("websocket connected") => {
                peers.insert(conn.to_owned(), Peer::connect(&gateway).await);
                continue;
            }
            Some("close") => {
                let restarts = events.iter().skip(number).take(3).any(|later| later["note"].to_string().contains("restarted"));
                let skip = restarts || differences.served.contains(&conn);
                let Some(mut peer) = peers.remove(conn).filter(|_| !skip) else { continue };
                if to_broker {
                    peer.settle().await;
                    let is_more = |m: &&Vec<Value>| kind(m) != ACK2 && !differences.with.contains(&data(m).as_str());
                    let left: Vec<_> = peer.heard.iter().filter(is_more).collect();
                    assert!(left.is_empty(), "{place}: the gateway said more: {left:?}");
                    peer.sink.close().await.unwrap();
                    // The end of the stream says that the router knows.
                    while peer.stream.recv().await.is_some() {}
                } else {
                    let code = loop {
                        if let Err(code) = peer.next().await {
                            break code;
                        }
                    };
                    let theirs = event["code"].as_u64().unwrap();
                    // The gateway says what it minds; the reference closes with 1000.
                    assert_eq!(u64::from(code), if theirs == 1000 { 1002 } else { theirs }, "{place}");
                }
                continue;
            }
            _ => {}
        }
        let Some(peer) = peers.get_mut(conn) else { continue };
        if let Some(text) = event["text"].as_str() {
            peer.sink.send(Message::text(text)).await.unwrap();
            continue;
        }
        let bytes = unhex(event["hex"].as_str().unwrap());
        let is_last =
            events[number + 1..].iter().find(|later| later["conn"] == conn).is_some_and(|later| later["event"] == "close");
        match (to_broker, parts(&bytes)) {
            (true, _) if is_last && name == "18-malformed" => peer.sink.send(Message::binary(bytes)).await.unwrap(),
            (true, _) if event["dropped_by_test"] == true => {}
            (true, Some(message)) if message.first().is_some_and(Value::is_integer) && id(&message).is_some() => {
                peer.say(message).await;
            }
            (true, Some(message)) if message.first().is_some_and(|kind| *kind == Value::from(PUB)) => peer.say(message).await,
            (true, _) => peer.sink.send(Message::binary(bytes)).await.unwrap(),
            (false, message) => {
                let message = message.unwrap();
                if kind(&message) != ADMIN && !differences.without.contains(&data(&message).as_str()) {
                    peer.expect(message, &differences, &place).await;
                    heard += 1;
                }
            }
        }
    }
    assert!(heard > 0 || name == "18-malformed", "{name}: nothing was compared");
}

macro_rules! sessions {
    ($($test:ident: $file:literal, $differences:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            replay($file, include_str!(concat!("../transcripts/", $file, ".json")), $differences).await;
        })*
    };
}

sessions! {
    an_anonymous_component: "01-anonymous-connect", Differences::default();
    a_named_login: "02-named-login-free-mode", Differences::default();
    publications: "03-pubsub-qos0", Differences::default();
    a_lost_acknowledgement: "04-pubsub-qos1-with-retransmission", Differences::default();
    a_duplicate_of_qos_2: "05-pubsub-qos2-with-duplicate", Differences::default();
    slots: "06-publish-slot", Differences::default();
    calls: "07-rpc-ok-errors-direct", Differences { unknown: &["\"add\""], ..Differences::default() };
    what_was_missed: "09-retroactive-last-received", Differences::default();
    // Nobody hears its own; `**` also stands for no segment at all.
    patterns: "10-wildcard-keyspace", Differences {
        without: &["[\"dev4/telemetry\",\"own\"]"],
        with: &["[\"telemetry\",1]"],
        ..Differences::default()
    };
    setup_after_a_restart: "16-reconnect-setup", Differences::default();
    a_name_taken_over: "17-overwrite-connection", Differences::default();
    // Named arguments are arguments.
    what_is_no_message: "18-malformed", Differences { served: &["json-params-object-without-type"], ..Differences::default() };
}
