//! Rembus components: tenants, admins, proofs.

use super::*;

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
