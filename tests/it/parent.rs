//! The gateway as a component of another Rembus broker: the one of the published package, with real keys.

use crate::far_end::{Cable, brokerd, brokerd_with, free_port};
use crate::gateway::{Gateway, Plan, until};
use crate::mqtt_peer::MqttPeer;
use crate::pki::Pki;
use crate::rembus_peer::{PUB, RembusPeer, encode, text};
use ciborium::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;

fn plan(addr: SocketAddr, more: &str) -> Plan {
    Plan::default().set("parent", &format!("[{{ url = \"ws://{addr}\", name = \"gw1\"{more} }}]"))
}

fn link(gateway: &Gateway, name: &str) -> u64 {
    let (code, json, _) = gateway.ask(&["status", "--json"]);
    assert_eq!(code, 0);
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    let link = &status["links"][0];
    link[name].as_u64().unwrap_or_else(|| u64::from(link[name].as_bool().unwrap()))
}

/// A component at the parent that hears what comes on `topic`.
async fn listener(addr: SocketAddr, topic: &str) -> RembusPeer {
    let mut peer = RembusPeer::login(addr, "monitor").await;
    peer.subscribe(topic).await;
    peer.reactive().await;
    peer
}

/// The numbers that it is told until `last`, acknowledged.
async fn numbers_until(peer: &mut RembusPeer, last: i64) -> Vec<i64> {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let received = peer.receive().await.unwrap();
        assert_eq!(received.kind, PUB);
        peer.send(encode(vec![Value::from(5), received.rest[0].clone()])).await;
        let number = received.rest[2].as_array().unwrap()[0].as_integer().unwrap();
        heard.push(i128::from(number).try_into().unwrap());
    }
    heard
}

async fn publish_numbers(addr: SocketAddr, topic: &str, numbers: std::ops::Range<i64>) {
    let mut peer = MqttPeer::connect(addr, "sensor").await;
    for n in numbers {
        peer.publish(topic, n.to_string()).await;
    }
}

const FORWARD: &str = ", forward = [\"**/count\", \"alarms\"]";

