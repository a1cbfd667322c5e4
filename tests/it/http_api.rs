//! Rembus over plain HTTP, and over TCP as Rembus.jl speaks it, at the real gateway.

use crate::gateway::{Gateway, Plan};
use crate::http_peer::ask;
use crate::rembus_peer::{RembusPeer, map, text};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn a_reading_posted_over_http_is_in_the_history_after_a_kill() {
    let mut gateway = Gateway::start();
    let (status, answer) = ask(gateway.doors.http, "POST", "/dev1/telemetry", "", r#"{"temperature":21.5}"#);
    assert_eq!((status, answer.as_str()), (200, "null"));
    let batch = r#"[{"method":"dev1/telemetry","params":[{"temperature":22.5}]},{"id":1,"method":"rid"}]"#;
    assert_eq!(ask(gateway.doors.http, "POST", "/", "", batch).1, r#"[{"jsonrpc":"2.0","id":1,"result":"broker"}]"#);
    gateway.kill();
    gateway.start_again();
    let question = r#"{"where":"dn = 'dev1'","cols":["dn","temperature"],"order":"oldest"}"#;
    let (status, rows) = ask(gateway.doors.http, "GET", "/query_telemetry", "", question);
    assert_eq!(status, 200, "{rows}");
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows, json!([{"dn": "dev1", "temperature": 21.5}, {"dn": "dev1", "temperature": 22.5}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_hears_what_was_posted_over_http() {
    let gateway = Plan::without_history().start();
    let mut component = RembusPeer::login(gateway.doors.rembus, "listener").await;
    component.subscribe("alarms/**").await;
    component.reactive().await;
    let http = gateway.doors.http;
    let posted = tokio::task::spawn_blocking(move || ask(http, "POST", "/alarms/fire", "", r#"["hall",3]"#));
    let got = component.receive().await.expect("a publication");
    // QoS 1, so there is an id before topic and data.
    assert_eq!((got.kind, got.flags), (1, 0x10));
    assert_eq!(got.rest[1], "alarms/**".into());
    let arguments: [ciborium::Value; 3] = ["alarms/fire".into(), "hall".into(), 3.into()];
    assert_eq!(got.rest[2], ciborium::Value::Array(arguments.to_vec()));
    assert_eq!(posted.await.unwrap().0, 200);
}

#[test]
fn a_component_of_rembus_jl_calls_over_tcp() {
    let gateway = Plan::without_history().set("rembus.tcp_listen", "127.0.0.1:0").start();
    let mut stream = TcpStream::connect(gateway.door("rembus", "tcp")).unwrap();
    // RPC, id 1, `rid`, no target, no arguments.
    let request = b"\x85\x02\x48\x01\0\0\0\0\0\0\0\x63rid\xf6\x80";
    stream.write_all(&[&[0x81, request.len() as u8][..], request].concat()).unwrap();
    let expected = b"\x84\x04\x48\x01\0\0\0\0\0\0\0\x00\x66broker";
    let mut answer = vec![0; 2 + expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [&[0x81, expected.len() as u8][..], expected].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_place_is_wanted_is_told_so_and_the_newcomer_is_served() {
    let gateway = Plan::without_history().start();
    let mut component = RembusPeer::login(gateway.doors.rembus, "thinker").await;
    component.admin("think", map([("cmd", text("expose"))])).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"think","params":[]}"#;
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(gateway.doors.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (host, length) = (gateway.doors.http, body.len());
        write!(stream, "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        // It is under way when the component has it.
        component.receive().await.expect("a call");
        waiting.push(stream);
    }
    assert_eq!(ask(gateway.doors.http, "GET", "/healthz", "", "").0, 200);
    let mut told = String::new();
    waiting[0].read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{told}");
    waiting[1].set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(waiting[1].read(&mut [0]).is_err(), "the next one keeps its place");
}
