use super::*;
use crate::access::{Access, Counts};
use crate::clock::SystemClock;
use crate::door::Origins;
use crate::metrics::{Doors, History, Log};
use crate::net::TcpListener;
use crate::router::Report;
use crate::wal::Health;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A gateway in whatever state a test wants.
#[derive(Default)]
struct Fake {
    health: Mutex<Health>,
    closed: Vec<String>,
    history: Option<History>,
    router_hangs: bool,
    guard: Option<Arc<Access>>,
    /// For those for whom a proxy asks.
    guard_behind_proxy: Option<Arc<Access>>,
    origins: Origins,
}

impl Sources for Fake {
    async fn report(&self) -> Option<Report> {
        if self.router_hangs { std::future::pending().await } else { Some(Report::default()) }
    }

    fn doors(&self) -> Doors {
        Doors::default()
    }

    fn log(&self) -> Log {
        Log { health: *self.health.lock().unwrap(), ..Log::default() }
    }

    fn history(&self) -> Option<History> {
        self.history.clone()
    }

    fn doors_closed(&self) -> Vec<String> {
        self.closed.clone()
    }

    fn guard(&self) -> Option<Arc<Access>> {
        self.guard.clone()
    }

    fn guard_behind_proxy(&self) -> Option<Arc<Access>> {
        self.guard_behind_proxy.clone()
    }

    fn origins(&self) -> Origins {
        self.origins.clone()
    }

    fn bus(&self) -> Option<Arc<crate::bus::Counts>> {
        None
    }

    fn access(&self) -> Option<Counts> {
        None
    }

    fn links(&self) -> Vec<crate::bridge::LinkReport> {
        Vec::new()
    }
}

/// A running door.
struct Door {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn door(fake: Fake) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(vec![Entrance::plain(listener)], Arc::new(fake), None, SystemClock::shared(), async {
        drop(stopped.await)
    }));
    Door { address, stop, task }
}

impl Door {
    async fn get(&self, path: &str) -> String {
        self.ask("GET", path, "Host: localhost\r\n").await
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn a_gateway_that_is_well_says_so() {
    let door = door(Fake::default()).await;
    assert!(door.get("/healthz").await.starts_with("HTTP/1.1 200 OK"));

    let ready = door.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    assert!(ready.ends_with(r#"{"ready":true,"reasons":[],"history":"off"}"#), "{ready}");

    let metrics = door.get("/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("\nrembus_gateway_router_up 1\n"), "{metrics}");
    assert!(door.get("/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_gateway_that_is_not_ready_says_why() {
    let fake = Fake {
        health: Mutex::new(Health::Full),
        closed: vec!["mqtt".into()],
        history: Some(History { trouble: Some("the lake is being opened".into()), ..History::default() }),
        ..Fake::default()
    };
    let answer = door(fake).await.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    for part in ["door mqtt does not listen", "no room beyond the reserve", r#""history":"the lake is being opened""#] {
        assert!(answer.contains(part), "{part} is missing in {answer}");
    }
    let fake = Fake { health: Mutex::new(Health::Poisoned), ..Fake::default() };
    assert!(door(fake).await.get("/readyz").await.contains("the log failed"));
}

#[tokio::test]
async fn troubles_of_history_do_not_make_the_gateway_unready() {
    let fake = Fake { history: Some(History { trouble: Some("gone".into()), ..History::default() }), ..Fake::default() };
    assert!(door(fake).await.get("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_router_that_hangs_does_not_hang_the_door() {
    let door = door(Fake { router_hangs: true, ..Fake::default() }).await;
    let (ready, metrics) = tokio::join!(door.get("/readyz"), door.get("/metrics"));
    assert!(ready.contains("the router does not answer"), "{ready}");
    assert!(metrics.contains("\nrembus_gateway_router_up 0\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let door = door(Fake::default()).await;
    let mut silent = TcpStream::connect(door.address).await.unwrap();
    silent.write_all(b"GET /hea").await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(2 * HEADER_TIMEOUT, silent.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "still open after twice the time a header may take");
}

#[tokio::test]
async fn silent_connections_at_the_limit_do_not_keep_others_out() {
    let door = door(Fake::default()).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    let begin = tokio::time::Instant::now();
    assert!(door.get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(begin.elapsed() < HEADER_TIMEOUT / 2, "it waited for the silent ones to time out");
    drop(silent);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_at_once() {
    let door = door(Fake::default()).await;
    let mut kept = TcpStream::connect(door.address).await.unwrap();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");

    door.stop.send(()).unwrap();
    tokio::time::timeout(LAST_REQUEST, door.task).await.expect("idle connections do not hold up a stop").unwrap();
    assert!(TcpStream::connect(door.address).await.is_err());
}

#[tokio::test]
async fn garbage_closes_only_its_own_connection() {
    let door = door(Fake::default()).await;
    let mut garbage = TcpStream::connect(door.address).await.unwrap();
    garbage.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).await.unwrap();
    assert!(door.get("/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn no_page_of_another_origin_reads_the_metrics_and_neither_does_a_name_that_was_made_to_point_here() {
    let door = door(Fake::default()).await;
    for (headers, status) in [
        ("Host: localhost:8080\r\n", 200),
        ("Host: [::1]\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: 192.0.2.7\r\n", 403),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
    ] {
        let answer = door.ask("GET", "/metrics", headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {answer}");
    }
    // Whether the process lives is no secret, and is asked by any name.
    assert!(door.ask("GET", "/healthz", "Host: lb.example\r\nOrigin: https://evil.example\r\n").await.contains("alive"));
    assert!(door.ask("GET", "/healthz", "Host: a\r\nHost: b\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_page_that_the_operator_has_named_reads_the_answers() {
    let door = door(Fake { origins: Origins::new(&["https://dash.example".into()]), ..Fake::default() }).await;
    let named = "Host: localhost\r\nOrigin: https://dash.example\r\nSec-Fetch-Site: cross-site\r\n";
    let answer = door.ask("GET", "/metrics", named).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("access-control-allow-origin: https://dash.example\r\n"));
    let asked_before = door.ask("OPTIONS", "/t", named).await;
    assert!(asked_before.starts_with("HTTP/1.1 204") && asked_before.contains("access-control-allow-headers: "));
    let other = "Host: localhost\r\nOrigin: https://evil.example\r\n";
    assert!(door.ask("OPTIONS", "/t", other).await.starts_with("HTTP/1.1 403"));
    // A proxy here that serves the page and the gateway.
    assert!(door.ask("GET", "/metrics", "Host: dash.example\r\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn whoever_a_proxy_on_this_machine_asks_for_logs_in() {
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::access::Settings::default();
    let access = Access::open(crate::disk::SystemDisk::shared(), SystemClock::shared(), folder.path(), settings).unwrap();
    let door = door(Fake { guard_behind_proxy: Some(Arc::new(access)), ..Fake::default() }).await;
    assert!(door.get("/metrics").await.starts_with("HTTP/1.1 200"));
    for header in ["X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7", "X-Real-IP: 127.0.0.1", "Via: 1.1 proxy"] {
        let answer = door.ask("GET", "/metrics", &format!("Host: localhost\r\n{header}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{header}: {answer}");
    }
}
