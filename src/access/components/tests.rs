use super::*;
use crate::access::policy::Change;
use crate::access::{Action, Identity, Settings};
use crate::clock::SystemClock;
use crate::disk::SystemDisk;
use crate::router::Filter;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711);
const PIN: &str = "11223344";

struct Gate {
    access: Access,
    data: tempfile::TempDir,
}

/// What a component has at home.
struct Pair(EcdsaKeyPair);

impl Pair {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap())
    }

    /// SubjectPublicKeyInfo.
    fn public(&self) -> Bytes {
        const HEAD: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
            0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        [&HEAD, self.0.public_key().as_ref()].concat().into()
    }

    fn answer(&self, challenge: &Challenge, cid: &str) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), &challenge.signed(cid)).unwrap().as_ref().to_vec()
    }
}

fn gate(strict: bool) -> Gate {
    gate_in(tempfile::tempdir().unwrap(), strict)
}

fn gate_in(data: tempfile::TempDir, strict: bool) -> Gate {
    let tenants = [(".", PIN), ("acme", "55667788")].map(|(name, pin)| (name.to_owned(), pin.to_owned())).into();
    let settings = Settings { strict, admins: ["root".to_owned()].into(), tenants, ..Settings::default() };
    let access = Access::open(SystemDisk::shared(), SystemClock::shared(), data.path(), settings).unwrap();
    Gate { access, data }
}

impl Gate {
    async fn register(&self, cid: &str, pin: &str, key: &Pair) -> Result<(), String> {
        let wanted = Registration { cid: cid.into(), pin: pin.into(), key: key.public(), key_type: 2 };
        self.access.register(ADDRESS, wanted).await.map_err(|error| error.to_string())
    }

    async fn attest(&self, cid: &str, key: &Pair) -> Result<Identity, Refused> {
        let challenge = Challenge::new().unwrap();
        let answer = key.answer(&challenge, cid);
        let admission = self.access.attest(ADDRESS, cid, challenge, &answer).await;
        admission.map(|admission| admission.identity).map_err(|Denied(why)| why)
    }

    async fn change(&self, change: Change) {
        self.access.change(change).await.unwrap();
    }

    async fn rule(&self, rule: &str) {
        self.change(Change::AddRule(rule.parse().unwrap())).await;
    }

    /// A component that calls itself this, and proves nothing.
    fn nameless(&self, cid: &str) -> Identity {
        self.access.newcomer().identity.named(cid)
    }

    fn next_life(self) -> Self {
        gate_in(self.data, false)
    }
}

#[tokio::test]
async fn a_registered_component_is_let_in_with_its_key_also_after_a_restart() {
    let (gate, key) = (gate(false), Pair::new());
    assert_eq!(gate.access.standing("gw1"), Standing::Free);
    gate.register("gw1", PIN, &key).await.unwrap();
    for gate in [gate] {
        assert_eq!(gate.attest("gw1", &key).await.unwrap().user.as_deref(), Some("gw1"));
        let gate = gate.next_life();
        assert_eq!(gate.access.standing("gw1"), Standing::Keyed);
        assert!(gate.attest("gw1", &key).await.is_ok());
        assert_eq!(gate.attest("gw1", &Pair::new()).await.unwrap_err(), Refused::Attestation);
        assert_eq!(gate.attest("gw2", &key).await.unwrap_err(), Refused::Attestation);
    }
}

#[tokio::test]
async fn registration_is_refused_in_the_words_of_the_reference() {
    let (gate, key) = (gate(false), Pair::new());
    gate.register("gw1", PIN, &key).await.unwrap();
    for (cid, pin, words) in [
        ("n.rival", PIN, "tenant [rival] not enabled"),
        ("n.acme", PIN, "wrong tenant/pin"),
        ("gw1", PIN, "[gw1] not available"),
        ("../gw1", PIN, "tenant [./gw1] not enabled"),
        ("a/b", PIN, "a name with a key has only letters, digits and . _ - @ + : = ~, and does not begin with a dot"),
    ] {
        assert_eq!(gate.register(cid, pin, &key).await.unwrap_err(), words, "{cid}");
    }
    gate.register("n.acme", "55667788", &key).await.unwrap();
    for (key, key_type, words) in [
        (key.public(), 1, "the key is ECDSA, not RSA"),
        (key.public(), 3, "key type 3 is unknown: 1 is RSA, 2 is ECDSA"),
        (Bytes::from_static(b"nonsense"), 1, "it is not a public key in PEM or DER"),
    ] {
        let wanted = Registration { cid: "gw2".into(), pin: PIN.into(), key, key_type };
        assert_eq!(gate.access.register(ADDRESS, wanted).await.unwrap_err().to_string(), words);
    }
    assert_eq!(gate.access.counts().keys, 2);
}

