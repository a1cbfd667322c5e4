//! The Rembus door.
pub mod cbor;
pub mod codec;
pub mod name;
#[cfg(test)]
mod vectors;
