//! One user cannot take what belongs to all, and a user that is removed leaves nothing behind.

use crate::gateway::{Gateway, Plan};
use crate::http_peer;
use crate::mqtt_peer::MqttPeer;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet};

fn admin(gateway: &Gateway, words: &[&str], input: &str) -> String {
    let words: Vec<&str> = ["admin"].iter().chain(words).copied().collect();
    let (code, said, complaint) = gateway.ask_with(&words, input);
    assert_eq!((code, complaint.as_str()), (0, ""), "{words:?}: {said}");
    said
}

/// Two sensors and somebody who listens, with these limits.
fn with_users(limits: &[(&str, &str)]) -> Gateway {
    let mut plan = Plan::without_history().set("mqtt.anonymous", "false").set("rembus.anonymous", "false");
    for (key, value) in limits {
        plan = plan.set(key, value);
    }
    let gateway = plan.start();
    for name in ["dev1", "dev2", "ops"] {
        admin(&gateway, &["user", "add", name], "secret\n");
        admin(&gateway, &["acl", "allow", name, "all", "#"], "");
    }
    gateway
}

async fn stay(gateway: &Gateway, client: &str, user: &str) -> Result<MqttPeer, ConnectReturnCode> {
    MqttPeer::login_to_stay(gateway.doors.mqtt, client, (user, "secret")).await
}

/// Publishes with QoS 1 and waits for the acknowledgement.
async fn told(peer: &mut MqttPeer, topic: &str, payload: &str, retain: bool) {
    let mut publish = peer.publication(topic, QoS::AtLeastOnce, payload.to_owned());
    publish.retain = retain;
    let id = publish.pkid;
    peer.send(&[Packet::Publish(publish)]).await.unwrap();
    loop {
        match peer.receive().await {
            Some(Packet::PubAck(ack)) if ack.pkid == id => return,
            Some(Packet::Publish(_)) => {}
            other => panic!("PUBACK was due, not {other:?}"),
        }
    }
}

