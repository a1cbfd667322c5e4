//! The certificate in use, and handshakes with it.

use super::files::{Files, TlsError};
use super::refusal::TlsRefusal;
use super::turns::{Ticket, Turns};
use crate::clock::SharedClock;
use crate::net::Stream;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Encrypted bytes that wait for one peer's socket; the doors have buffers and limits of their own before it.
const BUFFER_MAX: usize = 32 << 10;

/// TLS for all doors.
#[derive(Debug)]
pub struct Server {
    files: Files,
    clock: SharedClock,
    current: RwLock<Arc<ServerConfig>>,
    turns: Arc<Turns>,
}

impl Server {
    /// Fails if the files cannot be used. An expired certificate is told and used: clients refuse it by themselves, and the
    /// other doors must not stay closed for it.
    pub fn open(files: Files, clock: SharedClock) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(load(&files, &clock)?);
        Ok(Arc::new(Self { files, clock, current, turns: Turns::of_this_machine() }))
    }

    /// Takes the files as they are now for all handshakes to come; if they cannot be used, those before stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = load(&self.files, &self.clock)?;
        // Nothing in here can panic half way.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// The handshake, and the certificate that the client showed.
    pub(crate) async fn accept<S: Stream>(
        &self,
        stream: S,
        ticket: Option<Ticket>,
    ) -> Result<(TlsStream<S>, Option<CertificateDer<'static>>), TlsRefusal> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let shaking = TlsAcceptor::from(config).accept_with(stream, |session| session.set_buffer_limit(Some(BUFFER_MAX)));
        let stream = self.turns.take(ticket, shaking).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|certificate| certificate.clone().into_owned());
        Ok((stream, certificate))
    }
}

fn load(files: &Files, clock: &SharedClock) -> Result<Arc<ServerConfig>, TlsError> {
    let (config, validity) = files.load()?;
    let certificate = files.certificate.display();
    match validity.trouble(clock.wall()) {
        Some(trouble) => log::error!(certificate:%; "the gateway's certificate {trouble}; clients will refuse it"),
        None => log::info!(certificate:%, until = validity.until.as_str(); "certificate in use"),
    }
    Ok(config)
}
