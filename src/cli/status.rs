//! `status`: one screen about a running gateway.

use super::remote::{Gateway, Where};
use super::{Refusal, Streams};
use crate::bridge::LinkReport;
use crate::config::show_duration;
use crate::control::{Access, Commlib, Door, History, Log, Router, Status};
use crate::visible;
use std::fmt::{Display, Write};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) gateway: Where,
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) fn run(gateway: &Gateway, args: &Args, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    if args.json {
        let status: serde_json::Value = gateway.wait_for(gateway.client.get("/status"))?;
        streams.write(&format!("{}\n", serde_json::to_string_pretty(&status).map_err(Refusal::failed)?))?;
    } else {
        let status: Status = gateway.wait_for(gateway.client.get("/status"))?;
        streams.say(page(&status));
    }
    Ok(())
}

fn page(status: &Status) -> String {
    let mut page = Page(String::new());
    page.item(
        "gateway",
        format_args!(
            "{}, version {}, up {}, process {}",
            status.name,
            status.version,
            show_duration(Duration::from_secs(status.uptime_s)),
            status.pid
        ),
    );
    page.item("data", status.data.display());
    for door in &status.doors {
        page.item(&door.name, self::door(door, status));
    }
    for door in &status.doors_closed {
        page.item(door, "NOT LISTENING any more");
    }
    match &status.router {
        Some(router) => router_lines(&mut page, router),
        None => page.item("router", "DOES NOT ANSWER"),
    }
    page.item("log", log(&status.log));
    page.item("card", card(&status.log));
    match &status.history {
        Some(history) => history_lines(&mut page, history),
        None => page.item("history", "off (no schema)"),
    }
    for report in &status.links {
        page.item(&report.kind, link(report));
    }
    page.item("access", access(&status.access));
    if status.commlib != Commlib::default() {
        page.item("commlib", commlib(&status.commlib));
    }
    page.0.truncate(page.0.trim_end().len());
    page.0
}

fn door(door: &Door, status: &Status) -> String {
    let mut text = door.address.clone();
    if let Some(open) = status.router.as_ref().and_then(|router| router.connections.get(&door.name)) {
        write!(text, ", {open} connected").expect(INFALLIBLE);
    }
    if door.refused > 0 {
        write!(text, ", {} refused", door.refused).expect(INFALLIBLE);
    }
    if !door.anonymous {
        text.push_str(", login needed");
    }
    text
}

fn commlib(commlib: &Commlib) -> String {
    let Commlib { alive, late, gone, calls, served, actions } = commlib;
    format!("{alive} nodes alive, {late} late, {gone} gone; {calls} calls of services, {served} served, {actions} actions")
}

fn access(access: &Access) -> String {
    if access.damage.is_some() {
        return "NOBODY IS LET IN: the file of users and rules is damaged".into();
    }
    if access.open {
        return "no users, no rules: whoever gets in may do everything".into();
    }
    let Access { users, rules, logins, refused, denied, .. } = access;
    format!("{users} users, {rules} rules; {logins} let in, {refused} refused, {denied} requests denied")
}

fn router_lines(page: &mut Page, router: &Router) {
    page.item(
        "sessions",
        format_args!("{}, {} subscriptions, {} methods offered", router.sessions, router.subscriptions, router.services),
    );
    page.item(
        "messages",
        format_args!(
            "{} received, {} delivered, {} waiting, {} dropped, {} refused",
            router.received, router.delivered, router.queued, router.dropped, router.refused
        ),
    );
    page.item("calls", router.calls);
}

fn log(log: &Log) -> String {
    let health = match log.health.as_str() {
        "fine" => "fine",
        "full" => "FULL: publishers are refused until the disk has room",
        _ => "FAILED: a restart recovers everything that was acknowledged",
    };
    let mib = log.bytes_on_disk.div_ceil(1 << 20);
    format!("{health}; {} records so far, {} of them synced; {mib} MiB on the disk", log.written, log.durable)
}

fn card(log: &Log) -> String {
    let written = bytesize::ByteSize(log.written_last_day);
    match log.write_budget {
        Some(budget) => format!("{written} written in the last 24 h, of {} that may be", bytesize::ByteSize(budget)),
        None => format!("{written} written in the last 24 h"),
    }
}

