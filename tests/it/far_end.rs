//! Brokers at the far end of a link, and a cable to them that can be pulled.

use crate::gateway::until;
use crate::programs::tool;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// An address that nothing listens on.
pub(crate) fn free_port() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A cable: what connects here reaches the far end, while it is plugged in.
pub(crate) struct Cable {
    pub(crate) addr: SocketAddr,
    plug: watch::Sender<Option<SocketAddr>>,
}

impl Cable {
    /// Not plugged in.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (plug, end) = watch::channel(None);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, end.clone()));
            }
        });
        Self { addr, plug }
    }

    pub(crate) fn plug_in(&self, far: SocketAddr) {
        self.plug.send_replace(Some(far));
    }

    /// Whatever was under way is lost.
    pub(crate) fn pull(&self) {
        self.plug.send_replace(None);
    }
}

async fn carry(mut near: TcpStream, mut end: watch::Receiver<Option<SocketAddr>>) {
    let Some(far) = *end.borrow_and_update() else { return };
    let Ok(mut far) = TcpStream::connect(far).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = end.changed() => {}
    }
}

/// A process that ends with the story.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command, addr: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Self(child);
        until("the far end listens", 60, || std::net::TcpStream::connect(addr).ok());
        process
    }

    /// Asks for an orderly end and waits for it.
    pub(crate) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // By its own handle, so never somebody else's process.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// mosquitto with its state in `folder`; `more` are further lines of its configuration.
pub(crate) fn mosquitto(folder: &Path, addr: SocketAddr, more: &str) -> Process {
    // As root it would become another user, who cannot read our files.
    let text = format!(
        "user root\npersistence true\npersistence_location {}/\nmax_queued_messages 0\nlistener {} 127.0.0.1\n{more}\n",
        folder.display(),
        addr.port()
    );
    let file = folder.join("mosquitto.conf");
    std::fs::write(&file, text).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let found = std::env::split_paths(&path).map(|dir| dir.join("mosquitto")).find(|file| file.exists());
    let program = found.map_or_else(|| tool("mosquitto"), Command::new);
    let mut command = program;
    Process::start(command.arg("-c").arg(file), addr)
}

/// The broker of the published rembus package, with its state in `folder`.
pub(crate) fn brokerd(folder: &Path, addr: SocketAddr) -> Process {
    brokerd_with(folder, addr, &[])
}

/// Likewise, with more of its settings.
pub(crate) fn brokerd_with(folder: &Path, addr: SocketAddr, environment: &[(&str, &str)]) -> Process {
    let root = env!("CARGO_MANIFEST_DIR");
    // Its DuckDB looks for the DuckLake extension below HOME.
    let arch = std::env::consts::ARCH;
    let platform = if arch == "aarch64" { "linux_arm64" } else { "linux_amd64" };
    let extensions = folder.join(".duckdb/extensions/v1.5.5").join(platform);
    std::fs::create_dir_all(&extensions).unwrap();
    let extension = "ducklake.duckdb_extension";
    std::fs::copy(format!("{root}/.duckdb/{arch}/{extension}"), extensions.join(extension)).unwrap();
    let mut command = Command::new(format!("{root}/.venv/bin/brokerd"));
    command.env("HOME", folder).env("REMBUS_DIR", folder).env("REMBUS_NAME", "cloud");
    command.env("REMBUS_PORT", addr.port().to_string()).env("REMBUS_KEYSPACE", "1");
    command.envs(environment.iter().copied());
    Process::start(&mut command, addr)
}

/// rumqttd in this process, MQTT 5. There is no way to stop it; cables can be pulled.
pub(crate) fn rumqttd(addr: SocketAddr) {
    let config = serde_json::json!({
        "id": 0,
        "router": {
            "max_connections": 100, "max_outgoing_packet_count": 200, "max_segment_size": 1 << 20, "max_segment_count": 100,
        },
        "v5": { "v5": {
            "name": "v5", "listen": addr, "next_connection_delay_ms": 1,
            "connections": { "connection_timeout_ms": 20_000, "max_payload_size": 1 << 20, "max_inflight_count": 100 },
        }},
    });
    let mut broker = rumqttd::Broker::new(serde_json::from_value(config).unwrap());
    std::thread::spawn(move || broker.start().unwrap());
    until("rumqttd listens", 60, || std::net::TcpStream::connect(addr).ok());
}