#[tokio::test(start_paused = true)]
async fn wrong_pins_and_wrong_signatures_are_told_ever_later_and_right_ones_at_once() {
    let (gate, key) = (gate(false), Pair::new());
    gate.register("gw1", PIN, &key).await.unwrap();
    for delay in [250, 500, 1000, 2000, 4000, 4000] {
        let begin = Instant::now();
        if delay == 500 {
            assert_eq!(gate.register("gw2", "00000000", &key).await.unwrap_err(), "wrong tenant/pin");
        } else {
            assert_eq!(gate.attest("gw1", &Pair::new()).await.unwrap_err(), Refused::Attestation);
        }
        assert!(begin.elapsed() >= Duration::from_millis(delay), "{delay}");
    }
    let begin = Instant::now();
    gate.attest("gw1", &key).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(100));
    let counts = gate.access.counts();
    assert_eq!((counts.refused["attestation"], counts.refused["pin"]), (5, 1));
}

#[tokio::test]
async fn a_users_name_is_not_for_whoever_knows_the_pin() {
    let (gate, key) = (gate(false), Pair::new());
    let add = |name: &str, key| Change::AddUser {
        name: name.into(),
        password: None,
        groups: BTreeSet::new(),
        connections_max: Some(1),
        key,
    };
    gate.change(add("monitor", false)).await;
    assert_eq!(gate.register("monitor", PIN, &key).await.unwrap_err(), "[monitor] not available");
    // Unless he was added to come with a key; then his limit counts, and he can be disabled.
    gate.change(add("gw1", true)).await;
    gate.register("gw1", PIN, &key).await.unwrap();
    let challenge = || Challenge::new().unwrap();
    let first = challenge();
    let answer = key.answer(&first, "gw1");
    let _seated = gate.access.attest(ADDRESS, "gw1", first, &answer).await.unwrap();
    gate.change(Change::DisableUser { name: "gw1".into() }).await;
    assert!(!_seated.identity.is_valid());
    assert_eq!(gate.attest("gw1", &key).await.unwrap_err(), Refused::Disabled);
}

#[tokio::test]
async fn a_component_with_a_key_is_a_user_of_its_name_to_the_rules() {
    let (gate, key) = (gate(true), Pair::new());
    gate.register("gw1", PIN, &key).await.unwrap();
    gate.rule("allow @users publish %u/#").await;
    gate.rule("allow @anonymous publish public").await;
    let gw1 = gate.attest("gw1", &key).await.unwrap();
    assert!(gw1.may(Action::Publish, "gw1/t") && !gw1.may(Action::Publish, "gw2/t") && !gw1.may(Action::Publish, "public"));
    // A name alone is nobody.
    let nameless = gate.nameless("gw2");
    assert!(!nameless.may(Action::Publish, "gw2/t") && nameless.may(Action::Publish, "public"));
    // What it left behind is still a user's.
    let restored = crate::access::Identify::identity_of(&gate.access, crate::message::Dialect::Rembus, Some("gw1"), "gw1");
    assert!(restored.may(Action::Publish, "gw1/t"));
    assert!(!nameless.may_take_up(Some("gw1")) && gw1.may_take_up(Some("gw1")));
}

