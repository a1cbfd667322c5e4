//! Limits by user, and who gives way when a total is reached.

use super::state::ONCE;
use super::*;
use std::net::IpAddr;

impl World {
    /// A link of `user`, or of nobody in particular, from an address.
    fn link_of(&mut self, user: Option<&str>, from: u8, dialect: Dialect) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let peer = (IpAddr::from([192, 0, 2, from]), 1).into();
        self.event(Event::Opened { link, info: LinkInfo { dialect, peer, identity: identity(user) } });
        link
    }

    /// An MQTT client of a user whose session stays, or why there is none.
    pub(super) fn client_of(&mut self, user: Option<&str>, from: u8, name: &str) -> Result<LinkId, Refusal> {
        let link = self.link_of(user, from, Dialect::Mqtt);
        let attach = Attach { clean: false, expiry: Expiry::Never, identity: identity(user), ..mqtt_attach(name) };
        self.say(link, Inbound::Attach(attach));
        self.sync();
        let mut sent = self.take(link);
        let answer = sent.remove(0);
        self.sent.extend(sent.into_iter().map(|out| (link, out)));
        match answer {
            Outbound::Attached { .. } => Ok(link),
            Outbound::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// A session of `user` that waits for `filter` without a client.
    pub(super) fn waiting(&mut self, user: Option<&str>, from: u8, name: &str, filter: &str) {
        let link = self.client_of(user, from, name).unwrap();
        self.want(link, filter, ONCE);
        self.gone(link);
    }

    fn wants(&mut self, link: LinkId, filter: &str) -> Result<Qos, Refusal> {
        let token = self.token();
        self.say(link, Inbound::Subscribe { token, filters: vec![subscription(mqtt(filter), ONCE)] });
        self.sync();
        match self.take(link).remove(0) {
            Outbound::Subscribed { outcomes, .. } => outcomes[0],
            other => panic!("{other:?}"),
        }
    }

    /// Payloads that wait for a session.
    fn found_by(&mut self, user: Option<&str>, from: u8, name: &str) -> Vec<String> {
        let link = self.client_of(user, from, name).unwrap();
        let found = self.got(link);
        self.gone(link);
        found
    }

    fn session_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.router.sessions.iter().map(|(_, session)| session.name.to_string()).collect();
        names.sort();
        names
    }

    fn end_user(&mut self, name: &str) -> Ended {
        let mut effects = Vec::new();
        let ended = self.router.user_removed(self.now(), name, &mut effects);
        self.carry_out(effects);
        ended
    }
}

fn identity(user: Option<&str>) -> Identity {
    Identity { user: user.map(Arc::from), rights: None }
}

fn limited(users: UserLimits) -> World {
    World::with(Options { users, ..Options::default() })
}

#[test]
fn one_user_fills_its_own_sessions_only_and_its_oldest_offline_one_gives_way_also_after_a_restart() {
    let mut w = World::with(Options { users: UserLimits { sessions: 3, ..UserLimits::default() }, ..Options::default() });
    w.waiting(Some("other"), 1, "other", "a");
    for n in 1..=5 {
        w.waiting(Some("dev1"), 1, &format!("s{n}"), "a");
    }
    assert_eq!(w.session_names(), ["other", "s3", "s4", "s5"]);
    assert_eq!(w.router.report().sessions_ended.get("user_limit"), Some(&2));
    for snapshot in [false, true] {
        w.restart(snapshot);
        w.waiting(Some("dev1"), 1, &format!("later {snapshot}"), "a");
        assert_eq!(w.session_names().len(), 4, "{:?}", w.session_names());
        w.waiting(Some("other"), 1, "other", "a");
    }
    assert_eq!(w.session_names(), ["later false", "later true", "other", "s5"]);
    // Who comes back is not the oldest any more, and that is known after a restart too.
    w.wait(Duration::from_secs(1));
    w.waiting(Some("dev1"), 1, "s5", "a");
    w.restart(true);
    w.waiting(Some("dev1"), 1, "last", "a");
    assert_eq!(w.session_names(), ["last", "later true", "other", "s5"]);
}

