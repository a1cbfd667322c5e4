//! Runs the scenario programs of `tests/clients/` against a gateway.

use crate::gateway::Gateway;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// A whole program may take this long; it has deadlines of its own for each scenario.
const DEADLINE: Duration = Duration::from_secs(200);

/// The Python that has the published clients.
fn python() -> PathBuf {
    let path = std::env::var_os("REMBUS_GATEWAY_TEST_PYTHON")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python")), PathBuf::from);
    assert!(path.exists(), "no Python with the clients at `{}`: run `make test` once, it installs them", path.display());
    path
}

/// A tool of the system, by name.
pub(crate) fn tool(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.exists());
    Command::new(found.unwrap_or_else(|| panic!("`{name}` is not installed: run `make test` once, it installs it")))
}

/// A scenario program at work.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: std::sync::mpsc::Receiver<serde_json::Value>,
    words: std::thread::JoinHandle<Vec<String>>,
    end: Instant,
}

impl Program {
    pub(crate) fn start(name: &'static str, gateway: &Gateway) -> Self {
        Self::start_with(name, gateway, &[])
    }

    pub(crate) fn start_with(name: &'static str, gateway: &Gateway, environment: &[(&str, String)]) -> Self {
        let script = format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"));
        let home = gateway.data().join("clients"); // where the rembus package keeps its files
        let mut child = Command::new(python())
            .arg(script)
            .args(["--rembus", &gateway.rembus_url(), "--mqtt", &gateway.doors.mqtt.to_string()])
            .env("BUS_SOCKET", gateway.data().join("bus.sock"))
            .env("REMBUS_DIR", &home)
            .env("HOME", &home)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = std::sync::mpsc::sync_channel(100_000);
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line)
                    && sender.send(value).is_err()
                {
                    return;
                }
            }
        });
        let errors = child.stderr.take().unwrap();
        let words = std::thread::spawn(move || BufReader::new(errors).lines().map_while(Result::ok).collect());
        Self { name, child, lines, words, end: Instant::now() + DEADLINE }
    }

    /// The next line of its report; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<serde_json::Value> {
        let left = self.end.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(value) => Some(value),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{} is not done within {DEADLINE:?}", self.name),
        }
    }

    /// Tells it that what it asked for is done.
    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"done\n").unwrap();
    }

    /// Closes its standard input: the sign to finish for programs that run until told otherwise.
    pub(crate) fn finish(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Reads its report to the end; restarts the gateway where the program asks for it.
    fn verdict(mut self, gateway: &mut Gateway) -> Result<usize, String> {
        let (mut passed, mut failed) = (0, Vec::new());
        while let Some(line) = self.line() {
            if let Some(step) = line.get("step") {
                if step == "stop" {
                    assert!(gateway.stop().success());
                } else {
                    gateway.kill();
                }
                gateway.start_again_on_the_same_doors();
                self.go_on();
            } else if line["ok"] == true {
                passed += 1;
            } else {
                failed.push(format!("{}: {}", line["scenario"], line["error"]));
            }
        }
        let code = self.child.wait().unwrap();
        let words = self.words.join().unwrap();
        if failed.is_empty() && code.success() && passed > 0 {
            return Ok(passed);
        }
        let words = &words[words.len().saturating_sub(80)..];
        Err(format!("{} ({code}, {passed} passed):\n  {}\n{}", self.name, failed.join("\n  "), words.join("\n")))
    }
}

/// Runs a program to its end; every one of its scenarios must pass.
///
/// # Panics
/// With the failed scenarios, their reasons, and the program's last words.
pub(crate) fn run(name: &'static str, gateway: &mut Gateway) {
    run_with(name, gateway, &[]);
}

/// Likewise, with more environment than the doors.
pub(crate) fn run_with(name: &'static str, gateway: &mut Gateway, environment: &[(&str, String)]) {
    if let Err(reason) = Program::start_with(name, gateway, environment).verdict(gateway) {
        panic!("{reason}");
    }
}
