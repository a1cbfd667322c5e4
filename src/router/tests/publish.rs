use super::*;

#[test]
fn an_ack_leaves_only_after_the_disk_has_the_message() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let token = w.publish(sensor, "a", Qos::AtLeastOnce);
    assert_eq!(w.accepted(sensor), []);

    w.sync();
    assert_eq!(w.accepted(sensor), [(token, true)]);
}

#[test]
fn a_subscriber_does_not_wait_for_the_disk() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("a"), Qos::AtLeastOnce);
    w.publish(sensor, "a", Qos::AtLeastOnce);
    assert_eq!(w.deliveries(listener).len(), 1);
}

#[test]
fn a_delivery_has_the_lower_of_both_qos() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("+"), Qos::AtLeastOnce);
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        w.publish(sensor, "a", qos);
    }
    let seen: Vec<_> = w.deliveries(listener).iter().map(|d| (d.qos, d.id.is_some())).collect();
    assert_eq!(seen, [(Qos::AtMostOnce, false), (Qos::AtLeastOnce, true), (Qos::AtLeastOnce, true)]);
}

#[test]
fn a_repeated_qos_2_publication_is_answered_again_and_routed_once() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("a"), Qos::ExactlyOnce);
    let token = w.publish(sensor, "a", Qos::ExactlyOnce);
    w.publish_as(sensor, "a", Qos::ExactlyOnce, token);
    assert_eq!(w.accepted(sensor), [], "not even the repetition is answered before the first is on the disk");
    w.sync();
    assert_eq!(w.accepted(sensor), [(token, true), (token, true)]);
    assert_eq!(w.deliveries(listener).len(), 1);

    w.publish_as(sensor, "a", Qos::ExactlyOnce, token);
    assert_eq!(w.accepted(sensor), [(token, true)], "nothing is on its way to the disk, so the answer does not wait for it");

    w.say(sensor, Inbound::Release { token });
    assert!(matches!(w.take(sensor)[..], [Outbound::Completed { known: true, .. }]));
    w.publish_as(sensor, "a", Qos::ExactlyOnce, token);
    assert_eq!(w.deliveries(listener).len(), 1, "after the release the id stands for a new message");
}

#[test]
fn a_full_disk_refuses_what_must_be_kept_and_still_routes_what_need_not() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("#"), Qos::AtLeastOnce);
    w.health(Health::Full);

    let refused = w.publish(sensor, "a", Qos::AtLeastOnce);
    assert_eq!(w.accepted(sensor), [(refused, false)]);
    assert!(w.deliveries(listener).is_empty(), "a refused message reaches nobody: its sender will repeat it");
    w.publish(sensor, "a", Qos::AtMostOnce);
    assert_eq!(w.deliveries(listener).len(), 1);
    assert!(w.appended.is_empty());

    w.health(Health::Fine);
    let token = w.publish(sensor, "a", Qos::AtLeastOnce);
    w.sync();
    assert_eq!(w.accepted(sensor), [(token, true)], "room came back and nobody had to restart anything");
}

#[test]
fn a_refused_qos_2_publication_may_be_repeated() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    w.health(Health::Full);
    let token = w.publish(sensor, "a", Qos::ExactlyOnce);
    w.health(Health::Fine);
    w.publish_as(sensor, "a", Qos::ExactlyOnce, token);
    w.sync();
    assert_eq!(w.accepted(sensor), [(token, false), (token, true)]);
}

#[test]
fn a_poisoned_log_acknowledges_nothing_any_more() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    w.publish(sensor, "a", Qos::AtLeastOnce);
    w.log.health = Health::Poisoned;
    w.sync();
    assert_eq!(w.accepted(sensor), []);
}

#[test]
fn qos_0_is_not_logged_while_the_log_is_behind() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    w.event(Event::LogBehind(true));
    w.publish(sensor, "a", Qos::AtMostOnce);
    w.publish(sensor, "a", Qos::AtLeastOnce);
    assert_eq!(w.appended, [Seq(1)]);
    assert_eq!(w.router.report().not_logged, 1);
}

#[test]
fn the_window_of_a_subscriber_bounds_what_is_in_flight() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let listener = w.link(Dialect::Mqtt);
    w.attach(listener, "listener", OnConflict::TakeOver, 2);
    w.take(listener);
    w.subscribe(listener, mqtt("a"), Qos::AtLeastOnce);
    for _ in 0..5 {
        w.publish(sensor, "a", Qos::AtLeastOnce);
    }
    let sent = w.deliveries(listener);
    assert_eq!(sent.len(), 2);
    assert_eq!(w.router.report().queued, 3);

    w.say(listener, Inbound::Delivered { id: sent[0].id.unwrap(), stage: Stage::Done });
    assert_eq!(w.deliveries(listener).len(), 1);
    w.say(listener, Inbound::Delivered { id: sent[0].id.unwrap(), stage: Stage::Done });
    assert_eq!(w.deliveries(listener).len(), 0, "a second answer to the same delivery counts for nothing");
}

