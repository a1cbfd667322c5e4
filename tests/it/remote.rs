//! MQTT bridges: the real broker mosquitto, or another gateway, at the far end.

use crate::far_end::{Cable, Process, free_port, mosquitto};
use crate::gateway::{Gateway, Plan, until};
use crate::mqtt_peer::MqttPeer;
use crate::pki::Pki;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::collections::BTreeSet;
use std::net::SocketAddr;

const ANYBODY: &str = "allow_anonymous true";

/// A gateway with a remote `cloud` at `addr`, the bridges, and more keys of the remote.
pub(crate) fn plan(addr: SocketAddr, bridges: &str, more: &str) -> Plan {
    Plan::without_history()
        .set("remote", &format!("{{ cloud = {{ url = \"mqtt://{addr}\"{more} }} }}"))
        .set("bridge.topic", bridges)
}

pub(crate) const OUT: &str = r#"[{ from = "local", to = "cloud", filter = "sensors.*", prefix = "site1" }]"#;

/// The lines of `/metrics` about links, by what comes behind `rembus_gateway_link_`.
pub(crate) fn metric(gateway: &Gateway, name: &str) -> u64 {
    let (code, json, _) = gateway.ask(&["status", "--json"]);
    assert_eq!(code, 0);
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    let link = &status["links"][0];
    if let Some(reason) = name.strip_prefix("dropped.") {
        return link["dropped"][reason].as_u64().unwrap_or(0);
    }
    link[name].as_u64().unwrap_or_else(|| u64::from(link[name].as_bool().unwrap()))
}

/// Publishes rising numbers with QoS 1, many under way at a time; all are acknowledged when it returns.
pub(crate) async fn publish_numbers(addr: SocketAddr, topic: &str, numbers: std::ops::Range<u32>) {
    let mut peer = MqttPeer::connect(addr, &format!("sensor-{}", numbers.start)).await;
    let (mut next, mut open) = (numbers.start, 0);
    while open > 0 || next < numbers.end {
        let mut packets = Vec::new();
        while open < 500 && next < numbers.end {
            packets.push(Packet::Publish(peer.publication(topic, QoS::AtLeastOnce, next.to_string())));
            (next, open) = (next + 1, open + 1);
        }
        peer.send(&packets).await.unwrap();
        assert!(matches!(peer.receive().await, Some(Packet::PubAck(_))));
        open -= 1;
    }
}

/// What a subscriber of the far end was told, in its order, until it has heard `last`.
pub(crate) async fn numbers_until(peer: &mut MqttPeer, last: u32) -> Vec<u32> {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let publish = peer.delivery().await;
        heard.push(std::str::from_utf8(&publish.payload).unwrap().parse().unwrap());
    }
    heard
}

/// Each number once when repetitions are left out, and in order.
pub(crate) fn assert_complete(heard: &[u32], count: u32) {
    let mut seen = BTreeSet::new();
    let first: Vec<u32> = heard.iter().copied().filter(|n| seen.insert(*n)).collect();
    assert_eq!(first, (0..count).collect::<Vec<_>>());
}

/// A subscriber of the far end whose session waits for it there.
async fn leave_a_session(addr: SocketAddr, filter: &str) {
    let mut peer = MqttPeer::login_to_stay(addr, "archive", ("archive", "")).await.unwrap();
    peer.subscribe(filter, QoS::AtLeastOnce).await;
    peer.send(&[Packet::Disconnect]).await.unwrap();
}

