use super::*;
use crate::disk::SystemDisk;
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/rembus.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn pem_of(scheme: &str) -> Vec<u8> {
    let key = vectors().into_iter().find(|vector| vector["kind"] == "key" && vector["scheme"] == scheme).unwrap();
    key["public_spki_pem"].as_str().unwrap().as_bytes().to_vec()
}

#[test]
fn keys_of_the_reference_are_read_in_every_spelling() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector["kind"] == "key") {
        count += 1;
        let spki = PublicKey::parse(vector["public_spki_pem"].as_str().unwrap().as_bytes()).unwrap();
        let algorithm = credential::Algorithm::of_type(vector["key_type"].as_u64().unwrap()).unwrap();
        assert_eq!(spki.algorithm, algorithm);
        assert_eq!(spki.algorithm.name(), vector["scheme"].as_str().unwrap());
        for (member, value) in vector.as_object().unwrap() {
            let value = value.as_str().unwrap_or_default();
            let key = match member.as_str() {
                name if name.starts_with("public_") && name.ends_with("_pem") => PublicKey::parse(value.as_bytes()),
                name if name.starts_with("public_") && name.ends_with("_der_hex") => PublicKey::parse(&unhex(value)),
                "private_pem" => {
                    assert!(matches!(PublicKey::parse(value.as_bytes()), Err(KeyError::Label(_))), "{member}");
                    continue;
                }
                _ => continue,
            };
            assert_eq!(key.as_ref(), Ok(&spki), "{member}");
        }
    }
    assert_eq!(count, 2);
}

#[test]
fn signatures_of_the_reference_count_and_others_do_not() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector["kind"] == "attestation") {
        count += 1;
        let (name, text) = (vector["name"].as_str().unwrap(), |member: &str| vector[member].as_str());
        let credential = match (text("scheme").unwrap(), text("secret")) {
            (_, Some(secret)) => Credential::secret(secret.as_bytes()).unwrap(),
            ("rsa", _) => Credential::Key(PublicKey::parse(&pem_of("RSA")).unwrap()),
            _ => Credential::Key(PublicKey::parse(&pem_of("ECDSA")).unwrap()),
        };
        let (challenge, cid) = (Challenge::of(&unhex(text("challenge_hex").unwrap())), text("cid").unwrap());
        if let Some(signed) = text("signed_bytes_hex") {
            assert_eq!(challenge.signed(text("secret").unwrap_or(cid)), unhex(signed), "{name}");
        }
        let signature = unhex(text("signature_hex").unwrap());
        let valid = vector["valid"].as_bool().unwrap();
        assert_eq!(challenge.is_answered(&credential, cid, &signature), valid, "{name}");
        // The answer to one challenge is none to another.
        let other = Challenge::new().unwrap();
        assert!(!other.is_answered(&credential, cid, &signature), "{name}");
        if text("secret").is_none() {
            assert!(!challenge.is_answered(&credential, "somebody", &signature), "{name}");
        }
    }
    assert_eq!(count, 8);
}

#[test]
fn a_challenge_is_32_bytes_and_never_the_same() {
    let (one, other) = (Challenge::new().unwrap(), Challenge::new().unwrap());
    assert_eq!((one.bytes().len(), one.bytes() == other.bytes()), (32, false));
    assert_eq!(one.signed("x")[..3], [0x82, 0x58, 0x20]);
}

/// An RSA public key (PKCS#1) with this modulus and exponent.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let wrapped = |tag: u8, body: &[u8]| {
        let length = match body.len() {
            short @ ..128 => vec![u8::try_from(short).unwrap()],
            middle @ 128..256 => vec![0x81, u8::try_from(middle).unwrap()],
            long => [&[0x82], &u16::try_from(long).unwrap().to_be_bytes()[..]].concat(),
        };
        [&[tag], &length[..], body].concat()
    };
    wrapped(0x30, &[wrapped(2, modulus), wrapped(2, exponent)].concat())
}

