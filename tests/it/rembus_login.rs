//! Components prove their names: keys, challenges, registration, tenants, admins (`protocol/rembus.md` sections 5 to 7, 20, 21).

mod admin;

use crate::gateway::{Gateway, Plan};
use crate::programs;
use crate::rembus_peer::{ACK, PUB, RESPONSE, RembusPeer, encode, id_bytes, map, publication, text};
use ciborium::Value;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use std::time::Duration;
use tokio::time::Instant;

const PIN: &str = "11223344";
const CONNECTION_ID: u64 = 0x1234_5678_dead_beef;

fn plan() -> Plan {
    Plan::without_history().set("rembus.tenants", ".=11223344,acme=55667788").set("rembus.admins", "root")
}

/// The environment of the package: where the gateway is, in its own words.
fn run(program: &'static str, gateway: &mut Gateway, story: &str) {
    let environment = [("REMBUS_BASE_URL", gateway.rembus_url()), ("REMBUS_STORY", story.to_owned())];
    programs::run_with(program, gateway, &environment);
}

#[test]
fn the_published_package_registers_logs_in_and_administers() {
    run("rembus_keys.py", &mut plan().start(), "");
}

#[test]
fn the_published_package_in_authenticated_mode() {
    run("rembus_authenticated.py", &mut plan().set("rembus.connection_mode", "authenticated").start(), "authenticated");
}

#[test]
fn the_published_package_where_only_users_get_in() {
    let mut gateway = plan().set("rembus.anonymous", "false").start();
    for rule in [["subscribe", "%u/#"], ["publish,call", "#"]] {
        let [actions, pattern] = rule;
        assert_eq!(gateway.ask(&["admin", "acl", "allow", "@users", actions, pattern]).0, 0);
    }
    run("rembus_authenticated.py", &mut gateway, "users");
}

/// What a component has at home.
struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap())
    }

    fn public(&self) -> Vec<u8> {
        const HEAD: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
            0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        [&HEAD, self.0.public_key().as_ref()].concat()
    }

    fn answer(&self, challenge: &[u8], cid: &str) -> Value {
        let mut signed = Vec::new();
        ciborium::into_writer(&Value::Array(vec![Value::Bytes(challenge.to_vec()), text(cid)]), &mut signed).unwrap();
        Value::Bytes(self.0.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec())
    }
}

impl RembusPeer {
    async fn register(&mut self, cid: &str, pin: &str, key: &Key) -> Result<Value, (u64, Value)> {
        let id = self.id();
        let key = Value::Bytes(key.public());
        self.send(encode(vec![10.into(), id_bytes(id), text(cid), text(pin), key, 2.into()])).await;
        self.answered(id).await
    }

    /// The next message, which must answer this request.
    async fn answered(&mut self, id: u64) -> Result<Value, (u64, Value)> {
        let answer = self.receive().await.expect("an answer");
        assert_eq!((answer.kind, answer.id()), (RESPONSE, id), "{answer:?}");
        let status = u64::try_from(answer.rest[1].as_integer().unwrap()).unwrap();
        let data = answer.rest.get(2).cloned().unwrap_or(Value::Null);
        if status == 0 { Ok(data) } else { Err((status, data)) }
    }

    async fn identify(&mut self, cid: &str) -> u64 {
        let id = self.id();
        self.send(encode(vec![0.into(), id_bytes(id), text(cid), map([])])).await;
        id
    }

    /// Names itself, and gets a challenge.
    async fn challenge(&mut self, cid: &str) -> Vec<u8> {
        let id = self.identify(cid).await;
        let Err((11, Value::Bytes(challenge))) = self.answered(id).await else { panic!("no challenge") };
        challenge
    }

    async fn attest(&mut self, cid: &str, signature: Value) -> Result<Value, (u64, Value)> {
        let id = self.id();
        self.send(encode(vec![11.into(), id_bytes(id), text(cid), signature, map([])])).await;
        self.answered(id).await
    }

    async fn prove(&mut self, cid: &str, key: &Key) {
        let challenge = self.challenge(cid).await;
        self.attest(cid, key.answer(&challenge, cid)).await.unwrap();
    }
}

async fn registered(gateway: &Gateway, cid: &str) -> Key {
    let key = Key::new();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    peer.register(cid, PIN, &key).await.unwrap();
    key
}

async fn proven(gateway: &Gateway, cid: &str, key: &Key) -> RembusPeer {
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    peer.prove(cid, key).await;
    peer
}

