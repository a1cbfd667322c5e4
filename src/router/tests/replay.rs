//! What a component missed comes from the log: all of it, in order, once.

mod asking;
mod restarts;

use super::state::{EXACTLY, ONCE};
use super::*;

const NEVER: Qos = Qos::AtMostOnce;

impl World {
    /// A named component that does not take publications yet.
    fn twin(&mut self, name: &str) -> LinkId {
        let link = self.link(Dialect::Rembus);
        let on_conflict = OnConflict::Refuse;
        let resend_after = Some(Duration::from_secs(2));
        let attach = Attach { on_conflict, clean: false, expiry: Expiry::Never, resend_after, ..mqtt_attach(name) };
        self.say(link, Inbound::Attach(attach));
        assert!(matches!(self.take(link)[..], [Outbound::Attached { .. }]));
        link
    }

    fn follow(&mut self, link: LinkId, pattern: &str, past: Past) {
        let token = self.token();
        let wanted = Subscription { past, ..Subscription::rembus(pattern.into()) };
        self.say(link, Inbound::Subscribe { token, filters: vec![wanted] });
        self.sync();
        let answers = self.take(link);
        assert!(matches!(&answers[0], Outbound::Subscribed { outcomes, .. } if outcomes[0].is_ok()), "{answers:?}");
        self.sent.extend(answers.into_iter().skip(1).map(|out| (link, out)));
    }

    fn reactive(&mut self, link: LinkId, on: bool) {
        self.reach(link, on, Past::Unseen);
    }

    fn reach(&mut self, link: LinkId, on: bool, reach: Past) {
        let token = self.token();
        self.say(link, Inbound::Reactive { token, on, reach });
    }

    /// Subscribes, and takes what comes.
    fn reader(&mut self, name: &str, pattern: &str, past: Past) -> LinkId {
        let link = self.twin(name);
        self.follow(link, pattern, past);
        self.reactive(link, true);
        link
    }

    fn tell(&mut self, link: LinkId, topic: &str, number: u8, qos: Qos) {
        self.tell_as(link, topic, number, qos, "teller");
    }

    fn tell_as(&mut self, link: LinkId, topic: &str, number: u8, qos: Qos, publisher: &str) {
        let token = self.token();
        let payload = Payload::Rembus(vec![0x81, number].into());
        let wall = self.now().wall;
        let message = Message::new(topic.into(), payload, qos, wall, Dialect::Rembus, publisher.into());
        self.say(link, Inbound::Publish { message, token });
        self.now = self.now.plus(Duration::from_nanos(1000));
        self.sync();
    }

    /// The log answers one question, with at most so many messages. False if nobody asked.
    fn look(&mut self, most: usize) -> bool {
        if self.reads.is_empty() {
            return false;
        }
        let (read, after, upto, interest) = self.reads.remove(0);
        let mut found = Vec::new();
        let mut reached = upto;
        for (seq, kind, body) in self.records.iter().filter(|(seq, ..)| *seq > after && *seq <= upto) {
            let record = crate::wal::Record { seq: *seq, kind: *kind, body: body.clone() };
            found.extend(interest.find(&record).unwrap());
            if found.len() == most {
                reached = *seq;
                break;
            }
        }
        self.event(Event::Found { read, found, reached });
        true
    }

    /// The log answers until there are no more questions.
    fn look_all(&mut self) {
        while self.look(3) {}
    }

    /// What a component got, as numbers; everything is written and acknowledged at once.
    fn had(&mut self, link: LinkId) -> Vec<u8> {
        self.had_as(link).into_iter().map(|(number, _)| number).collect()
    }

    fn had_as(&mut self, link: LinkId) -> Vec<(u8, Option<String>)> {
        let mut had = Vec::new();
        loop {
            self.look_all();
            let deliveries = self.deliveries(link);
            if deliveries.is_empty() {
                return had;
            }
            for delivery in &deliveries {
                had.push((numbered(delivery), delivery.pattern.as_deref().map(String::from)));
            }
            self.finish(link, &deliveries);
        }
    }

