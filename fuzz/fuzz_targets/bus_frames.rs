//! Any bytes, in any pieces, as what a busrt program sends: the decoder returns, whatever they are, and says the same of the
//! same bytes however they came.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| rembus_gateway::bus::fuzzing::decode_all(usize::from(input.0), input.1));
