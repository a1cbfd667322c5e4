//! From settings to [`Config`], and the checks that need more than one key.

use super::keys::{KEYS, Key, Kind, get};
use super::mistake::{ConfigErrors, Place};
use super::settings::Settings;
use super::value::{Value, addresses};
use super::{Access, Bus, Config, Gateway, History, Http, Listen, Mqtt, Policy, Rembus, UserLimits, Wal};
use super::{anonymous, profile, tls};
use crate::access::CertificateUser;
use crate::history::model::{Limits, WhenFull};
use crate::history::{Backend, Catalog};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const DOORS: [&str; 3] = ["mqtt", "rembus", "http"];

/// The keys that say where a door listens.
pub(super) fn listeners(door: &'static str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == door && matches!(key.kind, Kind::Listen))
}

/// Checks that need more than one key. Keys that are wrong in themselves count as their default here.
pub(crate) fn check(settings: &Settings, errors: &mut ConfigErrors) {
    for door in DOORS {
        anonymous::check(settings, door, errors);
    }
    same_address(settings, errors);
    profile::check(settings, errors);
    bus(settings, errors);
    lake(settings, errors);
}

/// What a lake elsewhere needs, and who cannot keep one.
fn lake(settings: &Settings, errors: &mut ConfigErrors) {
    let from = Values(settings);
    let mut wrong = |name: &'static str, text: &str, hint: &str| {
        let key = get("history", name);
        let place = settings.given(key).map_or(Place::Nowhere, |setting| setting.origin.place());
        errors.add(place, format!("{key}: {text}"), hint.to_owned());
    };
    let (catalog, data) = (from.text("history", "catalog"), from.text_or_off("history", "lake_data"));
    let lite = Backend::of(&from.text("history", "backend")) == Backend::Lite;
    if lite && catalog != "duckdb" {
        wrong("catalog", "only DuckDB can keep its catalog elsewhere", "leave it out, or write `backend = \"duckdb\"`");
    }
    if lite && data.is_some() {
        wrong("lake_data", "only DuckDB can keep its files elsewhere", "leave it out, or write `backend = \"duckdb\"`");
    }
    if Catalog::of(&catalog).is_shared() && data.is_none() {
        let hint = "say where all gateways find the files: lake_data = \"s3://BUCKET/PREFIX\"";
        wrong("catalog", "a shared catalog needs shared files", hint);
    }
    match data.as_deref() {
        Some(place) if place.contains("://") && !place.starts_with("s3://") => {
            wrong("lake_data", "only `s3://` is known", "or a folder, with its whole path");
        }
        Some(place) if !place.contains("://") && !place.starts_with('/') => {
            wrong("lake_data", "a folder needs its whole path", "for example \"/srv/lake\", or \"s3://BUCKET/PREFIX\"");
        }
        _ => {}
    }
    if from.text_or_off("history", "s3_key").is_some() != from.text_or_off("history", "s3_secret").is_some() {
        wrong("s3_key", "a key and its secret belong together", "set both, or none");
    }
}

fn same_address(settings: &Settings, errors: &mut ConfigErrors) {
    let mut taken: Vec<(&str, String)> = Vec::new();
    let all = DOORS.into_iter().flat_map(|door| listeners(door).map(move |key| (door, key)));
    for (door, listen, address) in
        all.flat_map(|(door, key)| addresses(&settings.value(key)).into_iter().map(move |a| (door, key, a)))
    {
        if let Some((other, _)) = taken.iter().find(|(_, used)| *used == address && !address.ends_with(":0")) {
            errors.add(
                settings.given(listen).map_or(Place::Nowhere, |setting| setting.origin.place()),
                format!("{listen}: `{address}` is where [{other}] listens already"),
                "two doors need two ports".to_owned(),
            );
        }
        taken.push((door, address));
    }
}

/// Who comes over the bus does not say who he is.
fn bus(settings: &Settings, errors: &mut ConfigErrors) {
    let key = get("bus", "tcp");
    for address in addresses(&settings.value(key)).iter().filter(|address| !anonymous::is_loopback(address)) {
        errors.add(
            settings.given(key).map_or(Place::Nowhere, |setting| setting.origin.place()),
            format!("{key}: `{address}` can be reached from other machines, and the bus has no login"),
            "listen on 127.0.0.1; MQTT and Rembus are for the network".to_owned(),
        );
    }
}

/// What an operator should know although nothing is wrong.
pub(crate) fn notes(settings: &Settings) -> Vec<String> {
    anonymous::note(settings, &DOORS).into_iter().collect()
}