#[tokio::test]
async fn private_topics_are_for_those_they_are_granted_to_and_everything_else_stays_open() {
    let gate = gate(false);
    let (alice, mallory) = (gate.nameless("alice"), gate.nameless("mallory"));
    gate.change(Change::PrivateTopic { topic: "secret".into() }).await;
    assert!(!alice.may(Action::Publish, "secret") && mallory.may(Action::Publish, "open"));
    gate.change(Change::Authorize { topic: "secret".into(), name: "alice".into() }).await;
    for action in Action::ALL {
        assert!(alice.may(action, "secret") && !mallory.may(action, "secret"), "{action:?}");
    }
    // Under a pattern it is a hole.
    let (literal, pattern) = (Filter::Rembus("secret".into()), Filter::Rembus("**".into()));
    assert!(!mallory.may_subscribe(&literal) && mallory.may_subscribe(&pattern) && !mallory.may_receive("secret"));
    assert!(alice.may_subscribe(&literal) && alice.may_receive("secret"));
    // A client id of another world is nobody's name.
    let mqtt = gate.access.login(
        "mqtt",
        crate::access::Admits::Everybody,
        ADDRESS,
        crate::access::Credentials { client: Some("alice"), ..Default::default() },
    );
    assert!(!mqtt.await.unwrap().identity.may(Action::Publish, "secret"));

    let gate = gate.next_life();
    let (alice, mallory) = (gate.nameless("alice"), gate.nameless("mallory"));
    assert!(alice.may_receive("secret") && !mallory.may_receive("secret"));
    gate.change(Change::Unauthorize { topic: "secret".into(), name: "alice".into() }).await;
    assert!(!alice.may_receive("secret"));
    gate.change(Change::PublicTopic { topic: "secret".into() }).await;
    assert!(mallory.may_receive("secret") && gate.access.policy().0.is_empty());
}

#[tokio::test]
async fn who_unregisters_stays_and_who_is_removed_goes() {
    let (gate, key) = (gate(false), Pair::new());
    gate.register("gw1", PIN, &key).await.unwrap();
    let gw1 = gate.attest("gw1", &key).await.unwrap();
    gate.access.unregister("gw1").await.unwrap();
    assert!(gw1.is_valid());
    assert_eq!(gate.access.standing("gw1"), Standing::Free);
    assert_eq!(gate.access.unregister("gw1").await.unwrap_err().to_string(), "there is no key for `gw1`");
    // The name belongs to whoever registers it next, and to nobody beside him.
    let squatter = gate.nameless("gw1");
    assert!(squatter.is_valid());
    gate.register("gw1", PIN, &key).await.unwrap();
    assert!(!gw1.is_valid() && !squatter.is_valid());
    let gw1 = gate.attest("gw1", &key).await.unwrap();
    gate.access.revoke_key("gw1").await.unwrap();
    assert!(!gw1.is_valid());
}

#[tokio::test]
async fn keys_that_are_copied_over_count_after_a_reload() {
    let (gate, key) = (gate(false), Pair::new());
    gate.register("gw1", PIN, &key).await.unwrap();
    let gw1 = gate.attest("gw1", &key).await.unwrap();
    let folder = gate.data.path().join(keys::DIR);
    std::fs::write(folder.join("gw2.ecdsa.der"), key.public()).unwrap();
    gate.access.reload().unwrap();
    assert!(gate.attest("gw2", &key).await.is_ok() && gw1.is_valid());
    std::fs::remove_file(folder.join("gw1.ecdsa.der")).unwrap();
    gate.access.reload().unwrap();
    assert!(!gw1.is_valid());
    assert_eq!(gate.access.standing("gw1"), Standing::Free);
}

#[tokio::test]
async fn a_tenant_that_was_added_by_command_has_its_pin_as_a_hash() {
    let (gate, key) = (gate(false), Pair::new());
    gate.change(Change::SetTenant { name: "rival".into(), pin: crate::access::Hash::of(b"rivals-pin").unwrap() }).await;
    let gate = gate.next_life();
    assert_eq!(gate.register("n.rival", "wrong", &key).await.unwrap_err(), "wrong tenant/pin");
    gate.register("n.rival", "rivals-pin", &key).await.unwrap();
    let file = std::fs::read_to_string(gate.data.path().join("state/access.json")).unwrap();
    assert!(file.contains("argon2id") && !file.contains("rivals-pin"), "{file}");
}

#[tokio::test]
async fn admins_are_named_by_the_configuration_and_by_command() {
    let gate = gate(false);
    gate.change(Change::AddAdmin { name: "ops".into() }).await;
    let gate = gate.next_life();
    assert!(gate.access.is_admin("root") && gate.access.is_admin("ops") && !gate.access.is_admin("alice"));
    gate.change(Change::RemoveAdmin { name: "ops".into() }).await;
    assert!(!gate.access.is_admin("ops") && gate.access.is_admin("root"));
}
