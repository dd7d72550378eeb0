//! See `ringwheel_fuzz::websocket_pieces`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringwheel_fuzz::websocket_pieces::run(data));
