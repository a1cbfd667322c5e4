use super::*;
use crate::access::policy::Rule;
use crate::access::{Action, Hash};
use crate::clock::SystemClock;
use crate::disk::SystemDisk;
use crate::router::Filter;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

struct Gate {
    access: Access,
    _data: tempfile::TempDir,
}

fn gate(strict: bool) -> Gate {
    let data = tempfile::tempdir().unwrap();
    let access =
        Access::open(SystemDisk::shared(), SystemClock::shared(), data.path(), Settings { strict, ..Settings::default() })
            .unwrap();
    Gate { access, _data: data }
}

impl Gate {
    async fn with(self, rules: &[&str]) -> Self {
        for (name, password) in [("dev1", "one"), ("dev2", "two")] {
            self.add(name, Some(password), None).await;
        }
        for rule in rules {
            self.rule(rule).await;
        }
        self
    }

    async fn add(&self, name: &str, password: Option<&str>, connections_max: Option<u32>) {
        let password = password.map(|password| Hash::of(password.as_bytes()).unwrap());
        let user = Change::AddUser { name: name.into(), password, groups: BTreeSet::new(), connections_max, key: false };
        self.access.change(user).await.unwrap();
    }

    async fn rule(&self, rule: &str) {
        self.access.change(Change::AddRule(rule.parse::<Rule>().unwrap())).await.unwrap();
    }

    async fn login(&self, admits: Admits, user: &str, password: &str) -> Result<Identity, Refused> {
        self.admitted(admits, user, password).await.map(|admission| admission.identity)
    }

    async fn admitted(&self, admits: Admits, user: &str, password: &str) -> Result<Admission, Refused> {
        let credentials =
            Credentials { user: Some(user), password: Some(password.as_bytes()), client: Some("c1"), certificate: None };
        self.access.login("mqtt", admits, ADDRESS, credentials).await.map_err(|Denied(why)| why)
    }

    async fn stranger(&self, admits: Admits) -> Result<Identity, Refused> {
        let admission = self.access.login("mqtt", admits, ADDRESS, Credentials::default()).await;
        admission.map(|admission| admission.identity).map_err(|Denied(why)| why)
    }
}

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711);

fn mqtt(filter: &str) -> Filter {
    Filter::Mqtt(filter.into())
}

#[tokio::test]
async fn as_long_as_nothing_was_said_everything_is_allowed() {
    let gate = gate(false);
    let anybody = gate.login(Admits::Everybody, "whoever", "whatever").await.unwrap();
    assert!(anybody.user.is_none() && anybody.may(Action::Publish, "$SYS/x") && anybody.may_subscribe(&mqtt("#")));
}

#[tokio::test]
async fn the_first_word_counts_for_links_that_are_open_already() {
    let gate = gate(false);
    let stranger = gate.stranger(Admits::Everybody).await.unwrap();
    assert!(stranger.may(Action::Publish, "a"));

    gate.add("dev1", None, None).await;
    assert!(!stranger.may(Action::Publish, "a") && !stranger.may_receive("a"));
    gate.rule("allow @anonymous publish,subscribe a").await;
    assert!(stranger.may(Action::Publish, "a") && stranger.may_receive("a") && !stranger.may(Action::Call, "a"));
    assert!(stranger.is_valid(), "nobody was thrown out");
}

#[tokio::test]
async fn a_door_for_users_lets_nobody_in_who_is_none() {
    let gate = gate(true);
    assert_eq!(gate.stranger(Admits::Users).await.unwrap_err(), Refused::Anonymous);
    assert_eq!(gate.login(Admits::Users, "dev1", "one").await.unwrap_err(), Refused::Credentials);
    // Another door lets everybody in, but not to everything.
    assert!(!gate.stranger(Admits::Everybody).await.unwrap().may(Action::Publish, "a"));
}

#[tokio::test]
async fn a_password_opens_the_door_and_rules_say_how_far() {
    let gate =
        gate(false).with(&["allow @users publish %u/#", "allow dev1 subscribe in/%c/+", "deny dev1 all dev1/secret"]).await;
    assert_eq!(gate.login(Admits::Everybody, "dev1", "two").await.unwrap_err(), Refused::Credentials);
    assert_eq!(gate.login(Admits::Everybody, "nobody", "one").await.unwrap_err(), Refused::Credentials);

    let dev1 = gate.login(Admits::Users, "dev1", "one").await.unwrap();
    assert_eq!(dev1.user.as_deref(), Some("dev1"));
    assert!(dev1.may(Action::Publish, "dev1/t") && !dev1.may(Action::Publish, "dev2/t"));
    assert!(!dev1.may(Action::Publish, "dev1/secret"), "a rule that denies wins");
    assert!(dev1.may_subscribe(&mqtt("in/c1/+")) && !dev1.may_subscribe(&mqtt("in/+/x")));

    let renamed = dev1.named("c2");
    assert!(renamed.may_subscribe(&mqtt("in/c2/x")) && !renamed.may_subscribe(&mqtt("in/c1/x")));
}

