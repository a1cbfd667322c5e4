//! What the operator can set: the TOML file, the environment twins and the flags, in that order of precedence from below.
//!
//! Keys and defaults are the public contract (README, Configuration). Unknown keys are errors.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Config {
    pub gateway: Gateway,
    pub mqtt: Mqtt,
    pub rembus: Rembus,
    pub http: Http,
    pub wal: Wal,
    pub history: History,
}

#[derive(Debug, Clone)]
pub struct Gateway {
    pub name: String,
    pub data: PathBuf,
    pub stop_timeout: Duration,
}

/// Where a door listens; `None` is `off`.
pub type Listen = Option<String>;

#[derive(Debug, Clone)]
pub struct Mqtt {
    pub listen: Listen,
    pub anonymous: bool,
    /// Largest packet accepted, fixed header included.
    pub max_packet: usize,
    pub max_connections: usize,
}

#[derive(Debug, Clone)]
pub struct Rembus {
    pub listen: Listen,
    pub anonymous: bool,
    pub policy: Policy,
    pub overwrite_connection: bool,
    pub request_timeout: Duration,
    pub ack_timeout: Duration,
    pub max_message: usize,
    pub max_connections: usize,
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
}

#[derive(Debug, Clone)]
pub struct Wal {
    pub ack_delay_max: Duration,
    pub keep: Duration,
    pub keep_size: u64,
    pub reserve: u64,
}

#[derive(Debug, Clone)]
pub struct History {
    /// No schema file, no history: the engine is not even loaded.
    pub schema: Option<PathBuf>,
    pub batch_interval: Duration,
    pub batch_rows: usize,
    pub memory_limit: u64,
    pub query_timeout: Duration,
    pub query_rows: usize,
}
