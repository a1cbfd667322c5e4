//! What the configuration says of commlib nodes: `[commlib]`, `[commlib.rpc_prefix]`, `[[commlib.rpc]]`, `[[commlib.expose]]`,
//! `[[commlib.zlib]]`.

use super::build::Values;
use super::keys::{HOUR, KIB, Kind, MIB, Words, key, required};
use super::mistake::ConfigErrors;
use super::sections::{Entry, Form, Section};
use super::settings::Settings;
use crate::commlib::{self, Expose, OnError, Rpc, names};
use crate::message::{Forms, Values as Objects};
use std::collections::BTreeSet;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

const fn method(example: &'static str) -> Kind {
    Kind::Phrase(Words { example, check: |text| if text.is_empty() { Err("has no name".into()) } else { Ok(()) } })
}

const SERVICE: Kind = Kind::Phrase(Words {
    example: "thing.device0.ops.add_two_ints",
    check: |text| names::topic(text).map(drop).ok_or_else(|| "is no name: letters, digits and `/ . - _`".into()),
});

pub(super) const FILTERS: Kind = Kind::Texts(Words { example: "sensors.*", check: filter });

fn filter(text: &str) -> Result<(), String> {
    names::filter(text).map(drop).ok_or_else(|| "has a wildcard that is not a level of its own".into())
}

const FIELDS: Kind = Kind::Texts(Words { example: "a", check: |_| Ok(()) });

/// A Rembus method that is a commlib service.
pub(super) const RPC: Section = Section {
    path: "commlib.rpc",
    form: Form::List,
    max: 1_000,
    keys: &[
        required("commlib.rpc", "rembus", method("add_two_ints"), "the method that components call"),
        required("commlib.rpc", "service", SERVICE, "the commlib service behind it"),
        key("commlib.rpc", "args", FIELDS, "", "names for positional arguments; one object is passed as it is"),
        key("commlib.rpc", "timeout", Kind::Duration(MS, HOUR), "10s", "how long the service may take"),
        key(
            "commlib.rpc",
            "unwrap",
            Kind::Phrase(Words { example: "c", check: |_| Ok(()) }),
            "",
            "the field of the answer that is the result; without, all fields are",
        ),
    ],
};

/// A commlib service that is a Rembus method.
pub(super) const EXPOSE: Section = Section {
    path: "commlib.expose",
    form: Form::List,
    max: 1_000,
    keys: &[
        required("commlib.expose", "service", SERVICE, "the service that nodes call"),
        required("commlib.expose", "rembus", method("query_telemetry"), "the method behind it: a component's or the gateway's"),
        key("commlib.expose", "args", FIELDS, "", "the order in which fields become arguments; without, they are one object"),
        key("commlib.expose", "result", method("result"), "result", "the field for a result that is not an object"),
        key("commlib.expose", "allow_users", FIELDS, "", "who may call it; without, who may call the method"),
        key(
            "commlib.expose",
            "on_error",
            Kind::Choice(&["silent", "reply"]),
            "silent",
            "`reply`: the answer to a failed call has `error` and `code`",
        ),
        key("commlib.expose", "timeout", Kind::Duration(MS, HOUR), "9s", "no answer comes later; a commlib caller waits 10 s"),
    ],
};

/// Topics whose payloads are compressed.
pub(super) const ZLIB: Section = Section {
    path: "commlib.zlib",
    form: Form::List,
    max: 100,
    keys: &[
        required(
            "commlib.zlib",
            "filter",
            Kind::Phrase(Words { example: "events.*", check: filter }),
            "MQTT payloads on these topics are zlib streams, inflated for Rembus and history",
        ),
        key("commlib.zlib", "max", Kind::Size(KIB, 256 * MIB), "1MiB", "a payload that inflates to more stays as it is"),
    ],
};

