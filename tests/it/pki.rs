//! Certificates made on the spot, in a folder of their own.

use crate::gateway::Plan;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A CA, and what it signs.
pub(crate) struct Pki {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of one certificate.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// A CA in `ca.pem`, and `gateway.pem` with `gateway.key` for the loopback addresses.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("CA {}", NUMBER.fetch_add(1, Relaxed)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let pki = Self { dir, issuer: Issuer::new(params, key) };
        pki.issue("gateway");
        pki
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// A certificate for `name`, which replaces an earlier one.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.sign(name, |_| {})
    }

    /// Likewise, but long gone.
    pub(crate) fn expired(&self, name: &str) -> Issued {
        self.sign(name, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// Likewise, with a key of 4096 bits (RSA): ten times the work for the gateway, as on a slow board.
    pub(crate) fn slow(&self, name: &str) -> Issued {
        self.sign_with(name, &KeyPair::from_pem(include_str!("slow.key")).unwrap(), |_| {})
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.sign_with(name, &KeyPair::generate().unwrap(), change)
    }

    fn sign_with(&self, name: &str, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(String::from)).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        // Clients of OpenSSL ask for it.
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let issued = Issued { certificate: self.file(&format!("{name}.pem")), key: self.file(&format!("{name}.key")) };
        std::fs::write(&issued.certificate, params.signed_by(key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&issued.key, key.serialize_pem()).unwrap();
        issued
    }

    /// A gateway with this certificate, and the TLS and WebSocket listeners of every door.
    pub(crate) fn plan(&self) -> Plan {
        let path = |name| self.file(name).to_str().unwrap().to_owned();
        let mut plan =
            Plan::without_history().set("tls.certificate", &path("gateway.pem")).set("tls.key", &path("gateway.key"));
        for key in ["mqtt.tls_listen", "mqtt.ws_listen", "mqtt.wss_listen", "rembus.tls_listen", "http.tls_listen"] {
            plan = plan.set(key, "127.0.0.1:0");
        }
        plan
    }

    /// Likewise, and clients are asked for certificates of this CA.
    pub(crate) fn plan_with_clients(&self, mode: &str) -> Plan {
        self.plan().set("tls.client_ca", self.ca().to_str().unwrap()).set("tls.client_certificate", mode)
    }
}
