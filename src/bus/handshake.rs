//! From an accepted socket to a program with a name. In its own task: nothing a peer does or leaves undone here delays others.

use super::board::Board;
use super::client::Client;
use super::connection::Connection;
use super::dialogue::Dialogue;
use super::frame::{Code, GREETING};
use super::name;
use super::outbox::Origin;
use super::socket::Socket;
use crate::access::{Action, Identity};
use crate::door::{Entry, Present, Stats};
use crate::message::Dialect;
use crate::router::{Attach, Expiry, HubHandle, Inbound, Link, LinkInfo, OnConflict, Outbound, Refusal};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// What all connections of this door share.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) hub: HubHandle,
    pub(super) board: Arc<Board>,
    pub(super) stop: watch::Receiver<bool>,
    /// The unix socket's path, as `client.list` says it.
    pub(super) path: Arc<str>,
}

/// Serves one accepted socket to its end.
pub(super) async fn attend(mut socket: Socket, peer: SocketAddr, door: Arc<Door>, mut entry: Entry) {
    let settings = Arc::clone(&door.board.settings);
    let mut stop = door.stop.clone();
    let uid = socket.uid();
    let greeted = {
        let _half_open = Present::new(&settings.stats.half_open);
        let greeting = async {
            if !is_allowed(uid, &settings.allow_uids) {
                return Err(Unwelcome::User);
            }
            greet(&mut socket).await
        };
        tokio::select! {
            greeted = greeting => greeted,
            () = entry.displaced() => Err(Unwelcome::Gone),
            () = tokio::time::sleep(settings.timeout) => Err(Unwelcome::Gone),
            _ = stop.wait_for(|stop| *stop) => Err(Unwelcome::Gone),
        }
    };
    drop(entry);
    let wanted = match greeted {
        Ok(name) => name,
        Err(Unwelcome::Gone) => return Stats::count(&settings.stats.abandoned),
        Err(Unwelcome::User) => {
            Stats::count(&settings.stats.refused);
            if let Some(suppressed) = settings.stats.may_warn(&*door.board.clock) {
                log::warn!(uid, suppressed; "a user who is not in `allow_uids` came to the bus");
            }
            return;
        }
        Err(Unwelcome::Code(code)) => return turn_away(socket, &door, "", code).await,
    };
    match register(&door, &wanted, uid, peer).await {
        Ok((mut reservation, link, identity, _seat)) => {
            let entrance = match socket {
                Socket::Unix(_) => Arc::clone(&door.path),
                Socket::Tcp(_) => "tcp".into(),
            };
            let client = Arc::new(Client::new(&reservation.name, socket, peer, entrance, &settings));
            let dialogue = Dialogue::new(Arc::clone(&door.board), Arc::clone(&client), identity);
            // In front of everything that others may send from now on.
            client.put(&[Code::OK.0], &Bytes::new(), Origin::Other);
            reservation.take(&client);
            let _present = Present::new(&settings.stats.connected);
            log::debug!(client = &*client.name, uid; "program registered");
            Connection::new(client, dialogue, link, Arc::clone(&settings)).run(stop).await;
        }
        Err(code) => turn_away(socket, &door, &wanted, code).await,
    }
}

/// Why somebody gets no name.
#[derive(Debug)]
enum Unwelcome {
    /// It left, or took too long.
    Gone,
    User,
    Code(Code),
}

impl From<io::Error> for Unwelcome {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

fn is_allowed(uid: Option<u32>, allowed: &[u32]) -> bool {
    allowed.is_empty() || uid.is_some_and(|uid| allowed.contains(&uid))
}

/// Greets, and hears the name that the newcomer wants.
async fn greet(socket: &mut Socket) -> Result<String, Unwelcome> {
    socket.write_all(&GREETING).await?;
    let mut echo = [0; GREETING.len()];
    socket.read_exact(&mut echo).await?;
    if echo != GREETING {
        return Err(Unwelcome::Code(Code::NOT_SUPPORTED));
    }
    socket.write_all(&[Code::OK.0]).await?;
    let len = usize::from(socket.read_u16_le().await?);
    if len > name::LENGTH_MAX {
        return Err(Unwelcome::Code(Code::DATA));
    }
    let mut wanted = vec![0; len];
    socket.read_exact(&mut wanted).await?;
    String::from_utf8(wanted).map_err(|_| Unwelcome::Code(Code::DATA))
}

type Registered = (super::board::Reservation, Link, Identity, Option<crate::access::Seat>);

/// Takes the name on the board and in the router.
async fn register(door: &Door, wanted: &str, uid: Option<u32>, peer: SocketAddr) -> Result<Registered, Code> {
    let settings = &door.board.settings;
    let reservation = door.board.reserve(wanted)?;
    let (identity, seat) = match &settings.access {
        Some(access) => {
            let admission = access.local("bus", uid, wanted, peer).map_err(|_| Code::ACCESS)?;
            (admission.identity, admission.seat)
        }
        None => (Identity::default(), None),
    };
    if !identity.may(Action::Expose, &format!("bus/{wanted}")) {
        return Err(Code::ACCESS);
    }
    let info = LinkInfo { dialect: Dialect::Bus, peer, identity: identity.clone() };
    let mut link = door.hub.open(info).await.map_err(|_| Code::IO)?;
    let attach = Attach {
        name: wanted.to_owned(),
        // The board knows who is there; a link that the router still has is on its way out.
        on_conflict: OnConflict::TakeOver,
        clean: true,
        expiry: Expiry::WithLink,
        will: None,
        receive_max: u16::MAX,
        packet_max: u32::MAX,
        resend_after: None,
        identity: identity.clone(),
    };
    link.sender.send(vec![Inbound::Attach(attach)]).await.map_err(|_| Code::IO)?;
    match link.receiver.recv().await.as_deref() {
        Some([Outbound::Attached { .. }]) => Ok((reservation, link, identity, seat)),
        Some([Outbound::Refused(Refusal::NotAuthorized), ..]) => Err(Code::ACCESS),
        Some(_) => Err(Code::BUSY),
        None => Err(Code::IO),
    }
}

async fn turn_away(mut socket: Socket, door: &Door, wanted: &str, code: Code) {
    let stats = &door.board.settings.stats;
    Stats::count(&stats.refused);
    if let Some(suppressed) = stats.may_warn(&*door.board.clock) {
        log::warn!(client = wanted, code = format!("{:#04x}", code.0), suppressed; "a program was not let onto the bus");
    }
    // It may be gone already, and one byte fits into any socket.
    tokio::time::timeout(door.board.settings.timeout, socket.write_all(&[code.0])).await.ok();
    socket.shutdown().await.ok();
}
