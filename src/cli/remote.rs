//! Commands that ask the running gateway: how they find it, and how they wait for it.

use super::{ConfigFile, Refusal};
use crate::config::{Flags, Loaded};
use crate::control::Client;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// Which gateway a command asks.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// Data folder of the running gateway [default: what the configuration says]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

/// The running gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) client: Client,
    pub(super) data: PathBuf,
    runtime: Runtime,
}

impl Where {
    /// The configuration file that was named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.file.config.as_deref()
    }

    /// `--data` alone is enough: a configuration that is being repaired must not be in the way. Otherwise the configuration
    /// says where the data is, its default included.
    pub(super) fn find(&self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Gateway, Refusal> {
        let data = match &self.data {
            Some(data) => std::path::absolute(data).map_err(Refusal::failed)?,
            None => Loaded::load(&Flags::default(), env, self.file.config.as_deref())?.config.gateway.data,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Refusal::failed)?;
        Ok(Gateway { client: Client::new(&data), data, runtime })
    }
}

impl Gateway {
    /// For a command that goes through another door: only the waiting is needed.
    pub(super) fn elsewhere() -> Result<Self, Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Refusal::failed)?;
        Ok(Self { client: Client::new(std::path::Path::new("")), data: PathBuf::new(), runtime })
    }

    /// Does the asking.
    pub(super) fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}
