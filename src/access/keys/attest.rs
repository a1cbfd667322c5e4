//! Challenges, and what answers them.

use super::Credential;
use super::credential::{Algorithm, PublicKey};
use crate::rembus::cbor::Writer;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};

/// Bytes of a challenge. The reference has 4, which can be collected; clients take any number.
const BYTES: usize = 32;

/// A question that is asked once: whoever answers it consumes it.
#[derive(Debug)]
pub struct Challenge(Box<[u8]>);

impl Challenge {
    /// A fresh one; `None` if the machine has no randomness.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes.into()))
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// What is signed, in CBOR: `[challenge, cid]`; with a shared secret that takes the place of the cid.
    pub(in crate::access) fn signed(&self, text: &str) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.0.len() + text.len() + 8);
        writer.array(2).bytes(&self.0).text(text);
        writer.finish()
    }

    /// What somebody who knows a shared secret answers.
    #[must_use]
    pub fn answer(&self, secret: &str) -> Vec<u8> {
        digest(&SHA256, &self.signed(secret)).as_ref().to_vec()
    }

    /// Whether `signature` is the answer of whoever has the other half of `credential`.
    #[must_use]
    pub fn is_answered(&self, credential: &Credential, cid: &str, signature: &[u8]) -> bool {
        match credential {
            Credential::Key(key) => key.verifies(&self.signed(cid), signature),
            Credential::Secret(secret) => same(&self.answer(secret), signature),
        }
    }
}

impl PublicKey {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Rsa => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ecdsa => &ECDSA_P256_SHA256_ASN1,
        };
        UnparsedPublicKey::new(algorithm, &self.material).verify(message, signature).is_ok()
    }
}

/// Compares in a time that says nothing about where two values differ: what is compared are codes under a key that is made for
/// it, in constant time.
pub(in crate::access) fn same(one: &[u8], other: &[u8]) -> bool {
    let random = ring::rand::SystemRandom::new();
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &random) else { return false };
    hmac::verify(&key, other, hmac::sign(&key, one).as_ref()).is_ok()
}
