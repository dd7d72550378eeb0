//! See `ringwheel_fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::wire::run(data));
