use super::*;

#[test]
fn the_newcomer_takes_over_an_mqtt_session_and_late_events_of_the_older_link_hit_nothing() {
    let mut w = World::new();
    let older = w.client("sensor");
    w.subscribe(older, mqtt("a"), Qos::AtMostOnce);
    let newer = w.client("sensor");
    assert!(matches!(w.take(older)[..], [Outbound::Close(CloseReason::TakenOver)]));

    w.publish(older, "a", Qos::AtLeastOnce);
    w.say(older, Inbound::Closed { reason: Closed::Lost });
    assert!(w.appended.is_empty(), "the older link is gone, whatever it still had on its way");
    let token = w.publish(newer, "a", Qos::AtLeastOnce);
    w.sync();
    assert_eq!(w.accepted(newer), [(token, true)]);
}

#[test]
fn an_mqtt_link_may_do_nothing_before_it_is_attached() {
    let mut w = World::new();
    let link = w.link(Dialect::Mqtt);
    w.publish(link, "a", Qos::AtMostOnce);
    assert!(matches!(w.take(link)[..], [Outbound::Close(CloseReason::ProtocolError)]));
    assert!(w.appended.is_empty());
}

#[test]
fn a_client_without_an_id_gets_one_of_its_own() {
    let mut w = World::new();
    let mut names = Vec::new();
    for _ in 0..2 {
        let link = w.link(Dialect::Mqtt);
        w.attach(link, "", OnConflict::TakeOver, 10);
        let [Outbound::Attached { name, .. }] = &w.take(link)[..] else { panic!("attached") };
        names.push(name.clone());
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn a_live_component_keeps_its_name() {
    let mut w = World::new();
    let older = w.component("c");
    let other = w.link(Dialect::Rembus);
    w.attach(other, "c", OnConflict::Refuse, 10);
    assert!(matches!(w.take(older)[..], [Outbound::Probe]));
    assert!(w.take(other).is_empty());
    w.say(older, Inbound::Alive);
    assert!(matches!(w.take(other)[..], [Outbound::Refused(Refusal::NameInUse)]));
    w.wait(Duration::from_secs(3));
    assert!(w.take(older).is_empty(), "it has shown that it lives");
}

#[test]
fn a_dead_component_loses_its_name_to_the_one_who_dials_again() {
    let mut w = World::new();
    let dead = w.component("c");
    w.subscribe(dead, rembus("a"), Qos::ExactlyOnce);
    let (again, stranger) = (w.link(Dialect::Rembus), w.link(Dialect::Rembus));
    w.attach(again, "c", OnConflict::Refuse, 10);
    w.attach(stranger, "c", OnConflict::Refuse, 10);
    w.take(dead);
    w.wait(Duration::from_secs(2));
    assert!(matches!(w.take(dead)[..], [Outbound::Close(CloseReason::Silent)]));
    assert!(matches!(w.take(again)[..], [Outbound::Attached { session_present: true, .. }, Outbound::Probe]));
    w.say(again, Inbound::Alive);
    assert!(matches!(w.take(stranger)[..], [Outbound::Refused(Refusal::NameInUse)]));
}

#[test]
fn a_name_is_free_at_once_when_its_holder_leaves_during_the_probe() {
    let mut w = World::new();
    let older = w.component("c");
    let other = w.link(Dialect::Rembus);
    w.attach(other, "c", OnConflict::Refuse, 10);
    w.say(older, Inbound::Closed { reason: Closed::Orderly });
    assert!(matches!(w.take(other)[..], [Outbound::Attached { .. }]));
}

#[test]
fn a_name_is_given_once_and_must_not_be_empty() {
    let mut w = World::new();
    let other = w.link(Dialect::Rembus);
    w.attach(other, "", OnConflict::Refuse, 10);
    assert!(matches!(w.take(other)[..], [Outbound::Refused(Refusal::NameInvalid)]));
    w.attach(other, "d", OnConflict::Refuse, 10);
    w.attach(other, "e", OnConflict::Refuse, 10);
    assert!(matches!(w.take(other)[..], [Outbound::Attached { .. }, Outbound::Refused(Refusal::AlreadyNamed)]));
}

#[test]
fn a_component_finds_its_subscriptions_again_but_says_itself_when_it_is_ready() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let before = w.component("c");
    w.subscribe(before, rembus("a"), Qos::ExactlyOnce);
    w.say(before, Inbound::Closed { reason: Closed::Lost });

    let after = w.link(Dialect::Rembus);
    w.attach(after, "c", OnConflict::Refuse, 10);
    w.publish(sensor, "a", Qos::AtMostOnce);
    assert!(w.deliveries(after).is_empty());
    w.say(after, Inbound::Reactive { token: Token(1), on: true, reach: Past::Unseen });
    w.publish(sensor, "a", Qos::AtMostOnce);
    assert_eq!(w.deliveries(after).len(), 1);
}

#[test]
fn overwriting_a_component_closes_the_older_link_and_keeps_the_registrations() {
    let mut w = World::new();
    let older = w.component("c");
    w.subscribe(older, rembus("a"), Qos::ExactlyOnce);
    let newer = w.link(Dialect::Rembus);
    w.attach(newer, "c", OnConflict::TakeOver, 10);
    assert!(matches!(w.take(older)[..], [Outbound::Close(CloseReason::TakenOver)]));
    assert_eq!(w.router.report().subscriptions, 1);
}

#[test]
fn the_same_name_in_two_dialects_is_two_sessions() {
    let mut w = World::new();
    let component = w.component("x");
    w.client("x");
    assert!(w.take(component).is_empty());
    assert_eq!(w.router.report().sessions, 2);
}

#[test]
fn nothing_is_left_of_peers_that_came_and_went() {
    let mut w = World::new();
    for n in 0..1_000 {
        let client = w.client(&format!("client{n}"));
        w.subscribe(client, mqtt(&format!("reply/{n}")), Qos::AtLeastOnce);
        w.say(client, Inbound::Closed { reason: Closed::Orderly });
        let anonymous = w.link(Dialect::Rembus);
        w.subscribe(anonymous, rembus("a*"), Qos::ExactlyOnce);
        w.say(anonymous, Inbound::Expose { token: Token(1), method: format!("m{n}") });
        w.say(anonymous, Inbound::Closed { reason: Closed::Lost });
        let named = w.component(&format!("c{n}"));
        w.say(named, Inbound::Closed { reason: Closed::Lost });
        w.sent.clear();
    }
    let report = w.router.report();
    assert_eq!((report.sessions, report.subscriptions, report.services), (0, 0, 0));
    assert_eq!(report.connections.values().sum::<u64>(), 0);
}

#[test]
fn unsubscribing_tells_what_had_been_subscribed() {
    let mut w = World::new();
    let client = w.client("c");
    w.subscribe(client, mqtt("a"), Qos::AtMostOnce);
    w.say(client, Inbound::Unsubscribe { token: Token(9), filters: vec![mqtt("a"), mqtt("b"), rembus("a")] });
    assert!(matches!(&w.take(client)[..], [Outbound::Unsubscribed { outcomes, .. }] if outcomes == &[true, false, false]));
}

#[test]
fn registrations_of_one_session_are_bounded() {
    let mut w = World::with(Options { registrations_max: 2, ..Options::default() });
    let client = w.client("c");
    let filters = ["a", "b", "c", "a"].map(|f| Subscription { filter: mqtt(f), ..Subscription::rembus(String::new()) });
    w.say(client, Inbound::Subscribe { token: Token(1), filters: filters.into() });
    let [Outbound::Subscribed { outcomes, .. }] = &w.take(client)[..] else { panic!("answered") };
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
}

#[test]
fn setup_registers_everything_and_makes_reactive() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let link = w.link(Dialect::Rembus);
    w.attach(link, "c", OnConflict::Refuse, 10);
    let setup = Inbound::Setup { token: Token(5), exposers: vec!["m".into()], subscribers: vec!["*/t".into()] };
    w.say(link, setup);
    assert!(matches!(w.take(link)[..], [Outbound::Attached { .. }]), "answered before it is on the disk");
    w.sync();
    assert!(matches!(w.take(link)[..], [Outbound::Response { token: Token(5), status: Status::OK, .. }]));
    w.publish(sensor, "a/t", Qos::AtMostOnce);
    assert_eq!(w.deliveries(link)[0].pattern.as_deref(), Some("*/t"));
}
