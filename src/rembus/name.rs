//! Names of components.

/// Longest component name.
pub const CID_MAX: usize = 256;

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
