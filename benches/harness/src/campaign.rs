//! Runs scenarios in interleaved rounds (A B C, A B C, ...), so that slow changes of the machine affect all servers
//! alike. Keeps a journal, so that an interrupted run can be resumed.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::disturbance::wait_until_quiet;
use crate::instructions;
use crate::journal::Journal;
use crate::load::{self, IdleLoad, Trust};
use crate::machine::{self, Cpus};
use crate::measure::{self, Cause, MeasureError, Sample};
use crate::peers::ServerSpec;
use crate::process::ServerProcess;
use crate::results::{Found, Record};
use crate::scenario::{Hold, Scenario, Task};
use crate::trace;

/// Time for which the memory of a server that holds connections must not change before it is read.
const SETTLE: Duration = Duration::from_secs(1);
/// Number of repetitions of a failed measurement before it counts as failed.
const FAILURE_RETRIES: usize = 1;

/// The treatment of disturbances by other users of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Care {
    /// Most repetitions of a disturbed measurement; then the least disturbed attempt is kept.
    pub retries: usize,
    /// Longest wait for a quiet machine before each measurement.
    pub patience: Duration,
    /// Total time for waiting and repeating in the campaign; after that disturbed measurements are kept.
    pub budget: Duration,
}

/// Events of a running campaign.
#[derive(Debug)]
pub enum Event<'a> {
    /// A scenario begins.
    Scenario(&'a Scenario),
    /// The next measurement begins: this server, this round.
    Begins(&'a ServerSpec, usize),
    /// A sample was taken. If it is disturbed, the measurement may be repeated.
    Attempt(&'a Sample),
    /// A measurement is complete and in the journal.
    Done(&'a Record),
}

/// An error that ends a campaign. Failures of a server are recorded instead.
#[derive(Debug)]
pub struct Interrupted(io::Error);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Interrupted {}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// Measures everything that is not in the journal yet.
///
/// # Errors
/// Only problems of the machine end a campaign: the journal cannot be written, or a CPU cannot be used.
pub fn run(
    journal: &mut Journal,
    cpus: Cpus,
    care: Care,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(), Interrupted> {
    let mut runner = Runner {
        cpus,
        care,
        spent: Duration::ZERO,
        quiet: false,
        tell,
    };
    for scenario in journal.results().scenarios.clone() {
        (runner.tell)(Event::Scenario(&scenario));
        for round in 0..scenario.rounds {
            for server in &scenario.servers {
                if journal.is_settled(&scenario.id, &server.name, round) {
                    continue;
                }
                (runner.tell)(Event::Begins(server, round));
                let record = Record {
                    scenario: scenario.id.clone(),
                    server: server.name.clone(),
                    round,
                    found: runner.find(&scenario, server, round)?,
                };
                journal.append(&record)?;
                (runner.tell)(Event::Done(&record));
            }
        }
    }
    Ok(())
}

struct Runner<'a> {
    cpus: Cpus,
    care: Care,
    /// The part of the budget that waiting and repeating have used.
    spent: Duration,
    /// True if the last sample was undisturbed: then the machine is assumed to be quiet.
    quiet: bool,
    tell: &'a mut dyn FnMut(Event<'_>),
}

impl Runner<'_> {
    /// Takes one measurement. A server that fails gets a second chance; after that the failure is the result.
    fn find(
        &mut self,
        scenario: &Scenario,
        server: &ServerSpec,
        round: usize,
    ) -> io::Result<Found> {
        let mut problem = String::new();
        for _ in 0..=FAILURE_RETRIES {
            match self.attempt(scenario, server, round) {
                Ok(found) => return Ok(found),
                Err(error) => problem = error.to_string(),
            }
        }
        Ok(Found::Failure(problem))
    }

    fn attempt(
        &mut self,
        scenario: &Scenario,
        server: &ServerSpec,
        round: usize,
    ) -> Result<Found, MeasureError> {
        let cpus = if scenario.spread {
            self.cpus.spread()
        } else {
            self.cpus
        };
        match &scenario.task {
            Task::Load(workload) => self
                .least_disturbed(
                    server,
                    |cpus| measure::measure(server, workload, cpus, round),
                    cpus,
                )
                .map(Found::Load),
            Task::Hold(hold) => hold_connections(server, *hold, cpus).map(Found::Memory),
            Task::Instructions(workload) => {
                instructions::count(server, workload, cpus).map(Found::Instructions)
            }
            Task::Syscalls(workload) => trace::trace(server, workload, cpus).map(Found::Syscalls),
        }
    }

    /// Repeats a measurement until it is undisturbed, or the retries or the budget are used up.
    fn least_disturbed(
        &mut self,
        server: &ServerSpec,
        measure: impl Fn(Cpus) -> Result<Sample, MeasureError>,
        cpus: Cpus,
    ) -> Result<Sample, MeasureError> {
        let system = |error| system_failure(server, error);
        self.wait_until_quiet().map_err(system)?;
        let mut best = measure(cpus)?;
        self.quiet = !best.disturbance.is_disturbed();
        (self.tell)(Event::Attempt(&best));
        for _ in 0..self.care.retries {
            if !best.disturbance.is_disturbed() || self.spent >= self.care.budget {
                break;
            }
            let began = Instant::now();
            self.wait_until_quiet().map_err(system)?;
            let sample = measure(cpus)?;
            self.quiet = !sample.disturbance.is_disturbed();
            (self.tell)(Event::Attempt(&sample));
            self.spent += began.elapsed();
            if sample.disturbance.severity() < best.disturbance.severity() {
                best = sample;
            }
        }
        Ok(best)
    }

    fn wait_until_quiet(&mut self) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let began = Instant::now();
        let left = self.care.budget.saturating_sub(self.spent);
        wait_until_quiet(self.cpus, self.care.patience.min(left))?;
        self.spent += began.elapsed();
        Ok(())
    }
}

fn hold_connections(
    server: &ServerSpec,
    hold: Hold,
    cpus: Cpus,
) -> Result<load::IdleReport, MeasureError> {
    let process = ServerProcess::start(&server.command, cpus.server)
        .map_err(|error| system_failure(server, error))?;
    let load = IdleLoad {
        address: process.address(),
        connections: hold.connections,
        exchange: true,
        framing: hold.framing,
        tls: hold.tls.map(Trust::Own),
        pid: process.pid(),
        settle: SETTLE,
    };
    machine::with_affinity(cpus.load, || load::idle(&load))
        .map_err(|error| system_failure(server, error))?
        .map_err(|error| MeasureError {
            server: server.name.clone(),
            cause: Cause::Load(error),
        })
}

fn system_failure(server: &ServerSpec, error: io::Error) -> MeasureError {
    MeasureError {
        server: server.name.clone(),
        cause: Cause::System(error),
    }
}
