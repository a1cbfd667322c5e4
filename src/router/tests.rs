//! Stories about the router: a table-top world in which the test is the doors, the log and the clock.

mod calls;
mod defects;
mod fair;
mod names;
mod publish;
mod replay;
mod sessions;
mod sharing;
mod state;
mod tenants;
mod users;
mod wills;

use super::*;
use crate::access::Identity;
use crate::clock::{Mono, Wall};
use crate::message::{self, Dialect, Message, Payload, Qos, Seq};
use crate::wal::{Health, LogState};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

struct World {
    router: Router,
    now: Mono,
    links: u64,
    tokens: u64,
    /// What was sent, and not looked at yet.
    sent: Vec<(LinkId, Outbound)>,
    appended: Vec<Seq>,
    /// The log: what a restart finds.
    records: Vec<(Seq, u8, Bytes)>,
    invoked: Vec<(CallId, String, Seq)>,
    cancelled: Vec<CallId>,
    log: LogState,
    /// What components that catch up asked of the log.
    reads: Vec<(ReadId, Seq, Seq, Arc<Interest>)>,
}

impl World {
    fn new() -> Self {
        Self::with(Options { builtins: vec!["query_telemetry".into()], ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let log = LogState::default();
        Self {
            router: Router::new(options, log),
            now: Mono(1),
            links: 0,
            tokens: 0,
            sent: Vec::new(),
            appended: Vec::new(),
            records: Vec::new(),
            invoked: Vec::new(),
            cancelled: Vec::new(),
            log,
            reads: Vec::new(),
        }
    }

    fn event(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.router.handle(self.now(), event, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, mut effects: Vec<Effect>) {
        self.router.settle(&mut effects);
        for effect in effects {
            match effect {
                Effect::Send { link, out } => self.sent.push((link, out)),
                Effect::Append { seq, entry, .. } => {
                    self.appended.push(seq);
                    self.records.push(record(seq, entry));
                }
                Effect::Invoke { call, method, upto, .. } => self.invoked.push((call, method.to_string(), upto)),
                Effect::Cancel { call } => self.cancelled.push(call),
                Effect::Read { read, after, upto, interest } => self.reads.push((read, after, upto, interest)),
                Effect::EndRead { read } => self.reads.retain(|(known, ..)| *known != read),
                Effect::Drop { .. } | Effect::CommandDone { .. } => {}
            }
        }
        self.check();
    }

    fn now(&self) -> Now {
        // A clock that has been set, and goes with the other one.
        Now { mono: self.now, wall: Wall(1_800_000_000_000_000_000 + self.now.0) }
    }

    /// What must hold at every moment, whatever happened.
    fn check(&self) {
        let report = self.router.report();
        let ended = report.delivered + report.expired + report.dropped.values().sum::<u64>();
        assert_eq!(report.copies, ended + report.queued + report.in_flight, "{report:?}");
        assert_eq!(report.received.values().sum::<u64>(), report.logged + report.not_logged, "{report:?}");
    }

    fn link(&mut self, dialect: Dialect) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.event(Event::Opened {
            link,
            info: LinkInfo { dialect, peer: ([127, 0, 0, 1], 1).into(), identity: Identity::default() },
        });
        link
    }

    fn say(&mut self, link: LinkId, inbound: Inbound) {
        self.event(Event::Link { link, inbound });
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn attach(&mut self, link: LinkId, name: &str, on_conflict: OnConflict, receive_max: u16) {
        let attach = Attach { on_conflict, receive_max, ..mqtt_attach(name) };
        self.say(link, Inbound::Attach(attach));
    }

    /// An MQTT client as it is after CONNECT.
    fn client(&mut self, name: &str) -> LinkId {
        let link = self.link(Dialect::Mqtt);
        self.attach(link, name, OnConflict::TakeOver, 100);
        assert!(matches!(self.take(link)[..], [Outbound::Attached { .. }]));
        link
    }

    /// A named Rembus component, reactive.
    fn component(&mut self, name: &str) -> LinkId {
        let link = self.link(Dialect::Rembus);
        let attach = Attach {
            name: name.into(),
            on_conflict: OnConflict::Refuse,
            clean: false,
            receive_max: 100,
            packet_max: u32::MAX,
            resend_after: Some(Duration::from_secs(2)),
            identity: Identity::default(),
            expiry: Expiry::Never,
            will: None,
        };
        self.say(link, Inbound::Attach(attach));
        self.say(link, Inbound::Reactive { token: Token(0), on: true, reach: Past::Unseen });
        assert!(matches!(self.take(link)[..], [Outbound::Attached { .. }, Outbound::Response { status: Status::OK, .. }]));
        link
    }

    fn subscribe(&mut self, link: LinkId, filter: Filter, qos: Qos) {
        let token = self.token();
        let no_local = matches!(filter, Filter::Rembus(_));
        let wanted = Subscription { no_local, ..subscription(filter, qos) };
        self.say(link, Inbound::Subscribe { token, filters: vec![wanted] });
        self.sync_if_silent(link);
        assert!(matches!(&self.take(link)[..], [Outbound::Subscribed { outcomes, .. }] if outcomes == &[Ok(qos)]));
    }

    fn publish(&mut self, link: LinkId, topic: &str, qos: Qos) -> Token {
        let token = self.token();
        self.publish_as(link, topic, qos, token);
        token
    }

    fn publish_as(&mut self, link: LinkId, topic: &str, qos: Qos, token: Token) {
        let payload = Payload::Mqtt(Bytes::from_static(b"1"));
        let message = Message::new(topic.into(), payload, qos, self.now().wall, Dialect::Mqtt, "test".into());
        self.say(link, Inbound::Publish { message, token });
    }

    /// The answer to a component that is remembered waits for the disk.
    fn sync_if_silent(&mut self, link: LinkId) {
        if self.sent.iter().all(|(to, _)| *to != link) {
            self.sync();
        }
    }

    /// The log has everything on the disk.
    fn sync(&mut self) {
        let last = self.appended.last().copied().unwrap_or_default();
        self.log = LogState { written: last, durable: last, ..self.log };
        self.event(Event::Log(self.log));
    }

    fn health(&mut self, health: Health) {
        self.log.health = health;
        self.event(Event::Log(self.log));
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.event(Event::Tick);
    }

    /// What was sent to a link since the last look.
    fn take(&mut self, link: LinkId) -> Vec<Outbound> {
        let (mine, rest) = std::mem::take(&mut self.sent).into_iter().partition(|(to, _)| *to == link);
        self.sent = rest;
        mine.into_iter().map(|(_, out)| out).collect()
    }

    fn deliveries(&mut self, link: LinkId) -> Vec<Delivery> {
        let is_delivery = |out| match out {
            Outbound::Deliver(delivery) => Some(delivery),
            _ => None,
        };
        self.take(link).into_iter().filter_map(is_delivery).collect()
    }

    /// Answers accepted so far on a link, as (token, went well).
    fn accepted(&mut self, link: LinkId) -> Vec<(Token, bool)> {
        let is_accepted = |out| match out {
            Outbound::Accepted { token, outcome, .. } => Some((token, outcome.is_ok())),
            _ => None,
        };
        self.take(link).into_iter().filter_map(is_accepted).collect()
    }

    fn responses(&mut self, link: LinkId) -> Vec<(Token, Status, Bytes)> {
        let is_response = |out| match out {
            Outbound::Response { token, status, data } => Some((token, status, data)),
            _ => None,
        };
        self.take(link).into_iter().filter_map(is_response).collect()
    }
}

fn mqtt(filter: &str) -> Filter {
    Filter::Mqtt(filter.into())
}

fn rembus(pattern: &str) -> Filter {
    Filter::Rembus(pattern.into())
}

fn record(seq: Seq, entry: Entry) -> (Seq, u8, Bytes) {
    let mut body = Vec::new();
    let kind = match entry {
        Entry::Message { message, route } => {
            message::encode(&message, &route, &mut body);
            message::kind::MESSAGE
        }
        Entry::Conversation { message, route } => {
            message::encode(&message, &route, &mut body);
            message::kind::CONVERSATION
        }
        Entry::Copy { message, route } => {
            message::encode(&message, &route, &mut body);
            message::kind::COPY
        }
        Entry::State(bytes) => {
            body = bytes;
            message::kind::STATE
        }
        Entry::Command(bytes) => {
            body = bytes;
            message::kind::TABLE_COMMAND
        }
    };
    (seq, kind, body.into())
}

/// What a clean MQTT client asks for.
fn mqtt_attach(name: &str) -> Attach {
    Attach {
        name: name.into(),
        on_conflict: OnConflict::TakeOver,
        clean: true,
        expiry: Expiry::WithLink,
        will: None,
        receive_max: 100,
        packet_max: u32::MAX,
        resend_after: None,
        identity: Identity::default(),
    }
}

fn subscription(filter: Filter, qos: Qos) -> Subscription {
    Subscription {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        identifier: None,
        past: Past::Nothing,
        number: 0,
    }
}
