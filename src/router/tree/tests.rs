use super::*;
use crate::message::Qos;
use crate::router::session::SessionKey;
use proptest::prelude::*;

fn key(slot: u32) -> SessionKey {
    SessionKey { slot, generation: 1 }
}

fn target(slot: u32, filter: &Filter) -> Target {
    let pattern = match filter {
        Filter::Rembus(pattern) if pattern.contains('*') => Some(pattern.as_str().into()),
        _ => None,
    };
    Target {
        dest: Dest::Session(key(slot)),
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        identifiers: vec![slot],
        pattern,
        number: 0,
    }
}

fn tree(filters: &[Filter]) -> Tree {
    let mut tree = Tree::default();
    for (slot, filter) in filters.iter().enumerate() {
        tree.insert(filter, target(slot as u32, filter));
    }
    tree
}

fn mqtt(filter: &str) -> Filter {
    Filter::Mqtt(filter.into())
}

fn rembus(pattern: &str) -> Filter {
    Filter::Rembus(pattern.into())
}

pub(in crate::router) fn hits(filter: &Filter, topic: &str) -> bool {
    !tree(std::slice::from_ref(filter)).matches(topic).is_empty()
}

/// [MQTT 4.7.1], its own examples among them.
#[test]
fn mqtt_filters_follow_the_specification() {
    for (filter, yes, no) in [
        (
            "sport/tennis/player1/#",
            &["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/a/b"][..],
            &["sport/tennis"][..],
        ),
        ("sport/#", &["sport", "sport/"], &["sports"]),
        ("#", &["a", "/a", "a/b"], &["$SYS/x", "$SYS"]),
        ("+", &["a", ""], &["a/b", "/a", "$SYS"]),
        ("sport/+", &["sport/", "sport/x"], &["sport"]),
        ("+/+", &["/finance", "a/b"], &["$SYS/x", "a"]),
        ("/+", &["/finance"], &["finance"]),
        ("$SYS/#", &["$SYS", "$SYS/a/b"], &["SYS"]),
        ("$SYS/+", &["$SYS/a"], &["$SYS/a/b"]),
        ("a/+/c/#", &["a/b/c", "a//c/d"], &["a/b/d"]),
        ("a*b", &["a*b"], &["axb"]),
    ] {
        for topic in yes {
            assert!(hits(&mqtt(filter), topic), "{filter} takes {topic}");
        }
        for topic in no {
            assert!(!hits(&mqtt(filter), topic), "{filter} does not take {topic}");
        }
    }
}

#[test]
fn rembus_topics_with_mqtt_wildcards_are_plain_text() {
    assert!(hits(&rembus("a/+"), "a/+") && !hits(&rembus("a/+"), "a/b") && !hits(&rembus("#"), "a"));
}

/// The golden vectors; `**` may also stand for no segment at all, which is the product's decision.
#[test]
fn rembus_patterns_follow_the_vectors() {
    let all: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/rembus.json")).unwrap();
    let mut seen = 0;
    for vector in all["vectors"].as_array().unwrap().iter().filter(|v| v["kind"] == "keyspace") {
        seen += 1;
        let pattern = vector["pattern"].as_str().unwrap();
        let filter = rembus(pattern);
        for topic in vector["matches"].as_array().unwrap() {
            assert!(hits(&filter, topic.as_str().unwrap()), "{pattern} takes {topic}");
        }
        for topic in vector["does_not_match"].as_array().unwrap() {
            let topic = topic.as_str().unwrap();
            let superset = [
                ("a/**/b", "a/b"),
                ("a/**", "a"),
                ("**/x", "x"),
                ("**/telemetry", "telemetry"),
                ("*/**", "x"),
                ("*/**", "ab"),
                ("*/**", "a"),
                ("*/**", "telemetry"),
                ("veneto/**/temperature", "veneto/temperature"),
            ];
            assert_eq!(hits(&filter, topic), superset.contains(&(pattern, topic)), "{pattern} and {topic}");
        }
    }
    assert_eq!(seen, 14);
}

#[test]
fn an_mqtt_session_gets_one_copy_for_overlapping_filters_with_the_highest_qos_and_all_identifiers() {
    let mut tree = Tree::default();
    for (filter, qos, identifier) in [("a/#", Qos::AtMostOnce, 1), ("a/+", Qos::ExactlyOnce, 2), ("a/b", Qos::AtLeastOnce, 3)] {
        tree.insert(&mqtt(filter), Target { qos, identifiers: vec![identifier], ..target(7, &mqtt(filter)) });
    }

    let found = tree.matches("a/b");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].qos, Qos::ExactlyOnce);
    let mut identifiers = found[0].identifiers.clone();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 2, 3]);
}

#[test]
fn a_rembus_session_gets_the_exact_form_and_each_pattern() {
    let mut tree = Tree::default();
    for pattern in ["a/b", "a/*", "**"] {
        tree.insert(&rembus(pattern), target(7, &rembus(pattern)));
    }
    let mut patterns: Vec<_> = tree.matches("a/b").iter().map(|t| t.pattern.as_deref().unwrap_or("exact").to_owned()).collect();
    patterns.sort();
    assert_eq!(patterns, ["**", "a/*", "exact"]);
}

#[test]
fn subscribing_again_replaces_and_is_not_counted_twice() {
    let mut tree = Tree::default();
    assert!(tree.insert(&mqtt("a"), target(1, &mqtt("a"))));
    assert!(!tree.insert(&mqtt("a"), Target { qos: Qos::AtMostOnce, ..target(1, &mqtt("a")) }));
    assert_eq!((tree.len(), tree.matches("a")[0].qos), (1, Qos::AtMostOnce));
}

