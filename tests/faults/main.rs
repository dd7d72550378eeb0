//! Faults of peers, of the kernel and of callbacks, and the end of the server under load. With `tests/attacks` this is the
//! table in `docs/RELIABILITY.md`.
//!
//! Each test takes a few seconds by default. The full sizes, at which times are asserted too, are for a machine that does
//! nothing else:
//!
//! ```text
//! RINGWHEEL_FULL=1 cargo test --release --all-features --test faults -- --test-threads=1 --nocapture
//! ```

#![allow(clippy::too_many_lines, reason = "a scenario reads best in one piece")]

mod measure;

mod ends;
mod panics;
mod remotes;

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
