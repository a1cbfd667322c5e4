//! The policy on the disk: `<data>/state/access.json`, mode 0600, replaced as a whole.

use super::policy::Policy;
use crate::disk::Disk;
use std::io;
use std::path::{Path, PathBuf};

/// The folder and the file below the data folder.
pub const DIR: &str = "state";
pub const FILE: &str = "access.json";
/// Ten thousand users with ten thousand rules of the longest kind stay below this.
const BYTES_MAX: u64 = 32 << 20;

/// What is wrong with the policy on the disk.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{path} cannot be read: {error}", path = .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path} is not a policy: {why}", path = .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{path} cannot be written: {error}", path = .path.display())]
    Unwritable { path: PathBuf, error: io::Error },
}

fn path(data: &Path) -> PathBuf {
    data.join(DIR).join(FILE)
}

/// Reads the policy; nothing was said yet if there is no file.
pub fn load(data: &Path) -> Result<Policy, AccessError> {
    let path = path(data);
    let unreadable = |error| AccessError::Unreadable { path: path.clone(), error };
    let damaged = |why: String| AccessError::Damaged { path: path.clone(), why };
    let text = match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Policy::default()),
        Err(error) => return Err(unreadable(error)),
        Ok(file) if file.len() > BYTES_MAX => return Err(damaged(format!("it has {} bytes", file.len()))),
        Ok(_) => std::fs::read(&path).map_err(unreadable)?,
    };
    let policy: Policy = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    policy.check().map_err(|error| damaged(error.to_string()))?;
    Ok(policy)
}

/// Writes the policy; it is on the disk when this returns.
pub fn save(disk: &dyn Disk, data: &Path, policy: &Policy) -> Result<(), AccessError> {
    let path = path(data);
    let write = || -> io::Result<()> {
        let dir = data.join(DIR);
        disk.create_dir_all(&dir)?;
        disk.sync_dir(data)?;
        disk.replace_private(&path, &serde_json::to_vec_pretty(policy)?)
    };
    write().map_err(|error| AccessError::Unwritable { path: path.clone(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::Change;
    use crate::disk::SystemDisk;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_policy_is_found_again_as_it_was_left_and_nobody_else_may_read_it() {
        let data = tempfile::tempdir().unwrap();
        assert!(load(data.path()).unwrap().is_empty());

        let mut policy = Policy::default();
        policy.apply(Change::AddGroup { name: "sensors".into() }).unwrap();
        let password = Some(super::super::Hash::of(b"secret").unwrap());
        let groups = ["sensors".to_owned()].into();
        policy.apply(Change::AddUser { name: "dev1".into(), password, groups, connections_max: Some(2), key: false }).unwrap();
        policy.apply(Change::AddRule("allow @sensors publish,call %u/#".parse().unwrap())).unwrap();
        save(&SystemDisk, data.path(), &policy).unwrap();

        assert_eq!(load(data.path()).unwrap(), policy);
        let file = path(data.path());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        save(&SystemDisk, data.path(), &policy).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_policy_is_never_taken_for_an_empty_one() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join(DIR)).unwrap();
        for text in [
            "",
            "{",
            "[]",
            r#"{"version": 2}"#,
            r#"{"version": 1, "usres": {}}"#,
            r#"{"version": 1, "rules": [{"effect": "allow", "who": "x", "actions": ["publish"], "pattern": "a/**"}]}"#,
            r#"{"version": 1, "users": {"@x": {}}}"#,
            r#"{"version": 1, "users": {"x": {"password": "secret"}}}"#,
        ] {
            std::fs::write(path(data.path()), text).unwrap();
            assert!(matches!(load(data.path()), Err(AccessError::Damaged { .. })), "{text}");
        }
    }
}