/// Makes the configuration out of checked settings.
pub(crate) fn config(settings: &Settings) -> Config {
    let from = Values(settings);
    let data = from.path("gateway", "data").expect("a folder cannot be off");
    Config {
        gateway: Gateway {
            name: from.text("gateway", "name"),
            stop_timeout: from.duration("gateway", "stop_timeout"),
            data: data.clone(),
        },
        mqtt: Mqtt {
            listen: from.listen("mqtt", "listen"),
            tls_listen: from.listen("mqtt", "tls_listen"),
            ws_listen: from.listen("mqtt", "ws_listen"),
            wss_listen: from.listen("mqtt", "wss_listen"),
            proxy_protocol: from.switch("mqtt", "proxy_protocol"),
            anonymous: anonymous::admitted(settings, "mqtt"),
            anonymous_everywhere: anonymous::everywhere(settings, "mqtt"),
            max_packet: from.size("mqtt", "max_packet"),
            max_topic: from.size("mqtt", "max_topic"),
            max_connections: from.count("mqtt", "max_connections"),
            session_expiry_max: from.duration_or_off("mqtt", "session_expiry_max"),
            keep_alive_max: from.duration_or_off("mqtt", "keep_alive_max"),
            queue_messages: from.count("mqtt", "queue_messages"),
            queue_size: from.size("mqtt", "queue_size"),
            queues_size: from.size("mqtt", "queues_size"),
            retained_messages: from.count("mqtt", "retained_messages"),
            retained_size: from.size("mqtt", "retained_size"),
            subscriptions_size: from.size("mqtt", "subscriptions_size"),
            sys_interval: from.duration_or_off("mqtt", "sys_interval"),
        },
        rembus: Rembus {
            listen: from.listen("rembus", "listen"),
            tls_listen: from.listen("rembus", "tls_listen"),
            tcp_listen: from.listen("rembus", "tcp_listen"),
            tcp_tls_listen: from.listen("rembus", "tcp_tls_listen"),
            proxy_protocol: from.switch("rembus", "proxy_protocol"),
            anonymous: anonymous::admitted(settings, "rembus"),
            anonymous_everywhere: anonymous::everywhere(settings, "rembus"),
            policy: match from.text("rembus", "policy").as_str() {
                "round_robin" => Policy::RoundRobin,
                "less_busy" => Policy::LessBusy,
                _ => Policy::FirstUp,
            },
            authenticated: anonymous::authenticated(settings),
            overwrite_connection: from.switch("rembus", "overwrite_connection"),
            request_timeout: from.duration("rembus", "request_timeout"),
            challenge_timeout: from.duration("rembus", "challenge_timeout"),
            ack_timeout: from.duration("rembus", "ack_timeout"),
            max_message: from.size("rembus", "max_message"),
            max_connections: from.count("rembus", "max_connections"),
            admins: from.texts("rembus", "admins"),
            tenants: from.secrets("rembus", "tenants"),
            reserved_methods: from.texts("rembus", "reserved_methods"),
        },
        http: Http {
            listen: from.listen("http", "listen"),
            tls_listen: from.listen("http", "tls_listen"),
            proxy_protocol: from.switch("http", "proxy_protocol"),
            anonymous: anonymous::admitted(settings, "http"),
            anonymous_everywhere: anonymous::everywhere(settings, "http"),
            api: from.switch("http", "api"),
            origins: from.texts("http", "origins"),
        },
        tls: tls::files(settings),
        access: Access {
            certificate_user: match from.text("access", "certificate_user").as_str() {
                "san" => CertificateUser::AlternativeName,
                _ => CertificateUser::CommonName,
            },
        },
        limits: UserLimits {
            sessions: from.count("limits", "sessions"),
            subscriptions: from.count("limits", "subscriptions"),
            connections_per_user: u32::try_from(from.count("limits", "connections_per_user")).unwrap_or(u32::MAX),
            users: crate::router::UserLimits {
                sessions: from.count("limits", "sessions_per_user"),
                registrations: from.count("limits", "subscriptions_per_user"),
                queued_bytes: from.size("limits", "queued_size_per_user"),
                retained_bytes: from.size("limits", "retained_size_per_user"),
                calls: from.count("limits", "calls_per_user"),
            },
        },
        bus: Bus {
            path: from.path("bus", "path").map(|path| data.join(path)),
            mode: u32::from_str_radix(&from.text("bus", "mode"), 8).expect("it was checked"),
            group: Some(from.text("bus", "group")).filter(|group| !group.is_empty()),
            allow_uids: from.texts("bus", "allow_uids").iter().filter_map(|uid| uid.parse().ok()).collect(),
            tcp: from.listen("bus", "tcp"),
            timeout: from.duration("bus", "timeout"),
            max_clients: from.count("bus", "max_clients"),
            max_frame: from.size("bus", "max_frame"),
            max_subscriptions: from.count("bus", "max_subscriptions"),
            queue: from.count("bus", "queue"),
            queue_size: from.size("bus", "queue_size"),
            import: from.texts("bus", "import"),
            history: from.texts("bus", "history"),
            export: from.texts("bus", "export"),
            messagepack: from.texts("bus", "messagepack"),
        },
        wal: Wal {
            ack_delay_max: from.duration("wal", "ack_delay_max"),
            keep: from.duration("wal", "keep"),
            keep_size: from.bytes("wal", "keep_size"),
            reserve: from.bytes("wal", "reserve"),
            write_budget: from.bytes_or_off("wal", "write_budget"),
        },
        history: History {
            schema: from.path("history", "schema"),
            backend: from.text("history", "backend"),
            catalog: from.text("history", "catalog"),
            lake_data: from.text_or_off("history", "lake_data"),
            s3_endpoint: from.text_or_off("history", "s3_endpoint"),
            s3_region: from.text_or_off("history", "s3_region").unwrap_or_default(),
            s3_key: from.text_or_off("history", "s3_key"),
            s3_secret: from.text_or_off("history", "s3_secret"),
            batch_interval: from.duration("history", "batch_interval"),
            batch_rows: from.count("history", "batch_rows"),
            memory_limit: from.bytes("history", "memory_limit"),
            query_timeout: from.duration("history", "query_timeout"),
            query_rows: from.count("history", "query_rows"),
            limits: Limits {
                age: from.duration_or_off("history", "retention"),
                bytes: from.bytes_or_off("history", "max_size"),
                when_full: WhenFull::parse(&from.text("history", "when_full")),
            },
            maintenance: from.duration("history", "maintenance"),
            snapshots: from.duration("history", "snapshots"),
            scrub: from.duration("history", "scrub"),
        },
        // Read by the caller, who knows the mistakes.
        links: crate::bridge::Settings::default(),
        commlib: crate::commlib::Settings::default(),
        forms: std::sync::Arc::default(),
    }
}

