mod components;
mod profile;
mod sections;
mod tls;

use super::*;
use std::ffi::OsString;

const NO_ENV: [(OsString, OsString); 0] = [];

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

const SCHEMA: &str = include_str!("../../schemas/telemetry.json");

/// A folder with `gateway.toml` in it; messages show the folder as `DIR`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        Self(dir)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("gateway.toml")
    }

    fn load(&self) -> Loaded {
        Loaded::load(&Flags::default(), NO_ENV, Some(&self.file())).unwrap()
    }

    fn mistakes(&self) -> String {
        let errors = Loaded::load(&Flags::default(), NO_ENV, Some(&self.file())).unwrap_err();
        errors.to_string().replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn an_empty_configuration_is_the_public_contract() {
    let config = Config::default();

    assert_eq!(config.gateway.name, "broker");
    assert_eq!(config.gateway.data, Path::new("/var/lib/rembus-gateway"));
    assert_eq!(config.gateway.stop_timeout, Duration::from_secs(10));
    assert_eq!(config.mqtt.listen, ["127.0.0.1:1883"]);
    assert_eq!(config.mqtt.max_packet, 2 << 20);
    assert_eq!(config.rembus.listen, ["127.0.0.1:8338"]);
    assert_eq!(config.rembus.policy, Policy::FirstUp);
    assert_eq!(config.http.listen, ["127.0.0.1:8080"]);
    assert_eq!(config.wal.ack_delay_max, Duration::from_millis(50));
    assert_eq!(config.wal.keep_size, 512 << 20);
    assert_eq!(config.history.schema, None);
    assert_eq!(config.history.query_rows, 1_000_000);
}

#[test]
fn every_default_follows_the_rules_of_its_key_and_prints_as_it_is_read() {
    for key in KEYS {
        let value = value::from_text(key, key.default).unwrap();
        let printed = format!("{} = {value}", key.name);
        let parsed = toml::de::DeTable::parse(&printed).unwrap().into_inner();
        let (_, read) = parsed.iter().next().unwrap();
        assert_eq!(value::from_toml(key, read.get_ref()).unwrap(), value, "{key}");
    }
}

#[test]
fn the_file_of_the_public_contract_passes() {
    let folder = Folder::with(
        r#"
[gateway]
name = "broker"
data = "/var/lib/rembus-gateway"
stop_timeout = "10s"
[mqtt]
listen = "127.0.0.1:1883"
anonymous = true
max_packet = "2MiB"
max_connections = 10000
[rembus]
listen = "127.0.0.1:8338"
anonymous = true
policy = "first_up"
connection_mode = "anonymous"
overwrite_connection = false
request_timeout = "10s"
challenge_timeout = "3s"
ack_timeout = "2s"
max_message = "60MiB"
admins = []
tenants = {}
[http]
listen = "127.0.0.1:8080"
[bus]
path = "bus.sock"
[wal]
ack_delay_max = "50ms"
keep = "24h"
keep_size = "512MiB"
reserve = "64MiB"
write_budget = "off"
[history]
schema = "telemetry.json"
catalog = "duckdb"
batch_interval = "60s"
batch_rows = 20000
memory_limit = "128MiB"
query_timeout = "30s"
query_rows = 1000000
"#,
    );
    folder.write("telemetry.json", SCHEMA);
    let loaded = folder.load();

    assert_eq!(loaded.schema.unwrap().tables.len(), 1);
    assert_eq!(loaded.settings.changed().map(|(key, _)| key.name).collect::<Vec<_>>(), ["schema"]);
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let folder =
        Folder::with("[mqtt]\nlisten = \"127.0.0.1:1\"\n[rembus]\nlisten = \"127.0.0.1:1\"\n[http]\nlisten = \"off\"\n");
    let env = env(&[("REMBUS_GATEWAY_MQTT_LISTEN", "127.0.0.1:2"), ("REMBUS_GATEWAY_REMBUS_LISTEN", "127.0.0.1:2")]);
    let flags = Flags { mqtt: Some("localhost:3".into()), ..Flags::default() };
    let loaded = Loaded::load(&flags, env, Some(&folder.file())).unwrap();

    assert_eq!(loaded.config.mqtt.listen, ["localhost:3"]);
    assert_eq!(loaded.config.rembus.listen, ["127.0.0.1:2"]);
    assert!(loaded.config.http.listen.is_empty());
    assert_eq!(loaded.config.gateway.name, "broker");
    let origins: Vec<_> = loaded.settings.changed().map(|(key, setting)| (key.section, setting.origin.clone())).collect();
    assert_eq!(origins[0], ("mqtt", Origin::Flag("--mqtt")));
    assert_eq!(origins[1], ("rembus", Origin::Variable("REMBUS_GATEWAY_REMBUS_LISTEN".into())));
    assert_eq!(origins[2], ("http", Origin::File { path: folder.file(), line: 6, column: 10 }));
}

#[test]
fn paths_of_the_file_start_beside_it_and_others_where_the_gateway_was_started() {
    let folder = Folder::with("[gateway]\ndata = \"state\"\n[history]\nschema = \"./telemetry.json\"\n");
    folder.write("telemetry.json", SCHEMA);
    assert_eq!(folder.load().config.gateway.data, folder.0.path().join("state"));
    assert_eq!(folder.load().config.history.schema, Some(folder.0.path().join("telemetry.json")));

    let flags = Flags { data: Some("./data".into()), ..Flags::default() };
    let config = Config::load(&flags, NO_ENV, Some(&folder.file())).unwrap();
    assert_eq!(config.gateway.data, std::env::current_dir().unwrap().join("data"));
}

#[test]
fn several_mistakes_are_told_at_once_each_with_its_place_and_a_likely_fix() {
    let folder = Folder::with(
        r#"name = "plant"
[gateway]
stop_timeout = 10
data = ""

[mqqt]
listen = "off"

[mqtt]
  listn = "127.0.0.1:1883"
max_packet = "2"
max_connections = "many"
anonymous = "yes"
keep = "1h"
colour = "blue"

[rembus]
listen = 8338
policy = "roundrobin"
overwrite_connection = 1
max_message = "2 elephants"
request_timeout = "soon"

[wal]
keep_size = "0B"
reserve = "0MiB"
ack_delay_max = "1h"

[history]
batch_rows = 0
query_rows = 1e6
"#,
    );
    insta::assert_snapshot!(folder.mistakes());
}

#[test]
fn broken_toml_is_told_with_its_place_and_does_not_hide_the_rest() {
    let folder = Folder::with(
        "[mqtt]\nlisten = \"127.0.0.1:1883\nanonymous = true\n\n[http]\nlistne = \"off\"\nlisten = \"off\"\nlisten = \"off\"\n",
    );
    insta::assert_snapshot!(folder.mistakes());
}

#[test]
fn a_text_without_quotes_is_recognised() {
    let mistakes = Folder::with("[mqtt]\nlisten = 127.0.0.1:1883 # here\nanonymous = yes\n").mistakes();
    assert!(mistakes.contains("gateway.toml:2:15: not valid TOML: invalid float\n"), "{mistakes}");
    assert!(mistakes.contains("hint: texts stand in quotes: listen = \"127.0.0.1:1883\"\n"), "{mistakes}");
}

#[test]
fn columns_count_characters_not_bytes() {
    let folder = Folder::with("[gateway]\n\"größe\" = 1\nname = \"ä\" # fine\n");
    assert!(folder.mistakes().starts_with("DIR/gateway.toml:2:1: unknown key `größe` in [gateway]"), "{}", folder.mistakes());

    let folder = Folder::with("gateway = { name = \"ää\", nmae = 1 }\n");
    assert!(folder.mistakes().starts_with("DIR/gateway.toml:1:26: "), "{}", folder.mistakes());
}

#[test]
fn variables_and_flags_are_named_when_they_are_wrong() {
    let env = env(&[
        ("REMBUS_GATEWAY_MQTT_LISTN", "off"),
        ("REMBUS_GATEWAY_MQTT_MAX_PACKET", "big"),
        ("REMBUS_GATEWAY_REMBUS_ANONYMOUS", "1"),
        ("REMBUS_GATEWAY_GATEWAY_DATA", ""),
        ("REMBUS_GATEWAY_LOG", "loud"),
        ("REMBUS_GATEWAY_LIB_DIR", "/opt/lib"),
        ("REMBUS_GATEWAYS", "not ours"),
    ]);
    let flags = Flags {
        mqtt: Some("1883".into()),
        http: Some(":8080".into()),
        rembus: Some("127.0.0.1:99999".into()),
        name: Some("a b".into()),
        bus: Some(String::new()),
        ..Flags::default()
    };
    insta::assert_snapshot!(Loaded::load(&flags, env, None).unwrap_err());
}

#[test]
fn a_door_that_strangers_can_reach_must_be_meant() {
    for address in ["0.0.0.0:1883", "192.168.1.5:0", "[::]:1883", "gateway.local:1883"] {
        let flags = Flags { mqtt: Some(address.into()), ..Flags::default() };
        let text = Loaded::load(&flags, NO_ENV, None).unwrap_err().to_string();
        assert!(text.starts_with("--mqtt: [mqtt] listen: `"), "{text}");
        assert!(text.contains("REMBUS_GATEWAY_MQTT_ANONYMOUS=true"), "{text}");

        let meant = env(&[("REMBUS_GATEWAY_MQTT_ANONYMOUS", "true")]);
        assert!(Loaded::load(&flags, meant, None).is_ok());
    }
    for address in ["127.0.0.1:1883", "127.8.0.1:0", "localhost:1883", "[::1]:1883", "[::ffff:127.0.0.1]:1883", "off"] {
        let flags = Flags { mqtt: Some(address.into()), ..Flags::default() };
        assert!(Loaded::load(&flags, NO_ENV, None).is_ok(), "{address}");
    }
}

#[test]
fn a_door_that_strangers_can_reach_is_for_users_once_there_are_some() {
    let data = tempfile::tempdir().unwrap();
    let flags = |address: &str| Flags {
        data: Some(data.path().to_str().unwrap().into()),
        mqtt: Some(address.into()),
        ..Flags::default()
    };
    assert!(Loaded::load(&flags("0.0.0.0:1883"), NO_ENV, None).is_err());
    // They can be added while the gateway runs.
    let asked = Loaded::load(&flags("0.0.0.0:1883"), env(&[("REMBUS_GATEWAY_MQTT_ANONYMOUS", "false")]), None).unwrap();
    assert!(!asked.config.mqtt.anonymous && asked.notes[0].contains("admin user add"), "{:?}", asked.notes);

    let mut policy = crate::access::policy::Policy::default();
    let name = "dev1".into();
    let user =
        crate::access::policy::Change::AddUser { name, password: None, groups: [].into(), connections_max: None, key: false };
    policy.apply(user).unwrap();
    crate::access::save(&crate::disk::SystemDisk, data.path(), &policy).unwrap();
    for (address, anonymous) in [("0.0.0.0:1883", false), ("127.0.0.1:1883", true)] {
        let config = Loaded::load(&flags(address), NO_ENV, None).unwrap().config;
        assert_eq!(config.mqtt.anonymous, anonymous);
    }
}

#[test]
fn two_doors_need_two_ports() {
    let flags = Flags { mqtt: Some("127.0.0.1:8080".into()), ..Flags::default() };
    let text = Loaded::load(&flags, NO_ENV, None).unwrap_err().to_string();
    assert!(text.contains("`127.0.0.1:8080` is where [mqtt] listens already"), "{text}");

    let port_0 = Some("127.0.0.1:0".to_owned());
    let flags = Flags { mqtt: port_0.clone(), rembus: port_0.clone(), http: port_0, ..Flags::default() };
    assert!(Loaded::load(&flags, NO_ENV, None).is_ok());
}

#[test]
fn a_file_that_is_missing_or_too_large_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Loaded::load(&Flags::default(), NO_ENV, Some(&dir.path().join("no.toml"))).unwrap_err().to_string();
    assert!(missing.contains("no.toml: the configuration file cannot be read: No such file"), "{missing}");

    let folder = Folder::with(&"#\n".repeat(1 << 20));
    assert!(folder.mistakes().contains("bytes; at most 1048576 make sense"), "{}", folder.mistakes());
}

