//! What systemd is told: ready, stopping, a status line, and that the gateway still works.
//!
//! The watchdog is petted only after the gateway has proved that it works: a probe (the router answered, the log takes writes)
//! must succeed in time. A gateway that hangs, or whose log is poisoned, is restarted by systemd. Outside of systemd all of
//! this does nothing.
//!
//! The protocol is one datagram a message to the socket in `$NOTIFY_SOCKET`, `KEY=value` lines (`sd_notify(3)`). It is spoken
//! here rather than by `sd_notify::notify`, which reads the environment on every call and so cannot be tested beside others.

use sd_notify::NotifyState;
use std::future::Future;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Speaks to the service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As systemd set up this process (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    #[must_use]
    pub fn from_env() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match connect(path.as_bytes()) {
            Ok(socket) => Self {
                socket: Some(Arc::new(socket)),
                watchdog: sd_notify::watchdog_enabled().filter(|interval| interval.as_micros() >= 3),
            },
            Err(error) => {
                log::warn!(error:%; "NOTIFY_SOCKET cannot be used; systemd is told nothing");
                Self::default()
            }
        }
    }

    /// Every door listens.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Configuration files are being read again; [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            // systemd takes a RELOADING without a time for a mistake.
            Err(error) => log::debug!(error:%; "systemd is not told of the reload"),
        }
    }

    /// A stop has begun.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.send(&[NotifyState::Status(&text.replace(char::is_control, " "))]);
    }

    /// How often systemd wants to hear from us; `None` if it does not.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        if let Err(error) = socket.send(lines.join("\n").as_bytes()) {
            log::warn!(error:%; "systemd could not be told {}", lines.join(", "));
        }
    }
}

/// A path, or a name in the abstract namespace when it begins with `@`. Never blocks: a service manager that does not read its
/// socket must not stop the gateway.
fn connect(path: &[u8]) -> std::io::Result<UnixDatagram> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Pets the watchdog as long as the gateway proves that it works.
#[derive(Debug)]
pub struct Watchdog(Option<tokio::task::JoinHandle<()>>);

impl Watchdog {
    /// Asks `probe` three times in each interval of systemd; an answer must come within a third of it. Dropping the watchdog
    /// stops it. Without a watchdog in systemd, or outside of it, nothing is asked.
    pub fn start<P, F>(notifier: &Notifier, probe: P) -> Self
    where
        P: Fn() -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let Some(interval) = notifier.watchdog() else { return Self(None) };
        Self(Some(tokio::spawn(watch(notifier.clone(), interval / 3, probe))))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn watch<P, F>(notifier: Notifier, pause: Duration, probe: P)
where
    P: Fn() -> F + Send + 'static,
    F: Future<Output = Result<(), String>> + Send,
{
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let reason = match tokio::time::timeout(pause, probe()).await {
            Ok(Ok(())) => {
                notifier.send(&[NotifyState::Watchdog]);
                failing = false;
                continue;
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {}", humantime::format_duration(pause)),
        };
        if !failing {
            log::error!(reason; "the gateway does not prove that it works; systemd will restart it");
            failing = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Plays systemd: a real socket, and what was said on it.
    struct Manager {
        socket: UnixDatagram,
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
    }

    impl Manager {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, _dir: dir, path }
        }

        fn notifier(&self, watchdog: Option<Duration>) -> Notifier {
            Notifier { socket: Some(Arc::new(connect(self.path.as_os_str().as_bytes()).unwrap())), watchdog }
        }

        fn heard(&self) -> Vec<String> {
            let mut buffer = [0; 512];
            std::iter::from_fn(|| {
                let len = self.socket.recv(&mut buffer).ok()?;
                Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
            })
            .collect()
        }
    }

    #[test]
    fn systemd_hears_of_each_state_in_its_own_words() {
        let manager = Manager::new();
        let notifier = manager.notifier(None);
        notifier.ready();
        notifier.status("3 doors\nREADY=1");
        notifier.stopping();

        assert_eq!(manager.heard(), ["READY=1", "STATUS=3 doors READY=1", "STOPPING=1"]);
    }

    #[test]
    fn a_reload_begins_with_the_time_and_ends_with_ready() {
        let manager = Manager::new();
        let notifier = manager.notifier(None);
        notifier.reloading();
        notifier.ready();

        let heard = manager.heard();
        let time = heard[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(heard[1], "READY=1");
    }

    #[test]
    fn abstract_sockets_are_understood() {
        let name = format!("rembus-gateway-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        connect(format!("@{name}").as_bytes()).unwrap().send(b"READY=1").unwrap();

        let mut buffer = [0; 16];
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..len], *b"READY=1");
    }

    #[test]
    fn without_systemd_nothing_happens() {
        let notifier = Notifier::default();
        notifier.ready();
        assert_eq!(notifier.watchdog(), None);
        assert!(Watchdog::start(&notifier, || async { Ok(()) }).0.is_none());
    }

    #[test]
    fn a_service_manager_that_does_not_read_stops_nobody() {
        let manager = Manager::new();
        let notifier = manager.notifier(None);
        for _ in 0..10_000 {
            notifier.status("still here");
        }
        assert!(manager.heard().len() < 10_000, "the socket never ran full, so this test shows nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_petted_only_while_the_gateway_works() {
        let manager = Manager::new();
        let works = Arc::new(AtomicBool::new(true));
        let probed = works.clone();
        let watchdog = Watchdog::start(&manager.notifier(Some(Duration::from_secs(30))), move || {
            let works = probed.load(Ordering::Relaxed);
            async move { if works { Ok(()) } else { Err("the log is poisoned".into()) } }
        });

        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(manager.heard(), ["WATCHDOG=1"; 3]);

        works.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(manager.heard().is_empty());

        works.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(manager.heard(), ["WATCHDOG=1"]);

        drop(watchdog);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(manager.heard().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_does_not_answer_is_not_petted() {
        let manager = Manager::new();
        let _watchdog = Watchdog::start(&manager.notifier(Some(Duration::from_secs(30))), std::future::pending);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(manager.heard().is_empty());
    }
}
