use super::*;
use proptest::prelude::*;

fn add_user(name: &str) -> Change {
    Change::AddUser { name: name.into(), password: None, groups: BTreeSet::new(), connections_max: None, key: false }
}

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

fn policy(changes: impl IntoIterator<Item = Change>) -> Policy {
    let mut policy = Policy::default();
    changes.into_iter().for_each(|change| policy.apply(change).unwrap());
    policy
}

#[test]
fn a_rule_reads_as_it_is_written() {
    for text in ["allow dev1 publish a/b", "deny @sensors publish,subscribe plant/+/secret/#", "allow @users all %u/#"] {
        assert_eq!(rule(text).to_string(), text);
    }
    assert_eq!(rule("allow x call with space/y").pattern.as_str(), "with space/y");
    for (text, error) in [
        ("", "four words"),
        ("allow x publish", "four words"),
        ("permit x publish a", "not `permit`"),
        ("allow x publsh a", "`publsh` is no action"),
        ("allow x publish a/**", "`*` is no wildcard"),
    ] {
        let said = text.parse::<Rule>().unwrap_err().to_string();
        assert!(said.contains(error), "{said}");
    }
}

#[test]
fn rules_are_about_a_user_his_groups_and_everybody_like_him() {
    let policy = policy([
        add_user("dev1"),
        add_user("dev2"),
        Change::AddGroup { name: "sensors".into() },
        Change::Join { group: "sensors".into(), name: "dev1".into() },
        Change::AddRule(rule("allow dev1 publish own")),
        Change::AddRule(rule("allow @sensors publish group")),
        Change::AddRule(rule("allow @users publish users")),
        Change::AddRule(rule("allow @anonymous publish anonymous")),
    ]);
    let about = |user| policy.rules_for(user, false).map(|rule| rule.pattern.as_str()).collect::<Vec<_>>();
    assert_eq!(about(Some("dev1")), ["own", "group", "users"]);
    assert_eq!(about(Some("dev2")), ["users"]);
    assert_eq!(about(None), ["anonymous"]);
}

#[test]
fn who_leaves_takes_his_rules_along() {
    let mut policy = policy([
        add_user("dev1"),
        Change::AddGroup { name: "sensors".into() },
        Change::Join { group: "sensors".into(), name: "dev1".into() },
        Change::AddRule(rule("allow dev1 publish a")),
        Change::AddRule(rule("allow @sensors publish b")),
    ]);
    policy.apply(Change::RemoveGroup { name: "sensors".into() }).unwrap();
    assert!(policy.users["dev1"].groups.is_empty());
    assert_eq!(policy.rules, [rule("allow dev1 publish a")]);

    policy.apply(Change::RemoveUser { name: "dev1".into() }).unwrap();
    policy.apply(add_user("dev1")).unwrap();
    assert!(policy.rules.is_empty(), "a later user of this name finds nothing");
}

#[test]
fn a_change_that_makes_no_sense_changes_nothing_and_says_why() {
    let before = policy([add_user("dev1"), Change::AddGroup { name: "g".into() }, Change::AddRule(rule("allow dev1 call a"))]);
    let name = || "nobody".to_owned();
    for (change, why) in [
        (add_user("dev1"), "`dev1` is there already"),
        (add_user(""), "it is empty"),
        (add_user("@x"), "`@` begins a group"),
        (add_user("a\nb"), "control characters"),
        (add_user(&"x".repeat(257)), "longer than 256"),
        (Change::RemoveUser { name: name() }, "no user `nobody`"),
        (Change::DisableUser { name: name() }, "no user `nobody`"),
        (Change::Join { group: "g".into(), name: name() }, "no user `nobody`"),
        (Change::Join { group: "h".into(), name: "dev1".into() }, "no group `h`"),
        (Change::Join { group: "users".into(), name: "dev1".into() }, "has no list of members"),
        (Change::AddGroup { name: "anonymous".into() }, "is there already"),
        (Change::AddRule(rule("allow nobody publish a")), "no user `nobody`"),
        (Change::AddRule(rule("allow @h publish a")), "no group `h`"),
        (Change::RemoveRule(rule("allow dev1 call b")), "no such rule: allow dev1 call b"),
    ] {
        let mut after = before.clone();
        let error = after.apply(change).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(after, before);
    }
}

#[test]
fn the_number_of_rules_is_bounded() {
    let mut policy = policy([add_user("dev1")]);
    for number in 0..RULES_EACH_MAX {
        policy.apply(Change::AddRule(rule(&format!("allow dev1 publish t/{number}")))).unwrap();
    }
    policy.apply(Change::AddRule(rule("allow dev1 publish t/0"))).expect("it is there already");
    let error = policy.apply(Change::AddRule(rule("allow dev1 publish one/more"))).unwrap_err();
    assert_eq!(error, PolicyError::Full { what: "rules about one user or group", max: RULES_EACH_MAX });
}

proptest! {
    #[test]
    fn any_rule_survives_being_written(text: String) {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(&rule.to_string().parse::<Rule>().unwrap(), &rule);
            let json = serde_json::to_string(&rule).unwrap();
            prop_assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
        }
    }

    #[test]
    fn near_rules_survive_as_well(effect in "allow|deny|x", who in "@?[a-z ]{0,3}", actions in "(all|publish|call)(,expose|,x)?", pattern in "[a+#%uc/*]{0,6}") {
        if let Ok(rule) = format!("{effect} {who} {actions} {pattern}").parse::<Rule>() {
            prop_assert_eq!(&rule.to_string().parse::<Rule>().unwrap(), &rule);
        }
    }

    #[test]
    fn no_file_makes_the_reader_panic(text: String) {
        drop(serde_json::from_str::<Policy>(&text));
    }
}