#[tokio::test(flavor = "multi_thread")]
async fn a_python_broker_gets_what_waited_in_order_through_kills_of_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = brokerd(folder.path(), far);
    let mut monitor = listener(far, "dev1/count").await;
    let cable = Cable::new().await;
    let mut gateway = plan(cable.addr, FORWARD).start();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 0..1000).await;
    publish_numbers(gateway.doors.mqtt, "dev1/other", 0..50).await;
    gateway.kill();
    gateway.start_again();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 1000..1500).await;
    until("the backlog is told", 20, || (link(&gateway, "waiting_records") >= 1550).then_some(()));

    cable.plug_in(far);
    let mut heard = numbers_until(&mut monitor, 200).await;
    gateway.kill();
    gateway.start_again();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 1500..1600).await;
    heard.extend(numbers_until(&mut monitor, 1599).await);
    let mut seen = BTreeSet::new();
    let first: Vec<i64> = heard.iter().copied().filter(|n| seen.insert(*n)).collect();
    assert_eq!(first, (0..1600).collect::<Vec<_>>());

    // The cable is pulled while everything works.
    cable.pull();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 1600..1700).await;
    cable.plug_in(far);
    let heard = numbers_until(&mut monitor, 1699).await;
    assert_eq!(heard.iter().copied().collect::<BTreeSet<_>>(), (1600..1700).collect());
    until("nothing waits", 30, || (link(&gateway, "waiting_records") == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_the_parent_ask_history_and_other_exposed_methods_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = brokerd(folder.path(), far);
    let expose =
        ", expose = [{ method = \"query_telemetry\", as = \"gw1/query_telemetry\" }, { method = \"add\", as = \"gw1/add\" }]";
    let gateway = plan(far, expose).start();
    until("the link is up", 60, || (link(&gateway, "connected") == 1).then_some(()));
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("dev1/telemetry", r#"{"temperature":21.5,"pressure":980}"#).await;

    let mut analyst = RembusPeer::login(far, "analyst").await;
    let answer =
        analyst.rpc("gw1/query_telemetry", vec![Value::Map(vec![(text("where"), text("dn = 'dev1'"))])]).await.unwrap();
    let Value::Tag(80, frame) = answer else { panic!("no frame: {answer:?}") };
    let frame = frame.into_bytes().unwrap();
    let rows: usize =
        arrow_ipc::reader::StreamReader::try_new(frame.as_slice(), None).unwrap().map(|b| b.unwrap().num_rows()).sum();
    assert_eq!(rows, 1);

    // Nobody offers it here yet.
    assert_eq!(analyst.rpc("gw1/add", vec![Value::from(1)]).await.unwrap_err().0, 42);
    let (status, _) = analyst.rpc("gw1/delete_telemetry", vec![]).await.unwrap_err();
    assert_eq!(status, 42);
    let (status, said) =
        analyst.rpc("gw1/query_telemetry", vec![Value::Map(vec![(text("where"), text("no = such"))])]).await.unwrap_err();
    assert!(status == 40 && said.as_text().is_some_and(|said| said.contains("no")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_and_proves_the_gateway_once_the_parent_knows_its_public_half() {
    let folder = tempfile::tempdir().unwrap();
    let keys = tempfile::tempdir().unwrap();
    let far = free_port();
    let key = keys.path().join("parent.key");
    let with_key = format!("{FORWARD}, key = \"{}\"", key.display());
    let mut broker = brokerd(folder.path(), far);
    let mut gateway = plan(far, &with_key).start();
    until("the link is up", 60, || (link(&gateway, "connected") == 1).then_some(()));
    assert!(gateway.stop().success());
    broker.stop();

    let known = folder.path().join("cloud/keys");
    std::fs::create_dir_all(&known).unwrap();
    std::fs::copy(keys.path().join("parent.key.pub"), known.join("gw1.ecdsa.pem")).unwrap();
    let _broker = brokerd(folder.path(), far);
    gateway.start_again();
    until("the link is up again", 60, || (link(&gateway, "connected") == 1).then_some(()));
    let mut monitor = listener(far, "dev1/count").await;
    publish_numbers(gateway.doors.mqtt, "dev1/count", 0..10).await;
    assert_eq!(numbers_until(&mut monitor, 9).await, (0..10).collect::<Vec<_>>());

    // Without the key, or with another, the name is somebody else's.
    assert!(gateway.stop().success());
    let stranger = plan(far, FORWARD).start();
    stranger.wait_for_log("it wants a proof, and this gateway has no key for it");
    let other = plan(far, &format!("{FORWARD}, key = \"{}\"", keys.path().join("other.key").display())).start();
    other.wait_for_log("it refuses the gateway");
    assert_eq!(link(&other, "connections"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_asks_everybody_over_tls_takes_an_rsa_key_and_no_other_and_is_tried_until_it_fits() {
    let (pki, folder, keys) = (Pki::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (keystore, known) = (folder.path().join("keystore"), folder.path().join("cloud/keys"));
    std::fs::create_dir_all(&keystore).unwrap();
    std::fs::create_dir_all(&known).unwrap();
    for ending in ["crt", "key"] {
        let file = if ending == "crt" { "gateway.pem" } else { "gateway.key" };
        std::fs::copy(pki.file(file), keystore.join(format!("rembus.{ending}"))).unwrap();
    }
    let rsa = include_str!("slow.key");
    let public = rcgen::KeyPair::from_pem(rsa).unwrap().public_key_pem();
    std::fs::write(known.join("gw1.rsa.pem"), public).unwrap();
    let far = free_port();
    let settings =
        [("REMBUS_SECURE", "1"), ("REMBUS_KEYSTORE", keystore.to_str().unwrap()), ("REMBUS_CONNECTION_MODE", "authenticated")];
    let _broker = brokerd_with(folder.path(), far, &settings);

    let key = keys.path().join("own.key");
    let parent = |ca: &std::path::Path| {
        let (port, ca, key) = (far.port(), ca.display(), key.display());
        format!(r#"[{{ url = "wss://localhost:{port}", name = "gw1", ca = "{ca}", key = "{key}"{FORWARD} }}]"#)
    };
    // A key is made, which the parent does not know.
    let gateway = Plan::default().set("parent", &parent(&pki.ca())).start();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 0..10).await;
    gateway.wait_for_log("it refuses the gateway");
    let (code, page, _) = gateway.ask(&["doctor"]);
    assert!(code == 1 && page.contains("it refuses the gateway"), "{page}");
    assert_eq!((link(&gateway, "connected"), link(&gateway, "forwarded")), (0, 0));
    // The right one is put there, and nobody has to be told.
    std::fs::write(&key, rsa).unwrap();
    until("what waited is acknowledged by the parent", 90, || (link(&gateway, "forwarded") == 10).then_some(()));

    let stranger = Pki::new();
    let gateway = Plan::default().set("parent", &parent(&stranger.ca())).start();
    gateway.wait_for_log("link is down");
    assert_eq!(link(&gateway, "connections"), 0, "a certificate of somebody else's");
}

/// Another gateway may be the parent too; the package's broker knows neither secrets nor, without its database, pins.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_registers_the_key_once_and_a_shared_secret_proves_as_well() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let parent =
        Plan::without_history().set("rembus.tenants", ".=11223344").set("rembus.connection_mode", "authenticated").start();
    let key = files.path().join("own.key").display().to_string();
    let with = |key: &str, pin: &str| plan(parent.doors.rembus, &format!("{FORWARD}, key = \"{key}\"{pin}"));

    let stranger = with(&key, &format!(", pin = \"{}\"", file("wrong", "99999999\n"))).start();
    stranger.wait_for_log("registering the key: wrong tenant/pin");
    drop(stranger);

    let pin = format!(", pin = \"{}\"", file("pin", "11223344\n"));
    let mut gateway = with(&key, &pin).start();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 0..10).await;
    until("what waited is acknowledged by the parent", 60, || (link(&gateway, "forwarded") == 10).then_some(()));
    gateway.kill();
    gateway.start_again();
    until("it is registered already, and the key still proves it", 60, || (link(&gateway, "connected") == 1).then_some(()));
    drop(gateway);
    let (code, list, _) = parent.ask(&["admin", "keys", "list"]);
    assert!(code == 0 && list.contains("gw1") && list.contains("ECDSA 256"), "{list}");

    assert_eq!(parent.ask(&["admin", "keys", "remove", "gw1"]).0, 0);
    let secret = file("secret", "four words are enough\n");
    assert_eq!(parent.ask(&["admin", "keys", "import", "--secret", "gw1", &secret]).0, 0);
    let gateway = with(&secret, "").start();
    publish_numbers(gateway.doors.mqtt, "dev1/count", 0..10).await;
    until("a secret is a proof", 60, || (link(&gateway, "forwarded") == 10).then_some(()));
    let other = with(&file("other", "four other words\n"), "").start();
    other.wait_for_log("it refuses the gateway");
}
