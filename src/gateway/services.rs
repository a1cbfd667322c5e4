//! What the gateway itself offers as methods that anybody can call.

use crate::bus::Board;
use crate::history::History;
use crate::mapping;
use crate::message::Seq;
use crate::router::{HubHandle, LinkId, Services, Status};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// The programs on the bus.
const PROGRAMS: &str = "bus/clients";

/// Hands calls of `query_T`, `delete_T` and `upsert_T` to history, and answers others itself.
#[derive(Debug)]
pub(super) struct GatewayServices {
    history: Option<Arc<History>>,
    programs: Option<Arc<Board>>,
    /// History writes table commands through the router, which is made with these services: the circle is closed afterwards.
    hub: OnceLock<HubHandle>,
}

impl GatewayServices {
    pub(super) fn new(history: Option<Arc<History>>, programs: Option<Arc<Board>>) -> Self {
        Self { history, programs, hub: OnceLock::new() }
    }

    pub(super) fn connect(&self, hub: HubHandle) {
        self.hub.set(hub).expect("the services are connected once");
    }

    pub(super) fn methods(&self) -> Vec<String> {
        let history = self.history.as_ref().map(|history| history.methods()).unwrap_or_default();
        self.programs.iter().map(|_| PROGRAMS.to_owned()).chain(history).collect()
    }
}

impl Services for GatewayServices {
    fn call(
        &self,
        caller: LinkId,
        method: Arc<str>,
        data: Bytes,
        upto: Seq,
    ) -> Pin<Box<dyn Future<Output = (Status, Bytes)> + Send>> {
        if let (Some(programs), PROGRAMS) = (&self.programs, &*method) {
            let clients = mapping::json_to_cbor(&programs.clients());
            return Box::pin(std::future::ready((Status::OK, clients)));
        }
        let (Some(history), Some(hub)) = (self.history.clone(), self.hub.get().cloned()) else {
            return Box::pin(std::future::ready((Status::METHOD_NOT_FOUND, text(&method))));
        };
        Box::pin(async move {
            match history.call(caller.into(), &method, data, upto, &hub).await {
                Ok(answer) => (Status::OK, answer),
                Err(error) => (error.status, text(&error.text)),
            }
        })
    }
}

/// A CBOR text.
fn text(value: &str) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + 5);
    ciborium::into_writer(value, &mut out).expect("writing to a vector cannot fail");
    out.into()
}
