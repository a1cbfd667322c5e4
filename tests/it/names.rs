//! Names that are too long or too deep, by every way in: an error for who sends them, and nothing for anybody else.

use crate::gateway::{Gateway, Plan};
use crate::http_peer;
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::{RembusPeer, map, text};
use ciborium::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn words(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut rest = body.len();
    while rest >= 0x80 {
        packet.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    packet.push(u8::try_from(rest).unwrap());
    packet.extend(body);
    packet
}

/// CONNECT of MQTT 5, with a session that stays for so many seconds.
fn connect(client_id: &str, expiry_s: u32) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c\x05\x11".to_vec();
    body.extend(expiry_s.to_be_bytes());
    words(&mut body, client_id);
    packet(0x10, &body)
}

fn subscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 7, 0];
    words(&mut body, filter);
    body.push(1);
    packet(0x82, &body)
}

fn publish(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    words(&mut body, topic);
    body.extend([0, 9, 0, b'x']);
    packet(0x32, &body)
}

async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body).await.unwrap();
    [&head[..], &body].concat()
}

async fn dial(addr: SocketAddr, client_id: &str, expiry_s: u32) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&connect(client_id, expiry_s)).await.unwrap();
    assert_eq!(answer(&mut stream).await[3], 0, "CONNACK");
    stream
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let (_, page) = http_peer::get(gateway.doors.http, "/metrics");
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn six_thousand_slashes_end_neither_this_life_nor_the_next() {
    let mut gateway = Plan::without_history().start();
    let mut stream = dial(gateway.doors.mqtt, "deep", 2).await;
    for (filter, code) in
        [("/".repeat(6_000), 0x8f), ("+/".repeat(128), 0x8f), ("x".repeat(1_025), 0x8f), ("+/".repeat(127), 1)]
    {
        stream.write_all(&subscribe(&filter)).await.unwrap();
        assert_eq!(*answer(&mut stream).await.last().unwrap(), code, "SUBACK for {} bytes", filter.len());
    }
    stream.write_all(&publish(&"/".repeat(128))).await.unwrap();
    let puback = answer(&mut stream).await;
    assert_eq!((puback[0], puback[4]), (0x40, 0x90), "topic name invalid");
    drop(stream);
    let ended = || metric(&gateway, "rembus_gateway_sessions_expired_total") == 1;
    crate::gateway::until("the session expires", 20, || ended().then_some(()));
    gateway.kill();
    gateway.start_again();
    MqttPeer::connect(gateway.doors.mqtt, "honest").await.publish("a", "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_and_a_will_beyond_the_limits_are_refused_in_connack() {
    let gateway = Plan::without_history().start();
    let mut stream = TcpStream::connect(gateway.doors.mqtt).await.unwrap();
    stream.write_all(&connect(&"c".repeat(1_025), 0)).await.unwrap();
    assert_eq!(answer(&mut stream).await[3], 0x85);
    let mut body = b"\x00\x04MQTT\x05\x06\x00\x3c\x00".to_vec();
    words(&mut body, "c");
    body.push(0);
    words(&mut body, &"/".repeat(128));
    words(&mut body, "gone");
    let mut stream = TcpStream::connect(gateway.doors.mqtt).await.unwrap();
    stream.write_all(&packet(0x10, &body)).await.unwrap();
    assert_eq!(answer(&mut stream).await[3], 0x90);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_and_http_hear_what_is_wrong_with_a_name() {
    let mut gateway = Plan::without_history().start();
    let mut component = RembusPeer::login(gateway.doors.rembus, "dev1").await;
    for topic in [format!("dev1/{}x", "**/".repeat(6_000)), "**/a/".repeat(9), "x".repeat(1_025)] {
        let (status, data) = component.try_admin(&topic, map([("cmd", text("subscribe"))])).await.unwrap_err();
        assert_eq!(status, 10);
        assert!(matches!(&data, Value::Text(text) if text.starts_with("pattern too long")), "{data:?}");
    }
    let (status, _) = component.rpc(&"/".repeat(128), vec![text("x")]).await.unwrap_err();
    assert_eq!(status, 10);
    component.subscribe("dev1/**/**/x").await;
    drop(component);
    gateway.kill();
    gateway.start_again();
    assert_eq!(metric(&gateway, "rembus_gateway_state_set_aside_total"), 0);
    MqttPeer::connect(gateway.doors.mqtt, "honest").await.publish("dev1/y/x", "x").await;
}

/// A snapshot as 2c01e44 wrote it: such a session ended every later start.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_subscription_that_is_too_deep_is_set_aside_and_the_gateway_starts() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(data.path().join("state")).unwrap();
    std::fs::write(data.path().join("state/00000000000000000000.state"), snapshot()).unwrap();
    let gateway = Plan::without_history().start_in(data);
    gateway.wait_for_log("is not taken back");
    assert_eq!(metric(&gateway, "rembus_gateway_state_set_aside_total"), 1);
    assert_eq!(metric(&gateway, "rembus_gateway_subscriptions"), 1, "the other one of the session is there");
    let mut sensor = dial(gateway.doors.mqtt, "other", 0).await;
    sensor.write_all(&publish("kept/x")).await.unwrap();
    assert_eq!(answer(&mut sensor).await[0], 0x40);
    tokio::time::timeout(Duration::from_secs(20), async { MqttPeer::connect(gateway.doors.mqtt, "honest").await })
        .await
        .unwrap();
}

fn snapshot() -> Vec<u8> {
    let named = |name: &str, value: Value| (text(name), value);
    let change = |name: &str, fields: Vec<(Value, Value)>| Value::Map(vec![named(name, Value::Map(fields))]);
    let filter = |filter: &str| Value::Map(vec![named("Mqtt", text(filter))]);
    let wanted = |name: &str| {
        let subscription = vec![
            named("filter", filter(name)),
            named("qos", 1.into()),
            named("no_local", false.into()),
            named("retain_as_published", false.into()),
            named("retain_handling", text("Send")),
            named("identifier", Value::Null),
        ];
        let fields =
            vec![named("id", 1.into()), named("subscription", Value::Map(subscription)), named("backfill", false.into())];
        change("Subscribe", fields)
    };
    let open = vec![
        named("id", 1.into()),
        named("dialect", text("Mqtt")),
        named("name", text("deep")),
        named("user", Value::Null),
        named("expiry", Value::Map(vec![named("After", 2.into())])),
    ];
    let mut body = Vec::new();
    let changes = Value::Array(vec![change("Open", open), wanted(&"/".repeat(6_000)), wanted("kept/+")]);
    ciborium::into_writer(&changes, &mut body).unwrap();
    let mut file = b"REMBSTA\0\x01\0\0\0\0\0\0\0".to_vec();
    file.extend([0; 16]);
    for record in [[&[3], &body[..]].concat(), vec![0]] {
        file.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
        file.extend(crc32c::crc32c(&record).to_le_bytes());
        file.extend(record);
    }
    file
}
