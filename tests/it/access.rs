//! Users, rules, and what they mean for clients.

use crate::gateway::{Gateway, Plan, command};
use crate::http_peer;
use crate::mqtt_peer::MqttPeer;
use crate::pki::{Issued, Pki};
use crate::programs;
use crate::rembus_peer::{PUB, RembusPeer, map, text};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, Subscribe, SubscribeReasonCode};
use std::time::Duration;
use tokio::time::Instant;

/// Runs `admin` and expects it to work; its words.
fn admin(gateway: &Gateway, words: &[&str]) -> String {
    admin_with(gateway, words, "")
}

fn admin_with(gateway: &Gateway, words: &[&str], input: &str) -> String {
    let words: Vec<&str> = ["admin"].iter().chain(words).copied().collect();
    let (code, said, complaint) = gateway.ask_with(&words, input);
    assert_eq!((code, complaint.as_str()), (0, ""), "{words:?}: {said}");
    said
}

fn add_user(gateway: &Gateway, name: &str, password: &str) -> String {
    admin_with(gateway, &["user", "add", name], &format!("{password}\n"))
}

fn allow(gateway: &Gateway, who: &str, actions: &str, pattern: &str) -> String {
    admin(gateway, &["acl", "allow", who, actions, pattern])
}

fn guarded() -> Gateway {
    let gateway =
        Plan::without_history().set("mqtt.anonymous", "false").set("rembus.anonymous", "false").set("http.anonymous", "false");
    let gateway = gateway.start();
    add_user(&gateway, "dev1", "one");
    add_user(&gateway, "monitor", "two");
    allow(&gateway, "dev1", "publish,subscribe", "%u/#");
    allow(&gateway, "monitor", "all", "#");
    admin(&gateway, &["acl", "deny", "monitor", "subscribe", "secret/#"]);
    admin(&gateway, &["acl", "deny", "monitor", "publish", "dev1/#"]);
    gateway
}

async fn login(gateway: &Gateway, client: &str, user: &str, password: &str) -> Result<MqttPeer, ConnectReturnCode> {
    MqttPeer::login(gateway.doors.mqtt, client, (user, password)).await
}

/// With a session that outlives the connection.
async fn login_to_stay(gateway: &Gateway, client: &str, user: &str, password: &str) -> Result<MqttPeer, ConnectReturnCode> {
    MqttPeer::login_to_stay(gateway.doors.mqtt, client, (user, password)).await
}

async fn suback(peer: &mut MqttPeer, filter: &str) -> SubscribeReasonCode {
    let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
    subscribe.pkid = 77;
    peer.send(&[Packet::Subscribe(subscribe)]).await.unwrap();
    match peer.receive().await {
        Some(Packet::SubAck(ack)) => ack.return_codes[0],
        other => panic!("SUBACK was due, not {other:?}"),
    }
}

#[test]
fn published_clients_log_in_and_do_what_they_may() {
    programs::run("access.py", &mut guarded());
}

#[tokio::test]
async fn rumqttc_logs_in() {
    let gateway = guarded();
    for (password, welcome) in [("one", true), ("two", false)] {
        let mut options = rumqttc::MqttOptions::new("rumqttc", gateway.doors.mqtt.ip().to_string(), gateway.doors.mqtt.port());
        options.set_credentials("dev1", password);
        let (_client, mut events) = rumqttc::AsyncClient::new(options, 10);
        let first = tokio::time::timeout(Duration::from_secs(20), events.poll()).await.unwrap();
        assert_eq!(first.is_ok(), welcome, "{first:?}");
        if let Err(error) = first {
            assert!(error.to_string().contains("BadUserNamePassword"), "{error}");
        }
    }
}

#[tokio::test]
async fn the_first_word_ends_the_time_when_everything_was_allowed() {
    let gateway = Plan::without_history().start();
    let mut stranger = MqttPeer::connect(gateway.doors.mqtt, "stranger").await;
    stranger.publish("a", "1").await;

    let said = add_user(&gateway, "dev1", "one");
    assert!(said.contains("from now on everything needs a rule") && said.contains("admin acl allow dev1"), "{said}");
    assert_eq!(suback(&mut stranger, "a").await, SubscribeReasonCode::Failure);
    allow(&gateway, "@anonymous", "publish,subscribe", "public/#");
    let mut listener = MqttPeer::connect(gateway.doors.mqtt, "listener").await;
    listener.subscribe("public/+", QoS::AtLeastOnce).await;
    stranger.publish("public/a", "2").await;
    assert_eq!(listener.delivery().await.topic, "public/a");

    // QoS 1 that is not allowed ends a 3.1.1 connection; an acknowledgement would mean that it is on the disk.
    let publish = stranger.publication("a", QoS::AtLeastOnce, "3");
    stranger.send(&[Packet::Publish(publish)]).await.unwrap();
    assert_eq!(stranger.receive().await, None);
    let metrics = http_peer::Metrics::read(gateway.doors.http);
    assert_eq!(metrics.samples["rembus_gateway_access_denied_total{action=\"publish\"}"], 1.0);
    assert_eq!(metrics.samples["rembus_gateway_access_denied_total{action=\"subscribe\"}"], 1.0);
    let line = gateway.wait_for_log("denied user=@anonymous client=stranger");
    assert!(line.contains("reason=\"no rule allows it\""), "{line}");
}

