//! `doctor`: what could go wrong, or does, on one screen; exit code 1 if something fails.

mod programs;

use super::remote::{Gateway, Where};
use super::{FAILED, Refusal, Streams};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigErrors, Flags, Loaded};
use crate::control::{ControlError, Status};
use crate::disk::{Disk, SystemDisk};
use crate::files::Files;
use crate::visible;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    gateway: Where,
}

/// 2024-01-01, in seconds: this program did not exist before.
const CLOCK_MIN: u64 = 1_704_067_200;
/// Log records that history may be behind without anybody being told.
const LAG_MAX: u64 = 100_000;
/// Rows of a thousand taken that may be rejected before it is worth a word.
const REJECTED_OF_1000: u64 = 10;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
    failed: bool,
}

impl Findings {
    fn ok(&mut self, what: &str, text: impl Display) {
        self.lines.push(format!("OK    {what}: {}", visible::one_line(text)));
    }

    fn warn(&mut self, what: &str, text: impl Display, hint: &str) {
        self.lines.push(format!("WARN  {what}: {}\n      {hint}", visible::one_line(text)));
    }

    fn fail(&mut self, what: &str, text: impl Display, hint: &str) {
        self.failed = true;
        self.lines.push(format!("FAIL  {what}: {}\n      {hint}", visible::one_line(text)));
    }
}

pub(super) fn run(args: &Args, env: Vec<(OsString, OsString)>, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    let mut found = Findings::default();
    let loaded = Loaded::load(&Flags::default(), env.clone(), args.gateway.config());
    configuration(&loaded, &mut found);
    // With a configuration that cannot be read only `--data` can say where the gateway is.
    let gateway = args.gateway.find(env);
    let config = loaded.as_ref().map_or_else(|_| Config::default(), |loaded| loaded.config.clone());
    clock(SystemClock::shared().wall().0 / 1_000_000_000, &mut found);
    if let Ok(gateway) = &gateway {
        disk(&gateway.data, config.wal.reserve, &mut found);
        privacy(&gateway.data, &mut found);
        running(gateway, &config, &mut found);
    }
    for line in &found.lines {
        streams.say(line);
    }
    if found.failed { Err(Refusal { code: FAILED, text: String::new() }) } else { Ok(()) }
}

fn configuration(loaded: &Result<Loaded, ConfigErrors>, found: &mut Findings) {
    match loaded {
        Err(errors) => found.fail("configuration", format_args!("{} mistakes", errors.0.len()), "rembus-gateway check"),
        Ok(loaded) => {
            found.ok("configuration", "no mistakes");
            for mistake in &loaded.survivable.0 {
                found.warn("configuration", &mistake.text, mistake.hint.as_deref().unwrap_or_default());
            }
            for note in &loaded.notes {
                found.warn("configuration", note, "rembus-gateway check");
            }
        }
    }
}

fn clock(seconds: u64, found: &mut Findings) {
    if seconds < CLOCK_MIN {
        found.warn("clock", "it is not set", "time stamps will be wrong until it is; start a time service");
    } else {
        found.ok("clock", "it is set");
    }
}

fn disk(data: &Path, reserve: u64, found: &mut Findings) {
    let mib = |bytes: u64| bytes >> 20;
    match data.ancestors().find(|dir| dir.is_dir()).map(|dir| SystemDisk.free_bytes(dir)) {
        Some(Ok(free)) if free <= reserve => found.fail(
            "disk",
            format_args!("{} MiB free; publishers are refused below [wal] reserve, {} MiB", mib(free), mib(reserve)),
            "make room, or keep less: [wal] keep_size",
        ),
        Some(Ok(free)) if free / 2 <= reserve => found.warn(
            "disk",
            format_args!("{} MiB free; publishers are refused below {} MiB", mib(free), mib(reserve)),
            "make room, or keep less: [wal] keep_size",
        ),
        Some(Ok(free)) => found.ok("disk", format_args!("{} MiB free", mib(free))),
        Some(Err(error)) => found.fail("disk", error, "is it mounted?"),
        None => found.fail("disk", format_args!("{} is not there", data.display()), "is it mounted?"),
    }
}

fn running(gateway: &Gateway, config: &Config, found: &mut Findings) {
    match gateway.wait_for(gateway.client.get::<Status>("/status")) {
        Ok(status) => {
            found.ok("gateway", format_args!("version {} runs as process {}", status.version, status.pid));
            examine(&status, found);
            programs::sockets(&status, &config.bus, found);
        }
        Err(ControlError::NotRunning(data)) => {
            found.fail("gateway", format_args!("none is running on {}", data.display()), "systemctl status rembus-gateway");
        }
        Err(error) => found.fail("gateway", error, "journalctl -u rembus-gateway"),
    }
}

