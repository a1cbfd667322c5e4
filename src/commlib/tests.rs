//! Stories of the part and the real router, with the test as doors, log and clock.

mod actions;
mod calling;
mod watching;

use super::*;
use crate::access::Identity;
use crate::clock::Wall;
use crate::mapping;
use crate::message::{Dialect, Message, Payload};
use crate::router::{
    Attach, Effect, Entry, Event, Expiry, LinkId, LinkInfo, OnConflict, Options, Past, RetainHandling, Router, Subscription,
};
use crate::wal::LogState;
use std::collections::VecDeque;
use std::time::Duration;

const PART: LinkId = LinkId(1);

struct World {
    router: Router,
    part: Commlib,
    figures: Shared,
    now: Now,
    links: u64,
    tokens: u64,
    log: LogState,
    sent: Vec<(LinkId, Outbound)>,
    /// Topics in the log, and whether history reads them.
    logged: Vec<(String, bool)>,
    /// Calls of the gateway's own methods.
    invoked: Vec<(CallId, String, Value)>,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let figures = Shared::default();
        let options = Options { builtins: vec!["query_telemetry".into(), "delete_telemetry".into()], ..Options::default() };
        let mut world = Self {
            router: Router::new(options, LogState::default()),
            part: Commlib::new("broker", settings, figures.clone()),
            figures,
            now: Now { mono: Mono(1), wall: Wall(1_800_000_000_000_000_000) },
            links: 0,
            tokens: 0,
            log: LogState::default(),
            sent: Vec::new(),
            logged: Vec::new(),
            invoked: Vec::new(),
        };
        assert_eq!(world.open(Dialect::Internal), PART);
        let mut out = Vec::new();
        world.part.begin(world.now, &mut out);
        world.say_all(PART, out);
        world
    }

    fn open(&mut self, dialect: Dialect) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let info = LinkInfo { dialect, peer: ([127, 0, 0, 1], 0).into(), identity: Identity::default() };
        self.event(Event::Opened { link, info });
        link
    }

    /// An MQTT client with these exact subscriptions.
    fn mqtt(&mut self, filters: &[&str]) -> LinkId {
        let link = self.open(Dialect::Mqtt);
        let attach = Attach {
            name: String::new(),
            on_conflict: OnConflict::TakeOver,
            clean: true,
            expiry: Expiry::WithLink,
            will: None,
            receive_max: 1000,
            packet_max: u32::MAX,
            resend_after: None,
            identity: Identity::default(),
        };
        self.say(link, Inbound::Attach(attach));
        for filter in filters {
            self.subscribe(link, Filter::Mqtt((*filter).into()));
        }
        self.sent.retain(|(to, _)| *to != link);
        link
    }

    /// A Rembus component that offers these methods.
    fn component(&mut self, methods: &[&str]) -> LinkId {
        let link = self.open(Dialect::Rembus);
        self.say(link, Inbound::Reactive { token: Token(0), on: true, reach: Past::Nothing });
        for method in methods {
            self.say(link, Inbound::Expose { token: Token(0), method: (*method).into() });
        }
        self.sent.retain(|(to, _)| *to != link);
        link
    }

    fn subscribe(&mut self, link: LinkId, filter: Filter) {
        let subscription = Subscription {
            filter,
            qos: Qos::AtLeastOnce,
            no_local: true,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            identifier: None,
            number: 0,
            past: Past::Nothing,
        };
        self.say(link, Inbound::Subscribe { token: Token(0), filters: vec![subscription] });
    }

    fn say(&mut self, link: LinkId, inbound: Inbound) {
        self.event(Event::Link { link, inbound });
    }

    fn say_all(&mut self, link: LinkId, inbound: Vec<Inbound>) {
        for inbound in inbound {
            self.say(link, inbound);
        }
    }

    /// One event, and all that follows from it.
    fn event(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.router.handle(self.now, event, &mut effects);
            self.router.settle(&mut effects);
            for effect in effects {
                match effect {
                    Effect::Send { link: PART, out } => {
                        let written = matches!(out, Outbound::Deliver(_) | Outbound::Request { .. });
                        let mut said = Vec::new();
                        self.part.hear(self.now, out, &mut said);
                        said.extend(written.then_some(Inbound::Written { count: 1 }));
                        events.extend(said.into_iter().map(|inbound| Event::Link { link: PART, inbound }));
                    }
                    Effect::Send { link, out } => {
                        if matches!(out, Outbound::Deliver(_) | Outbound::Request { .. }) {
                            events.push_back(Event::Link { link, inbound: Inbound::Written { count: 1 } });
                        }
                        self.sent.push((link, out));
                    }
                    Effect::Append { seq, entry, .. } => {
                        match entry {
                            Entry::Message { message, .. } => self.logged.push((message.topic.clone(), true)),
                            Entry::Conversation { message, .. } => self.logged.push((message.topic.clone(), false)),
                            _ => {}
                        }
                        (self.log.written, self.log.durable) = (seq, seq);
                        events.push_back(Event::Log(self.log));
                    }
                    Effect::Invoke { call, method, data, .. } => {
                        self.invoked.push((call, method.to_string(), Value::Array(arguments(&data))));
                    }
                    _ => {}
                }
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.mono = self.now.mono.plus(Duration::from_secs(seconds));
        let mut out = Vec::new();
        self.part.tick(self.now, &mut out);
        self.say_all(PART, out);
        self.event(Event::Tick);
    }

    fn publish(&mut self, link: LinkId, topic: &str, payload: &Value) {
        self.publish_bytes(link, topic, payload.to_string().into_bytes());
    }

    fn publish_bytes(&mut self, link: LinkId, topic: &str, payload: Vec<u8>) {
        self.tokens += 1;
        let payload = Payload::Mqtt(payload.into());
        let message = Message::new(topic.into(), payload, Qos::AtLeastOnce, self.now.wall, Dialect::Mqtt, "client".into());
        self.say(link, Inbound::Publish { message, token: Token(self.tokens) });
    }

    /// A commlib request; the reply topic.
    fn request(&mut self, link: LinkId, topic: &str, data: &Value) -> String {
        let reply_to = format!("rpc-{}", asking::hex());
        self.subscribe(link, Filter::Mqtt(reply_to.clone()));
        self.publish(link, topic, &json!({"header": {"reply_to": reply_to}, "data": data}));
        reply_to
    }

    /// What was delivered to a link since the last look: topic and JSON. Acknowledged where that is due.
    fn delivered(&mut self, link: LinkId) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let mut done = Vec::new();
        for (_, out) in self.sent.extract_if(.., |(to, out)| *to == link && matches!(out, Outbound::Deliver(_))) {
            let Outbound::Deliver(delivery) = out else { continue };
            done.extend(delivery.id);
            let (body, _) = delivery.message.mqtt_body();
            found.push((delivery.message.topic.clone(), serde_json::from_slice(body).unwrap_or(Value::Null)));
        }
        for id in done {
            self.say(link, Inbound::Delivered { id, stage: crate::router::Stage::Done });
        }
        found
    }

    /// The data of the answer on a reply topic.
    fn answer(&mut self, link: LinkId, reply_to: &str) -> Option<Value> {
        let found = self.delivered(link).into_iter().filter(|(topic, _)| topic == reply_to).collect::<Vec<_>>();
        assert!(found.len() < 2, "answered twice: {found:?}");
        found.into_iter().next().map(|(_, mut packet)| packet["data"].take())
    }

    /// A Rembus call; its number.
    fn call(&mut self, link: LinkId, method: &str, arguments: Value) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let data = mapping::json_to_cbor(&arguments);
        self.say(link, Inbound::Call { token, method: method.into(), target: None, data });
        token
    }

    /// Status and value of the answer to a call, if it is there.
    fn response(&mut self, link: LinkId, of: Token) -> Option<(Status, Value)> {
        let is_it =
            |(to, out): &mut (LinkId, Outbound)| *to == link && matches!(out, Outbound::Response { token, .. } if *token == of);
        let found: Vec<_> = self.sent.extract_if(.., is_it).collect();
        assert!(found.len() < 2, "answered twice");
        match found.into_iter().next()? {
            (_, Outbound::Response { status, data, .. }) => {
                Some((status, serde_json::from_str(&mapping::cbor_to_json(&data)).unwrap()))
            }
            _ => None,
        }
    }

    /// The calls that a component was asked to serve: method and arguments.
    fn asked(&mut self, link: LinkId) -> Vec<(CallId, String, Value)> {
        let is_it = |(to, out): &mut (LinkId, Outbound)| *to == link && matches!(out, Outbound::Request { .. });
        let found: Vec<_> = self.sent.extract_if(.., is_it).collect();
        let of = |(_, out)| match out {
            Outbound::Request { call, method, data, .. } => Some((call, method.to_string(), Value::Array(arguments(&data)))),
            _ => None,
        };
        found.into_iter().filter_map(of).collect()
    }

    fn give(&mut self, link: LinkId, call: CallId, value: &Value) {
        let data = mapping::json_to_cbor(value);
        self.say(link, Inbound::Return { call, status: Status::OK, data });
    }
}
