//! Public keys and shared secrets, from the bytes of a file or a REGISTER message.

use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use std::fmt;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Largest file that is looked at; an RSA key of 8192 bits has 1.5 KiB as PEM.
pub(super) const BYTES_MAX: usize = 16 << 10;
/// Longest shared secret.
const SECRET_MAX: usize = 4096;
/// What is strong enough, and what the library verifies in reasonable time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why bytes are no key that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it has {0} bytes; a key has at most {BYTES_MAX}")]
    TooLong(usize),
    #[error("it is not a public key in PEM or DER")]
    NotAKey,
    #[error("`{0}` is not a public key")]
    Label(String),
    #[error("an RSA key must have 2048 to 8192 bits, not {0}")]
    RsaBits(usize),
    #[error("its RSA exponent is not one that is used")]
    RsaExponent,
    #[error("of elliptic curves only P-256 is taken, and points that are not compressed")]
    Curve,
    #[error("it is neither an RSA nor an ECDSA key")]
    Algorithm,
    #[error("the key is {is}, not {said}")]
    OtherType { said: &'static str, is: &'static str },
    #[error("key type {0} is unknown: 1 is RSA, 2 is ECDSA")]
    Type(u64),
    #[error("a shared secret is a line of text with 1 to {SECRET_MAX} bytes")]
    Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rsa,
    Ecdsa,
}

impl Algorithm {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
        }
    }

    /// The number in REGISTER.
    pub fn of_type(key_type: u64) -> Result<Self, KeyError> {
        match key_type {
            1 => Ok(Self::Rsa),
            2 => Ok(Self::Ecdsa),
            other => Err(KeyError::Type(other)),
        }
    }
}

/// A key that signatures can be checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub algorithm: Algorithm,
    pub bits: usize,
    /// As the library wants it: RSAPublicKey (PKCS#1), or the point.
    pub(super) material: Box<[u8]>,
}

impl PublicKey {
    /// Reads PEM or DER, told apart as the reference does.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > BYTES_MAX {
            return Err(KeyError::TooLong(bytes.len()));
        }
        if !is_pem(bytes) {
            return Self::of_der(bytes);
        }
        let pem = Pem::iter_from_buffer(bytes).next().and_then(Result::ok).ok_or(KeyError::NotAKey)?;
        match pem.label.as_str() {
            "PUBLIC KEY" => Self::of_spki(&pem.contents),
            "RSA PUBLIC KEY" => Self::of_pkcs1(&pem.contents),
            label => Err(KeyError::Label(label.chars().take(40).collect())),
        }
    }

    fn of_der(der: &[u8]) -> Result<Self, KeyError> {
        match Self::of_spki(der) {
            // A sequence of two integers is no SPKI.
            Err(KeyError::NotAKey) => Self::of_pkcs1(der),
            other => other,
        }
    }

    fn of_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::NotAKey)?;
        if !rest.is_empty() {
            return Err(KeyError::NotAKey);
        }
        let algorithm = &spki.algorithm.algorithm;
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            Self::of_pkcs1(&spki.subject_public_key.data)
        } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            if curve.is_none_or(|curve| curve != OID_EC_P256) {
                return Err(KeyError::Curve);
            }
            Self::of_point(&spki.subject_public_key.data)
        } else {
            Err(KeyError::Algorithm)
        }
    }

    fn of_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, key) = RSAPublicKey::from_der(der).map_err(|_| KeyError::NotAKey)?;
        let Some((&first, _)) = key.modulus.split_first().filter(|_| rest.is_empty()) else { return Err(KeyError::NotAKey) };
        if first & 0x80 != 0 {
            // Negative.
            return Err(KeyError::NotAKey);
        }
        let zeros: usize = key.modulus.iter().take_while(|byte| **byte == 0).count();
        let bits = key.modulus.get(zeros).map_or(0, |top| (key.modulus.len() - zeros) * 8 - top.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
        // Even ones invert nothing; huge ones only cost time. The library takes these as well.
        match key.try_exponent() {
            Ok(exponent) if exponent % 2 == 1 && (3..1 << 33).contains(&exponent) => {}
            _ => return Err(KeyError::RsaExponent),
        }
        Ok(Self { algorithm: Algorithm::Rsa, bits, material: der.into() })
    }

    fn of_point(point: &[u8]) -> Result<Self, KeyError> {
        // The library looks whether a point is on the curve when it is used; agreeing on a secret nobody needs is a use.
        let random = ring::rand::SystemRandom::new();
        let ours = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| KeyError::Curve)?;
        let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
        agreement::agree_ephemeral(ours, &theirs, |_| ()).map_err(|_| KeyError::Curve)?;
        Ok(Self { algorithm: Algorithm::Ecdsa, bits: 256, material: point.into() })
    }
}

/// What proves a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Key(PublicKey),
    /// Both sides know it (Rembus.jl only).
    Secret(Box<str>),
}

/// The secret stays out of the log.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind())
    }
}

impl Credential {
    /// The first line of a file.
    pub fn secret(bytes: &[u8]) -> Result<Self, KeyError> {
        let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
        match std::str::from_utf8(line) {
            Ok(line) if (1..=SECRET_MAX).contains(&line.len()) => Ok(Self::Secret(line.into())),
            _ => Err(KeyError::Secret),
        }
    }

    /// For people.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Key(key) => format!("{} {}", key.algorithm.name(), key.bits),
            Self::Secret(_) => "secret".into(),
        }
    }
}

pub(super) fn is_pem(bytes: &[u8]) -> bool {
    bytes.starts_with(b"-----BEGIN")
}
