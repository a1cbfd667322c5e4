//! Every key there is.

use super::commlib;
use super::words::{BUS_TOPIC, COMPONENT, GROUP, METHOD, MODE, ORIGIN, TENANT, UID};
use std::time::Duration;

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    /// As the environment would have it: without quotes.
    pub default: &'static str,
    /// One phrase for the operator.
    pub about: &'static str,
    /// Without it an entry of a structured section is no use. Keys of ordinary sections never are.
    pub required: bool,
}

/// What a value must look like.
#[derive(Debug)]
pub enum Kind {
    Name,
    Path,
    /// `host:port`, several of them with commas between, or `off`.
    Listen,
    /// A path or `off`.
    PathOrOff,
    Switch,
    Duration(Duration, Duration),
    Size(u64, u64),
    /// A duration or `off`.
    DurationOrOff(Duration, Duration),
    /// A size or `off`.
    SizeOrOff(u64, u64),
    Count(u64, u64),
    /// Exactly one of these.
    Choice(&'static [&'static str]),
    /// Any text, or `off`.
    Text,
    /// The same; never shown.
    Secret,
    /// `duckdb`, `sqlite` or `postgres:` and how to connect.
    Catalog,
    /// A text with rules of its own; the default may be empty, which is none.
    Phrase(Words),
    /// A list of such texts; variables and flags write commas between.
    Texts(Words),
    /// A list of pairs of texts, `[["from", "to"]]`; only in the file.
    Pairs(Words),
    /// Names and their secrets, `{ acme = "…" }`; variables write `acme=…`, commas between. Values are never shown.
    Secrets(Words),
}

/// The rules of a text.
#[derive(Debug)]
pub struct Words {
    /// A right one, for hints.
    pub example: &'static str,
    /// What is wrong with a text.
    pub check: fn(&str) -> Result<(), String>,
}

impl Key {
    /// The variable that sets this key.
    #[must_use]
    pub fn variable(&self) -> String {
        super::env::variable(&format!("{}_{}", self.section, self.name))
    }

    /// The default as it would stand in the file, quotes included.
    #[must_use]
    pub fn default_in_toml(&self) -> String {
        match &self.kind {
            Kind::Switch | Kind::Count(..) => self.default.into(),
            Kind::Texts(_) | Kind::Pairs(_) if self.default.is_empty() => "[]".into(),
            Kind::Texts(_) => format!("{:?}", self.default.split(',').collect::<Vec<_>>()),
            Kind::Secrets(_) => "{}".into(),
            _ => format!("\"{}\"", self.default),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match super::sections::find(self.section) {
            Some(section) => write!(f, "{section} {}", self.name),
            None => write!(f, "[{}] {}", self.section, self.name),
        }
    }
}

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;
const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const TENTH: Duration = Duration::from_millis(100);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

pub(super) const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { section, name, kind, default, about, required: false }
}

/// A key of a structured section that must be given.
pub(super) const fn required(section: &'static str, name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { section, name, kind, default: "", about, required: true }
}

/// `auto` is DuckDB where it is built in.
const BACKENDS: &[&str] = if cfg!(feature = "duckdb") { &["auto", "duckdb", "lite"] } else { &["auto", "lite"] };