    fn finish(&mut self, link: LinkId, deliveries: &[Delivery]) {
        let count = u32::try_from(deliveries.len()).unwrap();
        self.say(link, Inbound::Written { count });
        for delivery in deliveries {
            if let Some(id) = delivery.id {
                let stage = if delivery.qos == EXACTLY { Stage::Received } else { Stage::Done };
                self.say(link, Inbound::Delivered { id, stage });
            }
        }
        self.sync();
    }

    fn is_caught_up(&self) -> bool {
        self.reads.is_empty() && self.router.reads.is_empty()
    }
}

fn numbered(delivery: &Delivery) -> u8 {
    let Payload::Rembus(data) = &delivery.message.payload else { panic!("Rembus data") };
    data[1]
}

/// How the story goes on: in the same life, after a kill, after a kill that a snapshot preceded.
const LIVES: [Option<bool>; 3] = [None, Some(false), Some(true)];

impl World {
    fn next_life(&mut self, life: Option<bool>, link: LinkId) {
        match life {
            None => self.say(link, Inbound::LOST),
            Some(snapshot) => {
                // The test's log loses nothing that was appended; a snapshot alone would not have the messages.
                let log = self.records.clone();
                self.restart(snapshot);
                self.records = log;
            }
        }
    }
}

#[test]
fn who_was_away_gets_everything_it_missed_in_order_and_once() {
    for life in LIVES {
        for qos in [NEVER, ONCE, EXACTLY] {
            let mut w = World::new();
            let teller = w.link(Dialect::Rembus);
            w.tell(teller, "a/1", 1, qos);
            let link = w.reader("reader", "a/*", Past::Unseen);
            assert_eq!(w.had(link), [1], "also what was there before it came");
            w.tell(teller, "a/2", 2, qos);
            assert_eq!(w.had(link), [2]);
            w.next_life(life, link);
            let teller = w.link(Dialect::Rembus);
            for number in 3..20 {
                w.tell(teller, &format!("a/{number}"), number, qos);
            }
            w.tell(teller, "b", 99, qos);
            let link = w.twin("reader");
            assert_eq!(w.had(link), [0; 0], "not before it says so");
            w.tell(teller, "a/20", 20, qos);
            w.reactive(link, true);
            w.tell(teller, "a/21", 21, qos);
            assert_eq!(w.had(link), (3..22).collect::<Vec<_>>(), "{life:?} {qos:?}");
            assert!(w.is_caught_up());
            w.tell(teller, "a/22", 22, qos);
            assert_eq!(w.had(link), [22]);
        }
    }
}

#[test]
fn a_pattern_and_a_topic_bring_each_their_own_form() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell(teller, "dev/t", 1, ONCE);
    let link = w.twin("reader");
    w.follow(link, "**/t", Past::Unseen);
    w.follow(link, "dev/t", Past::Unseen);
    w.reactive(link, true);
    assert_eq!(w.had_as(link), [(1, Some("**/t".into())), (1, None)]);
}

#[test]
fn now_brings_nothing_that_came_while_it_was_away() {
    for life in LIVES {
        let mut w = World::new();
        let teller = w.link(Dialect::Rembus);
        w.tell(teller, "t", 1, ONCE);
        let link = w.reader("reader", "t", Past::Nothing);
        w.tell(teller, "t", 2, ONCE);
        assert_eq!(w.had(link), [2]);
        w.say(link, Inbound::LOST);
        w.tell(teller, "t", 3, ONCE);
        w.next_life(life, link);
        let teller = w.link(Dialect::Rembus);
        w.tell(teller, "t", 4, ONCE);
        let link = w.twin("reader");
        w.reactive(link, true);
        w.tell(teller, "t", 5, ONCE);
        assert_eq!(w.had(link), [5], "{life:?}");
    }
}

