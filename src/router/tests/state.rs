//! Sessions that outlive their links, and the process.

use super::*;

impl World {
    /// The process is killed: what the log has is all there is. With `snapshot`, the state is saved first and only the log
    /// behind it is read.
    pub(super) fn restart(&mut self, snapshot: bool) {
        let records: Vec<(Seq, u8, Bytes)> = if snapshot { self.saved() } else { self.records.clone() };
        let mut after = Self::new();
        after.now = self.now;
        after.links = self.links;
        after.tokens = self.tokens;
        let last = self.records.last().map_or(Seq(0), |(seq, ..)| *seq);
        after.log = LogState { written: last, durable: last, ..LogState::default() };
        after.router = Router::new(self.router.options.clone(), after.log);
        let now = after.now();
        let mut restorer = Restorer::new(&mut after.router, now);
        for (seq, kind, body) in &records {
            restorer.take(*seq, *kind, body).unwrap();
        }
        restorer.finish();
        after.records = records;
        after.appended = vec![last];
        *self = after;
        self.event(Event::Tick);
    }

    fn saved(&self) -> Vec<(Seq, u8, Bytes)> {
        let mut saved = Vec::new();
        let snapshot = self.router.snapshot();
        snapshot
            .records(|kind, body| {
                saved.push((Seq(saved.len() as u64), kind, Bytes::copy_from_slice(body)));
                Ok::<_, ()>(())
            })
            .unwrap();
        saved
    }

    /// A client whose session stays.
    pub(super) fn stayer(&mut self, name: &str, clean: bool) -> (LinkId, bool) {
        self.stayer_until(name, clean, Expiry::Never)
    }

    fn stayer_until(&mut self, name: &str, clean: bool, expiry: Expiry) -> (LinkId, bool) {
        let link = self.link(Dialect::Mqtt);
        self.say(link, Inbound::Attach(Attach { clean, expiry, ..mqtt_attach(name) }));
        self.sync();
        let mut sent = self.take(link);
        let answer = sent.remove(0);
        self.sent.extend(sent.into_iter().map(|out| (link, out)));
        let Outbound::Attached { session_present, .. } = answer else { panic!("{answer:?}") };
        (link, session_present)
    }

    pub(super) fn want(&mut self, link: LinkId, filter: &str, qos: Qos) {
        let token = self.token();
        self.say(link, Inbound::Subscribe { token, filters: vec![subscription(mqtt(filter), qos)] });
        self.sync();
        let answers = self.take(link);
        assert!(matches!(&answers[0], Outbound::Subscribed { outcomes, .. } if outcomes[0].is_ok()), "{answers:?}");
        self.sent.extend(answers.into_iter().skip(1).map(|out| (link, out)));
    }

    pub(super) fn gone(&mut self, link: LinkId) {
        self.say(link, Inbound::LOST);
    }

    pub(super) fn send(&mut self, link: LinkId, topic: &str, text: &'static str, qos: Qos) {
        self.send_with(link, topic, text, qos, |_| {});
    }

    pub(super) fn send_with(
        &mut self,
        link: LinkId,
        topic: &str,
        text: &'static str,
        qos: Qos,
        change: impl FnOnce(&mut Message),
    ) {
        let token = self.token();
        let payload = Payload::Mqtt(Bytes::from_static(text.as_bytes()));
        let mut message = Message::new(topic.into(), payload, qos, self.now().wall, Dialect::Mqtt, "test".into());
        change(&mut message);
        self.say(link, Inbound::Publish { message, token });
        self.sync();
    }

    pub(super) fn retain(&mut self, link: LinkId, topic: &str, text: &'static str, qos: Qos) {
        self.send_with(link, topic, text, qos, |message| message.retain = true);
    }

    /// Payloads, with `!` for a repetition and `r` for retained.
    pub(super) fn got(&mut self, link: LinkId) -> Vec<String> {
        self.deliveries(link).iter().map(shown).collect()
    }

    pub(super) fn done(&mut self, link: LinkId, deliveries: &[Delivery]) {
        for id in deliveries.iter().filter_map(|delivery| delivery.id) {
            self.say(link, Inbound::Delivered { id, stage: Stage::Done });
        }
    }
}

fn shown(delivery: &Delivery) -> String {
    let Payload::Mqtt(payload) = &delivery.message.payload else { panic!("an MQTT payload") };
    let flags = [(delivery.dup, "!"), (delivery.retain, "r")];
    let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, sign)| *sign).collect();
    format!("{}{flags}", std::str::from_utf8(payload).unwrap())
}

pub(super) const ONCE: Qos = Qos::AtLeastOnce;
pub(super) const EXACTLY: Qos = Qos::ExactlyOnce;

