//! An acknowledgement means the message is on the disk: whatever was acknowledged before a `kill -9` is in history after it, once.

use crate::gateway::Plan;
use crate::mqtt_peer::MqttPeer;
use crate::programs::Program;
use crate::rembus_peer::{ACK, RembusPeer, map, publication};
use crate::torn::{Damage, tear};
use ciborium::Value;
use futures_util::SinkExt;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Kills with each store.
const ROUNDS: i64 = 24;
const WINDOW: usize = 32;

/// What one publisher did in one life of the gateway.
pub(crate) struct Account {
    pub(crate) sent: i64,
    pub(crate) acknowledged: BTreeSet<i64>,
}

/// Publishes rising numbers over MQTT with a window, until the gateway dies.
pub(crate) async fn publish_by_mqtt(addr: SocketAddr, first: i64, progress: Arc<AtomicUsize>) -> Account {
    let mut peer = MqttPeer::connect(addr, "sensor").await;
    let mut account = Account { sent: first, acknowledged: BTreeSet::new() };
    let mut waiting = BTreeMap::new();
    loop {
        let mut packets = Vec::new();
        while waiting.len() < WINDOW {
            let publish = peer.publication("mqtt/counted", QoS::AtLeastOnce, format!("{{\"n\":{}}}", account.sent));
            waiting.insert(publish.pkid, account.sent);
            account.sent += 1;
            packets.push(Packet::Publish(publish));
        }
        if peer.send(&packets).await.is_err() {
            return account;
        }
        match peer.receive().await {
            Some(Packet::PubAck(ack)) => {
                let n = waiting.remove(&ack.pkid).expect("an acknowledgement of something sent");
                account.acknowledged.insert(n);
                progress.fetch_add(1, Relaxed);
            }
            Some(other) => panic!("a PUBACK was due, not {other:?}"),
            None => return account,
        }
    }
}

