//! The forwarder with a far end that a test plays, on a real log.

use super::backlog::{Backlog, Parcel, Select};
use super::forward::{self, Dial, Happened, LinkError, Session};
use super::progress::Folder;
use super::{BacklogLimits, LinkSettings, LinkStats, Surroundings};
use crate::clock::SystemClock;
use crate::disk::SystemDisk;
use crate::message::{self, Dialect, Message, Payload, Qos, Seq, kind};
use crate::router::stand_in::StandIn;
use crate::wal::{self, Batch, LogHandle};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A log with a data folder around it.
struct World {
    data: tempfile::TempDir,
    log: LogHandle,
    around: Surroundings,
    _router: StandIn,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (log, handle, _) =
            wal::open(SystemDisk::shared(), SystemClock::shared(), wal::Options::new(data.path().join("wal"))).unwrap();
        tokio::spawn(log.run());
        let (router, hub) = StandIn::new();
        let around = Surroundings {
            hub,
            log: handle.clone(),
            clock: SystemClock::shared(),
            disk: SystemDisk::shared(),
            data: data.path().into(),
        };
        Self { data, log: handle, around, _router: router }
    }

    /// Appends messages with these payloads on topic `a`, and one on `b` that nobody wants.
    async fn publish(&self, payloads: impl IntoIterator<Item = u64>) {
        let mut seq = self.log.state().borrow().written;
        let mut batch = Batch::default();
        let all = payloads.into_iter().map(|n| ("a", n)).chain([("b", 0)]);
        for (topic, n) in all {
            seq = seq.next();
            let payload = Payload::Mqtt(Bytes::from(n.to_string()));
            let now = self.around.clock.wall();
            let message = Message::new(topic.into(), payload, Qos::AtLeastOnce, now, Dialect::Mqtt, "x".into());
            batch.push(seq, kind::MESSAGE, true, |out| message::encode(&message, &[], out));
        }
        self.log.append(batch).await.unwrap();
        self.log.sync(seq).await.unwrap();
    }

    fn backlog(&self, limits: BacklogLimits) -> (Backlog, Arc<LinkStats>) {
        let link = LinkSettings { name: "far".into(), host: "far".into(), port: 1, tls: None, rate: 1 << 30, backlog: limits };
        let stats = Arc::new(LinkStats::new("remote", "far"));
        let file = Folder::open(&self.around.disk, self.data.path()).progress("far");
        (Backlog::new(&self.around, file, &link, Box::new(OnlyA), Arc::clone(&stats)), stats)
    }

    /// A link at work with a far end that is played.
    fn link(&self) -> Link {
        let (backlog, stats) = self.backlog(BacklogLimits { bytes: 1 << 30, age: None });
        let (taken, sent) = mpsc::channel(1000);
        let (answers, to_hear) = mpsc::channel(1000);
        let far = Far { taken, to_hear: Arc::new(Mutex::new(Some(to_hear))) };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(forward::run(far, backlog, Arc::clone(&self.around.clock), Arc::clone(&stats), stopped));
        Link { sent, answers, stop, task, stats }
    }
}

struct OnlyA;

impl Select for OnlyA {
    fn select(&mut self, message: &Message) -> Option<(String, Qos)> {
        (message.topic == "a").then(|| (message.topic.clone(), Qos::AtLeastOnce))
    }
}

struct Link {
    sent: mpsc::Receiver<(Seq, u64)>,
    answers: mpsc::Sender<Result<Happened, LinkError>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    stats: Arc<LinkStats>,
}

impl Link {
    /// The next message that it sends.
    async fn sent(&mut self) -> (Seq, u64) {
        tokio::time::timeout(Duration::from_secs(20), self.sent.recv()).await.expect("a message in time").unwrap()
    }