#[test]
fn mistakes_of_the_schema_file_are_told_with_those_of_the_configuration() {
    let folder = Folder::with("[http]\nlisten = \"8080\"\n[history]\nschema = \"telemetry.json\"\n");
    folder.write("telemetry.json", &SCHEMA.replace("DOUBLE", "DUOBLE"));
    insta::assert_snapshot!(folder.mistakes());

    let missing = Folder::with("[history]\nschema = \"telemetry.json\"\n").mistakes();
    assert!(
        missing.starts_with("DIR/gateway.toml:2:10: [history] schema: `DIR/telemetry.json` cannot be read: No such"),
        "{missing}"
    );
}

#[test]
fn sizes_and_durations_print_as_people_write_them() {
    assert_eq!(show_size(2 << 20), "2MiB");
    assert_eq!(show_size(1536), "1536B");
    assert_eq!(show_size(0), "0B");
    assert_eq!(show_duration(Duration::from_millis(1500)), "1s 500ms");
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(text: String) {
        let folder = Folder::with(&text);
        drop(Loaded::load(&Flags::default(), NO_ENV, Some(&folder.file())));
        drop(Loaded::load(&Flags { mqtt: Some(text.clone()), ..Flags::default() }, NO_ENV, None));
        for key in KEYS.iter().chain(SECTIONS.iter().flat_map(|section| section.keys)) {
            drop(value::from_text(key, &text));
        }
        drop(Loaded::load(&Flags::default(), env(&[("REMBUS_GATEWAY_PARENT", &text.replace('\0', ""))]), None));
    }
}

