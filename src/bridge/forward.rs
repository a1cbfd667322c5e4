//! Drives one link: connects, sends what the backlog has as fast as the rate and the far end allow, notes what was acknowledged,
//! and comes again after a failure.

use super::backlog::{Backlog, Parcel};
use super::rate::Rate;
use super::stats::LinkStats;
use crate::clock::{Mono, SharedClock};
use crate::message::Seq;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Looks at limits and writes the progress this often.
const TICK: Duration = Duration::from_secs(1);
/// How long a stop waits for acknowledgements that are under way.
const FAREWELL: Duration = Duration::from_secs(2);
/// A message that alone stays unanswered in so many sessions, while those behind it are acknowledged, is given up.
const TRIES_MAX: u32 = 3;

/// Why a session with a far end came to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it refuses the gateway: {0}")]
    Refused(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("it does not acknowledge")]
    Silent,
    #[error("it cannot take messages at present: {0}")]
    Busy(String),
    #[error("this gateway cannot take its messages at present: {0}")]
    Local(String),
    #[error("the gateway is stopping")]
    Stopping,
}

/// What happened on a session.
#[derive(Debug)]
pub(super) enum Happened {
    /// The far end has it.
    Acknowledged(Seq),
    /// It will never take it.
    Refused(Seq, &'static str),
    /// Something that concerns the far end alone.
    Nothing,
}

/// One kind of far end.
pub(super) trait Dial: Send {
    type Session: Session;
    /// Connects and logs in. Takes as long as it likes; it is dropped at a stop.
    fn dial(&mut self) -> impl Future<Output = Result<Self::Session, LinkError>> + Send;
}

/// A session with a far end.
pub(super) trait Session: Send {
    type Event: Send;
    /// How many messages may be under way.
    fn window(&self) -> usize;
    /// How long the oldest of them may stay unanswered.
    fn patience(&self) -> Duration;
    /// Hands over a message. A message that cannot be sent at all is `Refused` at once.
    fn send(&mut self, parcel: Parcel) -> impl Future<Output = Result<Happened, LinkError>> + Send;
    /// Waits for what comes next. Cancel safe.
    fn hear(&mut self) -> impl Future<Output = Result<Self::Event, LinkError>> + Send;
    /// Does what is to be done about it. Never cancelled.
    fn act(&mut self, event: Self::Event) -> impl Future<Output = Result<Happened, LinkError>> + Send;
    /// Says goodbye.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Until the gateway stops.
pub(super) async fn run<D: Dial>(
    mut far: D,
    mut backlog: Backlog,
    clock: SharedClock,
    stats: Arc<LinkStats>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = PAUSE_MIN;
    let mut stubborn = (Seq(0), 0);
    let name = stats.report().name;
    loop {
        backlog.rewind();
        let began = clock.mono();
        let outcome = tokio::select! {
            () = stopped(&mut stop) => Err(LinkError::Stopping),
            session = dialled(&mut far, &mut backlog) => session,
        };
        let error = match outcome {
            Ok(session) => {
                log::info!(link = name.as_str(); "link is up");
                stats.update(|report| {
                    report.connected = true;
                    report.trouble = None;
                    report.connections += 1;
                });
                work(session, &mut backlog, &clock, &mut stop).await
            }
            Err(error) => error,
        };
        if matches!(error, LinkError::Stopping) {
            break;
        }
        let trouble = error.to_string();
        let was = stats.report();
        // Once, not at each of a thousand attempts.
        if was.connected || was.trouble.as_deref() != Some(trouble.as_str()) {
            log::warn!(link = name.as_str(), why = trouble.as_str(); "link is down; what it has to send waits in the log");
        }
        stats.update(|report| {
            report.connected = false;
            report.trouble = Some(trouble);
        });
        stubborn = judge(&error, stubborn, &mut backlog);
        if clock.mono().since(began) > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        backlog.rewind();
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = idle(&mut backlog, clock.mono(), pause, &clock) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    stats.update(|report| report.connected = false);
    backlog.save(true).await;
    backlog.report();
}

/// A message that the far end leaves unanswered while it answers those behind it is no reason to stand still for ever: a Rembus
/// broker says nothing about a topic that is not allowed.
fn judge(error: &LinkError, stubborn: (Seq, u32), backlog: &mut Backlog) -> (Seq, u32) {
    let (LinkError::Silent, Some(head)) = (error, backlog.oldest_in_flight()) else { return stubborn };
    if !backlog.is_overtaken() {
        return stubborn;
    }
    let tries = if stubborn.0 == head { stubborn.1 + 1 } else { 1 };
    if tries >= TRIES_MAX {
        log::warn!(seq:% = head; "a message is never acknowledged while others are; it is given up");
        backlog.done(head, Some("unacknowledged"));
        return (Seq(0), 0);
    }
    (head, tries)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the links are dropped.
    stop.wait_for(|stop| *stop).await.ok();
}

/// Dials, and looks after the backlog meanwhile.
async fn dialled<D: Dial>(far: &mut D, backlog: &mut Backlog) -> Result<D::Session, LinkError> {
    let mut dialling = std::pin::pin!(far.dial());
    loop {
        tokio::select! {
            session = &mut dialling => return session,
            () = tokio::time::sleep(TICK) => look_after(backlog).await,
        }
    }
}

/// Waits, and looks after the backlog meanwhile.
async fn idle(backlog: &mut Backlog, since: Mono, pause: Duration, clock: &SharedClock) {
    look_after(backlog).await;
    while clock.mono().since(since) < pause {
        tokio::time::sleep(TICK.min(pause)).await;
        look_after(backlog).await;
    }
}

async fn look_after(backlog: &mut Backlog) {
    if let Err(error) = backlog.trim().await {
        log::error!(error:%; "a link cannot read the log");
    } else if backlog.peek().is_none()
        && let Err(error) = backlog.fill().await
    {
        log::error!(error:%; "a link cannot read the log");
    }
    backlog.save(false).await;
    backlog.report();
}

/// A timer of no time at all would still take a millisecond.
async fn rest(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// One session, to its end.
async fn work<S: Session>(
    mut session: S,
    backlog: &mut Backlog,
    clock: &SharedClock,
    stop: &mut watch::Receiver<bool>,
) -> LinkError {
    let mut rate = Rate::new(backlog.rate(), clock.mono());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = backlog.written();
    let mut waiting = (Seq(0), clock.mono());
    let mut stopping: Option<Instant> = None;
    loop {
        if stopping.is_some() && backlog.in_flight() == 0 {
            session.close().await;
            return LinkError::Stopping;
        }
        let may_send = stopping.is_none() && backlog.in_flight() < session.window();
        if may_send
            && backlog.peek().is_none()
            && let Err(error) = backlog.fill().await
        {
            return LinkError::Local(error.to_string());
        }
        let wait = match backlog.peek() {
            Some(_) if may_send => Some(rate.wait(clock.mono())),
            _ => None,
        };
        let happened = tokio::select! {
            biased;
            () = stopped(stop), if stopping.is_none() => {
                stopping = Some(Instant::now() + FAREWELL);
                continue;
            }
            event = session.hear() => match event {
                Ok(event) => session.act(event).await,
                Err(error) => Err(error),
            },
            () = tokio::time::sleep_until(stopping.unwrap_or_else(Instant::now)), if stopping.is_some() => {
                session.close().await;
                return LinkError::Stopping;
            }
            _ = tick.tick() => {
                backlog.save(false).await;
                backlog.report();
                let oldest = backlog.oldest_in_flight().unwrap_or_default();
                if oldest != waiting.0 || oldest == Seq(0) {
                    waiting = (oldest, clock.mono());
                } else if clock.mono().since(waiting.1) > session.patience() {
                    return LinkError::Silent;
                }
                if let Err(error) = backlog.trim().await {
                    return LinkError::Local(error.to_string());
                }
                continue;
            }
            () = rest(wait.unwrap_or_default()), if wait.is_some() => {
                let Some(parcel) = backlog.take() else { continue };
                rate.spend(parcel.bytes());
                session.send(parcel).await
            }
            moved = written.changed(), if may_send && wait.is_none() => {
                if moved.is_err() {
                    return LinkError::Stopping;
                }
                continue;
            }
        };
        match happened {
            Ok(Happened::Acknowledged(seq)) => backlog.done(seq, None),
            Ok(Happened::Refused(seq, reason)) => backlog.done(seq, Some(reason)),
            Ok(Happened::Nothing) => {}
            Err(error) => return error,
        }
        if backlog.wants_save() {
            backlog.save(false).await;
        }
    }
}
