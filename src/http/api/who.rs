//! Who asks, and whether a browser asks in a stranger's name.

use super::{Api, Failure};
use crate::access::{Access, Admission, Admits, Credentials, Denied, Refused, basic};
use crate::door::Peer;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// Somebody who may ask. The seat is kept while the request is served.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) admission: Admission,
    pub(super) peer: SocketAddr,
}

/// Nobody who may ask.
#[derive(Debug)]
pub(super) enum Nobody {
    Stranger(&'static str),
    Login(Refused),
}

impl IntoResponse for Nobody {
    fn into_response(self) -> Response {
        match self {
            Self::Stranger(why) => Failure::new(StatusCode::FORBIDDEN, why).into_response(),
            Self::Login(why) => no(why, Failure::new(status(why), why.why()).into_response()),
        }
    }
}

/// The HTTP status of a login that failed.
pub(in crate::http) fn status(why: Refused) -> StatusCode {
    match why {
        Refused::Disabled => StatusCode::FORBIDDEN,
        Refused::Throttled | Refused::Connections => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// Tells the client how to log in, if that would help.
pub(in crate::http) fn no(why: Refused, mut response: Response) -> Response {
    if status(why) == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"rembus-gateway\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Finds out whom a request acts for.
pub(in crate::http) async fn login(
    access: &Access,
    admits: Admits,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Admission, Refused> {
    let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(basic);
    let (user, password) = match &said {
        Some((user, password)) => (Some(user.as_str()), Some(password.as_slice())),
        None => (None, None),
    };
    if let (Some(user), Some(password)) = (user, password)
        && access.has_secret(user)
    {
        return access.with_secret(peer.addr, user, password).await.map_err(|Denied(why)| why);
    }
    let credentials = Credentials { user, password, certificate: peer.certificate.as_deref(), client: None };
    access.login("http", admits, peer.addr, credentials).await.map_err(|Denied(why)| why)
}

impl FromRequestParts<Api> for Asker {
    type Rejection = Nobody;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Nobody> {
        let Some(peer) = parts.extensions.get::<Peer>().cloned() else {
            return Err(Nobody::Stranger("nobody knows who is asking"));
        };
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if is_of_another_page(&parts.headers, host) {
            return Err(Nobody::Stranger("a page from elsewhere may not ask"));
        }
        let near = peer.addr.ip().to_canonical().is_loopback();
        let admits = if api.anonymous && near { Admits::Everybody } else { Admits::Users };
        let admission = login(&api.access, admits, &peer, &parts.headers).await.map_err(Nobody::Login)?;
        if admission.identity.user.is_none() && !is_this_machine(host) {
            return Err(Nobody::Stranger("without a user the host must be `localhost` or a loopback address"));
        }
        Ok(Self { admission, peer: peer.addr })
    }
}

/// Browsers say where the page comes from that makes them ask.
fn is_of_another_page(headers: &HeaderMap, host: &str) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = text("origin").is_some_and(|origin| origin.split_once("://").is_none_or(|(_, from)| from != host));
    site || origin
}

/// `host` as in the header, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.0.1", "[::1]:8080", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in
            ["", "evil.example", "127.0.0.1.evil.example", "192.0.2.1:8080", "localhost.evil.example", "[2001:db8::1]:80"]
        {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn a_browser_asks_for_its_own_page_only() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        let host = "localhost:8080";
        for fine in
            [headers(&[]), headers(&[("origin", "http://localhost:8080")]), headers(&[("sec-fetch-site", "same-origin")])]
        {
            assert!(!is_of_another_page(&fine, host), "{fine:?}");
        }
        for foreign in [
            headers(&[("origin", "null")]),
            headers(&[("origin", "https://evil.example")]),
            headers(&[("origin", "http://localhost:9090")]),
            headers(&[("sec-fetch-site", "cross-site")]),
            headers(&[("sec-fetch-site", "same-site")]),
        ] {
            assert!(is_of_another_page(&foreign, host), "{foreign:?}");
        }
    }
}
