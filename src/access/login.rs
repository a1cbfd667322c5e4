//! From credentials to an identity.

use super::certificate::{CertificateUser, user_of_certificate};
use super::errors::{ChangeError, ReloadError};
use super::keeper::{load, save};
use super::keys::{self, KeyRing};
use super::password::{HashError, Verifier};
use super::policy::{Change, Policy};
use super::rights::{Compiled, LinkRights, Proof};
use super::seats::{Seat, Seats};
use super::stats::{Counts, Ledger, Refused};
use super::throttle::Throttle;
use super::{Identify, Identity};
use crate::clock::SharedClock;
use crate::disk::SharedDisk;
use crate::message::Dialect;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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
    pub(super) keys: KeyRing,
    /// Nothing was said: everything is allowed.
    pub(super) open: bool,
}

/// What the configuration says.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub certificate_user: CertificateUser,
    /// A door wants users, so nothing is open although nothing was said.
    pub strict: bool,
    /// Components that may administer.
    pub admins: BTreeSet<String>,
    /// And the pins that register components in them.
    pub tenants: BTreeMap<String, String>,
    /// Connections of one user, if nothing else is said about it.
    pub connections_max: Option<u32>,
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
    pub(super) shared: Arc<Shared>,
    pub(super) verifier: Verifier,
    pub(super) throttle: Arc<Throttle>,
    seats: Arc<Seats>,
    pub(super) settings: Settings,
    pub(super) books: Arc<Books>,
    changed: watch::Sender<u64>,
}

/// What is on the disk, and may be written by one at a time.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) disk: SharedDisk,
    pub(super) data: PathBuf,
    /// Held by who changes the policy. With it, why the file on the disk cannot be trusted, and must not be written over.
    changing: Mutex<Option<String>>,
}

impl Books {
    /// The right to write, unless what is there cannot be trusted.
    pub(super) fn open(&self) -> Result<MutexGuard<'_, Option<String>>, ChangeError> {
        let damage = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match &*damage {
            Some(damage) => Err(ChangeError::Damaged(damage.clone())),
            None => Ok(damage),
        }
    }
}

