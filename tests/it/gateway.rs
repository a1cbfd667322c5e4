//! A gateway process under test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Long enough for a debug build on two busy cores, short enough to notice a hang.
const DEADLINE: Duration = Duration::from_secs(30);

/// The schema that the scenario programs know.
pub(crate) const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/schema.json");

/// Waits until `condition` gives a value.
///
/// # Panics
/// After `seconds`, with `what`.
pub(crate) fn until<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The binary, not yet started.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rembus-gateway"));
    // What a developer has set for himself is not part of the story.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REMBUS_GATEWAY_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM").stdin(Stdio::null());
    command
}

/// How to start a gateway; the default has history and every door on a free port.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    schema: Option<PathBuf>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Files that it may have open.
    files: Option<u32>,
    /// The data folder is this one below its own.
    below: Option<&'static str>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { schema: Some(SCHEMA.into()), arguments: Vec::new(), environment: Vec::new(), files: None, below: None }
    }
}

impl Plan {
    /// No schema, no history: the engine is not loaded.
    pub(crate) fn without_history() -> Self {
        Self { schema: None, ..Self::default() }
    }

    /// Sets an option through its environment twin, as `section.key`.
    pub(crate) fn set(mut self, option: &str, value: &str) -> Self {
        let name = format!("REMBUS_GATEWAY_{}", option.replace('.', "_").to_uppercase());
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With so many files that may be open, soft and hard.
    pub(crate) fn files(mut self, limit: u32) -> Self {
        self.files = Some(limit);
        self
    }

    /// In a data folder that is not there yet.
    pub(crate) fn below(mut self, name: &'static str) -> Self {
        self.below = Some(name);
        self
    }

    /// Another schema than that of the scenario programs.
    pub(crate) fn schema(mut self, path: impl Into<PathBuf>) -> Self {
        self.schema = Some(path.into());
        self
    }

    pub(crate) fn start(self) -> Gateway {
        self.start_in(tempfile::tempdir().unwrap())
    }

    pub(crate) fn start_in(self, data: tempfile::TempDir) -> Gateway {
        Gateway::start_with(self, data)
    }
}

/// What the process wrote to standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// Where the doors listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) mqtt: SocketAddr,
    pub(crate) rembus: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// A running gateway; killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    log: Arc<Log>,
    pub(crate) doors: Doors,
    plan: Plan,
    data: tempfile::TempDir,
    /// From the start of the process to its `ready`.
    pub(crate) start_took: Duration,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Plan::default().start()
    }

    fn start_with(plan: Plan, data: tempfile::TempDir) -> Self {
        let (child, log, doors, start_took) = launch(&plan, data.path(), None);
        Self { child, log, doors, plan, data, start_took }
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn rembus_url(&self) -> String {
        format!("ws://{}", self.doors.rembus)
    }

    /// Where a door listens beside its plain port: `tls`, `ws` or `wss`.
    pub(crate) fn door(&self, door: &str, transport: &str) -> SocketAddr {
        let lines = self.log.lines.lock().unwrap();
        let line = lines.iter().find(|line| {
            line.contains("listening") && word(line, "door") == Some(door) && word(line, "transport") == Some(transport)
        });
        line.and_then(|line| word(line, "addr")?.parse().ok())
            .unwrap_or_else(|| panic!("{door} does not listen with {transport}"))
    }

    /// Asks it to read its files again.
    pub(crate) fn ask_to_reload(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// How many log lines have this text.
    pub(crate) fn count_in_log(&self, text: &str) -> usize {
        self.log.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// `kill -9`, as the power goes. The data stays.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks for an orderly end.
    pub(crate) fn ask_to_stop(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// SIGTERM, and the exit code that follows.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the process ends", DEADLINE.as_secs(), || child.try_wait().unwrap())
    }

    /// The next life on the same data, on new ports.
    pub(crate) fn start_again(&mut self) {
        self.relaunch(None);
    }

    /// The next life on the same data and on the same ports, for clients that reconnect by themselves.
    pub(crate) fn start_again_on_the_same_doors(&mut self) {
        self.relaunch(Some(self.doors));
    }

    /// The next life on the same data with more environment, and without it again afterwards; `None` if it ended before it was
    /// ready.
    pub(crate) fn start_again_with(&mut self, environment: Vec<(&'static str, String)>) -> Option<()> {
        assert!(self.child.try_wait().unwrap().is_some(), "still running");
        let mut plan = self.plan.clone();
        plan.environment.extend(environment.into_iter().map(|(name, value)| (name.into(), value.into())));
        let (mut child, log, started) = spawn(&plan, self.data.path(), None);
        let found = wait_until_ready(&mut child, &log);
        (self.child, self.log) = (child, log);
        (self.doors, self.start_took) = (found.ok()?, started.elapsed());
        Some(())
    }

    fn relaunch(&mut self, doors: Option<Doors>) {
        assert!(self.child.try_wait().unwrap().is_some(), "still running");
        (self.child, self.log, self.doors, self.start_took) = launch(&self.plan, self.data.path(), doors);
    }

    /// Everything it has logged in this life.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    /// Waits for a log line with this text.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        wait_for_line(&self.log, text, DEADLINE).unwrap_or_else(|| panic!("no log line with `{text}` in:\n{}", self.log()))
    }

    /// Runs a command such as `status` on this gateway's data: exit code, standard output, standard error.
    pub(crate) fn ask(&self, args: &[&str]) -> (i32, String, String) {
        self.ask_with(args, "")
    }

    /// The same with something on its standard input.
    pub(crate) fn ask_with(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = command();
        command.args(args).arg("--data").arg(self.data());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end without reading it.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the gateway's log (newest 60 lines)");
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
        }
        // By its own handle, so never somebody else's process.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(plan: &Plan, data: &Path, doors: Option<Doors>) -> (Child, Arc<Log>, Instant) {
    let address = |pick: fn(&Doors) -> SocketAddr| doors.as_ref().map_or("127.0.0.1:0".to_owned(), |d| pick(d).to_string());
    let mut command = command();
    let data = plan.below.map_or_else(|| data.to_owned(), |name| data.join(name));
    command.arg("run").arg("--data").arg(data);
    command.arg("--mqtt").arg(address(|d| d.mqtt));
    command.arg("--rembus").arg(address(|d| d.rembus));
    command.arg("--http").arg(address(|d| d.http));
    if let Some(schema) = &plan.schema {
        command.arg("--schema").arg(schema);
    }
    command.args(&plan.arguments).envs(plan.environment.iter().cloned());
    if let Some(limit) = plan.files {
        command = limited(&command, limit);
    }
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = follow(&mut child);
    (child, log, started)
}

/// The same command, started by a shell that lowers its limits first.
fn limited(command: &Command, files: u32) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\"")).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    shell
}

