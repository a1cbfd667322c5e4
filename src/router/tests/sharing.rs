//! Shared subscriptions.

use super::*;

fn shared(group: &str, filter: &str) -> Filter {
    Filter::Shared { group: group.into(), filter: filter.into() }
}

#[test]
fn each_message_goes_to_one_member_of_each_group_in_turn() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let [a, b, c] = ["a", "b", "c"].map(|name| w.client(name));
    w.subscribe(a, shared("g", "t/+"), Qos::AtLeastOnce);
    w.subscribe(b, shared("g", "t/+"), Qos::AtLeastOnce);
    w.subscribe(c, shared("h", "t/+"), Qos::AtLeastOnce);
    for _ in 0..10 {
        w.publish(sensor, "t/1", Qos::AtLeastOnce);
    }
    assert_eq!([a, b, c].map(|link| w.deliveries(link).len()), [5, 5, 10]);
}

#[test]
fn two_filters_under_one_group_name_are_two_groups() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let [a, b] = ["a", "b"].map(|name| w.client(name));
    w.subscribe(a, shared("g", "x"), Qos::AtLeastOnce);
    w.subscribe(b, shared("g", "y"), Qos::AtLeastOnce);
    for _ in 0..4 {
        w.publish(sensor, "x", Qos::AtLeastOnce);
    }
    assert_eq!([a, b].map(|link| w.deliveries(link).len()), [4, 0]);
}

#[test]
fn what_a_leaving_member_did_not_finish_goes_to_the_others() {
    for leave in [Inbound::LOST, Inbound::Unsubscribe { token: Token(1), filters: vec![shared("g", "t")] }] {
        let unsubscribes = matches!(leave, Inbound::Unsubscribe { .. });
        let mut w = World::new();
        let sensor = w.client("sensor");
        let [a, b] = ["a", "b"].map(|name| w.client(name));
        w.subscribe(a, shared("g", "t"), Qos::AtLeastOnce);
        w.subscribe(b, shared("g", "t"), Qos::AtLeastOnce);
        for _ in 0..6 {
            w.publish(sensor, "t", Qos::AtLeastOnce);
        }
        let (mine, theirs) = (w.deliveries(a), w.deliveries(b));
        assert_eq!((mine.len(), theirs.len()), (3, 3));
        w.say(a, Inbound::Delivered { id: mine[0].id.unwrap(), stage: Stage::Done });
        w.say(a, leave);
        // One that stays connected finishes what it was sent.
        assert_eq!(w.deliveries(b).len(), if unsubscribes { 0 } else { 2 });
    }
}

#[test]
fn a_group_without_anybody_there_waits_for_a_member_whose_session_stays() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let worker = w.link(Dialect::Mqtt);
    w.say(worker, Inbound::Attach(Attach { clean: false, expiry: Expiry::Never, ..mqtt_attach("worker") }));
    w.sync();
    w.say(worker, Inbound::Subscribe { token: Token(1), filters: vec![subscription(shared("g", "t"), Qos::AtLeastOnce)] });
    w.sync();
    w.say(worker, Inbound::LOST);
    w.publish(sensor, "t", Qos::AtLeastOnce);
    // A second one that comes gets what is new; what waits is the first one's until it leaves for good.
    let other = w.client("other");
    w.subscribe(other, shared("g", "t"), Qos::AtLeastOnce);
    w.publish(sensor, "t", Qos::AtLeastOnce);
    assert_eq!(w.deliveries(other).len(), 1);
    let clean = w.link(Dialect::Mqtt);
    w.say(clean, Inbound::Attach(mqtt_attach("worker")));
    w.sync();
    assert_eq!(w.deliveries(other).len(), 1, "the session ended, and what it kept goes on");
}

#[test]
fn a_restart_after_a_member_left_a_group_finds_what_it_had_with_the_others_and_writes_nothing() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let stay = |name: &str| Attach { clean: false, expiry: Expiry::Never, ..mqtt_attach(name) };
    for name in ["one", "two"] {
        let link = w.link(Dialect::Mqtt);
        w.say(link, Inbound::Attach(stay(name)));
        w.sync();
        w.say(link, Inbound::Subscribe { token: Token(1), filters: vec![subscription(shared("g", "t"), Qos::AtLeastOnce)] });
        w.sync();
        w.say(link, Inbound::LOST);
    }
    for _ in 0..4 {
        w.publish(sensor, "t", Qos::AtLeastOnce);
    }
    let one = w.link(Dialect::Mqtt);
    w.say(one, Inbound::Attach(stay("one")));
    w.sync();
    w.say(one, Inbound::LOST);
    let clean = w.link(Dialect::Mqtt);
    w.say(clean, Inbound::Attach(mqtt_attach("one")));
    w.sync();
    w.restart(false);
    assert_eq!(w.router.report().queued, 4);
    let written = w.records.len();
    w.event(Event::Tick);
    assert_eq!(w.records.len(), written, "a start by itself is not worth a write");
    let two = w.link(Dialect::Mqtt);
    w.say(two, Inbound::Attach(stay("two")));
    w.sync();
    assert_eq!(w.deliveries(two).len(), 4);
}

