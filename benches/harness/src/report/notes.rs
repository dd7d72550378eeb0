//! Notes that a reader needs before trusting the figures of a scenario.

use super::summary::{Figures, Summary};
use super::wording::printable;
use crate::measure::Mode;
use crate::scenario::{Scenario, Task};
use crate::trace::Tracer;

/// The generator counts as saturated from this share of its CPU on.
pub(super) const SATURATED: f64 = 0.97;

/// All notes, one sentence each.
pub(super) fn notes(scenario: &Scenario, summaries: &[Summary]) -> Vec<String> {
    let mut notes = remarks(scenario, summaries);
    notes.extend(failures(summaries));
    notes
}

/// The servers that failed, and their messages.
pub(super) fn failures(summaries: &[Summary]) -> Vec<String> {
    summaries.iter().filter_map(failure_note).collect()
}

/// Notes about the servers that did not fail.
pub(super) fn remarks(scenario: &Scenario, summaries: &[Summary]) -> Vec<String> {
    let named = |is: &dyn Fn(&Summary) -> bool| -> Option<String> {
        let names: Vec<String> = summaries
            .iter()
            .filter(|summary| is(summary))
            .map(|summary| printable(&summary.server))
            .collect();
        match names.len() {
            0 => None,
            all if all > 1 && all == summaries.len() => Some("every server".to_owned()),
            _ => Some(names.join(", ")),
        }
    };
    let mut notes = Vec::new();
    let closed_loop = is_closed_loop(&scenario.task);
    if let Some(names) = named(&|summary| closed_loop && is_saturated(summary)) {
        notes.push(format!(
            "The generator saturated before {names}: read the CPU time, not the rate."
        ));
    }
    if let Some(names) =
        named(&|summary| summary.rounds > 0 && summary.disturbed_rounds == summary.rounds)
    {
        notes.push(format!(
            "Every round was disturbed by others, for {names}: measure again on a quiet machine."
        ));
    }
    if let Some(names) = named(&|summary| (1..summary.rounds).contains(&summary.disturbed_rounds)) {
        notes.push(format!(
            "Rounds disturbed by others are left out, for {names}."
        ));
    }
    if let Some(names) = named(&is_stopped_at_calls) {
        notes.push(format!(
            "Counted by strace, which slows the server and so makes its batches large, for {names}."
        ));
    }
    if let Some(names) = named(&|summary| summary.figures.is_none() && summary.failures.is_empty())
    {
        notes.push(format!("Not measured yet: {names}."));
    }
    notes
}

fn is_closed_loop(task: &Task) -> bool {
    matches!(task, Task::Load(workload)
        if matches!(workload.mode, Mode::Echo { .. }
            | Mode::Churn
            | Mode::Handshakes { .. }
            | Mode::SlowReaders { .. }))
}

/// True if the generator had no time left while the server did.
fn is_saturated(summary: &Summary) -> bool {
    summary.load().is_some_and(|load| {
        load.load_share.median > SATURATED && load.server_share.median < SATURATED
    })
}

fn is_stopped_at_calls(summary: &Summary) -> bool {
    matches!(&summary.figures, Some(Figures::Syscalls(syscalls)) if syscalls.tracer == Tracer::Strace)
}

fn failure_note(summary: &Summary) -> Option<String> {
    let first = summary.failures.first()?;
    Some(format!(
        "{} failed in {}: {}",
        printable(&summary.server),
        match summary.failures.len() {
            1 => format!("round {}", first.round + 1),
            several => format!("{several} rounds, first in round {}", first.round + 1),
        },
        printable(&first.message),
    ))
}
