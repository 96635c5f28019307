//! One program for each target of `src/fuzzing.rs`, told apart by its own name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cwlake::fuzzing::run(env!("CARGO_BIN_NAME"), data));
