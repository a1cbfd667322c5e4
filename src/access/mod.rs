//! Who may do what: one policy for all doors.
//!
//! A door finds out whom a link acts for and hands the router an [`Identity`]; the router asks its [`Rights`] before it takes a
//! publication, a subscription, a call or an offer to serve one.

use std::fmt::Debug;
use std::sync::Arc;

/// What needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Publish,
    Subscribe,
    Call,
    Expose,
}

/// What one user may do at the moment; the answer may change while links are open.
pub trait Rights: Send + Sync + Debug {
    /// `subject` is a topic, a topic filter or pattern (all of what it matches must be allowed), or a method.
    fn allow(&self, action: Action, subject: &str) -> bool;

    /// Whether a topic that a granted filter matches may be delivered; rules can have holes.
    fn allow_delivery(&self, topic: &str) -> bool;
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
}
