//! Requests against the real door, router and log.

use super::super::{Sources, serve};
use super::Api;
use crate::access::{self, Access, Counts};
use crate::clock::SystemClock;
use crate::disk::SystemDisk;
use crate::door::{Entrance, Origins};
use crate::metrics::{Doors, History, Log};
use crate::net::{Listener as _, TcpListener};
use crate::router::{Hub, NoServices, Options, Report};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Nothing;

impl Sources for Nothing {
    async fn report(&self) -> Option<Report> {
        None
    }

    fn doors(&self) -> Doors {
        Doors::default()
    }

    fn log(&self) -> Log {
        Log::default()
    }

    fn history(&self) -> Option<History> {
        None
    }

    fn doors_closed(&self) -> Vec<String> {
        Vec::new()
    }

    fn guard(&self) -> Option<Arc<Access>> {
        None
    }

    fn access(&self) -> Option<Counts> {
        None
    }

    fn links(&self) -> Vec<crate::bridge::LinkReport> {
        Vec::new()
    }

    fn bus(&self) -> Option<Arc<crate::bus::Counts>> {
        None
    }
}

struct Door {
    address: SocketAddr,
    access: Arc<Access>,
    _folder: TempDir,
}

async fn door(settings: access::Settings, anonymous: bool, prepare: impl FnOnce(&std::path::Path)) -> Door {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let clock = SystemClock::shared();
    let options = crate::wal::Options::new(folder.path().join("wal"));
    let (log, handle, _) = crate::wal::open(SystemDisk::shared(), Arc::clone(&clock), options).unwrap();
    tokio::spawn(log.run());
    let access = Arc::new(Access::open(SystemDisk::shared(), Arc::clone(&clock), folder.path(), settings).unwrap());
    let options = Options { identities: Some(Arc::clone(&access) as _), ..Options::default() };
    let (router, hub) = Hub::new(options, handle, Arc::clone(&clock), Arc::new(NoServices));
    tokio::spawn(router.run());
    let api = Api { hub, clock: Arc::clone(&clock), access: Arc::clone(&access), anonymous, origins: Origins::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(vec![Entrance::plain(listener)], Arc::new(Nothing), Some(api), clock, std::future::pending()));
    Door { address, access, _folder: folder }
}

async fn open_door() -> Door {
    door(access::Settings::default(), true, |_| {}).await
}

impl Door {
    /// The status and the body of the answer.
    async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn rpc(&self, body: &str) -> Value {
        let (status, answer) = self.ask("POST", "/", &[], body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }
}

#[tokio::test]
async fn a_call_in_json_rpc_is_answered_under_its_own_id() {
    let door = open_door().await;
    let answer = door.rpc(r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"rid","params":[]}"#).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": u64::MAX, "result": "broker"}));
    let answer = door.rpc(r#"{"jsonrpc":"2.0","id":"a","method":"rid"}"#).await;
    assert_eq!(answer["id"], "a");
}

