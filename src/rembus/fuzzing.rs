//! For `fuzz/`: the decoders of both encodings, and dialogues of several peers with the real router behind them.

use super::Settings;
use super::codec::json::{self, Spelling};
use super::codec::{self, Frame};
use super::dialogue::{Dialogue, Said};
use super::login::Entry;
use super::packet::Packet;
use crate::access::Identity;
use crate::clock::{Mono, SystemClock, Wall};
use crate::mapping;
use crate::message::Dialect;
use crate::router::{Closed, Effect, Event, Inbound, LinkId, LinkInfo, Now, Options, Outbound, Router, Status};
use crate::wal::{Health, LogState};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Decodes bytes as a binary message and, if they are text, as a JSON one; must return. What could be read is written and read
/// again, and must come out the same from there on.
pub fn decode_all(bytes: &[u8]) {
    let mut frames: Vec<Frame> = codec::decode(&Bytes::copy_from_slice(bytes)).into_iter().collect();
    if let Ok(text) = std::str::from_utf8(bytes) {
        frames.extend(json::decode_all(text, &mut Spelling::default()).into_iter().flatten());
    }
    for frame in frames {
        if let Frame::Publish { data, .. } | Frame::Rpc { data, .. } | Frame::Admin { data, .. } = &frame {
            drop(codec::AdminCommand::parse(data));
            drop(mapping::parameters_to_pack(data));
        }
        let written = codec::whole(&frame);
        let again = codec::decode(&written).expect("what is written can be read");
        assert_eq!(codec::whole(&again), written);
    }
}

/// One peer's connection.
struct Peer {
    link: LinkId,
    dialogue: Dialogue,
}

/// A gateway with nothing but its Rembus dialogues and the router; time is what the story says.
pub struct World {
    router: Router,
    log: LogState,
    now: Now,
    peers: BTreeMap<u8, Peer>,
    last_link: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

impl Default for World {
    fn default() -> Self {
        let log = LogState::default();
        let now = Now { mono: Mono(0), wall: Wall(1_800_000_000_000_000_000) };
        let options = Options { sessions_max: 8, registrations_max: 8, ..Options::default() };
        Self { router: Router::new(options, log), log, now, peers: BTreeMap::new(), last_link: 0 }
    }
}

impl World {
    /// A new connection; the peer's old one breaks.
    pub fn dial(&mut self, peer: u8) {
        self.hang_up(peer);
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let addr = SocketAddr::from(([127, 0, 0, 1], u16::from(peer)));
        let settings = Arc::new(Settings { unanswered_max: 16, ..Settings::default() });
        let identity = Identity::default();
        let dialogue = Dialogue::new(settings, SystemClock::shared(), (link, addr), identity.clone(), Entry::Free);
        self.peers.insert(peer, Peer { link, dialogue });
        self.handle(Event::Opened { link, info: LinkInfo { dialect: Dialect::Rembus, peer: addr, identity } });
    }

    /// A message from a peer, binary or text.
    pub fn say(&mut self, peer: u8, bytes: &[u8], is_text: bool) {
        let Some(Peer { link, dialogue }) = self.peers.get_mut(&peer) else { return };
        let (link, mut batch, mut answers) = (*link, Vec::new(), Vec::new());
        let heard = match std::str::from_utf8(bytes) {
            Ok(text) if is_text => dialogue.hear_text(text, &mut batch, &mut answers),
            _ => dialogue.hear(&Bytes::copy_from_slice(bytes), &mut batch, &mut answers),
        };
        let ends = heard.is_err();
        let mut errands = Vec::new();
        while let Some(mut errand) = dialogue.next_errand() {
            // Nobody keeps keys here, so nothing takes its time.
            match errand.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => errands.push(done),
                Poll::Pending => break,
            }
        }
        for done in errands {
            drop(dialogue.done(done, &mut batch, &mut answers));
        }
        answers.into_iter().for_each(whole);
        for inbound in batch {
            self.handle(Event::Link { link, inbound });
        }
        if ends {
            self.hang_up(peer);
        }
    }

