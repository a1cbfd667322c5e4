//! One word for many keys, and what browsers may do.

use super::*;

#[test]
fn one_word_hardens_a_gateway_and_keys_that_are_set_win() {
    for (section, name, text) in crate::config::profile::HARDENED {
        assert!(value::from_text(keys::get(section, name), text).is_ok(), "[{section}] {name} = {text}");
    }
    let folder = Folder::with("[gateway]\nprofile = \"hardened\"\n[mqtt]\nmax_packet = \"512KiB\"\n[http]\nanonymous = true\n");
    let loaded = folder.load();
    let config = &loaded.config;
    assert!(!config.mqtt.anonymous && !config.rembus.anonymous && config.http.anonymous);
    assert_eq!((config.mqtt.max_packet, config.rembus.max_message, config.bus.mode), (512 << 10, 1 << 20, 0o600));
    let said = loaded.settings.given(keys::get("mqtt", "anonymous")).unwrap().origin.to_string();
    assert!(said.starts_with("profile `hardened`, ") && said.ends_with("gateway.toml:2"), "{said}");
    assert!(loaded.notes.iter().any(|note| note.contains("there is no user yet")), "{:?}", loaded.notes);

    let env = env(&[("REMBUS_GATEWAY_GATEWAY_PROFILE", "hardened")]);
    assert!(!Loaded::load(&Flags::default(), env, None).unwrap().config.mqtt.anonymous);
    assert!(Config::default().mqtt.anonymous);
}

#[test]
fn a_hardened_gateway_speaks_tls_only_beyond_this_machine() {
    for (door, key) in
        [("mqtt", "listen"), ("mqtt", "ws_listen"), ("rembus", "listen"), ("rembus", "tcp_listen"), ("http", "listen")]
    {
        let said = format!("[gateway]\nprofile = \"hardened\"\n[{door}]\n{key} = \"0.0.0.0:7000\"\n");
        let mistakes = Folder::with(&said).mistakes();
        assert!(mistakes.contains("DIR/gateway.toml:4") && mistakes.contains("without TLS"), "{mistakes}");
        // Without the word it is a question of users only.
        let said = format!("[{door}]\n{key} = \"0.0.0.0:7000\"\nanonymous = false\n");
        Folder::with(&said).load();
    }
}

#[test]
fn pages_that_may_ask_are_origins() {
    let config = Folder::with("[http]\norigins = [\"https://dash.example\", \"http://192.0.2.9:3000\"]\n").load().config;
    assert_eq!(config.http.origins.len(), 2);
    for wrong in ["*", "dash.example", "https://dash.example/page"] {
        let mistakes = Folder::with(&format!("[http]\norigins = [\"{wrong}\"]\n")).mistakes();
        assert!(mistakes.contains("[http] origins"), "{mistakes}");
    }
}