const KIND: &str = "the kind of the key in the table fits the field it fills";

/// Reads settings as what their kind says they are.
pub(super) struct Values<'a>(pub(super) &'a Settings);

impl Values<'_> {
    fn value(&self, section: &str, name: &str) -> Value {
        self.0.value(get(section, name))
    }

    pub(super) fn text(&self, section: &str, name: &str) -> String {
        self.text_or_off(section, name).unwrap_or_else(|| panic!("{KIND}"))
    }

    fn text_or_off(&self, section: &str, name: &str) -> Option<String> {
        match self.value(section, name) {
            Value::Text(text) | Value::Secret(text) => Some(text),
            _ => None,
        }
    }

    fn secrets(&self, section: &str, name: &str) -> BTreeMap<String, String> {
        let Value::Secrets(secrets) = self.value(section, name) else { panic!("{KIND}") };
        secrets
    }

    pub(super) fn texts(&self, section: &str, name: &str) -> Vec<String> {
        let Value::Texts(texts) = self.value(section, name) else { panic!("{KIND}") };
        texts
    }

    pub(super) fn pairs(&self, section: &str, name: &str) -> Vec<(String, String)> {
        let Value::Pairs(pairs) = self.value(section, name) else { panic!("{KIND}") };
        pairs
    }

    pub(super) fn listen(&self, section: &str, name: &str) -> Listen {
        addresses(&self.value(section, name))
    }

    pub(super) fn path(&self, section: &str, name: &str) -> Option<PathBuf> {
        match self.value(section, name) {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    pub(super) fn switch(&self, section: &str, name: &str) -> bool {
        let Value::Switch(on) = self.value(section, name) else { panic!("{KIND}") };
        on
    }

    pub(super) fn duration(&self, section: &str, name: &str) -> Duration {
        let Value::Duration(duration) = self.value(section, name) else { panic!("{KIND}") };
        duration
    }

    pub(super) fn duration_or_off(&self, section: &str, name: &str) -> Option<Duration> {
        (self.value(section, name) != Value::Off).then(|| self.duration(section, name))
    }

    pub(super) fn bytes_or_off(&self, section: &str, name: &str) -> Option<u64> {
        (self.value(section, name) != Value::Off).then(|| self.bytes(section, name))
    }

    pub(super) fn bytes(&self, section: &str, name: &str) -> u64 {
        let Value::Size(bytes) = self.value(section, name) else { panic!("{KIND}") };
        bytes
    }

    pub(super) fn size(&self, section: &str, name: &str) -> usize {
        usize::try_from(self.bytes(section, name)).unwrap_or(usize::MAX)
    }

    pub(super) fn count(&self, section: &str, name: &str) -> usize {
        let Value::Count(count) = self.value(section, name) else { panic!("{KIND}") };
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}
