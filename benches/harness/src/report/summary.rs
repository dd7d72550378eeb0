//! Summarises the rounds of a scenario, server by server.

use serde::Serialize;

use crate::load::IdleReport;
use crate::measure::{Mode, Sample, Workload};
use crate::peers;
use crate::proc_fs::{KernelMemory, Memory};
use crate::results::{Found, Record, Results};
use crate::scenario::{Scenario, Task};
use crate::stats::{QUANTILES, Spread};
use crate::trace::{Trace, Tracer};

/// The name of the server that this harness belongs to.
pub const OURS: &str = "ringwheel";

/// The kind of a server in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// [`OURS`].
    Ours,
    /// A bare loop, which does less than a framework must; or the server that the others are compared with.
    Floor,
    /// Any other server.
    Framework,
}

impl Standing {
    /// The kind of the server called `name` in this scenario.
    pub fn of(name: &str, scenario: &Scenario) -> Self {
        if name == OURS {
            Self::Ours
        } else if scenario.floor.as_deref() == Some(name)
            || peers::find(name).is_some_and(|peer| peer.is_floor)
        {
            Self::Floor
        } else {
            Self::Framework
        }
    }
}

/// One server's figures over all rounds of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The server's name.
    pub server: String,
    /// The kind of server.
    pub standing: Standing,
    /// The results; `None` while no round has succeeded.
    pub figures: Option<Figures>,
    /// Per round, this server's cost divided by the floor's. Rounds in which the floor was disturbed count only if
    /// there are no others.
    pub ratio_to_floor: Option<Spread>,
    /// Per round, this server's cost divided by that of [`OURS`], in the same way.
    pub ratio_to_ours: Option<Spread>,
    /// Per round, this server's 99th percentile of latency divided by the floor's, if the load sets the rate.
    pub p99_to_floor: Option<Spread>,
    /// Per round, this server's 99th percentile of latency divided by that of [`OURS`], if the load sets the rate.
    pub p99_to_ours: Option<Spread>,
    /// Rounds that succeeded.
    pub rounds: usize,
    /// Number of these rounds that stayed disturbed; they count only if there are no others.
    pub disturbed_rounds: usize,
    /// Rounds that failed.
    pub failures: Vec<Failure>,
}

/// A round that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The round, from 0.
    pub round: usize,
    /// The failure's message.
    pub message: String,
}

/// The results for a server.
#[derive(Clone, Debug, Serialize)]
pub enum Figures {
    /// Results of a load.
    Load(Box<LoadFigures>),
    /// Results of holding connections.
    Memory(MemoryFigures),
    /// User instructions per operation, counted by callgrind.
    Instructions(Spread),
    /// Results of counting system calls.
    Syscalls(SyscallFigures),
}

/// The results of loads.
#[derive(Clone, Debug, Serialize)]
pub struct LoadFigures {
    /// Server CPU time per operation, microseconds.
    pub cpu: Spread,
    /// The part of it in user mode.
    pub cpu_user: Spread,
    /// The part of it in the kernel.
    pub cpu_system: Spread,
    /// Operations per second.
    pub rate: Spread,
    /// Median latency, microseconds.
    pub p50: Spread,
    /// 99th percentile of latency, microseconds.
    pub p99: Spread,
    /// Latency at each of [`QUANTILES`] in microseconds: for each the median over the rounds.
    pub latency_curve: [f64; QUANTILES.len()],
    /// The server's share of one CPU.
    pub server_share: Spread,
    /// The generator's share of one CPU.
    pub load_share: Spread,
    /// The server's resident memory when the window closed, bytes.
    pub resident: Spread,
    /// The part of it in heap and stacks.
    pub anonymous: Spread,
    /// Resident memory while the window was open, if it was read then.
    pub resident_over_time: Option<Course>,
}

/// The course of a value over the window: medians over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Course {
    /// At the beginning of the window.
    pub begin: f64,
    /// In the middle.
    pub middle: f64,
    /// At the end.
    pub end: f64,
}