#[test]
fn a_restart_after_a_member_unsubscribed_keeps_the_books() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let link = w.link(Dialect::Mqtt);
    w.say(link, Inbound::Attach(Attach { clean: false, expiry: Expiry::Never, receive_max: 1, ..mqtt_attach("one") }));
    w.sync();
    w.say(link, Inbound::Subscribe { token: Token(1), filters: vec![subscription(shared("g", "t"), Qos::AtLeastOnce)] });
    w.sync();
    for _ in 0..4 {
        w.publish(sensor, "t", Qos::AtLeastOnce);
    }
    w.say(link, Inbound::Unsubscribe { token: Token(2), filters: vec![shared("g", "t")] });
    w.sync();
    w.restart(false);
    assert_eq!(w.router.report().queued, 1, "the one that was sent; the others had nobody to go to");
}

#[test]
fn a_slow_member_does_not_hold_up_the_group() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let slow = w.link(Dialect::Mqtt);
    w.attach(slow, "slow", OnConflict::TakeOver, 1);
    w.take(slow);
    let fast = w.client("fast");
    w.subscribe(slow, shared("g", "t"), Qos::AtLeastOnce);
    w.subscribe(fast, shared("g", "t"), Qos::AtLeastOnce);
    let mut done = 0;
    for _ in 0..1_000 {
        w.publish(sensor, "t", Qos::AtLeastOnce);
        for delivery in w.deliveries(fast) {
            done += 1;
            w.say(fast, Inbound::Delivered { id: delivery.id.unwrap(), stage: Stage::Done });
            w.say(fast, Inbound::Written { count: 1 });
        }
    }
    assert!(done >= 890, "{done}");
}

#[test]
fn a_shared_subscription_brings_no_retained_messages_and_tells_its_own_options() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let payload = Payload::Mqtt(Bytes::from_static(b"x"));
    let mut message = Message::new("t".into(), payload, Qos::AtLeastOnce, Wall(1), Dialect::Mqtt, "sensor".into());
    message.retain = true;
    w.say(sensor, Inbound::Publish { message, token: Token(9) });
    let a = w.client("a");
    let wanted = Subscription { identifier: Some(7), ..subscription(shared("g", "t"), Qos::AtMostOnce) };
    w.say(a, Inbound::Subscribe { token: Token(1), filters: vec![wanted] });
    assert_eq!(w.deliveries(a).len(), 0);
    w.publish(sensor, "t", Qos::AtLeastOnce);
    let got = w.deliveries(a);
    assert_eq!((got[0].identifiers.clone(), got[0].qos), (vec![7], Qos::AtMostOnce));
}

/// Rights that let somebody receive what does not begin with `secret/`.
#[derive(Debug)]
struct NoSecrets;

impl crate::access::Rights for NoSecrets {
    fn allow(&self, _: crate::access::Action, _: &str) -> bool {
        true
    }
    fn permits(&self, _: crate::access::Action, _: &str) -> bool {
        true
    }
    fn allow_filter(&self, _: &Filter) -> bool {
        true
    }
    fn allow_delivery(&self, topic: &str) -> bool {
        !topic.starts_with("secret/")
    }
    fn is_valid(&self) -> bool {
        true
    }
    fn is_user(&self, _: &str) -> bool {
        true
    }
    fn named(&self, _: &str) -> Arc<dyn crate::access::Rights> {
        Arc::new(Self)
    }
}

/// A client that may not see everything.
fn restricted(w: &mut World, name: &str) -> LinkId {
    let link = w.link(Dialect::Mqtt);
    let identity = Identity { user: Some("restricted".into()), rights: Some(Arc::new(NoSecrets)) };
    w.say(link, Inbound::Attach(Attach { identity, ..mqtt_attach(name) }));
    assert!(matches!(w.take(link)[..], [Outbound::Attached { .. }]));
    link
}

