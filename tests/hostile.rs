//! A hostile world over real sockets: peers that are slow, greedy, deaf or wrong. Whatever they do, the server goes on
//! serving the others, within its limits.
//!
//! Each test prints the figure that it has come to, and is small by itself. The full sizes, and the times that they must
//! keep, are for a machine that does nothing else:
//!
//! ```text
//! ulimit -n 20000
//! RINGWHEEL_FULL=1 cargo test --release --features deflate --test hostile -- --test-threads=1 --nocapture
//! ```

#![cfg(feature = "deflate")]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "what is measured elsewhere, is not here")
)]

// What the tests share.
#[path = "hostile/tally.rs"]
mod tally;
#[cfg(target_os = "linux")]
#[path = "hostile/victim.rs"]
mod victim;

// Peers that are slow or deaf.
#[path = "hostile/slow.rs"]
mod slow;
#[path = "hostile/stalled.rs"]
mod stalled;

// Peers that send what is wrong.
#[path = "hostile/bytes.rs"]
mod bytes;
#[path = "hostile/upgrades.rs"]
mod upgrades;

// Peers that want memory, time or descriptors; the server is alone in a process, and what it uses is read from proc(5).
#[cfg(target_os = "linux")]
#[path = "hostile/bombs.rs"]
mod bombs;
#[cfg(target_os = "linux")]
#[path = "hostile/crowd.rs"]
mod crowd;
#[cfg(target_os = "linux")]
#[path = "hostile/fragments.rs"]
mod fragments;
#[cfg(target_os = "linux")]
#[path = "hostile/heads.rs"]
mod heads;
#[cfg(target_os = "linux")]
#[path = "hostile/lengths.rs"]
mod lengths;
#[cfg(target_os = "linux")]
#[path = "hostile/pings.rs"]
mod pings;
