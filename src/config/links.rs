//! The structured sections of links to other brokers, and what they mean together.

use super::anonymous::is_loopback;
use super::build::Values;
use super::keys::{GIB, HOUR, KIB, Key, Kind, MIB, SECOND, Words, YEAR, key, required};
use super::mistake::ConfigErrors;
use super::sections::{Entry, Form, Section};
use super::settings::Settings;
use crate::bridge::{
    self, Allowed, BacklogLimits, Direction, Exposure, LinkSettings, Parent, Remote, RestProxy, RpcBridge, TcpForward,
    TlsFiles, TopicBridge, filter_of,
};
use crate::message::Qos;
use crate::tls::client::client_config;
use std::time::Duration;

/// Names this gateway in `from` and `to`.
const LOCAL: &str = "local";

const ANY: fn(&str) -> Result<(), String> = |_| Ok(());

const fn text(example: &'static str, check: fn(&str) -> Result<(), String>) -> Kind {
    Kind::Phrase(Words { example, check })
}

const fn rate(section: &'static str) -> Key {
    key(
        section,
        "rate",
        Kind::Size(KIB, GIB),
        "4MiB",
        "bytes a second that are sent at most; a message counts as 512 B at least",
    )
}

const fn backlog_size(section: &'static str) -> Key {
    let about = "the log keeps this much for the link while it is down; what is older is given up";
    key(section, "backlog_size", Kind::Size(MIB, 1024 * GIB), "256MiB", about)
}

const fn backlog_age(section: &'static str) -> Key {
    let about = "messages that wait longer are given up";
    key(section, "backlog_age", Kind::DurationOrOff(SECOND, YEAR), "off", about)
}

const fn ca(section: &'static str) -> Key {
    key(section, "ca", Kind::PathOrOff, "off", "CA certificates that vouch for it (PEM); without, those of the system")
}

const fn certificate(section: &'static str) -> Key {
    key(section, "certificate", Kind::PathOrOff, "off", "the gateway's certificate as a client (PEM)")
}

/// A Rembus broker that this gateway is a component of.
pub(super) const PARENT: Section = Section {
    path: "parent",
    form: Form::List,
    max: 16,
    keys: &[
        required(
            "parent",
            "url",
            text("wss://cloud.example:8338", |text| address(text, "ws", "wss").map(drop)),
            "where it listens: `ws://` or `wss://`, host and port",
        ),
        required("parent", "name", Kind::Name, "the component that the gateway is there"),
        key(
            "parent",
            "key",
            Kind::PathOrOff,
            "off",
            "proves it: RSA or ECDSA P-256 (PEM), or a shared secret; made if not there",
        ),
        key("parent", "pin", Kind::PathOrOff, "off", "file with the pin that registers the key there"),
        key(
            "parent",
            "forward",
            Kind::Texts(Words { example: "**/telemetry", check: pattern }),
            "",
            "what is published here on topics like these is published there too (Rembus patterns)",
        ),
        rate("parent"),
        backlog_size("parent"),
        backlog_age("parent"),
        ca("parent"),
        certificate("parent"),
        key("parent", "certificate_key", Kind::PathOrOff, "off", "its private key (PEM)"),
    ],
};

/// A service of this gateway that the parent's components may call.
pub(super) const PARENT_EXPOSE: Section = Section {
    path: "parent.expose",
    form: Form::List,
    max: 1_000,
    keys: &[
        required("parent.expose", "method", text("query_telemetry", ANY), "a method that can be called here"),
        required("parent.expose", "as", text("gw1/query_telemetry", ANY), "and its name there"),
    ],
};

/// An MQTT broker that topics and calls are bridged with.
pub(super) const REMOTE: Section = Section {
    path: "remote",
    form: Form::Named,
    max: 16,
    keys: &[
        required(
            "remote",
            "url",
            text("mqtts://cloud.example:8883", |text| address(text, "mqtt", "mqtts").map(drop)),
            "where it listens: `mqtt://` or `mqtts://`, host and port; it speaks MQTT 5",
        ),
        key("remote", "client_id", text("gw-01", ANY), "", "as which client; else the gateway's name and NAME"),
        key("remote", "user", text("gw-01", ANY), "", "login there"),
        key("remote", "password", Kind::PathOrOff, "off", "file with the password"),
        key(
            "remote",
            "keep_alive",
            Kind::Duration(Duration::from_secs(5), HOUR),
            "30s",
            "silence after which the link is tested",
        ),
        rate("remote"),
        backlog_size("remote"),
        backlog_age("remote"),
        ca("remote"),
        certificate("remote"),
        key("remote", "key", Kind::PathOrOff, "off", "its private key (PEM)"),
    ],
};

