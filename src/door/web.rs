//! What a browser may do in the name of a page: nothing, unless the page is one of ours or the operator has named it.
//!
//! A browser that shows a stranger's page stands on a technician's machine, or on the gateway itself, and reaches every port that
//! speaks HTTP or WebSocket there. It says where the page comes from (`Origin`, `Sec-Fetch-Site`), and which name it asked for
//! (`Host`): a name of the stranger's that was made to point here (DNS rebinding) is no name of this machine.
//!
//! Programs that are no browsers send no `Origin`, or one that is the `Host` they connect to (paho), and notice nothing of this.

use axum::http::{HeaderMap, HeaderName, header};
use std::net::IpAddr;
use std::sync::Arc;

/// Headers by which a proxy says that it asks for somebody else.
const FORWARDING: [&str; 11] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "via",
];

/// The pages that may ask beside those that the gateway itself would serve: `[http] origins`.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<[String]>);

/// Why a request is not for a page to make, for whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error("a request has one Host and one Origin at most")]
    Twice,
    #[error("a page from elsewhere may not ask; `[http] origins` names those that may")]
    Page,
    #[error("without a user the host must be `localhost` or a loopback address, or that of one of `[http] origins`")]
    Host,
}

impl Origins {
    #[must_use]
    pub fn new(list: &[String]) -> Self {
        Self(list.iter().map(|origin| normal(origin)).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origin of a request, if it is one of those that the operator has named.
    #[must_use]
    pub fn named<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let origin = text(headers, &header::ORIGIN)?;
        self.0.contains(&normal(origin)).then_some(origin)
    }

    /// What holds for every request at every port: a browser asks for a page of this gateway, or for one that is named.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Foreign> {
        if [header::HOST, header::ORIGIN].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
            return Err(Foreign::Twice);
        }
        if self.named(headers).is_some() {
            return Ok(());
        }
        let (host, origin) = (text(headers, &header::HOST).unwrap_or_default(), text(headers, &header::ORIGIN));
        let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
            || origin.is_some_and(|origin| !is_of_host(origin, host))
        {
            return Err(Foreign::Page);
        }
        // Only a browser says its origin, so the name that it was told is one that a page chose.
        if origin.is_some() { self.check_host(headers, peer) } else { Ok(()) }
    }

    /// What holds where somebody on this machine may do something because he is on this machine: he calls it by a name that only
    /// means it.
    ///
    /// # Errors
    /// If the request names another host.
    pub fn check_host(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Foreign> {
        // No browser leaves it out.
        let Some(host) = text(headers, &header::HOST) else { return Ok(()) };
        let far = !peer.to_canonical().is_loopback();
        let known = || self.0.iter().any(|origin| is_of_host(origin, host));
        if far || is_this_machine(host) || known() { Ok(()) } else { Err(Foreign::Host) }
    }
}

/// Whether a request comes from this machine itself, and not through a proxy on it that asks for others.
#[must_use]
pub fn is_near(headers: &HeaderMap, peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback() && !FORWARDING.iter().any(|name| headers.contains_key(*name))
}

