use super::*;
use proptest::prelude::*;

fn levels(pattern: &str, user: &str) -> Option<Arc<Levels>> {
    Pattern::parse(pattern).unwrap().resolve(Effect::Allow, Who { user: Some(user), client: Some("c1") })
}

fn allows(pattern: &str, user: &str, topic: &str) -> bool {
    levels(pattern, user).is_some_and(|levels| levels.matches(Effect::Allow, topic))
}

fn covers(pattern: &str, filter: Filter) -> bool {
    levels(pattern, "u").is_some_and(|levels| levels.covers(Effect::Allow, &filter))
}

fn mqtt(filter: &str) -> Filter {
    Filter::Mqtt(filter.into())
}

fn rembus(pattern: &str) -> Filter {
    Filter::Rembus(pattern.into())
}

#[test]
fn patterns_are_mqtt_filters() {
    assert!(allows("plant/+/temperature", "u", "plant/7/temperature") && allows("plant/+", "u", "plant/"));
    assert!(!allows("plant/+/temperature", "u", "plant/7/8/temperature") && !allows("plant/+", "u", "plant"));
    assert!(allows("plant/#", "u", "plant") && allows("plant/#", "u", "plant/a/b") && !allows("plant/#", "u", "plants"));
    assert!(allows("query_telemetry", "u", "query_telemetry"));
}

#[test]
fn a_text_that_is_no_pattern_is_refused_with_the_reason() {
    for (text, error) in [
        ("", PatternError::Empty),
        ("a/#/b", PatternError::Wildcard),
        ("a+", PatternError::Wildcard),
        ("a/b#", PatternError::Wildcard),
        ("**/x", PatternError::Star),
        ("%x/a", PatternError::Placeholder),
        ("50%", PatternError::Placeholder),
        ("a\nb", PatternError::Control),
    ] {
        assert_eq!(Pattern::parse(text), Err(error), "{text}");
    }
    assert_eq!(Pattern::parse(&"x".repeat(PATTERN_MAX + 1)), Err(PatternError::TooLong));
    assert_eq!(Pattern::parse(&"/".repeat(128)), Err(PatternError::TooDeep));
    assert!(Pattern::stored(&"/".repeat(128)).is_ok(), "a rule of an earlier release is kept");
}

#[test]
fn placeholders_stand_for_the_user_and_the_client() {
    assert!(allows("%u/#", "dev1", "dev1/t") && !allows("%u/#", "dev1", "dev2/t"));
    assert!(allows("in/dev-%u-%c/x", "a", "in/dev-a-c1/x") && !allows("in/dev-%u-%c/x", "a", "in/dev-b-c1/x"));
}

#[test]
fn a_name_with_syntax_in_it_does_not_widen_a_rule() {
    for name in ["+", "#", "a/b", "a/#", "/", "+/x", "*", "**", "", "%u"] {
        for topic in ["home", "a", "a/b", "a/b/c", "a/x", "x/y", "", "/", "+", "#", "*", "a/+/c"] {
            assert!(!allows("%u", name, topic), "{name} {topic}");
            assert!(!allows("%u/#", name, topic), "{name} {topic}");
            assert!(!allows("a/%u/c", name, topic), "{name} {topic}");
        }
        for filter in ["#", "+", "a/#", "a/+", "+/+"] {
            assert!(!covers("%u/#", mqtt(filter)) || filter == "u/#", "{name} {filter}");
        }
    }
    // It is text, not a placeholder of its own.
    assert!(allows("%u", "%c", "%c") && !allows("%u", "%c", "c1"));
}

#[test]
fn a_name_does_not_reach_into_the_system_topics() {
    assert!(!allows("%u/#", "$SYS", "$SYS/broker/load"));
    assert!(allows("$SYS/%u", "$x", "$SYS/$x"), "further down a dollar is a letter");
    assert!(!allows("#", "u", "$SYS/broker/load") && !allows("+/broker/load", "u", "$SYS/broker/load"));
    assert!(allows("$SYS/#", "u", "$SYS/broker/load") && covers("$SYS/#", mqtt("$SYS/broker/+")));
    assert!(!covers("#", mqtt("$SYS/#")));
}

#[test]
fn what_a_rule_denies_stays_denied_when_a_name_cannot_be_filled_in() {
    let deny = |pattern: &str, user: Option<&str>, topic: &str| {
        let levels = Pattern::parse(pattern).unwrap().resolve(Effect::Deny, Who { user, client: None }).unwrap();
        levels.matches(Effect::Deny, topic)
    };
    assert!(deny("secret/%u/x", Some("a/b"), "secret/a/b/x") && deny("secret/%u", None, "secret/anything"));
    assert!(deny("secret/%c/x", Some("a"), "secret/y/z") && !deny("secret/%c", Some("a"), "public"));
    assert!(deny("#", Some("a"), "$SYS/broker/load"), "a wildcard that denies leaves nothing out");
}

