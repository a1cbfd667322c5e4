//! Users, groups and rules: what an operator has said about who may do what. Plain data; [`super::Access`] keeps it on the disk.
//!
//! ```json
//! {"version": 1,
//!  "users":  {"dev1": {"password": "$argon2id$…", "groups": ["sensors"], "connections_max": 2}},
//!  "groups": ["sensors"],
//!  "rules":  [{"effect": "allow", "who": "@sensors", "actions": ["publish"], "pattern": "%u/#"}]}
//! ```
//!
//! A rule is about a user, or about a group (`@name`). Two groups are always there and have no list of members: `@anonymous` are
//! those who did not log in, `@users` those who did. A denying rule wins over any number of allowing ones; what no rule allows
//! is denied.
//!
//! Beside that there may be `"private": {"plant/recipe": ["gw1"]}`, `"admins": ["ops"]` and `"tenants": {"acme": "$argon2id$…"}`
//! for Rembus components. A private topic is for those it is granted to, whatever rules say; it makes nothing else need a rule.

mod change;
mod rule;

use super::password::Hash;
use super::pattern::{Effect, Who};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub use change::{Change, PolicyError};
pub use rule::{Rule, RuleError, actions};

/// Everything has a limit: more than this and the file would no longer be a list that people keep.
pub const USERS_MAX: usize = 10_000;
pub const GROUPS_MAX: usize = 1_000;
pub const RULES_MAX: usize = 10_000;
/// Rules about one user or one group; all of them may be looked at for a message.
pub const RULES_EACH_MAX: usize = 256;
/// Longest name of a user or a group, in bytes.
pub const NAME_MAX: usize = 256;
pub const PRIVATE_MAX: usize = 10_000;
/// Names that may use one private topic.
pub const GRANTS_MAX: usize = 1_000;
pub const ADMINS_MAX: usize = 1_000;
pub const TENANTS_MAX: usize = 1_000;
/// Longest private topic, in bytes.
const TOPIC_MAX: usize = 65_535;

/// Those who did not log in.
pub const ANONYMOUS: &str = "anonymous";
/// Those who did.
pub const USERS: &str = "users";

/// Everything that was said about access.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    version: Version,
    #[serde(default)]
    pub(super) users: BTreeMap<String, User>,
    #[serde(default)]
    pub(super) groups: BTreeSet<String>,
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    /// Private topics and methods, and the names that may use them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) private: BTreeMap<String, BTreeSet<String>>,
    /// Components that may administer, beside those of the configuration.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) admins: BTreeSet<String>,
    /// Tenants whose pin registers components, beside those of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tenants: BTreeMap<String, Hash>,
}

/// The format of the file. A release that does not know one must not guess what it allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Version;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        if version == 1 { Ok(Self) } else { Err(format!("its format {version} is not known to this release")) }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Without one the user comes with a certificate only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hash>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Clients that may be connected at the same time as this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// A Rembus component: its key may be registered with the pin of its tenant. Other users keep the credentials they have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key: bool,
}

