//! What `rembus-gateway admin` asks and is told: over the control socket while the gateway runs, of the file itself otherwise.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /access` | | [`View`] |
//! | `POST /access/change` | [`Change`] | [`Done`], once the change is on the disk |
//! | `POST /access/test` | [`Question`] | [`Verdict`] |
//! | `POST /access/keys/import` | [`Import`] | [`Done`] |
//! | `POST /access/keys/remove` | [`Name`] | [`Done`] |

use super::Action;
use super::errors::ChangeError;
use super::keys::{Credential, Entry, KeyRing, PublicKey, Standing, check_cid};
use super::login::Access;
use super::pattern::Who;
use super::policy::{Change, Policy, Rule, USERS};
use crate::control::Failure;
use crate::router::{Ended, Filter, HubHandle};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Users, groups and rules as an operator may see them: no hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Nothing was said yet: everything is allowed.
    pub open: bool,
    pub users: Vec<UserView>,
    pub groups: Vec<GroupView>,
    pub rules: Vec<Rule>,
    /// Private topics, and the names they are granted to.
    #[serde(default)]
    pub private: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    pub admins: Vec<Named>,
    #[serde(default)]
    pub tenants: Vec<Named>,
    #[serde(default)]
    pub keys: Vec<KeyView>,
}

/// An admin or a tenant, and where it was named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    /// In the configuration file, which only an editor changes; otherwise by command.
    pub configured: bool,
    /// An admin who has no key cannot log in as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<bool>,
}

/// A component's key, as far as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    pub name: String,
    /// `RSA 2048`, `ECDSA 256` or `secret`; absent if the file is no good.
    pub kind: Option<String>,
    /// What is wrong with the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A key that an operator brings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    pub name: String,
    /// A shared secret instead of a public key.
    pub secret: bool,
    /// The file, in base64.
    pub file: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    pub name: String,
}

impl Import {
    /// What it brings, read and found good.
    pub fn read(&self) -> Result<(Credential, Bytes), String> {
        check_cid(&self.name).map_err(str::to_owned)?;
        let bytes = BASE64_STANDARD.decode(&self.file).map_err(|error| error.to_string())?;
        let credential = if self.secret { Credential::secret(&bytes) } else { PublicKey::parse(&bytes).map(Credential::Key) };
        Ok((credential.map_err(|error| error.to_string())?, bytes.into()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    pub name: String,
    /// Without one: by certificate only.
    pub password: bool,
    pub disabled: bool,
    pub groups: Vec<String>,
    /// `None` if no gateway runs.
    pub connected: Option<usize>,
    pub connections_max: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    pub name: String,
    pub members: Vec<String>,
}

/// A change was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What the operator should know about its consequences.
    pub notes: Vec<String>,
}

/// May somebody do something?
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// `None`: somebody who did not log in.
    pub user: Option<String>,
    pub client: Option<String>,
    pub action: Action,
    /// A topic or method; to subscribe, a filter (a Rembus pattern if it has a `*`).
    pub subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub allowed: bool,
    pub because: String,
}

impl View {
    #[must_use]
    pub fn of(policy: &Policy, keys: &KeyRing, open: bool, connected: impl Fn(&str) -> Option<usize>) -> Self {
        let users = policy.users().iter().map(|(name, user)| UserView {
            name: name.clone(),
            password: user.password.is_some(),
            disabled: user.disabled,
            groups: user.groups.iter().cloned().collect(),
            connected: connected(name),
            connections_max: user.connections_max,
        });
        let members = |group: &String| {
            let members = policy.users().iter().filter(|(_, user)| user.groups.contains(group));
            members.map(|(name, _)| name.clone()).collect()
        };
        let groups = policy.groups().iter().map(|name| GroupView { name: name.clone(), members: members(name) });
        let mut view = Self {
            open,
            users: users.collect(),
            groups: groups.collect(),
            rules: policy.rules().to_vec(),
            private: policy.private().clone(),
            admins: Vec::new(),
            tenants: Vec::new(),
            keys: keys.iter().map(|(name, entry)| KeyView::of(name, entry)).collect(),
        };
        view.add_admins(policy.admins(), keys, false);
        view.add_tenants(policy.tenants().keys(), false);
        view
    }