impl Course {
    /// A growth by less than this share in the second half counts as level.
    const LEVEL: f64 = 0.02;

    /// True if the value still grew in the second half, so that no end is in sight.
    pub fn grows(&self) -> bool {
        self.end > self.middle * (1.0 + Self::LEVEL)
    }

    fn of(samples: &[&Sample]) -> Option<Self> {
        let median = |moment: fn(&[u64]) -> Option<u64>| {
            let bytes = |sample: &&Sample| moment(&sample.resident_over_time);
            let moments = samples.iter().filter_map(bytes).map(|bytes| bytes as f64);
            Spread::of(moments).map(|spread| spread.median)
        };
        Some(Self {
            begin: median(|course| course.first().copied())?,
            middle: median(|course| course.get(course.len() / 2).copied())?,
            end: median(|course| course.last().copied())?,
        })
    }
}

/// The results of holding connections.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryFigures {
    /// With connections open and silent.
    pub connected: PerConnection,
    /// After each connection has exchanged one message.
    pub exchanged: Option<PerConnection>,
}

impl MemoryFigures {
    /// The later of the two.
    pub fn last(&self) -> &PerConnection {
        self.exchanged.as_ref().unwrap_or(&self.connected)
    }
}

/// Memory per connection.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PerConnection {
    /// Bytes resident in the server's process.
    pub resident: Spread,
    /// The part of it in heap and stacks.
    pub anonymous: Spread,
    /// Kernel bytes for both ends.
    pub kernel: Spread,
}

/// The results of tracers.
#[derive(Clone, Debug, Serialize)]
pub struct SyscallFigures {
    /// System calls of all kinds per operation.
    pub all: Spread,
    /// The tracer of the first round.
    pub tracer: Tracer,
    /// Calls per operation by kind: the median over the rounds, the most frequent first.
    pub calls: Vec<(String, f64)>,
}

impl Figures {
    /// The compared figure, of which less is better: CPU time, resident bytes, instructions or system calls.
    pub fn cost(&self) -> Spread {
        match self {
            Self::Load(load) => load.cpu,
            Self::Memory(memory) => memory.last().resident,
            Self::Instructions(instructions) => *instructions,
            Self::Syscalls(syscalls) => syscalls.all,
        }
    }
}

impl Summary {
    /// The compared figure, of which less is better; `None` while no round has succeeded.
    pub fn cost(&self) -> Option<Spread> {
        self.figures.as_ref().map(Figures::cost)
    }

    /// The results of a load, if there are any.
    pub fn load(&self) -> Option<&LoadFigures> {
        match &self.figures {
            Some(Figures::Load(load)) => Some(load),
            _ => None,
        }
    }
}

/// Summarises each server of a scenario in its order, also servers without results yet.
pub fn summarise(results: &Results, scenario: &Scenario) -> Vec<Summary> {
    let rounds: Vec<Rounds<'_>> = scenario
        .servers
        .iter()
        .map(|server| Rounds::of(results, &scenario.id, &server.name))
        .collect();
    let named = |name: &str| rounds.iter().find(|rounds| rounds.server == name);
    let floor = scenario.floor.as_deref().and_then(named);
    let ours = named(OURS);
    let fixed_rate = load_sets_the_rate(&scenario.task);
    rounds
        .iter()
        .map(|rounds| {
            let ratio = |other: Option<&Rounds<'_>>, value| {
                other.and_then(|other| rounds.ratio(other, value))
            };
            Summary {
                server: rounds.server.to_owned(),
                standing: Standing::of(rounds.server, scenario),
                figures: rounds.figures(),
                ratio_to_floor: ratio(floor, cost_of),
                ratio_to_ours: ratio(ours, cost_of),
                p99_to_floor: ratio(floor.filter(|_| fixed_rate), p99_of),
                p99_to_ours: ratio(ours.filter(|_| fixed_rate), p99_of),
                rounds: rounds.all.len(),
                disturbed_rounds: rounds
                    .all
                    .iter()
                    .filter(|round| is_disturbed(round))
                    .count(),
                failures: rounds.failures(),
            }
        })
        .collect()
}

