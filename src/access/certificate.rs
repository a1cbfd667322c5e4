//! From a client certificate to a user's name.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Which part of a certificate names the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateUser {
    /// The common name of the subject.
    #[default]
    CommonName,
    /// The first alternative name: DNS, else e-mail, else URI.
    AlternativeName,
}

/// The user a certificate names; the caller has verified it. `None` if it names nobody, or more than one where one is expected.
#[must_use]
pub fn user_of_certificate(der: &[u8], from: CertificateUser) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = match from {
        CertificateUser::CommonName => {
            let mut names = certificate.subject().iter_common_name();
            let name = names.next()?.as_str().ok()?;
            // Which of two would it be?
            names.next().is_none().then_some(name)?.to_owned()
        }
        CertificateUser::AlternativeName => {
            let names = certificate.subject_alternative_name().ok()??;
            let pick =
                |pick: for<'a> fn(&'a GeneralName<'a>) -> Option<&'a str>| names.value.general_names.iter().find_map(pick);
            let dns = pick(|name| if let GeneralName::DNSName(text) = name { Some(text) } else { None });
            let mail = || pick(|name| if let GeneralName::RFC822Name(text) = name { Some(text) } else { None });
            let uri = || pick(|name| if let GeneralName::URI(text) = name { Some(text) } else { None });
            dns.or_else(mail).or_else(uri)?.to_owned()
        }
    };
    // A NUL has been used to make `admin\0.evil.example` look like `admin`.
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(names: &[&str], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternatives;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_the_user() {
        let der = certificate(&["dev1"], vec![SanType::DnsName("other".try_into().unwrap())]);
        assert_eq!(user_of_certificate(&der, CertificateUser::CommonName).as_deref(), Some("dev1"));
        assert_eq!(user_of_certificate(&certificate(&[], vec![]), CertificateUser::CommonName), None);
        assert_eq!(user_of_certificate(&certificate(&[""], vec![]), CertificateUser::CommonName), None);
        assert_eq!(user_of_certificate(&certificate(&["admin\0.evil"], vec![]), CertificateUser::CommonName), None);
    }

    #[test]
    fn or_the_first_alternative_name() {
        let from = CertificateUser::AlternativeName;
        let uri = || SanType::URI("urn:dev:7".try_into().unwrap());
        let mail = || SanType::Rfc822Name("dev7@example.org".try_into().unwrap());
        let dns = || SanType::DnsName("dev7.example.org".try_into().unwrap());
        let user = |names| user_of_certificate(&certificate(&["cn"], names), from);
        assert_eq!(user(vec![uri(), mail(), dns()]).as_deref(), Some("dev7.example.org"));
        assert_eq!(user(vec![uri(), mail()]).as_deref(), Some("dev7@example.org"));
        assert_eq!(user(vec![uri()]).as_deref(), Some("urn:dev:7"));
        assert_eq!(user(vec![]), None);
    }

    proptest::proptest! {
        #[test]
        fn garbage_names_nobody_and_never_panics(der: Vec<u8>) {
            assert_eq!(user_of_certificate(&der, CertificateUser::CommonName), None);
        }
    }
}
