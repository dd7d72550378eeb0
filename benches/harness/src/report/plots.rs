//! Chooses the charts for a scenario or a section of scenarios.

use super::charts::{Bar, Bars, Line, Lines};
use super::summary::{Figures, LoadFigures, PerConnection, Standing, Summary, load_sets_the_rate};
use super::table::MEBIBYTE;
use super::wording::{figure, grouped, printable, times};
use crate::measure::{Mode, Workload};
use crate::results::Results;
use crate::scenario::{Scenario, Task};
use crate::stats::{QUANTILES, Spread};

/// The colours of the servers' lines: the same in every chart of a report.
pub(super) struct Hues(Vec<String>);

impl Hues {
    /// Assigns colours in the order of the contestants, then of the scenarios.
    pub(super) fn of(results: &Results) -> Self {
        let contestants = results.circumstances.contestants.iter();
        let contestants = contestants.filter(|contestant| contestant.skipped.is_none());
        let mut names: Vec<String> = Vec::new();
        let servers = results
            .scenarios
            .iter()
            .flat_map(|scenario| &scenario.servers);
        for name in contestants
            .map(|contestant| &contestant.name)
            .chain(servers.map(|server| &server.name))
        {
            let coloured = results
                .scenarios
                .iter()
                .any(|scenario| Standing::of(name, scenario) == Standing::Framework);
            if coloured && !names.contains(name) {
                names.push(name.clone());
            }
        }
        Self(names)
    }

    fn of_server(&self, name: &str) -> usize {
        self.0.iter().position(|other| other == name).unwrap_or(0)
    }
}

/// A bar chart with its caption.
pub(super) struct BarPlot {
    /// The quantity of the bars, and its unit.
    pub(super) caption: String,
    /// The bars.
    pub(super) bars: Bars,
}

/// The bar charts of a scenario; none while there are no results.
pub(super) fn bar_plots(scenario: &Scenario, summaries: &[Summary]) -> Vec<BarPlot> {
    let plot = |caption: String, bar: &dyn Fn(&Summary) -> Option<Bar>| {
        bar_plot(scenario, summaries, caption, bar)
    };
    let plots = match &scenario.task {
        Task::Load(workload) => {
            let cpu = format!("Server CPU time per {}, µs · × floor", workload.operation());
            let mut plots = vec![plot(cpu, &cpu_bar)];
            if matches!(workload.mode, Mode::SlowReaders { .. }) {
                let memory = "Server memory at the end, MiB: heap and stack, other";
                plots.push(plot(memory.to_owned(), &end_memory_bar));
            }
            plots
        }
        Task::Hold(_) => {
            let user = "Server memory per connection, bytes: heap and stack, other · × floor";
            let kernel = "Kernel memory per connection, both ends, bytes";
            vec![
                plot(user.to_owned(), &user_memory_bar),
                plot(kernel.to_owned(), &kernel_memory_bar),
            ]
        }
        Task::Instructions(workload) => {
            let caption = format!("User instructions per {} · × floor", workload.operation());
            vec![plot(caption, &cost_bar)]
        }
        Task::Syscalls(workload) => {
            let caption = format!("System calls per {} · × floor", workload.operation());
            vec![plot(caption, &cost_bar)]
        }
    };
    plots.into_iter().flatten().collect()
}

fn bar_plot(
    scenario: &Scenario,
    summaries: &[Summary],
    caption: String,
    bar: &dyn Fn(&Summary) -> Option<Bar>,
) -> Option<BarPlot> {
    let bars: Vec<Bar> = summaries.iter().filter_map(bar).collect();
    if bars.is_empty() {
        return None;
    }
    let floor = bars
        .iter()
        .find(|bar| scenario.floor.as_ref() == Some(&bar.name));
    let mut ends: Vec<&Bar> = bars.iter().collect();
    ends.sort_by(|a, b| a.spread.median.total_cmp(&b.spread.median));
    let ends: Vec<String> = ends
        .iter()
        .map(|bar| format!("{} {}", bar.name, bar.end))
        .collect();
    Some(BarPlot {
        bars: Bars {
            label: format!(
                "{}, {}: {caption}. {}",
                scenario.section.title(),
                scenario.title,
                ends.join("; ")
            ),
            mark: floor.map(|bar| bar.spread.median),
            bars,
        },
        caption,
    })
}

fn bar(summary: &Summary, parts: [f64; 2], spread: Spread, end: String) -> Bar {
    Bar {
        name: summary.server.clone(),
        standing: summary.standing,
        parts: parts.map(|part| part.max(0.0)),
        spread,
        end,
    }
}

