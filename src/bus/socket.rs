//! Where programs connect: a unix socket with a mode and a group, and TCP of this machine if that is asked for.

use crate::net::{Listener, TcpListener};
use bytes::BytesMut;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// `sockaddr_un` has room for 108 bytes, the last of them 0 (unix(7)).
const ADDRESS_MAX: usize = 107;
/// Programs that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A program's bytes. Unlike other doors' streams it can be written to by whoever has something for the program.
#[derive(Debug)]
pub enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

macro_rules! either {
    ($socket:expr, $stream:ident => $do:expr) => {
        match $socket {
            Self::Unix($stream) => $do,
            Self::Tcp($stream) => $do,
        }
    };
}

impl Socket {
    /// The user whose program it is, if the kernel knows.
    pub(super) fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix(stream) => stream.peer_cred().ok().map(|peer| peer.uid()),
            Self::Tcp(_) => None,
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        either!(self, stream => stream.readable().await)
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        either!(self, stream => stream.writable().await)
    }

    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        either!(self, stream => stream.try_read_buf(buffer))
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(slices))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// One place where programs connect.
#[derive(Debug)]
pub enum BusListener {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

impl BusListener {
    /// Listens at a path. `group` is a name of `/etc/group` or a number. Nobody can connect before mode and group are set.
    /// What an earlier process left behind is replaced; what is no socket, or one that somebody listens at, is not touched.
    pub fn unix(path: &Path, mode: u32, group: Option<&str>) -> io::Result<Self> {
        let group_id = group.map(group_id).transpose()?;
        make_room(path)?;
        let folder;
        let address = if path.as_os_str().len() > ADDRESS_MAX {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no folder"));
            };
            folder = std::fs::File::open(parent)?;
            Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)
        } else {
            path.to_path_buf()
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&address)?)?;
        let ready = || -> io::Result<UnixListener> {
            // Without a group there is nothing to change, and a sandbox may forbid it.
            if let Some(group) = group {
                std::os::unix::fs::chown(path, None, group_id).map_err(|error| {
                    let why = format!("it cannot be of the group `{group}` ({error}); is the gateway's user in that group?");
                    io::Error::new(error.kind(), why)
                })?;
            }
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            rustix::net::listen(&socket, BACKLOG)?;
            UnixListener::from_std(socket.into())
        };
        match ready() {
            Ok(listener) => Ok(Self::Unix { listener, path: path.into() }),
            Err(error) => {
                drop(std::fs::remove_file(path));
                Err(error)
            }
        }
    }

    pub async fn tcp(address: &str) -> io::Result<Self> {
        Ok(Self::Tcp(TcpListener::bind(address).await?))
    }
}

impl Listener for BusListener {
    type Stream = Socket;

    async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), HERE))
            }
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream), peer))
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Unix { .. } => Ok(HERE),
            Self::Tcp(listener) => listener.local_addr(),
        }
    }
}

/// A unix socket has no address of a network.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Drop for BusListener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Left behind it would only be replaced at the next start.
            drop(std::fs::remove_file(path));
        }
    }
}

fn make_room(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else than a socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there already")),
        Err(_) => std::fs::remove_file(path),
    }
}

/// Only the file is asked: a group of a directory service can be given as its number.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group")?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no group `{group}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_has_the_mode_that_was_asked_for_and_an_orderly_end_leaves_none() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("bus.sock");
        // What a killed process leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let own = rustix::process::getegid().as_raw().to_string();
        let listener = BusListener::unix(&path, 0o660, Some(&own)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

        let second = BusListener::unix(&path, 0o660, None).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("notes");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(BusListener::unix(&path, 0o660, None).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_path_may_be_long_and_a_group_unknown() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let mut listener = BusListener::unix(&folder.join("bus.sock"), 0o600, None).unwrap();
        let through = std::fs::File::open(&folder).unwrap();
        let path = format!("/proc/self/fd/{}/bus.sock", through.as_raw_fd());
        let _program = UnixStream::connect(path).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        assert_eq!(socket.uid(), Some(rustix::process::geteuid().as_raw()));

        assert!(BusListener::unix(&folder.join("b"), 0o600, Some("no-such-group")).is_err());
        assert_eq!(group_id("root").unwrap(), 0);
    }
}
