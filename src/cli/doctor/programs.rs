//! Where programs of this machine connect: is the socket there, does somebody listen, who may connect.

use super::Findings;
use crate::config::Bus;
use crate::control::Status;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

const RESTART: &str = "restart the gateway; it makes a new one";

/// The sockets that the gateway says it listens at. TCP has been told of with the doors.
pub(super) fn sockets(status: &Status, config: &Bus, found: &mut Findings) {
    for door in status.doors.iter().filter(|door| door.name == "bus") {
        let path = Path::new(&door.address);
        if path.is_absolute() {
            socket(path, config, found);
        }
    }
}

fn socket(path: &Path, config: &Bus, found: &mut Findings) {
    let shown = path.display();
    let file = match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => file,
        Ok(_) => return found.fail("bus", format_args!("{shown} is no socket"), RESTART),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return found.fail("bus", format_args!("{shown} is gone; no program can connect"), RESTART);
        }
        Err(error) => return found.warn("bus", format_args!("{shown}: {error}"), "ask as a user who may look there"),
    };
    let mode = file.permissions().mode() & 0o7777;
    let who = format!("mode {mode:04o}, group {}", group(file.gid()));
    match UnixStream::connect(path) {
        Ok(_) => found.ok("bus", format_args!("{shown} is alive; {who}")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            found.warn("bus", format_args!("{shown} does not let this user in; {who}"), "[bus] mode and group say who may")
        }
        Err(error) => found.fail("bus", format_args!("{shown} is dead: {error}; {who}"), RESTART),
    }
    // Another configuration than the gateway's says nothing about its socket.
    if config.path.as_deref() == Some(path) && mode != config.mode {
        found.warn("bus", format_args!("{shown} has mode {mode:04o}, not {:04o} as configured", config.mode), RESTART);
    }
}

/// By its name, if the machine's file knows it.
fn group(id: u32) -> String {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn told(path: &Path, mode: u32) -> Findings {
        let mut found = Findings::default();
        let config = Bus { path: Some(path.into()), mode, ..crate::config::Config::default().bus };
        socket(path, &config, &mut found);
        found
    }

    #[test]
    fn a_socket_is_alive_dead_gone_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus.sock");
        let shown = path.display();
        let gone = told(&path, 0o660);
        assert!(gone.failed && gone.lines[0].starts_with(&format!("FAIL  bus: {shown} is gone")), "{gone:?}");

        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
        let own = group(rustix::process::getegid().as_raw());
        assert_eq!(told(&path, 0o660).lines, [format!("OK    bus: {shown} is alive; mode 0660, group {own}")]);
        let other = told(&path, 0o600);
        assert!(!other.failed && other.lines[1].contains("has mode 0660, not 0600 as configured"), "{other:?}");

        drop(listener);
        let dead = told(&path, 0o660);
        assert!(dead.failed && dead.lines[0].contains("is dead: "), "{dead:?}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(told(&path, 0o660).lines[0].contains("is no socket"));
    }
}