fn command(name: &str) -> Value {
    map([("cmd", text(name))])
}

/// The gateway ends the connection within `seconds`.
async fn ends(peer: &mut RembusPeer, seconds: u64) {
    let end = async { while peer.receive_when_it_comes().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(seconds), end).await.expect("the connection ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_has_32_bytes_is_never_repeated_and_answered_once() {
    let gateway = plan().start();
    let key = registered(&gateway, "node").await;
    let mut first = RembusPeer::connect(gateway.doors.rembus).await;
    let challenge = first.challenge("node").await;
    assert_eq!(challenge.len(), 32);
    let answer = key.answer(&challenge, "node");

    // A recorded answer is worth nothing on another connection.
    let mut other = RembusPeer::connect(gateway.doors.rembus).await;
    assert_ne!(other.challenge("node").await, challenge);
    assert_eq!(other.attest("node", answer.clone()).await.unwrap_err().0, 10);
    ends(&mut other, 10).await;

    first.attest("node", answer.clone()).await.unwrap();
    // Nor a second time on its own.
    assert_eq!(first.attest("node", answer).await.unwrap_err().0, 10);
    ends(&mut first, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_that_nobody_asked_for_or_of_another_name_is_refused_and_ends_the_connection() {
    let gateway = plan().start();
    let (key, other) = (registered(&gateway, "node").await, registered(&gateway, "other").await);
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    assert_eq!(peer.attest("node", key.answer(&[1; 32], "node")).await.unwrap_err().0, 10);
    ends(&mut peer, 10).await;

    // Its own key is right, but it said that it is somebody else.
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let challenge = peer.challenge("node").await;
    assert_eq!(peer.attest("other", other.answer(&challenge, "other")).await.unwrap_err().0, 10);
    ends(&mut peer, 10).await;
    let metrics = crate::http_peer::Metrics::read(gateway.doors.http);
    assert_eq!(metrics.samples["rembus_gateway_access_refused_total{reason=\"attestation\"}"], 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_challenge_waits_nothing_else_is_heard() {
    let gateway = plan().start();
    let key = registered(&gateway, "node").await;
    let id = || Value::Bytes(vec![9; 8]);
    let list = || Value::Array(vec![]);
    let mut listener = RembusPeer::login(gateway.doors.rembus, "listener").await;
    listener.subscribe("**").await;
    listener.reactive().await;
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    peer.challenge("node").await;
    peer.send(encode(vec![1.into(), text("t"), list()])).await;
    peer.send(publication(Some(5), 1, "t", vec![])).await;
    for (words, status, reason) in [
        (vec![2.into(), id(), text("rid"), Value::Null, list()], 42, "rid"),
        (vec![3.into(), id(), text("t"), command("subscribe")], 10, "unauthorized"),
        (vec![9.into(), id()], 10, "invalid operation"),
    ] {
        peer.send(encode(words.clone())).await;
        assert_eq!(peer.answered(u64::from_le_bytes([9; 8])).await, Err((status, text(reason))), "{words:?}");
    }
    drop(peer);
    let mut publisher = RembusPeer::connect(gateway.doors.rembus).await;
    publisher.publish("heard", vec![]).await;
    assert_eq!(listener.receive().await.unwrap().rest[2], Value::Array(vec![text("heard")]), "nothing came before");
    // Registration is, and another IDENTITY of the same name waits for the outcome.
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let challenge = peer.challenge("node").await;
    peer.register("another", PIN, &Key::new()).await.unwrap();
    let strange = peer.identify("somebody").await;
    assert_eq!(peer.answered(strange).await.unwrap_err().0, 10);
    let second = peer.identify("node").await;
    peer.attest("node", key.answer(&challenge, "node")).await.unwrap();
    assert_eq!(peer.answered(second).await, Ok(Value::Null));
    assert_eq!(peer.rpc("rid", vec![]).await, Ok(text("broker")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_nobody_answers_ends_the_connection() {
    let gateway = plan().set("rembus.challenge_timeout", "300ms").start();
    registered(&gateway, "node").await;
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    peer.challenge("node").await;
    ends(&mut peer, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_authenticated_mode_the_gateway_asks_first_and_hears_nothing_else() {
    let gateway = plan().set("rembus.connection_mode", "authenticated").set("rembus.challenge_timeout", "2s").start();
    let greeted = async || {
        let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
        let Err((11, Value::Bytes(challenge))) = peer.answered(CONNECTION_ID).await else { panic!("no challenge") };
        (peer, challenge)
    };
    // Whoever subscribes to everything hears nothing of those who have not logged in.
    let key = Key::new();
    let (mut peer, challenge) = greeted().await;
    peer.register("node", PIN, &key).await.unwrap();
    let asked = peer.identify("node").await;
    peer.send(encode(vec![11.into(), id_bytes(CONNECTION_ID), text("node"), key.answer(&challenge, "node"), map([])])).await;
    peer.answered(CONNECTION_ID).await.unwrap();
    assert_eq!(peer.answered(asked).await, Ok(Value::Null));
    peer.subscribe("**").await;
    peer.reactive().await;
    let (mut stranger, _) = greeted().await;
    stranger.send(encode(vec![1.into(), text("t"), Value::Array(vec![])])).await;
    for (status, words) in [
        (42, vec![2.into(), id_bytes(9), text("rid"), Value::Null, Value::Array(vec![])]),
        (10, vec![3.into(), id_bytes(9), text("t"), command("subscribe")]),
        (10, vec![9.into(), id_bytes(9)]),
    ] {
        stranger.send(encode(words.clone())).await;
        assert_eq!(stranger.answered(9).await.unwrap_err().0, status, "{words:?}");
    }
    // It is none the nearer for that, and has no more time.
    ends(&mut stranger, 10).await;
    // An unknown name cannot prove anything; a silent peer has until the time is over.
    let (mut unknown, challenge) = greeted().await;
    assert_eq!(unknown.attest("unknown", key.answer(&challenge, "unknown")).await.unwrap_err().0, 10);
    let begin = Instant::now();
    let (mut silent, _) = greeted().await;
    ends(&mut silent, 10).await;
    assert!(begin.elapsed() > Duration::from_millis(1500));
    assert_eq!(peer.rpc("rid", vec![]).await, Ok(text("broker")), "nothing came before");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_users_must_log_in_a_component_without_a_key_stays_outside() {
    let gateway = plan().set("rembus.anonymous", "false").start();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let id = peer.identify("stranger").await;
    assert_eq!(peer.answered(id).await.unwrap_err().0, 10);
    ends(&mut peer, 10).await;
    // What it asks for before it has logged in is refused; a program whose client is about to log in may be quicker than that.
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    assert_eq!(peer.rpc("rid", vec![]).await, Err((42, text("rid"))));
    let key = Key::new();
    peer.register("node", PIN, &key).await.unwrap();
    peer.prove("node", &key).await;
    assert_eq!(gateway.ask(&["admin", "acl", "allow", "@users", "call", "rid"]).0, 0);
    assert_eq!(peer.rpc("rid", vec![]).await, Ok(text("broker")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_existing_broker_are_copied_over_and_read_at_a_reload() {
    let gateway = plan().start();
    let key = Key::new();
    let folder = gateway.data().join("keys");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("old.acme.ecdsa.der"), key.public()).unwrap();
    std::fs::write(folder.join("plain"), "aaa\n").unwrap();
    std::fs::write(folder.join("broken.rsa.pem"), "nonsense").unwrap();
    gateway.ask_to_reload();
    gateway.wait_for_log("reloaded part=access");
    let mut peer = proven(&gateway, "old.acme", &key).await;
    assert_eq!(peer.rpc("rid", vec![]).await, Ok(text("broker")));
    // Shared secret: the digest of challenge and secret.
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let challenge = peer.challenge("plain").await;
    let mut signed = Vec::new();
    ciborium::into_writer(&Value::Array(vec![Value::Bytes(challenge), text("aaa")]), &mut signed).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &signed);
    peer.attest("plain", Value::Bytes(digest.as_ref().to_vec())).await.unwrap();
    // A key that is no good blocks its name.
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let id = peer.identify("broken").await;
    assert_eq!(peer.answered(id).await.unwrap_err().0, 10);
    let (_, list, _) = gateway.ask(&["admin", "keys", "list"]);
    for line in ["old.acme", "ECDSA 256", "plain", "secret", "broken", "no good"] {
        assert!(list.contains(line), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_name_and_what_it_left_behind_are_nobody_elses() {
    let mut gateway = plan().start();
    let key = registered(&gateway, "node").await;
    let mut node = proven(&gateway, "node", &key).await;
    node.subscribe("t").await;
    // What is acknowledged is on the disk, and with it what came before.
    node.publish("elsewhere", vec![]).await;
    drop(node);
    gateway.kill();
    gateway.start_again();
    let mut thief = RembusPeer::connect(gateway.doors.rembus).await;
    thief.challenge("node").await;
    drop(thief);
    let mut node = proven(&gateway, "node", &key).await;
    node.reactive().await;
    let mut publisher = RembusPeer::connect(gateway.doors.rembus).await;
    publisher.publish("t", vec![1.into()]).await;
    let got = node.receive().await.unwrap();
    assert_eq!(got.kind, PUB);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_squats_on_a_name_goes_when_it_gets_a_key() {
    let gateway = plan().start();
    let mut squatter = RembusPeer::login(gateway.doors.rembus, "node").await;
    let key = registered(&gateway, "node").await;
    ends(&mut squatter, 10).await;
    proven(&gateway, "node", &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_component_registers_nobody_else_and_unregisters_only_what_it_has_proven() {
    let gateway = plan().start();
    let mut named = RembusPeer::login(gateway.doors.rembus, "named").await;
    assert_eq!(named.register("x", PIN, &Key::new()).await.unwrap_err().0, 10);
    // Packages up to 0.8.12 register so.
    let mut early = RembusPeer::login(gateway.doors.rembus, "early").await;
    assert_eq!(early.register("early", "not-the-pin", &Key::new()).await.unwrap_err().0, 10);
    let key = Key::new();
    early.register("early", PIN, &key).await.unwrap();
    ends(&mut early, 10).await;
    drop(proven(&gateway, "early", &key).await);
    let id = named.id();
    named.send(encode(vec![9.into(), id_bytes(id)])).await;
    assert_eq!(named.answered(id).await, Err((10, text("invalid operation"))));

    let key = registered(&gateway, "node").await;
    let mut node = proven(&gateway, "node", &key).await;
    let id = node.id();
    node.send(encode(vec![9.into(), id_bytes(id)])).await;
    assert_eq!(node.answered(id).await, Ok(Value::Null));
    assert_eq!(node.rpc("rid", vec![]).await, Ok(text("broker")), "its connection stays");
    drop(node);
    RembusPeer::login(gateway.doors.rembus, "node").await;
    let keys: Vec<_> = std::fs::read_dir(gateway.data().join("keys")).unwrap().map(|key| key.unwrap().file_name()).collect();
    assert_eq!(keys, ["early.ecdsa.der"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_components_register_and_log_in() {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use futures_util::{SinkExt, StreamExt};
    use serde_json::json;
    use tokio_tungstenite::tungstenite::Message;
    let gateway = plan().start();
    let key = Key::new();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let mut ask = async |message: serde_json::Value| {
        peer.socket.send(Message::text(message.to_string())).await.unwrap();
        match peer.socket.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str::<serde_json::Value>(text.as_str()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let registered = ask(json!({"jsonrpc": "2.0", "id": 1, "method": "node", "params":
        {"type": 10, "pin": PIN, "key_val": BASE64_STANDARD.encode(key.public()), "key_type": 2}}));
    assert_eq!(registered.await["result"], json!({"type": 4, "sts": 0, "data": null}));
    let challenge =
        ask(json!({"jsonrpc": "2.0", "id": 2, "method": "__identity__", "params": {"type": 0, "cid": "node", "meta": {}}}))
            .await;
    assert_eq!(challenge["result"]["sts"], 11);
    let challenge = BASE64_STANDARD.decode(challenge["result"]["data"].as_str().unwrap()).unwrap();
    let signature = BASE64_STANDARD.encode(key.answer(&challenge, "node").as_bytes().unwrap());
    let proven =
        ask(json!({"jsonrpc": "2.0", "id": 3, "method": "node", "params": {"type": 11, "signature": signature, "meta": {}}}));
    assert_eq!(proven.await["result"]["sts"], 0);
    let gone = ask(json!({"jsonrpc": "2.0", "id": 4, "method": "__unregister__", "params": {"type": 9}}));
    assert_eq!(gone.await["result"]["sts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_of_strangers_are_not_the_end_of_them() {
    let gateway = plan().start();
    let key = registered(&gateway, "node").await;
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let challenge = peer.challenge("node").await;
    peer.send(encode(vec![ACK.into(), id_bytes(5)])).await;
    peer.attest("node", key.answer(&challenge, "node")).await.unwrap();
}