impl Policy {
    /// Whether anything was said at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.rules.is_empty()
    }

    #[must_use]
    pub fn users(&self) -> &BTreeMap<String, User> {
        &self.users
    }

    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The groups that have lists of members.
    #[must_use]
    pub fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }

    /// Whether a topic or method may be used by one of these names: it is not private, or granted to one of them.
    #[must_use]
    pub fn grants(&self, topic: &str, names: [Option<&str>; 2]) -> bool {
        match self.private.get(topic) {
            None => true,
            Some(granted) => names.into_iter().flatten().any(|name| granted.contains(name)),
        }
    }

    /// Private topics with those they are granted to.
    #[must_use]
    pub fn private(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.private
    }

    #[must_use]
    pub fn admins(&self) -> &BTreeSet<String> {
        &self.admins
    }

    #[must_use]
    pub fn tenants(&self) -> &BTreeMap<String, Hash> {
        &self.tenants
    }

    /// The rules about somebody: his own, his groups', and those of everybody like him. None about a user who is gone or
    /// disabled: until his links are closed they may do nothing. `keyed`: there is, or was, a key for this name, so it is a user
    /// also if nobody added him.
    pub fn rules_for<'a, 'b>(&'a self, user: Option<&'b str>, keyed: bool) -> impl Iterator<Item = &'a Rule> + use<'a, 'b> {
        let account = user.and_then(|name| self.users.get(name));
        let is_user = account.map_or(keyed, |account| !account.disabled);
        self.rules.iter().filter(move |rule| match (rule.who.strip_prefix('@'), user) {
            (Some(group), None) => group == ANONYMOUS,
            (_, Some(_)) if !is_user => false,
            (Some(group), Some(_)) => group == USERS || account.is_some_and(|account| account.groups.contains(group)),
            (None, _) => user == Some(rule.who.as_str()),
        })
    }

    /// Decides for one action as [`super::Rights`] does, and says which rule did it.
    #[must_use]
    pub fn explain(&self, who: Who<'_>, keyed: bool, applies: impl Fn(&Rule, Who<'_>) -> bool) -> (bool, Option<&Rule>) {
        let mut because = None;
        for rule in self.rules_for(who.user, keyed).filter(|rule| applies(rule, who)) {
            if rule.effect == Effect::Deny {
                return (false, Some(rule));
            }
            because.get_or_insert(rule);
        }
        (because.is_some(), because)
    }

    /// Whether it could have been made by changes; a file may have been edited.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        room("users", self.users.len(), USERS_MAX + 1)?;
        room("groups", self.groups.len(), GROUPS_MAX + 1)?;
        room("rules", self.rules.len(), RULES_MAX + 1)?;
        for (name, user) in &self.users {
            check_name(name)?;
            if user.password.as_ref().is_some_and(|hash| !hash.is_valid()) {
                return Err(PolicyError::NotAHash);
            }
        }
        room("private topics", self.private.len(), PRIVATE_MAX + 1)?;
        room("admins", self.admins.len(), ADMINS_MAX + 1)?;
        room("tenants", self.tenants.len(), TENANTS_MAX + 1)?;
        if self.tenants.values().any(|hash| !hash.is_valid()) {
            return Err(PolicyError::NotAHash);
        }
        for granted in self.private.values() {
            room("names with one private topic", granted.len(), GRANTS_MAX + 1)?;
        }
        self.groups.iter().try_for_each(|name| check_name(name))
    }

    /// Makes a change, or none at all.
    pub fn apply(&mut self, change: Change) -> Result<(), PolicyError> {
        match change {
            Change::AddUser { name, password, groups, connections_max, key } => {
                check_name(&name)?;
                if let Some(group) = groups.iter().find(|group| !self.groups.contains(*group)) {
                    return Err(no_members(group));
                }
                if self.users.contains_key(&name) {
                    return Err(PolicyError::Exists(name));
                }
                room("users", self.users.len(), USERS_MAX)?;
                if password.as_ref().is_some_and(|hash| !hash.is_valid()) {
                    return Err(PolicyError::NotAHash);
                }
                self.users.insert(name, User { password, disabled: false, groups, connections_max, key });
            }
            Change::SetPassword { name, password } => {
                if !password.is_valid() {
                    return Err(PolicyError::NotAHash);
                }
                self.user(name)?.password = Some(password);
            }
            Change::RemoveUser { name } => {
                if self.users.remove(&name).is_none() {
                    return Err(PolicyError::NoUser(name));
                }
                // A later user of the same name must not find rights waiting for him.
                self.rules.retain(|rule| rule.who != name);
            }
            Change::EnableUser { name } => self.user(name)?.disabled = false,
            Change::DisableUser { name } => self.user(name)?.disabled = true,
            Change::LimitUser { name, connections_max } => self.user(name)?.connections_max = connections_max,
            Change::AddGroup { name } => {
                check_name(&name)?;
                if matches!(&*name, ANONYMOUS | USERS) || self.groups.contains(&name) {
                    return Err(PolicyError::Exists(name));
                }
                room("groups", self.groups.len(), GROUPS_MAX)?;
                self.groups.insert(name);
            }
            Change::RemoveGroup { name } => {
                if !self.groups.remove(&name) {
                    return Err(no_members(&name));
                }
                for user in self.users.values_mut() {
                    user.groups.remove(&name);
                }
                self.rules.retain(|rule| rule.who.strip_prefix('@') != Some(&name));
            }
            Change::Join { group, name } => {
                if !self.groups.contains(&group) {
                    return Err(no_members(&group));
                }
                self.user(name)?.groups.insert(group);
            }
            Change::Leave { group, name } => {
                if !self.groups.contains(&group) {
                    return Err(no_members(&group));
                }
                self.user(name)?.groups.remove(&group);
            }
            Change::PrivateTopic { topic } => drop(self.private_topic(topic)?),
            Change::PublicTopic { topic } => drop(self.private.remove(&topic)),
            Change::Authorize { topic, name } => {
                check_name(&name)?;
                let granted = self.private_topic(topic)?;
                if !granted.contains(&name) {
                    room("names with one private topic", granted.len(), GRANTS_MAX)?;
                    granted.insert(name);
                }
            }
            // It works for what was never granted as well, as the reference has it.
            Change::Unauthorize { topic, name } => {
                if let Some(granted) = self.private.get_mut(&topic) {
                    granted.remove(&name);
                }
            }
            Change::AddAdmin { name } => {
                check_name(&name)?;
                if self.admins.contains(&name) {
                    return Err(PolicyError::Exists(name));
                }
                room("admins", self.admins.len(), ADMINS_MAX)?;
                self.admins.insert(name);
            }
            Change::RemoveAdmin { name } => {
                if !self.admins.remove(&name) {
                    return Err(PolicyError::NoAdmin(name));
                }
            }
            Change::SetTenant { name, pin } => {
                check_name(&name)?;
                if !pin.is_valid() {
                    return Err(PolicyError::NotAHash);
                }
                if !self.tenants.contains_key(&name) {
                    room("tenants", self.tenants.len(), TENANTS_MAX)?;
                }
                self.tenants.insert(name, pin);
            }
            Change::RemoveTenant { name } => {
                if self.tenants.remove(&name).is_none() {
                    return Err(PolicyError::NoTenant(name));
                }
            }
            Change::AddRule(rule) => return self.add_rule(rule),
            Change::RemoveRule(rule) => {
                let before = self.rules.len();
                self.rules.retain(|known| *known != rule);
                if self.rules.len() == before {
                    return Err(PolicyError::NoRule(rule.to_string().into()));
                }
            }
        }
        Ok(())
    }

    fn add_rule(&mut self, rule: Rule) -> Result<(), PolicyError> {
        match rule.who.strip_prefix('@') {
            Some(ANONYMOUS | USERS) => {}
            Some(group) if self.groups.contains(group) => {}
            Some(group) => return Err(PolicyError::NoGroup(group.into())),
            None if self.users.contains_key(&rule.who) => {}
            None => return Err(PolicyError::NoUser(rule.who)),
        }
        if rule.actions.is_empty() {
            return Err(PolicyError::NoAction(rule.pattern.to_string()));
        }
        if self.rules.contains(&rule) {
            return Ok(());
        }
        room("rules", self.rules.len(), RULES_MAX)?;
        let about_him = self.rules.iter().filter(|known| known.who == rule.who).count();
        room("rules about one user or group", about_him, RULES_EACH_MAX)?;
        self.rules.push(rule);
        Ok(())
    }

    /// Makes a topic private if it is not, and gives the names it is granted to.
    fn private_topic(&mut self, topic: String) -> Result<&mut BTreeSet<String>, PolicyError> {
        if topic.is_empty() || topic.len() > TOPIC_MAX {
            return Err(PolicyError::Topic);
        }
        if !self.private.contains_key(&topic) {
            room("private topics", self.private.len(), PRIVATE_MAX)?;
        }
        Ok(self.private.entry(topic).or_default())
    }

    fn user(&mut self, name: String) -> Result<&mut User, PolicyError> {
        // Not an `entry`: asking must not make a user.
        self.users.get_mut(&name).ok_or(PolicyError::NoUser(name))
    }
}

fn no_members(group: &str) -> PolicyError {
    match group {
        ANONYMOUS | USERS => PolicyError::BuiltIn(group.into()),
        _ => PolicyError::NoGroup(group.into()),
    }
}

fn room(what: &'static str, there: usize, max: usize) -> Result<(), PolicyError> {
    if there < max { Ok(()) } else { Err(PolicyError::Full { what, max }) }
}

/// Names come from devices and certificates that exist already, so hardly anything is ruled out; what would be syntax in a rule
/// is harmless there (see [`super::pattern`]).
fn check_name(name: &str) -> Result<(), PolicyError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_MAX {
        "it is longer than 256 bytes"
    } else if name.starts_with('@') {
        "`@` begins a group where rules are written"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    Err(PolicyError::Name { name: name.into(), why })
}

#[cfg(test)]
mod tests;
