//! Users, groups and rules as people read them.

use crate::access::admin::{Named, View};
use crate::access::policy::{ANONYMOUS, USERS};
use crate::cli::{Refusal, Streams};
use crate::visible;
use comfy_table::{Table, presets};
use serde::Serialize;

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().map(|text| text.to_uppercase()));
    table
}

fn say(table: &Table, streams: &mut Streams<'_>) {
    for line in table.lines() {
        streams.say(line.trim());
    }
}

fn as_json(what: &impl Serialize, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    streams.write(&format!("{}\n", serde_json::to_string_pretty(what).map_err(Refusal::failed)?))
}

pub(super) fn users(view: &View, json: bool, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    if json {
        return as_json(&view.users, streams);
    }
    if view.users.is_empty() {
        streams.say("there are no users");
        return Ok(());
    }
    let mut table = table(&["user", "login", "groups", "connected"]);
    for user in &view.users {
        let login = match (user.disabled, user.password) {
            (true, _) => "disabled",
            (false, true) => "password",
            (false, false) => "certificate",
        };
        let connected = user.connected.map_or("-".to_owned(), |count| count.to_string());
        let connected = user.connections_max.map_or(connected.clone(), |max| format!("{connected} of {max}"));
        table.add_row([&user.name, login, &user.groups.join(","), &connected]);
    }
    say(&table, streams);
    Ok(())
}

pub(super) fn groups(view: &View, json: bool, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    if json {
        return as_json(&view.groups, streams);
    }
    let mut table = table(&["group", "members"]);
    for group in &view.groups {
        table.add_row([format!("@{}", group.name), group.members.join(",")]);
    }
    table.add_row([format!("@{USERS}"), "everybody who logged in".to_owned()]);
    table.add_row([format!("@{ANONYMOUS}"), "everybody else".to_owned()]);
    say(&table, streams);
    Ok(())
}

pub(super) fn rules(view: &View, who: Option<&str>, json: bool, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    let user = who.and_then(|who| view.users.iter().find(|user| user.name == who));
    if let Some(who) = who
        && user.is_none()
        && !who.starts_with('@')
    {
        return Err(Refusal::failed(format_args!("there is no user `{who}`")));
    }
    let mut rules = view.rules.clone();
    rules.retain(|rule| match (who, user) {
        (None, _) => true,
        (Some(who), _) if rule.who == who => true,
        (_, Some(user)) => {
            rule.who.strip_prefix('@').is_some_and(|group| group == USERS || user.groups.iter().any(|name| name == group))
        }
        _ => false,
    });
    if json {
        return as_json(&rules, streams);
    }
    if rules.is_empty() {
        streams.say(if view.open {
            "there are no rules; everything is allowed"
        } else {
            "there are no such rules; nothing is allowed"
        });
    }
    for rule in rules {
        streams.say(rule);
    }
    Ok(())
}

pub(super) fn keys(view: &View, json: bool, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    if json {
        return as_json(&view.keys, streams);
    }
    if view.keys.is_empty() {
        streams.say("no component has a key");
        return Ok(());
    }
    let mut table = table(&["component", "key"]);
    for key in &view.keys {
        let what = key.error.as_ref().map_or_else(|| key.kind.clone().unwrap_or_default(), |error| format!("no good: {error}"));
        // Components choose their names.
        table.add_row([key.name.clone(), what].map(visible::one_line));
    }
    say(&table, streams);
    Ok(())
}

pub(super) fn private(view: &View, json: bool, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    if json {
        return as_json(&view.private, streams);
    }
    if view.private.is_empty() {
        streams.say("no topic is private");
        return Ok(());
    }
    let mut table = table(&["private topic", "granted to"]);
    for (topic, names) in &view.private {
        table.add_row([topic.clone(), names.iter().cloned().collect::<Vec<_>>().join(", ")].map(visible::one_line));
    }
    say(&table, streams);
    Ok(())
}

/// Admins or tenants.
pub(super) fn named(what: &str, list: &[Named], json: bool, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    if json {
        return as_json(&list, streams);
    }
    if list.is_empty() {
        streams.say(format_args!("there is no {what}"));
        return Ok(());
    }
    let mut table = table(&[what, "named by", "key"]);
    for item in list {
        let by = if item.configured { "configuration" } else { "command" };
        let key = item.key.map_or("", |key| if key { "yes" } else { "none: it cannot log in" });
        table.add_row([&item.name, by, key]);
    }
    say(&table, streams);
    Ok(())
}