fn launch(plan: &Plan, data: &Path, doors: Option<Doors>) -> (Child, Arc<Log>, Doors, Duration) {
    let begin = Instant::now();
    loop {
        let (mut child, log, started) = spawn(plan, data, doors);
        match wait_until_ready(&mut child, &log) {
            Ok(found) => return (child, log, found, started.elapsed()),
            // An outgoing connection may sit on a port that the last life gave back.
            Err(text) if doors.is_some() && text.contains("in use") && begin.elapsed() < DEADLINE => {}
            Err(text) => panic!("the gateway did not become ready:\n{text}"),
        }
    }
}

/// Reads standard error to its end in a thread of its own.
fn follow(child: &mut Child) -> Arc<Log> {
    let log = Arc::new(Log::default());
    let (writer, source) = (log.clone(), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            writer.lines.lock().unwrap().push(line);
            writer.more.notify_all();
        }
    });
    log
}

fn wait_until_ready(child: &mut Child, log: &Log) -> Result<Doors, String> {
    let end = Instant::now() + DEADLINE;
    loop {
        // Without `ready` there is none of the rest either.
        let ready = wait_for_line(log, "ready", Duration::from_millis(20)).is_some();
        let lines = log.lines.lock().unwrap().clone();
        if ready && let Some(doors) = doors_in(&lines) {
            return Ok(doors);
        }
        let ended = child.try_wait().unwrap();
        if ended.is_some() || Instant::now() > end {
            drop(child.kill());
            drop(child.wait());
            return Err(format!("exit: {ended:?}\n{}", log.lines.lock().unwrap().join("\n")));
        }
    }
}

fn doors_in(lines: &[String]) -> Option<Doors> {
    let find = |door: &str| {
        let line = lines.iter().find(|line| line.contains("listening") && word(line, "door") == Some(door))?;
        word(line, "addr")?.parse().ok()
    };
    Some(Doors { mqtt: find("mqtt")?, rembus: find("rembus")?, http: find("http")? })
}

/// The value of `key=value` in a log line.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn wait_for_line(log: &Log, text: &str, limit: Duration) -> Option<String> {
    let lines = log.lines.lock().unwrap();
    let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
    let (lines, _) = log.more.wait_timeout_while(lines, limit, |lines| found(lines).is_none()).unwrap();
    found(&lines)
}
