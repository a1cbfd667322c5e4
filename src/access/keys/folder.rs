//! `<data>/keys/`: reading all of it, adding and removing one name's file.

use super::credential::{Algorithm, BYTES_MAX, Credential, PublicKey, is_pem};
use super::{KeyRing, check_cid};
use crate::disk::Disk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The folder below the data folder.
pub const DIR: &str = "keys";

/// Endings of key files, in the order in which they are looked for.
const ENDINGS: [&str; 4] = [".rsa.pem", ".ecdsa.pem", ".rsa.der", ".ecdsa.der"];
/// A file that is being made.
const INCOMING: &str = ".incoming";

/// What is wrong with the folder.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{path} cannot be read: {error}", path = .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path} cannot be written: {error}", path = .path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Name(&'static str),
}

/// Whose file this is, and the place of its ending; a file without one is a secret.
pub(super) fn owner(file: &str) -> (&str, Option<usize>) {
    let known = ENDINGS.iter().enumerate().find_map(|(place, ending)| Some((file.strip_suffix(ending)?, place)));
    known.map_or((file, None), |(cid, place)| (cid, Some(place)))
}

/// Reads all keys. A file that is no good blocks its name.
pub fn load(data: &Path) -> Result<KeyRing, KeysError> {
    let dir = data.join(DIR);
    let unreadable = |error| KeysError::Unreadable { path: dir.clone(), error };
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KeyRing::default()),
        entries => entries.map_err(unreadable)?,
    };
    let mut found = BTreeMap::<String, (usize, PathBuf)>::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if entry.path().is_dir() {
            continue;
        }
        let (cid, place) = owner(name);
        let place = place.unwrap_or(ENDINGS.len());
        let known = found.entry(cid.to_owned()).or_insert_with(|| (place, entry.path()));
        if place < known.0 {
            *known = (place, entry.path());
        }
    }
    let mut ring = KeyRing::default();
    for (cid, (place, path)) in found {
        let credential = read(&path, place);
        if let Err(why) = &credential {
            log::warn!(component = cid.as_str(), why; "the key of a component is no good; nobody can have its name until it is repaired or removed");
        }
        ring.insert(&cid, credential);
    }
    Ok(ring)
}

fn read(path: &Path, place: usize) -> Result<Credential, String> {
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let length = std::fs::metadata(path).map_err(|error| text(&error))?.len();
    if length > BYTES_MAX as u64 {
        return Err(text(&format_args!("it has {length} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| text(&error))?;
    let credential =
        if place < ENDINGS.len() { PublicKey::parse(&bytes).map(Credential::Key) } else { Credential::secret(&bytes) };
    credential.map_err(|error| text(&error))
}

/// The file name for a credential that comes in these bytes.
fn file_name(cid: &str, credential: &Credential, bytes: &[u8]) -> String {
    let Credential::Key(key) = credential else { return cid.to_owned() };
    let algorithm = match key.algorithm {
        Algorithm::Rsa => "rsa",
        Algorithm::Ecdsa => "ecdsa",
    };
    format!("{cid}.{algorithm}.{}", if is_pem(bytes) { "pem" } else { "der" })
}

/// Keeps `bytes`, which were read as `credential`, for a name, in place of what it had; on the disk when this returns.
pub fn add(disk: &dyn Disk, data: &Path, cid: &str, credential: &Credential, bytes: &[u8]) -> Result<PathBuf, KeysError> {
    check_cid(cid).map_err(KeysError::Name)?;
    let dir = data.join(DIR);
    let path = dir.join(file_name(cid, credential, bytes));
    let write = || -> io::Result<()> {
        if !dir.is_dir() {
            disk.create_dir_all(&dir)?;
            disk.sync_dir(data)?;
        }
        let incoming = dir.join(INCOMING);
        disk.replace_private(&incoming, bytes)?;
        disk.rename(&incoming, &path)
    };
    write().map_err(|error| KeysError::Unwritable { path: path.clone(), error })?;
    // Only now: the name is never without a key.
    remove_all(disk, data, cid, Some(&path))?;
    Ok(path)
}

/// Removes what a name has; on the disk when this returns. False if it has nothing.
pub fn remove(disk: &dyn Disk, data: &Path, cid: &str) -> Result<bool, KeysError> {
    remove_all(disk, data, cid, None)
}

fn remove_all(disk: &dyn Disk, data: &Path, cid: &str, except: Option<&Path>) -> Result<bool, KeysError> {
    let dir = data.join(DIR);
    // Names that were copied here may be stranger than those that are registered, but never paths.
    if cid.is_empty() || cid.starts_with('.') || cid.contains('/') || cid.contains('\0') {
        return Ok(false);
    }
    let mut removed = false;
    for ending in ENDINGS.iter().chain(&[""]) {
        let path = dir.join(format!("{cid}{ending}"));
        if except == Some(&path) {
            continue;
        }
        match disk.remove(&path) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(KeysError::Unwritable { path, error }),
        }
    }
    if removed {
        disk.sync_dir(&dir).map_err(|error| KeysError::Unwritable { path: dir, error })?;
    }
    Ok(removed)
}
