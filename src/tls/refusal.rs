//! What a failed handshake means, in words for the log: half of the calls about TLS are one of these.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::io;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsRefusal {
    #[error("the connection ended before its TLS handshake")]
    Lost,
    #[error("what came is not TLS: a plain client on the port for TLS?")]
    NotTls,
    #[error("the client shows no certificate, and `[tls] client_certificate` is `required`")]
    NoCertificate,
    #[error("the client's certificate is refused: {0}")]
    Certificate(&'static str),
    #[error("the client does not accept the gateway's certificate: {0}")]
    Distrusted(&'static str),
    #[error("the TLS handshake failed: {0}")]
    Other(String),
}

impl From<io::Error> for TlsRefusal {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(cause) => Self::from(cause),
            // Without a word of TLS: gone.
            None => Self::Lost,
        }
    }
}

impl From<&Error> for TlsRefusal {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => Self::NotTls,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(why) => Self::Certificate(match why {
                CertificateError::UnknownIssuer => "`[tls] client_ca` does not vouch for it",
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "it is not for clients",
                CertificateError::BadSignature => "another CA of the same name signed it, not that of `[tls] client_ca`",
                _ => "it is broken",
            }),
            Error::AlertReceived(alert) => match alert {
                AlertDescription::UnknownCA => Self::Distrusted("it does not know the CA"),
                AlertDescription::DecryptError => Self::Distrusted("another CA of the same name signed it"),
                AlertDescription::CertificateExpired => Self::Distrusted("it has expired"),
                AlertDescription::BadCertificate => Self::Distrusted("it is not for this host name, or broken"),
                AlertDescription::CertificateUnknown | AlertDescription::UnsupportedCertificate => {
                    Self::Distrusted("it finds something wrong with it")
                }
                other => Self::Other(format!("the client says {other:?}")),
            },
            other => Self::Other(other.to_string()),
        }
    }
}