#[test]
fn a_user_whose_sessions_are_all_connected_is_refused_another_one() {
    let mut w = limited(UserLimits { sessions: 2, ..UserLimits::default() });
    let first = w.client_of(Some("dev1"), 1, "s1").unwrap();
    w.client_of(Some("dev1"), 1, "s2").unwrap();
    assert_eq!(w.client_of(Some("dev1"), 1, "s3"), Err(Refusal::LimitReached));
    w.client_of(Some("dev2"), 1, "s4").unwrap();
    w.client_of(Some("dev1"), 1, "s1").expect("one that is there may come again");
    assert!(matches!(w.take(first)[..], [Outbound::Close(CloseReason::TakenOver)]));
}

#[test]
fn when_all_sessions_are_taken_the_heaviest_user_gives_way_to_a_lighter_one_and_not_the_other_way_round() {
    let mut w = World::with(Options { sessions_max: 6, ..Options::default() });
    for n in 1..=5 {
        w.waiting(Some("heavy"), 1, &format!("h{n}"), "a");
    }
    w.waiting(Some("light"), 1, "l1", "a");
    w.waiting(Some("new"), 1, "n1", "a");
    w.waiting(Some("light"), 1, "l2", "a");
    assert_eq!(w.session_names(), ["h3", "h4", "h5", "l1", "l2", "n1"]);
    w.waiting(Some("heavy"), 1, "h6", "a");
    assert_eq!(w.session_names(), ["h4", "h5", "h6", "l1", "l2", "n1"], "the heaviest itself replaces its own oldest");
    assert_eq!(w.router.report().sessions_ended.get("share"), Some(&3));
}

#[test]
fn strangers_share_by_address_and_together_they_never_drive_users_out() {
    let mut w = World::with(Options { sessions_max: 8, ..Options::default() });
    for n in 1..=3 {
        w.waiting(Some("dev1"), 1, &format!("d{n}"), "a");
    }
    for n in 1..=5 {
        w.waiting(None, 66, &format!("x{n}"), "a");
    }
    // Another stranger takes from the one who has most, not from the user.
    w.waiting(None, 7, "y1", "a");
    assert_eq!(w.session_names(), ["d1", "d2", "d3", "x2", "x3", "x4", "x5", "y1"]);
    // A hundred strangers from a hundred addresses have half of it all.
    for n in 100..200 {
        if let Ok(link) = w.client_of(None, n, &format!("z{n}")) {
            w.gone(link);
        }
    }
    let of_user = w.session_names().iter().filter(|name| name.starts_with('d')).count();
    assert_eq!(of_user, 3);
}

#[test]
fn connected_sessions_of_the_heaviest_are_closed_for_lighter_users_with_a_reason() {
    let mut w = World::with(Options { sessions_max: 3, ..Options::default() });
    let links = [1, 2, 3].map(|n| w.client_of(Some("heavy"), 1, &format!("h{n}")).unwrap());
    w.client_of(Some("light"), 1, "l1").unwrap();
    assert!(matches!(w.take(links[2])[..], [Outbound::Close(CloseReason::QuotaExceeded)]));
    assert_eq!(w.session_names(), ["h1", "h2", "l1"]);
}

#[test]
fn a_session_of_an_earlier_release_belongs_to_nobody_until_its_client_is_back() {
    let mut w = limited(UserLimits { sessions: 1, ..UserLimits::default() });
    w.waiting(Some("dev1"), 1, "s1", "a");
    // As 2c01e44 wrote it: anonymous, and without an address.
    #[derive(serde::Serialize)]
    enum Old {
        Open { id: u64, dialect: Dialect, name: String, user: Option<String>, expiry: Expiry, last_id: u32 },
        Attach { id: u64, expiry: Expiry, user: Option<String> },
        Leave { id: u64, expiry: Expiry, wall: u64 },
    }
    let changes = [
        Old::Open { id: 77, dialect: Dialect::Mqtt, name: "old".into(), user: None, expiry: Expiry::Never, last_id: 0 },
        Old::Attach { id: 77, expiry: Expiry::Never, user: None },
        Old::Leave { id: 77, expiry: Expiry::Never, wall: 1 },
    ];
    let mut body = Vec::new();
    ciborium::into_writer(&changes, &mut body).unwrap();
    w.records.push((Seq(w.records.len() as u64 + 1), message::kind::STATE, body.into()));
    w.restart(false);
    assert_eq!(w.session_names(), ["old", "s1"]);
    // Nobody has a session at this address yet, so the second one takes the place of the first.
    w.client_of(None, 9, "old").unwrap();
    assert_eq!(w.client_of(None, 9, "new"), Err(Refusal::LimitReached));
    w.restart(true);
    w.client_of(None, 9, "new").unwrap();
    assert_eq!(w.session_names(), ["new", "s1"], "that it is of this address is written down now");
}

