//! Opens the listeners of the doors.

use super::GatewayError;
use crate::config::Listen;
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
