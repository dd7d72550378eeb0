//! System calls per operation: a bounded number of operations under `strace -c -f`.
//!
//! strace attaches when the warm-up is over and lets go when the last operation is answered, so that starting, accepting
//! and ending are not counted (with churn, accepting is of course part of every operation). Tracing makes the server
//! slow, which makes its batches large: the figure is that of a busy server.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::load::Observer;
use crate::machine::{self, Cpus};
use crate::measure::{Cause, MeasureError, Workload};
use crate::peers::ServerSpec;
use crate::process::ServerProcess;

/// How often each system call was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The server's name.
    pub server: String,
    /// Completed operations.
    pub operations: u64,
    /// Name and number of calls, the most frequent first.
    pub calls: Vec<(String, u64)>,
}

impl Trace {
    /// Calls of all kinds per operation.
    pub fn per_operation(&self) -> f64 {
        let total: u64 = self.calls.iter().map(|(_, calls)| calls).sum();
        total as f64 / self.operations.max(1) as f64
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.operations.max(1) as f64;
        writeln!(
            f,
            "{}: {:.3} system calls each, over {} operations",
            self.server,
            self.per_operation(),
            self.operations
        )?;
        for (name, calls) in &self.calls {
            writeln!(f, "  {name:<16} {:>8.4}", *calls as f64 / operations)?;
        }
        Ok(())
    }
}

/// Runs `workload` against a fresh server and counts the server's system calls in the window.
///
/// # Errors
/// Fails when strace is missing or may not attach, the server does not start, or the load fails.
pub fn trace(spec: &ServerSpec, workload: &Workload, cpus: Cpus) -> Result<Trace, MeasureError> {
    let fail = |cause| MeasureError {
        server: spec.name.clone(),
        cause,
    };
    let system = |error| fail(Cause::System(error));
    machine::pin(cpus.load).map_err(system)?;
    let server = ServerProcess::start(&spec.command, cpus.server).map_err(system)?;
    let mut strace = Strace {
        pid: server.pid(),
        running: None,
        summary: String::new(),
    };
    let report = workload
        .run(server.address(), &mut strace)
        .map_err(|error| fail(Cause::Load(error)))?;
    let calls = parse_summary(&strace.summary);
    if calls.is_empty() {
        return Err(system(io::Error::other(format!(
            "strace counted nothing: {}",
            strace.summary.trim()
        ))));
    }
    Ok(Trace {
        server: spec.name.clone(),
        operations: report.operations,
        calls,
    })
}

/// Attaches strace for the length of the window.
struct Strace {
    pid: u32,
    running: Option<Attached>,
    summary: String,
}

struct Attached {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Both fail only when it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Observer for Strace {
    fn window_opens(&mut self) -> io::Result<()> {
        let mut child = Command::new("strace")
            .args(["-c", "-f", "-p", &self.pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    io::Error::new(ErrorKind::NotFound, "strace is not installed")
                }
                _ => error,
            })?;
        let errors = BufReader::new(child.stderr.take().expect("its standard error is piped"));
        let mut attached = Attached { child, errors };
        // strace says one line when it has attached, or why it could not, and ends.
        let mut said = String::new();
        attached.errors.read_line(&mut said)?;
        if !said.contains("attached") {
            let hint = "as root, or with kernel.yama.ptrace_scope=0, it may attach";
            return Err(io::Error::other(format!("{} ({hint})", said.trim())));
        }
        self.running = Some(attached);
        Ok(())
    }

    fn window_closes(&mut self) -> io::Result<()> {
        let Some(mut attached) = self.running.take() else {
            return Ok(());
        };
        kill_process(Pid::from_child(&attached.child), Signal::INT)?;
        attached.errors.read_to_string(&mut self.summary)?;
        Ok(())
    }
}

/// Name and number of calls from the table that `strace -c` prints, the most frequent first.
fn parse_summary(summary: &str) -> Vec<(String, u64)> {
    let mut calls: Vec<(String, u64)> = summary.lines().filter_map(parse_row).collect();
    calls.sort_by(|(_, a), (_, b)| b.cmp(a));
    calls
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`
fn parse_row(row: &str) -> Option<(String, u64)> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    let (name, calls) = match fields[..] {
        [share, _, _, calls, name] | [share, _, _, calls, _, name]
            if share.parse::<f64>().is_ok() =>
        {
            (name, calls)
        }
        _ => return None,
    };
    (name != "total").then_some((name.to_owned(), calls.parse().ok()?))
}

/// Operations that are traced are few: a warm-up that lets every connection settle.
pub const WARM_UP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace() {
        let summary = "\
strace: Process 4242 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.10    0.120000           2     20000           sendto
 39.80    0.080000           3     20100       100 recvfrom
  0.10    0.000100           1       200           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.200100           2     40300       100 total
";
        let calls = parse_summary(summary);
        let expected = [
            ("recvfrom", 20_100),
            ("sendto", 20_000),
            ("epoll_wait", 200),
        ];
        assert_eq!(
            calls,
            expected.map(|(name, calls)| (name.to_owned(), calls))
        );
        let trace = Trace {
            server: "x".into(),
            operations: 20_000,
            calls,
        };
        assert!((trace.per_operation() - 2.015).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_table_counts_nothing() {
        assert_eq!(
            parse_summary("strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n"),
            []
        );
    }
}