#[test]
fn a_subscriber_that_never_reads_costs_only_its_own_queue() {
    let mut w = World::with(Options { queue: QueueLimits { items: 10, bytes: 1 << 20 }, ..Options::default() });
    let (sensor, stuck, quick) = (w.client("sensor"), w.client("stuck"), w.client("quick"));
    w.subscribe(stuck, mqtt("a"), Qos::AtMostOnce);
    w.subscribe(quick, mqtt("a"), Qos::AtMostOnce);
    for _ in 0..3_000 {
        w.publish(sensor, "a", Qos::AtMostOnce);
        assert_eq!(w.deliveries(quick).len(), 1);
        w.say(quick, Inbound::Written { count: 1 });
    }
    let report = w.router.report();
    assert_eq!((report.queued, report.in_flight, report.delivered), (10, 2_048, 3_000));
    assert_eq!(report.dropped["queue_full"], 3_000 - 2_048 - 10);

    w.say(stuck, Inbound::Closed { reason: Closed::Lost });
    let report = w.router.report();
    assert_eq!((report.queued, report.in_flight), (0, 0));
    assert_eq!(report.dropped["disconnected"], 2_058);
}

#[test]
fn what_a_door_cannot_say_is_dropped_and_not_delivered() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("#"), Qos::AtMostOnce);
    for _ in 0..3 {
        w.publish(sensor, "a", Qos::AtMostOnce);
    }
    w.say(listener, Inbound::Unsendable { count: 1 });
    w.say(listener, Inbound::Written { count: 3 });
    let report = w.router.report();
    assert_eq!((report.delivered, report.dropped["unsendable"], report.in_flight), (2, 1, 0));
}

#[test]
fn order_is_kept_when_a_full_window_opens_again() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("#"), Qos::AtMostOnce);
    for n in 0..2_100 {
        w.publish(sensor, &n.to_string(), Qos::AtMostOnce);
    }
    let mut seen: Vec<_> = w.deliveries(listener).iter().map(|d| d.message.topic.clone()).collect();
    w.say(listener, Inbound::Written { count: 2_048 });
    seen.extend(w.deliveries(listener).iter().map(|d| d.message.topic.clone()));
    assert_eq!(seen, (0..2_100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn the_qos_2_handshake_ends_with_the_last_answer() {
    let mut w = World::new();
    let (sensor, listener) = (w.client("sensor"), w.client("listener"));
    w.subscribe(listener, mqtt("a"), Qos::ExactlyOnce);
    w.publish(sensor, "a", Qos::ExactlyOnce);
    let id = w.deliveries(listener)[0].id.unwrap();
    w.say(listener, Inbound::Delivered { id, stage: Stage::Received });
    assert!(matches!(w.take(listener)[..], [Outbound::Release { id: released }] if released == id));
    assert_eq!(w.router.report().delivered, 0);
    w.say(listener, Inbound::Delivered { id, stage: Stage::Done });
    assert_eq!(w.router.report().delivered, 1);
}

#[test]
fn a_rembus_subscriber_gets_a_message_again_until_it_answers_and_not_for_ever() {
    let mut w = World::new();
    let (sensor, silent) = (w.client("sensor"), w.component("silent"));
    w.subscribe(silent, rembus("a"), Qos::ExactlyOnce);
    w.publish(sensor, "a", Qos::AtLeastOnce);
    let first = w.deliveries(silent).remove(0);
    for _ in 0..10 {
        w.wait(Duration::from_secs(2));
        let again = w.deliveries(silent);
        assert_eq!((again.len(), again[0].id, again[0].dup), (1, first.id, true));
    }
    w.wait(Duration::from_secs(2));
    assert!(w.deliveries(silent).is_empty());
    assert_eq!(w.router.report().dropped["unacknowledged"], 1);
    assert_eq!(w.router.next_due(), None);
}

#[test]
fn a_component_is_never_told_what_it_published_itself() {
    let mut w = World::new();
    let component = w.component("me");
    w.subscribe(component, rembus("**"), Qos::ExactlyOnce);
    w.publish(component, "a", Qos::AtMostOnce);
    assert!(w.deliveries(component).is_empty());
}

#[test]
fn a_component_that_is_not_reactive_gets_nothing() {
    let mut w = World::new();
    let (sensor, component) = (w.client("sensor"), w.component("c"));
    w.subscribe(component, rembus("*"), Qos::ExactlyOnce);
    w.say(component, Inbound::Reactive { token: Token(0), on: false, reach: Past::Unseen });
    w.publish(sensor, "a", Qos::AtLeastOnce);
    assert!(w.deliveries(component).is_empty());
}

#[test]
fn the_delivery_names_the_pattern_that_matched() {
    let mut w = World::new();
    let (sensor, component) = (w.client("sensor"), w.component("c"));
    w.subscribe(component, rembus("**/telemetry"), Qos::ExactlyOnce);
    w.publish(sensor, "dev1/telemetry", Qos::AtMostOnce);
    assert_eq!(w.deliveries(component)[0].pattern.as_deref(), Some("**/telemetry"));
}
