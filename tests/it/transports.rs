//! TLS, WebSocket, PROXY headers and several addresses: with published clients, and with those that have it wrong.

use crate::gateway::{Gateway, until};
use crate::http_peer::Metrics;
use crate::mqtt_peer::MqttPeer;
use crate::pki::Pki;
use crate::programs;
use crate::rembus_peer::RembusPeer;
use crate::tls_peer::TlsPeer;
use rumqttc::mqttbytes::QoS;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[test]
fn paho_and_gmqtt_work_over_tls_and_web_socket() {
    let pki = Pki::new();
    let own = pki.issue("sensor-7");
    let mut gateway = pki.plan_with_clients("optional").start();
    let door = |transport| format!("localhost:{}", gateway.door("mqtt", transport).port());
    let environment = [
        ("SECURE_TLS", door("tls")),
        ("SECURE_WS", door("ws")),
        ("SECURE_WSS", door("wss")),
        ("SECURE_CA", pki.ca().display().to_string()),
        ("SECURE_CERTIFICATE", own.certificate.display().to_string()),
        ("SECURE_KEY", own.key.display().to_string()),
    ];
    programs::run_with("mqtt_secure.py", &mut gateway, &environment);
}

#[test]
fn the_rembus_package_works_over_wss() {
    let pki = Pki::new();
    let mut gateway = pki.plan().start();
    let environment = [
        ("REMBUS_BASE_URL", format!("wss://localhost:{}", gateway.door("rembus", "wss").port())),
        ("HTTP_CA_BUNDLE", pki.ca().display().to_string()),
    ];
    programs::run_with("rembus_secure.py", &mut gateway, &environment);
}

/// mosquitto_pub or mosquitto_sub, at the TLS port of this gateway.
fn mosquitto(name: &str, gateway: &Gateway, ca: &Pki) -> Command {
    let mut command = programs::tool(name);
    let port = gateway.door("mqtt", "tls").port().to_string();
    command.args(["-h", "localhost", "-p", &port, "--cafile"]).arg(ca.ca());
    command
}

