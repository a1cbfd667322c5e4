//! What the operator can set: the TOML file, the environment twins and the flags, in that order of precedence from below.
//!
//! One table ([`keys::KEYS`]) names every key with its kind, its default and its meaning. The file, the environment, the flags,
//! `check` and the table in the README all follow it, so none of them can know a key that the others do not. Tables of which
//! there may be several (`[[parent]]`, `[remote.NAME]`) are *structured sections*; `sections.rs` says how to add one.
//!
//! Promises: an unknown key, a value of the wrong kind and a combination that cannot work are mistakes, never ignored; all of
//! them are reported together, each with its place (file, line and column, or the name of the variable or flag) and a likely
//! fix. Keys whose function comes with a later release exist, and refuse any value that would need it.
//!
//! | file | what |
//! |---|---|
//! | `keys.rs` | the table of keys |
//! | `sections.rs` | structured sections: which there are, and their entries |
//! | `links.rs` | the sections of links to other brokers |
//! | `commlib.rs` | what is said of commlib nodes |
//! | `words.rs` | rules of texts |
//! | `value.rs` | one text or TOML value → one checked value |
//! | `file.rs`, `env.rs` | where settings come from |
//! | `tls.rs` | the certificate files that the configuration names |
//! | `schema.rs` | the schema file that the configuration names |
//! | `profile.rs` | one word for many keys |
//! | `anonymous.rs` | who has to log in where |
//! | `build.rs` | settings → [`Config`], with the checks across keys |
//! | `mistake.rs` | what is said when something is wrong |

mod anonymous;
mod build;
mod commlib;
mod env;
mod file;
mod keys;
mod links;
mod mistake;
mod profile;
mod schema;
mod sections;
mod settings;
mod tls;
mod value;
mod words;

#[cfg(test)]
mod tests;

use crate::access::CertificateUser;
use crate::bridge;
use crate::clock::SystemClock;
use crate::history::model::{Limits, Schema};
use crate::message::Forms;
use crate::tls::Files as TlsFiles;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use keys::{KEYS, Key};
pub use mistake::{ConfigErrors, Mistake, Place};
pub use sections::{Entry, Form, SECTIONS, Section};
pub use settings::{Origin, Setting, Settings};
pub use value::{Value, show_duration, show_size};

/// The effective configuration: every value checked, every path absolute.
#[derive(Debug, Clone)]
pub struct Config {
    pub gateway: Gateway,
    pub mqtt: Mqtt,
    pub rembus: Rembus,
    pub http: Http,
    /// `None`: there is no certificate, so nothing listens for TLS.
    pub tls: Option<TlsFiles>,
    pub access: Access,
    pub limits: UserLimits,
    pub bus: Bus,
    pub wal: Wal,
    pub history: History,
    /// Links to other brokers.
    pub links: bridge::Settings,
    pub commlib: crate::commlib::Settings,
    /// Topics whose messages have another form in the other world.
    pub forms: Arc<Forms>,
}

#[derive(Debug, Clone)]
pub struct Gateway {
    pub name: String,
    pub data: PathBuf,
    pub stop_timeout: Duration,
}

/// Where a door listens, as `host:port`; empty is `off`.
pub type Listen = Vec<String>;

#[derive(Debug, Clone)]
pub struct Mqtt {
    pub listen: Listen,
    pub tls_listen: Listen,
    pub ws_listen: Listen,
    pub wss_listen: Listen,
    pub proxy_protocol: bool,
    pub anonymous: bool,
    /// It was said so: also for those for whom a proxy on this machine asks.
    pub anonymous_everywhere: bool,
    /// Largest packet accepted, fixed header included.
    pub max_packet: usize,
    /// Of all protocols, in bytes.
    pub max_topic: usize,
    pub max_connections: usize,
    /// `None`: for ever.
    pub session_expiry_max: Option<Duration>,
    /// `None`: as the client wants.
    pub keep_alive_max: Option<Duration>,
    pub queue_messages: usize,
    pub queue_size: usize,
    pub queues_size: usize,
    pub retained_messages: usize,
    pub retained_size: usize,
    pub subscriptions_size: usize,
    /// `None`: no `$SYS`.
    pub sys_interval: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Rembus {
    pub listen: Listen,
    pub tls_listen: Listen,
    pub tcp_listen: Listen,
    pub tcp_tls_listen: Listen,
    pub proxy_protocol: bool,
    pub anonymous: bool,
    /// It was said so: also for those for whom a proxy on this machine asks.
    pub anonymous_everywhere: bool,
    pub policy: Policy,
    /// Every component must prove its name with a key.
    pub authenticated: bool,
    pub overwrite_connection: bool,
    pub request_timeout: Duration,
    pub challenge_timeout: Duration,
    pub ack_timeout: Duration,
    pub max_message: usize,
    pub max_connections: usize,
    pub admins: Vec<String>,
    /// Pins by tenant.
    pub tenants: BTreeMap<String, String>,
    pub reserved_methods: Vec<String>,
}

/// Which exposer of a method serves a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    #[default]
    FirstUp,
    RoundRobin,
    LessBusy,
}