#[tokio::test]
async fn a_user_who_is_removed_disabled_or_has_a_new_password_is_disconnected() {
    let gateway = guarded();
    let change = |words: &[&str]| admin_with(&gateway, words, "new\n");
    let mut dev1 = login(&gateway, "c1", "dev1", "one").await.unwrap();
    let mut monitor = login(&gateway, "c2", "monitor", "two").await.unwrap();
    change(&["user", "passwd", "dev1"]);
    assert_eq!(dev1.receive().await, None);
    assert_eq!(login(&gateway, "c1", "dev1", "one").await.unwrap_err(), ConnectReturnCode::BadUserNamePassword);

    let mut dev1 = login(&gateway, "c1", "dev1", "new").await.unwrap();
    change(&["user", "disable", "dev1"]);
    assert_eq!(dev1.receive().await, None);
    assert_eq!(login(&gateway, "c1", "dev1", "new").await.unwrap_err(), ConnectReturnCode::NotAuthorized);
    change(&["user", "enable", "dev1"]);

    let mut dev1 = login(&gateway, "c1", "dev1", "new").await.unwrap();
    change(&["user", "remove", "dev1"]);
    assert_eq!(dev1.receive().await, None);
    assert_eq!(login(&gateway, "c1", "dev1", "new").await.unwrap_err(), ConnectReturnCode::BadUserNamePassword);
    monitor.publish("others/do/not/notice", "1").await;
}

#[tokio::test]
async fn a_denying_rule_is_a_hole_in_a_subscription_also_after_a_restart_and_while_away() {
    let mut gateway = guarded();
    add_user(&gateway, "plant", "three");
    allow(&gateway, "plant", "publish", "#");
    let mut monitor = login_to_stay(&gateway, "m", "monitor", "two").await.unwrap();
    monitor.subscribe("#", QoS::AtLeastOnce).await;
    let mut plant = login(&gateway, "p", "plant", "three").await.unwrap();
    for topic in ["secret/a", "open/a"] {
        plant.publish(topic, "1").await;
    }
    assert_eq!(monitor.delivery().await.topic, "open/a");
    drop(monitor);

    // Nobody is there to ask whom the session acts for, but it is written down.
    gateway.kill();
    gateway.start_again();
    let mut plant = login(&gateway, "p", "plant", "three").await.unwrap();
    for topic in ["secret/b", "open/b"] {
        plant.publish(topic, "1").await;
    }
    let mut monitor = login_to_stay(&gateway, "m", "monitor", "two").await.unwrap();
    let mut heard = monitor.delivery().await.topic;
    if heard == "open/a" {
        // Its acknowledgement may not have arrived before the end.
        heard = monitor.delivery().await.topic;
    }
    assert_eq!(heard, "open/b");
    assert!(http_peer::get_with(gateway.doors.http, "/metrics", MONITOR_HEADER).1.contains("access_withheld_total"));
}

#[tokio::test]
async fn a_session_belongs_to_its_user_until_the_user_is_gone() {
    let gateway = guarded();
    add_user(&gateway, "dev2", "three");
    let mut dev1 = login_to_stay(&gateway, "box", "dev1", "one").await.unwrap();
    dev1.subscribe("dev1/#", QoS::AtLeastOnce).await;
    assert_eq!(login(&gateway, "box", "dev2", "three").await.unwrap_err(), ConnectReturnCode::NotAuthorized);
    drop(dev1);
    assert!(login_to_stay(&gateway, "box", "dev1", "one").await.unwrap().resumed);
    assert_eq!(login(&gateway, "box", "dev2", "three").await.unwrap_err(), ConnectReturnCode::NotAuthorized);

    admin(&gateway, &["user", "remove", "dev1"]);
    // With nothing in it of what the other one left.
    assert!(!login_to_stay(&gateway, "box", "dev2", "three").await.unwrap().resumed);
}

