//! `check`: what the configuration means.

use crate::bridge::Direction;
use crate::config::{Config, Entry, Listen, Loaded, show_duration as duration, show_size as size};
use crate::disk::{Disk, SystemDisk};
use crate::history::model::{Schema, TopicSegment};
use std::fmt::{Display, Write};
use std::path::Path;

/// The effective configuration on one screen, and where each value that is not the default came from.
pub(super) fn summary(loaded: &Loaded, file: Option<&Path>) -> String {
    let mut page = Page(String::new());
    match file {
        Some(file) => page.line(format_args!("{}: fine", file.display())),
        None => page.line("no configuration file; the defaults are fine"),
    }
    page.line("");
    meaning(&mut page, &loaded.config);
    if let Some(schema) = &loaded.schema {
        tables(&mut page, schema);
    }
    page.line("");
    let mut changed = loaded.settings.changed().peekable();
    if changed.peek().is_none() && loaded.settings.all_entries().is_empty() {
        page.line("Every value is the default.");
    } else {
        page.line("Not the default:");
    }
    for (key, setting) in changed {
        page.line(format_args!("  {key} = {}  ({})", setting.value, setting.origin));
    }
    entries(&mut page, loaded.settings.all_entries(), 2);
    for note in loaded.notes.iter().chain(&room(&loaded.config)) {
        page.line("");
        page.line(format_args!("note: {note}"));
    }
    page.0.truncate(page.0.trim_end().len());
    page.0
}

fn meaning(page: &mut Page, config: &Config) {
    let Config { gateway, mqtt, rembus, http, tls, access: _, limits: _, bus, wal, history, links, commlib: _, forms: _ } =
        config;
    page.item("name", &gateway.name);
    page.item("data", gateway.data.display());
    let ways = [("", &mqtt.listen), ("tls ", &mqtt.tls_listen), ("ws ", &mqtt.ws_listen), ("wss ", &mqtt.wss_listen)];
    page.door("mqtt", &ways, format_args!("packets up to {}{}", size(mqtt.max_packet as u64), login(mqtt.anonymous)));
    let ways = [("", &rembus.listen), ("wss ", &rembus.tls_listen)];
    page.door("rembus", &ways, format_args!("messages up to {}{}", size(rembus.max_message as u64), login(rembus.anonymous)));
    page.door(
        "http",
        &[("", &http.listen), ("https ", &http.tls_listen)],
        format_args!("health and metrics{}", login(http.anonymous)),
    );
    let path = bus.path.as_ref().map(|path| path.display().to_string());
    let tcp = bus.tcp.iter().map(|address| format!("tcp {address}"));
    let places: Vec<String> = path.into_iter().chain(tcp).collect();
    if places.is_empty() {
        page.item("bus", "off");
    } else {
        let frames = size(bus.max_frame as u64);
        page.item("bus", format_args!("{}; frames up to {frames}, {} programs", places.join(", "), bus.max_clients));
    }
    if let Some(tls) = tls {
        page.item("tls", tls.certificate.display());
    }
    page.item(
        "log",
        format_args!(
            "kept {}, at most {}; {} of the disk stay free; acknowledgements wait at most {}",
            duration(wal.keep),
            size(wal.keep_size),
            size(wal.reserve),
            duration(wal.ack_delay_max)
        ),
    );
    match &history.schema {
        Some(schema) => page.item(
            "history",
            format_args!(
                "{}; written every {} or {} rows, {} of memory",
                schema.display(),
                duration(history.batch_interval),
                history.batch_rows,
                size(history.memory_limit)
            ),
        ),
        None => page.item("history", "off (no schema)"),
    }
    for parent in &links.parents {
        let name = &parent.component;
        let (forward, expose) = (parent.forward.len(), parent.expose.len());
        let address = format_args!("{}:{}", parent.link.host, parent.link.port).to_string();
        page.item(
            "parent",
            format_args!("{address} as {name}, {forward} patterns go there, {expose} methods can be called from there"),
        );
    }
    for proxy in &links.proxies {
        let (method, host, port, allowed) = (&proxy.method, &proxy.host, proxy.port, proxy.allow.len());
        page.item("rest", format_args!("`{method}` asks {host}:{port}, {allowed} kinds of request"));
    }
    for forward in &links.forwards {
        let reach = format_args!("{} leads to {}, {} connections at most", forward.listen, forward.to, forward.connections_max);
        page.item("tcp", reach);
    }
    for remote in &links.remotes {
        let out = remote.topics.iter().filter(|bridge| bridge.direction == Direction::Out).count();
        let address = format_args!("{}:{}", remote.link.host, remote.link.port).to_string();
        let (into, calls) = (remote.topics.len() - out, remote.calls.len());
        page.item(
            "remote",
            format_args!("{} at {address}: {out} filters go there, {into} come from there, {calls} services", remote.link.name),
        );
    }
}

/// The entries of structured sections, each with what was given in it.
fn entries(page: &mut Page, list: &[Entry], indent: usize) {
    for entry in list {
        page.line(format_args!("{:indent$}{entry}  ({})", "", entry.origin));
        for (key, setting) in entry.given() {
            page.line(format_args!("{:indent$}  {} = {}", "", key.name, setting.value));
        }
        entries(page, entry.settings.all_entries(), indent + 2);
    }
}

fn login(anonymous: bool) -> &'static str {
    if anonymous { "" } else { "; login needed" }
}

/// The tables that history keeps, and from which topics.
fn tables(page: &mut Page, schema: &Schema) {
    for table in &schema.tables {
        let topic: Vec<String> = table.topic.iter().map(segment).collect();
        page.item("", format_args!("table {} from {}", table.name, topic.join("/")));
    }
}

fn segment(segment: &TopicSegment) -> String {
    match segment {
        TopicSegment::Literal(text) => text.clone(),
        TopicSegment::Variable(name) => format!(":{name}"),
    }
}

/// Says so when the disk has no room beyond the reserve: publishers would be refused from the start.
fn room(config: &Config) -> Option<String> {
    let there = config.gateway.data.ancestors().find(|dir| dir.is_dir())?;
    let free = SystemDisk.free_bytes(there).ok()?;
    (free <= config.wal.reserve).then(|| {
        format!(
            "the disk of {} has {} bytes free; publishers are refused while that is less than [wal] reserve",
            there.display(),
            free
        )
    })
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl Display) {
        writeln!(self.0, "{text}").expect("a String takes everything");
    }

    fn item(&mut self, name: &str, text: impl Display) {
        self.line(format_args!("  {name:<8} {text}"));
    }

    fn door(&mut self, name: &str, ways: &[(&str, &Listen)], text: impl Display) {
        let open: Vec<String> =
            ways.iter().flat_map(|(way, listen)| listen.iter().map(move |address| format!("{way}{address}"))).collect();
        if open.is_empty() {
            self.item(name, "off");
        } else {
            self.item(name, format_args!("{}, {text}", open.join(", ")));
        }
    }
}
