//! `/status`: what the gateway is doing, for people and scripts.

use super::Failure;
use crate::bridge::LinkReport;
use crate::files::Files;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The router answers within microseconds; one that needs longer than this is not well.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// One look at a running gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub name: String,
    pub version: String,
    pub pid: u32,
    pub data: PathBuf,
    /// Since the doors opened.
    pub uptime_s: u64,
    pub doors: Vec<Door>,
    /// Doors that ended although nobody asked them to.
    pub doors_closed: Vec<String>,
    /// `None` if the router did not answer in time.
    pub router: Option<Router>,
    pub log: Log,
    /// `None` without a schema.
    pub history: Option<History>,
    pub access: Access,
    /// Descriptors that may be open, are, and are kept back from connections.
    pub files: Files,
    #[serde(default)]
    pub commlib: Commlib,
    /// Links to other brokers.
    pub links: Vec<LinkReport>,
}

/// A door that listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Door {
    pub name: String,
    pub address: String,
    /// Whether strangers may use it.
    pub anonymous: bool,
    /// Connections since the start, and how many of them were refused.
    pub accepted: u64,
    pub refused: u64,
}

/// Who may do what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// Nothing was said: everything is allowed.
    pub open: bool,
    /// Why nobody is let in although there may be users.
    pub damage: Option<String>,
    pub users: u64,
    pub rules: u64,
    /// Since the start.
    pub logins: u64,
    pub refused: u64,
    pub denied: u64,
}

/// What is done for commlib nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Commlib {
    /// Nodes by their heartbeats.
    pub alive: u64,
    pub late: u64,
    pub gone: u64,
    /// Calls of commlib services for Rembus components, and the other way round, since the start.
    pub calls: u64,
    pub served: u64,
    /// Actions that components serve.
    pub actions: u64,
}

/// What the router has in hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Router {
    pub connections: BTreeMap<String, u64>,
    pub sessions: u64,
    pub subscriptions: u64,
    pub services: u64,
    pub received: u64,
    pub delivered: u64,
    pub queued: u64,
    pub dropped: u64,
    pub refused: u64,
    pub calls: u64,
}

/// The durable log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `fine`, `full` or `failed`.
    pub health: String,
    pub written: u64,
    pub durable: u64,
    pub bytes_on_disk: u64,
    /// Bytes that the gateway has caused to be written in the last 24 hours.
    pub written_last_day: u64,
    /// Bytes that may be written in a day.
    pub write_budget: Option<u64>,
}

/// The tables.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Why it does not work at the moment.
    pub trouble: Option<String>,
    /// Records of the log it has not looked at yet.
    pub lag: u64,
    pub tables: BTreeMap<String, Table>,
    /// Files of the lake that were found damaged, and what became of their rows.
    pub damaged_files: u64,
    pub rows_reloaded: u64,
    pub rows_lost: u64,
}

/// Rows of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    pub in_lake: u64,
    pub in_tail: u64,
    pub rejected: u64,
    /// Why the table takes no rows, if so.
    pub refused: Option<String>,
}

/// Where [`Status`] comes from.
pub trait StatusSource: Send + Sync + 'static {
    fn status(&self) -> impl Future<Output = Status> + Send;
}

/// The `/status` route.
pub fn routes<S: StatusSource>(source: Arc<S>) -> axum::Router {
    axum::Router::new().route("/status", get(status::<S>)).with_state(source)
}

async fn status<S: StatusSource>(State(source): State<Arc<S>>) -> Result<axum::Json<Status>, Failure> {
    match tokio::time::timeout(ANSWER_MAX, source.status()).await {
        Ok(status) => Ok(axum::Json(status)),
        Err(_) => Err(Failure::failed("the gateway is too busy to say how it is")),
    }
}