/// `dev1:one` and `monitor:two` as HTTP has them.
const DEV1: &str = "ZGV2MTpvbmU=";
const MONITOR: &str = "bW9uaXRvcjp0d28=";
const MONITOR_HEADER: &str = "Authorization: Basic bW9uaXRvcjp0d28=\r\n";

#[tokio::test]
async fn rembus_components_log_in_as_http_clients_do() {
    let gateway = guarded();
    let subscribe = || map([("cmd", text("subscribe"))]);
    let mut monitor = RembusPeer::connect_as(gateway.doors.rembus, Some(MONITOR)).await;
    monitor.subscribe("dev1/*").await;
    monitor.reactive().await;
    monitor.rpc("version", vec![]).await.unwrap();

    let mut dev1 = RembusPeer::connect_as(gateway.doors.rembus, Some(DEV1)).await;
    dev1.publish("dev1/x", vec![21.into()]).await;
    let delivery = monitor.receive().await.unwrap();
    assert_eq!(delivery.kind, PUB);
    for (topic, command) in [("**", "subscribe"), ("dev1/**/../x", "expose"), ("a_method", "expose")] {
        let (status, _) = dev1.try_admin(topic, map([("cmd", text(command))])).await.unwrap_err();
        assert_eq!(status, 10, "{topic}");
    }
    dev1.try_admin("dev1/**", subscribe()).await.unwrap();
    dev1.rpc("version", vec![]).await.unwrap_err();

    for login in [None, Some("bW9uaXRvcjpvbmU="), Some("nonsense")] {
        let mut outside = RembusPeer::connect_as(gateway.doors.rembus, login).await;
        if login.is_none() {
            // It might still prove its name with a key. Until then it may do nothing.
            assert_eq!(outside.rpc("version", vec![]).await, Err((42, text("version"))));
            continue;
        }
        assert_eq!(outside.receive().await, None);
    }
    admin(&gateway, &["user", "remove", "dev1"]);
    assert_eq!(dev1.receive().await, None);
}

#[tokio::test]
async fn rules_change_while_clients_are_connected() {
    let gateway = guarded();
    let mut dev1 = login(&gateway, "c1", "dev1", "one").await.unwrap();
    dev1.publish("dev1/a", "1").await;
    admin(&gateway, &["acl", "remove", "allow", "dev1", "publish,subscribe", "%u/#"]);
    assert_eq!(suback(&mut dev1, "dev1/a").await, SubscribeReasonCode::Failure);
    allow(&gateway, "@users", "subscribe", "common/#");
    assert!(matches!(suback(&mut dev1, "common/+").await, SubscribeReasonCode::Success(_)));
}

#[tokio::test]
async fn what_was_said_survives_a_kill_right_after_the_answer_and_a_restart() {
    let mut gateway = guarded();
    add_user(&gateway, "late", "three");
    gateway.kill();
    gateway.start_again();
    login(&gateway, "c1", "late", "three").await.unwrap();
    assert!(gateway.stop().success());
    gateway.start_again();
    let mut dev1 = login(&gateway, "c1", "dev1", "one").await.unwrap();
    dev1.publish("dev1/a", "1").await;
    assert_eq!(suback(&mut dev1, "#").await, SubscribeReasonCode::Failure);
    let list = admin(&gateway, &["user", "list"]);
    assert!(list.contains("late") && list.contains("password"), "{list}");
}

#[tokio::test]
async fn users_can_be_there_before_the_gateway_and_changes_wait_for_the_next_start() {
    let mut gateway = guarded();
    assert!(gateway.stop().success());
    let said = add_user(&gateway, "early", "four");
    assert!(said.contains("no gateway is running; it is in force from the next start on"), "{said}");
    allow(&gateway, "early", "publish", "%u");
    gateway.start_again();
    login(&gateway, "c", "early", "four").await.unwrap().publish("early", "1").await;

    // A gateway that is there but does not answer keeps its folder to itself.
    std::fs::remove_file(gateway.data().join("control.sock")).unwrap();
    let (code, _, complaint) = gateway.ask_with(&["admin", "user", "add", "x"], "y\n");
    assert_eq!(code, 1);
    assert!(complaint.contains("another gateway is using the data folder"), "{complaint}");
}