/// The configuration table of the README, made from the keys.
fn readme_table() -> String {
    let flag = |key: &Key| match (key.section, key.name) {
        ("gateway", name @ ("name" | "data")) => format!("`--{name}`"),
        ("history", "schema") => "`--schema`".into(),
        (section, "listen") => format!("`--{section}`"),
        ("bus", "path") => "`--bus`".into(),
        _ => String::new(),
    };
    let mut table = String::new();
    for key in KEYS {
        let value = key.default_in_toml();
        let (section, name, about) = (key.section, key.name, key.about);
        table += &format!("| `[{section}]` | `{name}` | `{value}` | {} | {about} |\n", flag(key));
    }
    table
}

#[test]
fn the_readme_lists_every_key_with_its_default() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&readme_table()), "put this table into README.md:\n{}", readme_table());
}

#[test]
fn the_bus_stays_on_this_machine_and_its_lists_are_lists() {
    let folder = Folder::with(
        "[bus]\npath = \"run/bus.sock\"\nmode = \"0600\"\nallow_uids = [\"0\", \"1000\"]\nexport = [\"a/#\", \"b\"]\n",
    );
    let bus = folder.load().config.bus;
    assert_eq!(bus.path.unwrap(), Path::new("/var/lib/rembus-gateway/run/bus.sock"));
    assert_eq!((bus.mode, bus.allow_uids, bus.export), (0o600, vec![0, 1000], vec!["a/#".into(), "b".into()]));
    assert_eq!((bus.import, bus.messagepack), (vec!["#".to_owned()], Vec::new()));

    for (wrong, hint) in [
        ("tcp = \"0.0.0.0:7777\"", "can be reached from other machines"),
        ("mode = \"rw\"", "is no file mode"),
        ("mode = \"1777\"", "is no file mode"),
        ("allow_uids = [\"alice\"]", "`id -u NAME` says it"),
        ("export = \"a\"", "must be a list of texts"),
        ("queue = 1", "is out of range"),
    ] {
        let mistakes = Folder::with(&format!("[bus]\n{wrong}\n")).mistakes();
        assert!(mistakes.contains(hint), "{wrong}: {mistakes}");
    }
    let env = env(&[("REMBUS_GATEWAY_BUS_IMPORT", "a/#, b"), ("REMBUS_GATEWAY_BUS_HISTORY", "")]);
    let bus = Loaded::load(&Flags::default(), env, None).unwrap().config.bus;
    assert_eq!((bus.import, bus.history), (vec!["a/#".to_owned(), "b".into()], Vec::new()));
}

