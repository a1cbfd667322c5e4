//! What the commlib part counts, for `/metrics` and `status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls of commlib services for Rembus components, by outcome.
    pub calls: BTreeMap<&'static str, u64>,
    pub calls_pending: u64,
    /// Requests of commlib callers for Rembus methods, by outcome.
    pub served: BTreeMap<&'static str, u64>,
    pub served_pending: u64,
    /// Goals of actions that components serve, by how they ended.
    pub goals: BTreeMap<&'static str, u64>,
    pub goals_running: u64,
    /// Actions that components serve.
    pub actions: u64,
    /// Nodes alive, late, gone.
    pub nodes: [u64; 3],
    pub node_changes: u64,
}

/// The figures as others see them.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Figures>>);

impl Shared {
    #[must_use]
    pub fn read(&self) -> Figures {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
