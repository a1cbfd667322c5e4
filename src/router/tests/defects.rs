//! What the reference broker does wrong, and this one does not (`protocol/rembus.md`, sections 20 and 21); one story each, as far
//! as the router decides it. Replay has stories of its own.

use super::state::{EXACTLY, ONCE};
use super::*;

#[test]
fn section_20_1_a_subscriber_that_acknowledges_nothing_delays_nobody() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let (silent, other, away) = (w.component("silent"), w.component("other"), w.component("away"));
    for link in [silent, other, away] {
        w.subscribe(link, rembus("t"), EXACTLY);
    }
    w.say(away, Inbound::LOST);
    for _ in 0..50 {
        w.publish(teller, "t", ONCE);
        w.sync();
        let deliveries = w.deliveries(other);
        assert_eq!(deliveries.len(), 1);
        w.say(other, Inbound::Delivered { id: deliveries[0].id.unwrap(), stage: Stage::Done });
    }
    // 11 transmissions in 22 s, and then it is given up.
    let first = w.deliveries(silent);
    assert_eq!(first.len(), 50);
    let mut again = 0;
    for _ in 0..15 {
        w.wait(Duration::from_secs(2));
        again += w.deliveries(silent).len();
    }
    assert_eq!(again, 50 * 10);
    assert_eq!(w.router.report().dropped.get("unacknowledged"), Some(&50));
}

#[test]
fn section_20_4_wildcards_have_the_rules_of_topics() {
    let mut w = World::new();
    let teller = w.component("teller");
    w.subscribe(teller, rembus("**"), EXACTLY);
    let listener = w.component("listener");
    w.subscribe(listener, rembus("*"), EXACTLY);
    w.publish(teller, "t", EXACTLY);
    w.sync();
    assert!(w.deliveries(teller).is_empty(), "its own");
    let deliveries = w.deliveries(listener);
    assert_eq!(deliveries.iter().map(|delivery| delivery.qos).collect::<Vec<_>>(), [EXACTLY]);
    w.say(listener, Inbound::Reactive { token: Token(1), on: false, reach: Past::Unseen });
    w.publish(teller, "t", ONCE);
    w.sync();
    assert!(w.deliveries(listener).is_empty(), "not reactive");
}

#[test]
fn section_20_9_nothing_is_left_of_an_anonymous_component() {
    let mut w = World::new();
    for _ in 0..100 {
        let link = w.link(Dialect::Rembus);
        w.say(link, Inbound::Reactive { token: Token(0), on: true, reach: Past::Unseen });
        w.take(link);
        w.subscribe(link, rembus("**"), EXACTLY);
        let token = w.token();
        w.say(link, Inbound::Expose { token, method: "m".into() });
        w.publish(link, "t", EXACTLY);
        w.say(link, Inbound::LOST);
    }
    let report = w.router.report();
    assert_eq!((report.sessions, report.subscriptions, report.services), (0, 0, 0));
    assert!(w.router.snapshot().is_empty(), "and nothing is kept of it");
}

#[test]
fn section_21_a_name_that_is_in_use_cannot_be_claimed_and_its_past_not_be_had() {
    let mut w = World::new();
    let owner = w.component("owner");
    w.subscribe(owner, rembus("t"), EXACTLY);
    let thief = w.link(Dialect::Rembus);
    let attach = Attach { on_conflict: OnConflict::Refuse, clean: false, ..mqtt_attach("owner") };
    w.say(thief, Inbound::Attach(attach));
    assert!(matches!(w.take(owner)[..], [Outbound::Probe]));
    w.say(owner, Inbound::Alive);
    assert!(matches!(w.take(thief)[..], [Outbound::Refused(Refusal::NameInUse)]));
    w.publish(thief, "t", ONCE);
    w.sync();
    assert_eq!((w.deliveries(owner).len(), w.deliveries(thief).len()), (1, 0));
}

#[test]
fn section_21_nobody_serves_a_method_that_is_the_gateways_own() {
    let mut w = World::new();
    let server = w.component("server");
    for method in ["query_telemetry", "upsert_telemetry", "latest_telemetry", "rid", "version", "bus/plc/read"] {
        w.say(server, Inbound::Expose { token: Token(0), method: method.into() });
        let said = w.take(server);
        let [Outbound::Response { status, data, .. }] = &said[..] else { panic!("{method}: {said:?}") };
        let why: String = ciborium::from_reader(&data[..]).unwrap();
        assert_eq!((*status, why.as_str()), (Status::GENERIC_ERROR, Refusal::Reserved.text()), "{method}");
    }
    assert_eq!(w.router.report().services, 0);
}
