//! `admin`: users, groups and rules; keys, private topics, admins and tenants of Rembus components.
//!
//! Asks the running gateway, where a change is in force at once; without one it works on the file itself, under the lock of the
//! data folder, so that users can be there before the first start.

mod components;
mod desk;
mod password;
mod show;

use super::remote::Where;
use super::{Refusal, Streams, WRONG_USE};
use crate::access::admin::Question;
use crate::access::pattern::{Effect, Pattern};
use crate::access::policy::{Change, Rule, actions};
use crate::access::{Action, Hash};
use components::{Admins, Keys, Tenants};
use desk::Desk;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    gateway: Where,
    #[command(subcommand)]
    what: What,
}

const AFTER_HELP: &str = "\
As long as there is no user and no rule, everything is allowed where a door lets in everybody. From the first one on everything \
needs a rule.

  rembus-gateway admin user add dev1
  rembus-gateway admin acl allow @users publish '%u/#'
  rembus-gateway admin acl allow monitor subscribe,call '#'
  rembus-gateway admin acl test dev1 publish dev1/telemetry

Rembus components log in with keys, and are users of their names.

  rembus-gateway admin tenants add .                 components without a dot can register with this pin
  rembus-gateway admin keys import gw1 gw1.pem       or their keys are brought
  rembus-gateway admin private-topic plant/recipe
  rembus-gateway admin authorize gw1 plant/recipe

Works with and without a running gateway.";

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Who may log in
    #[command(subcommand)]
    User(User),
    /// Users that rules speak of together, as @GROUP
    #[command(subcommand)]
    Group(Group),
    /// Rules: who may do what
    #[command(subcommand)]
    Acl(Acl),
    /// Keys that Rembus components prove their names with
    #[command(subcommand)]
    Keys(Keys),
    /// Makes a topic or method private: for nobody until it is granted
    PrivateTopic { topic: String },
    /// Makes it public again; its grants go
    PublicTopic { topic: String },
    /// Grants a private topic or method to a component, or to a user; makes it private if it is not
    Authorize { name: String, topic: String },
    /// Takes a grant back
    Unauthorize { name: String, topic: String },
    /// Shows the private topics and whom they are granted to
    PrivateTopics {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Components that may administer over Rembus
    #[command(subcommand)]
    Admins(Admins),
    /// Tenants in which components can be registered
    #[command(subcommand)]
    Tenants(Tenants),
    /// Shows which components offer and subscribe to what, as JSON
    BrokerConfig,
}

