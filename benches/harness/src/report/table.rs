//! The figures of a scenario as rows of cells, for the terminal and for the page.

use super::summary::{Figures, LoadFigures, OURS, PerConnection, Summary};
use super::wording::{NONE, figure, grouped, percent, printable, range, times};
use crate::measure::{Mode, Workload};
use crate::scenario::{Scenario, Task};
use crate::stats::{QUANTILES, Spread};

/// The room for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The 120 columns of a terminal.
    Terminal,
    /// As much as needed.
    Page,
}

/// A heading, and a row for each server.
pub(super) struct Table {
    /// The names of the columns.
    pub(super) header: Vec<String>,
    /// The rows, with as many cells each.
    pub(super) rows: Vec<Vec<String>>,
}

/// A column's name and its cells.
struct Column {
    name: String,
    cell: Box<dyn Fn(&Summary) -> String>,
}

fn column(name: impl Into<String>, cell: impl Fn(&Summary) -> String + 'static) -> Column {
    Column {
        name: name.into(),
        cell: Box::new(cell),
    }
}

impl Table {
    /// The figures of a scenario.
    pub(super) fn of(scenario: &Scenario, summaries: &[Summary], room: Room) -> Self {
        let mut columns = vec![column("server", |summary| printable(&summary.server))];
        columns.extend(match &scenario.task {
            Task::Load(workload) => load_columns(workload, room),
            Task::Hold(_) => memory_columns(room),
            Task::Instructions(workload) => {
                cost_columns(format!("instructions/{}", workload.operation()), room)
            }
            Task::Syscalls(workload) => {
                let mut columns = cost_columns(format!("calls/{}", workload.operation()), room);
                columns.push(column("most frequent", frequent_calls));
                columns
            }
        });
        let rounds = scenario.rounds;
        columns.push(column("rounds", move |summary| {
            rounds_cell(summary, rounds)
        }));
        Self {
            header: columns.iter().map(|column| column.name.clone()).collect(),
            rows: summaries
                .iter()
                .map(|summary| {
                    columns
                        .iter()
                        .map(|column| (column.cell)(summary))
                        .collect()
                })
                .collect(),
        }
    }
}

/// `5`; with 2 rounds left out: `5-2`; with more planned: `3/5`.
fn rounds_cell(summary: &Summary, expected: usize) -> String {
    let mut text = summary.rounds.to_string();
    if summary.disturbed_rounds > 0 && summary.disturbed_rounds < summary.rounds {
        text = format!("{text}-{}", summary.disturbed_rounds);
    }
    if summary.rounds < expected {
        text = format!("{text}/{expected}");
    }
    text
}

fn ratio_columns(room: Room) -> Vec<Column> {
    let ratio = |ratio: Option<Spread>| ratio.map_or(NONE.to_owned(), |ratio| times(ratio.median));
    let mut columns = vec![column("× floor", move |summary| {
        ratio(summary.ratio_to_floor)
    })];
    if room == Room::Page {
        columns.push(column("min–max", |summary| {
            let ratio = summary.ratio_to_floor;
            ratio.map_or(NONE.to_owned(), |ratio| {
                format!("{}–{}", times(ratio.min), times(ratio.max))
            })
        }));
        columns.push(column(format!("× {OURS}"), move |summary| {
            ratio(summary.ratio_to_ours)
        }));
    } else {
        columns.push(column("× ours", move |summary| {
            ratio(summary.ratio_to_ours)
        }));
    }
    columns
}

fn cost_columns(name: String, room: Room) -> Vec<Column> {
    let cell = |text: fn(&Spread) -> String| {
        move |summary: &Summary| summary.cost().map_or(NONE.to_owned(), |cost| text(&cost))
    };
    let mut columns = vec![
        column(name, cell(|cost| grouped(cost.median))),
        column("min–max", cell(range)),
    ];
    columns.extend(ratio_columns(room));
    columns
}