/// The settings of the part, and the forms of messages.
pub(super) fn read(settings: &Settings, errors: &mut ConfigErrors) -> (commlib::Settings, Forms) {
    let values = Values(settings);
    let filters = |section, name| -> Vec<String> {
        // What is none is a mistake already.
        values.texts(section, name).iter().filter_map(|pattern| names::filter(pattern)).collect()
    };
    let rules = match values.text("commlib", "values").as_str() {
        "drop" => Objects::Drop,
        "pass" => Objects::Pass,
        _ => Objects::Wrap,
    };
    let forms = Forms {
        objects: filters("commlib", "topics").into_iter().map(|filter| (filter, rules)).collect(),
        zlib: sound(settings, "commlib.zlib").filter_map(zlib).collect(),
    };
    let part = commlib::Settings {
        nodes: values.switch("commlib", "nodes"),
        heartbeat: values.duration("commlib", "heartbeat"),
        heartbeats: filters("commlib", "heartbeats"),
        rpc: sound(settings, "commlib.rpc").filter_map(rpc).collect(),
        callable: if values.switch("commlib.rpc_prefix", "enabled") {
            filters("commlib.rpc_prefix", "allow")
        } else {
            Vec::new()
        },
        timeout: values.duration("commlib", "timeout"),
        in_flight: values.count("commlib", "in_flight"),
        expose: sound(settings, "commlib.expose").filter_map(expose).collect(),
        gateway_services: values.switch("commlib", "gateway_services"),
        on_error: on_error(&values.text("commlib", "on_error")),
        goal_timeout: values.duration("commlib", "goal_timeout"),
        cancel_timeout: values.duration("commlib", "cancel_timeout"),
        private_actions: values.text("commlib", "action_topics") != "public",
    };
    check(settings, errors);
    (part, forms)
}

fn sound<'a>(settings: &'a Settings, path: &'static str) -> impl Iterator<Item = &'a Entry> {
    settings.entries(path).filter(|entry| entry.sound)
}

fn zlib(entry: &Entry) -> Option<(String, usize)> {
    Some((names::filter(&entry.text("filter"))?, usize::try_from(entry.bytes("max")).unwrap_or(usize::MAX)))
}

fn rpc(entry: &Entry) -> Option<Rpc> {
    Some(Rpc {
        method: entry.text("rembus"),
        service: names::topic(&entry.text("service"))?,
        args: entry.texts("args"),
        timeout: entry.duration("timeout"),
        unwrap: entry.text_or_none("unwrap"),
    })
}

fn expose(entry: &Entry) -> Option<Expose> {
    let given = |name| entry.is_given(name).then(|| entry.texts(name));
    Some(Expose {
        service: names::topic(&entry.text("service"))?,
        method: entry.text("rembus"),
        args: given("args"),
        result: entry.text("result"),
        users: given("allow_users"),
        on_error: on_error(&entry.text("on_error")),
        timeout: entry.duration("timeout"),
    })
}

fn on_error(text: &str) -> OnError {
    if text == "reply" { OnError::Reply } else { OnError::Silent }
}

/// Each method and each service once, and no circles.
fn check(settings: &Settings, errors: &mut ConfigErrors) {
    for (path, name) in [("commlib.rpc", "rembus"), ("commlib.expose", "service")] {
        let mut seen = BTreeSet::new();
        for entry in sound(settings, path) {
            let text = entry.text(name);
            if !seen.insert(names::topic(&text).unwrap_or(text.clone())) {
                errors.add(entry.place(name), format!("{entry} {name}: there is another `{text}`"), None);
            }
        }
    }
    let mine: BTreeSet<String> = sound(settings, "commlib.rpc").map(|entry| entry.text("rembus")).collect();
    for entry in sound(settings, "commlib.expose") {
        let method = entry.text("rembus");
        if method.starts_with("commlib/") || mine.contains(&method) {
            let text = format!("{entry} rembus: `{method}` is a commlib service itself");
            errors.add(entry.place("rembus"), text, "nodes call that service by its own name".to_owned());
        }
    }
}
