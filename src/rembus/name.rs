//! Names of components.

/// Longest component name.
pub const CID_MAX: usize = 256;

/// The tenant of a component: what follows the first dot of its name, or `.` if there is none (section 5.2).
#[must_use]
pub fn tenant(cid: &str) -> &str {
    cid.split_once('.').map_or(".", |(_, tenant)| tenant)
}

/// Why a component may not have this name; the text is the answer's data.
pub fn check(cid: &str) -> Result<(), &'static str> {
    if cid.is_empty() {
        Err("empty cid")
    } else if cid.len() > CID_MAX {
        Err("cid longer than 256 bytes")
    } else if cid.chars().any(char::is_control) {
        Err("cid with control characters")
    } else {
        Ok(())
    }
}
