//! `[[tcp_forward]]`: what connects to a port here reaches an address behind the gateway, such as a PLC or a camera.
//!
//! Bytes only, both ways, each way to its own end (a half-closed connection stays half open). Bounded: so many connections at a
//! time, more are closed at once; a connection on which nothing moves either way for `idle_timeout` ends.

use super::stats::LinkStats;
use crate::clock::{Mono, SharedClock};
use crate::net::{Listener, Stream};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const BUFFER: usize = 16 << 10;
/// How long the address behind may take to answer a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A failed accept (no file descriptor left, for example) is not tried again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// One forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpForward {
    /// `host:port` to listen on.
    pub listen: String,
    /// `host:port` to connect to.
    pub to: String,
    pub connections_max: usize,
    pub idle_timeout: Duration,
}

/// Serves until it is dropped; its connections end with it.
pub(super) async fn serve<L: Listener>(mut listener: L, forward: TcpForward, clock: SharedClock, stats: Arc<LinkStats>) {
    stats.update(|report| report.connected = true);
    let places = Arc::new(Semaphore::new(forward.connections_max));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (near, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    log::warn!(listen = forward.listen.as_str(), error:%; "a connection to be forwarded was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        stats.update(|report| report.connections += 1);
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            stats.dropped("too_many", 1);
            continue;
        };
        let (to, idle, clock, stats) = (forward.to.clone(), forward.idle_timeout, Arc::clone(&clock), Arc::clone(&stats));
        connections.spawn(async move {
            let _place = place;
            match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(to.as_str())).await {
                Ok(Ok(far)) => {
                    if let Err(why) = carry(near, far, idle, &clock).await {
                        stats.dropped(why, 1);
                    }
                }
                outcome => {
                    let why = outcome.map_or_else(
                        |_| "it does not answer".to_owned(),
                        |outcome| match outcome {
                            Ok(_) => String::new(),
                            Err(error) => error.to_string(),
                        },
                    );
                    log::warn!(to = to.as_str(), peer:%, why = why.as_str(); "a connection cannot be forwarded");
                    stats.dropped("unreachable", 1);
                }
            }
        });
    }
}

/// Until both ways have ended, or nothing moves any more.
async fn carry(near: impl Stream, far: TcpStream, idle: Duration, clock: &SharedClock) -> Result<(), &'static str> {
    far.set_nodelay(true).map_err(|_| "broken")?;
    let (near_in, near_out) = tokio::io::split(near);
    let (far_in, far_out) = far.into_split();
    let moved = AtomicU64::new(clock.mono().0);
    let both = async {
        tokio::try_join!(pump(near_in, far_out, &moved, clock), pump(far_in, near_out, &moved, clock)).map_err(|_| "broken")
    };
    let silence = async {
        loop {
            let since = clock.mono().since(Mono(moved.load(Relaxed)));
            match idle.checked_sub(since) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
    };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = silence => Err("idle"),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
    clock: &SharedClock,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            // It may be closed already.
            to.shutdown().await.ok();
            return Ok(());
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
        moved.store(clock.mono().0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::net::TcpListener;
    use std::net::SocketAddr;

    /// A forward to a server that answers each connection with what it was told, when that is over.
    async fn start(connections_max: usize, idle_timeout: Duration) -> (SocketAddr, Arc<LinkStats>) {
        let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = echo.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let mut told = Vec::new();
                    stream.read_to_end(&mut told).await.unwrap();
                    stream.write_all(&told).await.unwrap();
                });
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stats = Arc::new(LinkStats::new("tcp", "x"));
        let forward = TcpForward { listen: addr.to_string(), to, connections_max, idle_timeout };
        tokio::spawn(serve(listener, forward, SystemClock::shared(), Arc::clone(&stats)));
        (addr, stats)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn each_way_ends_by_itself_and_nothing_is_cut() {
        let (addr, _) = start(2, LONG).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let sent = vec![7; 1_000_000];
        let (mut from, mut to) = stream.split();
        let mut heard = Vec::new();
        let talk = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (_, count) = tokio::join!(talk, from.read_to_end(&mut heard));
        assert_eq!(count.unwrap(), sent.len());
    }

    #[tokio::test]
    async fn more_connections_than_allowed_are_closed_at_once_and_silent_ones_in_time() {
        let (addr, stats) = start(1, Duration::from_millis(300)).await;
        let mut first = TcpStream::connect(addr).await.unwrap();
        first.write_all(b"x").await.unwrap();
        let mut second = TcpStream::connect(addr).await.unwrap();
        assert_eq!(second.read(&mut [0; 8]).await.unwrap_or(0), 0, "there is no room for it");
        assert_eq!(first.read(&mut [0; 8]).await.unwrap_or(0), 0, "nothing moves on it");
        let counted = stats.report();
        assert_eq!((counted.dropped["too_many"], counted.dropped["idle"], counted.connections), (1, 1, 2));
        // And there is room again.
        let mut third = TcpStream::connect(addr).await.unwrap();
        third.write_all(b"abc").await.unwrap();
        third.shutdown().await.unwrap();
        let mut heard = Vec::new();
        third.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"abc");
    }
}
