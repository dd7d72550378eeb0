//! See `ringwheel_fuzz::websocket_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::websocket_frames::run(data));
