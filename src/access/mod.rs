//! Who may do what: one policy for all doors.
//!
//! A door finds out whom a link acts for ([`Access::login`]) and hands the router an [`Identity`]; the router asks its
//! [`Rights`] before it takes a publication, a subscription, a call or an offer to serve one, and before each delivery.
//!
//! ```text
//!  peer ─▶ door: user and password, certificate, nothing ─▶ Access::login ─▶ Identity ─▶ router: may he? ─▶ Rights
//!                                                             │   ▲                                          │
//!                              throttle, argon2, seats ◀──────┘   └── Policy ◀── state/access.json      LinkRights
//!                                                                       ▲
//!                                          control socket: admin … ─────┘ on the disk before it is answered, in force at once
//! ```
//!
//! A Rembus component that proves its name with a key is a user of that name: rules about `@users` hold for it at once, others
//! (and a limit, or being disabled) when it was added as a user. A name without a key proves nothing, and acts for nobody.
//!
//! Private topics are asked about first: they are for those they are granted to, by the component's name or the user's, and make
//! nothing else need a rule.
//!
//! As long as nothing was said (no user, no rule, anonymous clients everywhere) everything is allowed. From the first word on
//! everything needs a rule. Rights follow the policy while links are open; links of a user who was removed, disabled or got
//! another password are closed.
//!
//! | file | what |
//! |---|---|
//! | `policy.rs` | users, groups, rules, and every change to them |
//! | `pattern.rs` | which topics a rule is about |
//! | `rights.rs` | the rules about one link, ready to be asked for each message |
//! | `password.rs` | argon2id, and what makes a reconnect storm cheap |
//! | `throttle.rs` | guessing becomes slow |
//! | `turns.rs` | whose password is hashed next |
//! | `login.rs` | from credentials to an identity |
//! | `keys/` | keys of Rembus components: their folder, what they verify |
//! | `components.rs` | components prove their names, register and unregister |
//! | `seats.rs` | how many are connected as one user |
//! | `certificate.rs` | from a client certificate to a user's name |
//! | `basic.rs` | user and password in an HTTP header |
//! | `errors.rs` | why a change is not made |
//! | `keeper.rs` | the policy on the disk |
//! | `admin.rs` | the routes of the control socket, and what they show |

pub mod admin;
mod basic;
mod certificate;
mod components;
mod errors;
mod keeper;
pub mod keys;
mod login;
mod password;
pub mod pattern;
pub mod policy;
mod rights;
mod seats;
mod stats;
mod throttle;
mod turns;

pub use basic::basic;
pub use certificate::{CertificateUser, user_of_certificate};
pub use components::{RegisterError, Registration};
pub use errors::ChangeError;
pub use keeper::{AccessError, DIR, FILE, load, save};
pub use login::{Access, Admission, Admits, Credentials, Denied, Settings};
pub use password::{Hash, HashError};
pub use seats::Seat;
pub use stats::{Counts, Refused};

use crate::message::Dialect;
use crate::router::Filter;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::Arc;

/// What needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Publish,
    Subscribe,
    Call,
    Expose,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Publish, Self::Subscribe, Self::Call, Self::Expose];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Call => "call",
            Self::Expose => "expose",
        }
    }
}

/// What one user may do at the moment; the answer may change while links are open.
pub trait Rights: Send + Sync + Debug {
    /// `subject` is a topic or a method.
    fn allow(&self, action: Action, subject: &str) -> bool;

    /// The same without a word in the log: nobody did anything.
    fn permits(&self, action: Action, subject: &str) -> bool;

    /// Whether a subscription may be made: a rule must allow everything that the filter can match.
    fn allow_filter(&self, filter: &Filter) -> bool;

    /// Whether a topic that a granted filter matches may be delivered; rules can have holes.
    fn allow_delivery(&self, topic: &str) -> bool;

    /// Whether the link may go on: its user is still one, and with the same password.
    fn is_valid(&self) -> bool;

    /// Whether there is a user of this name. A session of somebody who is gone belongs to nobody.
    fn is_user(&self, name: &str) -> bool;

    /// The same rights for a link that has given its client id or component name.
    fn named(&self, client: &str) -> Arc<dyn Rights>;
}

/// Knows whom a session acts for by what is written down about it.
pub trait Identify: Send + Sync + Debug {
    fn identity_of(&self, dialect: Dialect, user: Option<&str>, client: &str) -> Identity;
}

/// Whom a link acts for.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// `None`: nobody said who they are, and nobody asked.
    pub user: Option<Arc<str>>,
    /// `None`: everything is allowed.
    pub rights: Option<Arc<dyn Rights>>,
}

impl Identity {
    #[must_use]
    pub fn may(&self, action: Action, subject: &str) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.allow(action, subject))
    }

    /// Whether something that was granted before still is.
    #[must_use]
    pub fn permits(&self, action: Action, subject: &str) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.permits(action, subject))
    }

    #[must_use]
    pub fn may_subscribe(&self, filter: &Filter) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.allow_filter(filter))
    }

    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.allow_delivery(topic))
    }

    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.is_valid())
    }

    /// The identity of the same link once it has given its client id or component name.
    #[must_use]
    pub fn named(&self, client: &str) -> Self {
        Self { user: self.user.clone(), rights: self.rights.as_ref().map(|rights| rights.named(client)) }
    }

    /// Whether a session that `owner` left behind may be taken up: by himself, by anybody if it was nobody's, and not by others
    /// as long as there is such a user.
    #[must_use]
    pub fn may_take_up(&self, owner: Option<&str>) -> bool {
        match owner {
            None => true,
            Some(owner) => {
                self.user.as_deref() == Some(owner) || self.rights.as_ref().is_some_and(|rights| !rights.is_user(owner))
            }
        }
    }
}