    async fn acknowledge(&self, seq: Seq) {
        self.answers.send(Ok(Happened::Acknowledged(seq))).await.unwrap();
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// Where a session leaves the channel for the next one.
type Returned = Arc<Mutex<Option<mpsc::Receiver<Result<Happened, LinkError>>>>>;

/// One session after the other hears from the same channel.
struct Far {
    taken: mpsc::Sender<(Seq, u64)>,
    to_hear: Returned,
}

struct Playing {
    taken: mpsc::Sender<(Seq, u64)>,
    hearing: Option<mpsc::Receiver<Result<Happened, LinkError>>>,
    back: Returned,
}

impl Drop for Playing {
    fn drop(&mut self) {
        *self.back.lock().unwrap() = self.hearing.take();
    }
}

impl Dial for Far {
    type Session = Playing;

    async fn dial(&mut self) -> Result<Playing, LinkError> {
        let hearing = self.to_hear.lock().unwrap().take();
        Ok(Playing { taken: self.taken.clone(), hearing, back: Arc::clone(&self.to_hear) })
    }
}

impl Session for Playing {
    type Event = Happened;

    fn window(&self) -> usize {
        4
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn send(&mut self, parcel: Parcel) -> Result<Happened, LinkError> {
        let Payload::Mqtt(payload) = &parcel.message.payload else { panic!("it was MQTT") };
        let number = std::str::from_utf8(payload).unwrap().parse().unwrap();
        self.taken.send((parcel.seq, number)).await.unwrap();
        Ok(Happened::Nothing)
    }

    async fn hear(&mut self) -> Result<Happened, LinkError> {
        match self.hearing.as_mut().unwrap().recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    async fn act(&mut self, event: Happened) -> Result<Happened, LinkError> {
        Ok(event)
    }

    async fn close(self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_link_begins_with_what_comes_and_sends_no_more_than_a_window_ahead() {
    let world = World::new().await;
    world.publish(0..10).await;
    let mut link = world.link();
    world.publish(10..20).await;
    let mut window = Vec::new();
    for n in 10..14 {
        let (seq, number) = link.sent().await;
        assert_eq!(number, n);
        window.push(seq);
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), link.sent.recv()).await.is_err(), "the window is full");
    link.acknowledge(window[1]).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), link.sent.recv()).await.is_err(), "the oldest holds the window");
    link.acknowledge(window[0]).await;
    assert_eq!((link.sent().await.1, link.sent().await.1), (14, 15));
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_is_followed_by_one_that_begins_behind_what_was_acknowledged() {
    let world = World::new().await;
    let mut link = world.link();
    world.publish(0..6).await;
    let first = link.sent().await.0;
    for _ in 1..4 {
        link.sent().await;
    }
    link.acknowledge(first).await;
    assert_eq!(link.sent().await.1, 4);
    link.answers.send(Err(LinkError::Broken("a cut cable".into()))).await.unwrap();
    let again = [link.sent().await.1, link.sent().await.1, link.sent().await.1, link.sent().await.1];
    assert_eq!(again, [1, 2, 3, 4]);
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_the_next_life_goes_on_exactly_there() {
    let world = World::new().await;
    let mut link = world.link();
    world.publish(0..5).await;
    for n in 0..5 {
        let (seq, number) = link.sent().await;
        assert_eq!(number, n);
        link.acknowledge(seq).await;
    }
    link.stop().await;
    world.publish(5..7).await;
    let mut link = world.link();
    assert_eq!((link.sent().await.1, link.sent().await.1), (5, 6));
    let counted = link.stats.report();
    assert!(counted.connected && counted.dropped.is_empty(), "{counted:?}");
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_must_keep_is_what_is_not_on_the_disk_as_acknowledged() {
    let world = World::new().await;
    let (mut backlog, _) = world.backlog(BacklogLimits { bytes: 1 << 30, age: None });
    world.publish(0..3).await;
    assert!(backlog.fill().await.unwrap());
    let seqs: Vec<Seq> = std::iter::from_fn(|| backlog.take()).map(|parcel| parcel.seq).collect();
    assert_eq!(seqs, [Seq(1), Seq(2), Seq(3)]);
    backlog.done(Seq(2), None);
    assert_eq!(backlog.progress(), Seq(0), "the first one is missing");
    backlog.done(Seq(1), None);
    assert_eq!(backlog.progress(), Seq(2));
    backlog.save(true).await;
    drop(backlog);
    let (backlog, _) = world.backlog(BacklogLimits { bytes: 1 << 30, age: None });
    assert_eq!(backlog.progress(), Seq(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_the_age_are_given_up_and_counted() {
    let world = World::new().await;
    let (mut backlog, stats) = world.backlog(BacklogLimits { bytes: 1 << 30, age: Some(Duration::from_millis(200)) });
    world.publish(0..3).await;
    backlog.trim().await.unwrap();
    assert_eq!(backlog.peek().unwrap().seq, Seq(1), "they are young");
    tokio::time::sleep(Duration::from_millis(250)).await;
    world.publish(3..5).await;
    backlog.trim().await.unwrap();
    backlog.fill().await.unwrap();
    assert_eq!(backlog.peek().unwrap().seq, Seq(5), "three, and the one on `b`");
    assert_eq!(stats.report().dropped["backlog_age"], 3);
}
