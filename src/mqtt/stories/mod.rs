//! Stories about the door, told in bytes: a client at one end of a pipe, a router played by the test at the other.
//!
//! Time is paused: it jumps to the next deadline whenever nobody has anything to do.

mod connecting;
mod delivering;
mod ending;
mod garbage;
mod malformed;
mod pressure;
mod publishing;
mod subscribing;

use super::Settings;
use super::accept::serve_with;
use super::hub::{Hub, Receiver, Sender};
use crate::clock::SystemClock;
use crate::door::{Entrance, Stats};
use crate::net::Listener;
use crate::router::{Attach, HubStopped, Inbound, LinkInfo, Outbound};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A running door.
struct Stage {
    sockets: mpsc::Sender<io::Result<(DuplexStream, SocketAddr)>>,
    links: mpsc::Receiver<Link>,
    stop: watch::Sender<bool>,
    door: JoinHandle<()>,
    stats: Arc<Stats>,
}

/// The router's end of one link, in the hands of the test.
struct Link {
    inbound: mpsc::Receiver<Vec<Inbound>>,
    outbound: mpsc::Sender<Vec<Outbound>>,
    seen: VecDeque<Inbound>,
}

/// The client's end of one socket.
struct Client {
    stream: DuplexStream,
}

#[derive(Clone)]
struct PlayedHub {
    opened: mpsc::Sender<Link>,
    /// Batches that a link's inbox holds.
    inbox: usize,
}

struct PlayedSender(mpsc::Sender<Vec<Inbound>>);
struct PlayedReceiver(mpsc::Receiver<Vec<Outbound>>);
struct PlayedListener(mpsc::Receiver<io::Result<(DuplexStream, SocketAddr)>>);

impl Hub for PlayedHub {
    type Sender = PlayedSender;
    type Receiver = PlayedReceiver;

    async fn open(&self, _info: LinkInfo) -> Result<(PlayedSender, PlayedReceiver), HubStopped> {
        let (to_router, inbound) = mpsc::channel(self.inbox);
        let (outbound, from_router) = mpsc::channel(64);
        self.opened.send(Link { inbound, outbound, seen: VecDeque::new() }).await.map_err(|_| HubStopped)?;
        Ok((PlayedSender(to_router), PlayedReceiver(from_router)))
    }
}

impl Sender for PlayedSender {
    async fn send(&mut self, batch: Vec<Inbound>) -> Result<(), HubStopped> {
        self.0.send(batch).await.map_err(|_| HubStopped)
    }
}

impl Receiver for PlayedReceiver {
    async fn recv(&mut self) -> Option<Vec<Outbound>> {
        self.0.recv().await
    }
}

impl Listener for PlayedListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(peer())
    }
}

/// For ever is a hundred days: paused time would otherwise jump on and on.
async fn patiently<F: Future>(wait: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(100 * 24 * 3600), wait).await.expect("this never happens")
}

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4711))
}

impl Stage {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_inbox(4096, change)
    }

    fn with_inbox(inbox: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let (sockets, listener) = mpsc::channel(1024);
        let (opened, links) = mpsc::channel(1024);
        let (stop, stopped) = watch::channel(false);
        let mut settings = Settings::default();
        change(&mut settings);
        let stats = settings.stats.clone();
        let (entrances, hub) = (vec![Entrance::plain(PlayedListener(listener))], PlayedHub { opened, inbox });
        let door = tokio::spawn(serve_with(entrances, hub, Arc::new(settings), SystemClock::shared(), stopped));
        Self { sockets, links, stop, door, stats }
    }

    /// A connected socket.
    async fn dial(&self) -> Client {
        self.dial_with(64 << 10).await
    }

    /// A connected socket that holds so many bytes in either direction.
    async fn dial_with(&self, buffer: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(buffer);
        self.sockets.send(Ok((theirs, peer()))).await.unwrap();
        Client { stream: ours }
    }

    async fn link(&mut self) -> Link {
        self.links.recv().await.unwrap()
    }

    /// A 3.1.1 client in service, and its link.
    async fn client_311(&mut self) -> (Client, Link) {
        self.client(&connect_311("c1", 0)).await
    }

    /// A 5.0 client in service, and its link.
    async fn client_5(&mut self) -> (Client, Link) {
        self.client(&connect_5("c1", 0, &[])).await
    }

    async fn client(&mut self, connect: &[u8]) -> (Client, Link) {
        let client = self.dial().await;
        self.connect(client, connect).await
    }

    async fn connect(&mut self, mut client: Client, connect: &[u8]) -> (Client, Link) {
        client.send(connect).await;
        let mut link = self.link().await;
        let attach = link.attach().await;
        link.send(attached(&attach.name)).await;
        let connack = client.packet().await;
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        (client, link)
    }

    fn count(&self, counter: impl Fn(&Stats) -> &AtomicU64) -> u64 {
        counter(&self.stats).load(Relaxed)
    }
}