/// Topics that are forwarded.
pub(super) const BRIDGE_TOPIC: Section = Section {
    path: "bridge.topic",
    form: Form::List,
    max: 1_000,
    keys: &[
        required("bridge.topic", "from", text("local", ANY), "`\"local\"` is this gateway, else the NAME of a remote"),
        required("bridge.topic", "to", text("cloud", ANY), "likewise; one of both is `\"local\"`"),
        required(
            "bridge.topic",
            "filter",
            text("sensors/#", |text| filter_of(text, false).map(drop)),
            "which topics of `from`: as MQTT writes it, or commlib (`sensors.*`)",
        ),
        key(
            "bridge.topic",
            "prefix",
            text("site1", |text| filter_of(text, true).map(drop)),
            "",
            "the topic in `to` begins with this level",
        ),
        key(
            "bridge.topic",
            "replace",
            Kind::Pairs(Words { example: "sonar", check: level }),
            "",
            "levels that are called otherwise in `to`: `[[\"sonar\", \"range\"]]`, one after the other",
        ),
        key("bridge.topic", "qos", Kind::Count(0, 1), "1", "1: acknowledged at each step; 0: sent once"),
    ],
};

/// Calls in commlib's convention that are passed on.
pub(super) const BRIDGE_RPC: Section = Section {
    path: "bridge.rpc",
    form: Form::List,
    max: 1_000,
    keys: &[
        required("bridge.rpc", "from", text("cloud", ANY), "where the callers are: `\"local\"` or the NAME of a remote"),
        required("bridge.rpc", "service", text("site1.ops.add", |text| filter_of(text, true).map(drop)), "what they call"),
        required("bridge.rpc", "to", text("local", ANY), "where the service is; one of both is `\"local\"`"),
        required("bridge.rpc", "target", text("thing.ops.add", |text| filter_of(text, true).map(drop)), "and its name there"),
        key("bridge.rpc", "timeout", Kind::Duration(Duration::from_millis(10), HOUR), "8s", "later answers are not passed on"),
        key("bridge.rpc", "max_in_flight", Kind::Count(1, 10_000), "32", "more calls at a time are not passed on"),
    ],
};

/// A port here that leads to an address behind the gateway.
pub(super) const TCP_FORWARD: Section = Section {
    path: "tcp_forward",
    form: Form::List,
    max: 64,
    keys: &[
        required("tcp_forward", "listen", text("127.0.0.1:9000", port), "where it listens"),
        required("tcp_forward", "to", text("192.168.1.20:502", port), "what it connects to"),
        key("tcp_forward", "exposed", Kind::Switch, "false", "`listen` may be an address that other machines can reach"),
        key("tcp_forward", "max_connections", Kind::Count(1, 10_000), "8", "more are closed at once"),
        key(
            "tcp_forward",
            "idle_timeout",
            Kind::Duration(SECOND, YEAR),
            "5m",
            "a connection on which nothing moves for so long ends",
        ),
    ],
};

/// A method that asks an HTTP service.
pub(super) const REST_PROXY: Section = Section {
    path: "rest_proxy",
    form: Form::List,
    max: 64,
    keys: &[
        required("rest_proxy", "method", text("weather", ANY), "the method that components call"),
        required(
            "rest_proxy",
            "url",
            text("http://192.168.1.20:8080", |text| address(text, "http", "https").map(drop)),
            "the service: `http://` or `https://`, host and port",
        ),
        required(
            "rest_proxy",
            "allow",
            Kind::Texts(Words { example: "GET /api/v1/*", check: |text| Allowed::parse(text).map(drop) }),
            "what may be asked: a verb and a path, `*` at the end for all below",
        ),
        key("rest_proxy", "timeout", Kind::Duration(Duration::from_millis(10), HOUR), "5s", "then the caller gets an error"),
        key("rest_proxy", "max_body", Kind::Size(KIB, 64 * MIB), "256KiB", "largest body of a request or an answer"),
        key("rest_proxy", "max_in_flight", Kind::Count(1, 10_000), "8", "more calls at a time are refused"),
        ca("rest_proxy"),
    ],
};

fn port(text: &str) -> Result<(), String> {
    address(&format!("tcp://{text}"), "tcp", "tcp").map(drop)
}

