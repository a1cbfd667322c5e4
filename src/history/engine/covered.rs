//! How far a lake covers the log.

use crate::message::Seq;

/// What the newest batch wrote beside its rows, in the snapshot's `commit_extra_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Covered {
    /// Which log the sequence belongs to: a log that was lost and started again counts from 1.
    pub(super) log_id: u64,
    pub(super) log_seq: u64,
}

impl Covered {
    pub(super) fn seq(self) -> Seq {
        Seq(self.log_seq)
    }

    pub(super) fn to_json(self) -> String {
        serde_json::to_string(&self).expect("two numbers are always JSON")
    }

    /// `None` for what somebody else wrote there.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