#[test]
fn a_member_that_may_not_see_a_message_is_passed_over() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let blind = restricted(&mut w, "blind");
    let seeing = w.client("seeing");
    w.subscribe(blind, shared("g", "#"), Qos::AtLeastOnce);
    w.subscribe(seeing, shared("g", "#"), Qos::AtLeastOnce);
    for _ in 0..10 {
        w.publish(sensor, "secret/1", Qos::AtLeastOnce);
    }
    assert_eq!([blind, seeing].map(|link| w.deliveries(link).len()), [0, 10]);
    for _ in 0..10 {
        w.publish(sensor, "open/1", Qos::AtLeastOnce);
    }
    assert_eq!([blind, seeing].map(|link| w.deliveries(link).len()), [5, 5]);
}

#[test]
fn what_a_leaving_member_had_goes_past_members_that_may_not_see_it() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let leaving = w.client("leaving");
    w.subscribe(leaving, shared("g", "#"), Qos::AtLeastOnce);
    for _ in 0..10 {
        w.publish(sensor, "secret/1", Qos::AtLeastOnce);
    }
    let blind = restricted(&mut w, "blind");
    let seeing = w.client("seeing");
    w.subscribe(blind, shared("g", "#"), Qos::AtLeastOnce);
    w.subscribe(seeing, shared("g", "#"), Qos::AtLeastOnce);
    w.say(leaving, Inbound::LOST);
    assert_eq!([blind, seeing].map(|link| w.deliveries(link).len()), [0, 10]);
}

#[test]
fn a_member_whose_queue_is_full_is_passed_over_and_if_all_are_the_message_is_counted_once() {
    let mut w = World::with(Options { queue: QueueLimits { items: 3, bytes: 1 << 20 }, ..Options::default() });
    let sensor = w.client("sensor");
    for name in ["one", "two"] {
        let link = w.link(Dialect::Mqtt);
        w.say(link, Inbound::Attach(Attach { clean: false, expiry: Expiry::Never, ..mqtt_attach(name) }));
        w.sync();
        w.say(link, Inbound::Subscribe { token: Token(1), filters: vec![subscription(shared("g", "t"), Qos::AtLeastOnce)] });
        w.sync();
        if name == "one" {
            // It has two of its own besides.
            w.say(link, Inbound::Subscribe { token: Token(2), filters: vec![subscription(mqtt("own"), Qos::AtLeastOnce)] });
            w.sync();
        }
        w.say(link, Inbound::LOST);
    }
    for _ in 0..2 {
        w.publish(sensor, "own", Qos::AtLeastOnce);
    }
    for _ in 0..4 {
        w.publish(sensor, "t", Qos::AtLeastOnce);
    }
    assert_eq!(w.router.report().dropped.get("queue_full"), None, "there was room for all four");
    w.publish(sensor, "t", Qos::AtLeastOnce);
    assert_eq!(w.router.report().dropped["queue_full"], 1);
    assert_eq!(w.router.report().queued, 6);
}

#[test]
fn a_member_that_is_away_and_wants_qos_0_gets_nothing_that_another_could_keep() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    for (name, qos) in [("careless", Qos::AtMostOnce), ("careful", Qos::AtLeastOnce)] {
        let link = w.link(Dialect::Mqtt);
        w.say(link, Inbound::Attach(Attach { clean: false, expiry: Expiry::Never, ..mqtt_attach(name) }));
        w.sync();
        w.say(link, Inbound::Subscribe { token: Token(1), filters: vec![subscription(shared("g", "t"), qos)] });
        w.sync();
        w.say(link, Inbound::LOST);
    }
    for _ in 0..4 {
        w.publish(sensor, "t", Qos::AtLeastOnce);
    }
    assert_eq!(w.router.report().queued, 4);
}

#[test]
fn a_member_that_takes_no_packet_as_large_is_passed_over_and_if_nobody_does_it_is_tried_all_the_same() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let narrow = w.link(Dialect::Mqtt);
    w.say(narrow, Inbound::Attach(Attach { packet_max: 100, ..mqtt_attach("narrow") }));
    w.take(narrow);
    w.subscribe(narrow, shared("g", "t/#"), Qos::AtLeastOnce);
    let long = format!("t/{}", "x".repeat(200));
    w.publish(sensor, &long, Qos::AtLeastOnce);
    assert_eq!(w.deliveries(narrow).len(), 1, "its door knows best, and counts what it cannot send");
    let wide = w.client("wide");
    w.subscribe(wide, shared("g", "t/#"), Qos::AtLeastOnce);
    for _ in 0..10 {
        w.publish(sensor, &long, Qos::AtLeastOnce);
    }
    assert_eq!([narrow, wide].map(|link| w.deliveries(link).len()), [0, 10]);
    for _ in 0..10 {
        w.publish(sensor, "t/1", Qos::AtLeastOnce);
    }
    assert_eq!([narrow, wide].map(|link| w.deliveries(link).len()), [5, 5]);
}
