//! Certificate, key and client CA from PEM files, checked before they are used.

use crate::clock::Wall;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A chain has a few KiB, a folder of all public CAs some hundred.
const BYTES_MAX: u64 = 4 << 20;

/// Whether clients show a certificate of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    #[default]
    Off,
    Optional,
    Required,
}

/// What `[tls]` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The gateway's own certificate, then those that lead to its CA.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who vouches for clients.
    pub client_ca: Option<PathBuf>,
    pub client_certificate: ClientCertificate,
}

/// Why files cannot be used. Each names the key of the configuration that is concerned.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("[tls] {key}: `{path}` cannot be read: {reason}")]
    Unreadable { key: &'static str, path: PathBuf, reason: String },
    #[error("[tls] {key}: there is no {what} (PEM) in `{path}`")]
    Empty { key: &'static str, path: PathBuf, what: &'static str },
    #[error("[tls] {key}: `{path}` is not a usable {what}: {reason}")]
    Unusable { key: &'static str, path: PathBuf, what: &'static str, reason: String },
    #[error("[tls] key: `{key}` does not belong to the certificate `{certificate}`")]
    Mismatch { key: PathBuf, certificate: PathBuf },
}

impl TlsError {
    /// The key below `[tls]` that is concerned.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Unreadable { key, .. } | Self::Empty { key, .. } | Self::Unusable { key, .. } => key,
            Self::Mismatch { .. } => "key",
        }
    }
}

/// From when to when the gateway's certificate is good, in seconds since 1970, and how people write the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
    pub until: String,
}

impl Validity {
    /// What is wrong with it now, if anything. A clock before 2020 has not been set yet, and says nothing.
    #[must_use]
    pub fn trouble(&self, now: Wall) -> Option<String> {
        const CLOCK_IS_SET: i64 = 1_577_836_800;
        let now = i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX);
        match now {
            ..CLOCK_IS_SET => None,
            _ if now > self.not_after => Some(format!("expired at {}", self.until)),
            _ if now < self.not_before => Some("is not valid yet".into()),
            _ => None,
        }
    }
}

impl Files {
    /// Reads and checks all of them. An expired certificate is none of the errors: see [`Validity`].
    pub fn load(&self) -> Result<(Arc<ServerConfig>, Validity), TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("certificate", &self.certificate)?;
        let validity = validity(&self.certificate, chain.first().expect("at least one certificate was found"))?;
        let own = self.own(chain, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider knows both versions");
        let builder = match self.client_verifier(&provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        config.ticketer = ring::Ticketer::new().expect("the machine has random numbers");
        // One ticket is enough to come back with; each costs bytes on the air.
        config.send_tls13_tickets = 1;
        Ok((Arc::new(config), validity))
    }

    fn own(&self, chain: Vec<CertificateDer<'static>>, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let path = || self.key.clone();
        let key = match PrivateKeyDer::from_pem_slice(&read("key", &self.key)?) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => return Err(TlsError::Empty { key: "key", path: path(), what: "private key" }),
            Err(error) => return Err(unusable("key", &self.key, "private key", error)),
        };
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { key: path(), certificate: self.certificate.clone() },
            other => unusable("key", &self.key, "private key", other),
        })
    }

    fn client_verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(path) = self.client_ca.as_ref().filter(|_| self.client_certificate != ClientCertificate::Off) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client_ca", path)? {
            roots.add(certificate).map_err(|error| unusable("client_ca", path, "CA certificate", error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match self.client_certificate {
            ClientCertificate::Required => builder,
            ClientCertificate::Off | ClientCertificate::Optional => builder.allow_unauthenticated(),
        };
        builder.build().map(Some).map_err(|error| unusable("client_ca", path, "CA certificate", error))
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |reason| TlsError::Unreadable { key, path: path.into(), reason };
    let found = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !found.is_file() || found.len() > BYTES_MAX {
        return Err(unreadable(format!("it is no file of at most {BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

/// At least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(key, path)?).collect();
    let found = found.map_err(|error| unusable(key, path, "certificate", error))?;
    if found.is_empty() {
        return Err(TlsError::Empty { key, path: path.into(), what: "certificate" });
    }
    Ok(found)
}

fn validity(path: &Path, certificate: &CertificateDer<'_>) -> Result<Validity, TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| unusable("certificate", path, "certificate", error))?;
    let validity = parsed.validity();
    Ok(Validity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        until: validity.not_after.to_string(),
    })
}

fn unusable(key: &'static str, path: &Path, what: &'static str, reason: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable { key, path: path.into(), what, reason: reason.to_string() }
}
