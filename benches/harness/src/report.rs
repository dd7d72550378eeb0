//! What a person, or a program, reads of a run.

use std::fmt::Write;

use serde::Serialize;

use crate::disturbance::Disturbance;
use crate::load::{IdleReport, LoadReport};
use crate::measure::{Mode, Sample, Workload};
use crate::proc_fs::Memory;
use crate::round::Run;
use crate::stats::{Latency, Spread};

/// From this share of its CPU on the generator counts as saturated.
const SATURATED: f64 = 0.97;

/// One server's figures over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The server's name.
    pub server: String,
    /// Server CPU time per operation, microseconds.
    pub cpu: Spread,
    /// The part of it in user mode.
    pub cpu_user: Spread,
    /// The part of it in the kernel.
    pub cpu_system: Spread,
    /// Per round, the server's CPU time per operation over the floor's; rounds in which the floor
    /// was disturbed count only when there are no others.
    pub ratio: Option<Spread>,
    /// Operations per second.
    pub rate: Spread,
    /// Median latency, microseconds.
    pub p50: Spread,
    /// 99th percentile of latency, microseconds.
    pub p99: Spread,
    /// The server's share of one CPU.
    pub server_share: Spread,
    /// The generator's share of one CPU.
    pub load_share: Spread,
    /// Rounds that stayed disturbed; they count only when there are no others.
    pub disturbed_rounds: usize,
}

/// Sums up each server of a run, in the order of the plan.
pub fn summarise(run: &Run) -> Vec<Summary> {
    run.plan
        .servers
        .iter()
        .filter_map(|server| summary(run, &server.name))
        .collect()
}

fn summary(run: &Run, server: &str) -> Option<Summary> {
    let all: Vec<&Sample> = run
        .samples
        .iter()
        .filter(|sample| sample.server == server)
        .collect();
    let quiet: Vec<&Sample> = all
        .iter()
        .copied()
        .filter(|sample| !sample.disturbance.is_disturbed())
        .collect();
    let disturbed_rounds = all.len() - quiet.len();
    let counted = if quiet.is_empty() { all } else { quiet };
    let ratios: Vec<(f64, bool)> = counted
        .iter()
        .filter_map(|sample| ratio_to_floor(run, sample))
        .collect();
    let all_disturbed = ratios.iter().all(|&(_, disturbed)| disturbed);
    let ratios = ratios
        .iter()
        .filter(|&&(_, disturbed)| all_disturbed || !disturbed);
    let spread =
        |figure: fn(&Sample) -> f64| Spread::of(counted.iter().map(|sample| figure(sample)));
    Some(Summary {
        server: server.to_owned(),
        cpu: spread(|sample| sample.cpu)?,
        cpu_user: spread(|sample| sample.cpu_user)?,
        cpu_system: spread(|sample| sample.cpu_system)?,
        ratio: Spread::of(ratios.map(|&(ratio, _)| ratio)),
        rate: spread(|sample| sample.rate)?,
        p50: spread(|sample| sample.latency.p50)?,
        p99: spread(|sample| sample.latency.p99)?,
        server_share: spread(|sample| sample.server_share)?,
        load_share: spread(|sample| sample.load_share)?,
        disturbed_rounds,
    })
}

/// The sample's CPU time over that of the floor in the same round, and whether the floor was disturbed in it.
fn ratio_to_floor(run: &Run, sample: &Sample) -> Option<(f64, bool)> {
    let floor = run.plan.floor.as_ref()?;
    let floor = run
        .samples
        .iter()
        .find(|other| other.round == sample.round && other.server == *floor)?;
    Some((sample.cpu / floor.cpu, floor.disturbance.is_disturbed()))
}

/// The run as a table for the terminal.
pub fn table(run: &Run) -> String {
    let summaries = summarise(run);
    let mut rows = vec![header(&run.plan.workload)];
    rows.extend(
        summaries
            .iter()
            .map(|summary| row(summary, run.plan.rounds)),
    );
    let mut text = format!(
        "{}\n{} · {} CPUs · Linux {} · medians (min-max) of {} rounds · server on CPU {}, load on CPU {}\n\n",
        describe(&run.plan.workload),
        run.machine.cpu,
        run.machine.cpus,
        run.machine.kernel,
        run.plan.rounds,
        cpu_name(run.cpus.server),
        cpu_name(run.cpus.load),
    );
    text.push_str(&aligned(&rows));
    for note in notes(run, &summaries) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}

fn cpu_name(cpu: Option<usize>) -> String {
    cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string())
}

fn describe(workload: &Workload) -> String {
    let framing = match workload.framing {
        crate::load::Framing::Raw => "raw",
        crate::load::Framing::LengthPrefixed => "length-prefixed",
    };
    let (connections, size) = (workload.connections, workload.size);
    match workload.mode {
        Mode::Echo { in_flight } => {
            format!("echo, {connections} connections, {size} B {framing}, {in_flight} in flight")
        }
        Mode::Open { rate } => {
            format!("open loop at {rate}/s, {connections} connections, {size} B {framing}")
        }
        Mode::Churn => {
            format!("churn, {connections} connections at a time, one {framing} echo of 64 B each")
        }
    }
}

