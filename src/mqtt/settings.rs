//! The limits of this door. What an operator sets comes from `[mqtt]` in the configuration; the rest has one good value.

use crate::access::Access;
use crate::config;
use crate::door::{NEWCOMER_BYTES_MAX, NEWCOMERS_MAX, Origins, Places, Stats};
use crate::names::NameLimits;
use crate::router::Expiry;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Serve clients that do not say who they are.
    pub anonymous: bool,
    /// Also those for whom a proxy on this machine asks. Otherwise `anonymous` holds for this machine itself.
    pub anonymous_everywhere: bool,
    /// Pages of others that may connect by WebSocket.
    pub origins: Origins,
    /// Finds out whom clients act for. Without it everybody may do everything, except come in where `anonymous` is not set.
    pub access: Option<Arc<Access>>,
    /// Largest packet accepted, fixed header included. Beyond: 5.0 is told 0x95, then the connection ends.
    pub max_packet: usize,
    /// How long and how deep topics and client ids may be.
    pub names: NameLimits,
    /// Clients served at once. Beyond: CONNACK "server busy".
    pub max_connections: usize,
    /// Connections that have not finished CONNECT. Beyond: the oldest of them is closed, so that silent peers cannot keep
    /// others out.
    pub max_half_open: usize,
    /// Room for connections of all doors together. Beyond: the oldest that has not said who it is gives way, or the new one is closed.
    pub places: Places,
    /// From accept to CONNACK.
    pub connect_timeout: Duration,
    /// Largest CONNECT, will included: what a peer may make us hold before we know it.
    pub max_connect: usize,
    /// Unanswered QoS 1 and 2 publications of one client. Beyond: 5.0 is told 0x93, 3.1.1 is not read until some are answered.
    pub receive_max: u16,
    /// Topic aliases a 5.0 client may use.
    pub topic_alias_max: u16,
    /// Sessions stay at most so many seconds without a connection; `None` is for ever.
    pub session_expiry_max: Option<u32>,
    /// 5.0 clients that want to be heard less often (in seconds), or never, are told this keep alive instead.
    pub keep_alive_max: Option<u16>,
    /// Filters of one SUBSCRIBE that reach the router. Beyond: each is answered with 0x97 (3.1.1: failure).
    pub max_filters: usize,
    /// How long a peer may leave our bytes unread, on top of its keep alive.
    pub write_stall: Duration,
    /// How long a parting peer gets to read why, and how long its last bytes are read away so that it can.
    pub farewell: Duration,
    /// How long a stop waits for acknowledgements that are still on their way from the disk.
    pub drain: Duration,
    /// What the door counted; `/metrics` reads it.
    pub stats: Arc<Stats>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            anonymous: true,
            anonymous_everywhere: true,
            origins: Origins::default(),
            access: None,
            max_packet: 2 << 20,
            names: NameLimits::default(),
            max_connections: 10_000,
            max_half_open: NEWCOMERS_MAX,
            places: Places::default(),
            connect_timeout: Duration::from_secs(10),
            max_connect: NEWCOMER_BYTES_MAX,
            receive_max: 1024,
            topic_alias_max: 16,
            session_expiry_max: None,
            keep_alive_max: None,
            max_filters: 1024,
            write_stall: Duration::from_secs(30),
            farewell: Duration::from_secs(1),
            drain: Duration::from_secs(2),
            stats: Arc::default(),
        }
    }
}

impl Settings {
    /// How long a session stays that asks for so many seconds; 0xFFFFFFFF is for ever (5.0 section 3.1.2.11.2).
    pub(crate) fn expiry(&self, asked: u32) -> Expiry {
        match (asked, self.session_expiry_max) {
            (0, _) => Expiry::WithLink,
            (u32::MAX, None) => Expiry::Never,
            (seconds, max) => Expiry::After(seconds.min(max.unwrap_or(u32::MAX))),
        }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

impl From<&config::Mqtt> for Settings {
    fn from(config: &config::Mqtt) -> Self {
        Self {
            anonymous: config.anonymous,
            anonymous_everywhere: config.anonymous_everywhere,
            max_packet: config.max_packet,
            names: NameLimits { bytes: config.max_topic },
            max_connections: config.max_connections,
            session_expiry_max: config.session_expiry_max.map(seconds),
            keep_alive_max: config.keep_alive_max.map(|max| u16::try_from(seconds(max)).unwrap_or(u16::MAX)),
            ..Self::default()
        }
    }
}
