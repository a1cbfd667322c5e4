//! What access counts, and how its refusals are told.

use crate::clock::SharedClock;
use crate::door::Stats;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Longest part of a peer's own words in a log line.
const WORDS_MAX: usize = 128;

/// Counters since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub logins: u64,
    /// Logins refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Actions denied, by action.
    pub denied: BTreeMap<&'static str, u64>,
    /// Copies of messages that a subscriber was not allowed to get.
    pub withheld: u64,
    /// Addresses with failed logins that are remembered.
    pub throttled: u64,
    pub users: u64,
    pub keys: u64,
    pub rules: u64,
}

/// Why somebody was not let in; the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// Unknown user or wrong password.
    Credentials,
    /// Nobody said who they are, and that is not enough here.
    Anonymous,
    /// The user is disabled.
    Disabled,
    /// Too many failed logins from this address.
    Throttled,
    /// The user is connected often enough.
    Connections,
    /// The certificate names no user.
    Certificate,
    /// The answer to a challenge is not that of whoever has the key.
    Attestation,
    /// Somebody wanted to register a component without knowing the pin.
    Pin,
}

impl Refused {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Anonymous => "anonymous",
            Self::Disabled => "disabled",
            Self::Throttled => "throttled",
            Self::Connections => "connections",
            Self::Certificate => "certificate",
            Self::Attestation => "attestation",
            Self::Pin => "pin",
        }
    }

    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Credentials => "unknown user or wrong password",
            Self::Anonymous => "a user must log in here",
            Self::Disabled => "the user is disabled",
            Self::Throttled => "too many failed logins from this address",
            Self::Connections => "the user has as many connections as allowed",
            Self::Certificate => "the certificate names no user",
            Self::Attestation => "the key does not prove this name",
            Self::Pin => "wrong tenant/pin",
        }
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    clock: SharedClock,
    pub(super) logins: AtomicU64,
    pub(super) withheld: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    denied: Mutex<BTreeMap<&'static str, u64>>,
    /// Only for its rate of warnings; logins and actions have one each, so that neither drowns the other.
    login_warnings: Stats,
    action_warnings: Stats,
}

impl Ledger {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            logins: AtomicU64::default(),
            withheld: AtomicU64::default(),
            refused: Mutex::default(),
            denied: Mutex::default(),
            login_warnings: Stats::default(),
            action_warnings: Stats::default(),
        }
    }

    pub(super) fn refuse(&self, door: &'static str, peer: std::net::SocketAddr, user: &str, client: &str, why: Refused) {
        count(&self.refused, why.name());
        if let Some(suppressed) = self.login_warnings.may_warn(&*self.clock) {
            let (user, client, reason) = (short(user), short(client), why.why());
            log::warn!(door, user, client, peer:%, reason, suppressed; "login refused");
        }
    }

    pub(super) fn deny(
        &self,
        user: Option<&str>,
        client: Option<&str>,
        action: &'static str,
        subject: &str,
        why: &'static str,
    ) {
        count(&self.denied, action);
        if let Some(suppressed) = self.action_warnings.may_warn(&*self.clock) {
            let (user, client) = (short(user.unwrap_or("@anonymous")), short(client.unwrap_or_default()));
            let (subject, reason) = (short(subject), why);
            log::warn!(user, client, action, subject, reason, suppressed; "denied");
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let copy = |map: &Mutex<BTreeMap<&'static str, u64>>| map.lock().map(|map| map.clone()).unwrap_or_default();
        Counts {
            logins: self.logins.load(Relaxed),
            refused: copy(&self.refused),
            denied: copy(&self.denied),
            withheld: self.withheld.load(Relaxed),
            ..Counts::default()
        }
    }
}

fn count(map: &Mutex<BTreeMap<&'static str, u64>>, key: &'static str) {
    // Nothing in here can panic half way.
    *map.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry(key).or_default() += 1;
}

/// The beginning of what a peer said.
fn short(words: &str) -> &str {
    let mut end = words.len().min(WORDS_MAX);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words.get(..end).unwrap_or_default()
}