/// True if the load does not wait for answers, so that latencies can be compared.
pub(super) fn load_sets_the_rate(task: &Task) -> bool {
    matches!(
        task,
        Task::Load(Workload {
            mode: Mode::Open { .. } | Mode::Broadcast { .. },
            ..
        })
    )
}

/// All results of one server in one scenario.
struct Rounds<'a> {
    server: &'a str,
    /// The records of rounds that succeeded.
    all: Vec<&'a Record>,
    failed: Vec<&'a Record>,
}

impl<'a> Rounds<'a> {
    fn of(results: &'a Results, scenario: &str, server: &'a str) -> Self {
        let (failed, all) = results
            .records
            .iter()
            .filter(|record| record.scenario == scenario && record.server == server)
            .partition(|record| matches!(record.found, Found::Failure(_)));
        Self {
            server,
            all,
            failed,
        }
    }

    fn failures(&self) -> Vec<Failure> {
        self.failed
            .iter()
            .filter_map(|record| match &record.found {
                Found::Failure(message) => Some(Failure {
                    round: record.round,
                    message: message.clone(),
                }),
                _ => None,
            })
            .collect()
    }

    /// The rounds to use: the undisturbed ones, or all if there are none.
    fn counted(&self) -> Vec<&'a Record> {
        let quiet: Vec<_> = self
            .all
            .iter()
            .copied()
            .filter(|record| !is_disturbed(record))
            .collect();
        if quiet.is_empty() {
            self.all.clone()
        } else {
            quiet
        }
    }

    /// Round by round, this server's value divided by the other's.
    fn ratio(&self, other: &Self, value: fn(&Found) -> Option<f64>) -> Option<Spread> {
        let ratios: Vec<(f64, bool)> = self
            .counted()
            .iter()
            .filter_map(|record| {
                let base = other.all.iter().find(|base| base.round == record.round)?;
                let ratio =
                    value(&record.found)? / value(&base.found).filter(|base| *base > 0.0)?;
                Some((ratio, is_disturbed(base)))
            })
            .collect();
        let all_disturbed = ratios.iter().all(|&(_, disturbed)| disturbed);
        Spread::of(
            ratios
                .iter()
                .filter(|&&(_, disturbed)| all_disturbed || !disturbed)
                .map(|&(ratio, _)| ratio),
        )
    }

    /// A scenario has a single task, so the kind of the first result is the kind of all.
    fn figures(&self) -> Option<Figures> {
        let counted = self.counted();
        let found = || counted.iter().map(|record| &record.found);
        match found().next()? {
            Found::Load(_) => {
                load_figures(&samples(found())).map(|load| Figures::Load(Box::new(load)))
            }
            Found::Memory(_) => memory_figures(&holds(found())).map(Figures::Memory),
            Found::Instructions(_) => {
                Spread::of(found().filter_map(cost_of)).map(Figures::Instructions)
            }
            Found::Syscalls(_) => syscall_figures(&traces(found())).map(Figures::Syscalls),
            Found::Failure(_) => None,
        }
    }
}

fn is_disturbed(record: &Record) -> bool {
    matches!(&record.found, Found::Load(sample) if sample.disturbance.is_disturbed())
}

/// The value of [`Figures::cost`] for a single round.
fn cost_of(found: &Found) -> Option<f64> {
    match found {
        Found::Load(sample) => Some(sample.cpu),
        Found::Memory(report) => Some(
            report.resident_per_connection(report.exchanged.as_ref().unwrap_or(&report.connected)),
        ),
        Found::Instructions(instructions) => Some(instructions.per_operation()),
        Found::Syscalls(trace) => Some(trace.per_operation()),
        Found::Failure(_) => None,
    }
}

