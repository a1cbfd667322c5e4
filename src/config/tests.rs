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

mod sections {
    use super::*;

    const PARENT: &str = "[[parent]]\nurl = \"ws://127.0.0.1:8338\"\nname = \"gw1\"\n";

    #[test]
    fn the_readme_has_a_table_for_every_section() {
        let readme = include_str!("../../README.md");
        for section in SECTIONS {
            let mut table = format!("| `{section}` | Default | Meaning |\n|---|---|---|\n");
            for key in section.keys {
                let value = if key.required { String::new() } else { format!("`{}`", key.default_in_toml()) };
                table += &format!("| `{}` | {value} | {} |\n", key.name, key.about);
            }
            assert!(readme.contains(&table), "put this table into README.md:\n{table}");
        }
    }

    #[test]
    fn every_default_follows_the_rules_of_its_key_and_names_do_not_collide() {
        let mut variables: Vec<_> = KEYS.iter().map(Key::variable).collect();
        for section in SECTIONS {
            variables.push(env::variable(section.path));
            for key in section.keys {
                assert_eq!(key.section, section.path, "{key}");
                let text = if key.required { value::example(key) } else { key.default_in_toml() };
                let printed = format!("{} = {text}", key.name);
                let parsed = toml::de::DeTable::parse(&printed).unwrap().into_inner();
                let (_, read) = parsed.iter().next().unwrap();
                let value = value::from_toml(key, read.get_ref()).unwrap();
                assert_eq!(value.to_string(), text, "{key}");
            }
        }
        variables.sort();
        let all = variables.len();
        variables.dedup();
        assert_eq!(variables.len(), all, "a variable means one thing");
    }

    #[test]
    fn entries_keep_their_order_and_have_their_inner_ones() {
        let folder = Folder::with(&format!(
            "{}forward = [\"**/telemetry\", \"alarms\"]\nca = \"ca.pem\"\n\
             expose = [{{ method = \"query_telemetry\", as = \"gw1/query_telemetry\" }}]\n{}\
             [[parent.expose]]\nmethod = \"tables\"\nas = \"gw1/tables\"\n",
            PARENT.replace("ws:", "wss:"),
            PARENT.replace("gw1", "gw2")
        ));
        folder.write("ca.pem", &crate::tls::pki::Pki::new().ca);
        let settings = folder.load().settings;
        let parents: Vec<_> = settings.entries("parent").collect();
        assert_eq!(parents.iter().map(|entry| entry.text("name")).collect::<Vec<_>>(), ["gw1", "gw2"]);
        assert_eq!(parents[0].texts("forward"), ["**/telemetry", "alarms"]);
        assert_eq!(parents[0].path("ca"), Some(folder.file().with_file_name("ca.pem")));
        for (parent, method) in parents.iter().zip(["query_telemetry", "tables"]) {
            assert_eq!(
                parent.settings.entries("parent.expose").map(|entry| entry.text("method")).collect::<Vec<_>>(),
                [method]
            );
        }
    }

    #[test]
    fn mistakes_in_entries_are_told_with_their_place_and_a_likely_fix() {
        let folder = Folder::with(
            r#"[[parent]]
url = "cloud:8338"
nmae = "gw1"
forward = "x"
[[parent]]
expose = [{ method = "" }, 7]
[parents]
url = "ws://127.0.0.1:1"
"#,
        );
        insta::assert_snapshot!(folder.mistakes());
        let text = Folder::with("[parent]\nurl = \"ws://h:1\"\n").mistakes();
        assert!(text.contains("[[parent]]: there may be several, so brackets are double"), "{text}");
    }

    #[test]
    fn links_that_lead_nowhere_are_mistakes() {
        let remote = "[remote.cloud]\nurl = \"mqtt://127.0.0.1:1884\"\n";
        let bridge = |from: &str, to: &str, more: &str| {
            format!("{remote}[[bridge.topic]]\nfrom = \"{from}\"\nto = \"{to}\"\nfilter = \"a.*\"\n{more}")
        };
        for (text, wanted) in [
            (
                bridge("local", "clod", ""),
                "gateway.toml:5:6: [[bridge.topic]] to: there is no remote `clod`\n  hint: did you mean \"cloud\"?",
            ),
            (bridge("local", "local", ""), "a bridge goes from \"local\" to a remote or from a remote to \"local\""),
            (bridge("cloud", "local", "qos = 2\n"), "[[bridge.topic]] qos: `2` is out of range"),
            (bridge("cloud", "local", "replace = [[\"a\"]]\n"), "replace: must be a list of pairs of texts, not an array"),
            (bridge("cloud", "local", "replace = [[\"a/b\", \"c\"]]\n"), "`a/b` is more than one level"),
            (format!("{remote}password = \"p\"\n"), "[remote.cloud] password: nothing without `user`"),
            (format!("{remote}ca = \"p\"\n"), "[remote.cloud] ca: without TLS it has no effect"),
            ("[remote]\nurl = \"mqtt://h:1\"\n".to_owned(), "[remote.NAME]: every NAME is a table"),
            ("[remote.a]\nurl = \"redis://h:1\"\n".to_owned(), "cannot be bridged: only mqtt:// and mqtts:// are"),
            ("[remote.a]\nurl = \"mqtts://h:1\"\nca = \"none.pem\"\n".to_owned(), "DIR/none.pem`"),
            (format!("{PARENT}{PARENT}"), "there is another parent of this host and name"),
            (format!("{PARENT}pin = \"pin\"\n"), "[[parent]] pin: there is no `key` to register"),
            (
                "[[tcp_forward]]\nlisten = \"0.0.0.0:9000\"\nto = \"plc:502\"\n".to_owned(),
                "`0.0.0.0:9000` can be reached from other machines, and nobody has to log in there",
            ),
        ] {
            let mistakes = Folder::with(&text).mistakes();
            assert!(mistakes.contains(wanted), "{text}\n{mistakes}");
        }
        let links = Folder::with(&bridge("cloud", "local", "prefix = \"x\"\n")).load().config.links;
        let [remote] = &links.remotes[..] else { panic!("one remote") };
        assert_eq!((remote.topics[0].direction, remote.topics[0].filter.as_str()), (crate::bridge::Direction::In, "a/#"));
        assert_eq!(remote.client_id, "broker-cloud");
    }

