//! Passwords: hashed with argon2id, compared slowly once and quickly ever after.
//!
//! A hash costs 19 MiB and two passes, the least that OWASP recommends, some 50 ms on a Pi. So at most [`AT_ONCE`] are computed
//! at the same time, off the tasks that carry messages and in turn between blocks of addresses ([`super::turns`]), and a password
//! that was right is remembered under a keyed hash whose key lives and dies with the process: a thousand known clients that
//! reconnect cost a thousand short hashes.
//!
//! Somebody who does not exist costs what a wrong password costs, so that names cannot be told apart by the time it takes.

use super::turns::{Turn, Turns};
use ahash::AHashMap;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use blake2::Blake2sMac256;
use blake2::digest::Mac;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hashes computed at the same time.
const AT_ONCE: usize = 2;
/// The most that a hash from elsewhere may cost: beyond, a single login could take the machine.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 16;

/// The hash that nobody's password has: random bytes where a result would be.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$0OK7vhBDNI574/baK3GLGimQtw7W9Ot/hzInOU/mFyE";

/// A password's hash as PHC string, such as `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(Arc<str>);

/// Not even the hash belongs into a log.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// Why a password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub struct HashError(String);

fn argon2() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, None).expect("these parameters are within the bounds of argon2");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Hash {
    /// Hashes a password with a salt of its own. Takes its time.
    pub fn of(password: &[u8]) -> Result<Self, HashError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| HashError(error.to_string()))?;
        let salt = SaltString::encode_b64(&salt).map_err(|error| HashError(error.to_string()))?;
        let hash = argon2().hash_password(password, &salt).map_err(|error| HashError(error.to_string()))?;
        Ok(Self(hash.to_string().into()))
    }

    /// Whether it can be verified here, at a bearable price.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Ok(hash) = PasswordHash::new(&self.0) else { return false };
        let cost = |name| hash.params.get_decimal(name).unwrap_or(u32::MAX);
        hash.algorithm == argon2::ARGON2ID_IDENT
            && hash.hash.is_some()
            && cost("m") <= MEMORY_KIB_MAX
            && cost("t") <= PASSES_MAX
    }

    /// The slow comparison; constant in time where it compares.
    fn verify(&self, password: &[u8]) -> bool {
        PasswordHash::new(&self.0).is_ok_and(|hash| argon2().verify_password(password, &hash).is_ok())
    }
}

/// Compares passwords.
#[derive(Debug)]
pub(super) struct Verifier {
    turns: Arc<Turns>,
    remembered: Arc<Remembered>,
}

/// The last right password of each user, under a key of this process.
struct Remembered {
    key: [u8; 32],
    tags: Mutex<AHashMap<Box<str>, [u8; 32]>>,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(..)")
    }
}

impl Verifier {
    pub(super) fn new() -> Result<Self, HashError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| HashError(error.to_string()))?;
        let remembered = Arc::new(Remembered { key, tags: Mutex::default() });
        Ok(Self { turns: Turns::new(AT_ONCE), remembered })
    }

    /// Whether it is known to be right without the slow comparison.
    #[must_use]
    pub(super) fn knows(&self, user: &str, hash: &Hash, password: &[u8]) -> bool {
        let tags = self.remembered.tags();
        let Some(tag) = tags.get(user) else { return false };
        // Constant in time.
        self.remembered.mac(user, hash, password).verify_slice(tag).is_ok()
    }

    /// Waits for the right to have one hash computed; `None` if too many from there wait already. May be dropped half way.
    pub(super) async fn turn(&self, address: IpAddr) -> Option<Turn> {
        self.turns.take(crate::net::block(address)).await
    }

    /// Whether the password is right; `hash` is `None` if there is no such user or none with a password, which takes as long.
    ///
    /// Goes on to the end when nobody waits for it any more, so that a client that was too impatient is known next time.
    pub(super) async fn verify(&self, turn: Turn, user: &str, hash: Option<&Hash>, password: &[u8]) -> bool {
        // While it waited for its turn, another client of this user may have been let in.
        if hash.is_some_and(|hash| self.knows(user, hash, password)) {
            return true;
        }
        let exists = hash.is_some();
        let hash = hash.cloned().unwrap_or_else(|| Hash(NOBODY.into()));
        let (user, password, remembered) = (user.to_owned(), password.to_vec(), Arc::clone(&self.remembered));
        let verifying = tokio::task::spawn_blocking(move || {
            let right = hash.verify(&password) && exists;
            if right {
                let tag = remembered.mac(&user, &hash, &password).finalize().into_bytes().into();
                remembered.tags().insert(user.into(), tag);
            }
            drop(turn);
            right
        });
        // It fails only when the gateway stops.
        verifying.await.unwrap_or(false)
    }

    /// Forgets those who are no users any more; what is remembered is bounded by the users there are.
    pub(super) fn keep(&self, is_user: impl Fn(&str) -> bool) {
        self.remembered.tags().retain(|user, _| is_user(user));
    }
}

