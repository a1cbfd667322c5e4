use super::*;
use axum::routing::{get, post};
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;

/// A control socket with some routes, in a folder of its own.
struct Served {
    data: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn served(routes: axum::Router) -> Served {
    let data = tempfile::tempdir().unwrap();
    let (stop, stopped) = oneshot::channel();
    let socket = Socket::open(data.path()).unwrap();
    let task = tokio::spawn(serve(socket, routes, async { drop(stopped.await) }));
    Served { data, stop, task }
}

impl Served {
    fn client(&self) -> Client {
        Client::new(self.data.path())
    }
}

#[tokio::test]
async fn a_command_gets_its_answer() {
    let greet = async |axum::Json(name): axum::Json<String>| axum::Json(format!("hello {name}"));
    let served = served(axum::Router::new().route("/greet", post(greet)));
    let answer: String = served.client().post("/greet", &"world").await.unwrap();
    assert_eq!(answer, "hello world");
}

#[tokio::test]
async fn a_refusal_brings_its_words_and_a_hint() {
    let refuse = async || -> Result<(), Failure> { Err(Failure::missing("there is no user `x`").hint("add it first")) };
    let served = served(axum::Router::new().route("/user", get(refuse)));
    let error = served.client().get::<()>("/user").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no user `x`\n  hint: add it first");

    let error = served.client().get::<()>("/nowhere").await.unwrap_err();
    assert!(error.to_string().starts_with("this gateway does not know that command"), "{error}");
    let error = served.client().post::<()>("/user", &1).await.unwrap_err();
    assert!(error.to_string().starts_with("not in that way"), "{error}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let take = async |body: axum::body::Bytes| axum::Json(body.len());
    let served = served(axum::Router::new().route("/take", post(take)));
    let error = served.client().post::<usize>("/take", &"x".repeat(BODY_MAX)).await.unwrap_err();
    assert!(matches!(error, ControlError::Refused(_) | ControlError::BrokenOff(_)), "{error}");
    assert!(served.client().post::<usize>("/take", &"x".repeat(1 << 20)).await.is_ok());
}

#[tokio::test]
async fn without_a_gateway_a_command_says_so() {
    let data = tempfile::tempdir().unwrap();
    let error = Client::new(data.path()).get::<Status>("/status").await.unwrap_err();
    assert!(matches!(error, ControlError::NotRunning(_)));
    assert!(error.to_string().starts_with(&format!("no gateway is running on {}", data.path().display())), "{error}");
    assert!(matches!(Client::new(Path::new("/nowhere")).get::<Status>("/status").await, Err(ControlError::NotRunning(_))));
}

#[tokio::test]
async fn a_stop_waits_for_the_answer_under_way_and_removes_the_socket() {
    let (begun, begins) = oneshot::channel::<()>();
    let begun = std::sync::Mutex::new(Some(begun));
    let (finish, finished) = oneshot::channel::<()>();
    let finished = std::sync::Mutex::new(Some(finished));
    let slow = async move || {
        begun.lock().unwrap().take().unwrap().send(()).unwrap();
        let finished = finished.lock().unwrap().take().unwrap();
        finished.await.unwrap();
        axum::Json("done")
    };
    let slow = std::sync::Arc::new(slow);
    let served = served(axum::Router::new().route(
        "/slow",
        get(move || {
            let slow = std::sync::Arc::clone(&slow);
            async move { slow().await }
        }),
    ));
    let client = served.client();
    let answer = tokio::spawn(async move { client.get::<String>("/slow").await });
    begins.await.unwrap();
    served.stop.send(()).unwrap();
    finish.send(()).unwrap();
    assert_eq!(answer.await.unwrap().unwrap(), "done");
    served.task.await.unwrap();
    assert!(matches!(Client::new(served.data.path()).get::<()>("/slow").await, Err(ControlError::NotRunning(_))));
}

#[tokio::test]
async fn one_command_too_many_is_told_so_and_others_go_on_when_there_is_room() {
    let routes = axum::Router::new().route("/there", get(async || axum::Json(1)));
    let served = served(routes);
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(super::socket::connect(served.data.path()).await.unwrap());
    }
    let error = served.client().get::<u8>("/there").await.unwrap_err();
    assert!(error.to_string().contains("commands are at work already"), "{error}");

    drop(silent);
    let there = async {
        while served.client().get::<u8>("/there").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), there).await.unwrap();
}
