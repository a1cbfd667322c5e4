//! Wires the parts together, starts them in the right order and stops them in the reverse.
//!
//! ```text
//! start: lock the data folder ─ open the log ─ history (opens beside) ─ router ─ links ─ doors listen ─ ready
//! SIGHUP: certificate files are read again, nobody notices
//! stop:  doors stop listening, let acknowledgements leave, close ─ links note how far they are ─ history's last batch ─ log synced and closed
//! ```

mod commands;
mod lake;
mod listen;
mod open;
mod reload;
mod services;
mod sources;
mod time;
mod vital;

use crate::access::{self, Access, HashError};
use crate::bridge::{self, Links, Surroundings};
use crate::clock::{BoardClock, Linux, SharedClock, SystemClock};
use crate::commlib::{self, Commlib};
use crate::config::{Config, Loaded};
use crate::disk::SystemDisk;
use crate::door::{Origins, Way};
use crate::history::{self, History};
use crate::message::Seq;
use crate::names::NameLimits;
use crate::router::{self, BusFilters, Hub, HubHandle, KeepError, QueueLimits, Restored, RetainedLimits, StateFolder};
use crate::systemd::Notifier;
use crate::tls::{self, TlsError};
use crate::wal::{Health, LogHandle, WalError};
use crate::wear::{self, Wear};
use crate::{bus, control, http, metrics, mqtt, rembus};
use commands::Commands;
pub(crate) use lake::Compacted;
use listen::{listen, listen_bus};
pub(crate) use open::lock_data;
use open::{Room, bus_board, keep_private, let_through_to_bus, open_access, open_log};
use reload::Reloads;
use services::GatewayServices;
use sources::Parts;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use vital::VitalSigns;

