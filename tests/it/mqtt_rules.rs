//! The rules of MQTT 3.1.1 and 5.0 at the byte level: what an honest client never sends, and what a broker owes everybody.
//!
//! The clauses are those of the OASIS standards, numbered as in 5.0 where both have them.

use crate::gateway::{Gateway, Plan};
use crate::mqtt_peer::MqttPeer;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(5);

/// A connection on which every byte is chosen by hand.
struct Wire(TcpStream);

/// Fixed header and body of a packet.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 16_384);
    let mut bytes = vec![first];
    let length = u16::try_from(body.len()).unwrap();
    if length < 128 {
        bytes.push(length as u8);
    } else {
        bytes.extend([(length % 128) as u8 | 0x80, (length / 128) as u8]);
    }
    bytes.extend(body);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// CONNECT with a clean session; the properties of level 5 are empty.
fn connect(level: u8, keep_alive: u16, client_id: &str) -> Vec<u8> {
    let mut body = [string("MQTT"), vec![level, 0x02], keep_alive.to_be_bytes().to_vec()].concat();
    if level >= 5 {
        body.push(0);
    }
    body.extend(string(client_id));
    packet(0x10, &body)
}

fn subscribe(level: u8, filter: &str, options: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    if level >= 5 {
        body.push(0);
    }
    body.extend(string(filter));
    body.push(options);
    packet(0x82, &body)
}

fn publish(level: u8, first: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    body.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    if level >= 5 {
        body.push(0);
    }
    body.extend(payload);
    packet(first, &body)
}

impl Wire {
    async fn open(gateway: &Gateway) -> Self {
        Self(TcpStream::connect(gateway.doors.mqtt).await.unwrap())
    }

