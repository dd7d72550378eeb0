//! A server under what peers, the kernel and its own callbacks can do to it: each row of the table of attacks and faults that
//! is about connections' ends, panics, timers, other threads and the end of the server is a test here.
//!
//! Each is scaled down to a few seconds; with `RINGWHEEL_FULL=1` in the environment it has its full size and holds its
//! times, for which the machine should be quiet and the build optimised:
//! `RINGWHEEL_FULL=1 cargo test --release --all-features --test trouble -- --nocapture --test-threads=1`.

#[path = "trouble/measure.rs"]
mod measure;

#[path = "trouble/ends.rs"]
mod ends;
#[path = "trouble/panics.rs"]
mod panics;
#[path = "trouble/remotes.rs"]
mod remotes;

#[cfg(target_os = "linux")]
#[path = "trouble/limits.rs"]
mod limits;
#[cfg(target_os = "linux")]
#[path = "trouble/neighbours.rs"]
mod neighbours;
#[cfg(target_os = "linux")]
#[path = "trouble/resets.rs"]
mod resets;
#[cfg(target_os = "linux")]
#[path = "trouble/signals.rs"]
mod signals;
#[cfg(target_os = "linux")]
#[path = "trouble/timers.rs"]
mod timers;