/// In the order of the README.
pub static KEYS: &[Key] = &[
    key("gateway", "name", Kind::Name, "broker", "how the gateway calls itself to Rembus components"),
    key("gateway", "data", Kind::Path, "/var/lib/rembus-gateway", "everything that changes is kept below this folder"),
    key("gateway", "stop_timeout", Kind::Duration(SECOND, HOUR), "10s", "how long a stop may take to drain and flush"),
    key(
        "gateway",
        "profile",
        Kind::Choice(&["standard", "hardened"]),
        "standard",
        "`hardened`: users only, TLS only beyond this machine, small limits; keys that are set win",
    ),
    key("mqtt", "listen", Kind::Listen, "127.0.0.1:1883", "where MQTT clients connect"),
    key("mqtt", "tls_listen", Kind::Listen, "off", "the same over TLS"),
    key("mqtt", "ws_listen", Kind::Listen, "off", "the same over WebSocket (subprotocol `mqtt`)"),
    key("mqtt", "wss_listen", Kind::Listen, "off", "the same over WebSocket and TLS"),
    key("mqtt", "proxy_protocol", Kind::Switch, "false", "a proxy before this door sends PROXY headers (version 2)"),
    key("mqtt", "anonymous", Kind::Switch, "true", "clients need no user; beyond loopback only if it is set"),
    key("mqtt", "max_packet", Kind::Size(KIB, 256 * MIB), "2MiB", "largest MQTT packet taken"),
    key(
        "mqtt",
        "max_topic",
        Kind::Size(64, 64 * KIB),
        "1KiB",
        "longest topic, filter, method or name, at every protocol; more than 128 levels are refused too",
    ),
    key("mqtt", "max_connections", Kind::Count(1, 1_000_000), "10000", "more MQTT connections are turned away"),
    key(
        "mqtt",
        "session_expiry_max",
        Kind::DurationOrOff(SECOND, YEAR),
        "90d",
        "a session that nobody comes back to is forgotten after this time at the latest",
    ),
    key("mqtt", "keep_alive_max", Kind::DurationOrOff(SECOND, HOUR), "off", "MQTT 5 clients are told to be heard this often"),
    key(
        "mqtt",
        "queue_messages",
        Kind::Count(1, 50_000),
        "20000",
        "messages that may wait for one client; then the newest is dropped",
    ),
    key("mqtt", "queue_size", Kind::Size(64 * KIB, GIB), "8MiB", "and their size"),
    key("mqtt", "queues_size", Kind::Size(MIB, 64 * GIB), "64MiB", "size of what may wait for all clients together"),
    key("mqtt", "retained_messages", Kind::Count(0, 100_000_000), "100000", "topics that may have a retained message"),
    key("mqtt", "retained_size", Kind::Size(KIB, 64 * GIB), "64MiB", "and the size of these messages"),
    key(
        "mqtt",
        "subscriptions_size",
        Kind::Size(KIB, 64 * GIB),
        "64MiB",
        "memory that the filters of all sessions may take; then new ones are refused",
    ),
    key("mqtt", "sys_interval", Kind::DurationOrOff(SECOND, HOUR), "10s", "figures are published below `$SYS` this often"),
    key("rembus", "listen", Kind::Listen, "127.0.0.1:8338", "where Rembus components connect (WebSocket)"),
    key("rembus", "tls_listen", Kind::Listen, "off", "the same over TLS (wss)"),
    key("rembus", "tcp_listen", Kind::Listen, "off", "where components of Rembus.jl connect over TCP"),
    key("rembus", "tcp_tls_listen", Kind::Listen, "off", "the same over TLS"),
    key("rembus", "proxy_protocol", Kind::Switch, "false", "a proxy before this door sends PROXY headers (version 2)"),
    key("rembus", "anonymous", Kind::Switch, "true", "components need no user; beyond loopback only if it is set"),
    key(
        "rembus",
        "policy",
        Kind::Choice(&["first_up", "round_robin", "less_busy"]),
        "first_up",
        "which of several exposers serves a call",
    ),
    key(
        "rembus",
        "connection_mode",
        Kind::Choice(&["anonymous", "authenticated"]),
        "anonymous",
        "`authenticated`: every component must prove its name with a key",
    ),
    key("rembus", "overwrite_connection", Kind::Switch, "false", "a second component of the same name replaces the first"),
    key("rembus", "request_timeout", Kind::Duration(MS, HOUR), "10s", "how long an exposer may take to answer a call"),
    key("rembus", "challenge_timeout", Kind::Duration(TENTH, HOUR), "3s", "how long a component may take to prove itself"),
    key("rembus", "ack_timeout", Kind::Duration(MS, HOUR), "2s", "an unacknowledged delivery is sent again after this time"),
    key("rembus", "max_message", Kind::Size(KIB, GIB), "60MiB", "largest Rembus message taken"),
    key("rembus", "max_connections", Kind::Count(1, 1_000_000), "10000", "more Rembus connections are turned away"),
    key("rembus", "admins", Kind::Texts(COMPONENT), "", "components that may administer, once they have proven their name"),
    key("rembus", "tenants", Kind::Secrets(TENANT), "", "tenants and the pins that register components in them"),
    key(
        "rembus",
        "reserved_methods",
        Kind::Texts(METHOD),
        "query_,latest_,upsert_,delete_",
        "beginnings of method names that no component may offer",
    ),
    key("http", "listen", Kind::Listen, "127.0.0.1:8080", "where health and metrics are served"),
    key("http", "tls_listen", Kind::Listen, "off", "the same over TLS (https)"),
    key("http", "proxy_protocol", Kind::Switch, "false", "a proxy before this door sends PROXY headers (version 2)"),
    key("http", "anonymous", Kind::Switch, "true", "pages need no user; beyond loopback only if it is set"),
    key("http", "api", Kind::Switch, "true", "programs may publish and call over HTTP; from other machines users only"),
    key(
        "http",
        "origins",
        Kind::Texts(ORIGIN),
        "",
        "pages of others that may ask over HTTP and WebSocket; no browser else may",
    ),
    key("tls", "certificate", Kind::PathOrOff, "off", "the gateway's certificate and its chain (PEM)"),
    key("tls", "key", Kind::PathOrOff, "off", "the private key that belongs to it (PEM)"),
    key("tls", "client_ca", Kind::PathOrOff, "off", "CA certificates that vouch for clients (PEM)"),
    key(
        "tls",
        "client_certificate",
        Kind::Choice(&["off", "optional", "required"]),
        "off",
        "whether clients show a certificate of their own",
    ),
    key(
        "access",
        "certificate_user",
        Kind::Choice(&["cn", "san"]),
        "cn",
        "what names the user in a client certificate: common name or alternative name",
    ),
    key(
        "limits",
        "sessions",
        Kind::Count(1, 1_000_000),
        "50000",
        "sessions kept, offline ones included; then the user with most of them gives way",
    ),
    key(
        "limits",
        "sessions_per_user",
        Kind::Count(1, 1_000_000),
        "10000",
        "sessions of one user; then its oldest offline one ends",
    ),
    key(
        "limits",
        "connections_per_user",
        Kind::Count(1, 1_000_000),
        "8000",
        "connections of a user for whom no other limit was set",
    ),
    key(
        "limits",
        "subscriptions",
        Kind::Count(1, 100_000_000),
        "1000000",
        "filters and methods of all; then the user with most of them gives way",
    ),
    key("limits", "subscriptions_per_user", Kind::Count(1, 100_000_000), "100000", "filters and methods of one user"),
    key(
        "limits",
        "queued_size_per_user",
        Kind::Size(64 * KIB, 64 * GIB),
        "64MiB",
        "size of what may wait for one user's clients",
    ),
    key("limits", "retained_size_per_user", Kind::Size(KIB, 64 * GIB), "64MiB", "size of one user's retained messages"),
    key("limits", "calls_per_user", Kind::Count(1, 1_000_000), "10000", "calls that one user may have under way"),
    key("bus", "path", Kind::PathOrOff, "bus.sock", "socket for programs on this machine (busrt, elbus), in the data folder"),
    key("bus", "mode", Kind::Phrase(MODE), "0660", "who may connect: the file mode of the socket"),
    key("bus", "group", Kind::Phrase(GROUP), "", "the socket's group, by name or number: one that the gateway's user is in"),
    key(
        "bus",
        "allow_uids",
        Kind::Texts(UID),
        "",
        "users of this machine who may connect, as numbers; none: whom the mode lets in",
    ),
    key("bus", "tcp", Kind::Listen, "off", "the same over TCP, for this machine only"),
    key("bus", "timeout", Kind::Duration(TENTH, HOUR), "5s", "programs are heard, and take what is sent, this often"),
    key("bus", "max_clients", Kind::Count(1, 10_000), "64", "more programs are turned away"),
    key("bus", "max_frame", Kind::Size(KIB, 256 * MIB), "8MiB", "largest frame taken"),
    key("bus", "max_subscriptions", Kind::Count(1, 10_000), "1024", "topics that one program may subscribe to or exclude"),
    key("bus", "queue", Kind::Count(16, 1_000_000), "8192", "frames that may wait for one program; then senders are refused"),
    key("bus", "queue_size", Kind::Size(64 * KIB, GIB), "8MiB", "and their size"),
    key("bus", "import", Kind::Texts(BUS_TOPIC), "#", "publications of programs that others may hear"),
    key("bus", "history", Kind::Texts(BUS_TOPIC), "#", "those of them that are logged and kept in tables"),
    key("bus", "export", Kind::Texts(BUS_TOPIC), "#", "what programs may hear of others"),
    key("bus", "messagepack", Kind::Texts(BUS_TOPIC), "", "topics whose payload on the bus is MessagePack"),
    key("commlib", "nodes", Kind::Switch, "true", "commlib nodes are listed by their heartbeats"),
    key("commlib", "heartbeat", Kind::Duration(TENTH, HOUR), "10s", "how often a node beats"),
    key("commlib", "heartbeats", commlib::FILTERS, "", "topics of heartbeats beside `<node>.heartbeat`"),
    key("commlib", "timeout", Kind::Duration(MS, HOUR), "10s", "how long a commlib service may take to answer a component"),
    key("commlib", "in_flight", Kind::Count(1, 100_000), "256", "calls under way in each direction; more are refused"),
    key("commlib", "topics", commlib::FILTERS, "", "where nodes listen: what components publish there reaches MQTT as objects"),
    key(
        "commlib",
        "values",
        Kind::Choice(&["wrap", "drop", "pass"]),
        "wrap",
        "what becomes of other values there: `{\"value\": …}`, nothing, or as it is",
    ),
    key("commlib", "gateway_services", Kind::Switch, "true", "the methods that ask history are services below `gateway.`"),
    key(
        "commlib",
        "on_error",
        Kind::Choice(&["silent", "reply"]),
        "silent",
        "what they answer when they fail; `reply`: `error` and `code`",
    ),
    key(
        "commlib",
        "goal_timeout",
        Kind::Duration(SECOND, YEAR),
        "1h",
        "a goal of a component's action is aborted after this time",
    ),
    key(
        "commlib",
        "cancel_timeout",
        Kind::Duration(MS, HOUR),
        "30s",
        "a goal that was canceled counts as ended after this time",
    ),
    key(
        "commlib",
        "action_topics",
        Kind::Choice(&["private", "public"]),
        "private",
        "`public`: what actions say matches Rembus patterns and tables",
    ),
    key("commlib.rpc_prefix", "enabled", Kind::Switch, "true", "components call services as `commlib/<name>`"),
    key("commlib.rpc_prefix", "allow", commlib::FILTERS, "*", "which ones"),
    key(
        "wal",
        "ack_delay_max",
        Kind::Duration(Duration::ZERO, Duration::from_secs(10)),
        "50ms",
        "longest wait of an acknowledgement for company on its way to the disk",
    ),
    key("wal", "keep", Kind::Duration(SECOND, YEAR), "24h", "messages older than this leave the log"),
    key("wal", "keep_size", Kind::Size(16 * MIB, 1024 * GIB), "512MiB", "the log is kept below this size"),
    key(
        "wal",
        "reserve",
        Kind::Size(MIB, 1024 * GIB),
        "64MiB",
        "publishers are refused before the disk has less room than this",
    ),
    key(
        "wal",
        "write_budget",
        Kind::SizeOrOff(16 * MIB, 1024 * GIB),
        "off",
        "bytes that may be written in a day; when they are short, commits and batches become rarer",
    ),
    key("history", "schema", Kind::PathOrOff, "off", "the tables to keep; without it there is no history"),
    key("history", "backend", Kind::Choice(BACKENDS), "auto", "who keeps the tables: `duckdb`, or `lite` on small boards"),
    key(
        "history",
        "catalog",
        Kind::Catalog,
        "duckdb",
        "where DuckLake keeps its catalog: `duckdb` and `sqlite` are files, `postgres:host=… dbname=…` a database for many gateways",
    ),
    key(
        "history",
        "lake_data",
        Kind::Text,
        "off",
        "where the tables' files are, if not below the data folder: `s3://BUCKET/PREFIX`, or a folder that all gateways see",
    ),
    key("history", "s3_endpoint", Kind::Text, "off", "where the store of `lake_data` is, such as `https://host:9000`"),
    key("history", "s3_region", Kind::Text, "us-east-1", "its region"),
    key("history", "s3_key", Kind::Text, "off", "who the gateway is there"),
    key("history", "s3_secret", Kind::Secret, "off", "and what proves it"),
    key("history", "batch_interval", Kind::Duration(TENTH, DAY), "60s", "rows are written to the lake this often"),
    key("history", "batch_rows", Kind::Count(1, 10_000_000), "20000", "or as soon as there are so many"),
    key("history", "memory_limit", Kind::Size(32 * MIB, 1024 * GIB), "128MiB", "memory of the history engine"),
    key("history", "query_timeout", Kind::Duration(TENTH, HOUR), "30s", "a query that takes longer is stopped"),
    key("history", "query_rows", Kind::Count(1, 1_000_000_000), "1000000", "a query with more rows is refused"),
    key(
        "history",
        "retention",
        Kind::DurationOrOff(HOUR, CENTURY),
        "off",
        "rows older than this go, by whole days; a table's own `retention` comes first",
    ),
    key(
        "history",
        "max_size",
        Kind::SizeOrOff(MIB, 1024 * GIB),
        "off",
        "the oldest rows of a table larger than this go; a table's own `max_size` comes first",
    ),
    key(
        "history",
        "when_full",
        Kind::Choice(&["refuse", "evict-oldest"]),
        "refuse",
        "what a table does when the disk is full; a table's own `when_full` comes first",
    ),
    key("history", "maintenance", Kind::Duration(SECOND, DAY), "1h", "small files are merged and old ones removed this often"),
    key(
        "history",
        "scrub",
        Kind::Duration(Duration::ZERO, YEAR),
        "7days",
        "every file of the lake is read once in so long, to find damage; `0s`: never",
    ),
    key("history", "snapshots", Kind::Duration(HOUR, YEAR), "7days", "how far `when` sees deleted and replaced rows"),
];

/// The names of the ordinary sections, each once.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections
}

/// The keys of a section, structured or not.
pub(crate) fn of(section: &str) -> impl Iterator<Item = &'static Key> {
    let structured = super::sections::find(section).map_or(&[][..], |section| section.keys);
    KEYS.iter().chain(structured).filter(move |key| key.section == section)
}

pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    of(section).find(|key| key.name == name)
}

pub(crate) fn get(section: &str, name: &str) -> &'static Key {
    find(section, name).expect("code asks only for keys of the table")
}

/// The candidate that `typed` most likely meant.
pub(crate) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&typed.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
