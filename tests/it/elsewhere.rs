//! Catalogs and files elsewhere: a SQLite catalog that others read meanwhile, and one lake of many gateways in a database and a store
//! of objects, with links that break.

use crate::gateway::{Gateway, Plan, until};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn python(program: &str) -> Command {
    let mut command = Command::new(format!("{ROOT}/.venv/bin/python"));
    command.arg(format!("{ROOT}/tests/clients/{program}"));
    command.arg(format!("{ROOT}/.duckdb/{}", std::env::consts::ARCH));
    command
}

/// Runs a program to its end; its last line, which is JSON.
fn told(mut program: Command) -> serde_json::Value {
    let done = program.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

async fn counted(gateway: &Gateway) -> Vec<i64> {
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    let mut found = client.query_integers("counted", "n", "1=1").await;
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_a_lake_with_a_sqlite_catalog_while_the_gateway_writes() {
    let plan =
        Plan::default().set("history.catalog", "sqlite").set("history.batch_rows", "10").set("history.maintenance", "1s");
    let mut gateway = plan.start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    for n in 0..20 {
        sensor.publish("a/counted", format!("{{\"n\":{n}}}")).await;
        assert_eq!(client.query_integers("counted", "n", &format!("n = {n}")).await, [n]);
    }
    let mut reader = python("lake_reading.py").arg(gateway.data()).arg("200").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    // It has seen the first rows; from here on both work at once.
    let mut seen = vec![lines.next().unwrap().unwrap().parse::<u64>().unwrap()];
    for n in 20..240 {
        sensor.publish("a/counted", format!("{{\"n\":{n}}}")).await;
        assert_eq!(client.query_integers("counted", "n", &format!("n = {n}")).await, [n]);
    }
    seen.extend(lines.map(|line| line.unwrap().parse::<u64>().unwrap()));
    assert!(reader.wait().unwrap().success(), "no error in any of its queries");
    assert!(seen.is_sorted() && *seen.last().unwrap() >= 200, "{seen:?}");
    assert!(seen.len() > 3, "it read while rows came: {seen:?}");

    gateway.kill();
    gateway.start_again();
    assert_eq!(counted(&gateway).await, (0..240).collect::<Vec<_>>());
    let place = tempfile::tempdir().unwrap();
    let (code, _, err) = gateway.ask(&["lake", "backup", place.path().join("backup").to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(gateway.ask(&["lake", "verify"]).0, 0);
}

/// A PostgreSQL server in a folder of its own, as an unprivileged user.
struct Database {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn postgres_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("scripts/setup test installs postgresql");
    let newest = versions.flatten().map(|entry| entry.path().join("bin")).filter(|bin| bin.join("postgres").exists()).max();
    newest.expect("a server of PostgreSQL")
}

impl Database {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        // It refuses to run as root.
        let as_user = |program: &str| {
            let path = postgres_bin().join(program);
            if rustix::process::geteuid().is_root() {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(path);
                command
            } else {
                Command::new(path)
            }
        };
        if rustix::process::geteuid().is_root() {
            assert!(Command::new("chown").arg("postgres").arg(dir.path()).status().unwrap().success());
        }
        let made = as_user("initdb").current_dir("/").arg("-D").arg(&data).args(["-A", "trust", "-U", "gateway"]).output();
        assert!(made.as_ref().unwrap().status.success(), "{made:?}");
        let port = free_port();
        let mut server = as_user("postgres");
        server.current_dir("/").arg("-D").arg(&data).arg("-k").arg(dir.path()).arg("-p").arg(port.to_string());
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let database = Self { child, dir, port };
        until("the database listens", 30, || {
            let mut make = Command::new(postgres_bin().join("createdb"));
            make.args(["-h", "127.0.0.1", "-U", "gateway", "-p"]).arg(port.to_string()).arg("lake");
            make.stderr(Stdio::null()).status().unwrap().success().then_some(())
        });
        database
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Its own process, by the id that it wrote down.
        let pid = std::fs::read_to_string(self.dir.path().join("data/postmaster.pid")).ok();
        if let Some(pid) = pid.and_then(|text| text.lines().next()?.parse().ok()).and_then(rustix::process::Pid::from_raw) {
            // It may have ended already.
            rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
        }
        drop(self.child.wait());
    }
}

/// A store of objects with the bucket `lake`.
struct Store {
    child: Child,
    port: u16,
}

impl Store {
    fn start() -> Self {
        let port = free_port();
        let mut server = Command::new(format!("{ROOT}/.venv/s3/bin/moto_server"));
        server.args(["-H", "127.0.0.1", "-p"]).arg(port.to_string());
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("scripts/setup test installs it");
        let store = Self { child, port };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("the store has its bucket", 60, || {
            let mut socket = TcpStream::connect(address).ok()?;
            let request = "PUT /lake HTTP/1.1\r\nHost: localhost\r\nAuthorization: AWS4-HMAC-SHA256 \
                           Credential=key/20260101/us-east-1/s3/aws4_request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            std::io::Write::write_all(&mut socket, request.as_bytes()).ok()?;
            let mut answer = String::new();
            BufReader::new(socket).read_line(&mut answer).ok()?;
            answer.contains(" 200 ").then_some(())
        });
        store
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A link that can be cut: a port that leads to another.
struct Link {
    port: u16,
    up: Arc<AtomicBool>,
}

impl Link {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let up = Arc::new(AtomicBool::new(true));
        let goes = up.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                if !goes.load(Relaxed) {
                    continue;
                }
                for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let goes = goes.clone();
                    std::thread::spawn(move || pass(&mut from, &mut to, &goes));
                }
            }
        });
        Self { port, up }
    }

    fn set(&self, up: bool) {
        self.up.store(up, Relaxed);
    }
}

