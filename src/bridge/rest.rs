//! `[[rest_proxy]]`: a method that asks one HTTP service, for components and commlib nodes that cannot do so themselves.
//!
//! ```text
//! weather {"verb": "GET", "path": "/api/v1/now", "query_params": {"unit": "C"}}  ─▶  {"status_code": 200, "headers": {…}, "data": …}
//! ```
//! The names of the fields are those of commlib's RESTProxy (`protocol/commlib.md` section 9.8); `body_params` is sent as JSON.
//! Unlike there the service is fixed by the configuration, and so is what may be asked of it; redirects are answers, not
//! followed. Time and size are bounded.

use super::forward::LinkError;
use super::port::{Heard, Port};
use super::stats::LinkStats;
use super::{Surroundings, TlsFiles};
use crate::mapping;
use crate::net::Stream;
use crate::router::{CallId, Status};
use crate::tls;
use axum::body::Body;
use bytes::Bytes;
use ciborium::Value;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::Map;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const HEADERS_MAX: usize = 32;
/// Headers by which services let a request say that it means another verb, path or client than it has. The list of what may be
/// asked would mean nothing with them.
const MISLEADING: [&str; 12] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-real-ip",
    "forwarded",
];
/// Headers that belong to the connection, or that the proxy sets itself.
const OWN: [&str; 8] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "proxy-authorization"];

/// One proxy.
#[derive(Debug, Clone)]
pub struct RestProxy {
    /// The method that components call.
    pub method: String,
    pub host: String,
    pub port: u16,
    pub tls: Option<TlsFiles>,
    pub allow: Vec<Allowed>,
    pub timeout: Duration,
    /// Largest body, in either direction.
    pub body_max: usize,
    pub in_flight_max: usize,
}

/// A verb and a path, or all paths below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    verb: String,
    path: String,
    below: bool,
}

impl Allowed {
    /// From `GET /api/v1/now` or `GET /api/v1/*`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (verb, path) = text.split_once(' ').ok_or("is not a verb and a path")?;
        if verb.is_empty() || !verb.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err("does not begin with a verb in capitals".into());
        }
        let (path, below) = match path.strip_suffix('*') {
            Some(path) if path.ends_with('/') => (path, true),
            Some(_) => return Err("has a star that is no whole level".into()),
            None => (path, false),
        };
        if !is_path(path) || path.contains('*') {
            return Err("has no path that begins with `/`".into());
        }
        Ok(Self { verb: verb.into(), path: path.into(), below })
    }

    fn allows(&self, verb: &str, path: &str) -> bool {
        self.verb == verb && if self.below { path.starts_with(&self.path) } else { path == self.path }
    }
}

/// A path that means what it says, to every service: nothing in it leads somewhere else. Percent signs and backslashes are in no
/// path here, so nothing can be encoded, once or twice. Services differ in what they do with a level before they look at it: some
/// cut parameters off (`..;x` is `..` to a servlet), some drop levels that are empty, some take any number of dots for two.
fn is_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&b);
    let Some(levels) = path.strip_prefix('/') else { return false };
    // A slash at the end is a level without a name, which is fine.
    let inner = levels.strip_suffix('/').unwrap_or(levels);
    let is_level = |level: &str| {
        let name = level.split(';').next().unwrap_or_default();
        !name.is_empty() && !name.bytes().all(|b| b == b'.')
    };
    path.len() <= 2_000 && path.bytes().all(plain) && (levels.is_empty() || inner.split('/').all(is_level))
}

/// What a caller wants.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    base_url: Option<String>,
    verb: Option<String>,
    path: String,
    query_params: Map<String, serde_json::Value>,
    path_params: Map<String, serde_json::Value>,
    body_params: Option<serde_json::Value>,
    headers: Map<String, serde_json::Value>,
}

/// Serves until the gateway stops.
pub(super) async fn serve(proxy: RestProxy, around: Surroundings, stats: Arc<LinkStats>) {
    let proxy = Arc::new(proxy);
    if let Err(error) = work(&proxy, &around, &stats).await {
        log::info!(method = proxy.method.as_str(), why:% = error; "a REST proxy has ended");
    }
    stats.update(|report| report.connected = false);
}

