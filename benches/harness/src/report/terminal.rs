//! A scenario as an aligned table, for a terminal of 120 columns.

use std::fmt::Write;

use super::notes::notes;
use super::summary::summarise;
use super::table::{Room, Table};
use super::wording::{printable, shortened};
use crate::results::Results;
use crate::scenario::{Scenario, Task};

/// Longer cells, such as long names given by users, are cut off.
const WIDEST_NAME: usize = 20;

/// One scenario of a campaign: its task, the figures, and the notes about them.
pub fn table(results: &Results, scenario: &Scenario) -> String {
    let summaries = summarise(results, scenario);
    let circumstances = &results.circumstances;
    let (machine, cpus) = (&circumstances.machine, circumstances.cpus);
    let cpu = |cpu: Option<usize>| cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
    let place = if scenario.spread {
        "server and load on all CPUs".to_owned()
    } else {
        format!(
            "server on CPU {}, load on CPU {}",
            cpu(cpus.server),
            cpu(cpus.load)
        )
    };
    let mut text = format!(
        "{}: {}\n{}\n{} · {} CPUs · Linux {}\nmedians (min–max) of {} rounds · {place}\n\n",
        scenario.section.title(),
        printable(&scenario.title),
        task(&scenario.task),
        printable(&machine.cpu),
        machine.cpus,
        printable(&machine.kernel),
        scenario.rounds,
    );
    text.push_str(&aligned(&Table::of(scenario, &summaries, Room::Terminal)));
    for note in notes(scenario, &summaries) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}

/// A description of the servers' task.
pub(super) fn task(task: &Task) -> String {
    match task {
        Task::Load(workload) | Task::Instructions(workload) | Task::Syscalls(workload) => {
            workload.to_string()
        }
        Task::Hold(hold) => format!("{} connections, {}", hold.connections, hold.framing),
    }
}

/// Columns as wide as their widest cell; the first is left-aligned, figures are right-aligned.
fn aligned(table: &Table) -> String {
    let cut = |row: &Vec<String>| -> Vec<String> {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => shortened(cell, WIDEST_NAME),
            _ => cell.clone(),
        });
        cells.collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(&table.header)
        .chain(&table.rows)
        .map(cut)
        .collect();
    let widths: Vec<usize> = (0..table.header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing into a string does not fail.
            let _ = if column == 0 {
                write!(text, "{cell:<width$}")
            } else {
                write!(text, "  {cell:>width$}")
            };
        }
        text.push('\n');
    }
    text
}