fn p99_of(found: &Found) -> Option<f64> {
    match found {
        Found::Load(sample) => Some(sample.latency.p99),
        _ => None,
    }
}

fn samples<'a>(found: impl Iterator<Item = &'a Found>) -> Vec<&'a Sample> {
    found
        .filter_map(|found| match found {
            Found::Load(sample) => Some(sample),
            _ => None,
        })
        .collect()
}

fn holds<'a>(found: impl Iterator<Item = &'a Found>) -> Vec<&'a IdleReport> {
    found
        .filter_map(|found| match found {
            Found::Memory(report) => Some(report),
            _ => None,
        })
        .collect()
}

fn traces<'a>(found: impl Iterator<Item = &'a Found>) -> Vec<&'a Trace> {
    found
        .filter_map(|found| match found {
            Found::Syscalls(trace) => Some(trace),
            _ => None,
        })
        .collect()
}

fn load_figures(samples: &[&Sample]) -> Option<LoadFigures> {
    let spread =
        |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(|sample| figure(sample)));
    let mut latency_curve = [0.0; QUANTILES.len()];
    for (index, value) in latency_curve.iter_mut().enumerate() {
        *value = Spread::of(samples.iter().map(|sample| sample.latency.curve[index]))?.median;
    }
    Some(LoadFigures {
        cpu: spread(|sample| sample.cpu)?,
        cpu_user: spread(|sample| sample.cpu_user)?,
        cpu_system: spread(|sample| sample.cpu_system)?,
        rate: spread(|sample| sample.rate)?,
        p50: spread(|sample| sample.latency.p50)?,
        p99: spread(|sample| sample.latency.p99)?,
        latency_curve,
        server_share: spread(|sample| sample.server_share)?,
        load_share: spread(|sample| sample.load_share)?,
        resident: spread(|sample| sample.memory.resident as f64)?,
        anonymous: spread(|sample| sample.memory.anonymous as f64)?,
        resident_over_time: Course::of(samples),
    })
}

fn memory_figures(reports: &[&IdleReport]) -> Option<MemoryFigures> {
    let exchanged: Vec<_> = reports
        .iter()
        .filter_map(|report| Some((*report, report.exchanged?, report.exchanged_kernel?)))
        .collect();
    let connected: Vec<_> = reports
        .iter()
        .map(|report| (*report, report.connected, report.connected_kernel))
        .collect();
    Some(MemoryFigures {
        connected: per_connection(&connected)?,
        exchanged: per_connection(&exchanged),
    })
}

fn per_connection(moments: &[(&IdleReport, Memory, KernelMemory)]) -> Option<PerConnection> {
    let of_server = |bytes: fn(&IdleReport, &Memory) -> f64| {
        Spread::of(moments.iter().map(|(report, then, _)| bytes(report, then)))
    };
    Some(PerConnection {
        resident: of_server(IdleReport::resident_per_connection)?,
        anonymous: of_server(IdleReport::anonymous_per_connection)?,
        kernel: Spread::of(
            moments
                .iter()
                .map(|(report, _, then)| report.kernel_per_connection(then)),
        )?,
    })
}

fn syscall_figures(traces: &[&Trace]) -> Option<SyscallFigures> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in traces.iter().flat_map(|trace| &trace.calls) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let per_operation = |trace: &Trace, name: &str| {
        let calls = trace.calls.iter().find(|(other, _)| other == name);
        calls.map_or(0.0, |(_, calls)| {
            *calls as f64 / trace.operations.max(1) as f64
        })
    };
    let mut calls: Vec<(String, f64)> = names
        .into_iter()
        .filter_map(|name| {
            let spread = Spread::of(traces.iter().map(|trace| per_operation(trace, name)))?;
            Some((name.to_owned(), spread.median))
        })
        .collect();
    calls.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Some(SyscallFigures {
        all: Spread::of(traces.iter().map(|trace| trace.per_operation()))?,
        tracer: traces.first()?.tracer,
        calls,
    })
}