#[test]
fn filters_methods_and_exclusions_of_one_user_are_bounded_over_all_its_sessions() {
    let mut w = limited(UserLimits { registrations: 3, ..UserLimits::default() });
    let a = w.client_of(Some("dev1"), 1, "a").unwrap();
    let b = w.client_of(Some("dev1"), 1, "b").unwrap();
    for filter in ["1", "2"] {
        w.wants(a, filter).unwrap();
    }
    w.wants(b, "1").unwrap();
    assert_eq!(w.wants(b, "2"), Err(Refusal::LimitReached));
    w.wants(b, "1").expect("one that is there may be changed");
    let component = w.link_of(Some("dev1"), 1, Dialect::Rembus);
    w.say(component, Inbound::Expose { token: Token(1), method: "m".into() });
    assert_eq!(w.responses(component)[0].1, Status::GENERIC_ERROR);
    let program = w.link_of(Some("dev1"), 1, Dialect::Bus);
    w.say(program, Inbound::Exclude { token: Token(1), filters: vec![Filter::Bus("x".into())] });
    assert!(
        matches!(&w.take(program)[..], [Outbound::Subscribed { outcomes, .. }] if outcomes[0] == Err(Refusal::LimitReached))
    );
    let other = w.client_of(Some("dev2"), 1, "c").unwrap();
    w.wants(other, "1").unwrap();
    w.say(a, Inbound::Unsubscribe { token: Token(9), filters: vec![mqtt("1")] });
    w.sync();
    w.wants(b, "2").unwrap();
}

#[test]
fn when_all_filters_are_taken_the_user_with_most_loses_a_session_to_a_lighter_one() {
    let mut w = World::with(Options { registrations_total: 4, ..Options::default() });
    let heavy = w.client_of(Some("heavy"), 1, "h1").unwrap();
    for filter in ["1", "2", "3"] {
        w.wants(heavy, filter).unwrap();
    }
    w.gone(heavy);
    let light = w.client_of(Some("light"), 1, "l1").unwrap();
    w.wants(light, "1").unwrap();
    w.wants(light, "2").unwrap();
    assert_eq!(w.session_names(), ["l1"]);
    w.wants(light, "3").unwrap();
    w.wants(light, "4").unwrap();
    assert_eq!(w.wants(light, "5"), Err(Refusal::LimitReached), "nobody is heavier");
}

#[test]
fn all_queues_together_are_bounded() {
    let mut w = World::with(Options { queues_bytes: 20_000, ..Options::default() });
    let sensor = w.client("sensor");
    for name in ["one", "two"] {
        let (link, _) = w.stayer(name, false);
        w.want(link, "a", ONCE);
        w.gone(link);
    }
    for _ in 0..200 {
        w.send(sensor, "a", "x", ONCE);
    }
    let report = w.router.report();
    assert!(report.queued_bytes <= 20_000, "{report:?}");
    assert!(report.dropped.get("queues_full").is_some_and(|dropped| *dropped > 100), "{report:?}");
}

#[test]
fn queues_of_one_user_take_nothing_away_from_those_of_others() {
    for restart in [None, Some(false), Some(true)] {
        let mut w = World::with(Options { queues_bytes: 64_000, ..Options::default() });
        let publisher = w.client_of(Some("publisher"), 1, "p").unwrap();
        for n in 0..5 {
            w.waiting(Some("heavy"), 1, &format!("h{n}"), "big/#");
        }
        w.waiting(Some("light"), 2, "l", "small/#");
        for _ in 0..100 {
            w.send(publisher, "big/1", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ONCE);
        }
        // Everything is full, and still each of these is kept.
        let texts: Vec<_> = (0..20).map(|n| ["a", "b", "c", "d"][n % 4]).collect();
        for text in &texts {
            w.send(publisher, "small/1", text, ONCE);
            assert!(w.router.report().queued_bytes <= 64_000);
        }
        assert!(w.router.report().dropped["gave_way"] > 0);
        if let Some(snapshot) = restart {
            w.restart(snapshot);
        }
        assert_eq!(w.found_by(Some("light"), 2, "l"), texts, "{restart:?}");
        let first = w.found_by(Some("heavy"), 1, "h0");
        assert!(!first.is_empty(), "who gives way loses the newest of the longest queue, and not all");
    }
}