#[test]
fn what_came_while_a_client_was_away_is_delivered_in_order_when_it_is_back() {
    for restart in [None, Some(false), Some(true)] {
        let mut w = World::new();
        let sensor = w.client("sensor");
        let (link, present) = w.stayer("listener", false);
        assert!(!present);
        w.want(link, "a/#", ONCE);
        w.gone(link);
        w.send(sensor, "a/1", "1", ONCE);
        w.send(sensor, "a/2", "2", Qos::AtMostOnce);
        w.send(sensor, "b", "3", ONCE);
        w.send(sensor, "a", "4", EXACTLY);
        if let Some(snapshot) = restart {
            w.restart(snapshot);
        }
        let (link, present) = w.stayer("listener", false);
        assert!(present, "{restart:?}");
        assert_eq!(w.got(link), ["1", "4"], "QoS 0 is not kept; {restart:?}");
    }
}

#[test]
fn an_unanswered_delivery_comes_again_as_a_repetition_with_the_same_id() {
    for restart in [None, Some(false), Some(true)] {
        let mut w = World::new();
        let sensor = w.client("sensor");
        let (link, _) = w.stayer("listener", false);
        w.want(link, "a", EXACTLY);
        w.send(sensor, "a", "1", ONCE);
        w.send(sensor, "a", "2", EXACTLY);
        w.send(sensor, "a", "3", ONCE);
        let first = w.deliveries(link);
        assert_eq!(first.iter().map(shown).collect::<Vec<_>>(), ["1", "2", "3"]);
        w.say(link, Inbound::Delivered { id: first[0].id.unwrap(), stage: Stage::Done });
        match restart {
            None => w.gone(link),
            Some(snapshot) => w.restart(snapshot),
        }
        let (link, _) = w.stayer("listener", false);
        let again = w.deliveries(link);
        assert_eq!(again.iter().map(shown).collect::<Vec<_>>(), ["2!", "3!"], "{restart:?}");
        assert_eq!(again[0].id, first[1].id);
        w.done(link, &again);
        w.gone(link);
        let (link, _) = w.stayer("listener", false);
        assert_eq!(w.got(link), [""; 0]);
        assert_eq!(w.router.report().queued_bytes, 0);
    }
}

#[test]
fn a_qos_2_delivery_leaves_only_when_its_id_is_on_the_disk() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let (link, _) = w.stayer("listener", false);
    w.want(link, "a", EXACTLY);
    w.publish(sensor, "a", EXACTLY);
    assert_eq!(w.deliveries(link).len(), 0, "after a crash another message could have that id");
    w.sync();
    assert_eq!(w.deliveries(link).len(), 1);
}

#[test]
fn a_qos_2_delivery_that_the_peer_has_is_released_and_never_sent_again() {
    for restart in [None, Some(false), Some(true)] {
        let mut w = World::new();
        let sensor = w.client("sensor");
        let (link, _) = w.stayer("listener", false);
        w.want(link, "a", EXACTLY);
        w.send(sensor, "a", "1", EXACTLY);
        let id = w.deliveries(link)[0].id.unwrap();
        w.say(link, Inbound::Delivered { id, stage: Stage::Received });
        assert_eq!(w.take(link).len(), 0, "PUBREL waits until PUBREC is on the disk");
        w.sync();
        assert!(matches!(w.take(link)[..], [Outbound::Release { id: released }] if released == id));
        match restart {
            None => w.gone(link),
            Some(snapshot) => w.restart(snapshot),
        }
        let (link, _) = w.stayer("listener", false);
        assert!(matches!(w.take(link)[..], [Outbound::Release { id: released }] if released == id), "{restart:?}");
        w.say(link, Inbound::Delivered { id, stage: Stage::Done });
        w.gone(link);
        let (link, _) = w.stayer("listener", false);
        assert_eq!(w.take(link).len(), 0);
    }
}

#[test]
fn a_repeated_qos_2_publication_is_known_after_a_restart_and_its_id_free_after_its_release() {
    for snapshot in [false, true] {
        let mut w = World::new();
        let (sensor, _) = w.stayer("sensor", false);
        let token = w.publish(sensor, "a", EXACTLY);
        w.sync();
        w.restart(snapshot);
        let (sensor, _) = w.stayer("sensor", false);
        let before = w.router.report().received.clone();
        w.publish_as(sensor, "a", EXACTLY, token);
        w.sync();
        assert_eq!(w.accepted(sensor), [(token, true)]);
        assert_eq!(w.router.report().received, before, "not routed again");

        w.say(sensor, Inbound::Release { token });
        assert_eq!(w.take(sensor).len(), 0, "PUBCOMP waits for the disk, or the next message with this id would be lost");
        w.sync();
        assert!(matches!(w.take(sensor)[..], [Outbound::Completed { known: true, .. }]));
        w.restart(snapshot);
        let (sensor, _) = w.stayer("sensor", false);
        w.publish_as(sensor, "a", EXACTLY, token);
        w.sync();
        assert_eq!(w.router.report().received.values().sum::<u64>(), 1, "another message");
    }
}