/// Host, port and whether TLS is spoken.
fn address(text: &str, plain: &str, secure: &str) -> Result<(String, u16, bool), String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("does not begin with {plain}:// or {secure}://"))?;
    let is_secure = match scheme {
        scheme if scheme == plain => false,
        scheme if scheme == secure => true,
        "redis" | "amqp" | "kafka" => return Err(format!("cannot be bridged: only {plain}:// and {secure}:// are")),
        _ => return Err(format!("does not begin with {plain}:// or {secure}://")),
    };
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or("has no port")?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or("has no port that is a number")?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fine = match bare {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '@']) && !host.contains(char::is_whitespace),
    };
    if fine { Ok((bare.unwrap_or(host).to_owned(), port, is_secure)) } else { Err("has no host name before its port".into()) }
}

fn pattern(text: &str) -> Result<(), String> {
    if text.contains(['+', '#']) {
        return Err("is no Rembus pattern: `*` stands for a level, `**` for any number".into());
    }
    Ok(())
}

fn level(text: &str) -> Result<(), String> {
    if text.contains(['/', '+', '#']) { Err("is more than one level".into()) } else { Ok(()) }
}

/// Reads the links; what does not fit together is a mistake.
pub(super) fn read(settings: &Settings, errors: &mut ConfigErrors) -> bridge::Settings {
    let mut parents: Vec<Parent> = Vec::new();
    for entry in settings.entries("parent") {
        let parent = parent(entry, errors);
        if parents.iter().any(|other| other.link.name == parent.link.name) {
            errors.add(entry.place("name"), format!("{entry} name: there is another parent of this host and name"), None);
        }
        parents.push(parent);
    }
    let mut remotes: Vec<Remote> =
        settings.entries("remote").map(|entry| remote(entry, &Values(settings).text("gateway", "name"), errors)).collect();
    let names: Vec<String> = settings
        .all_entries()
        .iter()
        .filter(|entry| entry.section.path == "remote")
        .filter_map(|entry| entry.name.clone())
        .collect();
    for entry in settings.entries("bridge.topic") {
        let Some((name, direction)) = ends(entry, &names, errors) else { continue };
        let qos = if entry.count("qos") == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let prefix = entry.text_or_none("prefix").map(|prefix| mqtt(&prefix));
        let bridge = TopicBridge::new(direction, mqtt(&entry.text("filter")), prefix, entry.pairs("replace"), qos);
        add(&mut remotes, &name, |remote| remote.topics.push(bridge));
    }
    for entry in settings.entries("bridge.rpc") {
        let Some((name, direction)) = ends(entry, &names, errors) else { continue };
        let bridge = RpcBridge {
            direction,
            service: mqtt(&entry.text("service")),
            target: mqtt(&entry.text("target")),
            timeout: entry.duration("timeout"),
            in_flight_max: entry.count("max_in_flight"),
        };
        add(&mut remotes, &name, |remote| remote.calls.push(bridge));
    }
    let mut forwards: Vec<TcpForward> = Vec::new();
    for entry in settings.entries("tcp_forward") {
        let listen = entry.text("listen");
        if !is_loopback(&listen) && !entry.switch("exposed") {
            let text = format!("{entry} listen: `{listen}` can be reached from other machines, and nobody has to log in there");
            errors.add(entry.place("listen"), text, "listen on 127.0.0.1, or write exposed = true".to_owned());
        }
        if forwards.iter().any(|other| other.listen == listen) {
            errors.add(entry.place("listen"), format!("{entry} listen: another forward listens on `{listen}`"), None);
        }
        let (to, connections_max) = (entry.text("to"), entry.count("max_connections"));
        forwards.push(TcpForward { listen, to, connections_max, idle_timeout: entry.duration("idle_timeout") });
    }
    let proxies = settings.entries("rest_proxy").map(|entry| proxy(entry, errors)).collect();
    bridge::Settings { parents, remotes, forwards, proxies }
}

fn add(remotes: &mut [Remote], name: &str, change: impl FnOnce(&mut Remote)) {
    // A remote that is a mistake by itself is not in the list.
    if let Some(remote) = remotes.iter_mut().find(|remote| remote.link.name == name) {
        change(remote);
    }
}

fn mqtt(checked: &str) -> String {
    filter_of(checked, false).expect("the key has checked it")
}

/// Which remote a bridge is with, and which way it goes.
fn ends(entry: &Entry, names: &[String], errors: &mut ConfigErrors) -> Option<(String, Direction)> {
    let (from, to) = (entry.text("from"), entry.text("to"));
    let (key, name, direction) = match (from == LOCAL, to == LOCAL) {
        (true, false) => ("to", to, Direction::Out),
        (false, true) => ("from", from, Direction::In),
        _ => {
            let hint = "from = \"local\", to = \"cloud\", with a section [remote.cloud]".to_owned();
            errors.add(
                entry.place("to"),
                format!("{entry}: a bridge goes from \"local\" to a remote or from a remote to \"local\""),
                hint,
            );
            return None;
        }
    };
    if !names.contains(&name) {
        let near = super::keys::nearest(&name, names.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("describe it: [remote.{name}] url = \"mqtt://…\""),
        };
        errors.add(entry.place(key), format!("{entry} {key}: there is no remote `{name}`"), hint);
        return None;
    }
    Some((name, direction))
}

