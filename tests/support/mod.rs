//! What the integration tests share: a handler that reports every event, a server that ends with its test, a client whose
//! every call has a deadline, and processes for what needs one of its own.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]

mod child;
mod client;
mod example;
mod recorder;
mod server;

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::Listen;
use ringwheel::protocol::{Protocol, Raw};

pub(crate) use child::Child;
pub(crate) use client::Client;
pub(crate) use example::Example;
pub(crate) use recorder::{Event, Events, Recorder};
pub(crate) use server::TestServer;

/// Where every test listens: a port that the system picks.
pub(crate) const LOCAL: &str = "127.0.0.1:0";

/// Listens on a port of its own.
pub(crate) fn listen<P: Protocol>(protocol: P) -> Listen<P> {
    Listen::with(protocol, LOCAL)
}

/// How long anything may take that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until a condition holds that no event announces.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "in vain waited until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Panics on purpose, without a report on standard error.
pub(crate) fn deliberate_panic() -> ! {
    resume_unwind(Box::new("deliberate"))
}

/// Bytes that differ with the seed and do not repeat within any buffer's size.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The text of a line.
pub(crate) fn text(line: &[u8]) -> &str {
    std::str::from_utf8(line).expect("lines are text")
}

/// A seeded generator (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