#[derive(Debug, Clone)]
pub struct Http {
    pub listen: Listen,
    pub tls_listen: Listen,
    pub proxy_protocol: bool,
    pub anonymous: bool,
    /// It was said so: also for those for whom a proxy on this machine asks.
    pub anonymous_everywhere: bool,
    /// Rembus over plain HTTP.
    pub api: bool,
    /// Pages that may ask beside the gateway's own.
    pub origins: Vec<String>,
}

/// What one user may use, and what all together.
#[derive(Debug, Clone)]
pub struct UserLimits {
    pub sessions: usize,
    pub subscriptions: usize,
    pub connections_per_user: u32,
    pub users: crate::router::UserLimits,
}

#[derive(Debug, Clone)]
pub struct Access {
    pub certificate_user: CertificateUser,
}

#[derive(Debug, Clone)]
pub struct Bus {
    /// `None`: no socket.
    pub path: Option<PathBuf>,
    /// Permission bits of the socket.
    pub mode: u32,
    pub group: Option<String>,
    /// Empty: everybody whom the mode lets in.
    pub allow_uids: Vec<u32>,
    pub tcp: Listen,
    pub timeout: Duration,
    pub max_clients: usize,
    pub max_frame: usize,
    pub max_subscriptions: usize,
    pub queue: usize,
    pub queue_size: usize,
    /// busrt topic filters.
    pub import: Vec<String>,
    pub history: Vec<String>,
    pub export: Vec<String>,
    pub messagepack: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Wal {
    pub ack_delay_max: Duration,
    pub keep: Duration,
    pub keep_size: u64,
    pub reserve: u64,
    /// Bytes that may be written in a day.
    pub write_budget: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct History {
    /// No schema file, no history: the engine is not even loaded.
    pub schema: Option<PathBuf>,
    /// `auto`, `duckdb` or `lite`.
    pub backend: String,
    /// `duckdb`, `sqlite` or `postgres:…`.
    pub catalog: String,
    /// `None`: below the data folder.
    pub lake_data: Option<String>,
    pub s3_endpoint: Option<String>,
    pub s3_region: String,
    pub s3_key: Option<String>,
    pub s3_secret: Option<String>,
    pub batch_interval: Duration,
    pub batch_rows: usize,
    pub memory_limit: u64,
    pub query_timeout: Duration,
    pub query_rows: usize,
    /// Limits of tables that have none of their own.
    pub limits: Limits,
    /// How often small files are merged and old ones removed.
    pub maintenance: Duration,
    /// How far back snapshots are kept.
    pub snapshots: Duration,
    /// Every file of the lake is read once in so long; zero: never.
    pub scrub: Duration,
}

/// What the command line says; texts as they were typed, checked like any other value.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub data: Option<String>,
    pub schema: Option<String>,
    pub name: Option<String>,
    pub mqtt: Option<String>,
    pub rembus: Option<String>,
    pub http: Option<String>,
    pub bus: Option<String>,
}

/// A configuration, where each of its values came from, and what the operator should know although nothing is wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The checked schema file, if there is one.
    pub schema: Option<Schema>,
    pub settings: Settings,
    pub notes: Vec<String>,
    /// What `check` calls wrong although the gateway starts with it: an expired certificate must not stop the log,
    /// nor a table that cannot follow the schema the others.
    pub survivable: ConfigErrors,
}

impl Loaded {
    /// Reads and checks everything. `env` is the whole environment; variables without our prefix are not looked at.
    pub fn load(
        flags: &Flags,
        env: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut settings = Settings::default();
        if let Some(path) = file {
            file::read(path, &mut settings, &mut errors);
        }
        env::read(env, &mut settings, &mut errors);
        flags.read(&mut settings, &mut errors);
        profile::apply(&mut settings, &mut errors);
        build::check(&settings, &mut errors);
        let links = links::read(&settings, &mut errors);
        let (commlib, forms) = commlib::read(&settings, &mut errors);
        let mut notes = build::notes(&settings);
        let mut conflicts = Vec::new();
        let schema = schema::read(&settings, &mut notes, &mut conflicts, &mut errors);
        let mut survivable = tls::check(&settings, &*SystemClock::shared(), &mut errors);
        survivable.0.extend(conflicts);
        if !errors.is_empty() {
            return Err(errors);
        }
        let config = Config { links, commlib, forms: Arc::new(forms), ..build::config(&settings) };
        Ok(Self { config, schema, settings, notes, survivable })
    }
}

impl Config {
    /// Reads and checks everything; see [`Loaded::load`].
    pub fn load(
        flags: &Flags,
        env: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        Loaded::load(flags, env, file).map(|loaded| loaded.config)
    }
}

impl Default for Config {
    /// What an empty configuration means.
    fn default() -> Self {
        build::config(&Settings::default())
    }
}

impl Flags {
    fn read(&self, settings: &mut Settings, errors: &mut ConfigErrors) {
        let given = [
            ("--data", "gateway", "data", &self.data),
            ("--schema", "history", "schema", &self.schema),
            ("--name", "gateway", "name", &self.name),
            ("--mqtt", "mqtt", "listen", &self.mqtt),
            ("--rembus", "rembus", "listen", &self.rembus),
            ("--http", "http", "listen", &self.http),
            ("--bus", "bus", "path", &self.bus),
        ];
        for (flag, section, name, text) in given {
            if let Some(text) = text {
                settings.set_text(keys::get(section, name), text, Origin::Flag(flag), errors);
            }
        }
    }
}