/// What both kinds have. `key` is the key of the client certificate's private key.
fn link(entry: &Entry, name: &str, schemes: (&str, &str), key: &str, errors: &mut ConfigErrors) -> LinkSettings {
    let (host, port, is_secure) = address(&entry.text("url"), schemes.0, schemes.1).expect("the key has checked it");
    let files = TlsFiles { ca: entry.path("ca"), client: entry.path("certificate").zip(entry.path(key)) };
    for (given, other) in [("certificate", key), (key, "certificate")] {
        if entry.path(given).is_some() && entry.path(other).is_none() {
            errors.add(entry.place(given), format!("{entry} {given}: nothing without `{other}`"), None);
        }
    }
    let unused = ["ca", "certificate", key].into_iter().find(|key| entry.path(key).is_some());
    match unused {
        Some(given) if !is_secure => {
            let text = format!("{entry} {given}: without TLS it has no effect");
            errors.add(entry.place(given), text, format!("url = \"{}://{host}:{port}\"", schemes.1));
        }
        Some(given) => {
            let client = files.client.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
            if let Err(reason) = client_config(files.ca.as_deref(), client) {
                errors.add(entry.place(given), format!("{entry}: {reason}"), None);
            }
        }
        None => {}
    }
    let backlog = BacklogLimits { bytes: entry.bytes("backlog_size"), age: entry.duration_or_off("backlog_age") };
    let tls = is_secure.then_some(files);
    LinkSettings { name: name.to_owned(), host, port, tls, rate: entry.bytes("rate"), backlog }
}

fn proxy(entry: &Entry, errors: &mut ConfigErrors) -> RestProxy {
    let (host, port, is_secure) = address(&entry.text("url"), "http", "https").expect("the key has checked it");
    let ca = entry.path("ca");
    if ca.is_some() {
        if !is_secure {
            let text = format!("{entry} ca: without TLS it has no effect");
            errors.add(entry.place("ca"), text, format!("url = \"https://{host}:{port}\""));
        } else if let Err(reason) = client_config(ca.as_deref(), None) {
            errors.add(entry.place("ca"), format!("{entry}: {reason}"), None);
        }
    }
    RestProxy {
        method: entry.text("method"),
        host,
        port,
        tls: is_secure.then_some(TlsFiles { ca, client: None }),
        allow: entry.texts("allow").iter().filter_map(|text| Allowed::parse(text).ok()).collect(),
        timeout: entry.duration("timeout"),
        body_max: usize::try_from(entry.bytes("max_body")).unwrap_or(usize::MAX),
        in_flight_max: entry.count("max_in_flight"),
    }
}

fn parent(entry: &Entry, errors: &mut ConfigErrors) -> Parent {
    let component = entry.text("name");
    let mut link = link(entry, &component, ("ws", "wss"), "certificate_key", errors);
    // The same name may be free at several brokers.
    link.name = format!("{component}@{}", link.host);
    let expose = entry.settings.entries("parent.expose");
    let expose = expose.map(|entry| Exposure { method: entry.text("method"), name: entry.text("as") }).collect();
    if entry.path("pin").is_some() && entry.path("key").is_none() {
        errors.add(
            entry.place("pin"),
            format!("{entry} pin: there is no `key` to register"),
            "key = \"parent.key\"".to_owned(),
        );
    }
    Parent { link, component, key: entry.path("key"), pin: entry.path("pin"), forward: entry.texts("forward"), expose }
}

fn remote(entry: &Entry, gateway: &str, errors: &mut ConfigErrors) -> Remote {
    let name = entry.name.clone().unwrap_or_default();
    let user = entry.text_or_none("user");
    if entry.path("password").is_some() && user.is_none() {
        errors.add(entry.place("password"), format!("{entry} password: nothing without `user`"), None);
    }
    Remote {
        client_id: entry.text_or_none("client_id").unwrap_or_else(|| format!("{gateway}-{name}")),
        user: user.map(|user| (user, entry.path("password"))),
        keep_alive: entry.duration("keep_alive"),
        topics: Vec::new(),
        calls: Vec::new(),
        link: link(entry, &name, ("mqtt", "mqtts"), "key", errors),
    }
}
