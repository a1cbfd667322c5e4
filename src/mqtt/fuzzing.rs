//! For `fuzz/`: the decoder alone, and the door with the real router behind it, in one process, on a clock that jumps.
//!
//! The router's two books are checked after every event, and at the end nothing may be left of clients that are gone.

use super::Settings;
use super::codec::{Version, decode, frame, kind, read_connect};
use super::handshake::{Door, attend};
use super::hub;
use crate::clock::{Clock, Mono, SharedClock, SystemClock, Wall};
use crate::door::{Arrival, Gate};
use crate::router::{Closed, Effect, Event, Filter, HubStopped, Inbound, LinkId, LinkInfo, Now, Options, Outbound, Router};
use crate::wal::{Health, LogState};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Largest packet of the door under test; small, so that its limit is met.
const PACKET_MAX: usize = 4 << 10;
/// Batches on their way to one door; the router's window must keep them few.
const BATCHES_MAX: usize = 64 << 10;
/// What a socket holds in each direction.
const SOCKET: usize = 2 << 10;

/// Decodes what may be packets of any version; must return.
pub fn decode_all(bytes: &[u8]) {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut rest = bytes;
        while let Ok(Some(head)) = frame(rest, PACKET_MAX) {
            let Some((packet, behind)) = rest.split_at_checked(head.total) else { break };
            if head.kind() == kind::CONNECT {
                drop(read_connect(packet.get(head.header..).unwrap_or_default()));
            } else {
                drop(decode(version, head, packet));
            }
            rest = behind;
        }
    }
}

/// A filter as the dialect reads it.
pub(crate) fn filter(text: &str) -> Option<Filter> {
    super::codec::topic::parse(text)
}

/// People's time goes with the other, so that a run can be repeated.
#[derive(Debug)]
struct OneTime(SharedClock);

impl Clock for OneTime {
    fn mono(&self) -> Mono {
        self.0.mono()
    }

    fn wall(&self) -> Wall {
        Wall(1_800_000_000_000_000_000 + self.0.mono().0)
    }
}

/// The router and what surrounds it.
struct Table {
    router: Router,
    clock: SharedClock,
    doors: BTreeMap<u64, mpsc::Sender<Vec<Outbound>>>,
    last_link: u64,
    log: LogState,
}

impl Table {
    fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.router.handle(Now { mono: self.clock.mono(), wall: self.clock.wall() }, event, &mut effects);
        // What sessions that stay must not forget goes into the log at the end of a turn.
        self.router.settle(&mut effects);
        for effect in effects {
            match effect {
                Effect::Append { seq, .. } => {
                    assert!(seq > self.log.written, "records are numbered upwards");
                    self.log.written = seq;
                }
                Effect::Send { link, out } => {
                    if let Some(door) = self.doors.get(&link.0) {
                        // Closed: the door has left, and its word on the way.
                        let full = matches!(door.try_send(vec![out]), Err(mpsc::error::TrySendError::Full(_)));
                        assert!(!full, "a link's window is bounded");
                    }
                }
                Effect::Drop { link } => {
                    self.doors.remove(&link.0);
                }
                _ => {}
            }
        }
        let report = self.router.report();
        let ended = report.delivered + report.expired + report.dropped.values().sum::<u64>();
        assert_eq!(report.copies, ended + report.queued + report.in_flight, "{report:?}");
        assert_eq!(report.received.values().sum::<u64>(), report.logged + report.not_logged, "{report:?}");
    }

    fn tick(&mut self) {
        while self.router.next_due().is_some_and(|due| due <= self.clock.mono()) {
            self.handle(Event::Tick);
        }
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Table>>);

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("a broken table ends the run")
    }
}

struct Sender {
    link: LinkId,
    table: Shared,
}

struct Receiver(mpsc::Receiver<Vec<Outbound>>);

impl hub::Hub for Shared {
    type Sender = Sender;
    type Receiver = Receiver;

    async fn open(&self, info: LinkInfo) -> Result<(Sender, Receiver), HubStopped> {
        let (out, from_router) = mpsc::channel(BATCHES_MAX);
        let mut table = self.table();
        table.last_link += 1;
        let link = LinkId(table.last_link);
        table.doors.insert(link.0, out);
        table.handle(Event::Opened { link, info });
        Ok((Sender { link, table: self.clone() }, Receiver(from_router)))
    }
}

impl hub::Sender for Sender {
    async fn send(&mut self, batch: Vec<Inbound>) -> Result<(), HubStopped> {
        let mut table = self.table.table();
        for inbound in batch {
            table.handle(Event::Link { link: self.link, inbound });
        }
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.table.table().handle(Event::Link { link: self.link, inbound: Inbound::Closed { reason: Closed::Lost } });
        }
    }
}

impl hub::Receiver for Receiver {
    async fn recv(&mut self) -> Option<Vec<Outbound>> {
        self.0.recv().await
    }
}

/// A gateway with nothing but its MQTT door, and clients.
pub struct World {
    runtime: Runtime,
    table: Shared,
    door: Arc<Door<Shared>>,
    gate: Arc<Gate>,
    stop: watch::Sender<bool>,
    clients: BTreeMap<u8, DuplexStream>,
    tasks: Vec<JoinHandle<()>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("clients", &self.clients.len()).finish_non_exhaustive()
    }
}