#[tokio::test]
async fn denying_rules_are_holes_in_what_is_delivered() {
    let gate = gate(false).with(&["allow dev1 subscribe plant/#", "deny dev1 subscribe plant/secret/#"]).await;
    let dev1 = gate.login(Admits::Users, "dev1", "one").await.unwrap();
    assert!(dev1.may_subscribe(&mqtt("plant/#")) && dev1.may_receive("plant/a"));
    assert!(!dev1.may_receive("plant/secret/a") && !dev1.may_receive("other"));
    assert!(!dev1.may_subscribe(&mqtt("plant/secret/+")), "nothing of it would ever come");
    assert_eq!(gate.access.counts().withheld, 2);
}

#[tokio::test]
async fn who_is_gone_disabled_or_has_a_new_password_is_not_valid_any_more() {
    let gate = gate(false).with(&["allow @users all #"]).await;
    let mut changes = gate.access.changes();
    for change in [
        Change::DisableUser { name: "dev1".into() },
        Change::SetPassword { name: "dev2".into(), password: Hash::of(b"new").unwrap() },
    ] {
        let (name, password) = if matches!(change, Change::DisableUser { .. }) { ("dev1", "one") } else { ("dev2", "two") };
        let link = gate.login(Admits::Users, name, password).await.unwrap();
        changes.borrow_and_update();
        assert!(link.is_valid());
        gate.access.change(change).await.unwrap();
        assert!(!link.is_valid() && changes.has_changed().unwrap());
    }
    assert_eq!(gate.login(Admits::Users, "dev1", "one").await.unwrap_err(), Refused::Disabled);
    let dev2 = gate.login(Admits::Users, "dev2", "new").await.unwrap();
    gate.access.change(Change::RemoveUser { name: "dev2".into() }).await.unwrap();
    assert!(!dev2.is_valid() && !dev2.may(Action::Publish, "a"));
    assert_eq!(gate.login(Admits::Users, "dev2", "new").await.unwrap_err(), Refused::Credentials);
}

#[tokio::test]
async fn a_session_belongs_to_its_user_as_long_as_there_is_one() {
    let gate = gate(false).with(&[]).await;
    let dev1 = gate.login(Admits::Users, "dev1", "one").await.unwrap();
    let stranger = gate.stranger(Admits::Everybody).await.unwrap();
    assert!(dev1.may_take_up(Some("dev1")) && dev1.may_take_up(None));
    assert!(!dev1.may_take_up(Some("dev2")) && !stranger.may_take_up(Some("dev1")));
    assert!(dev1.may_take_up(Some("gone")));
}

#[tokio::test]
async fn a_user_has_as_many_connections_as_allowed() {
    let gate = gate(false).with(&[]).await;
    gate.access.change(Change::LimitUser { name: "dev1".into(), connections_max: Some(1) }).await.unwrap();
    let first = gate.admitted(Admits::Users, "dev1", "one").await.unwrap();
    let again = gate.admitted(Admits::Users, "dev1", "one").await.expect("the same client may come back at any time");
    let credentials = Credentials { user: Some("dev1"), password: Some(b"one"), client: Some("c2"), certificate: None };
    let other = gate.access.login("mqtt", Admits::Users, ADDRESS, credentials).await;
    assert_eq!(other.unwrap_err(), Denied(Refused::Connections));
    drop((first, again));
    gate.access.login("mqtt", Admits::Users, ADDRESS, credentials).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_as_good_as_a_password() {
    let gate = gate(false).with(&["allow dev1 publish a"]).await;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "dev1");
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let with =
        |user, password| Credentials { user, password, certificate: Some(certificate.der().as_ref()), client: Some("c") };
    let login = async |credentials| {
        gate.access.login("mqtt", Admits::Users, ADDRESS, credentials).await.map(|admission| admission.identity)
    };

    for user in [None, Some("dev1")] {
        let link = login(with(user, None)).await.unwrap();
        assert!(link.user.as_deref() == Some("dev1") && link.may(Action::Publish, "a"));
    }
    // A name beside it must be the same one; a password means what it says.
    assert_eq!(login(with(Some("dev2"), None)).await.unwrap_err(), Denied(Refused::Credentials));
    let dev2 = login(with(Some("dev2"), Some(b"two"))).await.unwrap();
    assert_eq!(dev2.user.as_deref(), Some("dev2"));
    // A new password has nothing to do with the certificate.
    let link = login(with(None, None)).await.unwrap();
    let password = Hash::of(b"new").unwrap();
    gate.access.change(Change::SetPassword { name: "dev1".into(), password }).await.unwrap();
    assert!(link.is_valid());
    gate.access.change(Change::RemoveUser { name: "dev1".into() }).await.unwrap();
    assert!(!link.is_valid());
    assert_eq!(login(with(None, None)).await.unwrap_err(), Denied(Refused::Certificate));
}