#[test]
fn a_subscription_is_covered_when_everything_it_can_match_is() {
    for (pattern, filter) in [
        ("#", mqtt("#")),
        ("+/#", mqtt("#")),
        ("a/#", mqtt("a/#")),
        ("a/#", mqtt("a/+/c")),
        ("a/+", mqtt("a/b")),
        ("a/+", mqtt("a/+")),
        ("a/#", mqtt("$share/group/a/b")),
        ("#", rembus("**/telemetry")),
        ("a/#", rembus("a/**/b*")),
        ("a/+/#", rembus("a/**/x")),
        ("a/+", rembus("a/b*")),
        ("a/#", rembus("a/b**")),
        ("a/+", rembus("a/+")),
    ] {
        assert!(covers(pattern, filter.clone()), "{pattern} {filter:?}");
    }
    for (pattern, filter) in [
        ("a/+", mqtt("a/#")),
        ("a/+", mqtt("#")),
        ("a/b", mqtt("a/+")),
        ("+", mqtt("a/b")),
        ("a/+/#", mqtt("a/#")),
        ("a/#", mqtt("$share/group/#")),
        ("a/#", mqtt("$share/a/b")),
        ("+/telemetry", rembus("**/telemetry")),
        ("a/+", rembus("a/b**")),
        ("a/b", rembus("a/*")),
        ("a/+", rembus("**")),
    ] {
        assert!(!covers(pattern, filter.clone()), "{pattern} {filter:?}");
    }
}

#[test]
fn a_hostile_filter_is_compared_in_no_time() {
    let filter = rembus(&"**/a/".repeat(10_000));
    assert!(covers("#", filter.clone()) && !covers("a/+/+/+/+/#", filter));
    let merged = rembus(&format!("a/{}b", "**/".repeat(6_000)));
    assert!(covers("#", merged.clone()) && !covers("a/#", merged), "levels count, not what is left of them");
}

/// Words over a tiny alphabet, so that random patterns and filters meet.
fn level() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just(String::new()), Just("$x".to_owned())]
}

fn pattern() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![level(), Just("+".to_owned())], 0..4);
    (levels, any::<bool>())
        .prop_map(|(mut levels, rest)| {
            if rest || levels.is_empty() {
                levels.push("#".into());
            }
            levels.join("/")
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

fn rembus_pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![level(), Just("*".into()), Just("**".into()), Just("a*".into()), Just("a**".into())];
    prop::collection::vec(part, 1..4).prop_map(|levels| levels.join("/"))
}

/// Every topic of up to five levels of the alphabet. The empty topic is none, but as one empty level it is what `/#` begins with.
fn topics() -> Vec<String> {
    let mut all: Vec<Vec<&str>> = vec![Vec::new()];
    let mut topics = Vec::new();
    for _ in 0..5 {
        all = all.iter().flat_map(|levels| ["a", "b", "", "ab", "$x"].map(|level| [&levels[..], &[level]].concat())).collect();
        topics.extend(all.iter().map(|levels| levels.join("/")));
    }
    topics
}

/// Matching as the specification tells it, on one filter and one topic.
fn naive(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => naive(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && naive(filter, topic),
        _ => false,
    }
}

fn naive_matches(filter: &str, topic: &str) -> bool {
    let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    !hidden && naive(&filter, &topic)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_parsed_or_refused(text: String, user: String, topic: String) {
        if let Ok(pattern) = Pattern::parse(&text)
            && let Some(levels) = pattern.resolve(Effect::Allow, Who { user: Some(&user), client: Some(&topic) })
        {
            std::hint::black_box((
                levels.matches(Effect::Allow, &topic),
                levels.covers(Effect::Allow, &Filter::Mqtt(topic.clone())),
                levels.covers(Effect::Deny, &Filter::Rembus(topic)),
            ));
        }
    }

    #[test]
    fn matching_agrees_with_the_naive_model(text in pattern()) {
        let levels = levels(&text, "u").unwrap();
        for topic in topics() {
            prop_assert_eq!(levels.matches(Effect::Allow, &topic), naive_matches(&text, &topic), "{} {}", text, topic);
        }
    }

    #[test]
    fn covering_an_mqtt_filter_agrees_with_the_naive_model(text in pattern(), filter in pattern()) {
        let covered = levels(&text, "u").unwrap().covers(Effect::Allow, &mqtt(&filter));
        let all = topics().iter().filter(|topic| naive_matches(&filter, topic)).all(|topic| naive_matches(&text, topic));
        prop_assert_eq!(covered, all, "{} covers {}", text, filter);
    }

    #[test]
    fn what_covers_a_rembus_pattern_matches_whatever_it_matches(text in pattern(), wanted in rembus_pattern()) {
        if levels(&text, "u").unwrap().covers(Effect::Allow, &rembus(&wanted)) {
            for topic in topics().iter().filter(|topic| !topic.starts_with('$') || wanted.starts_with('$')) {
                prop_assert!(
                    !crate::router::stand_in::matches(&rembus(&wanted), topic) || naive_matches(&text, topic),
                    "{} covers {} but not {}", text, wanted, topic
                );
            }
        }
    }
}
