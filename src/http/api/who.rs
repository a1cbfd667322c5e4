//! Who asks.

use super::{Api, Failure};
use crate::access::{Access, Admission, Admits, Credentials, Denied, Refused, basic};
use crate::door::{Foreign, Peer, is_near};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;

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
    Foreign(Foreign),
    Login(Refused),
}

impl IntoResponse for Nobody {
    fn into_response(self) -> Response {
        match self {
            Self::Stranger(why) => Failure::new(StatusCode::FORBIDDEN, why).into_response(),
            Self::Foreign(why) => Failure::new(StatusCode::FORBIDDEN, why.to_string()).into_response(),
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
        // Whoever a proxy on this machine asks for is not on it.
        let near = is_near(&parts.headers, peer.addr.ip());
        let admits = if api.anonymous && near { Admits::Everybody } else { Admits::Users };
        let admission = login(&api.access, admits, &peer, &parts.headers).await.map_err(Nobody::Login)?;
        if admission.identity.user.is_none() {
            api.origins.check_host(&parts.headers, peer.addr.ip()).map_err(Nobody::Foreign)?;
        }
        Ok(Self { admission, peer: peer.addr })
    }
}