#[test]
fn a_clean_start_forgets_what_was_and_the_disk_knows_it_before_the_client_does() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let (link, _) = w.stayer("listener", false);
    w.want(link, "a", ONCE);
    w.gone(link);
    w.send(sensor, "a", "1", ONCE);
    let again = w.link(Dialect::Mqtt);
    w.say(again, Inbound::Attach(Attach { clean: true, expiry: Expiry::Never, ..mqtt_attach("listener") }));
    assert_eq!(w.take(again).len(), 0);
    w.sync();
    assert!(matches!(w.take(again)[..], [Outbound::Attached { session_present: false, .. }]));
    w.send(sensor, "a", "2", ONCE);
    assert_eq!(w.got(again), [""; 0]);
    w.restart(false);
    let (link, present) = w.stayer("listener", false);
    assert!(present);
    assert_eq!(w.got(link), [""; 0]);
}

#[test]
fn a_session_ends_when_it_was_alone_long_enough_also_over_a_restart() {
    let hour = Duration::from_secs(3600);
    for restart in [false, true] {
        let mut w = World::new();
        let (link, _) = w.stayer_until("listener", false, Expiry::After(2 * 3600));
        w.want(link, "a", ONCE);
        w.gone(link);
        w.wait(hour);
        if restart {
            w.restart(true);
        }
        assert_eq!(w.router.report().sessions, 1);
        w.wait(hour + Duration::from_millis(1));
        let report = w.router.report();
        assert_eq!((report.sessions, report.subscriptions, report.sessions_expired), (0, 0, 1));
    }
}

#[test]
fn a_session_that_came_back_in_time_does_not_end_by_the_old_clock() {
    let mut w = World::new();
    let (link, _) = w.stayer_until("listener", false, Expiry::After(60));
    w.gone(link);
    w.wait(Duration::from_secs(50));
    let (link, present) = w.stayer_until("listener", false, Expiry::After(60));
    assert!(present);
    w.gone(link);
    w.wait(Duration::from_secs(50));
    assert_eq!(w.router.report().sessions, 1);
}

#[test]
fn an_offline_queue_is_bounded_and_what_does_not_fit_is_counted() {
    let mut w = World::with(Options { queue: QueueLimits { items: 3, bytes: 1 << 20 }, ..Options::default() });
    let sensor = w.client("sensor");
    let (link, _) = w.stayer("listener", false);
    w.want(link, "a", ONCE);
    w.gone(link);
    for text in ["1", "2", "3", "4", "5"] {
        w.send(sensor, "a", text, ONCE);
    }
    assert_eq!(w.router.report().dropped.get("queue_full"), Some(&2));
    let (link, _) = w.stayer("listener", false);
    assert_eq!(w.got(link), ["1", "2", "3"], "the newest are dropped");
}

#[test]
fn an_expired_message_is_not_delivered_and_a_live_one_says_what_is_left() {
    for restart in [None, Some(false), Some(true)] {
        let mut w = World::new();
        let sensor = w.client("sensor");
        let (link, _) = w.stayer("listener", false);
        w.want(link, "a", ONCE);
        w.gone(link);
        for (text, seconds) in [("short", 10), ("long", 100)] {
            let properties = crate::message::Properties { expiry_s: Some(seconds), ..Default::default() };
            w.send_with(sensor, "a", text, ONCE, |message| message.properties = Some(Box::new(properties)));
        }
        w.wait(Duration::from_secs(30));
        if let Some(snapshot) = restart {
            w.restart(snapshot);
        }
        w.wait(Duration::from_secs(10));
        let (link, _) = w.stayer("listener", false);
        let got = w.deliveries(link);
        assert_eq!(got.iter().map(shown).collect::<Vec<_>>(), ["long"], "{restart:?}");
        assert_eq!(got[0].expiry_s, Some(60));
        assert_eq!(w.router.report().expired, 1);
    }
}