async fn work(proxy: &Arc<RestProxy>, around: &Surroundings, stats: &Arc<LinkStats>) -> Result<(), LinkError> {
    let mut port = Port::open(&around.hub, &around.clock, "$rest").await?;
    port.expose(proxy.method.clone()).await?;
    stats.update(|report| report.connected = true);
    let mut asking: JoinSet<(CallId, Result<Value, String>)> = JoinSet::new();
    loop {
        tokio::select! {
            heard = port.hear() => {
                let Heard::Request(call, data) = heard? else { continue };
                port.written().await?;
                stats.update(|report| report.calls += 1);
                if asking.len() >= proxy.in_flight_max {
                    stats.dropped("too_many", 1);
                    port.answer(call, Status::METHOD_UNAVAILABLE, text(&proxy.method)).await?;
                    continue;
                }
                let proxy = Arc::clone(proxy);
                asking.spawn(async move {
                    let outcome = tokio::time::timeout(proxy.timeout, ask(&proxy, &data)).await;
                    (call, outcome.unwrap_or_else(|_| Err("the service does not answer in time".to_owned())))
                });
            }
            Some(Ok((call, outcome))) = asking.join_next() => match outcome {
                Ok(answer) => {
                    let mut data = Vec::new();
                    ciborium::into_writer(&answer, &mut data).expect("writing to a vector cannot fail");
                    port.answer(call, Status::OK, data.into()).await?;
                }
                Err(why) => {
                    stats.dropped("failed", 1);
                    port.answer(call, Status::METHOD_EXCEPTION, text(&why)).await?;
                }
            },
        }
    }
}

fn text(value: &str) -> Bytes {
    mapping::json_to_cbor(&value.into())
}

/// Asks the service once. The error is for the caller.
async fn ask(proxy: &RestProxy, data: &[u8]) -> Result<Value, String> {
    let request = request(proxy, data)?;
    let answer = connect(proxy).await.map_err(|why| format!("the service cannot be reached: {why}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(answer)).await.map_err(|e| e.to_string())?;
    let driving = tokio::spawn(connection);
    let outcome = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(Body::new(body), proxy.body_max).await;
        let body = body.map_err(|_| format!("the answer is larger than {} bytes, or it broke off", proxy.body_max))?;
        Ok(answered(&head, &body))
    }
    .await;
    driving.abort();
    outcome
}

fn request(proxy: &RestProxy, data: &[u8]) -> Result<Request<Body>, String> {
    let text = mapping::cbor_to_json(data);
    let arguments = mapping::tree_of(text.as_bytes()).ok_or("the request is too large")?;
    let wish = match arguments {
        serde_json::Value::Array(mut list) if list.len() == 1 => list.remove(0),
        other => other,
    };
    let wish: Wish = serde_json::from_value(wish).map_err(|error| format!("the request is not understood: {error}"))?;
    let scheme = if proxy.tls.is_some() { "https" } else { "http" };
    let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
    let base = format!("{scheme}://{host}:{}", proxy.port);
    if wish.base_url.is_some_and(|asked| !asked.is_empty() && asked.trim_end_matches('/') != base.trim_end_matches('/')) {
        return Err(format!("only {base} can be asked"));
    }
    let verb = wish.verb.unwrap_or_else(|| "GET".to_owned()).to_uppercase();
    let mut path = wish.path;
    for (name, value) in &wish.path_params {
        path = path.replace(&format!("{{{name}}}"), &plain(value));
    }
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    if !is_path(&path) || !proxy.allow.iter().any(|allowed| allowed.allows(&verb, &path)) {
        return Err(format!("{verb} {path} is not allowed"));
    }
    let query: Vec<String> =
        wish.query_params.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(&plain(value)))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let method = Method::from_bytes(verb.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = Request::builder().method(method).uri(format!("{path}{query}"));
    request = request.header(HOST, format!("{host}:{}", proxy.port));
    for (name, value) in wish.headers.iter().take(HEADERS_MAX) {
        let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header"))?;
        if OWN.contains(&name.as_str()) {
            continue;
        }
        if MISLEADING.contains(&name.as_str()) {
            return Err(format!("`{name}` may not be sent: it would change what is asked"));
        }
        let value: HeaderValue = plain(value).parse().map_err(|_| format!("`{name}` has no value that can be sent"))?;
        request = request.header(name, value);
    }
    let body = match wish.body_params {
        Some(body) => {
            request = request.header(CONTENT_TYPE, "application/json");
            body.to_string()
        }
        None => String::new(),
    };
    if body.len() > proxy.body_max {
        return Err(format!("the request is larger than {} bytes", proxy.body_max));
    }
    request = request.header(hyper::header::CONTENT_LENGTH, body.len());
    request.body(Body::from(body)).map_err(|error| error.to_string())
}

/// A text as it is, anything else as JSON writes it.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

async fn connect(proxy: &RestProxy) -> Result<Box<dyn Stream>, String> {
    let tcp = TcpStream::connect((proxy.host.as_str(), proxy.port)).await.map_err(|error| error.to_string())?;
    let Some(files) = &proxy.tls else { return Ok(Box::new(tcp)) };
    let client = files.client.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let config = tls::client::client_config(files.ca.as_deref(), client)?;
    let name = ServerName::try_from(proxy.host.clone()).map_err(|error| error.to_string())?;
    Ok(Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(|error| error.to_string())?))
}

