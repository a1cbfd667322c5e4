//! Who makes the changes: the running gateway, or, if there is none, this process.

use crate::access::admin::{Done, FREE, Import, Name, Question, STAYS, Verdict, View, notes};
use crate::access::keys::{self, KeyRing};
use crate::access::policy::{Change, Policy};
use crate::access::{self, DIR, FILE};
use crate::cli::Refusal;
use crate::cli::remote::Gateway;
use crate::control::ControlError;
use crate::disk::SystemDisk;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) enum Desk {
    Running(Gateway),
    Alone { data: PathBuf, policy: Policy, keys: KeyRing, _lock: std::fs::File },
}

impl Desk {
    pub(super) fn open(gateway: Gateway) -> Result<Self, Refusal> {
        match gateway.wait_for(gateway.client.get::<View>("/access")) {
            Ok(_) => Ok(Self::Running(gateway)),
            Err(ControlError::NotRunning(data)) => Self::alone(data),
            Err(error) => Err(error.into()),
        }
    }

    /// Works on the file. The folder must be there, because whose it is decides who can read what is written.
    fn alone(data: PathBuf) -> Result<Self, Refusal> {
        if !data.is_dir() {
            let text = "no gateway is running there, and there is no data folder";
            return Err(Refusal::failed(format_args!(
                "{text}: {}\n  hint: start the gateway once, or say --data",
                data.display()
            )));
        }
        // Held until the change is written: a gateway that starts meanwhile must not read half of it.
        let lock = crate::gateway::lock_data(&data).map_err(|error| {
            Refusal::failed(format_args!("{error}, and does not answer; it may be starting or stopping: try again"))
        })?;
        hand_over(&data, &data.join("lock"))?;
        let policy = access::load(&data).map_err(Refusal::failed)?;
        let keys = keys::load(&data).map_err(Refusal::failed)?;
        Ok(Self::Alone { data, policy, keys, _lock: lock })
    }

    pub(super) fn view(&self) -> Result<View, Refusal> {
        match self {
            Self::Running(gateway) => Ok(gateway.wait_for(gateway.client.get("/access"))?),
            Self::Alone { policy, keys, .. } => Ok(View::of(policy, keys, policy.is_empty(), |_| None)),
        }
    }

    pub(super) fn change(&mut self, change: Change) -> Result<Done, Refusal> {
        match self {
            Self::Running(gateway) => Ok(gateway.wait_for(gateway.client.post("/access/change", &change))?),
            Self::Alone { data, policy, keys, .. } => {
                let was_open = policy.is_empty();
                policy.apply(change.clone()).map_err(Refusal::failed)?;
                access::save(&SystemDisk, data, policy).map_err(Refusal::failed)?;
                hand_over(data, &data.join(DIR))?;
                hand_over(data, &data.join(DIR).join(FILE))?;
                let mut notes = notes(was_open, policy, keys, &change);
                notes.extend(matches!(change, Change::RemoveUser { .. }).then(|| STAYS.to_owned()));
                Ok(later(notes))
            }
        }
    }

    pub(super) fn test(&self, question: &Question) -> Result<Verdict, Refusal> {
        match self {
            Self::Running(gateway) => Ok(gateway.wait_for(gateway.client.post("/access/test", question))?),
            Self::Alone { policy, keys, .. } => Ok(question.answer(policy, keys, policy.is_empty())),
        }
    }

    /// Keeps a component's key or secret.
    pub(super) fn import(&self, import: &Import) -> Result<Done, Refusal> {
        match self {
            Self::Running(gateway) => Ok(gateway.wait_for(gateway.client.post("/access/keys/import", import))?),
            Self::Alone { data, .. } => {
                let (credential, bytes) = import.read().map_err(Refusal::failed)?;
                let path = keys::add(&SystemDisk, data, &import.name, &credential, &bytes).map_err(Refusal::failed)?;
                hand_over(data, &data.join(keys::DIR))?;
                hand_over(data, &path)?;
                Ok(later(Vec::new()))
            }
        }
    }

    /// Takes a component's key back.
    pub(super) fn remove_key(&self, name: &str) -> Result<Done, Refusal> {
        match self {
            Self::Running(gateway) => {
                Ok(gateway.wait_for(gateway.client.post("/access/keys/remove", &Name { name: name.into() }))?)
            }
            Self::Alone { data, .. } => {
                if !keys::remove(&SystemDisk, data, name).map_err(Refusal::failed)? {
                    return Err(Refusal::failed(format_args!("there is no key for `{name}`")));
                }
                Ok(later(vec![FREE.into()]))
            }
        }
    }

    /// What components offer and subscribe to; only the running gateway knows.
    pub(super) fn inventory(&self) -> Result<serde_json::Value, Refusal> {
        match self {
            Self::Running(gateway) => Ok(gateway.wait_for(gateway.client.get("/inventory"))?),
            Self::Alone { .. } => Err(Refusal::failed("no gateway is running there; only a running one knows its components")),
        }
    }
}

/// Done, although nobody is there to take notice.
fn later(mut notes: Vec<String>) -> Done {
    notes.push("no gateway is running; it is in force from the next start on".into());
    Done { notes }
}

/// What root makes must be the gateway's: it belongs to whom the data folder belongs to.
fn hand_over(data: &Path, made: &Path) -> Result<(), Refusal> {
    let failed = |error| Refusal::failed(format_args!("{} cannot be given to the gateway's user: {error}", made.display()));
    let (folder, file) = (std::fs::metadata(data).map_err(failed)?, std::fs::metadata(made).map_err(failed)?);
    if (folder.uid(), folder.gid()) == (file.uid(), file.gid()) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(made, Some(folder.uid()), Some(folder.gid())).map_err(failed)
}