/// Whether there is a descriptor for everybody who may come.
fn files(status: &Status, found: &mut Findings) {
    let Files { limit, reserve, open } = status.files;
    let text = format!(
        "{open} open of {limit}; {} connections at most, {reserve} are kept back for log, history, commands and links",
        status.files.connections()
    );
    match limit {
        // It is older than this command.
        0 => {}
        _ if open > limit / 10 * 9 => {
            found.warn("files", text, "connections are turned away; raise the limit: LimitNOFILE= of the unit")
        }
        1..=1023 => found.warn("files", text, "few can connect; raise the limit: LimitNOFILE= of the unit, or `ulimit -Hn`"),
        _ => found.ok("files", text),
    }
}

/// Whether other users of this machine can read what is kept.
fn privacy(data: &Path, found: &mut Findings) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(folder) = std::fs::metadata(data) else { return };
    if folder.permissions().mode() & 0o004 != 0 {
        let text = format_args!("every user of this machine can read {}", data.display()).to_string();
        found.warn(
            "data",
            text,
            "an earlier version made it so when started by hand: chmod -R go-rwx it, or keep the bus socket elsewhere",
        );
    }
}

/// What the gateway says about itself.
fn examine(status: &Status, found: &mut Findings) {
    files(status, found);
    if status.version != env!("CARGO_PKG_VERSION") {
        found.warn("gateway", "it is not the version of this command", "restart it after an update");
    }
    for door in &status.doors {
        found.ok("door", format_args!("{} listens on {}", door.name, door.address));
    }
    for door in &status.doors_closed {
        found.fail("door", format_args!("{door} listens no more"), "restart the gateway, and report it with its log");
    }
    match &status.router {
        Some(router) if router.dropped > 0 => found.warn(
            "router",
            format_args!("{} copies were dropped since the start", router.dropped),
            "some subscriber is too slow, or gone; the metrics say why",
        ),
        Some(_) => found.ok("router", "it answers"),
        None => found.fail("router", "it does not answer", "journalctl -u rembus-gateway"),
    }
    match status.log.health.as_str() {
        "fine" => found.ok("log", format_args!("it takes writes; {} records are on the disk", status.log.durable)),
        "full" => found.fail("log", "the disk is full, publishers are refused", "make room; it goes on by itself"),
        _ => found.fail("log", "the disk failed", "the gateway restarts by itself; look at the disk"),
    }
    history(status, found);
    links(status, found);
    access(status, found);
}

fn links(status: &Status, found: &mut Findings) {
    for link in status.links.iter().filter(|link| link.kind == "parent" || link.kind == "remote") {
        let what = format!("{} {}", link.kind, link.name);
        match &link.trouble {
            Some(trouble) if !link.connected => {
                let waiting = bytesize::ByteSize(link.waiting_bytes);
                found.fail(
                    "link",
                    format_args!("{what}: {trouble}"),
                    &format!("{waiting} wait for it; is it there, and does it let the gateway in?"),
                );
            }
            Some(trouble) => found.warn("link", format_args!("{what}: {trouble}"), "look at the rights of the gateway there"),
            None if link.connected => {
                found.ok("link", format_args!("{what} is up, {} records behind the log", link.waiting_records))
            }
            None => found.warn("link", format_args!("{what} is not up yet"), "try again in a moment"),
        }
        let dropped: u64 = link.dropped.values().sum();
        if dropped > 0 {
            found.warn(
                "link",
                format_args!("{what}: {dropped} messages or calls were given up since the start"),
                "the metric rembus_gateway_link_dropped_total says why",
            );
        }
    }
}

fn history(status: &Status, found: &mut Findings) {
    let Some(history) = &status.history else { return found.ok("history", "off") };
    match &history.trouble {
        Some(trouble) => found.fail("history", trouble, "routing and the log go on; journalctl -u rembus-gateway"),
        None if history.lag > LAG_MAX => {
            found.warn(
                "history",
                format_args!("{} records behind the log", history.lag),
                "it catches up when there is less to do",
            );
        }
        None => found.ok("history", format_args!("{} records behind the log", history.lag)),
    }
    if history.damaged_files > 0 {
        let (files, again, lost) = (history.damaged_files, history.rows_reloaded, history.rows_lost);
        let text = format!(
            "{files} damaged files are in `lake/quarantine`; {again} rows were loaded again from the log, {lost} are lost"
        );
        found.warn("lake", text, "lake/damage.json tells which; rembus-gateway lake verify looks for more");
    }
    for (name, table) in &history.tables {
        if let Some(why) = &table.refused {
            let text = format!("the table {name} takes no rows: {why}");
            found.fail("history", text, "change its schema back, or give the table another name");
        }
        let taken = table.in_lake + table.in_tail;
        if table.rejected * 1000 > taken.saturating_mul(REJECTED_OF_1000) {
            let text = format!("{} rows did not fit the table {name}, {taken} did", table.rejected);
            found.warn("history", text, "the metric rembus_gateway_history_rows_rejected_total says why");
        }
    }
}

