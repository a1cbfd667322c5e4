//! From settings to [`Config`], and the checks that need more than one key.

use super::keys::{KEYS, Key, Kind, get};
use super::mistake::{ConfigErrors, Place};
use super::settings::Settings;
use super::value::{Value, addresses};
use super::{Access, Bus, Config, Gateway, History, Http, Listen, Mqtt, Policy, Rembus, Wal};
use super::{anonymous, tls};
use crate::access::CertificateUser;
use crate::history::model::{Limits, WhenFull};
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
    bus(settings, errors);
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
            max_packet: from.size("mqtt", "max_packet"),
            max_connections: from.count("mqtt", "max_connections"),
            session_expiry_max: from.duration_or_off("mqtt", "session_expiry_max"),
            keep_alive_max: from.duration_or_off("mqtt", "keep_alive_max"),
            queue_messages: from.count("mqtt", "queue_messages"),
            queue_size: from.size("mqtt", "queue_size"),
            queues_size: from.size("mqtt", "queues_size"),
            retained_messages: from.count("mqtt", "retained_messages"),
            retained_size: from.size("mqtt", "retained_size"),
            sys_interval: from.duration_or_off("mqtt", "sys_interval"),
        },
        rembus: Rembus {
            listen: from.listen("rembus", "listen"),
            tls_listen: from.listen("rembus", "tls_listen"),
            proxy_protocol: from.switch("rembus", "proxy_protocol"),
            anonymous: anonymous::admitted(settings, "rembus"),
            policy: match from.text("rembus", "policy").as_str() {
                "round_robin" => Policy::RoundRobin,
                "less_busy" => Policy::LessBusy,
                _ => Policy::FirstUp,
            },
            overwrite_connection: from.switch("rembus", "overwrite_connection"),
            request_timeout: from.duration("rembus", "request_timeout"),
            ack_timeout: from.duration("rembus", "ack_timeout"),
            max_message: from.size("rembus", "max_message"),
            max_connections: from.count("rembus", "max_connections"),
        },
        http: Http {
            listen: from.listen("http", "listen"),
            tls_listen: from.listen("http", "tls_listen"),
            proxy_protocol: from.switch("http", "proxy_protocol"),
            anonymous: anonymous::admitted(settings, "http"),
        },
        tls: tls::files(settings),
        access: Access {
            certificate_user: match from.text("access", "certificate_user").as_str() {
                "san" => CertificateUser::AlternativeName,
                _ => CertificateUser::CommonName,
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
        },
    }
}

const KIND: &str = "the kind of the key in the table fits the field it fills";

/// Reads settings as what their kind says they are.
struct Values<'a>(&'a Settings);

impl Values<'_> {
    fn value(&self, section: &str, name: &str) -> Value {
        self.0.value(get(section, name))
    }

    fn text(&self, section: &str, name: &str) -> String {
        let Value::Text(text) = self.value(section, name) else { panic!("{KIND}") };
        text
    }

    fn texts(&self, section: &str, name: &str) -> Vec<String> {
        let Value::Texts(texts) = self.value(section, name) else { panic!("{KIND}") };
        texts
    }

    fn listen(&self, section: &str, name: &str) -> Listen {
        addresses(&self.value(section, name))
    }

    fn path(&self, section: &str, name: &str) -> Option<PathBuf> {
        match self.value(section, name) {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    fn switch(&self, section: &str, name: &str) -> bool {
        let Value::Switch(on) = self.value(section, name) else { panic!("{KIND}") };
        on
    }

    fn duration(&self, section: &str, name: &str) -> Duration {
        let Value::Duration(duration) = self.value(section, name) else { panic!("{KIND}") };
        duration
    }

    fn duration_or_off(&self, section: &str, name: &str) -> Option<Duration> {
        (self.value(section, name) != Value::Off).then(|| self.duration(section, name))
    }

    fn bytes_or_off(&self, section: &str, name: &str) -> Option<u64> {
        (self.value(section, name) != Value::Off).then(|| self.bytes(section, name))
    }

    fn bytes(&self, section: &str, name: &str) -> u64 {
        let Value::Size(bytes) = self.value(section, name) else { panic!("{KIND}") };
        bytes
    }

    fn size(&self, section: &str, name: &str) -> usize {
        usize::try_from(self.bytes(section, name)).unwrap_or(usize::MAX)
    }

    fn count(&self, section: &str, name: &str) -> usize {
        let Value::Count(count) = self.value(section, name) else { panic!("{KIND}") };
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}