#[test]
fn queues_of_one_user_have_a_limit_of_their_own_and_its_longest_gives_way_to_a_shorter_one() {
    let mut w = limited(UserLimits { queued_bytes: 10_000, ..UserLimits::default() });
    let publisher = w.client_of(Some("publisher"), 1, "p").unwrap();
    w.waiting(Some("dev"), 1, "long", "long");
    w.waiting(Some("dev"), 1, "short", "short");
    w.waiting(Some("other"), 1, "other", "short");
    for _ in 0..200 {
        w.send(publisher, "long", "x", ONCE);
    }
    assert!(w.router.report().dropped["user_queues_full"] > 100);
    for text in ["1", "2", "3"] {
        w.send(publisher, "short", text, ONCE);
    }
    assert_eq!(w.found_by(Some("dev"), 1, "short"), ["1", "2", "3"]);
    assert_eq!(w.found_by(Some("other"), 1, "other"), ["1", "2", "3"]);
    assert_eq!(w.router.report().dropped["gave_way"], 3, "each for one of its own that was longer");
}

#[test]
fn what_a_lost_link_leaves_behind_is_part_of_the_total_too() {
    let mut w = World::with(Options { queues_bytes: 20_000, ..Options::default() });
    let publisher = w.client_of(Some("publisher"), 1, "p").unwrap();
    w.waiting(Some("light"), 1, "l", "small");
    w.send(publisher, "small", "1", ONCE);
    let links: Vec<_> = (0..10).map(|n| w.client_of(Some("heavy"), 1, &format!("h{n}")).unwrap()).collect();
    for link in &links {
        w.want(*link, "a", ONCE);
    }
    for _ in 0..50 {
        w.send(publisher, "a", "x", ONCE);
    }
    links.into_iter().for_each(|link| w.gone(link));
    assert!(w.router.report().queued_bytes <= 20_000);
    assert_eq!(w.found_by(Some("light"), 1, "l"), ["1"]);
}

#[test]
fn retained_messages_of_one_user_take_nothing_away_from_those_of_others_also_over_a_restart() {
    for restart in [None, Some(false), Some(true)] {
        let retained = RetainedLimits { messages: 10, bytes: 1 << 20 };
        let mut w = World::with(Options { retained, ..Options::default() });
        let heavy = w.client_of(Some("heavy"), 1, "h").unwrap();
        let light = w.client_of(Some("light"), 1, "l").unwrap();
        for n in 0..30 {
            w.retain(heavy, &format!("h/{n:02}"), "x", ONCE);
        }
        for n in 0..5 {
            w.retain(light, &format!("l/{n}"), "y", ONCE);
        }
        if let Some(snapshot) = restart {
            w.restart(snapshot);
        }
        let report = w.router.report();
        assert_eq!((report.retained, report.heaviest["retained_messages"]), (10, 5), "{restart:?}");
        let heavy = w.client_of(Some("heavy"), 1, "h").unwrap();
        w.retain(heavy, "h/99", "x", ONCE);
        let reader = w.client_of(None, 3, "reader").unwrap();
        w.want(reader, "#", ONCE);
        let mut topics: Vec<_> = w.deliveries(reader).into_iter().map(|delivery| delivery.message.topic.clone()).collect();
        topics.sort();
        let wanted = ["h/05", "h/06", "h/07", "h/08", "h/09", "l/0", "l/1", "l/2", "l/3", "l/4"];
        assert_eq!(topics, wanted, "{restart:?}: of the heaviest the oldest gave way");
    }
}

