//! What the bus tells of itself: MessagePack `{s: reg, unreg or shutdown, d: name, t: ns since 1970}`.

use crate::clock::Wall;
use rmp::encode;

pub(super) const BROKER: &str = ".broker";
/// Nobody but the gateway publishes here.
pub(super) const OWN: &str = ".broker/";
pub(super) const INFO: &str = ".broker/info";
/// Everybody is subscribed to it from the start.
pub(super) const WARN: &str = ".broker/warn";

const MEMORY: &str = "memory takes every byte";

pub(super) fn event(what: &str, who: Option<&str>, when: Wall) -> Vec<u8> {
    let mut out = Vec::new();
    encode::write_map_len(&mut out, if who.is_some() { 3 } else { 2 }).expect(MEMORY);
    encode::write_str(&mut out, "s").expect(MEMORY);
    encode::write_str(&mut out, what).expect(MEMORY);
    if let Some(who) = who {
        encode::write_str(&mut out, "d").expect(MEMORY);
        encode::write_str(&mut out, who).expect(MEMORY);
    }
    encode::write_str(&mut out, "t").expect(MEMORY);
    encode::write_uint(&mut out, when.0).expect(MEMORY);
    out
}