#[tokio::test]
async fn a_user_has_as_many_connections_as_allowed_and_a_client_may_always_come_back() {
    let gateway = guarded();
    admin(&gateway, &["user", "limit", "dev1", "1"]);
    let mut first = login(&gateway, "c1", "dev1", "one").await.unwrap();
    assert_eq!(login(&gateway, "c2", "dev1", "one").await.unwrap_err(), ConnectReturnCode::ServiceUnavailable);
    let mut again = login(&gateway, "c1", "dev1", "one").await.unwrap();
    assert_eq!(first.receive().await, None, "taken over");
    again.publish("dev1/a", "1").await;
    drop((first, again));
    let end = Instant::now() + Duration::from_secs(10);
    while login(&gateway, "c2", "dev1", "one").await.is_err() {
        assert!(Instant::now() < end, "the place is not free");
    }
}

#[tokio::test]
async fn a_crowd_that_is_known_costs_few_hashes() {
    let gateway = guarded();
    login(&gateway, "first", "dev1", "one").await.unwrap();
    let begin = Instant::now();
    let names: Vec<String> = (0..300).map(|number| format!("c{number}")).collect();
    let crowd = names.iter().map(|name| login(&gateway, name, "dev1", "one"));
    let crowd = futures_util::future::join_all(crowd).await;
    assert!(crowd.iter().all(Result::is_ok));
    // Three hundred hashes would take ten times as long.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_certificate_is_a_login_and_rules_hold_for_it() {
    let pki = Pki::new();
    let (dev7, stranger) = (pki.issue("dev7"), pki.issue("stranger"));
    let gateway = pki.plan_with_clients("optional").start();
    admin(&gateway, &["user", "add", "dev7", "--certificate"]);
    allow(&gateway, "dev7", "publish", "%u/#");
    let publish = |own: Option<&Issued>, topic: &str| {
        let mut publisher = programs::tool("mosquitto_pub");
        let port = gateway.door("mqtt", "tls").port().to_string();
        publisher.args(["-h", "localhost", "-p", &port, "-V", "mqttv5", "-q", "1", "-m", "1", "-t", topic, "--cafile"]);
        publisher.arg(pki.ca());
        if let Some(own) = own {
            publisher.arg("--cert").arg(&own.certificate).arg("--key").arg(&own.key);
        }
        let output = publisher.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(publish(Some(&dev7), "dev7/t"), "");
    assert!(publish(Some(&dev7), "dev8/t").contains("Not authorized"));
    assert!(publish(Some(&stranger), "dev7/t").contains("Not authorized"), "no user of that name");
    assert!(publish(None, "dev7/t").contains("Not authorized"), "in, but nothing is allowed to strangers");
    let metrics = http_peer::Metrics::read(gateway.doors.http);
    assert_eq!(metrics.samples["rembus_gateway_access_refused_total{reason=\"certificate\"}"], 1.0);
    assert_eq!(metrics.samples["rembus_gateway_access_denied_total{action=\"publish\"}"], 2.0);

    admin(&gateway, &["user", "disable", "dev7"]);
    assert!(publish(Some(&dev7), "dev7/t").contains("Banned"));
}

#[tokio::test]
async fn a_file_that_was_edited_counts_after_sighup_and_a_broken_one_never() {
    let gateway = guarded();
    let file = gateway.data().join("state/access.json");
    let mut dev1 = login(&gateway, "c1", "dev1", "one").await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("%u/#", "elsewhere/#")).unwrap();
    gateway.ask_to_reload();
    gateway.wait_for_log("reloaded part=access");
    assert_eq!(suback(&mut dev1, "dev1/a").await, SubscribeReasonCode::Failure);
    assert!(matches!(suback(&mut dev1, "elsewhere/a").await, SubscribeReasonCode::Success(_)));

    std::fs::write(&file, "{").unwrap();
    gateway.ask_to_reload();
    let line = gateway.wait_for_log("not reloaded; what was there before stays in use");
    assert!(line.contains("part=access"), "{line}");
    assert!(matches!(suback(&mut dev1, "elsewhere/b").await, SubscribeReasonCode::Success(_)));
}

#[test]
fn pages_are_for_users_only_where_that_is_said() {
    let gateway = guarded();
    let get = |path: &str, header: &str| http_peer::get_with(gateway.doors.http, path, header).0;
    assert_eq!(get("/healthz", ""), 200);
    for path in ["/metrics", "/readyz"] {
        assert_eq!(get(path, ""), 401);
        assert_eq!(get(path, "Authorization: Basic bW9uaXRvcjpvbmU=\r\n"), 401);
        assert_eq!(get(path, "Authorization: nonsense\r\n"), 401);
        assert_eq!(get(path, MONITOR_HEADER), 200);
    }
}

