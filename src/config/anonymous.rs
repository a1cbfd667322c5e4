//! Who has to log in where: the `anonymous` keys, the addresses they are about, and the users there are.
//!
//! Without a word from the operator a door that only this machine can reach lets everybody in, and one that others can reach
//! lets in users only. Such a door needs a user to begin with: else nobody would get in, and the operator would not know why.

use super::keys::{Key, get};
use super::mistake::{ConfigErrors, Place};
use super::settings::Settings;
use super::tls;
use super::value::{Value, addresses};
use crate::access;
use crate::tls::ClientCertificate;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses of a door that others can reach without having shown who they are, and the keys that name them.
fn exposed(settings: &Settings, door: &'static str) -> Vec<(&'static Key, String)> {
    let proved = tls::client_certificate(settings) == ClientCertificate::Required;
    let keyed = door == "rembus" && authenticated(settings);
    super::build::listeners(door)
        // Where a certificate or a key is asked for, whoever gets in has shown who they are.
        .filter(|key| !(keyed || proved && tls::SECURE.contains(&(door, key.name))))
        .flat_map(|key| addresses(&settings.value(key)).into_iter().map(move |address| (key, address)))
        .filter(|(_, address)| !is_loopback(address))
        .collect()
}

/// Whether components must prove their names.
pub(super) fn authenticated(settings: &Settings) -> bool {
    settings.value(get("rembus", "connection_mode")) == Value::Text("authenticated".into())
}

/// Whether a component with a key, or one that registers, can get in.
fn has_components(settings: &Settings) -> bool {
    let Value::Path(data) = settings.value(get("gateway", "data")) else { return true };
    let tenants = settings.value(get("rembus", "tenants")) != Value::Secrets(BTreeMap::new());
    // If it cannot be read the gateway says so.
    tenants || access::keys::load(&data).map_or(true, |keys| !keys.is_empty())
}

/// Whether a door lets in those who do not say who they are.
pub(super) fn admitted(settings: &Settings, door: &'static str) -> bool {
    let key = get(door, "anonymous");
    match settings.given(key) {
        Some(setting) => setting.value == Value::Switch(true),
        None => exposed(settings, door).is_empty(),
    }
}

/// Whether a door lets in also those for whom a proxy on this machine asks: only if somebody has said so.
pub(super) fn everywhere(settings: &Settings, door: &'static str) -> bool {
    settings.given(get(door, "anonymous")).is_some_and(|setting| setting.value == Value::Switch(true))
}

/// Whether there is a user; if that cannot be known here, the gateway finds out.
fn has_users(settings: &Settings) -> bool {
    let Value::Path(data) = settings.value(get("gateway", "data")) else { return true };
    access::load(&data).map_or(true, |policy| !policy.users().is_empty())
}

/// A door beyond loopback that nobody said anything about needs a user.
pub(super) fn check(settings: &Settings, door: &'static str, errors: &mut ConfigErrors) {
    let key = get(door, "anonymous");
    if settings.given(key).is_some() {
        return;
    }
    let exposed = exposed(settings, door);
    if exposed.is_empty() || has_users(settings) || (door == "rembus" && has_components(settings)) {
        return;
    }
    for (listen, address) in exposed {
        errors.add(
            settings.given(listen).map_or(Place::Nowhere, |setting| setting.origin.place()),
            format!("{listen}: `{address}` can be reached from other machines, and there is no user who could log in there"),
            format!(
                "add one (`rembus-gateway admin user add NAME`), listen on 127.0.0.1, or let everybody in: [{door}] anonymous = \
                 true ({}=true)",
                key.variable()
            ),
        );
    }
}

/// Says so when users are asked for and there are none: they can be added while the gateway runs.
pub(super) fn note(settings: &Settings, doors: &[&'static str]) -> Option<String> {
    let asked =
        doors.iter().find(|door| settings.given(get(door, "anonymous")).is_some_and(|s| s.value == Value::Switch(false)))?;
    let somebody = has_users(settings) || (*asked == "rembus" && has_components(settings));
    (!somebody).then(|| {
        format!("[{asked}] anonymous = false, and there is no user yet who could log in: rembus-gateway admin user add NAME")
    })
}

pub(super) fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.to_canonical().is_loopback())
}
