//! What the operator says about commlib.

use super::names;
use std::time::Duration;

/// Everything has a default: without configuration, services can be called by their names and the node table is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keep a table of nodes by their heartbeats.
    pub nodes: bool,
    /// How often a node beats.
    pub heartbeat: Duration,
    /// Filters of heartbeats beside `+/heartbeat`.
    pub heartbeats: Vec<String>,
    pub rpc: Vec<Rpc>,
    /// Filters of the services that can be called as `commlib/<name>`.
    pub callable: Vec<String>,
    /// For a call without a table of its own, and for actions.
    pub timeout: Duration,
    /// Calls under way in each direction; more are refused.
    pub in_flight: usize,
    pub expose: Vec<Expose>,
    /// The methods of history that ask are services below `gateway.`.
    pub gateway_services: bool,
    pub on_error: OnError,
    /// A component's goal is aborted after this time.
    pub goal_timeout: Duration,
    /// A goal that was canceled counts as ended after this time.
    pub cancel_timeout: Duration,
    /// What actions say is kept from Rembus patterns and tables.
    pub private_actions: bool,
}

/// A Rembus method that is a commlib service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    pub method: String,
    /// As a topic.
    pub service: String,
    /// Names for positional arguments.
    pub args: Vec<String>,
    pub timeout: Duration,
    /// The field of the answer that is the result.
    pub unwrap: Option<String>,
}

/// A commlib service that is a Rembus method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// As a topic.
    pub service: String,
    pub method: String,
    /// The order in which fields become positional arguments; without it the fields are the only argument.
    pub args: Option<Vec<String>>,
    /// The field for a result that is not an object.
    pub result: String,
    /// `None`: whoever may publish there and call the method.
    pub users: Option<Vec<String>>,
    pub on_error: OnError,
    pub timeout: Duration,
}

/// commlib has no error answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The caller runs into its time-out, as with a commlib service.
    Silent,
    /// `{"error": text, "code": status}`: an untyped caller sees it, a typed one takes defaults for the result.
    Reply,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: true,
            heartbeat: Duration::from_secs(10),
            heartbeats: Vec::new(),
            rpc: Vec::new(),
            callable: vec!["#".into()],
            timeout: Duration::from_secs(10),
            in_flight: 256,
            expose: Vec::new(),
            gateway_services: true,
            on_error: OnError::Silent,
            goal_timeout: Duration::from_secs(3600),
            cancel_timeout: Duration::from_secs(30),
            private_actions: true,
        }
    }
}

impl Settings {
    /// Whether a service may be called by its name alone.
    pub(super) fn is_callable(&self, topic: &str) -> bool {
        self.callable.iter().any(|filter| names::matches(filter, topic))
    }

    pub(super) fn rpc_of(&self, method: &str) -> Option<&Rpc> {
        self.rpc.iter().find(|rpc| rpc.method == method)
    }
}
