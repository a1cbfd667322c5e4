//! The promise of fair shares, with random users and random load: whoever uses no more than an equal part of a total loses
//! nothing that was acknowledged, whatever the others do, also over a restart.

use super::super::outgoing::COPY_BYTES;
use super::super::retained::weight_of;
use super::state::ONCE;
use super::*;
use proptest::prelude::*;

/// Three users and two addresses: who, and the number of its address.
const WHO: [(Option<&str>, u8); 5] = [(Some("a"), 1), (Some("b"), 2), (Some("c"), 3), (None, 4), (None, 5)];
const QUEUES: usize = 40_000;
const RETAINED: usize = 20_000;

#[derive(Debug, Clone)]
enum Step {
    /// For a session of this one.
    Send {
        to: usize,
        size: usize,
    },
    /// By this one, on one of its topics.
    Retain {
        by: usize,
        topic: u8,
        size: usize,
    },
    /// The client comes, takes everything, and goes.
    Visit(usize),
    /// The client is lost, with what was sent to it and not acknowledged.
    Flicker(usize),
    Restart {
        snapshot: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..50usize, 0..2_000usize];
    // Some want much more than others.
    let who = || prop_oneof![Just(0usize), Just(3), 0..WHO.len()];
    prop_oneof![
        12 => (who(), size.clone()).prop_map(|(to, size)| Step::Send { to, size }),
        8 => (who(), any::<u8>(), size).prop_map(|(by, topic, size)| Step::Retain { by, topic: topic % 40, size }),
        1 => who().prop_map(Step::Visit),
        1 => who().prop_map(Step::Flicker),
        1 => any::<bool>().prop_map(|snapshot| Step::Restart { snapshot }),
    ]
}

/// What should be there for one of them, by weight.
#[derive(Debug, Default, Clone)]
struct Part {
    waiting: Vec<(String, usize)>,
    retained: std::collections::BTreeMap<String, usize>,
    /// It wanted more than its part at some time, so it may have lost something.
    greedy_queue: bool,
    greedy_retained: bool,
}

/// With users and addresses about: half of a total for each kind, in equal parts.
fn share(who: usize, total: usize) -> usize {
    let kin = WHO.iter().filter(|(user, _)| user.is_some() == WHO[who].0.is_some()).count();
    total / 2 / kin
}

fn client(w: &mut World, who: usize) -> LinkId {
    let (user, from) = WHO[who];
    w.client_of(user, from, &format!("s{who}")).unwrap()
}

fn message(w: &World, topic: String, text: &str, size: usize, retain: bool) -> Message {
    let payload = Payload::Mqtt(format!("{text} {}", "x".repeat(size)).into());
    let mut message = Message::new(topic, payload, ONCE, w.now().wall, Dialect::Mqtt, "p".into());
    message.retain = retain;
    message
}

/// First words of what a client gets, which it acknowledges.
fn take_all(w: &mut World, link: LinkId) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        let deliveries = w.deliveries(link);
        if deliveries.is_empty() {
            return words;
        }
        for delivery in &deliveries {
            let Payload::Mqtt(payload) = &delivery.message.payload else { panic!("MQTT") };
            words.push(String::from_utf8_lossy(payload).split(' ').next().unwrap().to_owned());
        }
        w.done(link, &deliveries);
        w.sync();
    }
}

fn check_visit(w: &mut World, who: usize, part: &mut Part) {
    let link = client(w, who);
    let had = take_all(w, link);
    w.gone(link);
    let wanted: Vec<_> = std::mem::take(&mut part.waiting).into_iter().map(|(text, _)| text).collect();
    if !part.greedy_queue {
        assert_eq!(had, wanted, "{who} is below its share");
    }
    part.greedy_queue = false;
}

fn run(steps: Vec<Step>) {
    let retained = RetainedLimits { messages: 1_000, bytes: RETAINED };
    let mut w = World::with(Options { queues_bytes: QUEUES, retained, ..Options::default() });
    let mut parts = vec![Part::default(); WHO.len()];
    for (who, (user, from)) in WHO.into_iter().enumerate() {
        w.waiting(user, from, &format!("s{who}"), &format!("to/{who}"));
    }
    let mut count = 0;
    for step in steps {
        match step {
            Step::Send { to, size } => {
                count += 1;
                let (text, publisher) = (count.to_string(), w.client_of(Some("p"), 9, "p").unwrap());
                let message = message(&w, format!("to/{to}"), &text, size, false);
                let weight = message.weight() + COPY_BYTES;
                let token = w.token();
                w.say(publisher, Inbound::Publish { message, token });
                w.sync();
                w.gone(publisher);
                let part = &mut parts[to];
                part.waiting.push((text, weight));
                part.greedy_queue |= part.waiting.iter().map(|(_, weight)| weight).sum::<usize>() > share(to, QUEUES);
            }
            Step::Retain { by, topic, size } => {
                count += 1;
                let (user, from) = WHO[by];
                let publisher = w.client_of(user, from, &format!("p{by}")).unwrap();
                let topic = format!("r/{by}/{topic}");
                let message = message(&w, topic.clone(), &count.to_string(), size, true);
                let part = &mut parts[by];
                part.retained.insert(topic, weight_of(&message));
                part.greedy_retained |= part.retained.values().sum::<usize>() > share(by, RETAINED);
                let token = w.token();
                w.say(publisher, Inbound::Publish { message, token });
                w.sync();
                w.gone(publisher);
            }
            Step::Visit(who) => check_visit(&mut w, who, &mut parts[who]),
            Step::Flicker(who) => {
                let link = client(&mut w, who);
                w.gone(link);
            }
            Step::Restart { snapshot } => w.restart(snapshot),
        }
        let report = w.router.report();
        assert!(report.queued_bytes as usize <= QUEUES && report.retained_bytes as usize <= RETAINED, "{report:?}");
    }
    for (who, part) in parts.iter_mut().enumerate() {
        check_visit(&mut w, who, part);
        if !part.greedy_retained {
            let there = |topic: &&String| w.router.retained.get(topic).is_some();
            let lost: Vec<_> = part.retained.keys().filter(|topic| !there(topic)).collect();
            assert_eq!(lost, Vec::<&String>::new(), "{who} is below its share");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whoever_is_below_its_share_never_loses_an_acknowledged_message(steps in proptest::collection::vec(step(), 1..150)) {
        run(steps);
    }
}