fn header(workload: &Workload) -> Vec<String> {
    let cpu = format!("CPU us/{}", workload.operation());
    let rate = format!("{}s/s", workload.operation());
    [
        "server",
        &cpu,
        "user",
        "system",
        "x floor",
        &rate,
        "p50 us",
        "p99 us",
        "server CPU",
        "load CPU",
        "disturbed",
    ]
    .map(str::to_owned)
    .into()
}

fn row(summary: &Summary, rounds: usize) -> Vec<String> {
    let range = |spread: &Spread, digits: usize| {
        format!(
            "{:.digits$} ({:.digits$}-{:.digits$})",
            spread.median, spread.min, spread.max
        )
    };
    let percent = |spread: &Spread| format!("{:.0} %", spread.median * 100.0);
    vec![
        summary.server.clone(),
        range(&summary.cpu, 3),
        format!("{:.2}", summary.cpu_user.median),
        format!("{:.2}", summary.cpu_system.median),
        summary
            .ratio
            .as_ref()
            .map_or_else(|| "-".to_owned(), |ratio| range(ratio, 3)),
        range(&summary.rate, 0),
        format!("{:.0}", summary.p50.median),
        format!("{:.0}", summary.p99.median),
        percent(&summary.server_share),
        percent(&summary.load_share),
        format!("{}/{rounds}", summary.disturbed_rounds),
    ]
}

/// Columns as wide as their widest cell; the first to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if column == 0 {
                let _ = write!(text, "{cell:<width$}");
            } else {
                let _ = write!(text, "  {cell:>width$}");
            }
        }
        text.push('\n');
    }
    text
}

/// What a reader should know before trusting the table.
fn notes(run: &Run, summaries: &[Summary]) -> Vec<String> {
    let mut notes = Vec::new();
    let closed_loop = !matches!(run.plan.workload.mode, Mode::Open { .. });
    let saturated: Vec<&str> = summaries
        .iter()
        .filter(|summary| closed_loop && summary.load_share.median > SATURATED)
        .filter(|summary| summary.server_share.median < SATURATED)
        .map(|summary| summary.server.as_str())
        .collect();
    if !saturated.is_empty() {
        let names = saturated.join(", ");
        notes.push(format!(
            "The generator saturated before {names}: read the CPU column, not the rate."
        ));
    }
    if summaries
        .iter()
        .any(|summary| summary.disturbed_rounds == run.plan.rounds)
    {
        notes.push(
            "Every round of a server was disturbed by others: run again on a quiet machine."
                .to_owned(),
        );
    }
    notes
}

/// One line about an attempt, while the run goes on.
pub fn progress_line(sample: &Sample, rounds: usize) -> String {
    let Disturbance { steal, foreign } = sample.disturbance;
    let mark = if sample.disturbance.is_disturbed() {
        format!(
            "  disturbed: steal {:.0} %, others {:.0} %",
            steal * 100.0,
            foreign * 100.0
        )
    } else {
        String::new()
    };
    format!(
        "round {}/{rounds}  {:<16} {:>8.3} us  {:>9.0}/s  p99 {:>6.0} us{mark}",
        sample.round + 1,
        sample.server,
        sample.cpu,
        sample.rate,
        sample.latency.p99,
    )
}

/// One load run as a program reads it.
#[derive(Clone, Debug, Serialize)]
pub struct LoadSummary {
    /// Completed operations.
    pub operations: u64,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Operations per second.
    pub rate: f64,
    /// Payload that came back, in MiB per second.
    pub mebibytes_per_second: f64,
    /// Latency in microseconds.
    pub latency: Latency,
    /// The generator's share of one CPU.
    pub load_share: f64,
}

impl From<&LoadReport> for LoadSummary {
    fn from(report: &LoadReport) -> Self {
        let seconds = report.elapsed.as_secs_f64();
        Self {
            operations: report.operations,
            seconds,
            rate: report.rate(),
            mebibytes_per_second: report.bytes as f64 / seconds / f64::from(1 << 20),
            latency: Latency::of(&report.latency),
            load_share: report.load_share(),
        }
    }
}

impl LoadSummary {
    /// The run in a few lines; `operation` names what was counted.
    pub fn text(&self, operation: &str, closed_loop: bool) -> String {
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self.latency;
        let mut text = format!(
            "{:.0} {operation}s/s  {:.1} MiB/s  ({} in {:.2} s)\n\
             latency us: p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p999:.1}  max {max:.1}\n\
             generator CPU: {:.0} %\n",
            self.rate,
            self.mebibytes_per_second,
            self.operations,
            self.seconds,
            self.load_share * 100.0,
        );
        if closed_loop && self.load_share > SATURATED {
            text.push_str("The generator is saturated: the server may be able to do more.\n");
        }
        text
    }
}

/// An idle run in a few lines.
pub fn idle_text(report: &IdleReport) -> String {
    let mut text = format!("before: {} KiB resident\n", report.before.resident / 1024);
    let mut line = |name: &str, then: &Memory| {
        let _ = writeln!(
            text,
            "{name}: {} KiB resident, {:.0} B per connection ({:.0} B of it heap and stack)",
            then.resident / 1024,
            report.resident_per_connection(then),
            report.anonymous_per_connection(then),
        );
    };
    line(
        &format!("{} connections open", report.connections),
        &report.connected,
    );
    if let Some(exchanged) = &report.exchanged {
        line("each has exchanged a message", exchanged);
    }
    text
}