#[tokio::test]
async fn guessing_becomes_slow_and_those_who_are_known_do_not_notice() {
    let gate = gate(false).with(&[]).await;
    gate.login(Admits::Users, "dev1", "one").await.unwrap();
    for _ in 0..2 {
        gate.login(Admits::Users, "dev1", "guess").await.unwrap_err();
    }
    let begin = Instant::now();
    let guesses: [_; 8] = std::array::from_fn(|_| gate.login(Admits::Users, "dev2", "guess"));
    let guesses = futures_util::future::join_all(guesses);
    let known = async {
        gate.login(Admits::Users, "dev1", "one").await.unwrap();
        begin.elapsed()
    };
    let (outcomes, known_took) = tokio::join!(guesses, known);
    let turned_away = outcomes.iter().filter(|outcome| matches!(outcome, Err(Refused::Throttled))).count();
    assert_eq!(turned_away, 4, "four at a time are looked at");
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(known_took < Duration::from_millis(500), "{known_took:?}");
    assert_eq!(gate.access.counts().refused["throttled"], 4);
}

#[tokio::test]
async fn what_was_said_is_there_after_a_restart_and_after_a_reload() {
    let gate = gate(false).with(&["allow dev1 publish a"]).await;
    let data = gate.access.books.data.clone();
    let open = || Access::open(SystemDisk::shared(), SystemClock::shared(), &data, Settings::default()).unwrap();
    let next = open();
    assert_eq!(next.policy().0, gate.access.policy().0);

    next.change(Change::AddRule("allow dev1 publish b".parse().unwrap())).await.unwrap();
    let dev1 = gate.login(Admits::Users, "dev1", "one").await.unwrap();
    assert!(!dev1.may(Action::Publish, "b"));
    gate.access.reload().unwrap();
    assert!(dev1.may(Action::Publish, "b"));
}

#[tokio::test]
async fn a_damaged_policy_lets_nobody_in_and_is_not_written_over() {
    let gate = gate(false).with(&["allow dev1 publish a"]).await;
    let file = gate.access.books.data.join("state/access.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();

    assert!(gate.access.reload().is_err());
    assert!(gate.login(Admits::Users, "dev1", "one").await.is_ok(), "the policy in force stays");

    let data = gate.access.books.data.clone();
    let next = Access::open(SystemDisk::shared(), SystemClock::shared(), &data, Settings::default()).unwrap();
    assert!(next.damage().is_some());
    let stranger = next.login("mqtt", Admits::Everybody, ADDRESS, Credentials::default()).await.unwrap().identity;
    assert!(!stranger.may(Action::Publish, "a"));
    let error = next.change(Change::AddGroup { name: "g".into() }).await.unwrap_err();
    assert!(matches!(error, ChangeError::Damaged(_)));
    assert_eq!(std::fs::read(&file).unwrap(), &whole[..whole.len() / 2]);

    std::fs::write(&file, &whole).unwrap();
    next.reload().unwrap();
    assert!(next.damage().is_none());
    next.change(Change::AddGroup { name: "g".into() }).await.unwrap();
}

#[tokio::test]
async fn many_rules_are_answered_as_few_are() {
    let gate = gate(false).with(&[]).await;
    for number in 0..40 {
        gate.rule(&format!("allow dev1 publish t/{number}")).await;
    }
    let dev1 = gate.login(Admits::Users, "dev1", "one").await.unwrap();
    for _ in 0..3 {
        for number in 0..200 {
            assert_eq!(dev1.may(Action::Publish, &format!("t/{number}")), number < 40);
        }
    }
    gate.rule("deny dev1 publish t/7").await;
    assert!(!dev1.may(Action::Publish, "t/7"), "what is remembered ends with the policy");
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let gate = gate(false).with(&[]).await;
    let dev1 = gate.login(Admits::Users, "dev1", "one").await.unwrap();
    let shown = format!("{:?} {dev1:?}", gate.access);
    assert!(!shown.contains("argon2id") && !shown.contains("\"one\""), "{shown}");
}

#[tokio::test]
async fn an_honest_first_login_waits_for_one_hash_while_hundreds_of_wrong_ones_come_from_another_address() {
    let gate = gate(false).with(&[]).await;
    let elsewhere = SocketAddr::from(([192, 0, 2, 66], 4711));
    let credentials = |password| Credentials { user: Some("dev1"), password: Some(password), client: None, certificate: None };
    let guess = async || gate.access.login("mqtt", Admits::Users, elsewhere, credentials(b"guess")).await.unwrap_err().0;
    // Nobody has failed there yet, so all of them stand in line before the honest one comes.
    let guesses = futures_util::future::join_all((0..300).map(|_| guess()));
    let honest = async {
        tokio::task::yield_now().await;
        let begin = Instant::now();
        gate.access.login("mqtt", Admits::Users, ADDRESS, credentials(b"one")).await.unwrap();
        begin.elapsed()
    };
    let begin = Instant::now();
    let (outcomes, took) = tokio::join!(guesses, honest);
    let hashed = outcomes.iter().filter(|why| **why == Refused::Credentials).count();
    assert!(hashed <= 8, "{hashed} passwords of one address were hashed; four at a time are looked at");
    assert!(took <= begin.elapsed() / 2 || took < Duration::from_secs(2), "{took:?} of {:?}", begin.elapsed());
}