#[test]
fn weak_and_broken_keys_are_refused_with_the_reason() {
    let modulus = |bits: usize| {
        let mut bytes = vec![0xff; bits / 8];
        bytes.insert(0, 0);
        bytes
    };
    let f4 = [1, 0, 1];
    assert_eq!(PublicKey::parse(&rsa(&modulus(2048), &f4)).unwrap().bits, 2048);
    assert_eq!(PublicKey::parse(&rsa(&modulus(1024), &f4)), Err(KeyError::RsaBits(1024)));
    assert_eq!(PublicKey::parse(&rsa(&modulus(16384), &f4)), Err(KeyError::RsaBits(16384)));
    for exponent in [&[1][..], &[1, 0, 0], &[0x7f; 8]] {
        assert_eq!(PublicKey::parse(&rsa(&modulus(2048), exponent)), Err(KeyError::RsaExponent));
    }
    let spki = vectors().into_iter().find(|vector| vector["name"] == "keys/ecdsa-p256").unwrap();
    let mut der = unhex(spki["public_spki_der_hex"].as_str().unwrap());
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(PublicKey::parse(&der), Err(KeyError::Curve), "not on the curve");
    // secp384r1 by its name.
    let p384 = unhex("3076301006072a8648ce3d020106052b81040022036200").into_iter().chain([4; 97]).collect::<Vec<_>>();
    assert_eq!(PublicKey::parse(&p384), Err(KeyError::Curve));
    // Ed25519.
    let ed = unhex("302a300506032b6570032100").into_iter().chain([7; 32]).collect::<Vec<_>>();
    assert_eq!(PublicKey::parse(&ed), Err(KeyError::Algorithm));
    for nonsense in
        [&b""[..], b"hello", b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
    {
        assert_eq!(PublicKey::parse(nonsense), Err(KeyError::NotAKey), "{nonsense:?}");
    }
    assert_eq!(PublicKey::parse(&vec![0; 20_000]), Err(KeyError::TooLong(20_000)));
}

#[test]
fn names_that_are_no_safe_part_of_a_file_name_get_no_key() {
    for cid in ["gw1", "n.acme", "a.b.c", "0b9cdd6d-7a3c-4c3f-8a3f-1c0f8e1d3a11", "x@y", &"x".repeat(128)] {
        assert_eq!(check_cid(cid), Ok(()), "{cid}");
    }
    let long = "x".repeat(129);
    for cid in ["", ".", "..", ".x", "../x", "a/b", "a\\b", "a\0b", "a b", "ä", "x.rsa.pem", "x.ecdsa.der", &long] {
        assert!(check_cid(cid).is_err(), "{cid:?}");
        let data = tempfile::tempdir().unwrap();
        let secret = Credential::secret(b"s").unwrap();
        assert!(matches!(add(&SystemDisk, data.path(), cid, &secret, b"s"), Err(KeysError::Name(_))), "{cid:?}");
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "{cid:?}");
    }
}

#[test]
fn a_folder_of_an_existing_broker_can_be_copied_over() {
    let data = tempfile::tempdir().unwrap();
    let keys = data.path().join(DIR);
    assert!(load(data.path()).unwrap().is_empty(), "no folder is no keys");
    std::fs::create_dir(&keys).unwrap();
    let spki = vectors().into_iter().find(|vector| vector["name"] == "keys/ecdsa-p256").unwrap();
    let der = unhex(spki["public_spki_der_hex"].as_str().unwrap());
    for (file, bytes) in [
        ("node.rsa.pem", pem_of("RSA")),
        ("n.acme.ecdsa.pem", pem_of("ECDSA")),
        ("der.ecdsa.der", der),
        ("plain", b"p\xc3\xa4ss w\xc3\xb6rd\nmore\n".to_vec()),
        // The first in the order counts.
        ("both.rsa.pem", pem_of("RSA")),
        ("both", b"secret".to_vec()),
        ("broken.rsa.pem", b"nonsense".to_vec()),
        (".incoming", b"half a k".to_vec()),
    ] {
        std::fs::write(keys.join(file), bytes).unwrap();
    }
    let ring = load(data.path()).unwrap();
    let kind = |cid: &str| ring.get(cid).unwrap().credential.as_ref().unwrap().kind();
    assert_eq!(
        ["node", "n.acme", "der", "plain", "both"].map(kind),
        ["RSA 2048", "ECDSA 256", "ECDSA 256", "secret", "RSA 2048"]
    );
    assert_eq!(ring.get("plain").unwrap().credential, Credential::secret("päss wörd".as_bytes()).map_err(|_| String::new()));
    assert_eq!(ring.standing("free"), Standing::Free);
    assert_eq!(ring.standing("node"), Standing::Keyed);
    // A name with a key that is no good is not for everybody.
    assert!(matches!(ring.standing("broken"), Standing::Blocked(why) if why.contains("not a public key")));
    assert_eq!(ring.len(), 6);
}

#[test]
fn a_key_is_found_again_under_the_name_that_the_reference_gives_it() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let keys = data.path().join(DIR);
    let key = |scheme| Credential::Key(PublicKey::parse(&pem_of(scheme)).unwrap());
    add(&SystemDisk, data.path(), "a.acme", &key("RSA"), &pem_of("RSA")).unwrap();
    assert_eq!(std::fs::metadata(keys.join("a.acme.rsa.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    // Another kind of key takes its place.
    add(&SystemDisk, data.path(), "a.acme", &key("ECDSA"), &pem_of("ECDSA")).unwrap();
    let files: Vec<_> = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["a.acme.ecdsa.pem"]);
    assert_eq!(load(data.path()).unwrap().get("a.acme").unwrap().credential, Ok(key("ECDSA")));
    assert!(remove(&SystemDisk, data.path(), "a.acme").unwrap());
    assert!(!remove(&SystemDisk, data.path(), "a.acme").unwrap());
    assert!(load(data.path()).unwrap().is_empty());
}

#[test]
fn a_folder_that_is_read_again_revokes_what_changed_and_nothing_else() {
    let mut before = KeyRing::default();
    for cid in ["same", "other", "gone"] {
        before.insert(cid, Ok(Credential::secret(cid.as_bytes()).unwrap()));
    }
    let warrants = ["same", "other", "gone"].map(|cid| before.get(cid).unwrap().warrant());
    let mut after = KeyRing::default();
    after.insert("same", Ok(Credential::secret(b"same").unwrap()));
    after.insert("other", Ok(Credential::secret(b"another").unwrap()));
    after.follow(&before);
    assert_eq!(warrants.each_ref().map(Warrant::is_revoked), [false, true, true]);
    assert!(warrants[0].is_of(after.get("same").unwrap()));
}
