//! See `ringwheel_fuzz::framings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::framings::run(data));