    fn add_admins<'a>(&mut self, names: impl IntoIterator<Item = &'a String>, keys: &KeyRing, configured: bool) {
        let admin = |name: &String| Named { name: name.clone(), configured, key: Some(keys.standing(name) == Standing::Keyed) };
        self.admins.extend(names.into_iter().map(admin));
    }

    fn add_tenants<'a>(&mut self, names: impl IntoIterator<Item = &'a String>, configured: bool) {
        self.tenants.extend(names.into_iter().map(|name| Named { name: name.clone(), configured, key: None }));
    }

    /// With what the configuration of the running gateway says.
    fn configured(mut self, access: &Access) -> Self {
        let settings = access.settings();
        self.add_admins(&settings.admins, &access.keys(), true);
        self.add_tenants(settings.tenants.keys(), true);
        self
    }
}

impl KeyView {
    fn of(name: &str, entry: &Entry) -> Self {
        let (kind, error) = match &entry.credential {
            Ok(credential) => (Some(credential.kind()), None),
            Err(why) => (None, Some(why.clone())),
        };
        Self { name: name.into(), kind, error }
    }
}

impl Question {
    #[must_use]
    pub fn answer(&self, policy: &Policy, keys: &KeyRing, open: bool) -> Verdict {
        // A pattern may be subscribed to; private topics are holes in it.
        if !policy.grants(&self.subject, [self.user.as_deref(), self.client.as_deref()]) {
            return Verdict { allowed: false, because: format!("`{}` is private, and not granted to it", self.subject) };
        }
        if open {
            return Verdict { allowed: true, because: "nothing was said about access yet, so everything is allowed".into() };
        }
        if let Some(name) = &self.user {
            match policy.users().get(name) {
                None if keys.contains(name) => {}
                None => return Verdict { allowed: false, because: format!("there is no user `{name}`") },
                Some(user) if user.disabled => return Verdict { allowed: false, because: "the user is disabled".into() },
                Some(_) => {}
            }
        }
        let filter = (self.action == Action::Subscribe).then(|| {
            let text = self.subject.clone();
            if text.contains('*') { Filter::Rembus(text) } else { Filter::Mqtt(text) }
        });
        let who = Who { user: self.user.as_deref(), client: self.client.as_deref() };
        let keyed = self.user.as_ref().is_some_and(|user| keys.contains(user));
        let (allowed, rule) = policy.explain(who, keyed, |rule, who| {
            let levels = if rule.actions.contains(&self.action) { rule.pattern.resolve(rule.effect, who) } else { None };
            levels.is_some_and(|levels| match &filter {
                Some(filter) => levels.covers(rule.effect, filter),
                None => levels.matches(rule.effect, &self.subject),
            })
        });
        Verdict { allowed, because: rule.map_or_else(|| "no rule allows it".into(), ToString::to_string) }
    }
}

