//! The certificate files that `[tls]` names, read with the configuration so that all mistakes are told together.

use super::keys::get;
use super::mistake::{ConfigErrors, Place};
use super::settings::Settings;
use super::value::Value;
use crate::clock::Clock;
use crate::tls::{ClientCertificate, Files};
use std::path::PathBuf;

/// Every key that makes a door listen with TLS.
pub(super) const SECURE: [(&str, &str); 5] = [
    ("mqtt", "tls_listen"),
    ("mqtt", "wss_listen"),
    ("rembus", "tls_listen"),
    ("rembus", "tcp_tls_listen"),
    ("http", "tls_listen"),
];

/// What the keys name, if there is a certificate and a key.
pub(super) fn files(settings: &Settings) -> Option<Files> {
    let path = |name| match settings.value(get("tls", name)) {
        Value::Path(path) => Some(path),
        _ => None,
    };
    let (certificate, key): (PathBuf, PathBuf) = (path("certificate")?, path("key")?);
    Some(Files { certificate, key, client_ca: path("client_ca"), client_certificate: client_certificate(settings) })
}

pub(super) fn client_certificate(settings: &Settings) -> ClientCertificate {
    match settings.value(get("tls", "client_certificate")) {
        Value::Text(text) if text == "required" => ClientCertificate::Required,
        Value::Text(text) if text == "optional" => ClientCertificate::Optional,
        _ => ClientCertificate::Off,
    }
}

/// Checks the keys with each other and reads the files. What is wrong and yet no reason not to start comes back.
pub(super) fn check(settings: &Settings, clock: &dyn Clock, errors: &mut ConfigErrors) -> ConfigErrors {
    let mut survivable = ConfigErrors::default();
    let place = |name| settings.given(get("tls", name)).map_or(Place::Nowhere, |setting| setting.origin.place());
    let is_on = |name| !matches!(settings.value(get("tls", name)), Value::Off);
    for (asked, missing) in [("certificate", "key"), ("key", "certificate")] {
        if is_on(asked) && !is_on(missing) {
            errors.add(
                place(asked),
                format!("[tls] {asked}: nothing without its {missing}"),
                format!("[tls] {missing} = \"…\""),
            );
        }
    }
    if client_certificate(settings) != ClientCertificate::Off && !is_on("client_ca") {
        let text = "[tls] client_certificate: nobody vouches for the certificates of clients".to_owned();
        errors.add(place("client_certificate"), text, "[tls] client_ca = \"clients-ca.pem\"".to_owned());
    }
    if client_certificate(settings) == ClientCertificate::Off && is_on("client_ca") {
        let text = "[tls] client_ca: clients are not asked for a certificate, so it has no effect".to_owned();
        errors.add(place("client_ca"), text, "[tls] client_certificate = \"optional\" or \"required\"".to_owned());
    }
    for (door, name) in SECURE {
        let key = get(door, name);
        if let Some(setting) = settings.given(key).filter(|setting| setting.value != Value::Off)
            && !is_on("certificate")
        {
            let hint = "[tls] certificate = \"gateway.pem\" and key = \"gateway.key\"".to_owned();
            errors.add(setting.origin.place(), format!("{key}: TLS needs a certificate"), hint);
        }
    }
    let Some(files) = files(settings) else { return survivable };
    match files.load() {
        Err(error) => errors.add(place(error.key()), error.to_string(), None),
        Ok((_, validity)) => {
            if let Some(trouble) = validity.trouble(clock.wall()) {
                let text = format!("[tls] certificate: `{}` {trouble}; clients refuse it", files.certificate.display());
                survivable.add(place("certificate"), text, "the gateway starts with it; SIGHUP takes a new one".to_owned());
            }
        }
    }
    survivable
}
