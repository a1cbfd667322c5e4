//! Admins: their commands, private topics, keys that are taken back.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cid_that_is_a_path_makes_no_file() {
    let gateway = plan().start();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    for cid in ["a/../../evil", "/etc/evil", "a/b", ""] {
        assert_eq!(peer.register(cid, PIN, &Key::new()).await.unwrap_err().0, 10, "{cid}");
    }
    assert!(!gateway.data().join("keys").exists());
    assert!(!gateway.data().parent().unwrap().join("evil.ecdsa.der").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_commands_need_a_login_with_a_key_and_are_answered_with_a_reason() {
    let gateway = plan().start();
    let mut impostor = RembusPeer::login(gateway.doors.rembus, "root").await;
    let (code, reason) = impostor.try_admin("t", command("private_topic")).await.unwrap_err();
    assert_eq!((code, reason), (10, text("an admin must log in with a key")));
    let key = registered(&gateway, "root").await;
    ends(&mut impostor, 10).await;
    let mut root = proven(&gateway, "root", &key).await;
    let mut alice = RembusPeer::login(gateway.doors.rembus, "alice").await;
    assert_eq!(alice.try_admin("t", command("private_topic")).await, Err((10, Value::Null)));
    for (what, topic, data, reason) in [
        ("no cid", "t", command("authorize"), "cid is missing"),
        ("an empty cid", "t", map([("cmd", text("unauthorize")), ("cid", text(""))]), "cid is empty"),
        ("a number", "t", map([("cmd", text("authorize")), ("cid", 5.into())]), "cid is not a text"),
        ("no topic", "", command("private_topic"), "a private topic has 1 to 65535 bytes"),
    ] {
        assert_eq!(root.try_admin(topic, data).await, Err((10, text(reason))), "{what}");
    }
    for name in ["shutdown", "load_config", "save_config", "enable_debug"] {
        assert_eq!(root.try_admin("__config__", command(name)).await, Err((47, Value::Null)), "{name}");
    }
    root.try_admin("t", map([("cmd", text("unauthorize")), ("cid", text("nobody"))])).await.unwrap();
    root.try_admin("t", map([("cmd", text("authorize")), ("cid", text("alice"))])).await.unwrap();
    let private = root.try_admin("x", command("private_topics_config")).await.unwrap();
    assert_eq!(private, map([("t", Value::Array(vec![text("alice")]))]));
    alice.subscribe("t").await;
    let config = root.try_admin("__config__", command("broker_config")).await.unwrap();
    assert_eq!(config, map([("exposers", map([])), ("subscribers", map([("t", Value::Array(vec![text("alice")]))]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_publication_without_a_grant_gets_no_acknowledgement_and_reaches_nobody() {
    let gateway = plan().start();
    assert_eq!(gateway.ask(&["admin", "private-topic", "t"]).0, 0);
    let mut listener = RembusPeer::login(gateway.doors.rembus, "listener").await;
    listener.subscribe("**").await;
    listener.reactive().await;
    let mut mallory = RembusPeer::login(gateway.doors.rembus, "mallory").await;
    let id = mallory.id();
    mallory.send(publication(Some(id), 1, "t", vec![])).await;
    assert_eq!(mallory.rpc("rid", vec![]).await, Ok(text("broker")), "no ACK came before");
    mallory.publish("open", vec![7.into()]).await;
    let got = listener.receive().await.unwrap();
    assert_eq!(got.rest[2], Value::Array(vec![text("open"), 7.into()]));
}

#[test]
fn admin_does_all_of_it_with_and_without_a_running_gateway() {
    let mut gateway = plan().start();
    let file = gateway.data().join("gw1.der");
    std::fs::write(&file, Key::new().public()).unwrap();
    let file = file.to_str().unwrap();
    let admin = |gateway: &Gateway, words: &[&str], input: &str| {
        let words: Vec<&str> = ["admin"].iter().chain(words).copied().collect();
        gateway.ask_with(&words, input)
    };
    for running in [true, false] {
        if !running {
            assert!(gateway.stop().success());
        }
        for (words, input, says) in [
            (&["keys", "import", "gw1", file][..], "", "gw1 must prove its name with this key"),
            (&["keys", "list"], "", "ECDSA 256"),
            (&["private-topic", "secret"], "", "secret is private"),
            (&["authorize", "gw1", "secret"], "", "granted to gw1"),
            (&["authorize", "nobody", "other"], "", "there is no key for nobody"),
            (&["private-topics"], "", "secret"),
            (&["unauthorize", "gw1", "secret"], "", "not granted to gw1"),
            (&["public-topic", "other"], "", "other is public"),
            (&["admins", "add", "ops"], "", "ops has no key yet"),
            (&["admins", "list"], "", "ops"),
            (&["admins", "remove", "ops"], "", "may not administer any more"),
            (&["tenants", "add", "rival"], "a-long-pin\n", "tenant rival can be registered"),
            (&["tenants", "list"], "", "rival"),
            (&["tenants", "remove", "rival"], "", "no more components of tenant rival"),
            (&["keys", "remove", "gw1"], "", "gw1 has no key any more"),
            (&["public-topic", "secret"], "", "secret is public"),
        ] {
            let (code, said, complaint) = admin(&gateway, words, input);
            assert_eq!((code, complaint.as_str()), (0, ""), "{words:?}: {said}");
            assert!(said.contains(says), "{words:?}: {said}");
        }
        for (words, complains) in [
            (&["keys", "remove", "gw1"][..], "there is no key for `gw1`"),
            (&["keys", "import", "../x", file], "a name with a key has only letters"),
            (&["keys", "import", "gw1", "/dev/null"], "not a public key"),
            (&["admins", "remove", "nobody"], "is no admin by command"),
            (&["tenants", "remove", "nobody"], "there is no tenant `nobody` by command"),
        ] {
            let (code, said, complaint) = admin(&gateway, words, "");
            assert_eq!((code, said.as_str()), (1, ""), "{words:?}");
            assert!(complaint.contains(complains), "{words:?}: {complaint}");
        }
    }
    assert_eq!(admin(&gateway, &["broker-config"], "").0, 1);
    gateway.start_again();
    let (code, said, _) = admin(&gateway, &["broker-config"], "");
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap()["exposers"], serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_back_ends_its_connections() {
    let gateway = plan().start();
    let key = registered(&gateway, "node").await;
    let mut node = proven(&gateway, "node", &key).await;
    assert_eq!(gateway.ask(&["admin", "keys", "remove", "node"]).0, 0);
    ends(&mut node, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mqtt_client_is_in_the_common_tenant_and_is_nobody_by_its_client_id() {
    use rumqttc::mqttbytes::QoS;
    let gateway = plan().start();
    assert_eq!(gateway.ask(&["admin", "authorize", "alice", "secret"]).0, 0);
    let mut mqtt = crate::mqtt_peer::MqttPeer::connect(gateway.doors.mqtt, "alice").await;
    mqtt.subscribe("#", QoS::AtLeastOnce).await;
    let mut acme = RembusPeer::login(gateway.doors.rembus, "gw.acme").await;
    acme.publish("t", vec![1.into()]).await;
    let mut alice = RembusPeer::login(gateway.doors.rembus, "alice").await;
    alice.publish("secret", vec![2.into()]).await;
    alice.publish("t", vec![3.into()]).await;
    assert_eq!(mqtt.delivery().await.payload, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_belong_to_the_common_tenant() {
    let gateway = Gateway::start();
    let reading = || vec![map([("temperature", 21.5.into()), ("pressure", 980.into())])];
    let mut acme = RembusPeer::login(gateway.doors.rembus, "gw.acme").await;
    acme.publish("tenants/telemetry", reading()).await;
    assert_eq!(acme.rpc("query_telemetry", vec![]).await.unwrap_err().0, 42);
    let mut common = RembusPeer::login(gateway.doors.rembus, "common").await;
    let count = || map([("cols", text("count(*) AS n")), ("where", text("dn = 'tenants'"))]);
    let rows = async |peer: &mut RembusPeer| {
        let batches = peer.query("telemetry", count()).await;
        let column = batches[0].column_by_name("n").unwrap();
        column.as_any().downcast_ref::<arrow_array::Int64Array>().unwrap().value(0)
    };
    assert_eq!(rows(&mut common).await, 0);
    common.publish("tenants/telemetry", reading()).await;
    assert_eq!(rows(&mut common).await, 1);
    let metrics = crate::http_peer::Metrics::read(gateway.doors.http);
    let rejected = metrics.samples.iter().find(|(name, _)| name.contains("rows_rejected") && name.contains("tenant"));
    assert_eq!(rejected.map(|(_, count)| *count), Some(1.0), "{:?}", metrics.samples);
}
