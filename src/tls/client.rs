//! TLS towards others: whom links trust, and what they show.

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// What a link needs to know. `ca`: without one, the CAs of the system are trusted. `client`: certificate and key (PEM).
///
/// # Errors
/// Which file cannot be used, and why.
pub fn client_config(ca: Option<&Path>, client: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("`{}`: {error}", path.display()))?;
            }
        }
        None => {
            // Some of a system's files may be odd; what can be used is.
            let found = rustls_native_certs::load_native_certs();
            let (added, _odd) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err("the system has no CA certificates; name those that vouch for the far end with `ca`".to_owned());
            }
        }
    }
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_der = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("`{}`: there is no private key (PEM): {error}", key.display()))?;
            versions.with_client_auth_cert(chain, key_der).map_err(|error| format!("`{}`: {error}", certificate.display()))?
        }
        None => versions.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| format!("`{}`: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("`{}`: there is no certificate (PEM)", path.display()));
    }
    Ok(found)
}
