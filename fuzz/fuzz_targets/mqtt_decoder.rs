//! Any bytes as packets of every version: the decoder returns, whatever they are.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rembus_gateway::mqtt::fuzzing::decode_all(bytes));
