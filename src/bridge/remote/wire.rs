//! The connection: options from the configuration, a task that polls `rumqttc`, what it says.

use super::super::forward::LinkError;
use super::super::settings::{Direction, Remote};
use crate::tls;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long connecting and CONNACK may take, in seconds.
const CONNECT_MAX_S: u64 = 10;
/// Publications under way at most; brokers allow fewer mostly.
const IN_FLIGHT_MAX: u16 = 256;
/// Unacknowledged publications that the far end may send.
const RECEIVE_MAX: u16 = 128;
/// Largest packet taken from the far end.
const PACKET_MAX: u32 = 16 << 20;
/// How long the far end keeps what it has for us while the link is down, in seconds: a week.
const SESSION_EXPIRY_S: u32 = 7 * 24 * 3600;
/// Requests that wait for the event loop: a window of publications, acknowledgements, calls.
const REQUESTS: usize = 2 * (IN_FLIGHT_MAX as usize + RECEIVE_MAX as usize);
/// Events that wait for the session; then the event loop waits, and so does the far end.
const EVENTS: usize = 256;

/// A connection that the far end has accepted.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: AsyncClient,
    pub(super) events: mpsc::Receiver<Result<Event, LinkError>>,
    /// How many publications may be under way.
    pub(super) window: usize,
    /// Largest packet that the far end takes.
    pub(super) packet_max: usize,
    pump: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Connects and waits for CONNACK.
pub(super) async fn connect(remote: &Remote) -> Result<Wire, LinkError> {
    let options = options(remote)?;
    let (client, mut events_of) = AsyncClient::new(options, REQUESTS);
    let connack = loop {
        match events_of.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => break connack,
            Ok(_) => {}
            Err(error) => return Err(link_error(error)),
        }
    };
    let (window, packet_max) = limits(&connack);
    let (tx, events) = mpsc::channel(EVENTS);
    let pump = tokio::spawn(pump(events_of, tx));
    Ok(Wire { client, events, window, packet_max, pump })
}

fn limits(connack: &ConnAck) -> (usize, usize) {
    let properties = connack.properties.as_ref();
    let receive_max = properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX);
    let packet_max = properties.and_then(|properties| properties.max_packet_size);
    // One less than rumqttc's own, which would stop taking acknowledgements.
    let window = usize::from(receive_max.min(IN_FLIGHT_MAX)).saturating_sub(1).max(1);
    (window, packet_max.map_or(usize::MAX, |max| max as usize))
}

async fn pump(mut events_of: EventLoop, tx: mpsc::Sender<Result<Event, LinkError>>) {
    loop {
        match events_of.poll().await {
            Ok(event) => {
                if tx.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // The session may be gone already.
                tx.send(Err(link_error(error))).await.ok();
                return;
            }
        }
    }
}

fn options(remote: &Remote) -> Result<MqttOptions, LinkError> {
    let link = &remote.link;
    let host = if link.host.contains(':') { format!("[{}]", link.host) } else { link.host.clone() };
    let mut options = MqttOptions::new(remote.client_id.as_str(), host, link.port);
    options.set_keep_alive(remote.keep_alive);
    options.set_connection_timeout(CONNECT_MAX_S);
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
    options.set_receive_maximum(Some(RECEIVE_MAX));
    options.set_max_packet_size(Some(PACKET_MAX));
    options.set_manual_acks(true);
    // What the far end has for us waits there; without anything to wait for there is no session to leave behind.
    let takes = remote.topics.iter().any(|bridge| bridge.direction == Direction::In);
    options.set_clean_start(!takes);
    options.set_session_expiry_interval(Some(if takes { SESSION_EXPIRY_S } else { 0 }));
    if let Some((user, password)) = &remote.user {
        let password = match password {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                text.map_err(|error| LinkError::Local(format!("`{}` cannot be read: {error}", path.display())))?
            }
            None => String::new(),
        };
        options.set_credentials(user.as_str(), password.trim_end_matches(['\r', '\n']));
    }
    if let Some(files) = &link.tls {
        let client = files.client.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let config = tls::client::client_config(files.ca.as_deref(), client).map_err(LinkError::Local)?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
    }
    Ok(options)
}

fn link_error(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::ConnectionRefused(code) => LinkError::Refused(format!("{code:?}")),
        ConnectionError::Timeout(_) => LinkError::Unreachable("it does not answer".to_owned()),
        ConnectionError::Io(error) => LinkError::Unreachable(error.to_string()),
        ConnectionError::Tls(error) => LinkError::Unreachable(format!("TLS: {error}")),
        ConnectionError::MqttState(error) => LinkError::Broken(error.to_string()),
        error => LinkError::Broken(error.to_string()),
    }
}