#[tokio::test]
async fn what_is_no_request_is_told_with_the_codes_of_the_standard() {
    let door = open_door().await;
    for (body, code) in [
        ("", -32600),
        ("{", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"id":1}"#, -32600),
        (r#"{"id":[1],"method":"rid"}"#, -32600),
        (r#"{"id":1,"method":"rid","params":3}"#, -32602),
    ] {
        assert_eq!(door.rpc(body).await["error"]["code"], code, "{body}");
    }
    let unknown = door.rpc(r#"{"id":1,"method":"nobody/has"}"#).await;
    assert_eq!(unknown["error"]["code"], -32000);
    assert_eq!(unknown["error"]["data"]["sts"], 42);
}

#[tokio::test]
async fn a_batch_answers_its_calls_and_publishes_the_rest_before_it_does() {
    let door = open_door().await;
    let batch = r#"[{"id":1,"method":"rid"},{"method":"dev1/telemetry","params":[{"t":1}]},4,{"id":2,"method":"version"}]"#;
    let answers = door.rpc(batch).await;
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!(answers[0]["result"], "broker");
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["id"], 2);
    let (status, answer) = door.ask("POST", "/", &[], r#"{"method":"dev1/telemetry","params":[{"t":1}]}"#).await;
    assert_eq!((status, answer.as_str()), (204, ""));
}

#[tokio::test]
async fn topics_and_methods_are_paths() {
    let door = open_door().await;
    assert_eq!(door.ask("POST", "/dev1/telemetry", &[], r#"{"t":1}"#).await, (200, "null".into()));
    assert_eq!(door.ask("GET", "/rid", &[], "").await, (200, r#""broker""#.into()));
    let (status, why) = door.ask("GET", "/nobody/has", &[], "").await;
    assert_eq!((status, why.as_str()), (404, r#"{"error":"nobody offers a method `nobody/has`"}"#));
    let (status, why) = door.ask("POST", "/dev1/telemetry", &[], "{").await;
    assert!(status == 400 && why.contains("not JSON"), "{why}");
    let (status, _) = door.ask("GET", "/healthz", &[], "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_page_from_elsewhere_may_not_ask_and_neither_may_a_name_that_was_made_to_point_here() {
    let door = open_door().await;
    for header in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Host: evil.example"] {
        assert_eq!(door.ask("GET", "/rid", &[header], "").await.0, 403, "{header}");
        assert_eq!(door.ask("POST", "/t", &[header], "1").await.0, 403, "{header}");
    }
    let twice = ["Host: localhost", "Host: evil.example"];
    assert_eq!(door.ask("POST", "/t", &twice, "1").await.0, 400);
    // A login that is none does not help a page that made its name point here.
    assert_eq!(door.ask("POST", "/t", &["Host: evil.example", "Authorization: Basic ?"], "1").await.0, 403);
}

#[tokio::test]
async fn whoever_a_proxy_on_this_machine_asks_for_needs_a_user() {
    let door = open_door().await;
    assert_eq!(door.ask("POST", "/t", &[], "1").await.0, 200);
    for header in ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 192.0.2.7", "Forwarded: for=192.0.2.7"] {
        assert_eq!(door.ask("POST", "/t", &[header], "1").await.0, 401, "{header}");
    }
}

#[tokio::test]
async fn where_users_log_in_nobody_else_is_heard() {
    let door = door(access::Settings { strict: true, ..access::Settings::default() }, false, |_| {}).await;
    assert_eq!(door.ask("POST", "/t", &[], "1").await.0, 401);
    // dev1:wrong
    assert_eq!(door.ask("POST", "/t", &["Authorization: Basic ZGV2MTp3cm9uZw=="], "1").await.0, 401);
}

#[tokio::test]
async fn a_shared_secret_is_a_password_here_and_its_owner_needs_a_rule() {
    let door = door(access::Settings { strict: true, ..access::Settings::default() }, false, |folder| {
        std::fs::create_dir(folder.join("keys")).unwrap();
        std::fs::write(folder.join("keys/gw1"), "s3cret\n").unwrap();
    })
    .await;
    // gw1:s3cret and gw1:secret
    let (right, wrong) = ("Authorization: Basic Z3cxOnMzY3JldA==", "Authorization: Basic Z3cxOnNlY3JldA==");
    assert_eq!(door.ask("POST", "/t", &[wrong], "1").await.0, 401);
    assert_eq!(door.ask("POST", "/t", &[right], "1").await.0, 403, "no rule allows it");
    assert_eq!(door.ask("POST", "/private_topic/t", &[right], "").await.0, 403, "no admin");
}

#[tokio::test]
async fn an_admin_prepares_a_component_that_is_not_there_and_keeps_topics_private() {
    let settings = access::Settings { admins: ["gw1".to_owned()].into(), ..access::Settings::default() };
    let door = door(settings, true, |folder| {
        std::fs::create_dir(folder.join("keys")).unwrap();
        std::fs::write(folder.join("keys/gw1"), "s3cret\n").unwrap();
    })
    .await;
    let admin = "Authorization: Basic Z3cxOnMzY3JldA==";
    for path in ["/subscribe/a/b/monitor", "/expose/add/calc", "/private_topic/plant/secret", "/authorize/monitor/plant/secret"]
    {
        assert_eq!(door.ask("POST", path, &[], "").await.0, 403, "{path}");
        assert_eq!(door.ask("POST", path, &[admin], "").await, (200, "null".into()), "{path}");
    }
    let (status, config) = door.ask("GET", "/admin/broker_config", &[admin], "").await;
    assert_eq!(status, 200);
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config, json!({"exposers": {"add": ["calc"]}, "subscribers": {"a/b": ["monitor"]}}));
    let (_, private) = door.ask("GET", "/admin/private_topics_config", &[admin], "").await;
    assert_eq!(private, r#"{"plant/secret":["monitor"]}"#);
    assert_eq!(door.ask("POST", "/unsubscribe/a/b/monitor", &[admin], "").await.0, 200);
    assert_eq!(door.ask("POST", "/unauthorize/monitor/plant/secret", &[admin], "").await.0, 200);
    assert_eq!(door.ask("POST", "/public_topic/plant/secret", &[admin], "").await.0, 200);
    assert!(door.access.policy().0.private().is_empty());
    assert_eq!(door.ask("GET", "/admin/shutdown", &[admin], "").await.0, 404);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let door = open_door().await;
    let body = format!("\"{}\"", "x".repeat(super::BODY_MAX));
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head = format!("POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // The door may answer and close before all of it is written.
    stream.write_all(body.as_bytes()).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
}