#[derive(Debug, clap::Args)]
struct NewPassword {
    /// File whose first line is the password; without it the terminal is asked, or standard input read
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum User {
    /// Adds a user; asks for the password
    Add {
        name: String,
        #[command(flatten)]
        password: NewPassword,
        /// No password: the user comes with a TLS client certificate
        #[arg(long, conflicts_with_all = ["password_file", "key"])]
        certificate: bool,
        /// No password: the user is a Rembus component with a key, which it may register itself
        #[arg(long, conflicts_with = "password_file")]
        key: bool,
        /// Member of this group from the beginning
        #[arg(long, value_name = "GROUP")]
        group: Vec<String>,
        /// Clients that may be connected at the same time
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// Gives another password, and closes connections that used the old one
    Passwd {
        name: String,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Removes a user with the rules about him, and closes his connections
    Remove { name: String },
    /// Lets a disabled user in again
    Enable { name: String },
    /// Lets a user in no more, and closes his connections
    Disable { name: String },
    /// Bounds how many clients may be connected as this user
    Limit {
        name: String,
        /// A number, or `off`
        #[arg(value_parser = connections)]
        connections: Limit,
    },
    /// Shows the users
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Limit(Option<u32>);

fn connections(text: &str) -> Result<Limit, String> {
    match text {
        "off" => Ok(Limit(None)),
        _ => text.parse().map(|max| Limit(Some(max))).map_err(|_| "a number, or off".to_owned()),
    }
}

#[derive(Debug, clap::Subcommand)]
enum Group {
    /// Adds a group
    Add { name: String },
    /// Removes a group with the rules about it; its members stay
    Remove { name: String },
    /// Puts a user into a group
    Join { group: String, user: String },
    /// Takes a user out of a group
    Leave { group: String, user: String },
    /// Shows the groups
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct RuleWords {
    /// A user, or @GROUP; @users is everybody who logged in, @anonymous everybody else
    who: String,
    /// publish, subscribe, call, expose, several with commas between, or all
    actions: String,
    /// MQTT filter of topics and methods; %u is the user, %c the client id
    pattern: String,
}

#[derive(Debug, clap::Subcommand)]
enum Acl {
    /// Allows something
    Allow(RuleWords),
    /// Denies something, whatever other rules allow
    Deny(RuleWords),
    /// Takes a rule back
    Remove {
        /// allow or deny, as in the rule
        #[arg(value_parser = effect)]
        effect: Effect,
        #[command(flatten)]
        rule: RuleWords,
    },
    /// Shows the rules
    List {
        /// Only those about this user (with his groups') or @GROUP
        who: Option<String>,
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Says whether somebody may do something, and which rule says so; exit code 1 if not
    Test {
        /// A user, or @anonymous
        user: String,
        #[arg(value_parser = action)]
        action: Action,
        /// A topic or method; to subscribe, a filter
        topic: String,
        /// Client id, for %c
        #[arg(long, value_name = "ID")]
        client: Option<String>,
    },
}

fn effect(text: &str) -> Result<Effect, String> {
    match text {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        _ => Err("allow or deny".into()),
    }
}

fn action(text: &str) -> Result<Action, String> {
    Action::ALL.into_iter().find(|action| action.name() == text).ok_or_else(|| "publish, subscribe, call or expose".into())
}

impl RuleWords {
    fn rule(self, effect: Effect) -> Result<Rule, Refusal> {
        let wrong = |text: String| Refusal { code: WRONG_USE, text };
        let actions = actions(&self.actions).map_err(|error| wrong(error.to_string()))?;
        let pattern = Pattern::parse(&self.pattern).map_err(|error| wrong(format!("`{}`: {error}", self.pattern)))?;
        Ok(Rule { effect, who: self.who, actions, pattern })
    }
}

pub(super) fn run(
    args: Args,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> Result<(), Refusal> {
    let mut desk = Desk::open(args.gateway.find(env)?)?;
    match args.what {
        What::User(User::List { json }) => show::users(&desk.view()?, json, streams),
        What::Group(Group::List { json }) => show::groups(&desk.view()?, json, streams),
        What::Acl(Acl::List { who, json }) => show::rules(&desk.view()?, who.as_deref(), json, streams),
        What::Acl(Acl::Test { user, action, topic, client }) => {
            let user = (user != "@anonymous").then_some(user);
            let verdict = desk.test(&Question { user, client, action, subject: topic })?;
            let word = if verdict.allowed { "allowed" } else { "denied" };
            streams.say(format_args!("{word}: {}", verdict.because));
            if verdict.allowed { Ok(()) } else { Err(Refusal::failed("")) }
        }
        What::PrivateTopics { json } => show::private(&desk.view()?, json, streams),
        What::Keys(what) => components::keys(&desk, what, streams),
        What::BrokerConfig => {
            let inventory = desk.inventory()?;
            streams.write(&format!("{}\n", serde_json::to_string_pretty(&inventory).map_err(Refusal::failed)?))?;
            Ok(())
        }
        change => {
            let change = match change {
                What::Admins(what) => components::admins(&desk, what, streams)?,
                What::Tenants(what) => components::tenants(&desk, what, streams)?,
                change => Some(change_of(change, streams)?),
            };
            let Some((change, done)) = change else { return Ok(()) };
            let notes = desk.change(change)?;
            streams.say(done);
            for note in notes.notes {
                streams.say(format_args!("note: {note}"));
            }
            Ok(())
        }
    }
}

/// The change that is asked for, and what is said when it is made.
fn change_of(what: What, streams: &mut Streams<'_>) -> Result<(Change, String), Refusal> {
    Ok(match what {
        What::User(User::Add { name, password, certificate, key, group, limit }) => {
            let password = if certificate || key { None } else { Some(hash(&password, &name, streams)?) };
            let done = format!("user {name} added");
            (Change::AddUser { name, password, groups: group.into_iter().collect(), connections_max: limit, key }, done)
        }
        What::User(User::Passwd { name, password }) => {
            let password = hash(&password, &name, streams)?;
            let done = format!("user {name} has a new password");
            (Change::SetPassword { name, password }, done)
        }
        What::User(User::Remove { name }) => (Change::RemoveUser { name: name.clone() }, format!("user {name} removed")),
        What::User(User::Enable { name }) => (Change::EnableUser { name: name.clone() }, format!("user {name} enabled")),
        What::User(User::Disable { name }) => (Change::DisableUser { name: name.clone() }, format!("user {name} disabled")),
        What::User(User::Limit { name, connections: Limit(max) }) => {
            let done = match max {
                Some(max) => format!("at most {max} clients are connected as {name} from now on"),
                None => format!("any number of clients may be connected as {name}"),
            };
            (Change::LimitUser { name, connections_max: max }, done)
        }
        What::Group(Group::Add { name }) => (Change::AddGroup { name: name.clone() }, format!("group {name} added")),
        What::Group(Group::Remove { name }) => (Change::RemoveGroup { name: name.clone() }, format!("group {name} removed")),
        What::Group(Group::Join { group, user }) => {
            let done = format!("{user} is in {group}");
            (Change::Join { group, name: user }, done)
        }
        What::Group(Group::Leave { group, user }) => {
            let done = format!("{user} is not in {group}");
            (Change::Leave { group, name: user }, done)
        }
        What::Acl(Acl::Allow(words)) => added(words.rule(Effect::Allow)?),
        What::Acl(Acl::Deny(words)) => added(words.rule(Effect::Deny)?),
        What::Acl(Acl::Remove { effect, rule }) => {
            let rule = rule.rule(effect)?;
            let done = format!("removed: {rule}");
            (Change::RemoveRule(rule), done)
        }
        What::PrivateTopic { topic } => (Change::PrivateTopic { topic: topic.clone() }, format!("{topic} is private")),
        What::PublicTopic { topic } => (Change::PublicTopic { topic: topic.clone() }, format!("{topic} is public")),
        What::Authorize { name, topic } => {
            let done = format!("{topic} is private, and granted to {name}");
            (Change::Authorize { topic, name }, done)
        }
        What::Unauthorize { name, topic } => {
            let done = format!("{topic} is not granted to {name}");
            (Change::Unauthorize { topic, name }, done)
        }
        What::Keys(_) | What::PrivateTopics { .. } | What::BrokerConfig | What::Admins(_) | What::Tenants(_) => {
            unreachable!("the caller sees to these")
        }
        What::User(User::List { .. }) | What::Group(Group::List { .. }) | What::Acl(Acl::List { .. } | Acl::Test { .. }) => {
            unreachable!("these change nothing")
        }
    })
}

fn added(rule: Rule) -> (Change, String) {
    let done = rule.to_string();
    (Change::AddRule(rule), done)
}

/// The password never leaves this process: the gateway gets its hash.
fn hash(from: &NewPassword, name: &str, streams: &mut Streams<'_>) -> Result<Hash, Refusal> {
    let password = password::read(from.password_file.as_deref(), name, streams)?;
    Hash::of(password.as_bytes()).map_err(Refusal::failed)
}
