//! Rembus components prove their names with keys, and register those keys (`protocol/rembus.md` sections 5.6 to 5.8).

use super::Action;
use super::errors::ChangeError;
use super::keys::{self, Algorithm, Challenge, Credential, KEYS_MAX, KeyError, KeysError, PublicKey, Standing};
use super::login::{Access, Admission, COMPONENTS, Client, Denied, State};
use super::rights::Proof;
use super::stats::Refused;
use crate::message::tenant;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

/// What REGISTER brings.
#[derive(Debug, Clone)]
pub struct Registration {
    pub cid: String,
    pub pin: String,
    pub key: Bytes,
    pub key_type: u64,
}

/// Why a component is not registered; the text is the data of the answer.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("too many failed attempts from this address")]
    Throttled,
    #[error("tenant [{0}] not enabled")]
    Tenant(String),
    #[error("wrong tenant/pin")]
    Pin,
    #[error("[{0}] not available")]
    Taken(String),
    #[error("{0}")]
    Name(&'static str),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("the key could not be stored")]
    Store(#[from] ChangeError),
}

impl From<KeysError> for RegisterError {
    fn from(error: KeysError) -> Self {
        Self::Store(error.into())
    }
}

impl Access {
    /// What a component needs to be let in by this name.
    #[must_use]
    pub fn standing(&self, cid: &str) -> Standing {
        self.shared.state().0.keys.standing(cid)
    }

    /// Whether a component may administer. That it is the one is for the caller to know.
    #[must_use]
    pub fn is_admin(&self, cid: &str) -> bool {
        self.settings.admins.contains(cid) || self.shared.state().0.policy.admins().contains(cid)
    }

    /// Somebody wanted to do something before he logged in.
    pub fn deny_stranger(&self, action: Action, subject: &str) {
        self.shared.ledger.deny(None, None, action.name(), subject, Refused::Anonymous.why());
    }

    /// Finds out whether `signature` proves `cid`. A wrong one is told late, and ever later from the same address.
    pub async fn attest(
        &self,
        peer: SocketAddr,
        cid: &str,
        challenge: Challenge,
        signature: &[u8],
    ) -> Result<Admission, Denied> {
        match self.proves(peer, cid, &challenge, signature).await {
            Ok(admission) => {
                self.shared.ledger.logins.fetch_add(1, Relaxed);
                Ok(admission)
            }
            Err(why) => {
                self.shared.ledger.refuse(COMPONENTS, peer, cid, cid, why);
                Err(Denied(why))
            }
        }
    }

    /// Whether the name has a shared secret, which it may bring as a password where there is no challenge (HTTP).
    #[must_use]
    pub fn has_secret(&self, cid: &str) -> bool {
        let (state, _) = self.shared.state();
        state.keys.get(cid).is_some_and(|entry| matches!(entry.credential, Ok(Credential::Secret(_))))
    }

    /// Finds out whether `secret` is the one of `cid`. A wrong one is told late, as in [`attest`](Self::attest).
    pub async fn with_secret(&self, peer: SocketAddr, cid: &str, secret: &[u8]) -> Result<Admission, Denied> {
        let Some(challenge) = Challenge::new() else { return Err(Denied(Refused::Attestation)) };
        let answer = challenge.answer(&String::from_utf8_lossy(secret));
        self.attest(peer, cid, challenge, &answer).await
    }

    async fn proves(&self, peer: SocketAddr, cid: &str, challenge: &Challenge, signature: &[u8]) -> Result<Admission, Refused> {
        let (state, _) = self.shared.state();
        let entry = state.keys.get(cid);
        let credential = entry.and_then(|entry| entry.credential.as_ref().ok());
        let mut attempt = self.throttle.attempt(peer.ip());
        // A signature cannot be guessed, so who has the key is let in whatever others behind his address do. A secret can.
        let looked_at = attempt.is_some() || matches!(credential, Some(Credential::Key(_)));
        let right = looked_at && credential.is_some_and(|credential| challenge.is_answered(credential, cid, signature));
        let Some(entry) = entry.filter(|_| right) else {
            let Some(attempt) = &mut attempt else { return Err(Refused::Throttled) };
            tokio::time::sleep(attempt.failed()).await;
            return Err(Refused::Attestation);
        };
        let account = state.policy.users().get(cid);
        if account.is_some_and(|account| account.disabled) {
            return Err(Refused::Disabled);
        }
        let client = Client { name: Some(cid), component: true };
        self.seated(cid.into(), Proof::Key(entry.warrant()), client, account.and_then(|account| account.connections_max))
    }

    /// Keeps the key of a component that knows the pin of its tenant; on the disk when this returns. A wrong pin is told late.
    pub async fn register(&self, peer: SocketAddr, wanted: Registration) -> Result<(), RegisterError> {
        let Registration { cid, pin, key, key_type } = wanted;
        let mut attempt = self.throttle.attempt(peer.ip()).ok_or(RegisterError::Throttled)?;
        match self.knows_pin(peer, tenant(&cid), &pin).await? {
            None => return Err(RegisterError::Tenant(tenant(&cid).into())),
            Some(true) => {}
            Some(false) => {
                self.shared.ledger.refuse(COMPONENTS, peer, &cid, &cid, Refused::Pin);
                tokio::time::sleep(attempt.failed()).await;
                return Err(RegisterError::Pin);
            }
        }
        keys::check_cid(&cid).map_err(RegisterError::Name)?;
        let name = cid.clone();
        self.write(move |books, before| {
            // A user keeps the credentials an operator gave him, unless he is to come with a key.
            let other = before.policy.users().get(&cid).is_some_and(|user| !user.key);
            if other || before.keys.standing(&cid) != Standing::Free {
                return Err(RegisterError::Taken(cid));
            }
            let public = PublicKey::parse(&key)?;
            let said = Algorithm::of_type(key_type)?;
            if said != public.algorithm {
                return Err(KeyError::OtherType { said: said.name(), is: public.algorithm.name() }.into());
            }
            if before.keys.len() >= KEYS_MAX {
                return Err(ChangeError::Full { max: KEYS_MAX }.into());
            }
            let credential = Credential::Key(public);
            keys::add(&*books.disk, &books.data, &cid, &credential, &key)?;
            let mut keys = before.keys.clone();
            keys.insert(&cid, Ok(credential));
            Ok(State { policy: before.policy.clone(), keys, open: before.open })
        })
        .await?;
        log::info!(component = name.as_str(), peer:%; "component registered");
        Ok(())
    }

    /// Whether `pin` is that of `tenant`; `None` if nobody registers there.
    async fn knows_pin(&self, peer: SocketAddr, tenant: &str, pin: &str) -> Result<Option<bool>, RegisterError> {
        let (state, _) = self.shared.state();
        Ok(match (state.policy.tenants().get(tenant), self.settings.tenants.get(tenant)) {
            (Some(hash), _) => {
                let turn = self.verifier.turn(peer.ip()).await.ok_or(RegisterError::Throttled)?;
                // Not a name that a user can have.
                Some(self.verifier.verify(turn, &format!("@{tenant}"), Some(hash), pin.as_bytes()).await)
            }
            (None, Some(secret)) => Some(keys::same(secret.as_bytes(), pin.as_bytes())),
            (None, None) => None,
        })
    }

    /// Removes the key of a component that has proven to be the one. Its connection stays; the name is free.
    pub async fn unregister(&self, cid: &str) -> Result<(), ChangeError> {
        self.remove_key(cid, false).await
    }

    /// Keeps a key or a secret that an operator brings, in place of what the name had. Connections with the old one end.
    pub async fn import_key(&self, cid: String, credential: Credential, bytes: Bytes) -> Result<(), ChangeError> {
        self.write(move |books, before| {
            if !before.keys.contains(&cid) && before.keys.len() >= KEYS_MAX {
                return Err(ChangeError::Full { max: KEYS_MAX });
            }
            keys::add(&*books.disk, &books.data, &cid, &credential, &bytes)?;
            let mut keys = before.keys.clone();
            if let Some(old) = keys.take(&cid) {
                old.revoke();
            }
            keys.insert(&cid, Ok(credential));
            Ok(State { policy: before.policy.clone(), keys, open: before.open })
        })
        .await
    }

    /// Takes a key back: the component's connections end.
    pub async fn revoke_key(&self, cid: &str) -> Result<(), ChangeError> {
        self.remove_key(cid, true).await
    }

    async fn remove_key(&self, cid: &str, revoke: bool) -> Result<(), ChangeError> {
        let cid = cid.to_owned();
        self.write(move |books, before| {
            let mut keys = before.keys.clone();
            let Some(entry) = keys.take(&cid) else { return Err(ChangeError::NoKey(cid)) };
            keys::remove(&*books.disk, &books.data, &cid)?;
            if revoke {
                entry.revoke();
            }
            Ok(State { policy: before.policy.clone(), keys, open: before.open })
        })
        .await
    }
}

#[cfg(test)]
mod tests;