async fn come_back(addr: SocketAddr) -> MqttPeer {
    let peer = MqttPeer::login_to_stay(addr, "archive", ("archive", "")).await.unwrap();
    assert!(peer.resumed);
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_messages_wait_in_the_log_and_arrive_in_order_through_kills_and_restarts_of_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let mut broker = mosquitto(folder.path(), far, ANYBODY);
    leave_a_session(far, "site1/#").await;
    let cable = Cable::new().await;
    let mut gateway = plan(cable.addr, OUT, ", rate = \"1MiB\"").start();

    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 0..3000).await;
    gateway.kill();
    gateway.start_again();
    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 3000..5000).await;
    assert!(gateway.stop().success());
    gateway.start_again();
    until("the backlog is told", 20, || (metric(&gateway, "waiting_records") >= 5000).then_some(()));
    assert!(metric(&gateway, "waiting_bytes") > 5000 * 20);

    // The link comes, and in the middle of the work everything falls over once.
    cable.plug_in(far);
    until("some have gone", 60, || (metric(&gateway, "forwarded") > 200).then_some(()));
    cable.pull();
    cable.plug_in(far);
    until("the link is back", 60, || (metric(&gateway, "connections") > 1).then_some(()));
    gateway.kill();
    gateway.start_again();
    until("some more have gone", 60, || (metric(&gateway, "forwarded") > 200).then_some(()));
    broker.stop();
    let broker = mosquitto(folder.path(), far, ANYBODY);
    publish_numbers(gateway.doors.mqtt, "sensors/sonar", 5000..6000).await;
    until("nothing waits", 120, || (metric(&gateway, "waiting_records") == 0).then_some(()));

    let heard = numbers_until(&mut come_back(far).await, 5999).await;
    assert_complete(&heard, 6000);
    assert_eq!(metric(&gateway, "waiting_bytes"), 0);
    drop(broker);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_of_the_gateway_sends_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = mosquitto(folder.path(), far, ANYBODY);
    leave_a_session(far, "site1/#").await;
    let mut gateway = plan(far, OUT, ", rate = \"200KiB\"").start();
    for life in 0..3 {
        publish_numbers(gateway.doors.mqtt, "sensors/sonar", life * 300..(life + 1) * 300).await;
        until("some have gone", 60, || (metric(&gateway, "forwarded") > 50).then_some(()));
        assert!(gateway.stop().success());
        gateway.start_again();
    }
    let heard = numbers_until(&mut come_back(far).await, 899).await;
    assert_eq!(heard, (0..900).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_changed_on_the_way_and_replies_stay_at_home() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = mosquitto(folder.path(), far, ANYBODY);
    let mut archive = MqttPeer::connect(far, "archive").await;
    archive.subscribe("#", QoS::AtLeastOnce).await;
    let bridges = r##"[{ from = "local", to = "cloud", filter = "sensors.*.front", prefix = "site1", replace = [["sonar", "range"]] },
                      { from = "local", to = "cloud", filter = "#", prefix = "rest", qos = 0 }]"##;
    let gateway = plan(far, bridges, "").start();
    until("the link is up", 30, || (metric(&gateway, "connected") == 1).then_some(()));
    let mut peer = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    for topic in ["sensors/sonar/front", "sensors/sonar/back", "rpc-0123456789abcdef0123456789abcdef", "last"] {
        peer.publish(topic, topic).await;
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        let publish = archive.delivery().await;
        heard.push((publish.topic, String::from_utf8(publish.payload.to_vec()).unwrap()));
    }
    let wanted = [
        ("site1/sensors/range/front", "sensors/sonar/front"),
        ("rest/sensors/sonar/back", "sensors/sonar/back"),
        ("rest/last", "last"),
    ];
    assert_eq!(heard, wanted.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_there_comes_here_also_what_came_while_the_gateway_was_gone() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = mosquitto(folder.path(), far, ANYBODY);
    let both = r##"[{ from = "cloud", to = "local", filter = "commands/#" }, { from = "local", to = "cloud", filter = "#" }]"##;
    let mut gateway = plan(far, both, "").start();
    until("the link is up", 30, || (metric(&gateway, "connected") == 1).then_some(()));
    let mut local = MqttPeer::login_to_stay(gateway.doors.mqtt, "plc", ("plc", "")).await.unwrap();
    local.subscribe("commands/#", QoS::AtLeastOnce).await;
    publish_numbers(far, "commands/speed", 0..10).await;
    assert_eq!(numbers_until(&mut local, 9).await, (0..10).collect::<Vec<_>>());
    gateway.kill();
    publish_numbers(far, "commands/speed", 10..500).await;
    gateway.start_again();
    let mut local = MqttPeer::login_to_stay(gateway.doors.mqtt, "plc", ("plc", "")).await.unwrap();
    let heard = numbers_until(&mut local, 499).await;
    let mut seen = BTreeSet::new();
    let first: Vec<u32> = heard.into_iter().filter(|n| seen.insert(*n) && *n > 9).collect();
    assert_eq!(first, (10..500).collect::<Vec<_>>());

    // What is too deep here is counted, and does not keep what is behind it from coming.
    let mut there = MqttPeer::connect(far, "deep").await;
    there.publish(&format!("commands/{}", "/".repeat(150)), "1").await;
    publish_numbers(far, "commands/speed", 499..500).await;
    assert_eq!(local.delivery().await.topic, "commands/speed");
    assert_eq!(metric(&gateway, "dropped.topic_too_long"), 1);

    // It goes both ways, and nothing comes back to where it came from.
    MqttPeer::connect(gateway.doors.mqtt, "panel").await.publish("commands/own", "499").await;
    publish_numbers(far, "commands/speed", 500..501).await;
    let heard = [local.delivery().await, local.delivery().await].map(|publish| publish.topic);
    assert_eq!(heard, ["commands/own", "commands/speed"]);
    let forwarded = || metric(&gateway, "forwarded");
    until("all is forwarded", 30, || (forwarded() > 0 && metric(&gateway, "waiting_records") == 0).then_some(()));
    assert_eq!(forwarded(), 1, "only what was published here");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_round_between_two_gateways_that_bridge_everything_both_ways() {
    let both = r##"[{ from = "cloud", to = "local", filter = "#" }, { from = "local", to = "cloud", filter = "#" }]"##;
    let (to_first, to_second) = (Cable::new().await, Cable::new().await);
    let first = plan(to_second.addr, both, "").set("gateway.name", "first").start();
    let second = plan(to_first.addr, both, "").set("gateway.name", "second").start();
    to_first.plug_in(first.doors.mqtt);
    to_second.plug_in(second.doors.mqtt);
    for gateway in [&first, &second] {
        until("the link is up", 60, || (metric(gateway, "connected") == 1).then_some(()));
    }
    let mut listeners = Vec::new();
    for gateway in [&first, &second] {
        let mut listener = MqttPeer::connect(gateway.doors.mqtt, "listener").await;
        listener.subscribe("#", QoS::AtLeastOnce).await;
        listeners.push(listener);
    }
    publish_numbers(first.doors.mqtt, "a", 0..100).await;
    publish_numbers(second.doors.mqtt, "b", 100..200).await;
    for listener in &mut listeners {
        let mut heard = std::collections::BTreeMap::<String, usize>::new();
        while heard.len() < 200 {
            let publish = listener.delivery().await;
            *heard.entry(String::from_utf8(publish.payload.to_vec()).unwrap()).or_default() += 1;
        }
        // Each pushes what the other fetches: two ways, and a message may take both, and no more.
        assert!(heard.values().all(|times| *times <= 2), "{heard:?}");
    }
    let settled = || metric(&first, "waiting_records") + metric(&second, "waiting_records") == 0;
    until("it has come to rest", 60, || settled().then_some(()));
    let passed = metric(&first, "forwarded") + metric(&second, "forwarded");
    assert!(passed <= 400, "{passed} messages went back and forth for 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_speaks_tls_with_a_certificate_of_its_own() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let own = pki.issue("gw-01");
    let far = free_port();
    let more = format!(
        "allow_anonymous false\nrequire_certificate true\nuse_identity_as_username true\ncafile {}\ncertfile {}\nkeyfile {}",
        pki.ca().display(),
        pki.file("gateway.pem").display(),
        pki.file("gateway.key").display()
    );
    let _broker = mosquitto(folder.path(), far, &more);
    let remote = |files: &str| format!("{{ cloud = {{ url = \"mqtts://localhost:{}\", {files} }} }}", far.port());
    let ca = format!("ca = \"{}\"", pki.ca().display());
    let with_own = format!("{ca}, certificate = \"{}\", key = \"{}\"", own.certificate.display(), own.key.display());
    let start = |files: &str| Plan::without_history().set("remote", &remote(files)).set("bridge.topic", OUT).start();

    let gateway = start(&with_own);
    publish_numbers(gateway.doors.mqtt, "sensors/a", 0..10).await;
    until("all is there", 30, || (metric(&gateway, "forwarded") == 10).then_some(()));

    let stranger = Pki::new();
    for files in [ca, format!("ca = \"{}\"", stranger.ca().display())] {
        let gateway = start(&files);
        gateway.wait_for_log("link is down");
        assert_eq!(metric(&gateway, "connections"), 0, "{files}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_refuses_the_login_is_told_by_status_and_doctor_until_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let mut broker = mosquitto(folder.path(), far, "allow_anonymous false");
    let gateway = plan(far, OUT, "").start();
    publish_numbers(gateway.doors.mqtt, "sensors/a", 0..10).await;
    gateway.wait_for_log("it refuses the gateway: NotAuthorized");
    let (_, page, _) = gateway.ask(&["status"]);
    assert!(page.contains("remote    cloud, DOWN: it refuses the gateway: NotAuthorized; 0 forwarded"), "{page}");
    let (code, page, _) = gateway.ask(&["doctor"]);
    assert!(code == 1 && page.contains("FAIL  link: remote cloud: it refuses the gateway"), "{page}");
    broker.stop();
    let _broker: Process = mosquitto(folder.path(), far, ANYBODY);
    until("all is there", 60, || (metric(&gateway, "forwarded") == 10).then_some(()));
    until("that is told", 20, || (metric(&gateway, "waiting_records") == 0).then_some(()));
    let (_, page, _) = gateway.ask(&["status"]);
    assert!(page.contains("remote    cloud, up; 10 forwarded, 0 received\n"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_beyond_its_limit_gives_up_the_oldest_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = mosquitto(folder.path(), far, ANYBODY);
    leave_a_session(far, "site1/#").await;
    let cable = Cable::new().await;
    let gateway = plan(cable.addr, OUT, ", backlog_size = \"1MiB\"").start();
    let mut peer = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let padding = " ".repeat(10_000);
    for n in 0..500 {
        peer.publish("sensors/a", format!("{n}{padding}")).await;
    }
    let kept = || metric(&gateway, "dropped.backlog_size") >= 300 && metric(&gateway, "waiting_bytes") <= 1 << 20;
    until("the limit is kept", 30, || kept().then_some(()));
    cable.plug_in(far);
    until("the rest is there", 60, || (metric(&gateway, "waiting_records") == 0).then_some(()));
    // More may have gone while the link came up.
    let given_up = metric(&gateway, "dropped.backlog_size");
    assert!((300..500).contains(&given_up), "{given_up}");
    let forwarded = metric(&gateway, "forwarded");
    assert_eq!(given_up + forwarded, 500, "each is either there or counted");
    let mut archive = come_back(far).await;
    let first = archive.delivery().await;
    assert_eq!(std::str::from_utf8(&first.payload).unwrap().trim(), given_up.to_string());
}

/// A commlib service and a caller, as the library writes them (commlib.md section 4).
async fn call_through(caller_at: SocketAddr, service_at: SocketAddr, names: (&str, &str)) {
    let mut service = MqttPeer::connect(service_at, "service").await;
    service.subscribe(names.1, QoS::AtLeastOnce).await;
    let mut caller = MqttPeer::connect(caller_at, "caller").await;
    let reply_to = "rpc-0123456789abcdef0123456789abcdef";
    caller.subscribe(reply_to, QoS::AtMostOnce).await;
    caller.publish(names.0, format!(r#"{{"header":{{"reply_to":"{reply_to}"}},"data":{{"a":2,"b":3}}}}"#)).await;
    let request = service.delivery().await;
    let request: serde_json::Value = serde_json::from_slice(&request.payload).unwrap();
    let asked = request["header"]["reply_to"].as_str().unwrap().to_owned();
    assert!(asked != reply_to && asked.starts_with("rpc-") && asked.len() == 36, "{asked}");
    assert_eq!(request["data"], serde_json::json!({"a": 2, "b": 3}));
    service.publish(&asked, r#"{"header":{},"data":{"c":5}}"#).await;
    service.publish(&asked, r#"{"header":{},"data":{"c":6}}"#).await;
    let answer = caller.delivery().await;
    assert_eq!((answer.topic.as_str(), &answer.payload[..]), (reply_to, &br#"{"header":{},"data":{"c":5}}"#[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn commlib_services_are_called_across_the_link_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let far = free_port();
    let _broker = mosquitto(folder.path(), far, ANYBODY);
    let calls = r#"[{ from = "cloud", service = "site1.ops.add", to = "local", target = "thing.ops.add" },
                    { from = "local", service = "cloud.ops.add", to = "cloud", target = "ops.add" }]"#;
    let gateway = plan(far, "[]", "").set("bridge.rpc", calls).start();
    until("the link is up", 30, || (metric(&gateway, "connected") == 1).then_some(()));
    gateway.wait_for_log("link is up");
    call_through(far, gateway.doors.mqtt, ("site1/ops/add", "thing/ops/add")).await;
    call_through(gateway.doors.mqtt, far, ("cloud/ops/add", "ops/add")).await;
    until("both are counted", 10, || (metric(&gateway, "calls") == 2).then_some(()));
}
