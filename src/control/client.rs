//! The commands' end of the control socket.

use super::{Failure, socket};
use crate::visible;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest answer that is taken as a whole.
const ANSWER_MAX: usize = 16 << 20;
/// A gateway that is there takes a command at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no gateway is running on {data}: start it with `rembus-gateway run --data {data}`, or say where it is with --data", data = .0.display())]
    NotRunning(PathBuf),
    #[error("the gateway on {data} belongs to another user: ask as that user, or as root", data = .0.display())]
    NotAllowed(PathBuf),
    #[error("the gateway on {data} cannot be reached: {error}", data = .data.display())]
    Unreachable { data: PathBuf, error: io::Error },
    #[error("the gateway broke off: {0}")]
    BrokenOff(String),
    /// The gateway's own words.
    #[error("{}{}", visible::line(&.0.error), .0.hint.as_ref().map(|hint| format!("\n  hint: {}", visible::line(hint))).unwrap_or_default())]
    Refused(Failure),
}

/// Asks the gateway that runs on a data folder. Every request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    data: PathBuf,
}

impl Client {
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { data: data.into() }
    }

    /// The answer to `GET path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        whole(self.send(Method::GET, path, Body::empty()).await?).await
    }

    /// The answer to `POST path` with a JSON body.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ControlError> {
        let body = serde_json::to_vec(body).map_err(|error| ControlError::BrokenOff(error.to_string()))?;
        whole(self.send(Method::POST, path, body.into()).await?).await
    }

    /// An answer that is still coming: read its body piece by piece. A refusal is an error already.
    pub async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response<Body>, ControlError> {
        let unreachable = |error| ControlError::Unreachable { data: self.data.clone(), error };
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, socket::connect(&self.data));
        let stream = match connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning(self.data.clone()),
                    io::ErrorKind::PermissionDenied => ControlError::NotAllowed(self.data.clone()),
                    _ => unreachable(error),
                });
            }
        };
        let broken = |error: hyper::Error| ControlError::BrokenOff(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the request; its errors show up there.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| ControlError::BrokenOff(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?.map(Body::new);
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let bytes = to_bytes(response.into_body(), ANSWER_MAX).await.unwrap_or_default();
        Err(ControlError::Refused(refusal(code, &bytes)))
    }
}

/// What stands in a refusal, or what the library said in its place.
fn refusal(code: StatusCode, body: &[u8]) -> Failure {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        Failure::new(code, if text.trim().is_empty() { code.to_string() } else { text.trim().to_owned() })
    })
}

async fn whole<T: DeserializeOwned>(response: Response<Body>) -> Result<T, ControlError> {
    let bytes = to_bytes(response.into_body(), ANSWER_MAX).await.map_err(|error| ControlError::BrokenOff(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| ControlError::BrokenOff(format!("its answer is not understood: {error}")))
}