fn attached(name: &str) -> Outbound {
    let name = if name.is_empty() { "assigned" } else { name };
    Outbound::Attached { session_present: false, name: name.into() }
}

impl Link {
    /// The next event, except reports of what was written.
    async fn next(&mut self) -> Inbound {
        loop {
            match self.any().await {
                Some(Inbound::Written { .. }) => {}
                other => return other.expect("the link is open"),
            }
        }
    }

    /// The next event; `None` when the door has let go of the link.
    async fn any(&mut self) -> Option<Inbound> {
        while self.seen.is_empty() {
            self.seen.extend(patiently(self.inbound.recv()).await?);
        }
        self.seen.pop_front()
    }

    async fn attach(&mut self) -> Attach {
        match self.next().await {
            Inbound::Attach(attach) => attach,
            other => panic!("expected Attach, got {other:?}"),
        }
    }

    async fn send(&self, outbound: Outbound) {
        self.outbound.send(vec![outbound]).await.unwrap();
    }

    /// Nothing but the end comes.
    async fn ends_with(&mut self, reason: crate::router::Closed) {
        match self.next().await {
            Inbound::Closed { reason: got } => assert_eq!(got, reason),
            other => panic!("expected the end, got {other:?}"),
        }
        assert!(self.any().await.is_none());
    }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next whole packet.
    async fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 2];
        patiently(self.stream.read_exact(&mut packet)).await.expect("a packet, not the end");
        let mut remaining = usize::from(packet[1] & 0x7f);
        let mut shift = 7;
        while packet.last().unwrap() & 0x80 != 0 {
            let next = self.stream.read_u8().await.unwrap();
            remaining |= usize::from(next & 0x7f) << shift;
            shift += 7;
            packet.push(next);
        }
        let header = packet.len();
        packet.resize(header + remaining, 0);
        self.stream.read_exact(&mut packet[header..]).await.unwrap();
        packet
    }

    /// Nothing more comes but the end.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is as good an end as any.
        patiently(self.stream.read_to_end(&mut rest)).await.ok();
        assert!(rest.is_empty(), "more than the end");
    }

    /// DISCONNECT of 5.0 with this reason, then the end.
    async fn is_told(&mut self, reason: u8) {
        let packet = self.packet().await;
        assert_eq!((packet[0], packet[2]), (0xE0, reason), "{packet:02x?}");
        self.is_closed().await;
    }

    /// The connection still works.
    async fn is_served(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.packet().await, [0xD0, 0]);
    }

    /// Nothing comes for this long.
    async fn is_quiet_for(&mut self, wait: Duration) {
        let mut byte = [0];
        assert!(tokio::time::timeout(wait, self.stream.read(&mut byte)).await.is_err(), "something came");
    }
}

/// Any packet.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut remaining = body.len();
    while remaining > 0x7f {
        packet.push((remaining & 0x7f) as u8 | 0x80);
        remaining >>= 7;
    }
    packet.push(remaining as u8);
    packet.extend_from_slice(body);
    packet
}

/// A length-prefixed string.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn connect_311(id: &str, keep_alive: u16) -> Vec<u8> {
    packet(0x10, &[&text("MQTT")[..], &[4, 0x02], &keep_alive.to_be_bytes(), &text(id)].concat())
}

fn connect_5(id: &str, keep_alive: u16, properties: &[u8]) -> Vec<u8> {
    let head = [&text("MQTT")[..], &[5, 0x02], &keep_alive.to_be_bytes(), &[properties.len() as u8]].concat();
    packet(0x10, &[&head[..], properties, &text(id)].concat())
}

/// PUBLISH of 3.1.1; `flags` are the lower half of the first byte.
fn publish_311(flags: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if flags & 0x06 == 0 { vec![] } else { id.to_be_bytes().to_vec() };
    packet(0x30 | flags, &[&text(topic)[..], &id, payload].concat())
}

fn publish_5(flags: u8, topic: &str, id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = if flags & 0x06 == 0 { vec![] } else { id.to_be_bytes().to_vec() };
    packet(0x30 | flags, &[&text(topic)[..], &id, &[properties.len() as u8], properties, payload].concat())
}
