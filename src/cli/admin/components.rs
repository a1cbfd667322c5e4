//! What `admin` does for Rembus components: keys, private topics, admins, tenants.

use super::desk::Desk;
use super::{NewPassword, hash, show};
use crate::access::admin::Import;
use crate::access::policy::Change;
use crate::cli::{Refusal, Streams};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file that can be a key, in bytes.
const FILE_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Shows the components that have a key
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Keeps a component's public key (PEM or DER; RSA from 2048 bits, or P-256), in place of what it had
    Import {
        name: String,
        file: PathBuf,
        /// The first line of the file is a shared secret
        #[arg(long)]
        secret: bool,
    },
    /// Takes a component's key back, and closes its connections
    Remove { name: String },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Admins {
    /// Shows the components that may administer
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Lets a component administer, once it has proven its name
    Add { name: String },
    /// Lets it administer no more
    Remove { name: String },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Tenants {
    /// Shows the tenants in which components can be registered
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Lets components be registered in a tenant; asks for the pin. `.` is the tenant of names without a dot
    Add {
        name: String,
        #[command(flatten)]
        pin: NewPassword,
    },
    /// Lets no more be registered
    Remove { name: String },
}

pub(super) fn keys(desk: &Desk, what: Keys, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    let (done, said) = match what {
        Keys::List { json } => return show::keys(&desk.view()?, json, streams),
        Keys::Import { name, file, secret } => {
            let import = Import { name: name.clone(), secret, file: BASE64_STANDARD.encode(read(&file)?) };
            (desk.import(&import)?, format!("{name} must prove its name with this {}", if secret { "secret" } else { "key" }))
        }
        Keys::Remove { name } => (desk.remove_key(&name)?, format!("{name} has no key any more")),
    };
    streams.say(said);
    for note in done.notes {
        streams.say(format_args!("note: {note}"));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Refusal> {
    let failed = |error: std::io::Error| Refusal::failed(format_args!("{} cannot be read: {error}", file.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(file).map_err(failed)?.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The change that is asked for, and what is said when it is made; `None` after a list was shown.
pub(super) fn admins(desk: &Desk, what: Admins, streams: &mut Streams<'_>) -> Result<Option<(Change, String)>, Refusal> {
    Ok(Some(match what {
        Admins::List { json } => {
            show::named("admin", &desk.view()?.admins, json, streams)?;
            return Ok(None);
        }
        Admins::Add { name } => (Change::AddAdmin { name: name.clone() }, format!("{name} may administer")),
        Admins::Remove { name } => (Change::RemoveAdmin { name: name.clone() }, format!("{name} may not administer any more")),
    }))
}

pub(super) fn tenants(desk: &Desk, what: Tenants, streams: &mut Streams<'_>) -> Result<Option<(Change, String)>, Refusal> {
    Ok(Some(match what {
        Tenants::List { json } => {
            show::named("tenant", &desk.view()?.tenants, json, streams)?;
            return Ok(None);
        }
        Tenants::Add { name, pin } => {
            let pin = hash(&pin, &name, streams)?;
            let done = format!("components of tenant {name} can be registered with this pin");
            (Change::SetTenant { name, pin }, done)
        }
        Tenants::Remove { name } => {
            let done = format!("no more components of tenant {name} can be registered");
            (Change::RemoveTenant { name }, done)
        }
    }))
}
