//! User and password in an HTTP header (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The user and the password of an `Authorization: Basic …` header.
#[must_use]
pub fn basic(header: &str) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(rest.trim()).ok()?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let (user, password) = bytes.split_at(colon);
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_found() {
        // The example of the RFC.
        let found = basic("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
        assert_eq!((found.0.as_str(), found.1.as_slice()), ("Aladdin", &b"open sesame"[..]));
        assert_eq!(basic(&format!("basic {}", STANDARD.encode("a:b:c"))), Some(("a".into(), b"b:c".to_vec())));
        for header in ["", "Basic", "Basic ", "Basic ?", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic QWxhZGRpbg=="] {
            assert_eq!(basic(header), None, "{header}");
        }
    }
}