impl Remembered {
    fn tags(&self) -> MutexGuard<'_, AHashMap<Box<str>, [u8; 32]>> {
        // Nothing in here can panic half way.
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Over the hash as well, so that a changed password forgets the old one.
    fn mac(&self, user: &str, hash: &Hash, password: &[u8]) -> Blake2sMac256 {
        let mut mac = Blake2sMac256::new_from_slice(&self.key).expect("32 bytes are a key of BLAKE2s");
        for part in [user.as_bytes(), hash.0.as_bytes(), password] {
            Mac::update(&mut mac, &(part.len() as u64).to_le_bytes());
            Mac::update(&mut mac, part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn asked(verifier: &Verifier, hash: Option<&Hash>, password: &[u8]) -> bool {
        let turn = verifier.turn(HERE).await.unwrap();
        verifier.verify(turn, "dev1", hash, password).await
    }

    #[test]
    fn a_hash_is_argon2id_with_a_salt_of_its_own_and_never_shown() {
        let (one, other) = (Hash::of(b"secret").unwrap(), Hash::of(b"secret").unwrap());
        assert!(one != other && one.is_valid());
        assert!(one.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(one.verify(b"secret") && !one.verify(b"Secret") && !one.verify(b""));
        assert_eq!(format!("{one:?}"), "Hash(..)");
    }

    #[test]
    fn a_hash_that_is_none_or_would_take_the_machine_is_refused() {
        let hash = |text: &str| Hash(text.into());
        assert!(hash(NOBODY).is_valid());
        assert!(!hash("secret").is_valid() && !hash("").is_valid());
        assert!(!hash(&NOBODY.replace("m=19456", "m=4000000")).is_valid());
        assert!(!hash(&NOBODY.replace("t=2", "t=1000")).is_valid());
        assert!(!hash(&NOBODY.replace("argon2id", "argon2d")).is_valid());
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_until_it_changes() {
        let verifier = Verifier::new().unwrap();
        let (old, new) = (Hash::of(b"old").unwrap(), Hash::of(b"new").unwrap());
        assert!(!verifier.knows("dev1", &old, b"old"));
        assert!(asked(&verifier, Some(&old), b"old").await);
        assert!(verifier.knows("dev1", &old, b"old"));
        assert!(!verifier.knows("dev1", &old, b"new") && !verifier.knows("dev2", &old, b"old"));

        assert!(!verifier.knows("dev1", &new, b"old"), "the hash has changed");
        assert!(!asked(&verifier, Some(&new), b"old").await);
        verifier.keep(|user| user != "dev1");
        assert!(!verifier.knows("dev1", &old, b"old"));
    }

    #[tokio::test]
    async fn an_impatient_client_is_known_next_time() {
        let verifier = Verifier::new().unwrap();
        let hash = Hash::of(b"secret").unwrap();
        {
            let turn = verifier.turn(HERE).await.unwrap();
            let mut asking = std::pin::pin!(verifier.verify(turn, "dev1", Some(&hash), b"secret"));
            let first = std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx).is_ready())).await;
            assert!(!first, "it takes a while");
        }
        let known = async {
            while !verifier.knows("dev1", &hash, b"secret") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), known).await.unwrap();
    }

    #[tokio::test]
    async fn an_unknown_user_costs_what_a_wrong_password_costs() {
        let verifier = Verifier::new().unwrap();
        let hash = Hash::of(b"secret").unwrap();
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (at, hash) in [Some(&hash), None].into_iter().enumerate() {
                let begin = Instant::now();
                assert!(!asked(&verifier, hash, b"wrong").await);
                took[at].push(begin.elapsed());
            }
        }
        let fastest = |times: &[std::time::Duration]| *times.iter().min().unwrap();
        let (wrong, unknown) = (fastest(&took[0]), fastest(&took[1]));
        assert!(unknown > wrong / 2 && wrong > unknown / 2, "wrong {wrong:?}, unknown {unknown:?}");
    }
}
