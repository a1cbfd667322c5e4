//! What the configuration says of links, checked.

use super::rest::RestProxy;
use super::tcp::TcpForward;
use super::topic::{self, Rename};
use crate::message::Qos;
use std::path::PathBuf;
use std::time::Duration;

/// All links.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub parents: Vec<Parent>,
    pub remotes: Vec<Remote>,
    pub forwards: Vec<TcpForward>,
    pub proxies: Vec<RestProxy>,
}

/// What both kinds of link have.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Unique among the links of its kind; names its file of progress.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// `None`: without TLS.
    pub tls: Option<TlsFiles>,
    /// Bytes a second that are sent at most.
    pub rate: u64,
    pub backlog: BacklogLimits,
}

/// What may wait in the log for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogLimits {
    pub bytes: u64,
    pub age: Option<Duration>,
}

/// PEM files of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// `None`: the CAs of the system.
    pub ca: Option<PathBuf>,
    /// Certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A Rembus broker that the gateway is a component of.
#[derive(Debug, Clone)]
pub struct Parent {
    pub link: LinkSettings,
    /// How the gateway logs in.
    pub component: String,
    /// Its key, or a shared secret; made if it is not there.
    pub key: Option<PathBuf>,
    /// The pin with which the key is registered there.
    pub pin: Option<PathBuf>,
    /// Rembus patterns.
    pub forward: Vec<String>,
    pub expose: Vec<Exposure>,
}

/// A method of this gateway, and its name at the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    pub method: String,
    pub name: String,
}

/// An MQTT broker.
#[derive(Debug, Clone)]
pub struct Remote {
    pub link: LinkSettings,
    pub client_id: String,
    /// Name and the file with the password.
    pub user: Option<(String, Option<PathBuf>)>,
    pub keep_alive: Duration,
    pub topics: Vec<TopicBridge>,
    pub calls: Vec<RpcBridge>,
}

/// Which way a bridge goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From here to the far end.
    Out,
    /// From the far end to here.
    In,
}

/// A topic bridge or a pattern bridge.
#[derive(Debug, Clone)]
pub struct TopicBridge {
    pub direction: Direction,
    /// In MQTT notation.
    pub filter: String,
    pub(super) rename: Rename,
    pub qos: Qos,
}

impl TopicBridge {
    #[must_use]
    pub fn new(direction: Direction, filter: String, prefix: Option<String>, replace: Vec<(String, String)>, qos: Qos) -> Self {
        Self { direction, filter, rename: Rename { prefix, replace }, qos }
    }
}

/// Requests for `service` on one side are served by `target` on the other. [`Direction::Out`]: the caller is here.
#[derive(Debug, Clone)]
pub struct RpcBridge {
    pub direction: Direction,
    pub service: String,
    pub target: String,
    pub timeout: Duration,
    pub in_flight_max: usize,
}

/// A filter or, if it has no wildcards, a name, in MQTT notation.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the text.
pub fn filter_of(text: &str, is_name: bool) -> Result<String, String> {
    if is_name { topic::name(text) } else { topic::filter(text) }
}
