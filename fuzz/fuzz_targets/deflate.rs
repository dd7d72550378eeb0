//! See `ringwheel_fuzz::deflate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::deflate::run(data));
