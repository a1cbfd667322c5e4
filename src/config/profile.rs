//! `[gateway] profile`: one word for many keys. What it says holds where nobody has said anything else.

use super::anonymous::is_loopback;
use super::build::listeners;
use super::keys::get;
use super::mistake::ConfigErrors;
use super::settings::{Origin, Settings};
use super::tls::SECURE;
use super::value::{self, Value, addresses};

/// What `hardened` means: users only, at every door; small limits.
pub(super) const HARDENED: &[(&str, &str, &str)] = &[
    ("mqtt", "anonymous", "false"),
    ("mqtt", "max_packet", "256KiB"),
    ("mqtt", "max_connections", "1000"),
    ("mqtt", "session_expiry_max", "7d"),
    ("mqtt", "keep_alive_max", "5min"),
    ("mqtt", "queue_messages", "2000"),
    ("mqtt", "queue_size", "1MiB"),
    ("mqtt", "queues_size", "16MiB"),
    ("mqtt", "retained_messages", "10000"),
    ("mqtt", "retained_size", "16MiB"),
    ("rembus", "anonymous", "false"),
    ("rembus", "max_message", "1MiB"),
    ("rembus", "max_connections", "1000"),
    ("http", "anonymous", "false"),
    ("limits", "sessions", "5000"),
    ("limits", "sessions_per_user", "100"),
    ("limits", "connections_per_user", "100"),
    ("limits", "subscriptions", "100000"),
    ("limits", "subscriptions_per_user", "5000"),
    ("limits", "queued_size_per_user", "4MiB"),
    ("limits", "retained_size_per_user", "4MiB"),
    ("limits", "calls_per_user", "256"),
    ("bus", "mode", "0600"),
    ("bus", "max_clients", "16"),
    ("bus", "max_frame", "1MiB"),
    ("bus", "queue", "1024"),
    ("bus", "queue_size", "1MiB"),
];

/// Gives every key of the profile its value that nobody has set.
pub(super) fn apply(settings: &mut Settings, errors: &mut ConfigErrors) {
    let profile = get("gateway", "profile");
    let Some(origin) = settings.given(profile).map(|setting| setting.origin.clone()) else { return };
    if settings.value(profile) != Value::Text("hardened".into()) {
        return;
    }
    for (section, name, text) in HARDENED {
        let key = get(section, name);
        if settings.given(key).is_none() {
            let origin = Origin::Profile { name: "hardened", said: Box::new(origin.clone()) };
            settings.set(key, value::from_text(key, text), origin, errors);
        }
    }
}

/// Beyond this machine a hardened gateway speaks TLS only: passwords and readings are for nobody on the way.
pub(super) fn check(settings: &Settings, errors: &mut ConfigErrors) {
    if settings.value(get("gateway", "profile")) != Value::Text("hardened".into()) {
        return;
    }
    for door in ["mqtt", "rembus", "http"] {
        for key in listeners(door).filter(|key| !SECURE.contains(&(door, key.name))) {
            let Some(setting) = settings.given(key) else { continue };
            for address in addresses(&setting.value).iter().filter(|address| !is_loopback(address)) {
                let text = format!(
                    "{key}: `{address}` can be reached from other machines without TLS, which `hardened` does not allow"
                );
                let hint = "listen there with the key for TLS (`tls_listen`, `wss_listen`, `tcp_tls_listen`), or leave the profile out";
                errors.add(setting.origin.place(), text, hint.to_owned());
            }
        }
    }
}
