//! Attacks over real sockets by peers that are slow, greedy, deaf or malformed. The server must go on serving all other
//! peers within its limits.
//!
//! Each test prints a figure, and is small by default. The full sizes, which also assert times, need a machine without
//! other load:
//!
//! ```text
//! ulimit -n 20000
//! RINGWHEEL_FULL=1 cargo test --release --features deflate,tls --test attacks -- --test-threads=1 --nocapture
//! ```

#![cfg(feature = "deflate")]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "memory and time are measured through proc(5)")
)]
#![allow(clippy::too_many_lines, reason = "a scenario reads best in one piece")]

// Shared by the tests.
mod tally;
#[cfg(target_os = "linux")]
mod victim;

// Peers that are slow, or do not read.
mod laggards;
mod newcomers;
mod rooms;
mod slow;
mod slow_callbacks;
mod stalled;

// Peers that send invalid bytes.
mod bytes;
mod upgrades;

// Peers that use up memory, time or descriptors. The server runs alone in a process, and proc(5) tells what it uses.
#[cfg(target_os = "linux")]
mod bombs;
#[cfg(target_os = "linux")]
mod completions;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod fragments;
#[cfg(target_os = "linux")]
mod heads;
#[cfg(target_os = "linux")]
mod hoards;
#[cfg(target_os = "linux")]
mod lengths;
mod letters;
#[cfg(target_os = "linux")]
mod pings;
#[cfg(target_os = "linux")]
mod topics;

// Peers that speak TLS, of a server that runs alone in a process.
#[cfg(all(feature = "tls", target_os = "linux"))]
mod tls_handshakes;
#[cfg(all(feature = "tls", target_os = "linux"))]
mod tls_records;