/// Until one end goes, or the link does.
fn pass(from: &mut TcpStream, to: &mut TcpStream, goes: &AtomicBool) {
    let mut bytes = [0; 65536];
    from.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    while goes.load(Relaxed) {
        match std::io::Read::read(from, &mut bytes) {
            Ok(0) => break,
            Ok(read) => {
                if std::io::Write::write_all(to, &bytes[..read]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    drop(to.shutdown(std::net::Shutdown::Both));
    drop(from.shutdown(std::net::Shutdown::Both));
}

/// A gateway called `name` that keeps its tables in the shared lake.
fn shared(name: &str, database: u16, store: u16) -> Plan {
    Plan::default()
        .set("gateway.name", name)
        .set("history.catalog", &format!("postgres:host=127.0.0.1 port={database} user=gateway dbname=lake password=hush"))
        .set("history.lake_data", "s3://lake/tables")
        .set("history.s3_endpoint", &format!("http://127.0.0.1:{store}"))
        .set("history.s3_key", "key")
        .set("history.s3_secret", "secret-of-the-store")
        .set("history.batch_interval", "200ms")
        .set("history.batch_rows", "50")
}

/// Everything in the shared lake, as somebody else sees it: `[[gateway, rows, different rows]]`.
fn outside(database: &Database, store: &Store, sql: &str) -> serde_json::Value {
    let mut program = python("lake_shared.py");
    program.arg(database.port.to_string()).arg(store.port.to_string()).arg(sql);
    told(program)
}

async fn publish(gateway: &Gateway, numbers: std::ops::Range<i64>) {
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    for n in numbers {
        sensor.publish("a/counted", format!("{{\"n\":{n}}}")).await;
    }
}

const BY_GATEWAY: &str = "SELECT _gateway, count(*), count(DISTINCT n) FROM lake.counted GROUP BY ALL ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn many_gateways_keep_one_lake_and_none_loses_a_row_when_its_link_breaks() {
    let (database, store) = (Database::start(), Store::start());
    let (to_database, to_store) = (Link::to(database.port), Link::to(store.port));
    let mut plant = shared("plant-7", to_database.port, to_store.port).start();
    publish(&plant, 0..120).await;
    assert_eq!(counted(&plant).await, (0..120).collect::<Vec<_>>());
    let yard = shared("yard", database.port, store.port).start();
    publish(&yard, 0..30).await;
    assert_eq!(counted(&yard).await, (0..30).collect::<Vec<_>>(), "a gateway sees what is its own");
    until("all rows are in the lake", 60, || {
        let found = outside(&database, &store, BY_GATEWAY);
        (found == serde_json::json!([["plant-7", 120, 120], ["yard", 30, 30]])).then_some(())
    });

    // The link of one breaks; what it takes meanwhile is in its log, and the other works on.
    to_database.set(false);
    to_store.set(false);
    publish(&plant, 120..300).await;
    publish(&yard, 30..60).await;
    plant.wait_for_log("a batch could not be written");
    // It even starts again without its link.
    plant.kill();
    plant.start_again();
    publish(&plant, 300..350).await;
    plant.wait_for_log("history is not available");
    assert!(!plant.log().contains("hush") && !plant.log().contains("secret-of-the-store"), "{}", plant.log());
    to_database.set(true);
    to_store.set(true);
    let all = serde_json::json!([["plant-7", 350, 350], ["yard", 60, 60]]);
    until("the rows come when the link is back", 120, || (outside(&database, &store, BY_GATEWAY) == all).then_some(()));
    until("and its own queries work", 60, || {
        let done = plant.ask(&["query", "counted", "--cols", "count(*) AS n", "--format", "csv"]);
        (done.1 == "n\n350\n").then_some(())
    });

    // Deletions and keyed rows are each gateway's own.
    let (code, _, err) = plant.ask(&["rpc", "delete_counted", r#"{"where": "n >= 10"}"#]);
    assert_eq!(code, 0, "{err}");
    for gateway in [&plant, &yard] {
        let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
        for level in [1, 2] {
            sensor.publish("site/tank/t1/sensor", format!("{{\"level\":{level}}}")).await;
        }
        let rows = gateway.ask(&["query", "sensor", "--cols", "dn,level", "--format", "csv"]).1;
        assert_eq!(rows, "dn,level\nt1,2\n");
    }
    let rest = serde_json::json!([["plant-7", 10, 10], ["yard", 60, 60]]);
    assert_eq!(outside(&database, &store, BY_GATEWAY), rest);
    until("each has its own row of the key", 60, || {
        let rows = outside(&database, &store, "SELECT _gateway, dn, level FROM lake.sensor ORDER BY 1");
        (rows == serde_json::json!([["plant-7", "t1", 2], ["yard", "t1", 2]])).then_some(())
    });
    assert!(plant.stop().success());
}

#[test]
fn a_lake_elsewhere_needs_what_belongs_together() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file: &Path = &dir.path().join("gateway.toml");
        std::fs::write(file, format!("[history]\n{text}\n")).unwrap();
        let done = crate::gateway::command().args(["check", "--config"]).arg(file).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    for (text, complaint) in [
        ("catalog = \"postgres:dbname=lake\"", "a shared catalog needs shared files"),
        ("catalog = \"mysql:x\"", "`mysql:x` is no catalog"),
        ("backend = \"lite\"\ncatalog = \"sqlite\"", "only DuckDB can keep its catalog elsewhere"),
        ("lake_data = \"gs://bucket\"", "only `s3://` is known"),
        ("lake_data = \"s3://bucket\"\ns3_key = \"me\"", "a key and its secret belong together"),
    ] {
        let (code, said) = check(text);
        assert_eq!((code, said.contains(complaint)), (2, true), "{text}: {said}");
    }
    let right =
        "catalog = \"postgres:dbname=lake password=hush\"\nlake_data = \"s3://bucket\"\ns3_key = \"me\"\ns3_secret = \"hush\"";
    let (code, said) = check(right);
    assert_eq!((code, said.contains("hush")), (0, false), "{said}");
}