/// The same over Rembus.
async fn publish_by_rembus(addr: SocketAddr, first: i64, progress: Arc<AtomicUsize>) -> Account {
    let mut peer = RembusPeer::login(addr, "component").await;
    let mut account = Account { sent: first, acknowledged: BTreeSet::new() };
    let mut waiting = BTreeMap::new();
    loop {
        while waiting.len() < WINDOW {
            let id = peer.id();
            waiting.insert(id, account.sent);
            let message = publication(Some(id), 1, "rembus/counted", vec![map([("n", Value::from(account.sent))])]);
            account.sent += 1;
            if peer.socket.send(message).await.is_err() {
                return account;
            }
        }
        match peer.receive().await {
            Some(ack) if ack.kind == ACK => {
                let n = waiting.remove(&ack.id()).expect("an acknowledgement of something sent");
                account.acknowledged.insert(n);
                progress.fetch_add(1, Relaxed);
            }
            Some(other) => panic!("an ACK was due, not {other:?}"),
            None => return account,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_two_dozen_kills() {
    kills("duckdb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_two_dozen_kills_of_the_lite_store() {
    kills("lite").await;
}

async fn kills(backend: &str) {
    // Rows go to the lake all the time, and files are merged, so that kills hit those paths as well.
    let plan = Plan::default()
        .set("history.backend", backend)
        .set("history.batch_interval", "300ms")
        .set("history.batch_rows", "500")
        .set("history.maintenance", "1s");
    let mut gateway = plan.start();
    let mut acknowledged: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    let mut sent: BTreeMap<&str, i64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let progress = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
        let next = |source: &str| sent.get(source).copied().unwrap_or(0);
        let mqtt = tokio::spawn(publish_by_mqtt(gateway.doors.mqtt, next("mqtt"), progress[0].clone()));
        let rembus = tokio::spawn(publish_by_rembus(gateway.doors.rembus, next("rembus"), progress[1].clone()));
        // Some rounds die at once, some live long enough for several batches.
        let enough = [1, 40, 300, 1200][usize::try_from(round % 4).unwrap()];
        tokio::task::block_in_place(|| {
            crate::gateway::until("both publishers are acknowledged", 60, || {
                progress.iter().all(|p| p.load(Relaxed) >= enough).then_some(())
            });
        });
        gateway.kill();
        for (source, account) in [("mqtt", mqtt.await.unwrap()), ("rembus", rembus.await.unwrap())] {
            sent.insert(source, account.sent);
            acknowledged.entry(source).or_default().extend(account.acknowledged);
        }
        let damage = [None, Some(Damage::HalfARecord), Some(Damage::Garbage), Some(Damage::ShortFile)];
        let torn = damage[usize::try_from(round / 4 % 4).unwrap()].map(|damage| tear(gateway.data(), damage));

        gateway.start_again();
        let mut client = RembusPeer::connect(gateway.doors.rembus).await;
        for (source, numbers) in &acknowledged {
            let found = client.query_integers("counted", "n", &format!("source='{source}'")).await;
            let stored: BTreeSet<i64> = found.iter().copied().collect();
            let lost: Vec<_> = numbers.difference(&stored).take(10).collect();
            assert!(lost.is_empty(), "round {round}: {source} lost {lost:?}… of {}; torn: {torn:?}", numbers.len());
            assert_eq!(found.len(), stored.len(), "round {round}: {source} has rows twice; torn: {torn:?}");
            assert!(stored.iter().all(|n| *n < sent[source]), "round {round}: {source} has what was never sent");
        }
    }
    for (source, numbers) in &acknowledged {
        assert!(numbers.len() > 3000, "{source}: only {} acknowledged, the story proves little", numbers.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_publishers_lose_nothing_in_kills() {
    let mut gateway = Plan::default().set("history.batch_interval", "300ms").start();
    let mut program = Program::start("durable_publishers.py", &gateway);
    let mut acknowledged: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut note = |line: &serde_json::Value| {
        let source = line["acked"][0].as_str()?;
        acknowledged.entry(source.to_owned()).or_default().insert(line["acked"][1].as_i64()?);
        Some(source.to_owned())
    };
    for _ in 0..4 {
        // Both clients are at work again when both have had a hundred more acknowledgements.
        let mut left = BTreeMap::from([("paho".to_owned(), 100), ("component".to_owned(), 100)]);
        while left.values().any(|n| *n > 0) {
            let line = program.line().expect("a program at work");
            if let Some(n) = note(&line).and_then(|source| left.get_mut(&source)) {
                *n -= 1;
            }
        }
        gateway.kill();
        gateway.start_again_on_the_same_doors();
    }
    program.finish();
    let mut finished = None;
    while let Some(line) = program.line() {
        if note(&line).is_none() {
            finished = Some(line);
        }
    }
    finished.expect("the program's last line");
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    for (source, numbers) in &acknowledged {
        let found = client.query_integers("counted", "n", &format!("source='{source}'")).await;
        let stored: BTreeSet<i64> = found.into_iter().collect();
        let lost: Vec<_> = numbers.difference(&stored).take(10).collect();
        assert!(lost.is_empty(), "{source} lost {lost:?}… of {}", numbers.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_reported_and_never_fatal() {
    for damage in [Damage::HalfARecord, Damage::Garbage, Damage::ShortFile] {
        let mut gateway = Plan::default().start();
        let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
        for n in 0..5 {
            sensor.publish("a/counted", format!("{{\"n\":{n}}}")).await;
        }
        gateway.kill();
        let place = tear(gateway.data(), damage);
        gateway.start_again();
        if !matches!(damage, Damage::ShortFile) {
            gateway.wait_for_log("the log ended in the middle of a write");
        }
        let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
        sensor.publish("a/counted", "{\"n\":5}").await;
        gateway.kill();
        gateway.start_again();
        let mut client = RembusPeer::connect(gateway.doors.rembus).await;
        let mut found = client.query_integers("counted", "n", "source='a'").await;
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4, 5], "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_without_a_schema_is_still_on_the_disk() {
    let mut gateway = Plan::without_history().start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("any/topic", "a payload to be found").await;
    gateway.kill();
    let wal = gateway.data().join("wal");
    let found = std::fs::read_dir(&wal).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(21).any(|window| window == b"a payload to be found")
    });
    assert!(found, "not in {}", wal.display());
}
