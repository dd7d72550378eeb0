//! The results of a campaign: everything that a report, or a resumed campaign, needs.

use serde::{Deserialize, Serialize};

use crate::instructions::Instructions;
use crate::load::IdleReport;
use crate::machine::{Cpus, Machine};
use crate::measure::Sample;
use crate::peers::Contestant;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// A campaign: its circumstances, its plan, and its results so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The date, the machine and the versions.
    pub circumstances: Circumstances,
    /// The plan, in the order of a report.
    pub scenarios: Vec<Scenario>,
    /// The results, in the order of measuring.
    pub records: Vec<Record>,
}

/// The date, the machine and the versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// The day the campaign began, UTC: `2026-11-21`.
    pub date: String,
    /// The command line that repeats it, without paths.
    pub command: String,
    /// The machine.
    pub machine: Machine,
    /// The CPUs of server and load.
    pub cpus: Cpus,
    /// The servers, also those that could not be built.
    pub contestants: Vec<Contestant>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The scenario's id.
    pub scenario: String,
    /// The server's name.
    pub server: String,
    /// The round, from 0.
    pub round: usize,
    /// The result.
    pub found: Found,
}

/// The result of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Found {
    /// Result of a load.
    Load(Sample),
    /// Result of holding connections.
    Memory(IdleReport),
    /// Result of callgrind.
    Instructions(Instructions),
    /// Result of tracing.
    Syscalls(Trace),
    /// No result: the server, or the load, failed with this message.
    Failure(String),
}

impl Results {
    /// The results of one server in one scenario, round by round.
    pub fn found<'a>(
        &'a self,
        scenario: &'a str,
        server: &'a str,
    ) -> impl Iterator<Item = &'a Found> {
        self.records
            .iter()
            .filter(move |record| record.scenario == scenario && record.server == server)
            .map(|record| &record.found)
    }

    /// The samples of one server in one scenario.
    pub fn samples<'a>(
        &'a self,
        scenario: &'a str,
        server: &'a str,
    ) -> impl Iterator<Item = &'a Sample> {
        self.found(scenario, server)
            .filter_map(|found| match found {
                Found::Load(sample) => Some(sample),
                _ => None,
            })
    }
}
