//! Certificates, keys and client CAs of the configuration.

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
