//! Keys of Rembus components: what proves that a name is who it says (`protocol/rembus.md` sections 5.6, 5.8 and 16).
//!
//! They lie in `<data>/keys/`, laid out as the Python and the Julia broker do it, so that such a folder can be copied over:
//!
//! | file | holds |
//! |---|---|
//! | `<cid>.rsa.pem`, `<cid>.rsa.der` | an RSA key of 2048 to 8192 bits, as SubjectPublicKeyInfo or PKCS#1 |
//! | `<cid>.ecdsa.pem`, `<cid>.ecdsa.der` | a P-256 key, as SubjectPublicKeyInfo |
//! | `<cid>` | a shared secret, its first line |
//!
//! Files are looked for in this order: `rsa.pem`, `ecdsa.pem`, `rsa.der`, `ecdsa.der`, secret. What a file holds is told by its
//! content. A name whose file is no good is blocked, not free: nobody may have it before the file is repaired or removed.
//! Names that begin with a dot are not looked at; files are made under such a name and moved when they are complete.

mod attest;
mod credential;
mod folder;

#[cfg(test)]
mod tests;

pub use attest::Challenge;
pub(super) use attest::same;
pub use credential::{Algorithm, Credential, KeyError, PublicKey};
pub use folder::{DIR, KeysError, add, load, remove};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

/// Names with a key. Beyond, no more are taken.
pub const KEYS_MAX: usize = 100_000;
/// Longest name that a key can be registered for: with its ending it must fit a file name.
pub const CID_MAX: usize = 128;

/// All names that need a proof.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    entries: BTreeMap<String, Arc<Entry>>,
    /// Why the folder could not be read. Then every name is blocked.
    damage: Option<String>,
}

/// What there is for one name.
#[derive(Debug)]
pub struct Entry {
    /// Or why the file is no good.
    pub credential: Result<Credential, String>,
    /// Set when an operator takes it back; connections that were let in with it end then.
    revoked: Arc<AtomicBool>,
}

/// Goes with a connection that was let in with a key.
#[derive(Debug, Clone)]
pub struct Warrant(Arc<AtomicBool>);

impl Warrant {
    pub(super) fn is_revoked(&self) -> bool {
        self.0.load(Acquire)
    }

    /// Whether it was given by this entry.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        Arc::ptr_eq(&self.0, &entry.revoked)
    }
}

impl Entry {
    fn new(credential: Result<Credential, String>) -> Arc<Self> {
        Arc::new(Self { credential, revoked: Arc::default() })
    }

    pub(super) fn warrant(&self) -> Warrant {
        Warrant(Arc::clone(&self.revoked))
    }
}

/// What a name needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: whoever comes first has it.
    Free,
    /// A proof.
    Keyed,
    /// Nobody may have it now, for this reason.
    Blocked(String),
}

impl KeyRing {
    pub(super) fn unreadable(why: String) -> Self {
        Self { entries: BTreeMap::new(), damage: Some(why) }
    }

    #[must_use]
    pub fn standing(&self, cid: &str) -> Standing {
        match (&self.damage, self.get(cid).map(|entry| &entry.credential)) {
            (Some(why), _) | (None, Some(Err(why))) => Standing::Blocked(why.clone()),
            (None, Some(Ok(_))) => Standing::Keyed,
            (None, None) => Standing::Free,
        }
    }

    #[must_use]
    pub fn get(&self, cid: &str) -> Option<&Entry> {
        self.entries.get(cid).map(|entry| &**entry)
    }

    #[must_use]
    pub fn contains(&self, cid: &str) -> bool {
        self.entries.contains_key(cid)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(cid, entry)| (cid.as_str(), &**entry))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[must_use]
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    pub(super) fn insert(&mut self, cid: &str, credential: Result<Credential, String>) {
        self.entries.insert(cid.into(), Entry::new(credential));
    }

    pub(super) fn take(&mut self, cid: &str) -> Option<Arc<Entry>> {
        self.entries.remove(cid)
    }

    /// Takes over what did not change from the ring before, and revokes what did.
    pub(super) fn follow(&mut self, before: &Self) {
        for (cid, old) in &before.entries {
            match self.entries.get_mut(cid) {
                Some(new) if new.credential == old.credential => *new = Arc::clone(old),
                _ => old.revoked.store(true, Release),
            }
        }
    }
}

impl Entry {
    /// Ends the connections that were let in with it.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Release);
    }
}

/// Why a key cannot be kept for this name: it becomes part of file names.
pub fn check_cid(cid: &str) -> Result<(), &'static str> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+' | ':' | '=' | '~');
    if cid.is_empty() {
        Err("empty cid")
    } else if cid.len() > CID_MAX {
        Err("a name with a key has at most 128 bytes")
    } else if cid.starts_with('.') || !cid.chars().all(safe) {
        Err("a name with a key has only letters, digits and . _ - @ + : = ~, and does not begin with a dot")
    } else if folder::owner(cid) != (cid, None) {
        Err("a name with a key does not end as a key file does")
    } else {
        Ok(())
    }
}
