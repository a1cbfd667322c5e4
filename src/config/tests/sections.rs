//! Sections with brackets of their own: parents, remotes, bridges, forwards.

use super::*;

const PARENT: &str = "[[parent]]\nurl = \"ws://127.0.0.1:8338\"\nname = \"gw1\"\n";

#[test]
fn the_readme_has_a_table_for_every_section() {
    let readme = include_str!("../../../README.md");
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
        assert_eq!(parent.settings.entries("parent.expose").map(|entry| entry.text("method")).collect::<Vec<_>>(), [method]);
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