#[test]
fn a_user_that_is_removed_leaves_nothing_behind_and_others_keep_theirs_also_after_a_restart() {
    let mut w = World::new();
    let there = w.client_of(Some("dev1"), 1, "there").unwrap();
    w.want(there, "b", ONCE);
    w.waiting(Some("dev1"), 1, "away", "a");
    w.waiting(Some("dev2"), 1, "other", "a");
    let other = w.client_of(Some("dev2"), 1, "publisher").unwrap();
    w.send(other, "a", "x", ONCE);
    w.retain(there, "r/1", "x", ONCE);
    w.retain(other, "r/2", "x", ONCE);
    let ended = w.end_user("dev1");
    assert_eq!(ended, Ended { connections: 1, sessions: 2, subscriptions: 2, queued: 1, retained: 1 });
    assert!(matches!(w.take(there)[..], [.., Outbound::Close(CloseReason::NotAuthorized)]));
    assert_eq!(w.end_user("dev1"), Ended::default());
    for restart in [None, Some(false), Some(true)] {
        if let Some(snapshot) = restart {
            w.restart(snapshot);
        }
        assert_eq!(w.session_names(), ["other", "publisher"], "{restart:?}");
        assert_eq!((w.router.report().retained, w.router.report().queued), (1, 1), "{restart:?}");
    }
}

#[test]
fn one_caller_has_so_many_calls_under_way_and_others_are_served() {
    let mut w = limited(UserLimits { calls: 2, ..UserLimits::default() });
    let exposer = w.component("exposer");
    w.say(exposer, Inbound::Expose { token: Token(1), method: "m".into() });
    w.sync();
    w.take(exposer);
    let greedy = w.link_of(Some("greedy"), 1, Dialect::Rembus);
    let call =
        |token| Inbound::Call { token: Token(token), method: "m".into(), target: None, data: Bytes::from_static(&[0xf6]) };
    for token in 1..=3 {
        w.say(greedy, call(token));
    }
    let [(Token(3), Status::GENERIC_ERROR, why)] = &w.responses(greedy)[..] else { panic!("the third is refused") };
    assert!(String::from_utf8_lossy(why).contains("limit reached"));
    let other = w.link_of(Some("other"), 1, Dialect::Rembus);
    w.say(other, call(1));
    assert_eq!(w.responses(other), []);
    let requests: Vec<_> = w
        .take(exposer)
        .into_iter()
        .filter_map(|out| match out {
            Outbound::Request { call, .. } => Some(call),
            _ => None,
        })
        .collect();
    assert_eq!(requests.len(), 3);
    w.say(exposer, Inbound::Return { call: requests[0], status: Status::OK, data: Bytes::from_static(&[0xf6]) });
    assert_eq!(w.responses(greedy).len(), 1);
    w.say(greedy, call(4));
    assert_eq!(w.responses(greedy), [], "one has ended, so another may begin");
    assert_eq!(w.router.report().calls_refused, 1);
    w.say(exposer, Inbound::LOST);
    assert_eq!(w.router.report().heaviest["calls"], 0);
}

#[test]
fn who_comes_and_goes_leaves_no_timers_behind() {
    let mut w = World::new();
    let exposer = w.component("exposer");
    w.say(exposer, Inbound::Expose { token: Token(1), method: "m".into() });
    w.sync();
    w.take(exposer);
    let caller = w.link(Dialect::Rembus);
    let sensor = w.client("sensor");
    let mut most = 0;
    for n in 0..100u32 {
        let link = w.link(Dialect::Mqtt);
        let message =
            Message::new("w".into(), Payload::Mqtt(Bytes::from_static(b"1")), ONCE, Wall(1), Dialect::Mqtt, "x".into());
        let will = Some(Box::new(Will { message, delay: Duration::from_secs(1_000_000) }));
        let attach = Attach { clean: false, expiry: Expiry::After(1_000_000), will, ..mqtt_attach("x") };
        w.say(link, Inbound::Attach(attach));
        w.sync();
        w.gone(link);
        let properties = message::Properties { expiry_s: Some(1_000_000 + n), ..Default::default() };
        w.send_with(sensor, "r", "x", ONCE, |message| {
            message.retain = true;
            message.properties = Some(Box::new(properties));
        });
        w.say(
            caller,
            Inbound::Call { token: Token(n.into()), method: "m".into(), target: None, data: Bytes::from_static(&[0xf6]) },
        );
        let [Outbound::Request { call, .. }] = w.take(exposer)[..] else { panic!("a call is due") };
        w.say(exposer, Inbound::Return { call, status: Status::OK, data: Bytes::from_static(&[0xf6]) });
        w.wait(Duration::from_millis(1));
        most = most.max(w.router.timers.len());
    }
    assert!(most <= 3, "{most} timers: one for the session, one for its will, one for what is retained");
}
