//! What admins do over HTTP: private topics, and components prepared before they come.

use super::guest::{Guest, failed};
use super::rest::json;
use super::who::Asker;
use super::{Api, Failure};
use crate::access::Identify;
use crate::access::policy::Change;
use crate::mapping;
use crate::message::Dialect;
use crate::router::{Attach, Expiry, Filter, Inbound, OnConflict, Outbound, Refusal, Status, Subscription, Token};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

const TOKEN: Token = Token(1);

/// Admins are those of the configuration and of `admin admins`, when they have logged in.
fn as_admin(api: &Api, asker: &Asker) -> Result<(), Failure> {
    match &asker.admission.identity.user {
        Some(user) if api.access.is_admin(user) => Ok(()),
        Some(_) => Err(Failure::new(StatusCode::FORBIDDEN, "only admins may do this")),
        None => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "only admins may do this; log in with user and password, or name and secret",
        )),
    }
}

async fn change(api: &Api, asker: &Asker, change: Change) -> Result<Response, Failure> {
    as_admin(api, asker)?;
    match api.access.change(change).await {
        Ok(()) => Ok(json("null".into())),
        Err(error) => Err(Failure::new(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

pub(super) async fn private_topic(
    State(api): State<Api>,
    asker: Asker,
    Path(topic): Path<String>,
) -> Result<Response, Failure> {
    change(&api, &asker, Change::PrivateTopic { topic }).await
}

pub(super) async fn public_topic(State(api): State<Api>, asker: Asker, Path(topic): Path<String>) -> Result<Response, Failure> {
    change(&api, &asker, Change::PublicTopic { topic }).await
}

pub(super) async fn authorize(
    State(api): State<Api>,
    asker: Asker,
    Path((name, topic)): Path<(String, String)>,
) -> Result<Response, Failure> {
    change(&api, &asker, Change::Authorize { topic, name }).await
}

pub(super) async fn unauthorize(
    State(api): State<Api>,
    asker: Asker,
    Path((name, topic)): Path<(String, String)>,
) -> Result<Response, Failure> {
    change(&api, &asker, Change::Unauthorize { topic, name }).await
}

pub(super) async fn tell(State(api): State<Api>, asker: Asker, Path(command): Path<String>) -> Result<Response, Failure> {
    as_admin(&api, &asker)?;
    match command.as_str() {
        "private_topics_config" => {
            let (policy, _) = api.access.policy();
            Ok(json(serde_json::json!(policy.private()).to_string()))
        }
        "broker_config" => {
            let mut guest = Guest::enter(&api, asker.peer, asker.admission.identity.clone()).await?;
            let (status, data) = guest
                .command(Inbound::Inventory { token: TOKEN }, |outbound| match outbound {
                    Outbound::Response { status, data, .. } => Some((status, data)),
                    _ => None,
                })
                .await?;
            if status == Status::OK { Ok(json(mapping::cbor_to_json(&data))) } else { Err(failed(status, &data)) }
        }
        _ => Err(Failure::new(StatusCode::NOT_FOUND, "there are private_topics_config and broker_config")),
    }
}

pub(super) async fn subscribe(state: State<Api>, asker: Asker, path: Path<String>) -> Result<Response, Failure> {
    prepare(state, asker, path, |topic| Inbound::Subscribe { token: TOKEN, filters: vec![Subscription::rembus(topic)] }).await
}

pub(super) async fn unsubscribe(state: State<Api>, asker: Asker, path: Path<String>) -> Result<Response, Failure> {
    prepare(state, asker, path, |topic| Inbound::Unsubscribe { token: TOKEN, filters: vec![Filter::Rembus(topic)] }).await
}

pub(super) async fn expose(state: State<Api>, asker: Asker, path: Path<String>) -> Result<Response, Failure> {
    prepare(state, asker, path, |method| Inbound::Expose { token: TOKEN, method }).await
}

pub(super) async fn unexpose(state: State<Api>, asker: Asker, path: Path<String>) -> Result<Response, Failure> {
    prepare(state, asker, path, |method| Inbound::Unexpose { token: TOKEN, method }).await
}

/// Does for a component, with its own rights, what it will find when it comes. One that is connected says it itself.
async fn prepare(
    State(api): State<Api>,
    asker: Asker,
    Path(path): Path<String>,
    what: impl FnOnce(String) -> Inbound,
) -> Result<Response, Failure> {
    as_admin(&api, &asker)?;
    let Some((topic, cid)) = path.rsplit_once('/').filter(|(topic, cid)| !topic.is_empty() && !cid.is_empty()) else {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "the path ends with a topic and a component's name"));
    };
    let user = api.access.keys().contains(cid).then_some(cid);
    let identity = api.access.identity_of(Dialect::Rembus, user, cid);
    let mut guest = Guest::enter(&api, asker.peer, identity.clone()).await?;
    let attach = Attach {
        name: cid.to_owned(),
        on_conflict: OnConflict::Refuse,
        clean: false,
        receive_max: 1,
        packet_max: u32::MAX,
        resend_after: None,
        identity,
        expiry: Expiry::Never,
        will: None,
    };
    let attached = guest.command(Inbound::Attach(attach), |outbound| match outbound {
        Outbound::Attached { .. } => Some(Ok(())),
        Outbound::Refused(refusal) => Some(Err(refusal)),
        _ => None,
    });
    attached.await?.map_err(|refusal| match refusal {
        Refusal::NameInUse => {
            Failure::new(StatusCode::CONFLICT, format!("`{cid}` is connected, and says itself what it wants"))
        }
        other => Failure::new(StatusCode::FORBIDDEN, other.text()),
    })?;
    let done = guest.command(what(topic.to_owned()), |outbound| match outbound {
        Outbound::Subscribed { outcomes, .. } => Some(outcomes.into_iter().find_map(Result::err).map_or(Ok(()), Err)),
        Outbound::Unsubscribed { .. } | Outbound::Response { status: Status::OK, .. } => Some(Ok(())),
        Outbound::Response { .. } => Some(Err(Refusal::NotAuthorized)),
        _ => None,
    });
    match done.await? {
        Ok(()) => Ok(json("null".into())),
        Err(refusal) => Err(Failure::new(StatusCode::FORBIDDEN, refusal.text())),
    }
}
