//! What the commands `lake backup`, `lake verify` and `lake compact` ask on the control socket.
//!
//! | path | answer |
//! |---|---|
//! | `POST /lake/hold` | a line of JSON ([`Manifest`](crate::history::manifest::Manifest)); the lake is held still until the connection ends, an hour at most |
//! | `POST /lake/compact` | `{"merges": …, "rows_expired": …, "files_removed": …}` since the lake was opened, when a whole pass is done |

use crate::control::Failure;
use crate::history::{Held, History};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Nobody keeps old files of a busy gateway for longer.
const HELD_MAX: Duration = Duration::from_secs(3600);

/// What upkeep has done since the lake was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compacted {
    pub(crate) merges: u64,
    pub(crate) rows_expired: u64,
    pub(crate) files_removed: u64,
}

impl From<crate::history::Tidied> for Compacted {
    fn from(done: crate::history::Tidied) -> Self {
        Self { merges: done.merges, rows_expired: done.rows_expired, files_removed: done.files_removed }
    }
}

type Lake = State<Option<Arc<History>>>;

/// The routes of this file.
pub(super) fn routes(history: Option<Arc<History>>) -> axum::Router {
    axum::Router::new().route("/lake/hold", post(hold)).route("/lake/compact", post(compact)).with_state(history)
}

async fn hold(State(history): Lake) -> Result<Body, Failure> {
    let held = kept(history)?.hold().await.map_err(|error| Failure::failed(error.text))?;
    let line = serde_json::to_string(held.manifest()).map_err(|error| Failure::failed(error.to_string()))? + "\n";
    Ok(Body::from_stream(stream::unfold(Holding::Begins(line, held), |holding| async {
        match holding {
            Holding::Begins(line, held) => Some((Ok::<_, Infallible>(Bytes::from(line)), Holding::Goes(held))),
            Holding::Goes(_held) => {
                tokio::time::sleep(HELD_MAX).await;
                None
            }
        }
    })))
}

/// Dropped with the connection, and the lake is free again.
enum Holding {
    Begins(String, Held),
    Goes(Held),
}

async fn compact(State(history): Lake) -> Result<Json<Compacted>, Failure> {
    let done = kept(history)?.compact().await.map_err(|error| Failure::failed(error.text))?;
    Ok(Json(done.into()))
}

fn kept(history: Option<Arc<History>>) -> Result<Arc<History>, Failure> {
    history.ok_or_else(|| Failure::missing("this gateway keeps no tables").hint("start it with `--schema FILE`"))
}