#[test]
fn the_clients_of_mosquitto_work_over_both_versions_of_tls() {
    let pki = Pki::new();
    let own = pki.issue("sensor-7");
    let gateway = pki.plan_with_clients("required").start();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let mut listener = mosquitto("mosquitto_sub", &gateway, &pki);
        listener.args(["--tls-version", version, "-t", version, "-C", "1", "-W", "20"]);
        let listener = listener.arg("--cert").arg(&own.certificate).arg("--key").arg(&own.key);
        let listener = listener.stdout(std::process::Stdio::piped()).spawn().unwrap();
        until("somebody listens", 10, || {
            (Metrics::read(gateway.doors.http).sum("rembus_gateway_subscriptions") > 0.0).then_some(())
        });
        let mut publisher = mosquitto("mosquitto_pub", &gateway, &pki);
        publisher.args(["--tls-version", version, "-q", "1", "-t", version, "-m", "21.5"]);
        let published = publisher.arg("--cert").arg(&own.certificate).arg("--key").arg(&own.key).output().unwrap();
        assert!(published.status.success(), "{published:?}");
        assert_eq!(listener.wait_with_output().unwrap().stdout, b"21.5\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_works_over_tls() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, TlsConfiguration, Transport};
    // The process's own choice, which rumqttc asks for.
    rustls::crypto::ring::default_provider().install_default().ok();
    let pki = Pki::new();
    let gateway = pki.plan().start();
    let mut options = MqttOptions::new("rumqttc", "localhost", gateway.door("mqtt", "tls").port());
    options.set_transport(Transport::Tls(TlsConfiguration::Simple {
        ca: std::fs::read(pki.ca()).unwrap(),
        alpn: None,
        client_auth: None,
    }));
    let (client, mut events) = AsyncClient::new(options, 16);
    client.subscribe("here", rumqttc::QoS::AtLeastOnce).await.unwrap();
    client.publish("here", rumqttc::QoS::AtLeastOnce, false, "hello").await.unwrap();
    let heard = async {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                return publish.payload;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_there_over_https() {
    let pki = Pki::new();
    let gateway = pki.plan().start();
    let mut stream = TlsPeer::new(&pki.ca(), None).connect(gateway.door("http", "tls")).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

async fn connected(peer: &TlsPeer, addr: SocketAddr, name: &str) -> Option<MqttPeer<impl tokio::io::AsyncRead + use<>>> {
    let stream = peer.connect(addr).await.ok()?;
    MqttPeer::over(stream, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_it_wrong_is_told_apart_in_the_log_and_disturbs_nobody() {
    let (pki, strange) = (Pki::new(), Pki::new());
    let gateway = pki.plan_with_clients("required").start();
    let tls = gateway.door("mqtt", "tls");
    let own = pki.issue("sensor-7");
    let good = TlsPeer::new(&pki.ca(), Some(&own));
    let mut bystander = MqttPeer::over(good.connect(tls).await.unwrap(), "bystander").await.unwrap();

    for (peer, wanted) in [
        (TlsPeer::new(&pki.ca(), None), "the client shows no certificate"),
        (TlsPeer::new(&pki.ca(), Some(&strange.issue("thief"))), "does not vouch for it"),
        (TlsPeer::new(&pki.ca(), Some(&pki.expired("old"))), "it has expired"),
        (TlsPeer::new(&strange.ca(), Some(&own)), "does not accept the gateway's certificate: it does not know the CA"),
    ] {
        until_told(&gateway, wanted, async || assert!(connected(&peer, tls, "wrong").await.is_none())).await;
    }
    // A plain client at each door for TLS, and TLS at each plain door.
    let plain = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
    for addr in [tls, gateway.door("mqtt", "wss"), gateway.door("rembus", "wss"), gateway.door("http", "tls")] {
        until_told(&gateway, "a plain client on the port for TLS?", async || hang_up_after(addr, plain).await).await;
    }
    let confused = [
        (gateway.doors.mqtt, "the client speaks TLS where plain bytes are expected"),
        (gateway.door("mqtt", "ws"), "what came is not HTTP: a TLS client"),
        (gateway.doors.rembus, "what came is not HTTP: a TLS client"),
        (gateway.doors.http, "what came is not HTTP: a TLS client"),
    ];
    for (addr, wanted) in confused {
        until_told(&gateway, wanted, async || assert!(good.connect(addr).await.is_err())).await;
    }
    bystander.subscribe("still/here", QoS::AtLeastOnce).await;
    bystander.publish_to_itself("still/here").await;
    RembusPeer::connect(gateway.doors.rembus).await;
    assert!(Metrics::read(gateway.doors.http).sum("rembus_gateway_door_ended_total") > 8.0);
    assert_eq!(gateway.count_in_log("panicked"), 0);
}

/// Repeats an attempt until the log has one more line about it: warnings are counted, not repeated, when there are many.
async fn until_told(gateway: &Gateway, wanted: &str, attempt: impl AsyncFn()) {
    let (before, begin) = (gateway.count_in_log(wanted), Instant::now());
    while gateway.count_in_log(wanted) == before {
        assert!(begin.elapsed() < Duration::from_secs(10), "no log line with `{wanted}`");
        attempt().await;
    }
}

async fn hang_up_after(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    drop(stream.write_all(bytes).await);
    // The gateway hangs up, with an alert or without.
    drop(stream.read_to_end(&mut Vec::new()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_new_certificates_without_dropping_a_connection() {
    let (pki, next) = (Pki::new(), Pki::new());
    let gateway = pki.plan().start();
    let tls = gateway.door("mqtt", "tls");
    let peer = TlsPeer::new(&pki.ca(), None);
    let mut stays = MqttPeer::over(peer.connect(tls).await.unwrap(), "stays").await.unwrap();
    stays.subscribe("mine", QoS::AtLeastOnce).await;

    // The certificate is replaced, its key not yet: as a reload in the middle of a renewal finds it.
    std::fs::copy(next.file("gateway.pem"), pki.file("gateway.pem")).unwrap();
    gateway.ask_to_reload();
    let line = gateway.wait_for_log("not reloaded; what was there before stays in use");
    assert!(line.contains("does not belong to the certificate"), "{line}");
    assert!(connected(&peer, tls, "as-before").await.is_some());

    std::fs::copy(next.file("gateway.key"), pki.file("gateway.key")).unwrap();
    gateway.ask_to_reload();
    gateway.wait_for_log("reloaded part=tls");
    assert!(connected(&TlsPeer::new(&next.ca(), None), tls, "new").await.is_some());
    assert!(connected(&peer, tls, "outdated").await.is_none());
    stays.publish_to_itself("mine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_clients_address_counts() {
    let pki = Pki::new();
    let gateway = pki.plan().set("mqtt.proxy_protocol", "true").set("log", "debug").start();
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x1f\x90\x07\x5b";

    let mut stream = TcpStream::connect(gateway.doors.mqtt).await.unwrap();
    stream.write_all(header).await.unwrap();
    let mut plain = MqttPeer::over(stream, "plain").await.unwrap();
    plain.subscribe("mine", QoS::AtLeastOnce).await;
    plain.publish_to_itself("mine").await;
    let line = gateway.wait_for_log("client connected");
    assert!(line.contains("peer=192.0.2.7:8080"), "{line}");

    let mut stream = TcpStream::connect(gateway.doors.mqtt).await.unwrap();
    drop(stream.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00").await);
    assert!(stream.read_to_end(&mut Vec::new()).await.is_ok_and(|count| count == 0) || stream.peer_addr().is_err());
    gateway.wait_for_log("without a PROXY header");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_listens_on_ipv4_and_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // a machine without IPv6
    }
    let pki = Pki::new();
    let gateway = pki.plan().set("mqtt.tls_listen", "127.0.0.1:0, [::1]:0").start();
    let peer = TlsPeer::new(&pki.ca(), None);
    let line = gateway.wait_for_log("addr=[::1]:");
    let addr = line.split_whitespace().find_map(|word| word.strip_prefix("addr=")).unwrap().parse().unwrap();
    assert!(connected(&peer, addr, "six").await.is_some());
    assert!(connected(&peer, gateway.door("mqtt", "tls"), "four").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_peers_at_the_door_for_tls_keep_nobody_out() {
    let pki = Pki::new();
    let gateway = pki.plan().start();
    let tls = gateway.door("mqtt", "tls");
    let mut silent = Vec::new();
    for round in 0..600_u32 {
        let mut stream = TcpStream::connect(tls).await.unwrap();
        // Half of them begin.
        if round % 2 == 0 {
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
        }
        silent.push(stream);
    }
    let begin = Instant::now();
    assert!(connected(&TlsPeer::new(&pki.ca(), None), tls, "honest").await.is_some());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}
