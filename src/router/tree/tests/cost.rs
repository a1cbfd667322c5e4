//! What the worst filters and topics cost: steps are counted, not seconds.

use super::*;
use crate::names::{LEVELS_MAX, NameLimits};
use regex::Regex;

/// Deep enough that a call of its own for each level would need more than this stack has.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(test).unwrap().join().unwrap();
}

#[test]
fn no_filter_is_too_deep_to_be_put_in_found_taken_out_and_dropped() {
    on_a_small_stack(|| {
        let deep = "/".repeat(200_000);
        for filter in [mqtt(&deep), mqtt(&format!("{deep}#")), Filter::Bus(format!("+{deep}")), rembus(&format!("*{deep}**"))] {
            let mut tree = tree(std::slice::from_ref(&filter));
            tree.search(&deep);
            tree.by_name(&deep);
            assert!(tree.remove(&filter, Dest::Session(key(0))));
            assert!(tree.is_bare());
            tree.insert(&filter, target(1, &filter));
            drop(tree);
        }
    });
}

/// Filters that are accepted, each different from the others, that cost as much as their kind can on the topic.
fn worst(count: usize) -> Vec<(&'static str, Vec<Filter>, String)> {
    // Which of two edges is taken at each of the first levels makes paths different, and all of them are followed.
    let paths = |n: usize, one: &str, other: &str| -> String {
        (0..14).map(|bit| if n >> bit & 1 == 1 { one } else { other }).collect::<Vec<_>>().join("/")
    };
    let a128 = vec!["a"; 128].join("/");
    let deep = |n| mqtt(&format!("{}/{}", paths(n, "+", "a"), vec!["a"; 113].join("/")));
    let stars = |n| rembus(&format!("{}/{}", paths(n, "*", "a"), vec!["*"; 113].join("/")));
    let tails = |n| rembus(&format!("**/{}/{}/b", paths(n, "*", "a"), ["**/a"; 5].join("/")));
    let long_tails = |n| rembus(&format!("**/{}/{}", paths(n, "*", "a"), vec!["*"; 113].join("/")));
    // Seven bytes a level is what 1 KiB has room for.
    let a7 = vec!["aaaaaaa"; 127].join("/");
    let globs = |n| rembus(&format!("**/{}/{}/*b", paths(n, "*", "aaaaaaa"), ["*a"; 4].join("/")));
    let many_globs = |n| rembus(&format!("**/{}/{}", ["*a*", "*a*", "a*"].join("/"), paths(n, "*", "aaaaaaa")));
    let irregular = |n: usize| rembus(&format!("a**{}{}", paths(n, "*", "a").replace('/', ""), "a".repeat(200)));
    let long_levels = vec!["a".repeat(100); 10].join("/");
    let long_globs =
        |n: usize| rembus(&format!("**/{}/{}*", vec![format!("{}*", "a".repeat(90)); 4].join("/"), "a".repeat(n / 8 + 1)));
    let bytes = "a".repeat(1024);
    let irregular_levels = |n: usize| rembus(&format!("{}a**{}", "a".repeat(n % 100), "a/".repeat(n / 100 + 5)));
    let all = |make: &dyn Fn(usize) -> Filter| (0..count).map(make).collect::<Vec<_>>();
    vec![
        ("`+` and literals", all(&deep), a128.clone()),
        ("`*` and literals", all(&stars), a128.clone()),
        ("many `**`", all(&tails), a128.clone()),
        ("one `**` and 127 levels", all(&long_tails), a128.clone()),
        ("a glob in each part", all(&globs), a7.clone()),
        ("globs of three parts", all(&many_globs), a7),
        ("long globs", all(&long_globs), long_levels),
        ("irregular, one level", all(&irregular), bytes),
        ("irregular, many levels", all(&irregular_levels), a128),
    ]
}

#[test]
fn the_worst_filters_that_are_accepted_cost_a_bounded_number_of_steps_each() {
    let limits = NameLimits::default();
    for (kind, filters, topic) in worst(500) {
        assert!(limits.allow(&topic), "{kind}");
        // Irregular ones with more wildcards than are allowed are not among them.
        let filters: Vec<_> = filters.into_iter().filter(|filter| limits.allow_filter(filter)).collect();
        assert!(filters.len() >= 50, "{kind}: {}", filters.len());
        let bound = if kind.starts_with("irregular") { BYTE_STEPS_MAX } else { STEPS_MAX };
        let (_, steps) = tree(&filters).counted(&topic);
        assert!(steps <= bound * filters.len() + LEVELS_MAX, "{kind}: {steps} steps for {} filters", filters.len());
        assert!(steps > filters.len(), "{kind}: it was to be expensive");
    }
}

#[test]
fn neighbouring_wildcards_cost_what_one_does() {
    let topic = vec!["a"; 128].join("/");
    let steps = |pattern: &str| tree(&[rembus(pattern)]).counted(&topic).1;
    assert_eq!(steps(&format!("{}b*", "**/".repeat(120))), steps("**/b*"));
}

