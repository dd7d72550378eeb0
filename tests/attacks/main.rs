//! Attacks over real sockets, by peers that are slow, greedy, deaf or wrong. The server goes on serving the others, within
//! its limits.
//!
//! Each test prints a figure, and is small by default. The full sizes, at which times are asserted too, are for a machine
//! that does nothing else:
//!
//! ```text
//! ulimit -n 20000
//! RINGWHEEL_FULL=1 cargo test --release --features deflate --test attacks -- --test-threads=1 --nocapture
//! ```

#![cfg(feature = "deflate")]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "memory and time are measured through proc(5)")
)]
#![allow(clippy::too_many_lines, reason = "a scenario reads best in one piece")]

// What the tests share.
mod tally;
#[cfg(target_os = "linux")]
mod victim;

// Peers that are slow or deaf.
mod slow;
mod stalled;

// Peers that send what is wrong.
mod bytes;
mod upgrades;

// Peers that want memory, time or descriptors; the server is alone in a process, and what it uses is read from proc(5).
#[cfg(target_os = "linux")]
mod bombs;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod fragments;
#[cfg(target_os = "linux")]
mod heads;
#[cfg(target_os = "linux")]
mod lengths;
#[cfg(target_os = "linux")]
mod pings;
