//! The soak: a mixed load for minutes or hours against a ringwheel server in another process, and a verdict.
//!
//! ```text
//!   this process                                          its child
//!   echo, raw ───────────┐                          ┌──► plain      ─┐
//!   slow readers ────────┤                          │                │
//!   churn ───────────────┼── loopback ──────────────┼──► WebSocket   ├─ counts: opened, closed, live,
//!   echo, WebSocket ─────┤                          │                │  timers, messages
//!   echo, deflated ──────┤                          ├──► deflated    │
//!   broadcast ───────────┤                          │                │
//!   faults ──────────────┘                          └──► broadcast  ─┘
//!   every ten seconds ◄─────── stdin, stdout ───────────── counts
//! ```
//!
//! All loads except the broadcast run in rounds, so that hundreds of connections also open and close. They verify every
//! byte. At the end nothing may be left of them: no connection, timer or descriptor, and no memory beyond what the
//! server keeps for reuse.

mod child;
mod loads;
mod reading;
mod server;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::process;

use child::ServerChild;
use loads::Loads;

pub use reading::{Counts, Reading};
pub use server::serve;

/// Interval between two readings.
const READING: Duration = Duration::from_secs(10);
/// Longest time under load before the server counts as warm: its pools are then filled and its threads have their
/// memory.
const WARM_UP: Duration = Duration::from_secs(8);
/// Longest time for the last connections to end.
const REST_PATIENCE: Duration = Duration::from_secs(30);
/// Memory that the server may have in addition at the end compared with its warm state, because the allocator
/// fragments.
const MEMORY_SLACK: u64 = 16 << 20;
/// The most errors that the verdict quotes.
const QUOTED: usize = 10;

/// The outcome of a soak.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The reading without load after the warm-up.
    pub start: Reading,
    /// The reading without load at the end.
    pub end: Reading,
    /// Operations of all loads together, each of them verified.
    pub operations: u64,
    /// Faults among them.
    pub faults: u64,
    /// Problems; empty if there are none.
    pub complaints: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at rest before: {}", self.start)?;
        writeln!(f, "at rest after:  {}", self.end)?;
        let Verdict {
            operations, faults, ..
        } = self;
        if self.complaints.is_empty() {
            return writeln!(
                f,
                "clean: {operations} operations, {faults} faults among them; no wrong byte, {} opens and as many closes, \
                 nothing is left",
                self.end.counts.opened
            );
        }
        writeln!(f, "not clean, in {operations} operations:")?;
        for complaint in &self.complaints {
            writeln!(f, "  {complaint}")?;
        }
        Ok(())
    }
}

/// Soaks for `length`; `tell` gets a reading every ten seconds.
///
/// # Errors
/// Fails if the server cannot be started or queried. Wrong behaviour under load is part of the verdict.
pub fn run(length: Duration, tell: &mut dyn FnMut(&Reading)) -> io::Result<Verdict> {
    let mut server = ServerChild::start()?;
    let began = Instant::now();
    let mut errors = Loads::start(server.addresses(), WARM_UP.min(length))
        .join()
        .errors;
    let start = rest(&mut server, began, errors.len())?;
    tell(&start);

    let loads = Loads::start(server.addresses(), length);
    let (mut operations, mut at) = (0, Instant::now());
    while loads.are_running(READING) {
        let (so_far, now) = (loads.operations(), Instant::now());
        let rate = (so_far - operations) as f64 / (now - at).as_secs_f64();
        (operations, at) = (so_far, now);
        let errors = errors.len() + loads.errors();
        tell(&read(&mut server, began, rate, errors)?);
    }
    let done = loads.join();
    errors.extend(done.errors);
    let end = rest(&mut server, began, errors.len())?;
    let mut complaints = complaints(&start, &end, &errors);
    if let Err(error) = server.end() {
        complaints.push(format!("the server ended with an error: {error}"));
    }
    Ok(Verdict {
        start,
        end,
        operations: done.operations,
        faults: done.faults,
        complaints,
    })
}

/// Waits until the server has no connection left, and reads.
fn rest(server: &mut ServerChild, began: Instant, errors: usize) -> io::Result<Reading> {
    let deadline = Instant::now() + REST_PATIENCE;
    loop {
        let reading = read(server, began, 0.0, errors)?;
        if reading.counts.live == 0 || Instant::now() > deadline {
            return Ok(reading);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read(server: &mut ServerChild, began: Instant, rate: f64, errors: usize) -> io::Result<Reading> {
    // First, so that no descriptor of a connection which the counts call closed is counted below.
    let counts = server.counts()?;
    Ok(Reading {
        elapsed: began.elapsed(),
        rate,
        errors,
        resident: process::memory(server.pid())?.resident,
        descriptors: process::descriptors(server.pid())?,
        counts,
    })
}

/// The problems at the end.
fn complaints(start: &Reading, end: &Reading, errors: &[String]) -> Vec<String> {
    let mut complaints: Vec<String> = errors.iter().take(QUOTED).cloned().collect();
    if errors.len() > QUOTED {
        complaints.push(format!("and {} more errors", errors.len() - QUOTED));
    }
    let counts = &end.counts;
    let mut expect = |is_so: bool, otherwise: String| {
        if !is_so {
            complaints.push(otherwise);
        }
    };
    expect(
        counts.live == 0,
        format!("{} connections are left", counts.live),
    );
    expect(
        counts.timers == 0,
        format!("{} timers are left", counts.timers),
    );
    expect(
        counts.opened == counts.closed,
        format!("{} opened and {} closed", counts.opened, counts.closed),
    );
    expect(
        end.descriptors == start.descriptors,
        format!(
            "{} descriptors, and {} at the start",
            end.descriptors, start.descriptors
        ),
    );
    expect(
        end.resident <= start.resident + MEMORY_SLACK,
        format!(
            "{} KiB resident, and {} at the start",
            end.resident >> 10,
            start.resident >> 10
        ),
    );
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading {
            elapsed: Duration::ZERO,
            rate: 0.0,
            errors: 0,
            resident: 10 << 20,
            descriptors: 12,
            counts: Counts {
                opened: 5,
                closed: 5,
                ..Counts::default()
            },
        }
    }

    #[test]
    fn an_unchanged_server_is_clean() {
        let mut end = reading();
        end.resident += MEMORY_SLACK;
        assert!(complaints(&reading(), &end, &[]).is_empty());
    }

    #[test]
    fn whatever_is_left_is_complained_of() {
        let spoil: [fn(&mut Reading); 5] = [
            |end| end.counts.live = 1,
            |end| end.counts.timers = 1,
            |end| end.counts.closed = 4,
            |end| end.descriptors = 11,
            |end| end.resident += MEMORY_SLACK + 1,
        ];
        for spoil in spoil {
            let mut end = reading();
            spoil(&mut end);
            assert_eq!(complaints(&reading(), &end, &[]).len(), 1, "{end}");
        }
        let errors = vec!["wrong".to_owned(); QUOTED + 3];
        let complaints = complaints(&reading(), &reading(), &errors);
        assert_eq!(complaints.last().unwrap(), "and 3 more errors");
    }
}