#[test]
fn patterns_that_mean_the_same_are_delivered_and_taken_back_each_for_itself() {
    let mut tree = Tree::default();
    let (one, two) = (rembus("a/**"), rembus("a/**/**"));
    assert!(tree.insert(&one, target(7, &one)) && tree.insert(&two, target(7, &two)) && !tree.insert(&two, target(7, &two)));
    let found = |tree: &mut Tree| -> Vec<String> {
        let mut found: Vec<_> =
            tree.matches("a/x").iter().map(|target| target.pattern.as_deref().unwrap().to_owned()).collect();
        found.sort();
        found
    };
    assert_eq!(found(&mut tree), ["a/**", "a/**/**"]);
    assert!(tree.remove(&one, Dest::Session(key(7))) && !tree.remove(&one, Dest::Session(key(7))));
    assert_eq!(found(&mut tree), ["a/**/**"]);
    assert!(tree.remove(&two, Dest::Session(key(7))) && tree.is_bare());
}

#[test]
fn many_filters_of_many_sessions_on_one_topic_are_merged_without_comparing_each_with_each() {
    let mut tree = Tree::default();
    for n in 0..2_000 {
        for filter in [mqtt("a/b"), mqtt("a/+"), mqtt("#")] {
            tree.insert(&filter, target(n, &filter));
        }
    }
    let found = tree.matches("a/b");
    assert_eq!(found.len(), 2_000);
    assert!(found.iter().all(|target| target.identifiers.len() == 3));
}

#[test]
fn a_list_that_got_short_is_made_anew_and_finds_the_same() {
    let mut tree = Tree::default();
    let filter = |n: u32| [mqtt(&format!("a/{n}/+/x")), rembus(&format!("b/{n}/*/**/x")), Filter::Bus(format!("c/+/{n}/#"))];
    for n in 0..1_000 {
        filter(n).iter().for_each(|filter| assert!(tree.insert(filter, target(n, filter))));
    }
    let capacity = tree.nodes.capacity();
    for n in 10..1_000 {
        filter(n).iter().for_each(|filter| assert!(tree.remove(filter, Dest::Session(key(n)))));
    }
    assert!(tree.nodes.capacity() < capacity / 8, "{} of {capacity}", tree.nodes.capacity());
    for n in 0..1_000 {
        for topic in [format!("a/{n}/q/x"), format!("b/{n}/q/w/x"), format!("c/q/{n}/y")] {
            let found: Vec<u32> = tree.matches(&topic).iter().map(slot_of).collect();
            assert_eq!(found, if n < 10 { vec![n] } else { vec![] }, "{topic}");
        }
    }
}

/// A pattern read as an expression over text. `**` that is a whole level takes or leaves its slash.
fn model(pattern: &str) -> Regex {
    let irregular = pattern.split('/').any(|level| level != "**" && level.contains("**"));
    let glob = |text: &str, any: &str| {
        text.split("**")
            .map(|part| part.split('*').map(regex::escape).collect::<Vec<_>>().join("[^/@]+"))
            .collect::<Vec<_>>()
            .join(any)
    };
    let expression = if irregular {
        glob(pattern, "[^@]*")
    } else {
        // Each level with a slash before it, and the topic likewise.
        let level = |level: &str| if level == "**" { "(?:/[^/@]*)*".into() } else { format!("/{}", glob(level, "")) };
        pattern.split('/').map(level).collect()
    };
    Regex::new(&format!("(?s)^{expression}$")).unwrap()
}

fn model_matches(pattern: &str, topic: &str) -> bool {
    let irregular = pattern.split('/').any(|level| level != "**" && level.contains("**"));
    model(pattern).is_match(&if irregular { topic.to_owned() } else { format!("/{topic}") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn patterns_of_all_kinds_agree_with_a_naive_reading(
        patterns in proptest::collection::btree_set(
            proptest::collection::vec(
                proptest::sample::select(&["a", "b", "", "*", "**", "a*", "*b", "*a*", "@c", "@*", "a**", "**b", "***", "é*"][..]), 1..6,
            ).prop_map(|levels| levels.join("/")), 1..12),
        topics in proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select(&["a", "b", "ab", "aab", "", "@c", "bb", "é", "éa"][..]), 1..7)
                .prop_map(|levels| levels.join("/")), 1..12),
        gone in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let filters: Vec<_> = patterns.iter().map(|pattern| rembus(pattern)).collect();
        let mut tree = tree(&filters);
        for round in 0..2 {
            let there = |slot: usize| round == 0 || !gone[slot];
            for topic in &topics {
                let mut found: Vec<u32> = tree.matches(topic).iter().map(slot_of).collect();
                found.sort_unstable();
                let wanted: Vec<u32> = patterns.iter().enumerate()
                    .filter(|(slot, pattern)| there(*slot) && model_matches(pattern, topic))
                    .map(|(slot, _)| slot as u32).collect();
                prop_assert_eq!(found, wanted, "{} in round {}", topic, round);
            }
            for (slot, filter) in filters.iter().enumerate().filter(|(slot, _)| round == 0 && gone[*slot]) {
                prop_assert!(tree.remove(filter, Dest::Session(key(slot as u32))));
            }
        }
        for (slot, filter) in filters.iter().enumerate().filter(|(slot, _)| !gone[*slot]) {
            prop_assert!(tree.remove(filter, Dest::Session(key(slot as u32))));
        }
        prop_assert!(tree.is_bare());
    }
}
