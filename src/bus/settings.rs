//! What an operator can set about this door, and its own bounds.

use super::board::Counts;
use crate::access::Access;
use crate::config;
use crate::door::{Places, Stats};
use crate::message::Reach;
use crate::router::BusFilters;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// A handshake and a frame's body have so long to arrive, and a write to get on; a program is heard at the latest after
    /// one and a quarter of it.
    pub timeout: Duration,
    /// Frames that may wait for one program, and their bytes.
    pub queue: usize,
    pub queue_bytes: usize,
    pub max_frame: usize,
    pub max_clients: usize,
    /// Connections that have not given their name.
    pub max_half_open: usize,
    /// Room for connections of all doors together. Beyond: the oldest that has not said who it is gives way, or the new one is closed.
    pub places: Places,
    /// Topics that one program may subscribe to or exclude.
    pub max_subscriptions: usize,
    /// Users of the machine who may come; empty: whoever can open the socket.
    pub allow_uids: Vec<u32>,
    /// Publications that leave the bus, those of them that are logged, and those whose payload is MessagePack.
    pub import: BusFilters,
    pub history: BusFilters,
    pub messagepack: BusFilters,
    /// Requests to the router without an answer, after which a program is not read.
    pub unanswered_max: usize,
    /// How long what is under way may take when the gateway stops.
    pub drain: Duration,
    pub access: Option<Arc<Access>>,
    pub stats: Arc<Stats>,
    pub counts: Arc<Counts>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            queue: 8192,
            queue_bytes: 8 << 20,
            max_frame: 8 << 20,
            max_clients: 64,
            max_half_open: 64,
            places: Places::default(),
            max_subscriptions: 1024,
            allow_uids: Vec::new(),
            import: BusFilters::everything(),
            history: BusFilters::everything(),
            messagepack: BusFilters::default(),
            unanswered_max: 1024,
            drain: Duration::from_secs(2),
            access: None,
            stats: Arc::default(),
            counts: Arc::default(),
        }
    }
}

impl Settings {
    /// How far a program's publication goes.
    pub(super) fn reach(&self, topic: &str) -> Reach {
        // An empty topic, and one that is too long, cannot be said to others.
        let stays = topic.is_empty() || topic.len() > usize::from(u16::MAX) || topic.starts_with(['.', '$']);
        if stays || !self.import.matches(topic) {
            Reach::Dialect
        } else if self.history.matches(topic) {
            Reach::Everywhere
        } else {
            Reach::Live
        }
    }
}

impl From<&config::Bus> for Settings {
    fn from(config: &config::Bus) -> Self {
        Self {
            timeout: config.timeout,
            queue: config.queue,
            queue_bytes: config.queue_size,
            max_frame: config.max_frame,
            max_clients: config.max_clients,
            max_subscriptions: config.max_subscriptions,
            allow_uids: config.allow_uids.clone(),
            import: BusFilters::new(config.import.clone()),
            history: BusFilters::new(config.history.clone()),
            messagepack: BusFilters::new(config.messagepack.clone()),
            ..Self::default()
        }
    }
}
