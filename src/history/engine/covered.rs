//! How far a lake covers the log.

use crate::message::Seq;
use crate::wal::{Identity, Stated};

/// What the newest batch wrote beside its rows, in the snapshot's `commit_extra_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Covered {
    /// Which log the sequence belongs to: a log that was lost and started again counts from 1.
    pub(super) log_id: u64,
    pub(super) log_seq: u64,
    /// During which start of the log it was written, so that a later loss of the log's newest records is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) log_start: Option<u64>,
}

impl Covered {
    pub(super) fn seq(self) -> Seq {
        Seq(self.log_seq)
    }

    pub(super) fn of(log: &Identity, upto: Seq) -> Self {
        let Stated { log_id, start, seq } = log.stated(upto);
        Self { log_id, log_seq: seq.0, log_start: start }
    }

    /// Where the log goes on for this lake: from the start if it is another one, and behind what was lost of it.
    pub(super) fn place_in(self, log: &Identity) -> Seq {
        let stated = Stated { log_id: self.log_id, start: self.log_start, seq: Seq(self.log_seq) };
        log.place_of(stated).unwrap_or_default()
    }

    /// What it says of this log beyond what the log has kept, if so.
    pub(super) fn beyond(self, log: &Identity) -> Option<Seq> {
        (self.log_id == log.log_id() && self.place_in(log).0 < self.log_seq).then_some(Seq(self.log_seq))
    }

    pub(super) fn to_json(self) -> String {
        serde_json::to_string(&self).expect("two numbers are always JSON")
    }

    /// `None` for what somebody else wrote there.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
