//! Names that are too long, too deep or too wide: refused whatever brings them, and no reason not to start.

use super::*;
use crate::names::LEVELS_MAX;
use crate::router::session::SessionId;
use crate::router::state::Change;

fn deep(levels: usize) -> String {
    vec!["a"; levels].join("/")
}

fn outcome(w: &mut World, link: LinkId, filter: Filter) -> Result<Qos, Refusal> {
    let token = w.token();
    w.say(link, Inbound::Subscribe { token, filters: vec![subscription(filter, Qos::AtLeastOnce)] });
    w.sync_if_silent(link);
    match &w.take(link)[..] {
        [Outbound::Subscribed { outcomes, .. }] => outcomes[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_beyond_the_limits_are_refused_in_every_dialect_and_leave_nothing() {
    let mut w = World::new();
    let link = w.client("c");
    let shared = |group: &str, filter: &str| Filter::Shared { group: group.into(), filter: filter.into() };
    for filter in [
        mqtt(&"/".repeat(6_000)),
        mqtt(&deep(LEVELS_MAX + 1)),
        mqtt(&"x".repeat(1_025)),
        shared(&"g".repeat(1_025), "a"),
        shared("g", &"/".repeat(6_000)),
        rembus(&format!("dev1/{}x", "**/".repeat(6_000))),
        rembus(&"**/a/".repeat(9)),
        Filter::Bus("/".repeat(6_000)),
    ] {
        assert_eq!(outcome(&mut w, link, filter.clone()), Err(Refusal::FilterTooLong), "{filter:?}");
        let token = w.token();
        w.say(link, Inbound::Unsubscribe { token, filters: vec![filter] });
        assert!(matches!(&w.take(link)[..], [Outbound::Unsubscribed { outcomes, .. }] if outcomes == &[false]));
    }
    assert_eq!((w.router.report().subscriptions, w.router.tree.len()), (0, 0));
    assert_eq!(outcome(&mut w, link, mqtt(&deep(LEVELS_MAX))), Ok(Qos::AtLeastOnce));
}

#[test]
fn an_exclusion_beyond_the_limits_is_refused() {
    let mut w = World::new();
    let link = w.link(Dialect::Bus);
    let token = w.token();
    w.say(link, Inbound::Exclude { token, filters: vec![Filter::Bus("/".repeat(6_000)), Filter::Bus("a".into())] });
    let answers = w.take(link);
    let [Outbound::Subscribed { outcomes, .. }] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(outcomes[..], [Err(Refusal::FilterTooLong), Ok(Qos::AtMostOnce)]);
}

#[test]
fn a_publication_to_a_topic_beyond_the_limits_is_refused_and_counted() {
    let mut w = World::new();
    let link = w.client("c");
    for topic in ["x".repeat(1_025), deep(LEVELS_MAX + 1)] {
        let token = w.publish(link, &topic, Qos::AtLeastOnce);
        assert!(
            matches!(w.take(link)[..], [Outbound::Accepted { token: at, outcome: Err(Refusal::TopicTooLong), .. }] if at == token)
        );
        w.publish(link, &topic, Qos::AtMostOnce);
    }
    assert_eq!(w.router.report().refused["topic_too_long"], 4);
    let token = w.publish(link, &deep(LEVELS_MAX), Qos::AtLeastOnce);
    w.sync();
    assert_eq!(w.accepted(link), [(token, true)]);
}

#[test]
fn methods_and_names_beyond_the_limits_are_refused_in_words() {
    let mut w = World::new();
    let link = w.component("c");
    let long = "m".repeat(1_025);
    let calls = [
        Inbound::Expose { token: Token(1), method: long.clone() },
        Inbound::Expose { token: Token(1), method: "/".repeat(LEVELS_MAX) },
        Inbound::Call { token: Token(1), method: long.clone(), target: None, data: Bytes::new() },
        Inbound::Call { token: Token(1), method: "m".into(), target: Some(long.clone()), data: Bytes::new() },
    ];
    for call in calls {
        let what = format!("{call:?}");
        w.say(link, call);
        w.sync_if_silent(link);
        let answers = w.responses(link);
        let [(_, Status::GENERIC_ERROR, data)] = &answers[..] else { panic!("{what}: {answers:?}") };
        let text: String = ciborium::from_reader(data.as_ref()).unwrap();
        assert!(text.starts_with("name too long"), "{text}");
    }
    for (dialect, name) in [(Dialect::Mqtt, long), (Dialect::Rembus, "/".repeat(LEVELS_MAX))] {
        let link = w.link(dialect);
        w.attach(link, &name, OnConflict::TakeOver, 10);
        assert!(matches!(w.take(link)[..], [Outbound::Refused(Refusal::NameTooLong)]));
    }
}

#[test]
fn a_will_beyond_the_limits_is_refused_with_its_client() {
    let mut w = World::new();
    let link = w.link(Dialect::Mqtt);
    let payload = Payload::Mqtt(Bytes::from_static(b"1"));
    let message = Message::new(deep(LEVELS_MAX + 1), payload, Qos::AtMostOnce, w.now().wall, Dialect::Mqtt, "c".into());
    let will = Some(Box::new(Will { message, delay: Duration::ZERO }));
    w.say(link, Inbound::Attach(Attach { will, ..mqtt_attach("c") }));
    assert!(matches!(w.take(link)[..], [Outbound::Refused(Refusal::TopicTooLong)]));
}

fn state(seq: u64, changes: &[Change]) -> (Seq, u8, Bytes) {
    let mut body = Vec::new();
    ciborium::into_writer(changes, &mut body).unwrap();
    (Seq(seq), message::kind::STATE, body.into())
}

fn open(id: u64, dialect: Dialect, name: &str) -> Change {
    Change::Open { id: SessionId(id), dialect, name: name.into(), user: None, address: None, expiry: Expiry::Never, last_id: 0 }
}

fn subscribe(id: u64, filter: Filter, number: u32) -> Change {
    let subscription = Subscription { number, ..subscription(filter, Qos::AtLeastOnce) };
    Change::Subscribe { id: SessionId(id), subscription, backfill: false }
}

/// What 2c01e44 stored for who asked it to; each ended it, and again at every start.
#[test]
fn what_cannot_be_taken_back_is_set_aside_and_counted_and_the_rest_is_there() {
    let mut w = World::new();
    let deep_pattern = format!("dev1/{}x", "**/".repeat(6_000));
    w.records = vec![
        state(1, &[open(1, Dialect::Mqtt, "sensor"), subscribe(1, mqtt(&"/".repeat(6_000)), 0), subscribe(1, mqtt("a/+"), 0)]),
        state(2, &[open(2, Dialect::Rembus, "dev1"), subscribe(2, rembus(&deep_pattern), 1), subscribe(2, rembus("b/*"), 2)]),
        state(
            3,
            &[Change::Expose { id: SessionId(2), method: "m".repeat(2_000) }, subscribe(2, rembus(&"**/a/".repeat(9)), 3)],
        ),
        state(4, &[open(3, Dialect::Mqtt, &"n".repeat(5_000)), subscribe(3, mqtt("a/b"), 0)]),
        // The sensor gave it up in the life in which it had it.
        state(
            5,
            &[Change::Unsubscribe { id: SessionId(1), filter: mqtt(&"/".repeat(6_000)) }, Change::End { id: SessionId(3) }],
        ),
    ];
    w.restart(false);
    let report = w.router.report();
    assert_eq!((report.set_aside, report.sessions, report.subscriptions, report.services), (5, 2, 2, 0));

    let (sensor, present) = w.stayer("sensor", false);
    assert!(present);
    w.publish(sensor, "a/x", Qos::AtLeastOnce);
    w.sync();
    assert_eq!(w.deliveries(sensor).len(), 1);

    // The next snapshot has nothing of it.
    w.restart(true);
    let report = w.router.report();
    assert_eq!((report.set_aside, report.sessions, report.subscriptions), (0, 2, 2));
}

#[test]
fn a_session_with_the_deepest_filters_that_are_accepted_expires_and_is_restored() {
    let mut w = World::new();
    let (link, _) = w.stayer("c", true);
    for filter in [deep(LEVELS_MAX), "/".repeat(LEVELS_MAX - 1), format!("{}#", "+/".repeat(LEVELS_MAX - 1))] {
        w.want(link, &filter, Qos::AtLeastOnce);
    }
    w.restart(false);
    assert_eq!(w.router.report().subscriptions, 3);
    let (link, _) = w.stayer("c", true);
    w.gone(link);
    assert_eq!((w.router.report().subscriptions, w.router.tree.len()), (0, 0));
}

#[test]
fn a_search_among_many_retained_messages_lets_others_have_their_turn() {
    let mut w = World::new();
    let publisher = w.client("p");
    let topics = 10_000;
    for n in 0..topics {
        w.send_with(publisher, &format!("r/{n}"), "x", Qos::AtMostOnce, |message| message.retain = true);
    }
    let reader = w.client("r");
    let token = w.token();
    let filters = (0..100).map(|n| subscription(mqtt(&format!("+/{}", topics + n)), Qos::AtMostOnce));
    let filters: Vec<_> = filters.chain([subscription(mqtt("+/9999"), Qos::AtMostOnce)]).collect();
    w.say(reader, Inbound::Subscribe { token, filters });
    assert!(matches!(w.take(reader)[..], [Outbound::Subscribed { .. }]), "a million topics were not looked at in one turn");
    let mut turns = 0;
    while w.router.next_due().is_some_and(|due| due <= w.now.plus(Duration::from_millis(1))) {
        w.wait(Duration::from_millis(1));
        turns += 1;
    }
    assert!((200..300).contains(&turns), "{turns}");
    assert_eq!(w.deliveries(reader).len(), 1);
}

#[test]
fn a_session_with_thousands_of_filters_ends_without_holding_up_the_others() {
    let mut w = World::new();
    let (link, _) = w.stayer("many", true);
    for n in 0..1_000 {
        w.want(link, &format!("a/{n}/+"), Qos::AtLeastOnce);
    }
    let (shared, token) = (Filter::Shared { group: "g".into(), filter: "a/+/x".into() }, w.token());
    w.say(link, Inbound::Subscribe { token, filters: vec![subscription(shared, Qos::AtLeastOnce)] });
    w.sync();
    w.gone(link);
    let (link, present) = w.stayer("many", true);
    assert!(!present && w.router.report().subscriptions == 0);
    assert!(w.router.tree.search("a/7/x").len() == 1, "its place in the tree is still there, and leads to nobody");
    w.want(link, "a/8/+", Qos::AtLeastOnce);
    w.send(link, "a/7/x", "x", Qos::AtLeastOnce);
    w.send(link, "a/8/x", "y", Qos::AtLeastOnce);
    assert_eq!(w.got(link), ["y"]);
    let mut turns = 0;
    while !w.router.tree.search("a/999/x").is_empty() || !w.router.tree.search("a/7/x").is_empty() {
        w.wait(Duration::from_millis(1));
        turns += 1;
        assert!(turns < 20);
    }
    assert!(turns > 4, "{turns}");
    assert_eq!((w.router.report().subscriptions, w.router.tree.len()), (1, 1));
}