    /// Connected and welcome.
    async fn login(gateway: &Gateway, level: u8) -> Self {
        let mut wire = Self::open(gateway).await;
        wire.send(&connect(level, 0, "")).await;
        let answer = wire.packet().await.expect("CONNACK");
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:?}");
        wire
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The gateway may have hung up already; what it says is read afterwards.
        drop(self.0.write_all(bytes).await);
    }

    /// The next packet, header included; `None` when the connection is over.
    async fn packet(&mut self) -> Option<Vec<u8>> {
        timeout(DEADLINE, async {
            let mut bytes = vec![self.0.read_u8().await.ok()?];
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = self.0.read_u8().await.ok()?;
                bytes.push(byte);
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let head = bytes.len();
            bytes.resize(head + length, 0);
            self.0.read_exact(bytes.get_mut(head..).unwrap()).await.ok()?;
            Some(bytes)
        })
        .await
        .expect("a packet or the end in time")
    }

    /// Everything until the end of the connection.
    async fn until_closed(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet().await {
            packets.push(packet);
        }
        packets
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_protocol_ends_the_connection() {
    let gateway = Plan::without_history().start();
    for level in [4, 5] {
        let v5: &[u8] = if level == 5 { &[0] } else { &[] };
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("a second CONNECT [MQTT-3.1.0-2]", connect(level, 0, "again")),
            ("a topic with a wildcard [MQTT-3.3.2-2]", publish(level, 0x30, "a/+/b", None, b"x")),
            ("a topic with # [MQTT-3.3.2-2]", publish(level, 0x30, "a/#", None, b"x")),
            ("an empty topic", publish(level, 0x30, "", None, b"x")),
            ("QoS 3 [MQTT-3.3.1-4]", publish(level, 0x36, "a", Some(1), b"x")),
            ("packet id 0 [MQTT-2.2.1-3]", publish(level, 0x32, "a", Some(0), b"x")),
            ("U+0000 in a topic [MQTT-1.5.4-2]", publish(level, 0x30, "a\0b", None, b"x")),
            ("a topic that is no UTF-8 [MQTT-1.5.4-1]", packet(0x30, &[&[0, 2, 0xc3, 0x28], v5].concat())),
            ("SUBSCRIBE without filter [MQTT-3.8.3-2]", packet(0x82, &[&[0, 1], v5].concat())),
            ("SUBSCRIBE with wrong flags [MQTT-3.8.1-1]", {
                let mut bytes = subscribe(level, "a", 0);
                bytes[0] = 0x80;
                bytes
            }),
            ("SUBSCRIBE with QoS 3", subscribe(level, "a", 3)),
            ("SUBSCRIBE with packet id 0", packet(0x82, &[&[0, 0], v5, &string("a"), &[0]].concat())),
            ("UNSUBSCRIBE without filter [MQTT-3.10.3-2]", packet(0xa2, &[&[0, 1], v5].concat())),
            ("PINGREQ with flags", vec![0xc1, 0]),
            ("a packet type that does not exist", vec![0x00, 0]),
            ("a packet only brokers send: CONNACK", vec![0x20, 2, 0, 0]),
            ("a packet only brokers send: SUBACK", packet(0x90, &[&[0, 1], v5, &[0]].concat())),
            ("a packet only brokers send: PINGRESP", vec![0xd0, 0]),
            ("a remaining length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (what, bytes) in cases {
            let mut wire = Wire::login(&gateway, level).await;
            wire.send(&bytes).await;
            let last = timeout(Duration::from_secs(4), wire.until_closed()).await;
            let last = last.unwrap_or_else(|_| panic!("still connected after {what} in level {level}"));
            // 5.0 may say why first; 3.1.1 has no word for it.
            let said = if level == 5 { last.iter().all(|p| p[0] == 0xe0 && p[2] >= 0x80) } else { last.is_empty() };
            assert!(said, "{what} in level {level}: {last:x?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_connect_ends_the_connection() {
    let gateway = Plan::without_history().start();
    for bytes in [publish(4, 0x30, "a", None, b"x"), vec![0xc0, 0], subscribe(4, "a", 0), vec![0xe0, 0]] {
        let mut wire = Wire::open(&gateway).await;
        wire.send(&bytes).await;
        assert_eq!(wire.until_closed().await, Vec::<Vec<u8>>::new(), "{bytes:x?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwelcome_connect_is_told_why() {
    let gateway = Plan::without_history().start();
    let unclean_without_name = packet(0x10, &[string("MQTT"), vec![4, 0x00, 0, 0], string("")].concat());
    let cases = [
        ("an unknown protocol level [MQTT-3.1.2-2]", connect(6, 0, "x"), [1, 0x84]),
        ("3.1.1 without a name and without a clean session [MQTT-3.1.3-8]", unclean_without_name, [2, 2]),
    ];
    for (what, bytes, codes) in cases {
        let mut wire = Wire::open(&gateway).await;
        wire.send(&bytes).await;
        let answer = wire.until_closed().await;
        assert!(answer.len() == 1 && answer[0][0] == 0x20 && codes.contains(&answer[0][3]), "{what}: {answer:x?}");
    }
    // Not MQTT at all: no answer is owed.
    let mut wire = Wire::open(&gateway).await;
    wire.send(&packet(0x10, &[string("HTTP"), vec![4, 2, 0, 0], string("x")].concat())).await;
    assert!(wire.until_closed().await.iter().all(|p| p[0] == 0x20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_filter_is_never_granted() {
    let gateway = Plan::without_history().start();
    for level in [4, 5] {
        for filter in ["a/#/b", "a#", "#a", "a+/b", "+a", "a/b+"] {
            let mut wire = Wire::login(&gateway, level).await;
            wire.send(&subscribe(level, filter, 0)).await;
            // Either a refusal or the end of the connection [MQTT-4.7.1-1].
            if let Some(answer) = wire.packet().await {
                let refused = (answer[0] == 0x90 && *answer.last().unwrap() >= 0x80) || answer[0] == 0xe0;
                assert!(refused, "{filter} in level {level}: {answer:x?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dollar_topics_hide_from_wildcards() {
    let gateway = Plan::without_history().start();
    let mut wire = Wire::login(&gateway, 4).await;
    for filter in ["#", "+/x"] {
        wire.send(&subscribe(4, filter, 0)).await;
        assert_eq!(wire.packet().await.unwrap(), [0x90, 3, 0, 1, 0]);
    }
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("$private/x", "hidden").await;
    sensor.publish("seen", "seen").await;
    assert_eq!(wire.packet().await.unwrap(), publish(4, 0x30, "seen", None, b"seen"));
    wire.send(&subscribe(4, "$private/#", 0)).await;
    wire.packet().await.unwrap();
    sensor.publish("$private/x", "found").await;
    assert_eq!(wire.packet().await.unwrap(), publish(4, 0x30, "$private/x", None, b"found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_dropped_after_one_and_a_half_keep_alives() {
    let gateway = Plan::without_history().start();
    for level in [4, 5] {
        let mut wire = Wire::open(&gateway).await;
        wire.send(&connect(level, 1, "")).await;
        wire.packet().await.unwrap();
        wire.send(&subscribe(level, "busy", 0)).await;
        wire.packet().await.unwrap();
        // Deliveries to it are no sign of life: only what it sends counts [MQTT-3.1.2-22].
        let addr = gateway.doors.mqtt;
        let busy = tokio::spawn(async move {
            let mut sensor = MqttPeer::connect(addr, "").await;
            loop {
                sensor.publish("busy", "still here").await;
            }
        });
        let begin = Instant::now();
        wire.until_closed().await;
        busy.abort();
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(1400) && took < Duration::from_secs(4), "level {level}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_and_stray_acknowledgements_are_harmless() {
    let gateway = Plan::without_history().start();
    for level in [4, 5] {
        let mut wire = Wire::login(&gateway, level).await;
        wire.send(&[0x40, 2, 0, 9]).await; // PUBACK of nothing
        wire.send(&[0xc0, 0]).await;
        assert_eq!(wire.packet().await.unwrap(), [0xd0, 0], "level {level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_may_come_byte_by_byte_or_all_at_once() {
    let gateway = Plan::without_history().start();
    let mut wire = Wire::open(&gateway).await;
    let all = [connect(4, 0, "drip"), subscribe(4, "t", 1), publish(4, 0x32, "t", Some(7), b"x"), vec![0xc0, 0]].concat();
    for byte in &all {
        wire.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(wire.packet().await.unwrap()[0] & 0xf0);
    }
    answers.sort_unstable();
    assert_eq!(answers, [0x20, 0x30, 0x40, 0x90, 0xd0]);

    // Without waiting for CONNACK, as the standard allows [MQTT-3.1.4-5 note].
    let mut wire = Wire::open(&gateway).await;
    wire.send(&all).await;
    for _ in 0..5 {
        wire.packet().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_publication_is_acknowledged_again() {
    let gateway = Plan::without_history().start();
    let mut wire = Wire::login(&gateway, 4).await;
    for first in [0x32, 0x3a] {
        wire.send(&publish(4, first, "t", Some(7), b"x")).await;
        assert_eq!(wire.packet().await.unwrap(), [0x40, 2, 0, 7]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_5_subscriber_is_not_sent_more_than_it_takes() {
    let gateway = Plan::without_history().start();
    let mut wire = Wire::open(&gateway).await;
    // Maximum packet size 50 [MQTT-3.1.2-24].
    let body = [string("MQTT"), vec![5, 2, 0, 0], vec![5, 0x27, 0, 0, 0, 50], string("small")].concat();
    wire.send(&packet(0x10, &body)).await;
    wire.packet().await.unwrap();
    wire.send(&subscribe(5, "t", 1)).await;
    wire.packet().await.unwrap();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("t", vec![b'x'; 200]).await;
    sensor.publish("t", "fits").await;
    let got = wire.packet().await.unwrap();
    assert!(got.len() <= 50 && got.ends_with(b"fits"), "{got:x?}");
}