/// The value, and its ratio to the floor's.
fn with_ratio(value: String, summary: &Summary) -> String {
    match summary.ratio_to_floor {
        Some(ratio) => format!("{value} · {}", times(ratio.median)),
        None => value,
    }
}

fn cpu_bar(summary: &Summary) -> Option<Bar> {
    let LoadFigures {
        cpu,
        cpu_user,
        cpu_system,
        ..
    } = summary.load()?;
    // The medians of the parts may come from different rounds, so they are scaled to add up to the median of the whole.
    let user = cpu_user.median / (cpu_user.median + cpu_system.median).max(f64::MIN_POSITIVE);
    let parts = [cpu.median * user, cpu.median * (1.0 - user)];
    Some(bar(
        summary,
        parts,
        *cpu,
        with_ratio(figure(cpu.median), summary),
    ))
}

fn cost_bar(summary: &Summary) -> Option<Bar> {
    let cost = summary.cost()?;
    Some(bar(
        summary,
        [cost.median, 0.0],
        cost,
        with_ratio(grouped(cost.median), summary),
    ))
}

fn end_memory_bar(summary: &Summary) -> Option<Bar> {
    let load = summary.load()?;
    let mebibytes = |spread: Spread| Spread {
        median: spread.median / MEBIBYTE,
        min: spread.min / MEBIBYTE,
        max: spread.max / MEBIBYTE,
    };
    let (resident, anonymous) = (mebibytes(load.resident), mebibytes(load.anonymous));
    let parts = [anonymous.median, resident.median - anonymous.median];
    Some(bar(summary, parts, resident, grouped(resident.median)))
}

fn per_connection(summary: &Summary) -> Option<&PerConnection> {
    match &summary.figures {
        Some(Figures::Memory(memory)) => Some(memory.last()),
        _ => None,
    }
}

fn user_memory_bar(summary: &Summary) -> Option<Bar> {
    let PerConnection {
        resident,
        anonymous,
        ..
    } = per_connection(summary)?;
    let heap = anonymous.median.clamp(0.0, resident.median.max(0.0));
    let end = with_ratio(grouped(resident.median.round()), summary);
    Some(bar(summary, [heap, resident.median - heap], *resident, end))
}

fn kernel_memory_bar(summary: &Summary) -> Option<Bar> {
    let kernel = per_connection(summary)?.kernel;
    Some(bar(
        summary,
        [kernel.median, 0.0],
        kernel,
        grouped(kernel.median.round()),
    ))
}

/// Latency over the share of operations that were at least as fast, for scenarios in which the load sets the rate.
pub(super) fn latency_plot(
    scenario: &Scenario,
    summaries: &[Summary],
    hues: &Hues,
) -> Option<Lines> {
    let Task::Load(Workload {
        mode: Mode::Echo { .. } | Mode::Open { .. } | Mode::Broadcast { .. },
        ..
    }) = scenario.task
    else {
        return None;
    };
    let lines: Vec<Line> = summaries
        .iter()
        .filter_map(|summary| {
            let curve = summary.load()?.latency_curve;
            let point = |value| Spread {
                median: value,
                min: value,
                max: value,
            };
            let points = QUANTILES.iter().zip(curve);
            Some(Line {
                name: summary.server.clone(),
                standing: summary.standing,
                hue: hues.of_server(&summary.server),
                points: points
                    .map(|(quantile, value)| (nines(*quantile), point(value)))
                    .collect(),
            })
        })
        .collect();
    let said: Vec<String> = summaries
        .iter()
        .filter_map(|summary| {
            let load = summary.load()?;
            let (p50, p99) = (grouped(load.p50.median), grouped(load.p99.median));
            Some(format!("{} p50 {p50}, p99 {p99}", summary.server))
        })
        .collect();
    (!lines.is_empty()).then(|| Lines {
        label: format!(
            "{}, {}: latency percentiles in microseconds. {}",
            scenario.section.title(),
            scenario.title,
            said.join("; ")
        ),
        unit: "µs".to_owned(),
        ticks: [
            (0.5, "50 %"),
            (0.9, "90"),
            (0.99, "99"),
            (0.999, "99.9"),
            (0.9999, "99.99"),
            (1.0, "max"),
        ]
        .map(|(quantile, text)| (nines(quantile), text.to_owned()))
        .into(),
        lines,
    })
}

/// Maps a quantile to its number of nines, so that each further nine has as much room; the maximum comes after the
/// last.
fn nines(quantile: f64) -> f64 {
    const AFTER_THE_LAST: f64 = 5.0;
    if quantile < 1.0 {
        -(1.0 - quantile).log10()
    } else {
        AFTER_THE_LAST
    }
}

