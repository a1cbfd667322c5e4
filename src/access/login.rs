//! From credentials to an identity.

use super::certificate::{CertificateUser, user_of_certificate};
use super::keeper::{AccessError, load, save};
use super::password::{HashError, Verifier};
use super::policy::{Change, Policy, PolicyError};
use super::rights::{Compiled, LinkRights};
use super::seats::{Seat, Seats};
use super::stats::{Counts, Ledger, Refused};
use super::throttle::Throttle;
use super::{Hash, Identify, Identity};
use crate::clock::SharedClock;
use crate::disk::SharedDisk;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// Whom a door lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// Also those who do not say who they are.
    Everybody,
    Users,
}

/// What a peer says about itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    pub user: Option<&'a str>,
    /// Any bytes; never logged.
    pub password: Option<&'a [u8]>,
    /// A client certificate that the transport has verified, as DER.
    pub certificate: Option<&'a [u8]>,
    /// Client id or component name, as far as it is known.
    pub client: Option<&'a str>,
}

/// Somebody who was let in.
#[derive(Debug)]
pub struct Admission {
    pub identity: Identity,
    /// Counts against the user's limit; kept as long as the connection lives.
    pub seat: Option<Seat>,
}

/// Why somebody is not let in. Each dialect has its own words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied(pub Refused);

/// The policy in force.
#[derive(Debug)]
pub(super) struct State {
    pub(super) policy: Policy,
    /// Nothing was said: everything is allowed.
    pub(super) open: bool,
}

/// What all links share.
#[derive(Debug)]
pub(super) struct Shared {
    state: RwLock<Arc<State>>,
    /// Counts the policies that were in force; begins with 1.
    generation: AtomicU64,
    pub(super) ledger: Ledger,
}

impl Shared {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// The policy in force and its number. A newer policy may carry an older number for a moment, which only means that it is
    /// looked at twice.
    pub(super) fn state(&self) -> (Arc<State>, u64) {
        let generation = self.generation();
        // Nothing in here can panic half way.
        (Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner)), generation)
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        self.generation.fetch_add(1, Release);
    }
}

/// Users, groups and rules at work.
#[derive(Debug)]
pub struct Access {
    shared: Arc<Shared>,
    verifier: Verifier,
    throttle: Arc<Throttle>,
    seats: Arc<Seats>,
    disk: SharedDisk,
    data: PathBuf,
    certificate_user: CertificateUser,
    /// A door wants users, so nothing is open although nothing was said.
    strict: bool,
    /// Held by who changes the policy. With it, why the file on the disk cannot be trusted, and must not be written over.
    changing: Arc<Mutex<Option<String>>>,
    changed: watch::Sender<u64>,
}

impl Access {
    /// Reads the policy of a data folder. A file that cannot be understood lets nobody in until it is repaired or removed, and
    /// everything else goes on: sensors keep what they could not send.
    pub fn open(
        disk: SharedDisk,
        clock: SharedClock,
        data: &Path,
        certificate_user: CertificateUser,
        strict: bool,
    ) -> Result<Self, HashError> {
        let (policy, damage) = match load(data) {
            Ok(policy) => (policy, None),
            Err(error) => {
                log::error!("{error}; nobody is let in until it is repaired or removed");
                (Policy::default(), Some(error.to_string()))
            }
        };
        let open = policy.is_empty() && !strict && damage.is_none();
        Ok(Self {
            shared: Arc::new(Shared {
                state: RwLock::new(Arc::new(State { policy, open })),
                generation: AtomicU64::new(1),
                ledger: Ledger::new(Arc::clone(&clock)),
            }),
            verifier: Verifier::new()?,
            throttle: Throttle::new(clock),
            seats: Arc::default(),
            disk,
            data: data.into(),
            certificate_user,
            strict,
            changing: Arc::new(Mutex::new(damage)),
            changed: watch::Sender::new(1),
        })
    }

    /// Finds out whom a new link acts for. Takes as long as a hash, and longer after failures; the caller has a deadline.
    pub async fn login(
        &self,
        door: &'static str,
        admits: Admits,
        peer: SocketAddr,
        credentials: Credentials<'_>,
    ) -> Result<Admission, Denied> {
        match self.decide(admits, peer, credentials).await {
            Ok(admission) => {
                self.shared.ledger.logins.fetch_add(1, Relaxed);
                Ok(admission)
            }
            Err(why) => {
                let (user, client) = (credentials.user.unwrap_or_default(), credentials.client.unwrap_or_default());
                self.shared.ledger.refuse(door, peer, user, client, why);
                Err(Denied(why))
            }
        }
    }

    /// Somebody on this machine, of whom the kernel says who he is: the user `uid:N` if there is one, else nobody in
    /// particular. `client` is what he calls himself.
    pub fn local(&self, door: &'static str, uid: Option<u32>, client: &str, peer: SocketAddr) -> Result<Admission, Denied> {
        let (state, _) = self.shared.state();
        let name = uid.map(|uid| format!("uid:{uid}"));
        let user = name.as_deref().and_then(|name| state.policy.users().get_key_value(name));
        let decided = match user {
            None => Ok(self.nobody(Some(client))),
            Some((_, user)) if user.disabled => Err(Refused::Disabled),
            Some((name, user)) => self.seated(name.as_str().into(), None, Some(client), user.connections_max),
        };
        match decided {
            Ok(_) => drop(self.shared.ledger.logins.fetch_add(1, Relaxed)),
            Err(why) => self.shared.ledger.refuse(door, peer, name.as_deref().unwrap_or_default(), client, why),
        }
        decided.map_err(Denied)
    }