    pub fn hang_up(&mut self, peer: u8) {
        if let Some(Peer { link, .. }) = self.peers.remove(&peer) {
            self.handle(Event::Link { link, inbound: Inbound::Closed { reason: Closed::Lost } });
        }
    }

    /// Everything written is on the disk from now on.
    pub fn durable(&mut self) {
        self.log.durable = self.log.written;
        self.handle(Event::Log(self.log));
    }

    /// The disk has no room, or has it again.
    pub fn disk_full(&mut self, full: bool) {
        self.log.health = if full { Health::Full } else { Health::Fine };
        self.handle(Event::Log(self.log));
    }

    pub fn pass(&mut self, time: std::time::Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now = Now { mono: Mono(self.now.mono.0 + nanos), wall: Wall(self.now.wall.0 + nanos) };
        while self.router.next_due().is_some_and(|due| due <= self.now.mono) {
            self.handle(Event::Tick);
        }
    }

    /// Gives the router an event, and the peers what it wants said, until nothing follows from it.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.router.handle(self.now, event, &mut effects);
            // What sessions that stay must not forget goes into the log at the end of a turn.
            self.router.settle(&mut effects);
            for effect in effects {
                match effect {
                    Effect::Append { seq, .. } => {
                        assert!(seq > self.log.written, "records are numbered upwards");
                        self.log.written = seq;
                    }
                    Effect::Send { link, out } => self.tell(link, out, &mut events),
                    Effect::Drop { link } => self.peers.retain(|_, peer| peer.link != link),
                    Effect::Invoke { call, .. } => {
                        events.push_back(Event::Answered { call, status: Status::OK, data: Bytes::from_static(&[0xf6]) });
                    }
                    _ => {}
                }
            }
            self.balance();
        }
    }

    fn tell(&mut self, link: LinkId, out: Outbound, events: &mut VecDeque<Event>) {
        let accepted = matches!(out, Outbound::Accepted { outcome: Ok(()), .. });
        assert!(!accepted || self.log.durable.0 > 0, "an acknowledgement before anything is on the disk");
        let Some(peer) = self.peers.values_mut().find(|peer| peer.link == link) else { return };
        let inbound = match peer.dialogue.say(out) {
            Said::Nothing => return,
            Said::Answer(packet) => return whole(packet),
            Said::Delivery(packet) => {
                whole(packet);
                Inbound::Written { count: 1 }
            }
            Said::Verdict(verdict) => return verdict.answers.into_iter().for_each(whole),
            Said::Reconsidered(packet, inbound) => {
                whole(packet);
                inbound
            }
            Said::Redirected(inbound) => inbound,
            Said::Probe => Inbound::Alive,
            Said::Close(_) => Inbound::Closed { reason: Closed::Orderly },
        };
        events.push_back(Event::Link { link, inbound });
    }

    /// Each copy is somewhere, and each message that came is counted once.
    fn balance(&self) {
        let report = self.router.report();
        let ended = report.delivered + report.expired + report.dropped.values().sum::<u64>();
        assert_eq!(report.copies, ended + report.queued + report.in_flight, "{report:?}");
        assert_eq!(report.received.values().sum::<u64>(), report.logged + report.not_logged, "{report:?}");
    }

    /// Everybody goes, the disk takes everything, and nothing may be left.
    pub fn end(mut self) {
        self.disk_full(false);
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.hang_up(peer);
        }
        self.pass(std::time::Duration::from_secs(200));
        // What becomes durable may be followed by a record about it.
        while self.log.durable < self.log.written {
            self.durable();
        }
        let report = self.router.report();
        assert_eq!(report.connections.values().sum::<u64>(), 0, "{report:?}");
        assert_eq!(report.acks_waiting, 0, "{report:?}");
    }
}

/// A message of ours, which must be readable as one.
fn whole(packet: Packet) {
    let (bytes, is_text) = packet.bytes();
    if is_text {
        let text = std::str::from_utf8(&bytes).expect("JSON is UTF-8");
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "JSON that can be read: {text}");
    } else {
        drop(codec::decode(&bytes).expect("a message that can be read"));
    }
}
