//! A reading of the server's state during a soak.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counters of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls of `on_open`.
    pub opened: u64,
    /// Calls of `on_close`.
    pub closed: u64,
    /// Connections that are open, opening or closing.
    pub live: u64,
    /// Timers that are set.
    pub timers: u64,
    /// Messages received.
    pub messages: u64,
}

/// The state of the server at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// Time since the beginning.
    pub elapsed: Duration,
    /// Operations and faults of all loads per second since the last reading, counted at the end of their round.
    pub rate: f64,
    /// Rounds of loads that ended with an error.
    pub errors: usize,
    /// Resident memory of the server, in bytes.
    pub resident: u64,
    /// Its open descriptors.
    pub descriptors: usize,
    /// The server's counters.
    pub counts: Counts,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} s {:>9.0}/s  {} errors  {:>6.1} MiB resident  {:>5} descriptors  {:>5} timers  {:>5} connections live, \
             {} opened, {} closed",
            self.elapsed.as_secs(),
            self.rate,
            self.errors,
            self.resident as f64 / (1 << 20) as f64,
            self.descriptors,
            self.counts.timers,
            self.counts.live,
            self.counts.opened,
            self.counts.closed,
        )
    }
}
