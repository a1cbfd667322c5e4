//! What `rembus-gateway admin` asks and is told: over the control socket while the gateway runs, of the file itself otherwise.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /access` | | [`View`] |
//! | `POST /access/change` | [`Change`] | [`Done`], once the change is on the disk |
//! | `POST /access/test` | [`Question`] | [`Verdict`] |

use super::Action;
use super::login::{Access, ChangeError};
use super::pattern::Who;
use super::policy::{Change, Policy, Rule, USERS};
use crate::control::Failure;
use crate::router::Filter;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Users, groups and rules as an operator may see them: no hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Nothing was said yet: everything is allowed.
    pub open: bool,
    pub users: Vec<UserView>,
    pub groups: Vec<GroupView>,
    pub rules: Vec<Rule>,
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
    pub fn of(policy: &Policy, open: bool, connected: impl Fn(&str) -> Option<usize>) -> Self {
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
        Self { open, users: users.collect(), groups: groups.collect(), rules: policy.rules().to_vec() }
    }
}

impl Question {
    #[must_use]
    pub fn answer(&self, policy: &Policy, open: bool) -> Verdict {
        if open {
            return Verdict { allowed: true, because: "nothing was said about access yet, so everything is allowed".into() };
        }
        if let Some(name) = &self.user {
            match policy.users().get(name) {
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
        let (allowed, rule) = policy.explain(who, |rule, who| {
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
pub fn notes(was_open: bool, policy: &Policy, change: &Change) -> Vec<String> {
    let mut notes = Vec::new();
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
        && policy.rules_for(Some(name)).next().is_none()
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
pub fn routes(access: Arc<Access>) -> Router {
    Router::new()
        .route("/access", get(view))
        .route("/access/change", post(change))
        .route("/access/test", post(test))
        .with_state(access)
}

async fn view(State(access): State<Arc<Access>>) -> Json<View> {
    let (policy, open) = access.policy();
    Json(View::of(&policy, open, |user| Some(access.connected(user))))
}

async fn change(State(access): State<Arc<Access>>, Json(change): Json<Change>) -> Result<Json<Done>, Failure> {
    let (_, was_open) = access.policy();
    access.change(change.clone()).await.map_err(failure)?;
    Ok(Json(Done { notes: notes(was_open, &access.policy().0, &change) }))
}

fn failure(error: ChangeError) -> Failure {
    match error {
        ChangeError::Policy(error) => Failure::wrong(error.to_string()),
        error => Failure::failed(error.to_string()),
    }
}

async fn test(State(access): State<Arc<Access>>, Json(question): Json<Question>) -> Json<Verdict> {
    let (policy, open) = access.policy();
    Json(question.answer(&policy, open))
}