#[test]
fn a_door_listens_on_several_addresses() {
    let folder = Folder::with("[mqtt]\nlisten = \"127.0.0.1:1883, [::1]:1883\"\nws_listen = \"[::1]:8083\"\n");
    let config = folder.load().config;
    assert_eq!(config.mqtt.listen, ["127.0.0.1:1883", "[::1]:1883"]);
    assert_eq!(config.mqtt.ws_listen, ["[::1]:8083"]);
    for wrong in ["127.0.0.1:1,", "127.0.0.1:1,::1:2", "127.0.0.1:1,127.0.0.1:1", "off,127.0.0.1:1"] {
        assert!(Folder::with(&format!("[mqtt]\nlisten = \"{wrong}\"\n")).mistakes().contains("[mqtt] listen"), "{wrong}");
    }
    let text = Folder::with("[mqtt]\nlisten = \"127.0.0.1:1883, 0.0.0.0:1884\"\n").mistakes();
    assert!(text.contains("`0.0.0.0:1884` can be reached from other machines"), "{text}");
    let text = Folder::with("[mqtt]\nws_listen = \"127.0.0.1:8338\"\n").mistakes();
    assert!(text.contains("[rembus] listen: `127.0.0.1:8338` is where [mqtt] listens already"), "{text}");
}

