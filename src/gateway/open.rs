//! What is opened before anything listens: the data folder, the log, the access policy, the board of the bus.

use super::GatewayError;
use crate::access::{self, Access, HashError};
use crate::bus;
use crate::clock::SharedClock;
use crate::config::{self, Config};
use crate::disk::SystemDisk;
use crate::door::Places;
use crate::files::Files;
use crate::message::Seq;
use crate::wal::{self, Hold, LogHandle};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Who may be on the bus, before anybody is; `None` if nobody listens.
pub(super) fn bus_board(config: &Config, access: &Arc<Access>, clock: &SharedClock, room: &Room) -> Option<Arc<bus::Board>> {
    let wanted = &config.bus;
    let settings = bus::Settings::from(wanted);
    let settings = bus::Settings {
        access: Some(Arc::clone(access)),
        places: room.places.clone(),
        max_half_open: room.files.newcomers(settings.max_half_open),
        ..settings
    };
    (wanted.path.is_some() || !wanted.tcp.is_empty()).then(|| bus::Board::new(Arc::new(settings), Arc::clone(clock)))
}

pub(super) fn open_access(config: &Config, clock: &SharedClock) -> Result<Arc<Access>, HashError> {
    let (mqtt, rembus) = (&config.mqtt, &config.rembus);
    let listens = |addresses: &[&config::Listen]| addresses.iter().any(|addresses| !addresses.is_empty());
    // A door that wants users says that access matters.
    let strict = (!mqtt.anonymous && listens(&[&mqtt.listen, &mqtt.tls_listen, &mqtt.ws_listen, &mqtt.wss_listen]))
        || (!rembus.anonymous && listens(&[&rembus.listen, &rembus.tls_listen, &rembus.tcp_listen, &rembus.tcp_tls_listen]));
    let settings = access::Settings {
        certificate_user: config.access.certificate_user,
        strict,
        admins: rembus.admins.iter().cloned().collect(),
        tenants: rembus.tenants.clone(),
        connections_max: Some(config.limits.connections_per_user),
    };
    Ok(Arc::new(Access::open(SystemDisk::shared(), Arc::clone(clock), &config.gateway.data, settings)?))
}

/// Room for connections.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) files: Files,
    /// Of all doors together.
    pub(super) places: Places,
}

impl Room {
    pub(super) fn claim() -> Self {
        let files = Files::claim();
        Self { files, places: Places::new(files.connections()) }
    }
}

/// What is made from now on is for the gateway's own user: messages, passwords' hashes and keys are nobody else's business. A bus
/// socket has the mode that it is given.
pub(super) fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Programs of a group that may use the bus must be able to reach its socket, where it lies in a data folder that was just made.
pub(super) fn let_through_to_bus(config: &Config) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let data = &config.gateway.data;
    let inside = config.bus.path.as_ref().is_some_and(|path| path.starts_with(data));
    if inside && config.bus.group.is_some() {
        // To pass, not to read; what is in it is private by itself.
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// Makes sure that nobody else works in a data folder as long as the file is kept open.
pub(crate) fn lock_data(data: &Path) -> Result<std::fs::File, GatewayError> {
    let unusable = |error| GatewayError::Data { path: data.into(), error };
    std::fs::create_dir_all(data).map_err(unusable)?;
    let lock =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(data.join("lock")).map_err(unusable)?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(GatewayError::InUse { path: data.into() }),
        Err(error) => Err(unusable(error.into())),
    }
}

/// Says what the log found, and exactly what it cost.
fn tell(recovery: &wal::Recovery) {
    for damage in &recovery.damaged {
        log::error!("the log is damaged: {damage}");
    }
    if let Some(torn) = &recovery.torn {
        log::warn!("the log ended in the middle of a write: {torn}; nothing acknowledged was in it");
    }
    log::info!(records = recovery.records, segments = recovery.segments, last:% = recovery.last; "log open");
}

/// Opens the log and gives it a thread of its own, because it waits for the disk. Nothing is removed from it before the hold is
/// dropped: those who need old records must have said so first.
pub(super) fn open_log(config: &Config, clock: &SharedClock) -> Result<(LogHandle, Hold), GatewayError> {
    let options = wal::Options {
        dir: config.gateway.data.join("wal"),
        segment_bytes: 8 << 20,
        ack_delay_max: config.wal.ack_delay_max,
        idle_delay_max: Duration::from_secs(1),
        keep: config.wal.keep,
        keep_bytes: config.wal.keep_size,
        reserve_bytes: config.wal.reserve,
    };
    let (log, handle, recovery) = wal::open(SystemDisk::shared(), Arc::clone(clock), options)?;
    tell(&recovery);
    let start_hold = handle.hold(Seq(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| GatewayError::System { what: "the log's runtime", error })?;
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || {
            if let Err(error) = runtime.block_on(log.run()) {
                log::error!(error:%; "the log has failed");
            }
        })
        .map_err(|error| GatewayError::System { what: "the log's thread", error })?;
    Ok((handle, start_hold))
}
