//! What a component missed, from the log of the real binary: whole, in order, once; through kills, and beside live traffic.

use crate::gateway::{Gateway, Plan};
use crate::rembus_peer::{ACK, PUB, RembusPeer, encode, id_bytes, map, publication, text};
use ciborium::Value;
use futures_util::SinkExt;

/// Publishes numbers in one go and waits for all acknowledgements.
async fn tell(peer: &mut RembusPeer, topic: &str, qos: u64, numbers: std::ops::Range<u64>) {
    let mut waiting = 0;
    for number in numbers {
        let id = peer.id();
        peer.socket.feed(publication((qos > 0).then_some(id), qos, topic, vec![number.into()])).await.unwrap();
        waiting += u64::from(qos > 0);
        if waiting == 500 {
            peer.socket.flush().await.unwrap();
            while waiting > 0 {
                waiting -= acknowledged(peer, qos).await;
            }
        }
    }
    peer.socket.flush().await.unwrap();
    while waiting > 0 {
        waiting -= acknowledged(peer, qos).await;
    }
}

async fn acknowledged(peer: &mut RembusPeer, qos: u64) -> u64 {
    let ack = peer.receive().await.unwrap();
    assert_eq!(ack.kind, ACK);
    if qos == 2 {
        peer.socket.feed(encode(vec![6.into(), id_bytes(ack.id())])).await.unwrap();
    }
    1
}

async fn reader(gateway: &Gateway, name: &str, topic: &str, msg_from: f64) -> RembusPeer {
    let mut peer = RembusPeer::login(gateway.doors.rembus, name).await;
    peer.admin(topic, map([("cmd", text("subscribe")), ("msg_from", msg_from.into())])).await;
    peer.reactive().await;
    peer
}

/// The next publication's number and id; acknowledged at once.
async fn number(peer: &mut RembusPeer) -> (u64, Option<u64>) {
    loop {
        let got = peer.receive().await.unwrap();
        if got.kind != PUB {
            continue;
        }
        let id = (got.flags & 0x30 != 0).then(|| got.id());
        if let Some(id) = id {
            peer.send(encode(vec![5.into(), id_bytes(id)])).await;
        }
        let data = got.rest.last().unwrap().as_array().unwrap();
        return (u64::try_from(data.last().unwrap().as_integer().unwrap()).unwrap(), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_come_whole_and_in_order_while_more_are_published() {
    const STORED: u64 = 12_000;
    const LIVE: u64 = 3_000;
    let gateway = Plan::without_history().start();
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    tell(&mut publisher, "a/t", 1, 0..STORED).await;
    let mut late = reader(&gateway, "late", "**/t", f64::INFINITY).await;
    let telling = tokio::spawn(async move {
        tell(&mut publisher, "a/t", 1, STORED..STORED + LIVE).await;
        publisher
    });
    for wanted in 0..STORED + LIVE {
        assert_eq!(number(&mut late).await.0, wanted);
    }
    let mut publisher = telling.await.unwrap();
    // It has it all, and goes on live.
    tell(&mut publisher, "a/t", 0, 77..78).await;
    assert_eq!(number(&mut late).await.0, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_replay_brings_qos_2_once() {
    const COUNT: u64 = 600;
    let mut gateway = Plan::without_history().start();
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    tell(&mut publisher, "t", 2, 0..COUNT).await;
    let mut had = std::collections::BTreeMap::new();
    for stop in [100, 350, COUNT as usize] {
        let mut peer = reader(&gateway, "reader", "t", f64::INFINITY).await;
        while had.len() < stop {
            // As a client does it: what it has under an id that was not released it acknowledges again and does not see twice.
            let (number, id) = number(&mut peer).await;
            if let Some(known) = had.insert(number, id) {
                assert_eq!(known, id, "{number} came under another id");
            }
        }
        gateway.kill();
        gateway.start_again();
    }
    assert!(had.keys().copied().eq(0..COUNT));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_an_orderly_stop_does_not_come_again() {
    let mut gateway = Plan::without_history().start();
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    tell(&mut publisher, "t", 1, 0..50).await;
    let mut peer = reader(&gateway, "reader", "t", f64::INFINITY).await;
    for wanted in 0..20 {
        assert_eq!(number(&mut peer).await.0, wanted);
    }
    // The gateway has read the acknowledgements.
    while peer.receive().await.is_some_and(|got| got.kind == PUB && got.rest.last() != Some(&Value::Array(vec![49.into()]))) {}
    let id = peer.id();
    peer.send(encode(vec![2.into(), id_bytes(id), text("rid"), Value::Null, Value::Array(vec![])])).await;
    while peer.receive().await.is_some_and(|got| got.kind != 4) {}
    assert!(gateway.stop().success());
    gateway.start_again();
    let mut peer = reader(&gateway, "reader", "t", f64::INFINITY).await;
    for wanted in 20..50 {
        assert_eq!(number(&mut peer).await.0, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_publications_are_in_the_past_too_and_qos_0_with_them() {
    let gateway = Plan::without_history().start();
    let mut sensor = crate::mqtt_peer::MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    for n in 0..10 {
        let packet = rumqttc::mqttbytes::v4::Packet::Publish(sensor.publication(
            "dev/t",
            rumqttc::mqttbytes::QoS::AtMostOnce,
            format!("{n}"),
        ));
        sensor.send(&[packet]).await.unwrap();
    }
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    // Behind the sensor's, as soon as those are there.
    let mut live = reader(&gateway, "live", "*/t", f64::INFINITY).await;
    for wanted in 0..10 {
        assert_eq!(number(&mut live).await.0, wanted);
    }
    tell(&mut publisher, "dev/t", 1, 10..11).await;
    let mut late = reader(&gateway, "late", "*/t", f64::INFINITY).await;
    for wanted in 0..11 {
        assert_eq!(number(&mut late).await.0, wanted);
    }
}
