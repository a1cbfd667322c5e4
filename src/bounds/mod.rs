//! Every map, queue and buffer that a peer can make grow, with its limit: one table, which is also the page `docs/limits.md`.
//!
//! The table is checked against the sources: a field of a collection type in a folder that peers reach must belong to a
//! [`Bound`] or to an [`Exempt`] with its reason, and every name that stands here must exist ([`tests`]). So whoever adds a
//! collection says what it may hold before it is merged.
//!
//! To add a collection: an entry in the file of its folder, then `UPDATE_DOCS=1 cargo test --lib bounds::` writes the page.

mod access;
mod bridge;
mod bus;
mod commlib;
mod door;
mod history;
mod http;
mod mqtt;
mod rembus;
mod router;

/// What a peer can make grow, and how far.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// What an operator would call it.
    pub what: &'static str,
    /// Where it is: `file.rs::Type.field`, below the folder; `file.rs::*` is every collection of a file. Several
    /// fields may share one limit.
    pub fields: &'static [&'static str],
    /// What is counted.
    pub unit: Unit,
    /// The key of the configuration as `[section] key`, or the constant with its value.
    pub limit: &'static str,
    /// What happens at the limit.
    pub at_limit: &'static str,
    /// The metric that shows how full it is, or that counts what happened at the limit; without the prefix `rembus_gateway_`.
    pub metric: Option<&'static str>,
    /// The test that fills it, by the name of its function.
    pub test: Option<&'static str>,
}

/// What a limit counts. Bytes, wherever one entry can be larger than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of memory, of everything that is held.
    Bytes,
    /// Entries, each of which is bounded in bytes: the text says by what.
    Entries(&'static str),
}

/// Fields that no peer can make grow beyond a limit that stands elsewhere, and why.
#[derive(Debug, Clone, Copy)]
pub struct Exempt {
    pub reason: &'static str,
    pub fields: &'static [&'static str],
}

/// The bounds of one folder of the sources.
#[derive(Debug, Clone, Copy)]
pub struct Folder {
    pub name: &'static str,
    pub bounds: &'static [Bound],
    pub exempt: &'static [Exempt],
}

/// In the order of the page.
pub const FOLDERS: &[Folder] = &[
    Folder { name: "door", bounds: door::BOUNDS, exempt: door::EXEMPT },
    Folder { name: "mqtt", bounds: mqtt::BOUNDS, exempt: mqtt::EXEMPT },
    Folder { name: "rembus", bounds: rembus::BOUNDS, exempt: rembus::EXEMPT },
    Folder { name: "bus", bounds: bus::BOUNDS, exempt: bus::EXEMPT },
    Folder { name: "commlib", bounds: commlib::BOUNDS, exempt: commlib::EXEMPT },
    Folder { name: "http", bounds: http::BOUNDS, exempt: http::EXEMPT },
    Folder { name: "bridge", bounds: bridge::BOUNDS, exempt: bridge::EXEMPT },
    Folder { name: "router", bounds: router::BOUNDS, exempt: router::EXEMPT },
    Folder { name: "access", bounds: access::BOUNDS, exempt: access::EXEMPT },
    Folder { name: "history", bounds: history::BOUNDS, exempt: history::EXEMPT },
];

#[cfg(test)]
mod page;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod tests;
