//! A slow, silent, hostile or broken peer costs the others nothing.

use crate::gateway::{Gateway, Plan};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::{PUB, RembusPeer, publication, text};
use futures_util::SinkExt;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A small generator with a seed, so that a failure can be repeated.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// Both doors still serve: a message goes from an MQTT client to a Rembus component.
async fn still_serves(gateway: &Gateway) {
    let mut component = RembusPeer::connect(gateway.doors.rembus).await;
    component.subscribe("are/you/there").await;
    component.reactive().await;
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "honest").await;
    sensor.publish("are/you/there", "yes").await;
    let heard = component.receive().await.unwrap();
    assert_eq!(heard.kind, PUB);
    assert_eq!(crate::http_peer::get(gateway.doors.http, "/healthz").0, 200);
}

async fn send_and_hang_up(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    drop(stream.write_all(bytes).await); // the gateway may hang up first
    let mut answer = [0; 256];
    // Either it answers, hangs up, or waits for more; none of that may take the test's time.
    drop(tokio::time::timeout(Duration::from_millis(5), stream.read(&mut answer)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_each_door_harm_nobody() {
    let gateway = Gateway::start();
    let seed = 0x5eed_0000_0000_0001;
    let mut noise = Noise(seed);
    let connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04evil";
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    for _ in 0..60 {
        for addr in [gateway.doors.mqtt, gateway.doors.rembus, gateway.doors.http] {
            let length = noise.below(300) + 1;
            let garbage = noise.bytes(length);
            send_and_hang_up(addr, &garbage).await;
        }
        let length = noise.below(100) + 1;
        let garbage = noise.bytes(length);
        send_and_hang_up(gateway.doors.mqtt, &[connect.as_slice(), &garbage].concat()).await;
        send_and_hang_up(gateway.doors.rembus, &[upgrade.as_bytes(), &garbage].concat()).await;
    }
    for addr in [gateway.doors.mqtt, gateway.doors.rembus, gateway.doors.http] {
        send_and_hang_up(addr, &tls_hello).await;
        send_and_hang_up(addr, b"GET / HTTP/1.1\r\n\r\n").await;
        send_and_hang_up(addr, connect).await;
        send_and_hang_up(addr, b"").await;
    }
    still_serves(&gateway).await;
    crate::http_peer::Metrics::read(gateway.doors.http).assert_balance();
}

#[tokio::test(flavor = "multi_thread")]
async fn random_cbor_closes_at_most_its_own_connection() {
    let gateway = Gateway::start();
    let mut noise = Noise(0x5eed_0000_0000_0002);
    let mut bystander = RembusPeer::login(gateway.doors.rembus, "bystander").await;
    for round in 0_u64..150 {
        let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
        // Half of it looks like a message for a while.
        let mut bytes = match round % 4 {
            0 => vec![],
            1 => vec![0x84, (round % 16) as u8, 0x48, 1, 2, 3, 4, 5, 6, 7, 8],
            2 => vec![0x85, 0x02, 0x48, 1, 2, 3, 4, 5, 6, 7, 8, 0x63, b'r', b'i', b'd', 0xf6],
            _ => vec![0x83, 0x01, 0x61, b't'],
        };
        let length = noise.below(40);
        bytes.extend(noise.bytes(length));
        let message = tokio_tungstenite::tungstenite::Message::binary(bytes);
        drop(peer.socket.send(message).await);
        drop(tokio::time::timeout(Duration::from_millis(3), peer.receive_when_it_comes()).await);
    }
    assert_eq!(bystander.rpc("rid", vec![]).await, Ok(text("broker")));
    still_serves(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deeply_nested_value_is_no_bomb() {
    let gateway = Gateway::start();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let mut bytes = vec![0x83, 0x01, 0x6b];
    bytes.extend(b"x/telemetry");
    bytes.extend(std::iter::repeat_n(0x81, 1_000_000));
    bytes.push(0xf6);
    drop(peer.socket.send(tokio_tungstenite::tungstenite::Message::binary(bytes)).await);
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "nested").await;
    let json = [vec![b'['; 500_000], vec![b']'; 500_000]].concat();
    sensor.publish("x/telemetry", json).await;
    still_serves(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_stop_the_accept_loops() {
    let gateway = Plan::without_history().start();
    let mut silent = Vec::new();
    for _ in 0..100 {
        for addr in [gateway.doors.mqtt, gateway.doors.rembus, gateway.doors.http] {
            silent.push(TcpStream::connect(addr).await.unwrap());
        }
    }
    let begin = Instant::now();
    still_serves(&gateway).await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

/// Publishes one message at a time and returns the median time until a subscriber has it.
async fn median_latency(gateway: &Gateway, topic: &str) -> Duration {
    let mut reader = MqttPeer::connect(gateway.doors.mqtt, "reader").await;
    reader.subscribe(topic, QoS::AtMostOnce).await;
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut times = Vec::new();
    for n in 0..101 {
        let publish = sensor.publication(topic, QoS::AtMostOnce, format!("{n}"));
        let begin = Instant::now();
        sensor.send(&[Packet::Publish(publish)]).await.unwrap();
        assert_eq!(reader.delivery().await.payload, format!("{n}"));
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_never_reads_delays_nobody() {
    let gateway = Plan::without_history().start();
    let mut deaf_mqtt = MqttPeer::connect(gateway.doors.mqtt, "deaf").await;
    deaf_mqtt.subscribe("#", QoS::AtLeastOnce).await;
    let mut deaf_rembus = RembusPeer::login(gateway.doors.rembus, "deaf").await;
    deaf_rembus.subscribe("**").await;
    deaf_rembus.reactive().await;
    let before = gateway.rss_kib();

    // More than any socket buffer and queue takes: 200 MB at QoS 0.
    let mut flood = MqttPeer::connect(gateway.doors.mqtt, "flood").await;
    let block = vec![b'x'; 100_000];
    for n in 0..2_000 {
        let publish = flood.publication("flood/topic", QoS::AtMostOnce, block.clone());
        flood.send(&[Packet::Publish(publish)]).await.unwrap();
        if n % 100 == 0 {
            flood.publish("flood/topic", "in step").await;
        }
    }
    let latency = median_latency(&gateway, "honest/topic").await;
    assert!(latency < Duration::from_millis(20), "{latency:?}");
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 250 * 1024, "{grown} KiB more than before");
    let books = crate::http_peer::Metrics::read(gateway.doors.http);
    books.assert_balance();
    assert!(books.sum("rembus_gateway_copies_dropped_total") > 0.0, "nothing was dropped, so nothing was shown");
    still_serves(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_does_not_acknowledge_delays_nobody() {
    let gateway = Plan::without_history().start();
    let mut lazy = RembusPeer::login(gateway.doors.rembus, "lazy").await;
    lazy.subscribe("work").await;
    lazy.reactive().await;
    let mut eager = RembusPeer::login(gateway.doors.rembus, "eager").await;
    eager.subscribe("work").await;
    eager.reactive().await;
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    let begin = Instant::now();
    for n in 0_u64..50 {
        publisher.publish("work", vec![n.into()]).await;
        let heard = eager.receive().await.unwrap();
        assert_eq!((heard.kind, heard.flags), (PUB, 0x10));
    }
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    // QoS 2 without the third step, again and again with the same id, is one message.
    let id = publisher.id();
    for _ in 0..3 {
        publisher.send(publication(Some(id), 2, "once", vec![])).await;
        assert_eq!(publisher.receive().await.unwrap().id(), id);
    }
    still_serves(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_beyond_the_limit_closes_only_its_connection() {
    let gateway = Plan::without_history().set("mqtt.max_packet", "100KiB").start();
    let mut big = MqttPeer::connect(gateway.doors.mqtt, "big").await;
    let publish = big.publication("x", QoS::AtLeastOnce, vec![0; 200_000]);
    drop(big.send(&[Packet::Publish(publish)]).await);
    assert_eq!(big.receive().await, None);
    still_serves(&gateway).await;
}