#[test]
fn nothing_is_left_of_short_lived_filters() {
    let mut tree = Tree::default();
    for n in 0..10_000_u32 {
        for filter in [mqtt(&format!("reply/{n}/+")), rembus(&format!("reply/{n}/*")), rembus(&format!("x{n}**"))] {
            tree.insert(&filter, target(n, &filter));
            assert!(tree.remove(&filter, Dest::Session(key(n))));
        }
    }
    assert!(tree.is_bare() && tree.len() == 0);
    assert!(tree.words.capacity() < 8 && tree.nodes.capacity() <= 64, "{} {}", tree.words.capacity(), tree.nodes.capacity());
}

#[test]
fn a_subscription_to_one_topic_leaves_what_is_remembered_of_others() {
    let mut tree = tree(&[mqtt("a/#")]);
    assert_eq!(tree.matches("a/b").len(), 1);
    assert_eq!(tree.matches("reply").len(), 0);
    tree.insert(&mqtt("reply"), target(7, &mqtt("reply")));
    assert!(tree.recent.contains_key("a/b"));
    assert_eq!(tree.matches("reply").len(), 1);
    assert!(tree.remove(&mqtt("reply"), Dest::Session(key(7))));
    assert_eq!((tree.matches("reply").len(), tree.recent.len()), (0, 2));
    tree.insert(&mqtt("+"), target(8, &mqtt("+")));
    assert_eq!((tree.matches("reply").len(), tree.matches("a/b").len()), (1, 1));
}

#[test]
fn topics_nobody_wants_do_not_fill_memory() {
    let mut tree = tree(&[mqtt("a")]);
    for n in 0..200_000 {
        tree.matches(&format!("noise/{n}"));
    }
    let bytes = |topic: &str| REMEMBERED_SLOT + topic.len();
    assert_eq!(tree.remembered, tree.recent.keys().map(|topic| bytes(topic)).sum::<usize>());
    assert!(tree.remembered <= REMEMBERED_MAX && tree.recent.len() > 1_000);
}

/// The specification read word by word, by trying everything.
fn naive(filter: &[&str], topic: &[&str], dialect: Dialect2) -> bool {
    match (filter.split_first(), topic.split_first(), dialect) {
        (Some((&"#", _)), _, Dialect2::Mqtt) => true,
        (Some((&"**", rest)), _, Dialect2::Rembus) => {
            naive(rest, topic, dialect)
                || topic.split_first().is_some_and(|(level, below)| !level.contains('@') && naive(filter, below, dialect))
        }
        (None, None, _) => true,
        (Some((&"+", rest)), Some((_, below)), Dialect2::Mqtt) => naive(rest, below, dialect),
        (Some((&"*", rest)), Some((level, below)), Dialect2::Rembus) => {
            !level.is_empty() && !level.contains('@') && naive(rest, below, dialect)
        }
        (Some((name, rest)), Some((level, below)), _) => name == level && naive(rest, below, dialect),
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dialect2 {
    Mqtt,
    Rembus,
}

fn path(levels: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(levels), 1..most)
}

proptest! {
    #[test]
    fn the_tree_agrees_with_a_naive_reading(
        mqtt_filters in proptest::collection::vec((path(&["a", "ab", "", "+", "$", "$s"], 5), any::<bool>()), 1..6),
        everything in any::<bool>(),
        patterns in proptest::collection::vec(path(&["a", "b", "", "*", "**", "@c"], 5), 1..6),
        topics in proptest::collection::vec(path(&["a", "ab", "b", "", "@c", "$", "$s"], 6), 1..8),
        gone in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let mut filters = Vec::new();
        if everything {
            filters.push((Dialect2::Mqtt, vec!["#"]));
        }
        for (mut levels, all_below) in mqtt_filters {
            if all_below {
                levels.push("#");
            }
            filters.push((Dialect2::Mqtt, levels));
        }
        filters.extend(patterns.into_iter().map(|levels| (Dialect2::Rembus, levels)));
        let as_filter = |(dialect, levels): &(Dialect2, Vec<&str>)| match dialect {
            Dialect2::Mqtt => mqtt(&levels.join("/")),
            Dialect2::Rembus => rembus(&levels.join("/")),
        };
        let all: Vec<_> = filters.iter().map(as_filter).collect();
        let mut tree = tree(&all);
        let mut there: Vec<bool> = vec![true; all.len()];
        // Once with all filters, and once more without some: what is remembered of recent topics must not outlive them.
        for round in 0..2 {
            for topic in &topics {
                let joined = topic.join("/");
                let mut found: Vec<u32> = tree.matches(&joined).iter().map(slot_of).collect();
                found.sort_unstable();
                let wanted = |(slot, (dialect, levels)): (usize, &(Dialect2, Vec<&str>))| {
                    let hidden = *dialect == Dialect2::Mqtt && topic[0].starts_with('$') && ["+", "#"].contains(&levels[0]);
                    (there[slot] && !hidden && naive(levels, topic, *dialect)).then_some(slot as u32)
                };
                let expected: Vec<u32> = filters.iter().enumerate().filter_map(wanted).collect();
                prop_assert_eq!(found, expected, "topic {} in round {}", joined, round);
            }
            for (slot, filter) in all.iter().enumerate().filter(|(slot, _)| round == 0 && gone[*slot]) {
                prop_assert!(tree.remove(filter, Dest::Session(key(slot as u32))));
                there[slot] = false;
            }
        }
        for (slot, filter) in all.iter().enumerate().filter(|(slot, _)| there[*slot]) {
            prop_assert!(tree.remove(filter, Dest::Session(key(slot as u32))));
        }
        prop_assert!(tree.is_bare());
    }
}

fn slot_of(target: &Target) -> u32 {
    match target.dest {
        Dest::Session(key) => key.slot,
        Dest::Group(_) => unreachable!("these tests have no groups"),
    }
}

mod cost;