/// Why the gateway could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the data folder `{path}` cannot be used: {error}")]
    Data { path: PathBuf, error: io::Error },
    #[error("another gateway is using the data folder `{path}`")]
    InUse { path: PathBuf },
    #[error("the log cannot be opened: {0}")]
    Log(#[from] WalError),
    #[error("sessions and retained messages cannot be restored: {0}")]
    State(#[from] KeepError),
    #[error("the {door} door cannot listen on `{addr}`: {error}")]
    Listen { door: &'static str, addr: String, error: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the log takes no more writes after a disk error; a restart recovers everything that was acknowledged")]
    LogFailed,
    #[error("access cannot be decided: {0}")]
    Access(#[from] HashError),
    #[error("{what} could not be started: {error}")]
    System { what: &'static str, error: io::Error },
}

/// Runs a gateway until SIGTERM or SIGINT, or until its log fails.
pub fn run(loaded: Loaded) -> Result<(), GatewayError> {
    let system = |what| move |error| GatewayError::System { what, error };
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(8)
        .thread_name("gateway")
        .enable_all()
        .build()
        .map_err(system("the runtime"))?;
    let stop = || -> io::Result<_> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        Ok((stop, signal(SignalKind::hangup())?))
    };
    let outcome = runtime.block_on(async {
        let (stop, hangup) = stop().map_err(system("the signal handler"))?;
        let clock = BoardClock::new(SystemClock::shared(), Box::new(Linux), &loaded.config.gateway.data);
        Gateway::start(loaded, Arc::new(clock)).await?.run_until(stop, hangup).await
    });
    // A query that ignores its deadline must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

/// A gateway whose doors listen.
#[derive(Debug)]
struct Gateway {
    stop_timeout: Duration,
    notifier: Notifier,
    hub: HubHandle,
    log: LogHandle,
    wear: Wear,
    history: Option<Arc<History>>,
    links: Links,
    access: Arc<Access>,
    commlib: commlib::Shared,
    services: Arc<GatewayServices>,
    /// The names on the bus, if there is one.
    programs: Option<Arc<bus::Board>>,
    doors: JoinSet<()>,
    stop_doors: watch::Sender<bool>,
    /// The HTTP door and the control socket: they tell how the stop goes, so they go last.
    watchers: JoinSet<()>,
    stop_watchers: watch::Sender<bool>,
    reloads: Reloads,
    vital: VitalSigns,
    /// Held as long as the process lives, so that nobody else opens the same data.
    _lock: std::fs::File,
}

impl Gateway {
    async fn start(loaded: Loaded, board: Arc<BoardClock>) -> Result<Self, GatewayError> {
        let clock: SharedClock = Arc::clone(&board) as SharedClock;
        let Loaded { config, schema, .. } = loaded;
        let notifier = Notifier::from_env();
        keep_private();
        let room = Room::claim();
        let is_new = !config.gateway.data.exists();
        let lock = lock_data(&config.gateway.data)?;
        if is_new {
            let unusable = |error| GatewayError::Data { path: config.gateway.data.clone(), error };
            let_through_to_bus(&config).map_err(unusable)?;
        }
        let access = open_access(&config, &clock)?;
        let (log, start_hold) = open_log(&config, &clock)?;
        board.settle(&SystemDisk, time::newest(&log));
        let wear = wear::watch(&config.gateway.data, config.wal.write_budget, log.clone(), Arc::clone(&clock));
        let history = schema.map(|schema| {
            let mut settings = history::Settings::new(&config.gateway.data, &config.history);
            settings.reserve = config.wal.reserve;
            settings.gateway.clone_from(&config.gateway.name);
            Arc::new(History::start(settings, schema, log.clone(), Arc::clone(&clock)))
        });
        let programs = bus_board(&config, &access, &clock, &room);
        let services = Arc::new(GatewayServices::new(history.clone(), programs.clone()));
        let options = router::Options {
            name: config.gateway.name.clone(),
            policy: config.rembus.policy,
            request_timeout: config.rembus.request_timeout,
            queue: QueueLimits { items: config.mqtt.queue_messages, bytes: config.mqtt.queue_size },
            names: NameLimits { bytes: config.mqtt.max_topic },
            queues_bytes: config.mqtt.queues_size,
            filters_bytes: config.mqtt.subscriptions_size,
            retained: RetainedLimits { messages: config.mqtt.retained_messages, bytes: config.mqtt.retained_size },
            sessions_max: config.limits.sessions,
            registrations_total: config.limits.subscriptions,
            users: config.limits.users,
            system_interval: config.mqtt.sys_interval.unwrap_or_default(),
            forms: Arc::clone(&config.forms),
            private_actions: config.commlib.private_actions,
            builtins: services.methods(),
            reserved: config.rembus.reserved_methods.clone(),
            bus_export: BusFilters::new(config.bus.export.clone()),
            identities: Some(Arc::clone(&access) as _),
            number: bridge::number(log.log_id()),
            ..router::Options::default()
        };
        let (mut router, hub) = Hub::new(options, log.clone(), Arc::clone(&clock), Arc::clone(&services) as _);
        let folder = StateFolder::open(SystemDisk::shared(), config.gateway.data.join("state"));
        let Restored { sessions, retained, queued, records, unreadable, unusable } = router.restore(folder)?;
        log::info!(sessions, retained, queued, records, unreadable, unusable; "sessions and retained messages restored");
        services.connect(hub.clone());
        tokio::spawn(router.run());
        // What the start found out about the time is told before a door lets somebody in.
        time::correct(&board, &hub, &log, history.is_some()).await;
        tokio::spawn(time::learn(board, hub.clone(), log.clone(), history.is_some()));

        let around = Surroundings {
            hub: hub.clone(),
            log: log.clone(),
            clock: Arc::clone(&clock),
            disk: SystemDisk::shared(),
            data: config.gateway.data.clone(),
        };
        // Before the doors: a new link forwards what is published from now on.
        let links = Links::start(config.links.clone(), &around).await;
        let links = links.map_err(|(addr, error)| GatewayError::Listen { door: "tcp_forward", addr, error })?;

        drop(start_hold);

        let vital = VitalSigns::new(hub.clone(), log.clone());
        let mut gateway = Self {
            stop_timeout: config.gateway.stop_timeout,
            notifier,
            hub,
            log,
            wear,
            history,
            links,
            access,
            commlib: commlib::Shared::default(),
            services,
            programs,
            doors: JoinSet::new(),
            stop_doors: watch::Sender::new(false),
            watchers: JoinSet::new(),
            stop_watchers: watch::Sender::new(false),
            reloads: Reloads::default(),
            vital,
            _lock: lock,
        };
        gateway.follow_schema(&config);
        gateway.follow_policy();
        gateway.start_parts(&config, &clock).await;
        gateway.open_doors(&config, &clock, &room).await?;
        log::info!("ready");
        gateway.notifier.ready();
        Ok(gateway)
    }

    /// What takes part without a door. Before the doors, so that it is there for the first client.
    async fn start_parts(&mut self, config: &Config, clock: &SharedClock) {
        let part = Commlib::new(&config.gateway.name, config.commlib.clone(), self.commlib.clone());
        // Fails only when the router has ended, and then nothing else works either.
        if let Ok(part) = router::start(part, &self.hub, clock).await {
            self.doors.spawn(part.serve(stopped(&self.stop_doors)));
        }
    }

    async fn open_doors(&mut self, config: &Config, clock: &SharedClock, room: &Room) -> Result<(), GatewayError> {
        let tls = self.open_tls(config, clock)?;
        let origins = Origins::new(&config.http.origins);
        let plain = |web_socket, proxy_protocol| Way { proxy_protocol, tls: None, web_socket };
        let secure = |web_socket, proxy_protocol| Way { proxy_protocol, tls: tls.clone(), web_socket };
        let wanted = &config.mqtt;
        let ways = [
            (&wanted.listen, plain(false, wanted.proxy_protocol)),
            (&wanted.tls_listen, secure(false, wanted.proxy_protocol)),
            (&wanted.ws_listen, plain(true, wanted.proxy_protocol)),
            (&wanted.wss_listen, secure(true, wanted.proxy_protocol)),
        ];
        let mqtt = listen("mqtt", ways).await?;
        let wanted = &config.rembus;
        let ways = [
            (&wanted.listen, plain(true, wanted.proxy_protocol)),
            (&wanted.tls_listen, secure(true, wanted.proxy_protocol)),
            (&wanted.tcp_listen, plain(false, wanted.proxy_protocol)),
            (&wanted.tcp_tls_listen, secure(false, wanted.proxy_protocol)),
        ];
        let rembus = listen("rembus", ways).await?;
        let wanted = &config.http;
        let ways =
            [(&wanted.listen, plain(false, wanted.proxy_protocol)), (&wanted.tls_listen, secure(false, wanted.proxy_protocol))];
        let http = listen("http", ways).await?;
        self.vital.watch([("mqtt", &mqtt), ("rembus", &rembus), ("http", &http)]);
        let (mut doors, mut counts, mut addresses) = (Vec::new(), metrics::Doors::default(), Vec::new());
        if !mqtt.entrances.is_empty() {
            let access = Some(Arc::clone(&self.access));
            let (origins, places) = (origins.clone(), room.places.clone());
            let settings = mqtt::Settings::from(&config.mqtt);
            let max_half_open = room.files.newcomers(settings.max_half_open);
            let settings = Arc::new(mqtt::Settings { access, origins, places, max_half_open, ..settings });
            counts.insert("mqtt", Arc::clone(&settings.stats));
            addresses.extend(mqtt.addresses.iter().map(|addr| ("mqtt", addr.to_string(), settings.anonymous)));
            let (hub, clock, stop) = (self.hub.clone(), Arc::clone(clock), self.stop_doors.subscribe());
            doors.push(("mqtt", self.doors.spawn(mqtt::serve(mqtt.entrances, hub, settings, clock, stop))));
        }
        if !rembus.entrances.is_empty() {
            let access = Some(Arc::clone(&self.access));
            let (origins, places) = (origins.clone(), room.places.clone());
            let settings = rembus::Settings::from(&config.rembus);
            let max_half_open = room.files.newcomers(settings.max_half_open);
            let settings = Arc::new(rembus::Settings { access, origins, places, max_half_open, ..settings });
            counts.insert("rembus", Arc::clone(&settings.stats));
            addresses.extend(rembus.addresses.iter().map(|addr| ("rembus", addr.to_string(), settings.anonymous)));
            let (hub, clock, stop) = (self.hub.clone(), Arc::clone(clock), self.stop_doors.subscribe());
            doors.push(("rembus", self.doors.spawn(rembus::serve(rembus.entrances, hub, settings, clock, stop))));
        }
        if let Some(board) = self.programs.clone() {
            let (listeners, found) = listen_bus(&config.bus).await?;
            let settings = board.settings();
            counts.insert("bus", Arc::clone(&settings.stats));
            addresses.extend(found.iter().map(|place| ("bus", place.clone(), true)));
            let path = config.bus.path.clone().unwrap_or_default();
            let (hub, stop) = (self.hub.clone(), self.stop_doors.subscribe());
            doors.push(("bus", self.doors.spawn(async move { bus::serve(listeners, &path, hub, board, stop).await })));
        }
        addresses.extend(http.addresses.iter().map(|addr| ("http", addr.to_string(), config.http.anonymous)));
        let parts = Arc::new(Parts {
            name: config.gateway.name.clone(),
            data: config.gateway.data.clone(),
            clock: Arc::clone(clock),
            since: clock.mono(),
            hub: self.hub.clone(),
            log: self.log.clone(),
            wear: self.wear.clone(),
            history: self.history.clone(),
            links: self.links.stats(),
            access: Arc::clone(&self.access),
            commlib: self.commlib.clone(),
            files: room.files,
            readers_log_in: !config.http.anonymous,
            proxied_log_in: !(config.http.anonymous && config.http.anonymous_everywhere),
            origins: origins.clone(),
            programs: self.programs.as_ref().map(|board| Arc::clone(&board.settings().counts)),
            counts,
            doors,
            addresses,
        });
        if !http.entrances.is_empty() {
            let (parts, clock) = (Arc::clone(&parts), Arc::clone(clock));
            let api = config.http.api.then(|| http::Api {
                hub: self.hub.clone(),
                clock: Arc::clone(&clock),
                access: Arc::clone(&self.access),
                anonymous: config.http.anonymous && config.rembus.anonymous,
                origins,
            });
            self.watchers.spawn(http::serve(http.entrances, parts, api, clock, stopped(&self.stop_watchers)));
        }
        self.open_control(&config.gateway.data, parts);
        Ok(())
    }

    /// SIGHUP reads the schema file again.
    fn follow_schema(&mut self, config: &Config) {
        let (Some(history), Some(path)) = (self.history.clone(), config.history.schema.clone()) else { return };
        let (hub, services) = (self.hub.clone(), Arc::clone(&self.services));
        self.reloads.add("schema", move || {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let schema = history::schema::parse(&text).map_err(|errors| errors.to_string())?;
            history.take_schema(schema)?;
            hub.set_builtins(services.methods()).map_err(|error| error.to_string())
        });
    }

    /// Links of users who are gone are closed; SIGHUP reads users and rules again.
    fn follow_policy(&mut self) {
        let (mut changes, hub) = (self.access.changes(), self.hub.clone());
        self.watchers.spawn({
            let stopped = stopped(&self.stop_watchers);
            async move {
                let following = async { while changes.changed().await.is_ok() && hub.policy_changed().await.is_ok() {} };
                tokio::select! {
                    () = following => {}
                    () = stopped => {}
                }
            }
        });
        let access = Arc::clone(&self.access);
        self.reloads.add("access", move || access.reload().map_err(|error| error.to_string()));
    }

    fn open_tls(&mut self, config: &Config, clock: &SharedClock) -> Result<Option<Arc<tls::Server>>, TlsError> {
        let Some(files) = config.tls.clone() else { return Ok(None) };
        let server = tls::Server::open(files, Arc::clone(clock))?;
        let reloaded = Arc::clone(&server);
        self.reloads.add("tls", move || reloaded.reload().map_err(|error| error.to_string()));
        Ok(Some(server))
    }

    /// Commands on this machine find the gateway by its data folder. Without them it still does its work.
    fn open_control(&mut self, data: &Path, parts: Arc<Parts>) {
        match control::Socket::open(data) {
            Ok(socket) => {
                let commands =
                    Commands { hub: parts.hub.clone(), history: parts.history.clone(), clock: Arc::clone(&parts.clock) };
                let routes = control::status_routes(parts)
                    .merge(access::admin::routes(Arc::clone(&self.access), self.hub.clone()))
                    .merge(lake::routes(commands.history.clone()))
                    .merge(commands::routes(commands));
                self.watchers.spawn(control::serve(socket, routes, stopped(&self.stop_watchers)));
            }
            Err(error) => {
                log::error!(error:%; "the control socket cannot be opened; `rembus-gateway status` and others will not work")
            }
        }
    }

    /// Works until `stop` is done or the log fails.
    async fn run_until(mut self, stop: impl Future<Output = ()>, mut hangup: Signal) -> Result<(), GatewayError> {
        let mut log = self.log.state();
        let watchdog = self.vital.watch_over(&self.notifier);
        let mut stop = std::pin::pin!(stop);
        let failed = loop {
            tokio::select! {
                () = &mut stop => break false,
                // An error means that the log has ended, which it does by itself only when it is poisoned.
                _ = log.wait_for(|state| state.health == Health::Poisoned) => break true,
                Some(()) = hangup.recv() => {
                    self.notifier.reloading();
                    self.reloads.run().await;
                    self.notifier.ready();
                }
            }
        };
        // From here on systemd has a limit for the whole of it, and doors that close are no fault.
        drop(watchdog);
        self.notifier.stopping();
        if failed {
            // Nothing may be acknowledged any more, so there is nothing to drain; systemd starts us again.
            log::error!("the log failed; stopping so that a restart can recover");
            return Err(GatewayError::LogFailed);
        }
        log::info!("stopping");
        let stopped = tokio::time::timeout(self.stop_timeout, self.stop()).await;
        if stopped.is_err() {
            log::warn!("stop_timeout is over; leaving without an orderly end, nothing acknowledged is lost");
        }
        log::info!("stopped");
        Ok(())
    }

    async fn stop(&mut self) {
        // Everything accepted so far becomes durable at once, so that the doors can send its acknowledgements and close.
        if let Err(error) = self.log.sync(Seq(u64::MAX)).await {
            log::error!(error:%; "not everything could be made durable; nothing of it was acknowledged");
        }
        self.stop_doors.send_replace(true);
        while self.doors.join_next().await.is_some() {}
        self.links.stop().await;
        if let Some(history) = &self.history {
            history.close().await;
        }
        // So that the next start has less to read.
        self.hub.save_state().await;
        self.stop_watchers.send_replace(true);
        while self.watchers.join_next().await.is_some() {}
        self.log.close().await;
    }
}

/// Resolves when a stop is asked for; a dropped sender is a stop as well.
fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        stop.wait_for(|stop| *stop).await.ok();
    }
}
