//! Orderly programs among each other.

use super::*;
use crate::access::{Action, Identity, Rights};
use crate::message::{Dialect, Message, Payload, Qos};
use crate::router::{Filter, Inbound, LinkInfo, Outbound, Past, Subscription, Token};

#[tokio::test]
async fn a_program_hears_its_own_publications_and_each_of_them_once() {
    let world = World::new(calm());
    let mut own = world.program("own").await;
    assert_eq!(own.asks(1, 0x02, b"a/#\0a/+\0#\0a/b").await, 1);
    own.send(&op(2, 0x01, b"a/b\0once")).await;
    assert!(own.frame().await.ends_with(b"own\0a/b\0once"));
    own.settled().await;
}

#[tokio::test]
async fn topics_with_a_dot_or_a_dollar_in_front_stay_on_the_bus_and_cannot_come_from_elsewhere() {
    let world = World::new(calm());
    let mut program = world.program("program").await;
    assert_eq!(program.asks(1, 0x02, b"#").await, 1);
    let info = || LinkInfo { dialect: Dialect::Rembus, peer: ([127, 0, 0, 1], 1).into(), identity: Identity::default() };
    let mut outside = world.hub.open(info()).await.unwrap();
    let token = Token(1);
    let filters = vec![Subscription::rembus("**".into())];
    let batch = vec![Inbound::Subscribe { token, filters }, Inbound::Reactive { token, on: true, reach: Past::Nothing }];
    outside.sender.send(batch).await.unwrap();
    outside.receiver.recv().await.unwrap();

    for topic in ["$own", ".mine", "t"] {
        program.send(&op(2, 0x01, format!("{topic}\0from the bus").as_bytes())).await;
        assert!(program.frame().await.ends_with(format!("program\0{topic}\0from the bus").as_bytes()));
    }
    let heard = loop {
        let batch = outside.receiver.recv().await.unwrap();
        if let Some(Outbound::Deliver(delivery)) = batch.into_iter().find(|out| matches!(out, Outbound::Deliver(_))) {
            break delivery.message.topic.clone();
        }
    };
    assert_eq!(heard, "t", "the others are not for it");

    let mut stranger = world.hub.open(info()).await.unwrap();
    for topic in [".broker/info", ".mine", "$own", "u"] {
        let payload = Payload::Mqtt("from elsewhere".into());
        let clock = SystemClock::shared();
        let message = Message::new(topic.into(), payload, Qos::AtMostOnce, clock.wall(), Dialect::Rembus, "plc".into());
        stranger.sender.send(vec![Inbound::Publish { message, token }]).await.unwrap();
    }
    assert!(program.frame().await.ends_with(b".rembus.plc\0u\0from elsewhere"));
}

#[tokio::test]
async fn announcements_cannot_be_forged() {
    let world = World::new(calm());
    let mut watcher = world.program("watcher").await;
    assert_eq!(watcher.asks(1, 0x02, b".broker/info").await, 1);
    let mut forger = world.program("forger").await;
    assert!(watcher.frame().await[6..].starts_with(b".broker\0.broker/info\0"));
    for topic in [".broker/info", ".broker/warn", ".broker/x", ".broker"] {
        assert_eq!(forger.asks(2, 0x01, format!("{topic}\0lie").as_bytes()).await, 0x79, "{topic}");
        assert_eq!(forger.asks(3, 0x06, format!("{topic}\0watcher\0lie").as_bytes()).await, 0x79, "{topic}");
    }
    watcher.settled().await;
}

#[tokio::test]
async fn secondaries_go_with_their_primary_and_share_what_is_published_for_it() {
    let world = World::new(calm());
    let mut primary = world.program("svc").await;
    let mut secondary = world.program("svc%%1").await;
    let mut other = world.program("other").await;
    for raw in [&mut primary, &mut secondary, &mut other] {
        assert_eq!(raw.asks(1, 0x02, b"job/+").await, 1);
    }
    assert_eq!(other.asks(2, 0x06, b"job/1\0svc\0do it").await, 1);
    assert_eq!(other.asks(3, 0x06, b"elsewhere\0svc\0nobody wants it").await, 1);
    for raw in [&mut primary, &mut secondary] {
        assert!(raw.frame().await.ends_with(b"other\0job/1\0do it"));
    }
    assert_eq!(other.asks(4, 0x12, b"svc%%1\0to one of them").await, 1);
    assert!(secondary.frame().await.ends_with(b"other\0to one of them"));

    drop(primary);
    assert!(secondary.is_closed_within(DEADLINE).await);
    other.settled().await;
}