#[test]
fn admin_says_what_is_wrong_and_what_a_rule_means() {
    let gateway = guarded();
    for (words, code, expected) in [
        (&["user", "add", "dev1"][..], 1, "`dev1` is there already"),
        (&["user", "remove", "nobody"], 1, "there is no user `nobody`"),
        (&["acl", "allow", "dev1", "publsh", "a"], 2, "`publsh` is no action"),
        (&["acl", "allow", "dev1", "publish", "a/**"], 2, "`*` is no wildcard here"),
        (&["acl", "allow", "@nobodies", "publish", "a"], 1, "there is no group `nobodies`"),
        (&["user", "limit", "dev1", "many"], 2, "a number, or off"),
    ] {
        let words: Vec<&str> = ["admin"].iter().chain(words).copied().collect();
        let (got, said, complaint) = gateway.ask_with(&words, "secret\n");
        assert_eq!((got, said.as_str()), (code, ""), "{words:?}");
        assert!(complaint.contains(expected), "{words:?}: {complaint}");
    }
    for (question, code, answer) in [
        (["dev1", "publish", "dev1/x"], 0, "allowed: allow dev1 publish,subscribe %u/#\n"),
        (["dev1", "publish", "dev2/x"], 1, "denied: no rule allows it\n"),
        (["monitor", "subscribe", "secret/+"], 1, "denied: deny monitor subscribe secret/#\n"),
        (["monitor", "subscribe", "**/telemetry"], 0, "allowed: allow monitor all #\n"),
        (["@anonymous", "call", "version"], 1, "denied: no rule allows it\n"),
    ] {
        let words: Vec<&str> = ["admin", "acl", "test"].into_iter().chain(question).collect();
        let (got, said, _) = gateway.ask(&words);
        assert_eq!((got, said.as_str()), (code, answer), "{question:?}");
    }
    let list = admin(&gateway, &["acl", "list", "monitor"]);
    assert_eq!(list, "allow monitor all #\ndeny monitor subscribe secret/#\ndeny monitor publish dev1/#\n");
}

#[test]
fn a_password_may_come_from_a_file_and_never_shows_up_anywhere() {
    let gateway = guarded();
    let file = gateway.data().join("password");
    std::fs::write(&file, "a-secret-of-ours\n").unwrap();
    admin(&gateway, &["user", "add", "filed", "--password-file", file.to_str().unwrap()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        login(&gateway, "c", "filed", "a-secret-of-ours").await.unwrap();
        login(&gateway, "c", "filed", "another-secret").await.unwrap_err();
    });
    let line = gateway.wait_for_log("login refused door=mqtt user=filed client=c peer=127.0.0.1:");
    assert!(line.contains("reason=\"unknown user or wrong password\""), "{line}");
    let state = std::fs::read_to_string(gateway.data().join("state/access.json")).unwrap();
    for text in [gateway.log(), state, gateway.ask(&["admin", "user", "list", "--json"]).1] {
        assert!(!text.contains("-secret"), "{text}");
    }
    let (code, said, complaint) = gateway.ask_with(&["admin", "user", "add", "empty"], "\n");
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(complaint.contains("an empty password is none"), "{complaint}");
}

#[test]
fn doctor_examines_a_gateway_and_fails_without_one() {
    let mut gateway = guarded();
    let (code, page, _) = gateway.ask(&["doctor"]);
    assert_eq!(code, 0, "{page}");
    for line in ["OK    gateway: version", "OK    door: mqtt listens on 127.0.0.1:", "OK    access: 2 users, 4 rules"] {
        assert!(page.contains(line), "{page}");
    }
    gateway.kill();
    let (code, page, _) = gateway.ask(&["doctor"]);
    assert_eq!(code, 1);
    assert!(page.contains("FAIL  gateway: none is running on"), "{page}");
}

#[test]
fn a_door_that_others_can_reach_starts_when_there_is_a_user() {
    let data = tempfile::tempdir().unwrap();
    let start = |arguments: &[&str]| {
        let mut command = command();
        command.args(arguments).args(["--data", data.path().to_str().unwrap()]);
        command
    };
    let check = |expected: i32| {
        let mut command = command();
        command.env("REMBUS_GATEWAY_GATEWAY_DATA", data.path()).env("REMBUS_GATEWAY_MQTT_LISTEN", "0.0.0.0:0").arg("check");
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{said}");
        said
    };
    assert!(check(2).contains("rembus-gateway admin user add"));
    let file = data.path().join("password");
    std::fs::write(&file, "one").unwrap();
    let output = start(&["admin", "user", "add", "dev1", "--password-file", file.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(check(0).contains("login needed"));
}
