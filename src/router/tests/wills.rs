//! Wills: when they are published and when not.

use super::state::ONCE;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    fn mortal(&mut self, name: &str, clean: bool, expiry: Expiry, delay: Duration) -> LinkId {
        let payload = Payload::Mqtt(Bytes::from_static(b"gone"));
        let mut message = Message::new("will".into(), payload, Qos::AtLeastOnce, Wall(0), Dialect::Mqtt, name.into());
        message.retain = true;
        let link = self.link(Dialect::Mqtt);
        let will = Some(Box::new(Will { message, delay }));
        self.say(link, Inbound::Attach(Attach { clean, expiry, will, ..mqtt_attach(name) }));
        self.sync();
        self.take(link);
        link
    }

    fn heir(&mut self) -> LinkId {
        let link = self.client("heir");
        self.subscribe(link, mqtt("will"), Qos::AtLeastOnce);
        link
    }
}

#[test]
fn a_lost_client_leaves_its_will_and_one_that_says_goodbye_does_not() {
    for (reason, expected) in [(Closed::Lost, 1), (Closed::Orderly, 0)] {
        let mut w = World::new();
        let heir = w.heir();
        let link = w.mortal("c", true, Expiry::WithLink, Duration::ZERO);
        w.say(link, Inbound::Closed { reason });
        assert_eq!(w.deliveries(heir).len(), expected, "{reason:?}");
        let later = w.client("later");
        let filters = vec![subscription(mqtt("will"), Qos::AtLeastOnce)];
        w.say(later, Inbound::Subscribe { token: Token(1), filters });
        assert_eq!(w.deliveries(later).len(), expected, "retained, as it was asked for");
    }
}

#[test]
fn a_delayed_will_waits_and_is_withdrawn_when_its_author_comes_back() {
    let mut w = World::new();
    let heir = w.heir();
    let link = w.mortal("c", false, Expiry::After(3600), MINUTE);
    w.say(link, Inbound::LOST);
    w.wait(MINUTE / 2);
    assert_eq!(w.deliveries(heir).len(), 0);
    let link = w.mortal("c", false, Expiry::After(3600), MINUTE);
    w.wait(2 * MINUTE);
    assert_eq!(w.deliveries(heir).len(), 0, "it came back in time");
    w.say(link, Inbound::LOST);
    w.wait(MINUTE);
    assert_eq!(w.deliveries(heir).len(), 1);
    w.wait(2 * 60 * MINUTE);
    assert_eq!(w.deliveries(heir).len(), 0, "once");
}

#[test]
fn a_will_waits_no_longer_than_the_session_stays() {
    let mut w = World::new();
    let heir = w.heir();
    let link = w.mortal("c", false, Expiry::After(30), MINUTE);
    w.say(link, Inbound::LOST);
    w.wait(Duration::from_secs(31));
    assert_eq!(w.deliveries(heir).len(), 1);

    let link = w.mortal("c", true, Expiry::WithLink, MINUTE);
    w.say(link, Inbound::LOST);
    assert_eq!(w.deliveries(heir).len(), 1, "with the link");
}

#[test]
fn a_takeover_publishes_the_will_of_the_one_that_goes_and_not_of_the_one_that_comes() {
    let mut w = World::new();
    let heir = w.heir();
    // Without a delay the end of the connection is enough.
    w.mortal("c", false, Expiry::Never, Duration::ZERO);
    w.mortal("c", false, Expiry::Never, MINUTE);
    assert_eq!(w.deliveries(heir).len(), 1);
    // With one, the session goes on, and so nobody has died.
    w.mortal("c", false, Expiry::Never, MINUTE);
    w.wait(2 * MINUTE);
    assert_eq!(w.deliveries(heir).len(), 0);
    // A clean start ends the session.
    w.mortal("c", true, Expiry::Never, MINUTE);
    assert_eq!(w.deliveries(heir).len(), 1);
}

#[test]
fn nobody_publishes_by_dying_what_he_may_not_publish_living() {
    #[derive(Debug)]
    struct Nothing;
    impl crate::access::Rights for Nothing {
        fn allow(&self, _: crate::access::Action, _: &str) -> bool {
            false
        }
        fn permits(&self, _: crate::access::Action, _: &str) -> bool {
            false
        }
        fn allow_filter(&self, _: &Filter) -> bool {
            false
        }
        fn allow_delivery(&self, _: &str) -> bool {
            false
        }
        fn is_valid(&self) -> bool {
            true
        }
        fn is_user(&self, _: &str) -> bool {
            true
        }
        fn named(&self, _: &str) -> std::sync::Arc<dyn crate::access::Rights> {
            std::sync::Arc::new(Self)
        }
    }
    let mut w = World::new();
    let heir = w.heir();
    let link = w.link(Dialect::Mqtt);
    let message = Message::new(
        "will".into(),
        Payload::Mqtt(Bytes::from_static(b"gone")),
        Qos::AtMostOnce,
        Wall(0),
        Dialect::Mqtt,
        "c".into(),
    );
    let identity = Identity { rights: Some(std::sync::Arc::new(Nothing)), ..Identity::default() };
    let will = Some(Box::new(Will { message, delay: Duration::ZERO }));
    w.say(link, Inbound::Attach(Attach { identity, will, ..mqtt_attach("c") }));
    w.say(link, Inbound::LOST);
    assert_eq!(w.deliveries(heir).len(), 0);
    assert_eq!(w.router.report().refused.get("not_authorized"), Some(&1));
}

#[test]
fn wills_of_one_user_are_bounded_and_cost_others_nothing() {
    let mut w = World::new();
    let mortal = |w: &mut World, user: &str, name: &str, delay| {
        let identity = Identity { user: Some(user.into()), rights: None };
        let link = w.link(Dialect::Mqtt);
        let payload = Payload::Mqtt(vec![b'x'; 65_000].into());
        let message = Message::new("w".into(), payload, ONCE, Wall(1), Dialect::Mqtt, name.into());
        let will = Some(Box::new(Will { message, delay: Duration::from_secs(delay) }));
        let expiry = if delay > 0 { Expiry::Never } else { Expiry::WithLink };
        w.say(link, Inbound::Attach(Attach { clean: false, expiry, will, identity, ..mqtt_attach(name) }));
        w.sync();
        match w.take(link).remove(0) {
            Outbound::Attached { .. } => Ok(link),
            Outbound::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    };
    let taken = (0..100).filter(|n| mortal(&mut w, "dev1", &format!("a{n}"), 0).is_ok()).count();
    assert_eq!(taken, 64, "4 MiB");
    // Eight more fill it all, and still another has room for one.
    for user in 2..=9 {
        for n in 0..64 {
            mortal(&mut w, &format!("dev{user}"), &format!("{user}-{n}"), 1).ok();
        }
    }
    mortal(&mut w, "light", "l", 0).unwrap();
    assert!(w.router.report().sessions_ended["share"] > 0);
    let most = w.router.report().heaviest["will_bytes"];
    assert!(most <= 4 << 20, "{most}");
    // A will that is not needed any more takes no room.
    let link = mortal(&mut w, "last", "x", 0).unwrap();
    w.say(link, Inbound::Closed { reason: Closed::Orderly });
    assert_eq!(w.router.accounts.key(&crate::router::accounts::Owner::User("last".into())), None);
}