fn answered(head: &hyper::http::response::Parts, body: &Bytes) -> Value {
    let is_json = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains("json"));
    let json = is_json.then(|| mapping::tree_of(body)).flatten();
    let data = match (json, std::str::from_utf8(body)) {
        (Some(json), _) => ciborium::from_reader(&mapping::json_to_cbor(&json)[..]).unwrap_or(Value::Null),
        (None, Ok(text)) => Value::Text(text.to_owned()),
        (None, Err(_)) => Value::Bytes(body.to_vec()),
    };
    let text = |value: &str| Value::Text(value.to_owned());
    let headers = head.headers.iter().filter_map(|(name, value)| Some((text(name.as_str()), text(value.to_str().ok()?))));
    Value::Map(vec![
        (text("status_code"), head.status.as_u16().into()),
        (text("headers"), Value::Map(headers.collect())),
        (text("data"), data),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::RawQuery;
    use axum::routing::{get, post};
    use serde_json::json;

    async fn proxy(body_max: usize) -> RestProxy {
        let routes = axum::Router::new()
            .route("/v1/now", get(async |RawQuery(query): RawQuery| axum::Json(json!({"query": query}))))
            .route("/v1/set/x", post(async |body: String| body))
            .route("/v1/large", get(async || "x".repeat(10_000)))
            .route("/secret", get(async || "secret"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(routes.clone());
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let allow = ["GET /v1/*", "POST /v1/set/x"].map(|text| Allowed::parse(text).unwrap()).into();
        let (method, host, timeout) = ("weather".into(), "127.0.0.1".into(), Duration::from_secs(5));
        RestProxy { method, host, port, tls: None, allow, timeout, body_max, in_flight_max: 8 }
    }

    async fn asked(proxy: &RestProxy, wish: serde_json::Value) -> Result<serde_json::Value, String> {
        let answer = ask(proxy, &mapping::json_to_cbor(&json!([wish]))).await?;
        let mut data = Vec::new();
        ciborium::into_writer(&answer, &mut data).unwrap();
        Ok(serde_json::from_str(&mapping::cbor_to_json(&data)).unwrap())
    }

    #[tokio::test]
    async fn an_allowed_request_is_answered_with_status_headers_and_data() {
        let proxy = proxy(1_000).await;
        let wish = json!({"path": "/v1/now", "query_params": {"unit": "°C & more", "n": 3}});
        let answer = asked(&proxy, wish).await.unwrap();
        assert_eq!(answer["status_code"], 200);
        assert_eq!(answer["data"], json!({"query": "unit=%C2%B0C%20%26%20more&n=3"}));
        assert_eq!(answer["headers"]["content-type"], "application/json");
        let wish = json!({"verb": "post", "path": "/v1/set/{what}", "path_params": {"what": "x"}, "body_params": {"a": [1]}});
        assert_eq!(asked(&proxy, wish).await.unwrap()["data"], "{\"a\":[1]}");
        assert_eq!(
            asked(&proxy, json!({"path": "/v1/none"})).await.unwrap()["status_code"],
            404,
            "the service's answer, not ours"
        );
    }

    #[tokio::test]
    async fn nothing_else_is_asked_of_the_service_or_of_others() {
        let proxy = proxy(1_000).await;
        for (wish, why) in [
            (json!({"path": "/secret"}), "GET /secret is not allowed"),
            (json!({"path": "/v1/../secret"}), "is not allowed"),
            (json!({"path": "/v1/%2e%2e/secret"}), "is not allowed"),
            (json!({"path": "/v1/now?x=/secret"}), "is not allowed"),
            (json!({"path": "/v1/..;/secret"}), "is not allowed"),
            (json!({"path": "/v1/..;a=b/secret"}), "is not allowed"),
            (json!({"path": "/v1/.;/secret"}), "is not allowed"),
            (json!({"path": "/v1/;/secret"}), "is not allowed"),
            (json!({"path": "/v1/.../secret"}), "is not allowed"),
            (json!({"path": "/v1//secret"}), "is not allowed"),
            (json!({"path": "//v1/now"}), "is not allowed"),
            (json!({"path": "/v1/%2e%2e%2fsecret"}), "is not allowed"),
            (json!({"path": "/v1/%252e%252e/secret"}), "is not allowed"),
            (json!({"path": "/v1/..\\secret"}), "is not allowed"),
            (json!({"path": "/v1/\u{ff0e}\u{ff0e}/secret"}), "is not allowed"),
            (json!({"path": "/v1/{x}", "path_params": {"x": "..;/secret"}}), "is not allowed"),
            (json!({"path": "/v1/{x}/{y}", "path_params": {"x": ".", "y": "a"}}), "is not allowed"),
            (json!({"path": "/v1/.{x}/a", "path_params": {"x": "."}}), "is not allowed"),
            (json!({"path": "/v1/now", "headers": {"X-HTTP-Method-Override": "DELETE"}}), "may not be sent"),
            (json!({"path": "/v1/now", "headers": {"X-Original-URL": "/secret"}}), "may not be sent"),
            (json!({"path": "/v1/now", "headers": {"x-forwarded-for": "127.0.0.1"}}), "may not be sent"),
            (json!({"path": "/v1/{x}", "path_params": {"x": "../secret"}}), "is not allowed"),
            (json!({"verb": "DELETE", "path": "/v1/now"}), "DELETE /v1/now is not allowed"),
            (json!({"path": "/v1/now", "base_url": "http://elsewhere:80"}), "can be asked"),
            (json!({"path": "/v1/now", "headers": {"a\nb": "c"}}), "is no header"),
            (json!({"path": "/v1/now", "what": 1}), "not understood"),
            (json!({"path": "/v1/large"}), "larger than 1000 bytes"),
            (json!({"verb": "POST", "path": "/v1/set/x", "body_params": "x".repeat(2_000)}), "larger than 1000 bytes"),
        ] {
            let error = asked(&proxy, wish.clone()).await.unwrap_err();
            assert!(error.contains(why), "{wish}: {error}");
        }
    }

    #[test]
    fn what_is_allowed_is_a_verb_and_a_path() {
        for wrong in ["", "GET", "get /a", "GET a", "GET /a*", "GET /*/a", "GET /a/../b", "GET /a/..;/b", "GET //a"] {
            assert!(Allowed::parse(wrong).is_err(), "{wrong}");
        }
        let below = Allowed::parse("GET /a/*").unwrap();
        assert!(
            Allowed::parse("GET /*").unwrap().allows("GET", "/a") && is_path("/") && is_path("/a/b/") && is_path("/a;v=1/b")
        );
        assert!(below.allows("GET", "/a/b/c") && !below.allows("GET", "/ab") && !below.allows("PUT", "/a/b"));
    }
}