/// What is wrong with an entry of `[http] origins`, as the end of a sentence.
pub(crate) fn check_origin(text: &str) -> Result<(), String> {
    let origin = normal(text);
    let Some(host) = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")) else {
        return Err("does not begin with `https://` or `http://`".into());
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err("is no origin: scheme, host and port, nothing behind them".into());
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // What is no text is the name of nothing.
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// In small letters, and without the port that its scheme has anyway.
fn normal(origin: &str) -> String {
    let origin = origin.trim().to_ascii_lowercase();
    let port = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(port).map_or(origin.clone(), str::to_owned)
}

/// Whether `origin` is a page that this `Host` serves. The scheme is not compared: TLS may end before the gateway.
fn is_of_host(origin: &str, host: &str) -> bool {
    let origin = normal(origin);
    let Some((scheme, from)) = origin.split_once("://") else { return false };
    let host = normal(&format!("{scheme}://{host}"));
    host.split_once("://").is_some_and(|(_, host)| !host.is_empty() && host == from)
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
    use std::net::Ipv4Addr;

    const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

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
        let nobody = Origins::default();
        let host = ("host", "localhost:8080");
        for fine in [
            headers(&[host]),
            headers(&[]),
            headers(&[host, ("origin", "http://localhost:8080")]),
            // TLS may end before us, and paho says https whatever it speaks.
            headers(&[host, ("origin", "https://localhost:8080")]),
            headers(&[("host", "localhost"), ("origin", "https://localhost:443")]),
            headers(&[host, ("sec-fetch-site", "same-origin")]),
            headers(&[host, ("sec-fetch-site", "none")]),
        ] {
            assert_eq!(nobody.check(&fine, NEAR), Ok(()), "{fine:?}");
        }
        for foreign in [
            headers(&[host, ("origin", "null")]),
            headers(&[host, ("origin", "https://evil.example")]),
            headers(&[host, ("origin", "http://localhost:9090")]),
            headers(&[host, ("origin", "http://localhost:8080.evil.example")]),
            headers(&[("origin", "http://localhost:8080")]),
            headers(&[host, ("sec-fetch-site", "cross-site")]),
            headers(&[host, ("sec-fetch-site", "same-site")]),
        ] {
            for peer in [NEAR, FAR] {
                assert_eq!(nobody.check(&foreign, peer), Err(Foreign::Page), "{foreign:?}");
            }
        }
        for twice in [&[host, ("host", "evil.example")][..], &[host, ("origin", "http://localhost:8080"), ("origin", "null")]] {
            assert_eq!(nobody.check(&headers(twice), NEAR), Err(Foreign::Twice));
        }
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_no_name_of_this_machine() {
        let nobody = Origins::default();
        let rebound = headers(&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")]);
        assert_eq!(nobody.check(&rebound, NEAR), Err(Foreign::Host));
        // The machine has a name in the network, where the login decides.
        assert_eq!(nobody.check(&rebound, FAR), Ok(()));
        // A page that asks for its own host with GET says no origin.
        let silent = headers(&[("host", "evil.example:8080")]);
        assert_eq!(nobody.check(&silent, NEAR), Ok(()), "it may be a program behind a proxy, which logs in");
        assert_eq!(nobody.check_host(&silent, NEAR), Err(Foreign::Host));
        assert_eq!((nobody.check_host(&silent, FAR), nobody.check_host(&headers(&[]), NEAR)), (Ok(()), Ok(())));
    }

    #[test]
    fn pages_that_the_operator_has_named_may_ask() {
        let named = Origins::new(&["https://Dash.example:443".into(), "http://192.0.2.9:3000".into()]);
        let host = ("host", "localhost:8080");
        for origin in ["https://dash.example", "http://192.0.2.9:3000"] {
            let asked = headers(&[host, ("origin", origin), ("sec-fetch-site", "cross-site")]);
            assert_eq!((named.check(&asked, NEAR), named.named(&asked)), (Ok(()), Some(origin)));
        }
        for origin in ["http://dash.example", "https://dash.example:8443", "https://dash.example.evil.example"] {
            assert_eq!(named.check(&headers(&[host, ("origin", origin)]), NEAR), Err(Foreign::Page), "{origin}");
        }
        // Its host is a name of this machine then: a proxy here serves both.
        assert_eq!(named.check_host(&headers(&[("host", "dash.example")]), NEAR), Ok(()));
        assert!(check_origin("https://dash.example").is_ok() && check_origin("http://[::1]:3000").is_ok());
        for wrong in ["*", "dash.example", "https://", "https://dash.example/", "https://*.example", "null"] {
            assert!(check_origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whoever_comes_through_a_proxy_is_not_near() {
        assert!(is_near(&headers(&[]), NEAR) && !is_near(&headers(&[]), FAR));
        for name in FORWARDING {
            assert!(!is_near(&headers(&[(name, "192.0.2.7")]), NEAR), "{name}");
        }
    }
}
