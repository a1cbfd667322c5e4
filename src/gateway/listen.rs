//! Opens the listeners of the doors.

use super::GatewayError;
use crate::bus::BusListener;
use crate::config::{Bus, Listen};
use crate::door::{Entrance, Way};
use crate::net::{Listener, TcpListener};
use std::net::SocketAddr;

/// The listeners of one door. All are open or none: an error leaves nothing behind.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) entrances: Vec<Entrance<TcpListener>>,
    pub(super) addresses: Vec<SocketAddr>,
}

/// Listens on all addresses of `door`, those of its `listen` key first. Nothing is lost by a door that listens before the
/// others: connections wait in the kernel until it is served.
pub(super) async fn listen<const N: usize>(door: &'static str, ways: [(&Listen, Way); N]) -> Result<Opened, GatewayError> {
    let mut opened = Opened { entrances: Vec::new(), addresses: Vec::new() };
    for (index, (listen, way)) in ways.into_iter().enumerate() {
        for wanted in listen {
            let failed = |error| GatewayError::Listen { door, addr: wanted.clone(), error };
            let listener = TcpListener::bind(wanted).await.map_err(failed)?;
            let addr = listener.local_addr().map_err(failed)?;
            if index == 0 {
                log::info!(door, addr:%; "listening");
            } else {
                log::info!(door, addr:%, transport = way.transport().name(); "listening");
            }
            opened.addresses.push(addr);
            opened.entrances.push(Entrance::new(listener, way.clone()));
        }
    }
    Ok(opened)
}

/// Listens for programs; says where, as `status` shows it.
pub(super) async fn listen_bus(wanted: &Bus) -> Result<(Vec<BusListener>, Vec<String>), GatewayError> {
    let (mut listeners, mut places) = (Vec::new(), Vec::new());
    if let Some(path) = &wanted.path {
        let failed = |error| GatewayError::Listen { door: "bus", addr: path.display().to_string(), error };
        listeners.push(BusListener::unix(path, wanted.mode, wanted.group.as_deref()).map_err(failed)?);
        log::info!(door = "bus", path:% = path.display(); "listening");
        places.push(path.display().to_string());
    }
    for address in &wanted.tcp {
        let failed = |error| GatewayError::Listen { door: "bus", addr: address.clone(), error };
        let listener = BusListener::tcp(address).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        log::info!(door = "bus", addr:%, transport = "tcp"; "listening");
        places.push(addr.to_string());
        listeners.push(listener);
    }
    Ok((listeners, places))
}