    #[test]
    fn a_variable_gives_a_section_whole_and_replaces_that_of_the_file() {
        let folder = Folder::with(PARENT);
        let load = |text: &str| Loaded::load(&Flags::default(), env(&[("REMBUS_GATEWAY_PARENT", text)]), Some(&folder.file()));
        let settings =
            load(r#"[{ url = "ws://127.0.0.1:1", name = "a" }, { url = "ws://127.0.0.1:2", name = "b" }]"#).unwrap().settings;
        assert_eq!(settings.entries("parent").map(|entry| entry.text("name")).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(load("[]").unwrap().settings.entries("parent").count(), 0);
        for (wrong, why) in [
            ("gw1", "REMBUS_GATEWAY_PARENT: not valid TOML"),
            ("{}", "there may be several"),
            (r#"[{ url = "ws://h:1" }]"#, "REMBUS_GATEWAY_PARENT: [[parent]] name: is missing"),
        ] {
            let text = load(wrong).unwrap_err().to_string();
            assert!(text.contains(why), "{text}");
        }
    }
}

mod tls {
    use super::*;
    use crate::tls::ClientCertificate;
    use crate::tls::pki::Pki;

    /// A folder with the files of a PKI beside the configuration.
    fn folder(text: &str) -> (Folder, Pki) {
        let folder = Folder::with(text);
        let pki = Pki::new();
        for (name, content) in [("gateway.pem", &pki.chain), ("gateway.key", &pki.key), ("ca.pem", &pki.ca)] {
            folder.write(name, content);
        }
        (folder, pki)
    }

    const FILES: &str = "[tls]\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n";

    #[test]
    fn files_lie_beside_the_configuration() {
        let (folder, _) = folder(&format!(
            "{FILES}client_ca = \"ca.pem\"\nclient_certificate = \"required\"\n[mqtt]\ntls_listen = \"0.0.0.0:8883\"\n"
        ));
        let loaded = folder.load();
        let files = loaded.config.tls.unwrap();
        assert_eq!(files.certificate.parent(), folder.file().parent());
        assert_eq!(files.client_certificate, ClientCertificate::Required);
        assert_eq!(loaded.config.mqtt.tls_listen, ["0.0.0.0:8883"], "whoever has a certificate is no stranger");
        assert!(loaded.survivable.is_empty());
    }

    #[test]
    fn a_door_beyond_loopback_is_open_to_strangers_unless_certificates_are_required() {
        for optional in ["", "client_ca = \"ca.pem\"\nclient_certificate = \"optional\"\n"] {
            let (folder, _) = folder(&format!("{FILES}{optional}[mqtt]\ntls_listen = \"0.0.0.0:8883\"\n"));
            assert!(folder.mistakes().contains("can be reached from other machines"));
        }
    }

    #[test]
    fn half_a_configuration_is_a_mistake() {
        for (text, wanted) in [
            ("[mqtt]\ntls_listen = \"127.0.0.1:8883\"\n", "gateway.toml:2:14: [mqtt] tls_listen: TLS needs a certificate"),
            ("[tls]\ncertificate = \"gateway.pem\"\n", "[tls] certificate: nothing without its key"),
            ("[tls]\nkey = \"gateway.key\"\n", "[tls] key: nothing without its certificate"),
            ("[tls]\nclient_certificate = \"required\"\n", "[tls] client_certificate: nobody vouches"),
            ("[tls]\nclient_ca = \"ca.pem\"\n", "[tls] client_ca: clients are not asked for a certificate"),
        ] {
            let (folder, _) = folder(text);
            let mistakes = folder.mistakes();
            assert!(mistakes.contains(wanted), "{mistakes}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_told_with_their_key() {
        let (folder, _) = folder(&format!("{FILES}client_ca = \"ca.pem\"\nclient_certificate = \"optional\"\n"));
        let good = std::fs::read_to_string(folder.file().with_file_name("gateway.key")).unwrap();
        for (name, content, wanted) in [
            ("gateway.key", Pki::new().key.as_str(), "does not belong to the certificate"),
            ("gateway.key", "", "there is no private key (PEM)"),
            ("gateway.pem", good.as_str(), "[tls] certificate: there is no certificate (PEM)"),
            ("gateway.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a usable certificate"),
            ("ca.pem", "", "[tls] client_ca: there is no certificate (PEM)"),
        ] {
            let path = folder.file().with_file_name(name);
            let before = std::fs::read_to_string(&path).unwrap();
            folder.write(name, content);
            let mistakes = folder.mistakes();
            assert!(mistakes.contains(wanted) && mistakes.contains(name), "{wanted}: {mistakes}");
            assert!(mistakes.contains("gateway.toml:"), "{mistakes}");
            folder.write(name, &before);
        }
        std::fs::remove_file(folder.file().with_file_name("gateway.key")).unwrap();
        assert!(folder.mistakes().contains("[tls] key: `"));
    }

    #[test]
    fn an_expired_certificate_is_wrong_but_no_reason_to_stay_down() {
        let (folder, pki) = folder(FILES);
        let (chain, key) = pki.expired();
        folder.write("gateway.pem", &chain);
        folder.write("gateway.key", &key);
        let loaded = folder.load();
        let text = loaded.survivable.to_string();
        assert!(text.contains("gateway.toml:2:15: [tls] certificate: `") && text.contains("expired at"), "{text}");
    }
}

#[test]
fn admins_and_tenants_are_read_from_the_file_and_from_variables_and_pins_are_never_shown() {
    let folder = Folder::with(
        r#"[rembus]
connection_mode = "authenticated"
challenge_timeout = "5s"
admins = ["root", "ops.acme"]
[rembus.tenants]
"." = "11223344"
acme = "a,b=c d"
"#,
    );
    let loaded = folder.load();
    let rembus = &loaded.config.rembus;
    assert_eq!((rembus.authenticated, rembus.challenge_timeout), (true, Duration::from_secs(5)));
    assert_eq!(rembus.admins, ["root", "ops.acme"]);
    let pins: Vec<_> = rembus.tenants.iter().map(|(name, pin)| (name.as_str(), pin.as_str())).collect();
    assert_eq!(pins, [(".", "11223344"), ("acme", "a,b=c d")]);
    let shown: Vec<_> = loaded.settings.changed().map(|(_, setting)| setting.value.to_string()).collect();
    assert!(shown.contains(&r#"{ "." = "…", "acme" = "…" }"#.to_owned()), "{shown:?}");

    let variables =
        env(&[("REMBUS_GATEWAY_REMBUS_ADMINS", "root, ops"), ("REMBUS_GATEWAY_REMBUS_TENANTS", ".=11223344,acme=5566x=")]);
    let rembus = Loaded::load(&Flags::default(), variables, None).unwrap().config.rembus;
    assert_eq!(rembus.admins, ["root", "ops"]);
    assert_eq!(rembus.tenants["acme"], "5566x=");
    assert_eq!(rembus.reserved_methods, ["query_", "latest_", "upsert_", "delete_"]);
}

#[test]
fn a_pin_that_is_wrong_is_told_without_its_value() {
    for (text, says) in [
        ("[rembus.tenants]\nacme = \"123\"\n", "the secret of `acme` must have at least 4 characters"),
        ("[rembus]\ntenants = { acme = 123456 }\n", "must be a table of names with their secrets"),
        ("[rembus]\ntenants = [\"hidden-secret\"]\n", "must be a table of names with their secrets"),
        ("[rembus.tenants]\n\".acme\" = \"hidden-secret\"\n", "begins with a dot"),
        ("[rembus]\nadmins = \"root\"\n", "must be a list of texts"),
        ("[rembus]\nconnection_mode = \"authentcated\"\n", "did you mean \"authenticated\"?"),
    ] {
        let mistakes = Folder::with(text).mistakes();
        assert!(mistakes.contains(says) && !mistakes.contains("hidden-secret"), "{mistakes}");
    }
}

#[test]
fn components_that_prove_their_names_may_come_from_other_machines() {
    let folder = |more: &str| Folder::with(&format!("[gateway]\ndata = \"data\"\n[rembus]\nlisten = \"0.0.0.0:0\"\n{more}"));
    assert!(folder("").mistakes().contains("can be reached from other machines"));
    assert!(folder("connection_mode = \"authenticated\"\n").load().config.rembus.authenticated);
    // With a tenant components can register; who does not log in stays outside.
    assert!(!folder("tenants = { \".\" = \"11223344\" }\n").load().config.rembus.anonymous);
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
