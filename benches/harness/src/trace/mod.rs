//! Counts the system calls of a server per operation.
//!
//! perf counts tracepoints, which costs the server little, so that its batches are about as large as without tracing.
//! If perf is missing, or may not count, strace is used: it stops the server at every call, which makes the server slow
//! and its batches large. Both count from the opening of the window to its close, so that starting, accepting and
//! ending are not counted (with churn, accepting is part of every operation).

mod perf;
mod strace;

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::Observer;
use crate::machine::{self, Cpus};
use crate::measure::{Cause, MeasureError, Workload};
use crate::peers::ServerSpec;
use crate::process::ServerProcess;

use perf::Perf;
use strace::Strace;

/// The traced operations are few: this warm-up lets every connection settle first.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// The number of calls of each system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The server's name.
    pub server: String,
    /// The tracer that counted.
    pub tracer: Tracer,
    /// Completed operations.
    pub operations: u64,
    /// Name and number of calls, the most frequent first. perf distinguishes the calls that servers are likely to make,
    /// and counts all others as `other`.
    pub calls: Vec<(String, u64)>,
}

/// A program that counts system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracer {
    /// `perf stat`, by tracepoints.
    Perf,
    /// `strace -c`, by stopping the server at every call.
    Strace,
}

impl fmt::Display for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Perf => "perf",
            Self::Strace => "strace",
        })
    }
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
            "{}: {:.3} system calls each, over {} operations, counted by {}",
            self.server,
            self.per_operation(),
            self.operations,
            self.tracer
        )?;
        for (name, calls) in &self.calls {
            writeln!(f, "  {name:<16} {:>8.4}", *calls as f64 / operations)?;
        }
        Ok(())
    }
}

/// Runs `workload` against a fresh server and counts the server's system calls in the window: with perf, or with strace
/// if perf cannot.
///
/// # Errors
/// Fails if neither perf nor strace can count, the server does not start, or the load fails.
pub fn trace(spec: &ServerSpec, workload: &Workload, cpus: Cpus) -> Result<Trace, MeasureError> {
    trace_by(Attached::to, spec, workload, cpus)
}

/// Like [`trace`], but only with `tracer`.
///
/// # Errors
/// Fails if that tracer cannot count, the server does not start, or the load fails.
pub fn trace_with(
    tracer: Tracer,
    spec: &ServerSpec,
    workload: &Workload,
    cpus: Cpus,
) -> Result<Trace, MeasureError> {
    let attach = |pid| match tracer {
        Tracer::Perf => Perf::attach(pid).map(Attached::Perf),
        Tracer::Strace => Strace::of(pid).map(Attached::Strace),
    };
    trace_by(attach, spec, workload, cpus)
}

fn trace_by(
    attach: impl FnOnce(u32) -> io::Result<Attached>,
    spec: &ServerSpec,
    workload: &Workload,
    cpus: Cpus,
) -> Result<Trace, MeasureError> {
    let fail = |cause| MeasureError {
        server: spec.name.clone(),
        cause,
    };
    let system = |error| fail(Cause::System(error));
    let server = ServerProcess::start(&spec.command, cpus.server).map_err(system)?;
    let (attached, report) = machine::with_affinity(cpus.load, || {
        let mut attached = attach(server.pid()).map_err(system)?;
        let report = workload
            .run(server.address(), &mut attached)
            .map_err(|error| fail(Cause::Load(error)))?;
        Ok((attached, report))
    })
    .map_err(system)??;
    let tracer = attached.tracer();
    let mut calls = attached.finish().map_err(system)?;
    calls.sort_by(|(_, a), (_, b)| b.cmp(a));
    Ok(Trace {
        server: spec.name.clone(),
        tracer,
        operations: report.operations,
        calls,
    })
}

/// A tracer that is ready to count.
enum Attached {
    Perf(Perf),
    Strace(Strace),
}

impl Attached {
    /// The first tracer that can trace process `pid`.
    fn to(pid: u32) -> io::Result<Self> {
        let perf = match Perf::attach(pid) {
            Ok(perf) => return Ok(Self::Perf(perf)),
            Err(error) => error,
        };
        Strace::of(pid).map(Self::Strace).map_err(|strace| {
            let advice = "install one of them (Debian: linux-perf, strace) and be root, or allow perf its tracepoints \
                          (kernel.perf_event_paranoid=-1, a readable /sys/kernel/tracing) or strace to attach \
                          (kernel.yama.ptrace_scope=0)";
            io::Error::new(
                strace.kind(),
                format!("system calls cannot be counted: {perf}; {strace}; {advice}"),
            )
        })
    }

    fn tracer(&self) -> Tracer {
        match self {
            Self::Perf(_) => Tracer::Perf,
            Self::Strace(_) => Tracer::Strace,
        }
    }

    fn finish(self) -> io::Result<Vec<(String, u64)>> {
        match self {
            Self::Perf(perf) => perf.finish(),
            Self::Strace(strace) => strace.finish(),
        }
    }
}

impl Observer for Attached {
    fn window_opens(&mut self) -> io::Result<()> {
        match self {
            Self::Perf(perf) => perf.enable(),
            Self::Strace(strace) => strace.begin(),
        }
    }

    fn window_closes(&mut self) -> io::Result<()> {
        match self {
            Self::Perf(perf) => perf.disable(),
            Self::Strace(strace) => strace.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_kinds_per_operation() {
        let trace = Trace {
            server: "x".into(),
            tracer: Tracer::Perf,
            operations: 20_000,
            calls: vec![("recvfrom".into(), 20_100), ("sendto".into(), 20_200)],
        };
        assert!((trace.per_operation() - 2.015).abs() < 1e-9);
        let text = trace.to_string();
        assert!(text.contains("x: 2.015 system calls each"), "{text}");
        assert!(text.contains("counted by perf"), "{text}");
    }
}