/// What the operator should know about a change that was made.
#[must_use]
pub fn notes(was_open: bool, policy: &Policy, keys: &KeyRing, change: &Change) -> Vec<String> {
    let mut notes = Vec::new();
    match change {
        Change::Authorize { name, .. } if !keys.contains(name) && !policy.users().contains_key(name) => notes.push(format!(
            "there is no key for {name}, so this is for whatever component calls itself that: rembus-gateway admin keys import {name} FILE"
        )),
        Change::AddAdmin { name } if !keys.contains(name) => notes.push(format!(
            "{name} has no key yet, and can administer only after a login with one: rembus-gateway admin keys import {name} FILE"
        )),
        Change::RemoveTenant { .. } => notes.push("keys that were registered with its pin stay".into()),
        _ => {}
    }
    if was_open && !policy.is_empty() {
        notes.push(
            "from now on everything needs a rule; what clients that do not log in may do is said about `@anonymous`".to_owned(),
        );
    }
    if !was_open && policy.is_empty() {
        notes.push(
            "this was the last word about access: where a door lets in everybody, everything is allowed again".to_owned(),
        );
    }
    if let Change::AddUser { name, .. } = change
        && policy.rules_for(Some(name), false).next().is_none()
    {
        let name = if name.contains(' ') { format!("'{name}'") } else { name.clone() };
        notes.push(format!("no rule allows {name} anything yet: rembus-gateway admin acl allow {name} all 'some/topic/#'"));
        notes.push(format!("or for every user: rembus-gateway admin acl allow @{USERS} publish '%u/#'"));
    }
    if let Change::AddRule(rule) = change
        && rule.pattern.asks_for_client()
    {
        notes.push("`%c` is what a client calls itself; nobody checks it".to_owned());
    }
    notes
}

/// The routes of the control socket.
pub fn routes(access: Arc<Access>, hub: HubHandle) -> Router {
    let changes = Router::new().route("/access/change", post(change)).with_state((Arc::clone(&access), hub));
    Router::new()
        .route("/access", get(view))
        .route("/access/test", post(test))
        .route("/access/keys/import", post(import))
        .route("/access/keys/remove", post(remove))
        .with_state(access)
        .merge(changes)
}

async fn view(State(access): State<Arc<Access>>) -> Json<View> {
    let (policy, open) = access.policy();
    Json(View::of(&policy, &access.keys(), open, |user| Some(access.connected(user))).configured(&access))
}

async fn change(
    State((access, hub)): State<(Arc<Access>, HubHandle)>,
    Json(change): Json<Change>,
) -> Result<Json<Done>, Failure> {
    let (_, was_open) = access.policy();
    access.change(change.clone()).await.map_err(failure)?;
    let mut notes = notes(was_open, &access.policy().0, &access.keys(), &change);
    if let Change::RemoveUser { name } = change {
        let ended = hub.end_user(name).await.map_err(|stopped| Failure::failed(stopped.to_string()))?;
        notes.push(said_of(ended));
    }
    Ok(Json(Done { notes }))
}

/// What ended with a user, for the operator.
fn said_of(ended: Ended) -> String {
    let Ended { connections, sessions, subscriptions, queued, retained } = ended;
    format!(
        "ended with it: {connections} connections, {sessions} sessions with {subscriptions} subscriptions and {queued} waiting \
         messages, {retained} retained messages"
    )
}

/// What is said where no gateway runs that could end it.
pub const STAYS: &str = "no gateway runs: the user's sessions and retained messages stay until their time is over or others take \
                         their place; removed while it runs, a user takes them along";

async fn import(State(access): State<Arc<Access>>, Json(import): Json<Import>) -> Result<Json<Done>, Failure> {
    let (credential, bytes) = import.read().map_err(Failure::wrong)?;
    access.import_key(import.name, credential, bytes).await.map_err(failure)?;
    Ok(Json(Done { notes: Vec::new() }))
}

async fn remove(State(access): State<Arc<Access>>, Json(name): Json<Name>) -> Result<Json<Done>, Failure> {
    access.revoke_key(&name.name).await.map_err(failure)?;
    Ok(Json(Done { notes: vec![FREE.into()] }))
}

/// What follows from a key that is gone.
pub const FREE: &str = "where components need no login, anybody may take the name now";

fn failure(error: ChangeError) -> Failure {
    match error {
        ChangeError::Policy(_) | ChangeError::NoKey(_) | ChangeError::Full { .. } => Failure::wrong(error.to_string()),
        error => Failure::failed(error.to_string()),
    }
}

async fn test(State(access): State<Arc<Access>>, Json(question): Json<Question>) -> Json<Verdict> {
    let (policy, open) = access.policy();
    Json(question.answer(&policy, &access.keys(), open))
}
