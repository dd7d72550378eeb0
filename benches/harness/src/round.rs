//! Interleaved rounds: A B C, A B C, ... so that what changes on the machine over time changes for all alike.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disturbance::wait_until_quiet;
use crate::machine::{self, Cpus, Machine};
use crate::measure::{MeasureError, Sample, Workload, measure};
use crate::peers::ServerSpec;

/// What is to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// With what.
    pub workload: Workload,
    /// Which servers, in the order of each round.
    pub servers: Vec<ServerSpec>,
    /// The name of the server that the others are compared with.
    pub floor: Option<String>,
    /// Number of rounds.
    pub rounds: usize,
    /// How often a disturbed measurement is repeated before the least disturbed attempt is kept.
    pub retries: usize,
    /// How long a quiet moment is waited for before each measurement.
    pub patience: Duration,
}

/// What was measured, with all that is needed to read it later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// On what.
    pub machine: Machine,
    /// On which of its CPUs.
    pub cpus: Cpus,
    /// The plan.
    pub plan: Plan,
    /// One kept measurement per round and server.
    pub samples: Vec<Sample>,
}

/// Measures all that the plan says, and tells of every attempt as it ends.
///
/// # Errors
/// The first server that fails ends the run, with its name.
pub fn run(plan: Plan, cpus: Cpus, mut progress: impl FnMut(&Sample)) -> Result<Run, MeasureError> {
    let machine = Machine::describe();
    let mut samples = Vec::with_capacity(plan.rounds * plan.servers.len());
    for round in 0..plan.rounds {
        for server in &plan.servers {
            samples.push(least_disturbed(&plan, server, cpus, round, &mut progress)?);
        }
    }
    Ok(Run {
        machine,
        cpus,
        plan,
        samples,
    })
}

/// Repeats a measurement until it is undisturbed or the retries are used up.
fn least_disturbed(
    plan: &Plan,
    server: &ServerSpec,
    cpus: Cpus,
    round: usize,
    progress: &mut impl FnMut(&Sample),
) -> Result<Sample, MeasureError> {
    let system = |error: io::Error| MeasureError {
        server: server.name.clone(),
        cause: crate::measure::Cause::System(error),
    };
    machine::pin(cpus.load).map_err(system)?;
    let mut best: Option<Sample> = None;
    for _ in 0..=plan.retries {
        wait_until_quiet(cpus, plan.patience).map_err(system)?;
        let sample = measure(server, &plan.workload, cpus, round)?;
        progress(&sample);
        let severity = sample.disturbance.severity();
        if best
            .as_ref()
            .is_none_or(|best| severity < best.disturbance.severity())
        {
            best = Some(sample);
        }
        if best
            .as_ref()
            .is_some_and(|best| !best.disturbance.is_disturbed())
        {
            break;
        }
    }
    Ok(best.expect("at least one attempt is made"))
}
