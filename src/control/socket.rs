//! Where the socket is, and who may use it.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Its name in the data folder.
const NAME: &str = "control.sock";
/// `sockaddr_un` has room for 108 bytes, the last of them 0 (unix(7)).
const ADDRESS_MAX: usize = 107;

/// The listening control socket of a gateway. Dropping it removes the file.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens in a data folder that the caller has locked: a socket that is there already was left behind.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let folder;
        let address = if path.as_os_str().len() > ADDRESS_MAX {
            folder = std::fs::File::open(data)?;
            through(&folder)
        } else {
            path.clone()
        };
        let listener = UnixListener::bind(address)?;
        // Whoever connected before this line is found out by his credentials.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next peer that may command; others are closed unheard. A failure concerns that one peer only.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if may_command(uid) {
                return Ok(stream);
            }
            log::warn!(uid; "a user who may not command the gateway tried to");
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Left behind it would only be replaced at the next start.
        drop(std::fs::remove_file(&self.path));
    }
}

fn may_command(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Connects to the gateway on a data folder.
pub(super) async fn connect(data: &Path) -> io::Result<UnixStream> {
    let path = data.join(NAME);
    if path.as_os_str().len() <= ADDRESS_MAX {
        return UnixStream::connect(path).await;
    }
    let folder = std::fs::File::open(data)?;
    UnixStream::connect(through(&folder)).await
}

/// A short name for a socket in a folder whose path is too long for an address.
fn through(folder: &std::fs::File) -> PathBuf {
    format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gateways_own_user_and_root_may_command() {
        let own = rustix::process::geteuid().as_raw();
        assert!(may_command(0) && may_command(own));
        assert!(!may_command(own + 1));
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_an_orderly_end_leaves_none() {
        let data = tempfile::tempdir().unwrap();
        // What a killed process leaves: the name, and nobody behind it.
        drop(std::os::unix::net::UnixListener::bind(data.path().join(NAME)).unwrap());
        assert!(connect(data.path()).await.is_err());

        let socket = Socket::open(data.path()).unwrap();
        let mode = std::fs::metadata(data.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        connect(data.path()).await.unwrap();
        socket.accept().await.unwrap();

        drop(socket);
        assert!(!data.path().join(NAME).exists());
    }

    #[tokio::test]
    async fn a_data_folder_may_have_a_long_path() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("x".repeat(120));
        std::fs::create_dir(&data).unwrap();
        let socket = Socket::open(&data).unwrap();
        connect(&data).await.unwrap();
        socket.accept().await.unwrap();
    }
}