#[test]
fn what_was_under_way_when_the_link_broke_comes_again_also_for_now() {
    for life in LIVES {
        let mut w = World::new();
        let teller = w.link(Dialect::Rembus);
        let link = w.reader("reader", "t", Past::Nothing);
        for number in 1..=4 {
            w.tell(teller, "t", number, if number == 2 { NEVER } else { EXACTLY });
        }
        let first = w.deliveries(link);
        assert_eq!(first.iter().map(numbered).collect::<Vec<_>>(), [1, 2, 3, 4]);
        w.finish(link, &first[..1]);
        w.next_life(life, link);
        let teller = w.link(Dialect::Rembus);
        w.tell(teller, "t", 5, EXACTLY);
        let link = w.twin("reader");
        w.reactive(link, true);
        w.look_all();
        let again = w.deliveries(link);
        assert_eq!(again.iter().map(numbered).collect::<Vec<_>>(), [3, 4], "{life:?}");
        assert_eq!(again[0].id, first[2].id, "by its id the peer knows a QoS 2 message that it has");
        w.finish(link, &again);
        w.say(link, Inbound::LOST);
        let link = w.twin("reader");
        w.reactive(link, true);
        assert_eq!(w.had(link), [0; 0]);
    }
}

#[test]
fn the_second_step_of_qos_2_waits_until_the_disk_knows_the_first() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let link = w.reader("reader", "t", Past::Unseen);
    w.look_all();
    w.take(link);
    w.tell(teller, "t", 1, EXACTLY);
    let [Outbound::Deliver(delivery)] = &w.take(link)[..] else { panic!("one delivery") };
    let id = delivery.id.unwrap();
    w.say(link, Inbound::Delivered { id, stage: Stage::Received });
    assert!(w.take(link).is_empty(), "released before it is on the disk that the message has arrived");
    w.sync();
    assert!(matches!(w.take(link)[..], [Outbound::Release { id: released }] if released == id));
    w.restart(false);
    let link = w.twin("reader");
    w.reactive(link, true);
    assert_eq!(w.had(link), [0; 0]);
}

#[test]
fn a_qos_2_message_is_on_the_disk_before_a_component_sees_it() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let link = w.reader("reader", "t", Past::Unseen);
    w.look_all();
    w.take(link);
    let token = w.token();
    let payload = Payload::Rembus(Bytes::from_static(&[0x81, 1]));
    let message = Message::new("t".into(), payload, EXACTLY, w.now().wall, Dialect::Rembus, "teller".into());
    w.say(teller, Inbound::Publish { message, token });
    assert!(w.deliveries(link).is_empty(), "after a power cut its id could mean another message");
    w.sync();
    assert_eq!(w.deliveries(link).len(), 1);
}

#[test]
fn acknowledgements_out_of_order_are_remembered_exactly() {
    for life in LIVES {
        let mut w = World::new();
        let teller = w.link(Dialect::Rembus);
        let link = w.reader("reader", "t", Past::Unseen);
        for number in 1..=6 {
            w.tell(teller, "t", number, ONCE);
        }
        w.look_all();
        let sent = w.deliveries(link);
        for at in [4, 1] {
            w.say(link, Inbound::Delivered { id: sent[at].id.unwrap(), stage: Stage::Done });
        }
        w.next_life(life, link);
        let link = w.twin("reader");
        w.reactive(link, true);
        assert_eq!(w.had(link), [1, 3, 4, 6], "{life:?}");
    }
}

#[test]
fn its_own_messages_and_what_it_may_not_see_are_not_replayed() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell_as(teller, "t", 1, ONCE, "reader");
    w.tell_as(teller, "t", 2, ONCE, "other");
    let link = w.reader("reader", "t", Past::Unseen);
    assert_eq!(w.had(link), [2]);
}

