//! What the gateway proves itself with to a parent: a private key (RSA or ECDSA P-256, PEM) or a shared secret.
//!
//! The forms of signatures are those of `protocol/rembus.md` section 5.6.

use crate::disk::{Disk, SystemDisk};
use crate::rembus::cbor::Writer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) enum Key {
    Signs(Arc<dyn SigningKey>),
    Secret(String),
}

impl Key {
    /// Reads the key in `path`; makes one (ECDSA P-256) if there is no such file, with the public half beside it. Blocks.
    ///
    /// # Errors
    /// Why there is none, for the operator.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            make(path)?;
        }
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
        if !text.contains("-----BEGIN") {
            let secret = text.lines().next().unwrap_or_default().trim();
            if secret.is_empty() {
                return Err(format!("`{shown}` is empty"));
            }
            return Ok(Self::Secret(secret.to_owned()));
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| format!("`{shown}` has no private key (PEM): {error}"))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&der)
            .map_err(|error| format!("`{shown}` cannot be used: {error}"))?;
        if key.choose_scheme(&SCHEMES).is_none() {
            return Err(format!("`{shown}` is neither an RSA key nor an ECDSA key on the curve P-256"));
        }
        Ok(Self::Signs(key))
    }

    /// The answer to a challenge.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn answer(&self, challenge: &[u8], component: &str) -> Result<Vec<u8>, String> {
        let signed = |text: &str| {
            let mut writer = Writer::with_capacity(challenge.len() + text.len() + 16);
            writer.array(2).bytes(challenge).text(text);
            writer.finish()
        };
        match self {
            Self::Signs(key) => {
                let signer = key.choose_scheme(&SCHEMES).expect("it was looked at when the key was read");
                signer.sign(&signed(component)).map_err(|error| error.to_string())
            }
            Self::Secret(secret) => Ok(ring::digest::digest(&ring::digest::SHA256, &signed(secret)).as_ref().to_vec()),
        }
    }

    /// The public half as REGISTER takes it (PEM), and its type. A secret has none.
    pub(super) fn public(&self) -> Option<(String, u64)> {
        let Self::Signs(key) = self else { return None };
        let kind = if key.algorithm() == SignatureAlgorithm::RSA { 1 } else { 2 };
        Some((pem("PUBLIC KEY", key.public_key()?.as_ref()), kind))
    }
}

const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

/// Where the public half of a key lies.
fn public_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".pub");
    path.with_file_name(name)
}

fn make(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("`{}` cannot be made: {error}", path.display());
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let made = made.map_err(|_| "the system has no random numbers for a key".to_owned())?;
    if let Some(dir) = path.parent() {
        SystemDisk.create_dir_all(dir).map_err(failed)?;
    }
    SystemDisk.replace_private(path, pem("PRIVATE KEY", made.as_ref()).as_bytes()).map_err(failed)?;
    let public = Key::open(path)?.public().map(|(pem, _)| pem).unwrap_or_default();
    SystemDisk.replace(&public_path(path), public.as_bytes()).map_err(failed)?;
    log::info!(key:% = path.display(), public:% = public_path(path).display(); "a key was made; the parent needs the public half");
    Ok(())
}

/// DER as PEM, in lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
