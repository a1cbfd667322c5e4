//! Certificates for tests, made on the spot.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A CA, and a gateway's certificate from it for `localhost` and the loopback addresses.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) ca: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(String::from)).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let mut ca = params(&format!("test CA {}", NUMBER.fetch_add(1, Relaxed)));
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&issuer_key).unwrap().pem();
        let mut pki = Self { issuer: Issuer::new(ca, issuer_key), ca: ca_pem, chain: String::new(), key: String::new() };
        (pki.chain, pki.key) = pki.issue("gateway");
        pki
    }

    /// Certificate and key for `name`.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        self.sign(&params(name))
    }

    /// Likewise, but long gone.
    pub(crate) fn expired(&self) -> (String, String) {
        let mut params = params("old");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}