    async fn decide(&self, admits: Admits, peer: SocketAddr, credentials: Credentials<'_>) -> Result<Admission, Refused> {
        let Credentials { user, password, certificate, client } = credentials;
        let (state, _) = self.shared.state();
        if state.open && admits == Admits::Everybody {
            // As before anybody thought of users: what clients say about themselves makes no difference.
            return Ok(self.nobody(client));
        }
        let client = client.filter(|client| !client.is_empty());
        let by_certificate = certificate.and_then(|der| user_of_certificate(der, self.certificate_user));
        match (user, password, by_certificate) {
            // Who brings a password means it.
            (Some(name), Some(password), _) => self.with_password(&state, peer, name, password, client).await,
            (name, None, Some(certified)) if name.is_none_or(|name| name == certified) => {
                let user = state.policy.users().get(&certified).ok_or(Refused::Certificate)?;
                if user.disabled {
                    return Err(Refused::Disabled);
                }
                self.seated(certified.as_str().into(), None, client, user.connections_max)
            }
            (None, None, None) if admits == Admits::Everybody => Ok(self.nobody(client)),
            (None, None, None) if certificate.is_some() => Err(Refused::Certificate),
            (None, None, None) => Err(Refused::Anonymous),
            _ => self.with_password(&state, peer, user.unwrap_or_default(), password.unwrap_or_default(), client).await,
        }
    }

    async fn with_password(
        &self,
        state: &State,
        peer: SocketAddr,
        name: &str,
        password: &[u8],
        client: Option<&str>,
    ) -> Result<Admission, Refused> {
        let user = state.policy.users().get(name);
        let hash = user.and_then(|user| user.password.as_ref());
        let known = hash.is_some_and(|hash| self.verifier.knows(name, hash, password));
        if !known {
            let mut attempt = self.throttle.attempt(peer.ip()).ok_or(Refused::Throttled)?;
            if !self.verifier.verify(name, hash, password).await {
                tokio::time::sleep(attempt.failed()).await;
                return Err(Refused::Credentials);
            }
        }
        let user = user.ok_or(Refused::Credentials)?;
        if user.disabled {
            return Err(Refused::Disabled);
        }
        self.seated(name.into(), hash.cloned(), client, user.connections_max)
    }

    fn seated(&self, user: Arc<str>, hash: Option<Hash>, client: Option<&str>, max: Option<u32>) -> Result<Admission, Refused> {
        let seat = self.seats.take(&user, client, max).ok_or(Refused::Connections)?;
        let identity = self.identity(Some(user), hash, client);
        // The policy may have changed while the password was looked at; from here on a change closes the link.
        if identity.is_valid() { Ok(Admission { identity, seat: Some(seat) }) } else { Err(Refused::Credentials) }
    }

    fn nobody(&self, client: Option<&str>) -> Admission {
        Admission { identity: self.identity(None, None, client), seat: None }
    }

    fn identity(&self, user: Option<Arc<str>>, password: Option<Hash>, client: Option<&str>) -> Identity {
        let rights = LinkRights {
            shared: Arc::clone(&self.shared),
            user: user.clone(),
            password,
            client: client.filter(|client| !client.is_empty()).map(Arc::from),
            compiled: Mutex::new(Compiled::default()),
        };
        Identity { user, rights: Some(Arc::new(rights)) }
    }

    /// Makes a change; when this returns it is on the disk and in force.
    pub async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let (shared, changing, disk, data) =
            (Arc::clone(&self.shared), Arc::clone(&self.changing), Arc::clone(&self.disk), self.data.clone());
        let strict = self.strict;
        // The disk may take its time, and one change waits for the other.
        let writing = tokio::task::spawn_blocking(move || {
            let damage = changing.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(damage) = &*damage {
                return Err(ChangeError::Damaged(damage.clone()));
            }
            let mut policy = shared.state().0.policy.clone();
            policy.apply(change)?;
            save(&*disk, &data, &policy)?;
            let open = policy.is_empty() && !strict;
            shared.set(State { policy, open });
            Ok(())
        });
        writing.await.map_err(|_| ChangeError::Stopping)??;
        self.tell();
        Ok(())
    }

    /// Reads the file again, as after SIGHUP. If it cannot be understood the policy in force stays.
    pub fn reload(&self) -> Result<(), AccessError> {
        let mut damage = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = load(&self.data)?;
        *damage = None;
        let open = policy.is_empty() && !self.strict;
        self.shared.set(State { policy, open });
        drop(damage);
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let (state, generation) = self.shared.state();
        self.verifier.keep(|name| state.policy.users().contains_key(name));
        self.changed.send_replace(generation);
    }

    /// Changes whenever the policy does; links that are not valid any more must be closed then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Works with a copy of the policy, and whether nothing was said yet.
    #[must_use]
    pub fn policy(&self) -> (Policy, bool) {
        let (state, _) = self.shared.state();
        (state.policy.clone(), state.open)
    }

    /// Clients connected as `user`.
    #[must_use]
    pub fn connected(&self, user: &str) -> usize {
        self.seats.of(user)
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let (state, _) = self.shared.state();
        Counts {
            throttled: self.throttle.len() as u64,
            users: state.policy.users().len() as u64,
            rules: state.policy.rules().len() as u64,
            ..self.shared.ledger.counts()
        }
    }

    /// Why nobody is let in although there may be users.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Identify for Access {
    fn identity_of(&self, user: Option<&str>, client: &str) -> Identity {
        self.identity(user.map(Arc::from), None, Some(client))
    }
}

/// Why the policy stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Disk(#[from] AccessError),
    #[error("{0}; repair or remove it, then send SIGHUP")]
    Damaged(String),
    #[error("the gateway is stopping")]
    Stopping,
}

#[cfg(test)]
mod tests;
