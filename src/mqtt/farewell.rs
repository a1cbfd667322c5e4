//! Closing so that the peer can still read why.

use super::dialogue::Ending;
use super::outbox::Outbox;
use crate::net::Stream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How much a parting peer may still send before it is cut off.
const LINGER_BYTES_MAX: usize = 4 << 20;

/// Writes what is left, shuts down, and reads the peer's last bytes away: closing a socket with unread bytes resets the
/// connection, and a reset can overtake the reason that was just sent. All within `limit`.
pub(crate) async fn farewell<S: Stream>(mut stream: S, mut outbox: Outbox, ending: Ending, limit: Duration) {
    let linger = match ending {
        Ending::Lost | Ending::Stalled => return,
        // The client has read all it wants [MQTT-3.14.4-2].
        Ending::Goodbye(_) => false,
        Ending::Fault(_) | Ending::Closed(_) => true,
    };
    let part = async {
        while linger && !outbox.is_empty() {
            let count = stream.write_vectored(&outbox.slices()).await?;
            if count == 0 {
                return Ok(());
            }
            outbox.written(count);
        }
        stream.shutdown().await?;
        let mut scrap = [0; 1024];
        let mut rest = if linger { LINGER_BYTES_MAX } else { 0 };
        while rest > 0 {
            let count = stream.read(&mut scrap).await?;
            if count == 0 {
                break;
            }
            rest = rest.saturating_sub(count);
        }
        std::io::Result::Ok(())
    };
    // Too late or broken meanwhile: it is closed anyway.
    drop(tokio::time::timeout(limit, part).await);
}
