//! Where a door lets peers in: one or several listeners, each with its way of carrying bytes.

use super::arrival::Arrival;
use super::peer::Transport;
use super::pulse::{Beat, Pulse, pulse};
use crate::net::Listener;
use crate::tls;
use futures_util::future::select_all;
use std::io;
use std::sync::Arc;

/// What lies between a socket and the dialect.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// A PROXY header comes first, and says who the client is.
    pub proxy_protocol: bool,
    pub tls: Option<Arc<tls::Server>>,
    pub web_socket: bool,
}

impl Way {
    #[must_use]
    pub fn transport(&self) -> Transport {
        match (&self.tls, self.web_socket) {
            (None, false) => Transport::Tcp,
            (Some(_), false) => Transport::Tls,
            (None, true) => Transport::WebSocket,
            (Some(_), true) => Transport::SecureWebSocket,
        }
    }
}

/// One listener of a door.
#[derive(Debug)]
pub struct Entrance<L> {
    pub(super) listener: L,
    pub(super) way: Arc<Way>,
    beat: Beat,
    pulse: Pulse,
}

impl<L: Listener> Entrance<L> {
    pub fn new(listener: L, way: Way) -> Self {
        let (pulse, beat) = pulse();
        Self { listener, way: Arc::new(way), beat, pulse }
    }

    /// The dialect's bytes as they are.
    pub fn plain(listener: L) -> Self {
        Self::new(listener, Way::default())
    }

    /// By which the watchdog feels whether anybody is let in here.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    async fn accept(&mut self) -> io::Result<Arrival<L::Stream>> {
        let Self { listener, way, beat, .. } = self;
        let next = async {
            if let Some(tls) = &way.tls {
                // What the processor has not got to yet waits in the kernel, not here.
                tls.turns().calm().await;
            }
            listener.accept().await
        };
        let (stream, addr) = tokio::select! {
            // First, so that a flood does not look like a stand-still.
            biased;
            never = beat.answer() => match never {},
            accepted = next => accepted?,
        };
        let ticket = way.tls.as_ref().map(|tls| tls.turns().ticket());
        Ok(Arrival { stream, addr, way: Arc::clone(way), ticket })
    }
}

/// All listeners of a door.
#[derive(Debug)]
pub(crate) struct Entrances<L> {
    list: Vec<Entrance<L>>,
    first: usize,
}

impl<L: Listener> Entrances<L> {
    pub(crate) fn new(list: Vec<Entrance<L>>) -> Self {
        Self { list, first: 0 }
    }

    /// The next one who comes, wherever. May be dropped half way. Each entrance is looked at first in its turn, so that a
    /// flood at one of them does not close the others.
    pub(crate) async fn accept(&mut self) -> io::Result<Arrival<L::Stream>> {
        self.first = (self.first + 1) % self.list.len().max(1);
        match self.list.as_mut_slice() {
            [] => std::future::pending().await,
            [only] => only.accept().await,
            several => {
                let (later, sooner) = several.split_at_mut(self.first);
                let waiting = sooner.iter_mut().chain(later).map(|entrance| Box::pin(entrance.accept()));
                select_all(waiting).await.0
            }
        }
    }
}
