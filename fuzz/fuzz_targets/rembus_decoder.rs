//! Any bytes as a Rembus message, CBOR or JSON: the decoder returns, whatever they are, and what it could read can be written and
//! read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rembus_gateway::rembus::fuzzing::decode_all(bytes));
