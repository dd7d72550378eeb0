//! See `ringwheel_fuzz::http_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::http_head::run(data));
