//! `[[rest_proxy]]` and `[[tcp_forward]]`: what lies behind the gateway, for those in front of it.

use crate::far_end::free_port;
use crate::gateway::Plan;
use crate::rembus_peer::{RembusPeer, map, text};
use ciborium::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A service that answers every request with the first line of it, as JSON.
async fn service() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(request).unwrap().lines().next().unwrap().to_owned();
            let body = format!("{{\"asked\":\"{line}\"}}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_asks_a_service_by_a_method_and_only_what_is_allowed() {
    let addr = service().await;
    let proxy = format!("[{{ method = \"weather\", url = \"http://{addr}\", allow = [\"GET /v1/*\"] }}]");
    let gateway = Plan::without_history().set("rest_proxy", &proxy).start();
    let mut component = RembusPeer::login(gateway.doors.rembus, "panel").await;
    let query = Value::Map(vec![(text("unit"), text("C"))]);
    let wish = map([("path", text("/v1/now")), ("query_params", query)]);
    let answer = component.rpc("weather", vec![wish]).await.unwrap().into_map().unwrap();
    let field = |name: &str| answer.iter().find(|(key, _)| *key == text(name)).map(|(_, value)| value.clone()).unwrap();
    assert_eq!(field("status_code"), Value::from(200));
    assert_eq!(field("data"), map([("asked", text("GET /v1/now?unit=C HTTP/1.1"))]));
    let (status, said) = component.rpc("weather", vec![map([("path", text("/admin"))])]).await.unwrap_err();
    assert_eq!((status, said), (40, text("GET /admin is not allowed")));
    let (_, page, _) = gateway.ask(&["status"]);
    assert!(page.contains("rest      weather, 2 calls, 1 of them in vain"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_here_leads_to_an_address_behind() {
    let (addr, door) = (service().await, free_port());
    let forward = format!("[{{ listen = \"{door}\", to = \"{addr}\", max_connections = 2 }}]");
    let mut gateway = Plan::without_history().set("tcp_forward", &forward).start();
    let mut stream = TcpStream::connect(door).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert!(heard.ends_with("{\"asked\":\"GET /x HTTP/1.1\"}"), "{heard}");
    // One that stays open does not hold up the stop.
    let _open = TcpStream::connect(door).await.unwrap();
    assert!(gateway.stop().success());
    assert!(TcpStream::connect(door).await.is_err());
}