impl Access {
    /// Reads the policy of a data folder. A file that cannot be understood lets nobody in until it is repaired or removed, and
    /// everything else goes on: sensors keep what they could not send.
    pub fn open(disk: SharedDisk, clock: SharedClock, data: &Path, settings: Settings) -> Result<Self, HashError> {
        let (policy, damage) = match load(data) {
            Ok(policy) => (policy, None),
            Err(error) => {
                log::error!("{error}; nobody is let in until it is repaired or removed");
                (Policy::default(), Some(error.to_string()))
            }
        };
        let keys = keys::load(data).unwrap_or_else(|error| {
            log::error!("{error}; no component is let in by its name until that is repaired");
            KeyRing::unreadable(error.to_string())
        });
        let open = policy.is_empty() && !settings.strict && damage.is_none();
        Ok(Self {
            shared: Arc::new(Shared {
                state: RwLock::new(Arc::new(State { policy, keys, open })),
                generation: AtomicU64::new(1),
                ledger: Ledger::new(Arc::clone(&clock)),
            }),
            verifier: Verifier::new()?,
            throttle: Throttle::new(clock),
            seats: Arc::default(),
            settings,
            books: Arc::new(Books { disk, data: data.into(), changing: Mutex::new(damage) }),
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
        match self.decide(door, admits, peer, credentials).await {
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
            None => Ok(self.nobody(door, Some(client))),
            Some((_, user)) if user.disabled => Err(Refused::Disabled),
            Some((name, user)) => {
                let client = Client { name: Some(client), component: false };
                self.seated(name.as_str().into(), Proof::None, client, user.connections_max)
            }
        };
        match decided {
            Ok(_) => drop(self.shared.ledger.logins.fetch_add(1, Relaxed)),
            Err(why) => self.shared.ledger.refuse(door, peer, name.as_deref().unwrap_or_default(), client, why),
        }
        decided.map_err(Denied)
    }

    async fn decide(
        &self,
        door: &'static str,
        admits: Admits,
        peer: SocketAddr,
        credentials: Credentials<'_>,
    ) -> Result<Admission, Refused> {
        let Credentials { user, password, certificate, client } = credentials;
        let (state, _) = self.shared.state();
        if state.open && admits == Admits::Everybody {
            // As before anybody thought of users: what clients say about themselves makes no difference.
            return Ok(self.nobody(door, client));
        }
        let client = Client { name: client.filter(|client| !client.is_empty()), component: door == COMPONENTS };
        let by_certificate = certificate.and_then(|der| user_of_certificate(der, self.settings.certificate_user));
        match (user, password, by_certificate) {
            // Who brings a password means it.
            (Some(name), Some(password), _) => self.with_password(&state, peer, name, password, client).await,
            (name, None, Some(certified)) if name.is_none_or(|name| name == certified) => {
                let user = state.policy.users().get(&certified).ok_or(Refused::Certificate)?;
                if user.disabled {
                    return Err(Refused::Disabled);
                }
                self.seated(certified.as_str().into(), Proof::Certificate, client, user.connections_max)
            }
            (None, None, None) if admits == Admits::Everybody => Ok(self.nobody(door, client.name)),
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
        client: Client<'_>,
    ) -> Result<Admission, Refused> {
        let user = state.policy.users().get(name);
        let hash = user.and_then(|user| user.password.as_ref());
        let known = hash.is_some_and(|hash| self.verifier.knows(name, hash, password));
        if !known {
            let (turn, mut attempt) = self.throttle.in_turn(&self.verifier, peer.ip()).await.ok_or(Refused::Throttled)?;
            if !self.verifier.verify(turn, name, hash, password).await {
                tokio::time::sleep(attempt.failed()).await;
                return Err(Refused::Credentials);
            }
        }
        let user = user.ok_or(Refused::Credentials)?;
        if user.disabled {
            return Err(Refused::Disabled);
        }
        let proof = hash.cloned().map_or(Proof::None, Proof::Password);
        self.seated(name.into(), proof, client, user.connections_max)
    }

    pub(super) fn seated(
        &self,
        user: Arc<str>,
        proof: Proof,
        client: Client<'_>,
        max: Option<u32>,
    ) -> Result<Admission, Refused> {
        let seat = self.seats.take(&user, client.name, max.or(self.settings.connections_max)).ok_or(Refused::Connections)?;
        let identity = self.identity(Some(user), proof, client);
        // The policy may have changed while the password was looked at; from here on a change closes the link.
        if identity.is_valid() { Ok(Admission { identity, seat: Some(seat) }) } else { Err(Refused::Credentials) }
    }

    fn nobody(&self, door: &'static str, client: Option<&str>) -> Admission {
        let client = Client { name: client, component: door == COMPONENTS };
        Admission { identity: self.identity(None, Proof::None, client), seat: None }
    }

    /// Somebody at the door of components who has not logged in, and may still do it.
    #[must_use]
    pub fn newcomer(&self) -> Admission {
        self.nobody(COMPONENTS, None)
    }

    fn identity(&self, user: Option<Arc<str>>, proof: Proof, client: Client<'_>) -> Identity {
        let rights = LinkRights {
            shared: Arc::clone(&self.shared),
            user: user.clone(),
            proof,
            client: client.name.filter(|client| !client.is_empty()).map(Arc::from),
            component: client.component,
            compiled: Mutex::new(Compiled::default()),
        };
        Identity { user, rights: Some(Arc::new(rights)) }
    }

    /// Makes a change; when this returns it is on the disk and in force.
    pub async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let strict = self.settings.strict;
        self.write(move |books, before| {
            let mut policy = before.policy.clone();
            policy.apply(change)?;
            save(&*books.disk, &books.data, &policy)?;
            let open = policy.is_empty() && !strict;
            Ok(State { policy, keys: before.keys.clone(), open })
        })
        .await
    }

    /// Lets `work` write, and puts in force what it returns. The disk may take its time, and one change waits for the other.
    pub(super) async fn write<E: From<ChangeError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Books, &State) -> Result<State, E> + Send + 'static,
    ) -> Result<(), E> {
        let (shared, books) = (Arc::clone(&self.shared), Arc::clone(&self.books));
        let writing = tokio::task::spawn_blocking(move || -> Result<(), E> {
            let _one_at_a_time = books.open()?;
            let state = work(&books, &shared.state().0)?;
            shared.set(state);
            Ok(())
        });
        writing.await.map_err(|_| E::from(ChangeError::Stopping))??;
        self.tell();
        Ok(())
    }

    /// Reads the files again, as after SIGHUP. If one cannot be understood what was in force stays.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let mut damage = self.books.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = load(&self.books.data)?;
        let mut keys = keys::load(&self.books.data)?;
        *damage = None;
        let open = policy.is_empty() && !self.settings.strict;
        keys.follow(&self.shared.state().0.keys);
        self.shared.set(State { policy, keys, open });
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

    /// A copy of the keys there are.
    #[must_use]
    pub fn keys(&self) -> KeyRing {
        self.shared.state().0.keys.clone()
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
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
            keys: state.keys.len() as u64,
            rules: state.policy.rules().len() as u64,
            ..self.shared.ledger.counts()
        }
    }

    /// Why nobody is let in although there may be users.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.books.changing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Identify for Access {
    fn identity_of(&self, dialect: Dialect, user: Option<&str>, client: &str) -> Identity {
        let client = Client { name: Some(client), component: dialect == Dialect::Rembus };
        self.identity(user.map(Arc::from), Proof::None, client)
    }
}

/// The door whose clients have names that mean something.
pub(super) const COMPONENTS: &str = "rembus";

/// What a peer calls itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) name: Option<&'a str>,
    /// The name of a Rembus component.
    pub(super) component: bool,
}

#[cfg(test)]
mod tests;