impl Default for World {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without threads needs nothing");
        let _entered = runtime.enter();
        let clock: SharedClock = Arc::new(OneTime(SystemClock::shared()));
        let log = LogState::default();
        let router = Router::new(Options { sessions_max: 8, registrations_max: 8, ..Options::default() }, log);
        let (clock_of_table, doors) = (Arc::clone(&clock), BTreeMap::new());
        let table = Shared(Arc::new(Mutex::new(Table { router, clock: clock_of_table, doors, last_link: 0, log })));
        let settings = Settings { max_packet: PACKET_MAX, max_connections: 6, receive_max: 4, ..Settings::default() };
        let (stop, stopped) = watch::channel(false);
        let gate = Gate::new(4);
        let door = Arc::new(Door { hub: table.clone(), settings: Arc::new(settings), clock, stop: stopped });
        drop(_entered);
        Self { runtime, table, door, gate, stop, clients: BTreeMap::new(), tasks: Vec::new() }
    }
}

impl World {
    /// A new connection; the client's old one breaks.
    pub fn dial(&mut self, client: u8) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        let (near, far) = tokio::io::duplex(SOCKET);
        let arrival = Arrival::new(far, ([127, 0, 0, 1], u16::from(client)).into(), crate::door::Way::default());
        self.tasks.push(self.runtime.spawn(attend(
            arrival,
            Arc::clone(&self.door),
            self.gate.enter(std::net::Ipv4Addr::LOCALHOST.into()),
        )));
        self.clients.insert(client, near);
        self.settle();
    }

    /// Sends what the socket takes.
    pub fn send(&mut self, client: u8, bytes: &[u8]) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        if let Some(stream) = self.clients.get_mut(&client) {
            // The door may have hung up, or read no more for now.
            drop(self.runtime.block_on(tokio::time::timeout(Duration::from_millis(1), stream.write_all(bytes))));
        }
        self.settle();
    }

    /// What has come for a client.
    pub fn read(&mut self, client: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(stream) = self.clients.get_mut(&client) {
            let reading = async {
                while tokio::time::timeout(Duration::from_millis(1), stream.read_buf(&mut bytes))
                    .await
                    .is_ok_and(|count| count.is_ok_and(|count| count > 0))
                {}
            };
            self.runtime.block_on(reading);
        }
        self.settle();
        bytes
    }

    pub fn hang_up(&mut self, client: u8) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        self.clients.remove(&client);
        self.settle();
    }

    /// Everything written is on the disk from now on.
    pub fn durable(&mut self) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        let mut table = self.table.table();
        table.log.durable = table.log.written;
        let log = table.log;
        table.handle(Event::Log(log));
        drop(table);
        self.settle();
    }

    /// The disk has no room, or has it again.
    pub fn disk_full(&mut self, full: bool) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        let mut table = self.table.table();
        table.log.health = if full { Health::Full } else { Health::Fine };
        let log = table.log;
        table.handle(Event::Log(log));
        drop(table);
        self.settle();
    }

    pub fn log_behind(&mut self, behind: bool) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        self.table.table().handle(Event::LogBehind(behind));
        self.settle();
    }

    /// Time passes; at least a millisecond, in which everybody does what they can.
    pub fn pass(&mut self, time: Duration) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        self.runtime.block_on(tokio::time::sleep(time.max(Duration::from_millis(1))));
        self.table.table().tick();
        self.settle();
    }

    /// Nothing is on the disk yet, so nobody may have been told so.
    #[must_use]
    pub fn nothing_is_durable(&self) -> bool {
        self.table.table().log.durable.0 == 0
    }

    fn everything_is_durable(&self) -> bool {
        let log = self.table.table().log;
        log.durable == log.written
    }

    fn settle(&mut self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        for task in std::mem::take(&mut self.tasks) {
            if task.is_finished() {
                self.runtime.block_on(task).expect("a connection's task does not panic");
            } else {
                self.tasks.push(task);
            }
        }
    }

    /// Everybody goes, the disk takes everything, and nothing may be left.
    pub fn end(mut self, stopped: bool) {
        let handle = self.runtime.handle().clone();
        let _in_its_time = handle.enter();
        if stopped {
            self.stop.send_replace(true);
            self.pass(Duration::from_secs(20));
        }
        self.disk_full(false);
        self.clients.clear();
        // What they sent last comes to the router, and then to the disk.
        self.pass(Duration::from_secs(200));
        // What becomes durable may be followed by a record about it.
        while !self.everything_is_durable() {
            self.durable();
        }
        // And whoever waited for that has its answer, and sees that nobody is there.
        self.pass(Duration::from_secs(200));
        assert!(self.tasks.is_empty(), "{} connections outlive their clients", self.tasks.len());
        let stats = &self.door.settings.stats;
        assert_eq!((stats.half_open.load(Relaxed), stats.connected.load(Relaxed)), (0, 0));
        let table = self.table.table();
        let report = table.router.report();
        assert!(table.doors.is_empty(), "the router keeps links of clients that are gone");
        assert_eq!(report.connections.values().sum::<u64>(), 0, "{report:?}");
        assert_eq!(report.acks_waiting, 0, "{report:?}");
    }
}