fn access(status: &Status, found: &mut Findings) {
    let access = &status.access;
    if let Some(damage) = &access.damage {
        return found.fail("access", damage, "nobody is let in; repair or remove the file, then send SIGHUP");
    }
    let local = |address: &str| address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    let exposed: Vec<_> = status.doors.iter().filter(|door| door.anonymous && !local(&door.address)).collect();
    match exposed.first() {
        Some(door) if access.open && door.name != "http" => found.warn(
            "access",
            format_args!("whoever reaches {} ({}) may do everything", door.address, door.name),
            "rembus-gateway admin user add NAME; see `rembus-gateway admin --help`",
        ),
        _ if access.open => found.ok("access", "nobody but this machine gets in, and may do everything"),
        _ if access.users == 0 && status.doors.iter().any(|door| !door.anonymous) => {
            found.warn("access", "a door asks for users and there are none", "rembus-gateway admin user add NAME");
        }
        _ => found.ok("access", format_args!("{} users, {} rules", access.users, access.rules)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Access, Door, History, Log, Router, Table};

    fn examined(status: &Status) -> Findings {
        let mut found = Findings::default();
        examine(status, &mut found);
        found
    }

    fn healthy() -> Status {
        let door = Door { name: "mqtt".into(), address: "127.0.0.1:1883".into(), anonymous: true, accepted: 3, refused: 0 };
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            doors: vec![door],
            router: Some(Router::default()),
            log: Log { health: "fine".into(), ..Log::default() },
            history: Some(History::default()),
            access: Access { open: true, ..Access::default() },
            ..Status::default()
        }
    }

    #[test]
    fn a_healthy_gateway_gets_only_good_words() {
        let found = examined(&healthy());
        assert!(!found.failed && found.lines.iter().all(|line| line.starts_with("OK")), "{found:#?}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        let mut sick = healthy();
        sick.doors_closed = vec!["rembus".into()];
        sick.router = None;
        sick.log.health = "full".into();
        let tables = [("telemetry".into(), Table { in_lake: 10, in_tail: 0, rejected: 5, refused: None })].into();
        let damage = History { damaged_files: 1, rows_reloaded: 10, rows_lost: 2, ..History::default() };
        sick.history = Some(History { trouble: Some("no engine".into()), tables, ..damage });
        sick.doors[0].address = "0.0.0.0:1883".into();
        sick.links = vec![crate::bridge::LinkReport {
            kind: "remote".into(),
            name: "cloud".into(),
            trouble: Some("it refuses the gateway: NotAuthorized".into()),
            waiting_bytes: 5 << 20,
            dropped: [("refused".into(), 7)].into(),
            ..crate::bridge::LinkReport::default()
        }];
        let mut found = examined(&sick);
        clock(0, &mut found);
        disk(Path::new("/"), u64::MAX, &mut found);
        assert!(found.failed);
        let text = found.lines.join("\n");
        let free = text.lines().find(|line| line.contains("MiB free")).unwrap().to_owned();
        insta::assert_snapshot!(text.replace(&free, "FAIL  disk: …"));
    }

    #[test]
    fn descriptors_and_what_is_kept_back_of_them_are_shown() {
        let with = |limit, open| {
            let files = Files { limit, reserve: 320, open };
            examined(&Status { files, ..healthy() }).lines.into_iter().find(|line| line.contains("files:")).unwrap()
        };
        assert_eq!(
            with(4096, 40),
            "OK    files: 40 open of 4096; 3776 connections at most, 320 are kept back for log, history, commands and links"
        );
        assert!(with(4096, 4000).starts_with("WARN") && with(512, 10).starts_with("WARN"));
    }

    #[test]
    fn what_others_can_read_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        for (mode, lines) in [(0o755, 1), (0o711, 0), (0o700, 0)] {
            std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let mut found = Findings::default();
            privacy(data.path(), &mut found);
            assert_eq!(found.lines.len(), lines, "{mode:o}: {found:?}");
        }
    }

    #[test]
    fn the_words_of_a_far_end_cannot_steer_the_terminal_or_look_like_ours() {
        let mut sick = healthy();
        sick.links = vec![crate::bridge::LinkReport {
            kind: "remote".into(),
            name: "cloud".into(),
            trouble: Some("no\u{1b}[2J\nOK    gateway: fine".into()),
            ..crate::bridge::LinkReport::default()
        }];
        let found = examined(&sick);
        assert!(found.lines.iter().any(|line| line.contains("no\\u{1b}[2J\\nOK    gateway: fine")), "{found:#?}");
        assert!(!found.lines.concat().contains('\u{1b}'));
    }

    #[test]
    fn a_damaged_policy_is_a_failure() {
        let mut sick = healthy();
        sick.access = Access { damage: Some("not a policy".into()), ..Access::default() };
        assert!(examined(&sick).failed);
    }
}