#[tokio::test]
async fn everybody_is_told_of_a_stop_and_it_does_not_wait_for_who_does_not_read() {
    let world = World::new(Settings { drain: Duration::from_millis(300), ..calm() });
    let (mut program, mut deaf) = (world.program("program").await, world.program("deaf").await);
    program.settled().await;
    let big = [&b"deaf\0"[..], &vec![0; 4 << 20]].concat();
    program.send(&op(1, 0x12, &big)).await;
    program.settled().await;
    world.stop.send_replace(true);
    let warning = program.frame().await;
    assert!(warning[6..].starts_with(b".broker\0.broker/warn\0\x82\xa1s\xa8shutdown\xa1t"), "{warning:x?}");
    assert!(program.is_closed_within(DEADLINE).await && deaf.is_closed_within(DEADLINE).await);
    timeout(DEADLINE, world.door).await.expect("the door closes").unwrap();
    assert!(!world.path.exists());
}

#[tokio::test]
async fn what_a_program_said_before_it_hung_up_counts() {
    let world = World::new(calm());
    let mut listener = world.program("listener").await;
    assert_eq!(listener.asks(1, 0x02, b"last").await, 1);
    let mut hasty = world.program("hasty").await;
    hasty.send(&[op(1, 0x01, b"last\0words"), op(2, 0x12, b"listener\0bye")].concat()).await;
    drop(hasty);
    let mut seen = [listener.frame().await, listener.frame().await];
    seen.sort();
    assert!(seen[0].ends_with(b"hasty\0last\0words") && seen[1].ends_with(b"hasty\0bye"));
}

/// Nobody may call or be called but as written.
#[derive(Debug)]
struct Strict;

impl Rights for Strict {
    fn allow(&self, action: Action, subject: &str) -> bool {
        matches!((action, subject), (Action::Publish, "open") | (Action::Call, "bus/friend") | (Action::Expose, "bus/me"))
    }

    fn permits(&self, action: Action, subject: &str) -> bool {
        self.allow(action, subject)
    }

    fn allow_filter(&self, filter: &Filter) -> bool {
        filter.pattern() == "open"
    }

    fn allow_delivery(&self, _topic: &str) -> bool {
        true
    }

    fn is_valid(&self) -> bool {
        true
    }

    fn is_user(&self, _name: &str) -> bool {
        false
    }

    fn named(&self, _client: &str) -> Arc<dyn Rights> {
        Arc::new(Self)
    }
}

#[tokio::test]
async fn what_the_policy_denies_is_answered_once_with_79() {
    let world = World::new(calm());
    let mut friend = world.program("friend").await;
    // As a login would have it; the door itself asks the same rights.
    let strict = Identity { user: None, rights: Some(Arc::new(Strict)) };
    let socket = UnixStream::pair().unwrap();
    let client = super::super::client::Client::new(
        "me",
        super::super::Socket::Unix(socket.0),
        ([127, 0, 0, 1], 0).into(),
        "test".into(),
        &world.board.settings,
    );
    let mut dialogue = super::super::dialogue::Dialogue::new(Arc::clone(&world.board), Arc::new(client), strict);
    let mut me = Raw(socket.1);
    let mut hear = |bytes: Vec<u8>| {
        let mut bytes = bytes::BytesMut::from(&bytes[..]);
        dialogue.hear(frame::next(&mut bytes, 1 << 20).unwrap().unwrap()).unwrap();
        dialogue.flush();
    };
    hear(op(1, 0x52, b"friend\0hello"));
    hear(op(2, 0x52, b"enemy\0hello"));
    hear(op(3, 0x52, b"enemy\0\x11\x01\0\0\0answer"));
    hear(op(4, 0x53, b"*\0all"));
    hear(op(5, 0x46, b"closed\0friend\0x"));
    let codes = [(1, 1), (2, 0x79), (3, 0x71), (4, 0x79), (5, 0x79)];
    for (id, code) in codes {
        assert_eq!(me.frame().await, frame::ack(id, frame::Code(code)), "{id}");
    }
    assert!(friend.frame().await.ends_with(b"me\0hello"));
}
