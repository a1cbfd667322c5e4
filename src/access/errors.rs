//! Why users and rules stay as they were.

use super::keeper::AccessError;
use super::keys::KeysError;
use super::policy::PolicyError;

/// Why files that were read again are not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Policy(#[from] AccessError),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Why the policy stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Disk(#[from] AccessError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("there is no key for `{0}`")]
    NoKey(String),
    #[error("there are {max} keys already; no more fit")]
    Full { max: usize },
    #[error("{0}; repair or remove it, then send SIGHUP")]
    Damaged(String),
    #[error("the gateway is stopping")]
    Stopping,
}