#[test]
fn a_new_subscription_gets_what_is_retained() {
    for restart in [None, Some(false), Some(true)] {
        let mut w = World::new();
        let sensor = w.client("sensor");
        w.retain(sensor, "a/1", "old", ONCE);
        w.retain(sensor, "a/1", "1", ONCE);
        w.retain(sensor, "a/2", "2", Qos::AtMostOnce);
        w.retain(sensor, "a/3", "3", ONCE);
        w.send(sensor, "a/3", "", ONCE);
        w.retain(sensor, "a/4", "4", ONCE);
        w.retain(sensor, "a/4", "", ONCE);
        if let Some(snapshot) = restart {
            w.restart(snapshot);
        }
        let listener = w.client("listener");
        w.want(listener, "a/+", ONCE);
        assert_eq!(w.got(listener), ["1r", "2r", "3r"], "an empty message without the flag clears nothing; {restart:?}");
        w.want(listener, "a/1", ONCE);
        assert_eq!(w.got(listener), ["1r"], "subscribing again brings it again");
    }
}

#[test]
fn retain_handling_and_retain_as_published_do_what_they_say() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    let listener = w.client("listener");
    w.retain(sensor, "a", "1", ONCE);
    for (handling, expected) in
        [(RetainHandling::DoNotSend, vec![]), (RetainHandling::SendIfNew, vec![]), (RetainHandling::Send, vec!["1r"])]
    {
        let token = w.token();
        let wanted = Subscription { retain_handling: handling, retain_as_published: true, ..subscription(mqtt("a"), ONCE) };
        w.say(listener, Inbound::Subscribe { token, filters: vec![wanted] });
        assert_eq!(w.got(listener), expected, "{handling:?}");
    }
    w.retain(sensor, "a", "2", ONCE);
    assert_eq!(w.got(listener), ["2r"]);
    let other = w.client("other");
    let token = w.token();
    let wanted = Subscription { retain_handling: RetainHandling::SendIfNew, ..subscription(mqtt("a"), ONCE) };
    w.say(other, Inbound::Subscribe { token, filters: vec![wanted] });
    assert_eq!(w.got(other), ["2r"]);
    w.retain(sensor, "a", "3", ONCE);
    assert_eq!(w.got(other), ["3"]);
}

#[test]
fn any_number_of_retained_messages_reaches_a_new_subscription() {
    let mut w = World::new();
    let sensor = w.client("sensor");
    for n in 0..5_000 {
        w.retain(sensor, &format!("a/{n}"), "x", ONCE);
    }
    let listener = w.client("listener");
    w.want(listener, "#", ONCE);
    let mut count = 0;
    loop {
        let some = w.deliveries(listener);
        if some.is_empty() {
            break;
        }
        count += some.len();
        w.say(listener, Inbound::Written { count: some.len() as u32 });
        w.done(listener, &some);
    }
    assert_eq!(count, 5_000);
}

#[test]
fn retained_messages_that_were_on_their_way_to_a_session_that_stays_are_not_lost() {
    for snapshot in [false, true] {
        let mut w = World::new();
        let sensor = w.client("sensor");
        for n in 0..2_000 {
            w.retain(sensor, &format!("a/{n}"), "x", ONCE);
        }
        let (link, _) = w.stayer("listener", false);
        w.want(link, "#", ONCE);
        let some = w.deliveries(link);
        assert!(!some.is_empty() && some.len() < 2_000);
        let mut topics: std::collections::BTreeSet<_> = some.iter().map(|one| one.message.topic.clone()).collect();
        w.done(link, &some);
        w.restart(snapshot);
        let (link, _) = w.stayer("listener", false);
        loop {
            let some = w.deliveries(link);
            if some.is_empty() {
                break;
            }
            topics.extend(some.iter().map(|one| one.message.topic.clone()));
            w.say(link, Inbound::Written { count: some.len() as u32 });
            w.done(link, &some);
        }
        assert_eq!(topics.len(), 2_000, "{snapshot}");
    }
}

#[test]
fn system_figures_are_there_for_those_who_ask_and_for_nobody_else() {
    let mut w = World::with(Options { system_interval: Duration::from_secs(10), ..Options::default() });
    let (listener, other) = (w.client("listener"), w.client("other"));
    w.subscribe(listener, mqtt("$SYS/#"), Qos::AtMostOnce);
    w.subscribe(other, mqtt("#"), Qos::AtMostOnce);
    w.router.start_system();
    w.wait(Duration::from_secs(10));
    let topics: Vec<_> = w.deliveries(listener).iter().map(|one| one.message.topic.clone()).collect();
    assert!(topics.contains(&"$SYS/broker/clients/connected".to_owned()), "{topics:?}");
    assert_eq!(w.deliveries(other).len(), 0);
    assert_eq!(w.appended, [], "they are not worth a write");
    w.publish(other, "$SYS/broker/uptime", ONCE);
    assert!(!w.accepted(other)[0].1, "nobody else may tell them");
}
