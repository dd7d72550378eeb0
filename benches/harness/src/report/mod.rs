//! The reports of a campaign, for people and for programs.
//!
//! ```text
//!   Results ──► summary (medians, ratios) ──► table ──► terminal
//!                        │  │                   └─────┐
//!                        │  └──► verdict ─────────────┤
//!                        └─────► plots ──► charts ────┴─► html
//! ```

mod charts;
pub mod html;
mod notes;
mod plots;
#[cfg(test)]
mod sample;
pub mod summary;
mod table;
pub mod terminal;
#[cfg(test)]
mod tests;
mod verdict;
mod wording;

use std::fmt::Write;

use serde::Serialize;

use crate::disturbance::Disturbance;
use crate::load::{IdleReport, LoadReport};
use crate::measure::Sample;
use crate::proc_fs::{KernelMemory, Memory};
use crate::stats::Latency;
use notes::SATURATED;

pub use summary::{OURS, Summary, summarise};

/// One line about an attempt, printed during the run.
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

/// The report of one load run for programs.
#[derive(Clone, Debug, Serialize)]
pub struct LoadSummary {
    /// Completed operations.
    pub operations: u64,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Operations per second.
    pub rate: f64,
    /// Payload received, in MiB per second.
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
    /// The run in a few lines; `operation` names the counted unit.
    pub fn text(&self, operation: &str, closed_loop: bool) -> String {
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
            ..
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
    let mut line = |name: &str, then: &Memory, kernel: &KernelMemory| {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{name}: {} KiB resident, {:.0} B per connection ({:.0} B of it heap and stack), {:.0} B in the kernel",
            then.resident / 1024,
            report.resident_per_connection(then),
            report.anonymous_per_connection(then),
            report.kernel_per_connection(kernel),
        );
    };
    line(
        &format!("{} connections open", report.connections),
        &report.connected,
        &report.connected_kernel,
    );
    if let (Some(exchanged), Some(kernel)) = (&report.exchanged, &report.exchanged_kernel) {
        line("each has exchanged a message", exchanged, kernel);
    }
    text
}
