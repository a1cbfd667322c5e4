//! Any bytes as what a publication carries, and as the Arrow frame in it: rows or a reject come of it, never a panic, and never
//! more rows than the bytes can stand for.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (bool, &[u8])| rembus_gateway::history::fuzzing::rows_of(input.0, input.1));
