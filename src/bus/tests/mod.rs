//! Stories at the door, with the real router and a real log behind it and raw sockets in front.

mod broken;
mod crowd;
mod vectors;

use super::frame::{self, GREETING};
use super::{Board, BusListener, Settings, serve};
use crate::clock::SystemClock;
use crate::disk::SystemDisk;
use crate::router::{Hub, HubHandle, NoServices, Options};
use crate::wal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a busy machine, short enough to notice a hang.
const DEADLINE: Duration = Duration::from_secs(20);

/// Nobody is given up while a story is told.
fn calm() -> Settings {
    Settings { timeout: Duration::from_secs(60), ..Settings::default() }
}

struct World {
    path: PathBuf,
    board: Arc<Board>,
    hub: HubHandle,
    stop: watch::Sender<bool>,
    door: JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl World {
    fn new(settings: Settings) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let options = wal::Options {
            dir: data.path().join("wal"),
            segment_bytes: 1 << 20,
            ack_delay_max: Duration::from_millis(5),
            idle_delay_max: Duration::from_millis(5),
            keep: Duration::from_secs(3600),
            keep_bytes: 64 << 20,
            reserve_bytes: 1 << 20,
        };
        let (log, handle, _) = wal::open(SystemDisk::shared(), Arc::clone(&clock), options).unwrap();
        tokio::spawn(log.run());
        let (router, hub) = Hub::new(Options::default(), handle, Arc::clone(&clock), Arc::new(NoServices));
        tokio::spawn(router.run());
        let path = data.path().join("bus.sock");
        let listener = BusListener::unix(&path, 0o600, None).unwrap();
        let board = Board::new(Arc::new(settings), clock);
        let (stop, stopped) = watch::channel(false);
        let door = tokio::spawn({
            let (path, hub, board) = (path.clone(), hub.clone(), Arc::clone(&board));
            async move { serve(vec![listener], &path, hub, board, stopped).await }
        });
        Self { path, board, hub, stop, door, _data: data }
    }

    async fn dial(&self) -> Raw {
        Raw(UnixStream::connect(&self.path).await.unwrap())
    }

    /// A program with a name.
    async fn program(&self, name: &str) -> Raw {
        let mut raw = self.dial().await;
        raw.greet().await;
        raw.send(&naming(name)).await;
        raw.expect(&[1]).await;
        raw
    }
}

fn naming(name: &str) -> Vec<u8> {
    [&u16::try_from(name.len()).unwrap().to_le_bytes()[..], name.as_bytes()].concat()
}

/// A client's frame.
fn op(id: u32, flags: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [&id.to_le_bytes()[..], &[flags], &len.to_le_bytes(), body].concat()
}

struct Raw(UnixStream);

impl Raw {
    async fn greet(&mut self) {
        self.expect(&GREETING).await;
        self.send(&GREETING).await;
        self.expect(&[1]).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        timeout(DEADLINE, self.0.write_all(bytes)).await.expect("it takes what is sent").unwrap();
    }

    async fn expect(&mut self, bytes: &[u8]) {
        let mut seen = vec![0; bytes.len()];
        timeout(DEADLINE, self.0.read_exact(&mut seen)).await.expect("something comes").unwrap();
        assert_eq!(seen, bytes, "{}", String::from_utf8_lossy(&seen));
    }

    /// The next frame that is not a NOP: the six bytes of its header and what follows.
    async fn frame(&mut self) -> Vec<u8> {
        let next = async {
            loop {
                let mut head = [0; 6];
                self.0.read_exact(&mut head).await.unwrap();
                if head == frame::NOP {
                    continue;
                }
                let len = if head[0] == 0xFE { 0 } else { u32::from_le_bytes(head[1..5].try_into().unwrap()) };
                let mut whole = head.to_vec();
                whole.resize(6 + len as usize, 0);
                self.0.read_exact(&mut whole[6..]).await.unwrap();
                return whole;
            }
        };
        timeout(DEADLINE, next).await.expect("a frame comes")
    }

    /// Sends a frame with QoS 1 and returns the code of its acknowledgement, which must be what comes next.
    async fn asks(&mut self, id: u32, flags: u8, body: &[u8]) -> u8 {
        self.send(&op(id, flags | 0x40, body)).await;
        let ack = self.frame().await;
        assert_eq!((ack[0], &ack[1..5]), (0xFE, &id.to_le_bytes()[..]), "{ack:x?}");
        ack[5]
    }

    /// Everything that was sent so far has been looked at.
    async fn settled(&mut self) {
        assert_eq!(self.asks(u32::MAX, 0x13, b"nobody.at.all\0").await, 1);
    }

    /// Whether the other side closes within `limit`; what comes before that is passed over.
    async fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut rest = [0; 4096];
        let read = async {
            loop {
                match self.0.read(&mut rest).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        timeout(limit, read).await.is_ok()
    }
}