/// Cost over scale and, if the load sets the rate, latency over scale: captions and lines.
pub(super) fn scaling_plots(
    measured: &[(&Scenario, Vec<Summary>)],
    hues: &Hues,
) -> Vec<(String, Lines)> {
    let Some((first, _)) = measured.first() else {
        return Vec::new();
    };
    let (caption, unit) = match &first.task {
        Task::Load(workload) => (
            format!("Server CPU time per {}", workload.operation()),
            "µs",
        ),
        Task::Hold(_) => ("Server memory per connection".to_owned(), "bytes"),
        Task::Instructions(workload) => (
            format!("User instructions per {}", workload.operation()),
            "",
        ),
        Task::Syscalls(workload) => (format!("System calls per {}", workload.operation()), ""),
    };
    let mut plots = Vec::new();
    plots.extend(scaling_plot(measured, hues, caption, unit, Summary::cost));
    if measured
        .iter()
        .all(|(scenario, _)| load_sets_the_rate(&scenario.task))
    {
        let p99 = |summary: &Summary| summary.load().map(|load| load.p99);
        plots.extend(scaling_plot(
            measured,
            hues,
            "Latency, 99th percentile".to_owned(),
            "µs",
            p99,
        ));
    }
    plots
}

fn scaling_plot(
    measured: &[(&Scenario, Vec<Summary>)],
    hues: &Hues,
    caption: String,
    unit: &str,
    value: fn(&Summary) -> Option<Spread>,
) -> Option<(String, Lines)> {
    let mut scales: Vec<u64> = measured
        .iter()
        .filter_map(|(scenario, _)| scenario.scale)
        .collect();
    scales.sort_unstable();
    scales.dedup();
    let smallest = *scales.iter().find(|scale| **scale > 0)?;
    // Zero has no logarithm: it is placed one step before the smallest value.
    let position = |scale: u64| match scale {
        0 => (smallest as f64).log10() - 1.0,
        _ => (scale as f64).log10(),
    };
    let mut lines: Vec<Line> = Vec::new();
    for (scenario, summaries) in measured {
        let Some(scale) = scenario.scale else {
            continue;
        };
        for summary in summaries {
            let Some(value) = value(summary) else {
                continue;
            };
            let point = (position(scale), value);
            match lines.iter_mut().find(|line| line.name == summary.server) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    name: summary.server.clone(),
                    standing: summary.standing,
                    hue: hues.of_server(&summary.server),
                    points: vec![point],
                }),
            }
        }
    }
    for line in &mut lines {
        line.points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    }
    let section = measured.first()?.0.section.title();
    (!lines.is_empty()).then(|| {
        let lines_said: Vec<String> = lines.iter().map(line_said).collect();
        let lines = Lines {
            label: format!("{section}: {caption}, {unit}. {}", lines_said.join("; ")),
            unit: unit.to_owned(),
            ticks: scales
                .iter()
                .map(|scale| (position(*scale), short_count(*scale)))
                .collect(),
            lines,
        };
        (caption, lines)
    })
}

fn line_said(line: &Line) -> String {
    let (Some((_, first)), Some((_, last))) = (line.points.first(), line.points.last()) else {
        return printable(&line.name);
    };
    format!(
        "{} {} to {}",
        line.name,
        grouped(first.median),
        grouped(last.median)
    )
}

/// Formats a scale as `64`, `1 k` or `1 M` if nothing is lost: decimal numbers by 1000, powers of two by 1024.
fn short_count(count: u64) -> String {
    for (unit, name) in [
        (1 << 20, " Mi"),
        (1_000_000, " M"),
        (1 << 10, " Ki"),
        (1000, " k"),
    ] {
        if count >= unit && count % unit == 0 {
            return format!("{}{name}", count / unit);
        }
    }
    count.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short_without_loss() {
        let cases = [
            (0, "0"),
            (64, "64"),
            (1000, "1 k"),
            (1024, "1 Ki"),
            (1500, "1500"),
            (65_536, "64 Ki"),
            (1_048_576, "1 Mi"),
            (2_000_000, "2 M"),
        ];
        for (count, text) in cases {
            assert_eq!(short_count(count), text);
        }
    }

    #[test]
    fn each_nine_has_as_much_room() {
        let places: Vec<f64> = [0.9, 0.99, 0.999, 0.9999, 1.0].map(nines).into();
        for (place, expected) in places.iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]) {
            assert!((place - expected).abs() < 1e-9, "{places:?}");
        }
    }
}