fn link(link: &LinkReport) -> String {
    if link.kind == "rest" {
        return format!("{}, {} calls, {} of them in vain", link.name, link.calls, link.dropped.values().sum::<u64>());
    }
    if link.kind == "tcp" {
        let ended: u64 = link.dropped.values().sum();
        return format!("{} is forwarded, {} connections, {ended} of them refused or cut", link.name, link.connections);
    }
    let state = match &link.trouble {
        Some(trouble) if !link.connected => format!("DOWN: {trouble}"),
        Some(trouble) => format!("up, but {trouble}"),
        None if link.connected => "up".to_owned(),
        None => "connecting".to_owned(),
    };
    let mut text = format!("{}, {state}; {} forwarded, {} received", link.name, link.forwarded, link.received);
    if link.waiting_records > 0 {
        let (bytes, since) = (bytesize::ByteSize(link.waiting_bytes), show_duration(Duration::from_secs(link.waiting_s)));
        write!(text, "; {} records ({bytes}) behind the log, the oldest waits {since}", link.waiting_records)
            .expect(INFALLIBLE);
    }
    let dropped: u64 = link.dropped.values().sum();
    if dropped > 0 {
        write!(text, "; {dropped} GIVEN UP").expect(INFALLIBLE);
    }
    text
}

fn history_lines(page: &mut Page, history: &History) {
    match &history.trouble {
        Some(trouble) => page.item("history", format_args!("NOT WORKING: {trouble}")),
        None => page.item("history", format_args!("working, {} records behind the log", history.lag)),
    }
    for (name, table) in &history.tables {
        let rows = table.in_lake + table.in_tail;
        page.item(
            "",
            format_args!("table {name}: {rows} rows, {} of them not in files yet, {} rejected", table.in_tail, table.rejected),
        );
    }
}

const INFALLIBLE: &str = "a String takes everything";

struct Page(String);

impl Page {
    fn item(&mut self, name: &str, text: impl Display) {
        // A link's trouble is in the words of its far end.
        writeln!(self.0, "{name:<9} {}", visible::one_line(text)).expect(INFALLIBLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Table;

    fn status() -> Status {
        let door = |name: &str, address: &str| Door {
            name: name.into(),
            address: address.into(),
            accepted: 7,
            anonymous: true,
            refused: 0,
        };
        let table = Table { in_lake: 1000, in_tail: 20, rejected: 3, refused: None };
        Status {
            name: "plant-7".into(),
            version: "0.1.0".into(),
            pid: 42,
            data: "/var/lib/rembus-gateway".into(),
            uptime_s: 93_784,
            files: crate::files::Files::default(),
            doors: vec![
                door("mqtt", "127.0.0.1:1883"),
                Door { anonymous: false, refused: 2, ..door("rembus", "0.0.0.0:8338") },
            ],
            doors_closed: Vec::new(),
            router: Some(Router {
                connections: [("mqtt".into(), 3), ("rembus".into(), 1)].into(),
                sessions: 4,
                subscriptions: 9,
                services: 2,
                received: 1020,
                delivered: 3000,
                queued: 5,
                dropped: 1,
                refused: 2,
                calls: 77,
            }),
            log: Log { health: "fine".into(), written: 1020, durable: 1015, bytes_on_disk: 16 << 20, ..Log::default() },
            history: Some(History { lag: 1, tables: [("telemetry".into(), table)].into(), ..History::default() }),
            access: Access { users: 3, rules: 5, logins: 40, refused: 2, denied: 1, ..Access::default() },
            commlib: Commlib { alive: 2, gone: 1, calls: 12, served: 4, actions: 1, ..Commlib::default() },
            links: vec![LinkReport {
                kind: "parent".into(),
                name: "gw1@cloud".into(),
                connected: true,
                forwarded: 990,
                received: 4,
                ..LinkReport::default()
            }],
        }
    }

    #[test]
    fn one_screen_says_how_the_gateway_is() {
        insta::assert_snapshot!(page(&status()));
    }

    #[test]
    fn what_is_wrong_stands_out() {
        let link = LinkReport {
            kind: "remote".into(),
            name: "cloud".into(),
            trouble: Some("it cannot be reached: refused".into()),
            forwarded: 10,
            waiting_records: 1234,
            waiting_bytes: 5 << 20,
            waiting_s: 3700,
            dropped: [("backlog_size".into(), 7)].into(),
            ..LinkReport::default()
        };
        let sick = Status {
            links: vec![link],
            doors_closed: vec!["rembus".into()],
            router: None,
            log: Log { health: "full".into(), ..status().log },
            history: Some(History { trouble: Some("no engine".into()), ..History::default() }),
            ..status()
        };
        insta::assert_snapshot!(page(&sick));
    }
}
