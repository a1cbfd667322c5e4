//! Strangers at the ports: silent ones, many of them, pages in a browser; and what others notice of them.

use crate::gateway::{Gateway, Plan, until};
use crate::http_peer;
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A socket that says nothing.
fn silent(addr: SocketAddr) -> Option<TcpStream> {
    // The kernel's queue may be full for a moment; a stranger does not care.
    TcpStream::connect_timeout(&addr, Duration::from_millis(500)).ok()
}

fn metric(gateway: &Gateway, name: &str) -> Option<f64> {
    let (code, body) = http_peer::get(gateway.doors.http, "/metrics");
    (code == 200).then(|| body.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())).flatten()
}

/// A gateway that may have `limit` files open, and more silent sockets at its ports than that.
async fn besieged(limit: u32, sockets: usize) {
    assert!(rembus_gateway::files::Files::claim().limit > 1200, "the test itself needs as many");
    let mut gateway = Plan::default().files(limit).start();
    let mut honest = MqttPeer::connect(gateway.doors.mqtt, "honest").await;
    let doors = [gateway.doors.mqtt, gateway.doors.rembus];
    let crowd: Vec<_> = (0..sockets).filter_map(|n| silent(doors[n % 2])).collect();
    assert!(crowd.len() > sockets / 2);

    // Two segments of the log, each message acknowledged.
    for number in 0..18 {
        honest.publish("plant/large", vec![number; 1 << 20]).await;
    }
    // And whoever says who he is gets in, at either port.
    MqttPeer::connect(gateway.doors.mqtt, "late").await.publish("plant/small", "1").await;
    RembusPeer::login(gateway.doors.rembus, "late").await;
    let (code, said, complaint) = gateway.ask(&["doctor"]);
    let line = said.lines().find(|line| line.contains("files:")).unwrap_or_else(|| panic!("{said}{complaint}"));
    assert!(line.contains(&format!(" of {limit}; ")), "{line}");
    assert_ne!(code, 2, "{said}{complaint}");
    drop(crowd);

    let open = until("the sockets are gone", 20, || metric(&gateway, "process_open_fds ").filter(|open| *open < 150.0));
    assert!(open > 0.0);
    assert_eq!(http_peer::get(gateway.doors.http, "/readyz").0, 200);
    assert_eq!(gateway.count_in_log("poisoned"), 0, "{}", gateway.log());
    honest.publish("plant/small", "2").await;
    assert!(gateway.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_sockets_and_a_limit_of_1024_files_stop_no_acknowledgement() {
    besieged(1024, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_very_few_files_goes_on_acknowledging_as_well() {
    besieged(256, 400).await;
}

fn add_user(gateway: &Gateway, name: &str, password: &str) {
    let (code, said, complaint) = gateway.ask_with(&["admin", "user", "add", name], &format!("{password}\n"));
    assert_eq!(code, 0, "{said}{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_never_log_in_keep_nobody_out() {
    let gateway = Plan::without_history()
        .set("rembus.anonymous", "false")
        .set("rembus.max_connections", "300")
        .set("rembus.challenge_timeout", "60s")
        .start();
    add_user(&gateway, "dev1", "one");
    // They have done the handshake, and could log in.
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(RembusPeer::connect(gateway.doors.rembus).await);
    }
    // dev1:one
    let _honest = RembusPeer::connect_as(gateway.doors.rembus, Some("ZGV2MTpvbmU=")).await;
    // The first of the strangers were shown out, and told so.
    assert_eq!(strangers[0].receive().await, None);
    let refused = until("it is counted", 10, || {
        metric(&gateway, "rembus_gateway_door_ended_total{door=\"rembus\",reason=\"refused\"} ")
            .filter(|refused| *refused >= 100.0)
    });
    assert!(refused <= 300.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_from_one_address_keep_no_first_login_from_another_one_out() {
    let gateway = Plan::without_history().set("mqtt.anonymous", "false").set("mqtt.proxy_protocol", "true").start();
    add_user(&gateway, "dev1", "one");
    let addr = gateway.doors.mqtt;
    let from = move |last: u8, password: &'static [u8]| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        bytes.extend([192, 0, 2, last, 10, 0, 0, 1, 0x1f, 0x90, 0x07, 0x5b]);
        let body = [&b"\0\x04MQTT\x04\xc2\0\0\0\x02c"[..], &[b'a' + last], b"\0\x04dev1\0", &[password.len() as u8], password]
            .concat();
        bytes.extend([0x10, body.len() as u8]);
        bytes.extend(body);
        stream.write_all(&bytes).unwrap();
        stream
    };
    let guesses: Vec<_> = (0..300).map(|_| from(6, b"guess")).collect();
    let answer = tokio::task::spawn_blocking(move || {
        let mut connack = [0; 4];
        from(7, b"one").read_exact(&mut connack).map(|()| connack)
    });
    assert_eq!(answer.await.unwrap().unwrap(), [0x20, 2, 0, 0], "the connect timeout has 10 s");
    drop(guesses);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_port_that_a_browser_reaches_takes_a_strangers_page() {
    let plan = Plan::without_history().set("mqtt.ws_listen", "127.0.0.1:0");
    let gateway = plan.set("http.origins", "https://dash.example").start();
    let status = |addr: SocketAddr, headers: &str| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        write!(stream, "GET / HTTP/1.1\r\n{headers}{upgrade}\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..]).parse::<u16>().unwrap()
    };
    for addr in [gateway.doors.rembus, gateway.door("mqtt", "ws")] {
        let host = format!("Host: {addr}\r\n");
        for (headers, expected) in [
            // A program: the Python package, MQTT.js in node.
            (host.clone(), 101),
            ("Host: gateway.plant\r\n".to_owned(), 101),
            // paho.
            (format!("{host}Origin: https://{addr}\r\n"), 101),
            (format!("{host}Origin: https://dash.example\r\nSec-Fetch-Site: cross-site\r\n"), 101),
            (format!("{host}Origin: https://evil.example\r\n"), 403),
            (format!("{host}Origin: null\r\n"), 403),
            ("Host: evil.example\r\nOrigin: http://evil.example\r\n".to_owned(), 403),
            (format!("{host}{host}"), 400),
        ] {
            assert_eq!(status(addr, &headers), expected, "{addr} {headers}");
        }
    }
    let page = |headers: &str| http_peer::get_with(gateway.doors.http, "/metrics", headers).0;
    assert_eq!((page(""), page("Origin: https://dash.example\r\n"), page("Origin: https://evil.example\r\n")), (200, 200, 403));
}

/// Everything below a folder that others than its owner may read or enter.
fn open_to_others(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let metadata = std::fs::symlink_metadata(entry.path()).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        // The bus socket has the mode that it is given.
        if mode & 0o077 != 0 && !entry.path().ends_with("bus.sock") {
            found.push(format!("{} {mode:o}", entry.path().display()));
        }
        if metadata.is_dir() {
            open_to_others(&entry.path(), found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_keeps_is_for_its_own_user_also_when_started_by_hand() {
    let data = tempfile::tempdir().unwrap();
    // The folder is made by the gateway; its parent is somebody else's.
    let gateway = Plan::default().below("made").start_in(data);
    MqttPeer::connect(gateway.doors.mqtt, "c").await.publish("plant/a", "1").await;
    let made = gateway.data().join("made");
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    let mut found = Vec::new();
    open_to_others(&made, &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(made.join("wal").is_dir() && made.join("state").is_dir());
}

/// All sources below a folder.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            sources(&entry.path(), into);
        } else if entry.path().extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "tests/it"] {
        sources(&root.join(folder), &mut text);
    }
    let page = std::fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() >= 4).collect();
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
