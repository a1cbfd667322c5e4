//! What can be changed in a policy, and why a change cannot be made.

use super::TOPIC_MAX;
use super::rule::Rule;
use crate::access::password::Hash;
use crate::access::pattern::PatternError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A change to a policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    AddUser {
        name: String,
        password: Option<Hash>,
        groups: BTreeSet<String>,
        connections_max: Option<u32>,
        #[serde(default)]
        key: bool,
    },
    SetPassword {
        name: String,
        password: Hash,
    },
    RemoveUser {
        name: String,
    },
    EnableUser {
        name: String,
    },
    DisableUser {
        name: String,
    },
    /// `None` is no limit.
    LimitUser {
        name: String,
        connections_max: Option<u32>,
    },
    AddGroup {
        name: String,
    },
    RemoveGroup {
        name: String,
    },
    Join {
        group: String,
        name: String,
    },
    Leave {
        group: String,
        name: String,
    },
    AddRule(Rule),
    RemoveRule(Rule),
    PrivateTopic {
        topic: String,
    },
    /// With it go all grants.
    PublicTopic {
        topic: String,
    },
    /// Makes the topic private, too.
    Authorize {
        topic: String,
        name: String,
    },
    Unauthorize {
        topic: String,
        name: String,
    },
    AddAdmin {
        name: String,
    },
    RemoveAdmin {
        name: String,
    },
    /// Adds a tenant, or gives it another pin.
    SetTenant {
        name: String,
        pin: Hash,
    },
    RemoveTenant {
        name: String,
    },
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("there is no user `{0}`")]
    NoUser(String),
    #[error("there is no group `{0}`")]
    NoGroup(String),
    #[error("`{0}` is no admin by command")]
    NoAdmin(String),
    #[error("there is no tenant `{0}` by command")]
    NoTenant(String),
    #[error("a private topic has 1 to {TOPIC_MAX} bytes")]
    Topic,
    #[error("there is no such rule: {0}")]
    NoRule(Box<str>),
    #[error("`{0}` is there already")]
    Exists(String),
    #[error("`{name}` is no name: {why}")]
    Name { name: String, why: &'static str },
    #[error("the group `{0}` has no list of members: it is always those it says")]
    BuiltIn(String),
    #[error("the password is not a hash that this release makes or reads")]
    NotAHash,
    #[error("`{0}` is in no rule: a rule is about at least one action")]
    NoAction(String),
    #[error("{0}")]
    Pattern(#[from] PatternError),
    #[error("there are {max} {what} already; no more fit")]
    Full { what: &'static str, max: usize },
}