/// What waits for a session: so many messages.
async fn found(peer: &mut MqttPeer, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(String::from_utf8(peer.delivery().await.payload.to_vec()).unwrap());
    }
    found
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let (_, page) = http_peer::get(gateway.doors.http, "/metrics");
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_password_fills_only_the_sessions_of_its_user_also_after_a_restart() {
    let mut gateway = with_users(&[("limits.sessions_per_user", "20"), ("limits.sessions", "40")]);
    let mut ops = stay(&gateway, "ops-1", "ops").await.unwrap();
    ops.subscribe("alarm/#", QoS::AtLeastOnce).await;
    drop(ops);
    for round in 0..2 {
        for n in 0..60 {
            drop(stay(&gateway, &format!("dev1-{round}-{n}"), "dev1").await.unwrap());
        }
        let mut dev2 = stay(&gateway, "dev2-1", "dev2").await.expect("another user is not affected");
        told(&mut dev2, "alarm/1", &format!("fire {round}"), false).await;
        drop(dev2);
        assert_eq!(metric(&gateway, "rembus_gateway_account_heaviest{resource=\"sessions\"}"), 20);
        assert_eq!(metric(&gateway, "rembus_gateway_sessions"), 22);
        gateway.wait_for_log("session ended to make room for others");
        gateway.kill();
        gateway.start_again();
    }
    let mut ops = stay(&gateway, "ops-1", "ops").await.unwrap();
    assert_eq!(found(&mut ops, 2).await, ["fire 0", "fire 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_all_its_sessions_connected_is_told_so_and_others_come_in() {
    let gateway = with_users(&[("limits.sessions_per_user", "2")]);
    let _first = stay(&gateway, "a", "dev1").await.unwrap();
    let _second = stay(&gateway, "b", "dev1").await.unwrap();
    assert_eq!(stay(&gateway, "c", "dev1").await.err(), Some(ConnectReturnCode::ServiceUnavailable));
    let _other = stay(&gateway, "c", "dev2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_retained_messages_of_one_user_cost_others_nothing_that_was_acknowledged() {
    let limits = [("mqtt.queues_size", "1MiB"), ("mqtt.retained_messages", "200")];
    let mut gateway = with_users(&limits);
    let mut ops = stay(&gateway, "ops-1", "ops").await.unwrap();
    ops.subscribe("alarm/#", QoS::AtLeastOnce).await;
    drop(ops);
    for n in 0..8 {
        let mut session = stay(&gateway, &format!("greedy-{n}"), "dev1").await.unwrap();
        session.subscribe("bulk/#", QoS::AtLeastOnce).await;
    }
    let mut dev1 = stay(&gateway, "dev1-1", "dev1").await.unwrap();
    let bulk = "x".repeat(10_000);
    for n in 0..120 {
        told(&mut dev1, &format!("bulk/{n}"), &bulk, n % 2 == 0).await;
        told(&mut dev1, &format!("kept/{n}"), "x", true).await;
    }
    let mut dev2 = stay(&gateway, "dev2-1", "dev2").await.unwrap();
    // More than what is left where the next large one did not fit.
    let texts: Vec<String> = (0..40).map(|n| format!("alarm {n} {}", "y".repeat(1_000))).collect();
    for (n, text) in texts.iter().enumerate() {
        told(&mut dev2, &format!("alarm/{n}"), text, true).await;
    }
    assert!(metric(&gateway, "rembus_gateway_copies_dropped_total{reason=\"gave_way\"}") > 0);
    assert!(metric(&gateway, "rembus_gateway_retained_gave_way_total") > 0);
    assert!(metric(&gateway, "rembus_gateway_queued_bytes") <= 1 << 20);
    gateway.kill();
    gateway.start_again();
    let mut ops = stay(&gateway, "ops-1", "ops").await.unwrap();
    assert_eq!(found(&mut ops, 40).await, texts);
    let mut reader = stay(&gateway, "reader", "ops").await.unwrap();
    reader.subscribe("alarm/+", QoS::AtLeastOnce).await;
    let mut retained = found(&mut reader, 40).await;
    let mut wanted = texts;
    retained.sort();
    wanted.sort();
    assert_eq!(retained, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_removed_takes_everything_along_and_the_command_says_what() {
    let mut gateway = with_users(&[]);
    let mut away = stay(&gateway, "away", "dev1").await.unwrap();
    away.subscribe("t", QoS::AtLeastOnce).await;
    drop(away);
    let mut dev2 = stay(&gateway, "dev2-1", "dev2").await.unwrap();
    told(&mut dev2, "t", "waits", false).await;
    told(&mut dev2, "kept/2", "stays", true).await;
    let mut there = stay(&gateway, "there", "dev1").await.unwrap();
    told(&mut there, "kept/1", "goes", true).await;
    let said = admin(&gateway, &["user", "remove", "dev1"], "");
    let wanted = "1 connections, 2 sessions with 1 subscriptions and 1 waiting messages, 1 retained messages";
    assert!(said.contains(wanted), "{said}");
    assert_eq!(there.receive().await, None, "its connection is closed");
    drop(dev2);
    for _ in 0..2 {
        assert_eq!(metric(&gateway, "rembus_gateway_sessions"), 1);
        assert_eq!(metric(&gateway, "rembus_gateway_copies_queued"), 0);
        let mut reader = MqttPeer::login(gateway.doors.mqtt, "reader", ("dev2", "secret")).await.unwrap();
        reader.subscribe("kept/#", QoS::AtLeastOnce).await;
        assert_eq!(reader.delivery().await.topic, "kept/2");
        drop(reader);
        gateway.kill();
        gateway.start_again();
    }
    gateway.ask_to_stop();
    gateway.wait();
    let said = admin(&gateway, &["user", "remove", "dev2"], "");
    assert!(said.contains("sessions and retained messages stay"), "{said}");
}
