//! What a campaign has found: all that a report, or a resumed campaign, needs.

use serde::{Deserialize, Serialize};

use crate::instructions::Instructions;
use crate::load::IdleReport;
use crate::machine::{Cpus, Machine};
use crate::measure::Sample;
use crate::peers::Contestant;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// A campaign: its circumstances, what was to be measured, and what has been so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// When, on what, and with which versions.
    pub circumstances: Circumstances,
    /// What was to be measured, in the order of a report.
    pub scenarios: Vec<Scenario>,
    /// What was found, in the order of measuring.
    pub records: Vec<Record>,
}

/// When, on what, and with which versions.
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
    /// What was found.
    pub found: Found,
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Found {
    /// By a load.
    Load(Sample),
    /// By holding connections.
    Memory(IdleReport),
    /// By callgrind.
    Instructions(Instructions),
    /// By tracepoints.
    Syscalls(Trace),
    /// Nothing: the server, or the load, failed with this message.
    Failure(String),
}

impl Results {
    /// What was found of one server in one scenario, round by round.
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