#[test]
fn what_is_said_of_commlib_nodes_is_checked() {
    let said = "[commlib]\ntopics = [\"sensors.*\", \"a/+/b\"]\nvalues = \"drop\"\n[commlib.rpc_prefix]\nallow = [\"thing.*\"]\n\
                [[commlib.rpc]]\nrembus = \"add\"\nservice = \"thing.ops.add\"\nargs = [\"a\", \"b\"]\nunwrap = \"c\"\n\
                [[commlib.expose]]\nservice = \"plc.set\"\nrembus = \"set\"\nallow_users = [\"robot1\"]\non_error = \"reply\"\n\
                [[commlib.zlib]]\nfilter = \"events.*\"\n";
    let config = Folder::with(said).load().config;
    let (rpc, expose) = (&config.commlib.rpc[0], &config.commlib.expose[0]);
    assert_eq!((rpc.service.as_str(), rpc.args.len(), rpc.unwrap.as_deref()), ("thing/ops/add", 2, Some("c")));
    assert_eq!((expose.service.as_str(), expose.args.as_ref()), ("plc/set", None));
    assert_eq!(expose.users.as_deref(), Some(&["robot1".to_owned()][..]));
    assert_eq!(expose.on_error, crate::commlib::OnError::Reply);
    assert_eq!(config.commlib.callable, ["thing/#"]);
    assert_eq!(config.forms.objects.iter().map(|(filter, _)| filter.as_str()).collect::<Vec<_>>(), ["sensors/#", "a/+/b"]);
    assert_eq!(config.forms.zlib, [("events/#".to_owned(), 1 << 20)]);
    for (wrong, hint) in [
        ("[commlib]\ntopics = [\"sens*\"]\n", "wildcard"),
        ("[[commlib.rpc]]\nrembus = \"add\"\nservice = \"a..b\"\n", "is no name"),
        ("[[commlib.rpc]]\nrembus = \"add\"\n", "service"),
        ("[[commlib.expose]]\nservice = \"a\"\nrembus = \"commlib/b\"\n", "is a commlib service itself"),
        (
            "[[commlib.expose]]\nservice = \"a\"\nrembus = \"x\"\n[[commlib.expose]]\nservice = \"a\"\nrembus = \"y\"\n",
            "another `a`",
        ),
    ] {
        let mistakes = Folder::with(wrong).mistakes();
        assert!(mistakes.contains(hint), "{wrong}: {mistakes}");
    }
}
