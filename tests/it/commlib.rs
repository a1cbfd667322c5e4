//! commlib nodes: the published releases, unmodified, and what a broker must be good at for them.

use crate::gateway::{Gateway, Plan, until};
use crate::mqtt_peer::MqttPeer;
use crate::programs;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe};

#[test]
fn nodes_of_commlib_0_13_work_with_each_other_and_with_components() {
    programs::run("commlib_nodes.py", &mut Gateway::start());
}

#[test]
fn nodes_of_commlib_0_10_work_with_events_and_the_rest_proxy() {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/commlib-0.10");
    let environment = [("COMMLIB_0_10", packages.to_owned())];
    programs::run_with("commlib_old.py", &mut Plan::without_history().start(), &environment);
}

/// A subscription to one filter, as a packet.
fn subscribe(pkid: u16, filter: &str, qos: QoS) -> Packet {
    let mut packet = Subscribe::new(filter, qos);
    packet.pkid = pkid;
    Packet::Subscribe(packet)
}

/// The next publication; acknowledgements of what was sent may come before it.
async fn heard(peer: &mut MqttPeer) -> Publish {
    loop {
        match peer.receive().await {
            Some(Packet::Publish(publish)) => {
                if publish.qos == QoS::AtLeastOnce {
                    peer.send(&[Packet::PubAck(PubAck { pkid: publish.pkid })]).await.unwrap();
                }
                return publish;
            }
            Some(Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PubAck(_)) => {}
            other => panic!("a publication was due, not {other:?}"),
        }
    }
}

/// One commlib call on the wire: SUBSCRIBE and PUBLISH behind each other, the answer, UNSUBSCRIBE.
async fn call(caller: &mut MqttPeer, service: &mut MqttPeer, number: u32) {
    let reply_to = format!("rpc-{number:032x}");
    let request = caller.publication("svc/add", QoS::AtLeastOnce, reply_to.clone());
    caller.send(&[subscribe(1, &reply_to, QoS::AtMostOnce), Packet::Publish(request)]).await.unwrap();
    let request = heard(service).await;
    assert_eq!(request.payload, reply_to);
    let answer = service.publication(&reply_to, QoS::AtLeastOnce, "{}");
    service.send(&[Packet::Publish(answer)]).await.unwrap();
    let answer = heard(caller).await;
    // The subscription is QoS 0, whatever the service published with.
    assert_eq!((answer.topic.as_str(), answer.qos), (reply_to.as_str(), QoS::AtMostOnce));
    let mut unsubscribe = Unsubscribe::new(&reply_to);
    unsubscribe.pkid = 2;
    caller.send(&[Packet::Unsubscribe(unsubscribe)]).await.unwrap();
}

#[tokio::test]
async fn thousands_of_reply_topics_leave_no_memory_behind() {
    let gateway = Plan::without_history().start();
    let mut service = MqttPeer::connect(gateway.doors.mqtt, "service").await;
    service.subscribe("svc/add", QoS::AtLeastOnce).await;
    let mut caller = MqttPeer::connect(gateway.doors.mqtt, "caller").await;
    let mut rss = Vec::new();
    // The first thousands find their tables and their allocator warm.
    for round in 0..4 {
        for number in 0..2_500 {
            call(&mut caller, &mut service, round * 2_500 + number).await;
        }
        rss.push(gateway.rss_kib());
    }
    let grown = rss[3].saturating_sub(rss[1]);
    assert!(grown < 1024, "5,000 calls took {grown} KiB: {rss:?}");
}

#[test]
fn calls_by_the_published_library_leave_no_memory_behind_either() {
    let gateway = Plan::without_history().start();
    let environment = [("SCENARIO_DEADLINE_S", "190".to_owned())];
    let mut program = programs::Program::start_with("commlib_calls.py", &gateway, &environment);
    let mut rss = Vec::new();
    let verdict = loop {
        let line = program.line().expect("a verdict");
        if line.get("calls").is_none() {
            break line;
        }
        rss.push(gateway.rss_kib());
        program.go_on();
    };
    assert_eq!((&verdict["ok"], rss.len()), (&true.into(), 4), "{verdict}");
    let grown = rss[3].saturating_sub(rss[0]);
    assert!(grown < 512, "1,500 calls took {grown} KiB: {rss:?}");
}

#[tokio::test]
async fn excess_filters_are_refused_and_the_client_stays() {
    let gateway = Plan::without_history().start();
    let mut peer = MqttPeer::connect(gateway.doors.mqtt, "").await;
    // A long-lived caller brings the reply topics of all its finished calls back.
    let filters = |from: u32, to: u32| {
        (from..to).map(|n| SubscribeFilter::new(format!("rpc-{n:032x}"), QoS::AtLeastOnce)).collect::<Vec<_>>()
    };
    let mut refused = 0;
    for round in 0..11 {
        let mut packet = Subscribe::new_many(filters(round * 1_000, (round + 1) * 1_000));
        packet.pkid = 1;
        peer.send(&[Packet::Subscribe(packet)]).await.unwrap();
        let Some(Packet::SubAck(ack)) = peer.receive().await else { panic!("no SUBACK") };
        refused += ack.return_codes.iter().filter(|code| **code == SubscribeReasonCode::Failure).count();
    }
    assert_eq!(refused, 1_000);
    peer.publish_to_itself(&format!("rpc-{:032x}", 5)).await;
}

#[tokio::test]
async fn everything_may_come_behind_connect_and_twice() {
    let gateway = Plan::without_history().start();
    let mut service = MqttPeer::connect(gateway.doors.mqtt, "service").await;
    service.subscribe("a/b", QoS::AtLeastOnce).await;
    service.subscribe("a/b", QoS::AtLeastOnce).await;
    service.subscribe("a/#", QoS::AtMostOnce).await;
    let mut peer = MqttPeer::login(gateway.doors.mqtt, "", ("", "")).await.expect("empty user and password are nobody");
    let large = vec![b'x'; 300 << 10];
    peer.publish("a", large.clone()).await;
    assert_eq!(service.delivery().await.payload, large);
    peer.publish("a/b", "once").await;
    assert_eq!(service.delivery().await.payload, "once");
    peer.publish("a", "end").await;
    assert_eq!(service.delivery().await.payload, "end");
}

#[test]
fn metrics_and_status_tell_of_nodes() {
    let gateway = Plan::without_history().start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut node = MqttPeer::connect(gateway.doors.mqtt, "").await;
        node.publish("arm/heartbeat", r#"{"ts":1795207658682793858}"#).await;
    });
    until("the node is counted", 10, || gateway.ask(&["status"]).1.contains("1 nodes alive").then_some(()));
}
