//! Brokers under load: how each is started, on which ports, and what its process uses.

use crate::pki::Pki;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With the test schema.
    Gateway,
    /// Without a schema.
    GatewayPlain,
    Mosquitto,
    MosquittoDisk,
    Python,
    /// The Python broker, bridged to a mosquitto.
    PythonBridge,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway+history",
            Self::GatewayPlain => "gateway",
            Self::Mosquitto => "mosquitto",
            Self::MosquittoDisk => "mosquitto+disk",
            Self::Python | Self::PythonBridge => "rembus 0.8.23",
        }
    }

    fn speaks_mqtt(self) -> bool {
        self != Self::Python
    }
}

/// A running broker; ended by its own handle when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) kind: Kind,
    child: Child,
    /// The mosquitto of a bridge.
    companion: Option<Child>,
    pub(crate) mqtt: SocketAddr,
    /// MQTT over TLS; of the gateway and mosquitto.
    pub(crate) tls: SocketAddr,
    pub(crate) pki: Pki,
    pub(crate) rembus: SocketAddr,
    pub(crate) http: SocketAddr,
    /// From the start of the process until it takes connections.
    pub(crate) start_ms: f64,
    _data: tempfile::TempDir,
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn gateway(data: &Path, with_history: bool, pki: &Pki, [mqtt, tls, rembus, http]: [SocketAddr; 4]) -> Command {
    let binary = std::env::var_os("BENCH_GATEWAY")
        .map_or_else(|| PathBuf::from(ROOT).join("target/release/rembus-gateway"), PathBuf::from);
    let mut command = Command::new(binary);
    command.arg("run").arg("--data").arg(data);
    command.env("REMBUS_GATEWAY_MQTT_TLS_LISTEN", tls.to_string()).env("REMBUS_GATEWAY_MQTT_MAX_CONNECTIONS", "20000");
    command.env("REMBUS_GATEWAY_TLS_CERTIFICATE", &pki.certificate).env("REMBUS_GATEWAY_TLS_KEY", &pki.key);
    for (flag, addr) in [("--mqtt", mqtt), ("--rembus", rembus), ("--http", http)] {
        command.arg(flag).arg(addr.to_string());
    }
    if with_history {
        command.arg("--schema").arg(format!("{ROOT}/tests/clients/schema.json"));
    }
    command
}

fn mosquitto(data: &Path, pki: &Pki, [mqtt, tls]: [SocketAddr; 2], on_disk: bool) -> Command {
    let (plain, secure) = (mqtt.port(), tls.port());
    let (certificate, key) = (pki.certificate.display(), pki.key.display());
    // As root it would become another user, who cannot read our files.
    let mut text = format!(
        "user root\nallow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n"
    );
    if on_disk {
        let folder = data.display();
        text += &format!("persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n");
    }
    let file = data.join("mosquitto.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(file).env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// The Python broker; its DuckDB looks for the DuckLake extension below HOME.
fn python(data: &Path, rembus: SocketAddr, mqtt: Option<SocketAddr>) -> Command {
    let extensions = data.join(".duckdb/extensions/v1.5.5/linux_amd64");
    std::fs::create_dir_all(&extensions).unwrap();
    let arch = std::env::consts::ARCH;
    let extension = format!("{ROOT}/.duckdb/{arch}/ducklake.duckdb_extension");
    std::fs::copy(&extension, extensions.join("ducklake.duckdb_extension")).expect("scripts/fetch-duckdb has been run");
    let mut command = Command::new(format!("{ROOT}/.venv/bin/brokerd"));
    command
        .env("HOME", data)
        .env("REMBUS_DIR", data)
        .env("REMBUS_NAME", "broker")
        .env("REMBUS_PORT", rembus.port().to_string());
    command.env("REMBUS_SCHEMA", format!("{ROOT}/tests/clients/schema.json")).env("REMBUS_KEYSPACE", "1");
    if let Some(mqtt) = mqtt {
        command.env("REMBUS_MQTT_URL", format!("mqtt://{mqtt}"));
    }
    command
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

async fn listening(addr: SocketAddr) {
    let end = Instant::now() + Duration::from_secs(30);
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        assert!(Instant::now() < end, "nothing listens at {addr}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Broker {
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[]).await
    }

    pub(crate) async fn start_with(kind: Kind, environment: &[(&str, String)]) -> Self {
        // On the disk of the checkout: /tmp may be memory.
        let data = tempfile::Builder::new().prefix("bench-").tempdir_in(format!("{ROOT}/target")).unwrap();
        let (mqtt, tls, rembus, http) = (free_port(), free_port(), free_port(), free_port());
        let pki = Pki::new(data.path());
        let mut companion = None;
        if kind == Kind::PythonBridge {
            companion = Some(spawn(mosquitto(data.path(), &pki, [mqtt, tls], false)));
            listening(mqtt).await;
        }
        let mut command = match kind {
            Kind::Gateway | Kind::GatewayPlain => {
                gateway(&data.path().join("data"), kind == Kind::Gateway, &pki, [mqtt, tls, rembus, http])
            }
            Kind::Mosquitto | Kind::MosquittoDisk => mosquitto(data.path(), &pki, [mqtt, tls], kind == Kind::MosquittoDisk),
            Kind::Python => python(data.path(), rembus, None),
            Kind::PythonBridge => python(data.path(), rembus, Some(mqtt)),
        };
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let begin = Instant::now();
        let child = spawn(command);
        if kind.speaks_mqtt() {
            listening(mqtt).await;
        }
        if !matches!(kind, Kind::Mosquitto | Kind::MosquittoDisk) {
            listening(rembus).await;
        }
        let start_ms = begin.elapsed().as_secs_f64() * 1000.0;
        if kind == Kind::PythonBridge {
            // Its subscription at the MQTT broker comes a moment after its own door.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Self { kind, child, companion, mqtt, tls, pki, rembus, http, start_ms, _data: data }
    }

    /// Seconds of CPU, user and system, of the broker and its companion.
    pub(crate) fn cpu_s(&self) -> f64 {
        let of = |pid: u32| -> f64 {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, after_name) = text.rsplit_once(')').unwrap();
            let fields: Vec<&str> = after_name.split_whitespace().collect();
            (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
        };
        of(self.child.id()) + self.companion.as_ref().map_or(0.0, |c| of(c.id()))
    }

    /// Resident and proportional memory.
    pub(crate) fn memory_mb(&self) -> (f64, f64) {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let kib = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (kib("Rss:") / 1000.0 * 1.024, kib("Pss:") / 1000.0 * 1.024)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for child in std::iter::once(&mut self.child).chain(&mut self.companion) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What the figures belong to.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("?", |m| m.trim_start_matches([' ', '\t', ':']));
    let load = read("/proc/loadavg");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, load before the run {}", load.split_whitespace().next().unwrap_or("?"))
}
