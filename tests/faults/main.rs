//! Faults of peers, of the kernel and of callbacks, and the end of the server under load. The table in
//! `docs/RELIABILITY.md` lists these tests and those of `tests/attacks`.
//!
//! Each test takes a few seconds by default. The full sizes, which also assert times, need a machine without other
//! load:
//!
//! ```text
//! RINGWHEEL_FULL=1 cargo test --release --all-features --test faults -- --test-threads=1 --nocapture
//! ```

#![allow(clippy::too_many_lines, reason = "a scenario reads best in one piece")]

mod measure;

mod ends;
mod handles;
mod panics;

#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod neighbours;
#[cfg(target_os = "linux")]
mod resets;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod timers;
