//! Counts the user-mode instructions of a server per operation, with callgrind.
//!
//! The same load runs twice against a fresh server, the second time with more operations. The difference of the two
//! totals is the cost of the additional operations: starting, accepting and other costs per connection are part of
//! both. A signal ends the server at the moment the window closes, with all connections open, so that closing them is
//! not counted either.
//!
//! Valgrind makes the server tens of times slower than the load, so its batches are as large as the load allows: the
//! figure is for a busy server. Work that depends on the clock, such as timers, is overrated.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::load::{LoadError, Observer, Until};
use crate::machine::{self, Cpus};
use crate::measure::{Cause, MeasureError, Workload};
use crate::peers::ServerSpec;
use crate::process::ServerProcess;

/// Longest time until a server under valgrind accepts.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Longest time for valgrind to write its counts when the server ends.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Ends the server. Servers that shut down in order on SIGTERM would wait for the load's connections; hardly any server
/// handles this signal.
const END: Signal = Signal::ALARM;

/// Instructions that a server executed in user mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// The server's name.
    pub server: String,
    /// Completed operations.
    pub operations: u64,
    /// Instructions over all of them.
    pub instructions: u64,
}

impl Instructions {
    /// Instructions per operation.
    pub fn per_operation(&self) -> f64 {
        self.instructions as f64 / self.operations.max(1) as f64
    }
}

/// Runs `workload`, which must end after a number of operations, against fresh servers under callgrind. Counts the
/// instructions of that many operations, in addition to half as many that come before. There is no warm-up. With the
/// echo modes the number is exact; it should be many times the number of messages in flight on all connections.
///
/// # Errors
/// Fails when valgrind is missing, the server does not run under it, or the load fails.
pub fn count(
    spec: &ServerSpec,
    workload: &Workload,
    cpus: Cpus,
) -> Result<Instructions, MeasureError> {
    let fail = |cause| MeasureError {
        server: spec.name.clone(),
        cause,
    };
    let Until::Operations(operations) = workload.until else {
        let problem = "instructions are counted over a number of operations, not over a time";
        return Err(fail(Cause::Load(LoadError::Options(problem.into()))));
    };
    let total = |operations| {
        let workload = Workload {
            warm_up: Duration::ZERO,
            until: Until::Operations(operations),
            ..workload.clone()
        };
        run(&spec.command, &workload, cpus).map_err(fail)
    };
    find_valgrind().map_err(|error| fail(Cause::System(error)))?;
    let before = operations.div_ceil(2);
    let few = total(before)?;
    let many = total(before + operations)?;
    if many.operations <= few.operations || many.instructions < few.instructions {
        let problem = format!("more operations cost less: {few:?}, then {many:?}");
        return Err(fail(Cause::System(io::Error::other(problem))));
    }
    Ok(Instructions {
        server: spec.name.clone(),
        operations: many.operations - few.operations,
        instructions: many.instructions - few.instructions,
    })
}

fn find_valgrind() -> io::Result<()> {
    let mut version = Command::new("valgrind");
    version.arg("--version").stdout(Stdio::null());
    match version.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!(
            "valgrind does not run ({status})"
        ))),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("instructions need valgrind (Debian: apt install valgrind): {error}"),
        )),
    }
}

/// The counts of one run, from the server's first instruction to its last.
#[derive(Debug)]
struct Total {
    operations: u64,
    instructions: u64,
}

fn run(command: &str, workload: &Workload, cpus: Cpus) -> Result<Total, Cause> {
    let folder = tempfile::tempdir().map_err(Cause::System)?;
    let (counts, log) = (folder.path().join("%p"), folder.path().join("log"));
    let callgrind = format!(
        "valgrind --quiet --tool=callgrind --callgrind-out-file='{}' --log-file='{}'",
        counts.display(),
        log.display()
    );
    // Valgrind's messages explain why a server fails only under valgrind.
    let explain = |error: &dyn std::fmt::Display| Cause::System(under_valgrind(error, &log));
    let server = ServerProcess::start_under(&callgrind, START_PATIENCE, command, cpus.server)
        .map_err(|error| explain(&error))?;
    let counts = folder.path().join(server.pid().to_string());
    let mut end = EndWithWindow { server };
    let address = end.server.address();
    let report = machine::with_affinity(cpus.load, || workload.run(address, &mut end))
        .map_err(Cause::System)?
        .map_err(|error| explain(&error))?;
    let counts = fs::read_to_string(counts).map_err(|error| explain(&error))?;
    let instructions = parse_total(&counts).ok_or_else(|| explain(&"callgrind counted nothing"))?;
    Ok(Total {
        operations: report.operations,
        instructions,
    })
}

fn under_valgrind(error: &dyn std::fmt::Display, log: &Path) -> io::Error {
    let log = fs::read_to_string(log).unwrap_or_default();
    let said: Vec<&str> = log.lines().map(without_pid).take(MAX_LINES).collect();
    if said.is_empty() {
        return io::Error::other(format!("under valgrind: {error}"));
    }
    io::Error::other(format!(
        "under valgrind: {error}; valgrind: {}",
        said.join(" ").trim()
    ))
}

/// The most lines of valgrind's log that are quoted.
const MAX_LINES: usize = 6;

/// Removes `==PID==` from a line of valgrind's log.
fn without_pid(line: &str) -> &str {
    let text = |marker: &str| Some(line.strip_prefix(marker)?.split_once(marker)?.1);
    text("==").or_else(|| text("--")).unwrap_or(line).trim()
}

/// Ends the server when the window closes.
struct EndWithWindow {
    server: ServerProcess,
}

impl Observer for EndWithWindow {
    fn window_opens(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn window_closes(&mut self) -> io::Result<()> {
        self.server.end_by(END, END_PATIENCE).map(|_| ())
    }
}

/// The total of all instructions in callgrind's output: the column `Ir` of the last `totals:` line.
fn parse_total(counts: &str) -> Option<u64> {
    let value = |name: &str| {
        counts
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(name))
            .map(str::split_ascii_whitespace)
    };
    let column = value("events:")?.position(|event| event == "Ir")?;
    value("totals:")?.nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_callgrind() {
        let counts = "# callgrind format\nversion: 1\npid: 42\npositions: line\nevents: Ir\nsummary: 9000\n\n\
                      fl=(1) a.c\nfn=(1) main\n16 400\n\ntotals: 9123\n";
        assert_eq!(parse_total(counts), Some(9123));
        let simulated = "events: Bc Ir I1mr\ntotals: 7 9123 3\n";
        assert_eq!(parse_total(simulated), Some(9123));
    }

    #[test]
    fn counts_that_were_cut_have_no_total() {
        assert_eq!(parse_total(""), None);
        assert_eq!(parse_total("events: Ir\nfn=(1) main\n16 400\n"), None);
        assert_eq!(parse_total("events: Dr\ntotals: 7\n"), None);
        assert_eq!(parse_total("events: Ir\ntotals: x\n"), None);
    }

    #[test]
    fn lines_of_valgrind_without_its_process() {
        assert_eq!(
            without_pid("==42== Process terminating"),
            "Process terminating"
        );
        assert_eq!(
            without_pid("--42-- WARNING: unhandled"),
            "WARNING: unhandled"
        );
        assert_eq!(without_pid("==42== "), "");
        assert_eq!(without_pid("== a"), "== a");
    }
}
