//! What a component missed, over restarts and kills of the gateway.

use super::*;

#[test]
fn what_was_unsubscribed_stays_so() {
    for life in LIVES {
        let mut w = World::new();
        let teller = w.link(Dialect::Rembus);
        let link = w.twin("reader");
        for topic in ["a", "b"] {
            w.follow(link, topic, Past::Unseen);
        }
        let token = w.token();
        w.say(link, Inbound::Expose { token, method: "m".into() });
        w.say(link, Inbound::Unsubscribe { token, filters: vec![rembus("a")] });
        w.say(link, Inbound::Unexpose { token, method: "m".into() });
        w.next_life(life, link);
        let teller = if life.is_some() { w.link(Dialect::Rembus) } else { teller };
        w.tell(teller, "a", 1, ONCE);
        w.tell(teller, "b", 2, ONCE);
        let link = w.twin("reader");
        w.reactive(link, true);
        assert_eq!(w.had(link), [2], "{life:?}");
        assert_eq!(w.router.report().services, 0);
    }
}

#[test]
fn a_kill_in_the_middle_of_a_replay_costs_nothing_and_repeats_nothing() {
    for life in LIVES {
        let mut w = World::new();
        let teller = w.link(Dialect::Rembus);
        for number in 0..60 {
            w.tell(teller, "t", number, EXACTLY);
        }
        let link = w.reader("reader", "t", Past::Unseen);
        let mut had = Vec::new();
        for _ in 0..5 {
            w.look(4);
            let deliveries = w.deliveries(link);
            had.extend(deliveries.iter().map(numbered));
            w.finish(link, &deliveries);
        }
        assert_eq!(had.len(), 20);
        w.next_life(life, link);
        let link = w.twin("reader");
        w.reactive(link, true);
        had.extend(w.had(link));
        assert_eq!(had, (0..60).collect::<Vec<_>>(), "{life:?}");
    }
}

#[test]
fn a_qos_2_publication_is_known_again_after_a_restart_of_the_gateway() {
    for snapshot in [false, true] {
        let mut w = World::new();
        let link = w.twin("teller");
        let listener = w.reader("reader", "t", Past::Unseen);
        w.look_all();
        let token = Token(77);
        let send = |w: &mut World, link| {
            let payload = Payload::Rembus(Bytes::from_static(&[0x81, 1]));
            let message = Message::new("t".into(), payload, EXACTLY, w.now().wall, Dialect::Rembus, "teller".into());
            w.say(link, Inbound::Publish { message, token });
            w.sync();
        };
        send(&mut w, link);
        w.next_life(Some(snapshot), listener);
        let (link, listener) = (w.twin("teller"), w.twin("reader"));
        w.reactive(listener, true);
        send(&mut w, link);
        assert_eq!(w.accepted(link), [(token, true)]);
        assert_eq!(w.had(listener), [1], "{snapshot}");
        w.say(link, Inbound::Release { token });
        send(&mut w, link);
        assert_eq!(w.had(listener), [1], "a new message under an old id");
    }
}

#[test]
fn a_component_that_was_only_a_publisher_is_forgotten_when_its_ids_are() {
    let mut w = World::new();
    let link = w.twin("teller");
    w.tell_as(link, "t", 1, EXACTLY, "teller");
    w.say(link, Inbound::LOST);
    assert_eq!(w.router.report().sessions, 1);
    w.wait(Duration::from_secs(3_601));
    assert_eq!(w.router.report().sessions, 0);
}

#[test]
fn exposers_keep_their_order_over_a_restart() {
    let mut w = World::new();
    for name in ["z", "a"] {
        let link = w.component(name);
        let token = w.token();
        w.say(link, Inbound::Expose { token, method: "m".into() });
    }
    w.restart(true);
    let (a, z) = (w.twin("a"), w.twin("z"));
    let caller = w.link(Dialect::Rembus);
    let token = w.token();
    w.say(caller, Inbound::Call { token, method: "m".into(), target: None, data: Bytes::from_static(&[0x80]) });
    assert!(w.take(a).is_empty() && matches!(w.take(z)[..], [Outbound::Request { .. }]));
}

#[test]
fn a_message_that_comes_again_after_a_reconnect_waits_as_long_as_the_first_time() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let link = w.reader("reader", "t", Past::Unseen);
    w.tell(teller, "t", 1, ONCE);
    w.look_all();
    assert_eq!(w.deliveries(link).len(), 1);
    w.wait(Duration::from_millis(1_500));
    w.say(link, Inbound::LOST);
    let link = w.twin("reader");
    w.reactive(link, true);
    w.look_all();
    assert_eq!(w.deliveries(link).len(), 1);
    w.wait(Duration::from_millis(1_000));
    assert!(w.deliveries(link).is_empty(), "the timer of the first connection");
    w.wait(Duration::from_millis(1_000));
    assert_eq!(w.deliveries(link).len(), 1);
}