#[test]
fn setup_after_a_reconnect_keeps_what_was_stored() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let link = w.twin("reader");
    w.follow(link, "a/**", Past::Unseen);
    w.follow(link, "now", Past::Nothing);
    w.reactive(link, true);
    w.say(link, Inbound::LOST);
    w.tell(teller, "a/b", 1, ONCE);
    w.tell(teller, "now", 2, ONCE);
    let link = w.twin("reader");
    let (token, subscribers) = (w.token(), vec!["a/**".into(), "now".into(), "new/*".into()]);
    w.say(link, Inbound::Setup { token, exposers: vec!["m".into()], subscribers });
    assert_eq!(w.had_as(link), [(1, Some("a/**".into()))]);
    w.tell(teller, "new/x", 3, ONCE);
    assert_eq!(w.had_as(link), [(3, Some("new/*".into()))], "a pattern in setup is a pattern");
}

#[test]
fn a_subscription_that_comes_later_brings_its_past_and_repeats_nothing_of_others() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell(teller, "old", 1, ONCE);
    let link = w.reader("reader", "t", Past::Unseen);
    w.tell(teller, "t", 2, ONCE);
    w.tell(teller, "t", 3, ONCE);
    w.look_all();
    // On their way, not answered yet.
    let waiting = w.deliveries(link);
    assert_eq!(waiting.len(), 2);
    w.follow(link, "old", Past::Unseen);
    assert_eq!(w.had(link), [1]);
    w.finish(link, &waiting);
    w.tell(teller, "t", 4, ONCE);
    assert_eq!(w.had(link), [4]);
}

#[test]
fn what_comes_during_a_replay_waits_behind_it() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    for number in 0..10 {
        w.tell(teller, "t", number, NEVER);
    }
    let link = w.reader("reader", "t", Past::Unseen);
    let mut had = Vec::new();
    for number in 10..60 {
        w.tell(teller, "t", number, NEVER);
        w.look(3);
        let deliveries = w.deliveries(link);
        had.extend(deliveries.iter().map(numbered));
        w.finish(link, &deliveries);
    }
    had.extend(w.had(link));
    assert_eq!(had, (0..60).collect::<Vec<_>>());
    assert!(w.is_caught_up());
}

#[test]
fn a_component_that_is_too_slow_is_served_from_the_log() {
    let queue = QueueLimits { items: 5, bytes: 1 << 20 };
    let mut w = World::with(Options { queue, ..Options::default() });
    let teller = w.link(Dialect::Rembus);
    let (patient, hasty) = (w.reader("patient", "t", Past::Unseen), w.reader("hasty", "t", Past::Nothing));
    w.look_all();
    for name in ["patient", "hasty"] {
        // A window of one: everything else waits in the queue.
        let key = w.router.sessions.by_name(Dialect::Rembus, name).unwrap();
        w.router.sessions.get_mut(key).unwrap().out.set_window(1);
    }
    for number in 0..50 {
        w.tell(teller, "t", number, ONCE);
    }
    assert_eq!(w.had(patient), (0..50).collect::<Vec<_>>());
    assert_eq!(w.had(hasty), (0..6).collect::<Vec<_>>(), "who wants no past loses what does not fit");
    assert_eq!(w.router.report().dropped.get("queue_full"), Some(&44));
}

#[test]
fn a_component_that_does_not_read_is_not_read_for() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let link = w.reader("reader", "t", Past::Unseen);
    w.look_all();
    w.say(link, Inbound::LOST);
    for _ in 0..40 {
        for number in 0..100 {
            w.tell(teller, "t", number, NEVER);
        }
    }
    let link = w.twin("reader");
    w.reactive(link, true);
    let mut looks = 0;
    while w.look(1_000) {
        looks += 1;
        assert!(looks < 100, "it goes on and on");
    }
    // What is under way to the socket, and a queue's worth behind it.
    let queued = w.router.report().queued;
    assert!(queued <= 2_048, "{queued}");
    let mut had = 0;
    loop {
        let deliveries = w.deliveries(link);
        if deliveries.is_empty() {
            break;
        }
        had += deliveries.len();
        w.finish(link, &deliveries);
        w.look_all();
    }
    assert_eq!(had, 4_000);
}
