//! The limits of this door. What an operator sets comes from `[rembus]` in the configuration; the rest has one good value.

use crate::access::Access;
use crate::config;
use crate::door::{NEWCOMERS_MAX, Origins, Places, Stats};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Serve components that do not say who they are.
    pub anonymous: bool,
    /// Also those for whom a proxy on this machine asks. Otherwise `anonymous` holds for this machine itself.
    pub anonymous_everywhere: bool,
    /// Pages of others that may connect by WebSocket.
    pub origins: Origins,
    /// Finds out whom components act for. Without it everybody may do everything, except come in where `anonymous` is not set.
    pub access: Option<Arc<Access>>,
    /// Every component must prove its name with a key, and is asked to at once.
    pub authenticated: bool,
    /// How long a component may take to answer a challenge.
    pub challenge_timeout: Duration,
    /// A newcomer replaces the connection that has its name, instead of being refused.
    pub overwrite_connection: bool,
    /// A QoS 1 or 2 delivery is sent again when a named component has not acknowledged it in this time.
    pub ack_timeout: Duration,
    /// Largest WebSocket message accepted. Beyond: close code 1009.
    pub max_message: usize,
    /// Sockets open at once, half-open ones included. Beyond: closed unseen.
    pub max_connections: usize,
    /// Sockets that have not finished the WebSocket handshake, or the login where one is needed. Beyond: the oldest of them is
    /// closed, so that silent peers cannot keep others out.
    pub max_half_open: usize,
    /// Room for connections of all doors together. Beyond: the oldest that has not said who it is gives way, or the new one is closed.
    pub places: Places,
    /// From accept to the end of the WebSocket handshake, and from there to the end of a login that is needed.
    pub handshake_timeout: Duration,
    /// Unanswered requests of one component. Beyond: its socket is not read until some are answered.
    pub unanswered_max: usize,
    /// How many QoS 1 and 2 deliveries a component may leave unacknowledged.
    pub receive_max: u16,
    /// How often components are pinged, and how long after that one may stay silent.
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    /// How long a component may leave our bytes unread while some are waiting.
    pub write_stall: Duration,
    /// How long a stop waits for answers that are still on their way from the disk.
    pub drain: Duration,
    /// How long a parting peer gets to read why.
    pub farewell: Duration,
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
            authenticated: false,
            challenge_timeout: Duration::from_secs(3),
            overwrite_connection: false,
            ack_timeout: Duration::from_secs(2),
            max_message: 60 << 20,
            max_connections: 10_000,
            max_half_open: NEWCOMERS_MAX,
            places: Places::default(),
            handshake_timeout: Duration::from_secs(10),
            unanswered_max: 1024,
            receive_max: 1024,
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(20),
            write_stall: Duration::from_secs(30),
            drain: Duration::from_secs(2),
            farewell: Duration::from_secs(1),
            stats: Arc::default(),
        }
    }
}

impl From<&config::Rembus> for Settings {
    fn from(config: &config::Rembus) -> Self {
        Self {
            anonymous: config.anonymous,
            anonymous_everywhere: config.anonymous_everywhere,
            authenticated: config.authenticated,
            challenge_timeout: config.challenge_timeout,
            overwrite_connection: config.overwrite_connection,
            ack_timeout: config.ack_timeout,
            max_message: config.max_message,
            max_connections: config.max_connections,
            ..Self::default()
        }
    }
}