fn load_columns(workload: &Workload, room: Room) -> Vec<Column> {
    fn load(cell: fn(&LoadFigures) -> String) -> impl Fn(&Summary) -> String {
        move |summary| summary.load().map_or(NONE.to_owned(), cell)
    }
    let operation = workload.operation();
    let [cpu, rate] = match room {
        Room::Terminal => ["CPU µs".to_owned(), "per s".to_owned()],
        Room::Page => [format!("CPU µs/{operation}"), plural_per_second(operation)],
    };
    let broadcasts = matches!(workload.mode, Mode::Broadcast { .. });
    let watches = workload.watches_memory();
    // A terminal has no room for everything, so some columns give way to others.
    let has_room = |is_longer: bool| room == Room::Page || !is_longer;
    let mut columns = vec![
        column(cpu, load(|load| figure(load.cpu.median))),
        column("min–max", load(|load| range(&load.cpu))),
    ];
    if has_room(broadcasts) {
        columns.extend([
            column("user", load(|load| figure(load.cpu_user.median))),
            column("system", load(|load| figure(load.cpu_system.median))),
        ]);
    }
    columns.extend(ratio_columns(room));
    if broadcasts {
        let per_cpu_second = load(|load| grouped((MICROSECONDS / load.cpu.median).round()));
        columns.push(column("per CPU s", per_cpu_second));
    }
    if has_room(watches) {
        columns.extend([
            column(rate, load(|load| grouped(load.rate.median))),
            column("p50 µs", load(|load| grouped(load.p50.median))),
        ]);
    }
    columns.push(column("p99 µs", load(|load| grouped(load.p99.median))));
    if room == Room::Page {
        columns.extend([
            column("p99.9 µs", load(|load| grouped(at_quantile(load, 0.999)))),
            column("max µs", load(|load| grouped(at_quantile(load, 1.0)))),
            column(
                "server MiB",
                load(|load| grouped(load.resident.median / MEBIBYTE)),
            ),
        ]);
    }
    if watches {
        columns.push(column("MiB over time", load(memory_cell)));
    }
    columns.push(column(
        "server",
        load(|load| percent(load.server_share.median)),
    ));
    if has_room(watches) {
        columns.push(column("load", load(|load| percent(load.load_share.median))));
    }
    columns
}

/// `12 → 31 → 52, grows`: at the beginning, in the middle, and at the end of the window.
fn memory_cell(load: &LoadFigures) -> String {
    let Some(course) = load.resident_over_time else {
        return NONE.to_owned();
    };
    let moments = [course.begin, course.middle, course.end];
    let moments = moments.map(|bytes| format!("{:.0}", bytes / MEBIBYTE));
    let tendency = if course.grows() { "grows" } else { "flat" };
    format!("{}, {tendency}", moments.join(" → "))
}

/// Microseconds in a second.
const MICROSECONDS: f64 = 1e6;

/// Bytes in a mebibyte.
pub(super) const MEBIBYTE: f64 = (1 << 20) as f64;

/// The number of operations per second, with its unit: `deliveries/s`.
fn plural_per_second(operation: &str) -> String {
    match operation.strip_suffix('y') {
        Some(stem) => format!("{stem}ies/s"),
        None => format!("{operation}s/s"),
    }
}

fn at_quantile(load: &LoadFigures, quantile: f64) -> f64 {
    let index = QUANTILES.iter().position(|other| *other == quantile);
    index.map_or(f64::NAN, |index| load.latency_curve[index])
}

fn memory_columns(room: Room) -> Vec<Column> {
    fn bytes(last: bool, value: fn(&PerConnection) -> Spread) -> impl Fn(&Summary) -> String {
        move |summary| match &summary.figures {
            Some(Figures::Memory(memory)) => {
                let moment = if last {
                    memory.exchanged
                } else {
                    Some(memory.connected)
                };
                moment.map_or(NONE.to_owned(), |moment| {
                    grouped(value(&moment).median.round())
                })
            }
            _ => NONE.to_owned(),
        }
    }
    let mut columns = vec![
        column("B open", bytes(false, |memory| memory.resident)),
        column("heap", bytes(false, |memory| memory.anonymous)),
        column("kernel", bytes(false, |memory| memory.kernel)),
        column("B after a message", bytes(true, |memory| memory.resident)),
        column("heap", bytes(true, |memory| memory.anonymous)),
        column("kernel", bytes(true, |memory| memory.kernel)),
    ];
    columns.extend(ratio_columns(room));
    columns
}

fn frequent_calls(summary: &Summary) -> String {
    const MOST: usize = 3;
    let Some(Figures::Syscalls(syscalls)) = &summary.figures else {
        return NONE.to_owned();
    };
    let calls = syscalls.calls.iter().take(MOST);
    let named = calls.map(|(name, calls)| format!("{} {}", printable(name), figure(*calls)));
    named.collect::<Vec<_>>().join(", ")
}
