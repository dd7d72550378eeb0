//! See `ringwheel_fuzz::wheel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::wheel::run(data));
