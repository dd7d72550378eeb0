//! Tests of whole reports of made-up results.

use roxmltree::{Document, ParsingOptions};

use super::sample::sample_results;
use super::summary::{self, summarise};
use super::wording::grouped;
use super::{html, terminal};
use crate::disturbance::Disturbance;
use crate::results::{Found, Record, Results};
use crate::scenario::{Scenario, Section};
use crate::stats::Spread;

const HOSTILE: &str = "\"><script>alert('1 & 2')</script>\u{1b}[31m\0";

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).expect("the page is well-formed XML")
}

fn texts(page: &str) -> String {
    let document = parsed(page);
    let nodes = document.descendants().filter(roxmltree::Node::is_text);
    nodes
        .filter_map(|node| node.text())
        .collect::<Vec<_>>()
        .join("\u{1f}")
}

fn scenario_of(results: &Results, section: Section) -> Scenario {
    let mut scenarios = results.scenarios.iter();
    scenarios
        .find(|scenario| scenario.section == section)
        .expect("it is in the sample")
        .clone()
}

/// Sets the figures of one measurement of a load.
fn set(
    results: &mut Results,
    scenario: &Scenario,
    server: &str,
    round: usize,
    cpu: f64,
    steal: f64,
) {
    let of = |record: &&mut Record| {
        record.scenario == scenario.id && record.server == server && record.round == round
    };
    let record = results
        .records
        .iter_mut()
        .find(of)
        .expect("it is in the sample");
    let Found::Load(sample) = &mut record.found else {
        panic!("{server} has failed")
    };
    sample.cpu = cpu;
    sample.latency.p99 = cpu * 10.0;
    sample.latency.curve[0] = cpu * 2.0;
    sample.disturbance = Disturbance {
        steal,
        foreign: 0.0,
    };
}

fn near(found: Option<Spread>, median: f64, min: f64, max: f64) {
    let found = found.expect("there is something to compare");
    for (found, expected) in [(found.median, median), (found.min, min), (found.max, max)] {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

#[test]
fn medians_and_ratios_come_from_undisturbed_rounds() {
    let mut results = sample_results();
    let open = scenario_of(&results, Section::Open);
    // Round 1 of the floor and round 2 of tokio are disturbed.
    for (round, [mio, ours, tokio]) in [[2.0, 3.0, 6.0], [1.0, 4.0, 6.0], [4.0, 8.0, 90.0]]
        .into_iter()
        .enumerate()
    {
        set(
            &mut results,
            &open,
            "mio",
            round,
            mio,
            if round == 1 { 0.5 } else { 0.0 },
        );
        set(&mut results, &open, "ringwheel", round, ours, 0.0);
        set(
            &mut results,
            &open,
            "tokio",
            round,
            tokio,
            if round == 2 { 0.5 } else { 0.0 },
        );
    }
    let summaries = summarise(&results, &open);
    let of = |name: &str| {
        summaries
            .iter()
            .find(|summary| summary.server == name)
            .unwrap()
    };
    near(of("ringwheel").cost(), 4.0, 3.0, 8.0);
    near(of("ringwheel").ratio_to_floor, 1.75, 1.5, 2.0);
    near(of("ringwheel").p99_to_floor, 1.75, 1.5, 2.0);
    near(of("ringwheel").ratio_to_ours, 1.0, 1.0, 1.0);
    near(of("tokio").cost(), 6.0, 6.0, 6.0);
    near(of("tokio").ratio_to_floor, 3.0, 3.0, 3.0);
    near(of("tokio").ratio_to_ours, 1.75, 1.5, 2.0);
    near(of("mio").cost(), 3.0, 2.0, 4.0);
    assert_eq!((of("tokio").rounds, of("tokio").disturbed_rounds), (3, 1));
    let curve = of("ringwheel").load().unwrap().latency_curve;
    assert!((curve[0] - 8.0).abs() < 1e-9, "{curve:?}");
}

#[test]
fn disturbed_rounds_count_when_there_are_no_others() {
    let mut results = sample_results();
    let echo = scenario_of(&results, Section::Echo);
    for round in 0..3 {
        set(&mut results, &echo, "mio", round, 2.0, 0.5);
        set(&mut results, &echo, "ringwheel", round, 3.0, 0.5);
    }
    let summaries = summarise(&results, &echo);
    near(summaries[1].ratio_to_floor, 1.5, 1.5, 1.5);
    assert_eq!(summaries[1].p99_to_floor, None, "the servers set the rate");
    let table = terminal::table(&results, &echo);
    assert!(
        table.contains("Every round was disturbed by others, for mio, ringwheel"),
        "{table}"
    );
}

#[test]
fn memory_instructions_and_calls_are_per_operation() {
    let results = sample_results();
    let summary = |section| summarise(&results, &scenario_of(&results, section)).swap_remove(1);
    let Some(summary::Figures::Memory(memory)) = summary(Section::Memory).figures else {
        panic!("connections were held")
    };
    let exchanged = memory.exchanged.expect("messages were exchanged");
    assert!(exchanged.resident.median > memory.connected.resident.median);
    assert!(
        (5100.0..5200.0).contains(&exchanged.kernel.median),
        "{exchanged:?}"
    );
    let instructions = summary(Section::Instructions).cost().unwrap();
    assert!(
        (250.0..500.0).contains(&instructions.median),
        "{instructions:?}"
    );
    let Some(summary::Figures::Syscalls(calls)) = summary(Section::Syscalls).figures else {
        panic!("calls were counted")
    };
    let sum: f64 = calls.calls.iter().map(|(_, calls)| calls).sum();
    assert!((sum - calls.all.median).abs() < 0.02, "{calls:?}");
    assert_eq!(calls.calls[0].0, "recvfrom");
}

#[test]
fn a_failure_is_reported_with_its_message() {
    let results = sample_results();
    let churn = scenario_of(&results, Section::Churn);
    let note = "getty failed in 3 rounds, first in round 1: connection 31: no answer within 5 s";
    assert!(terminal::table(&results, &churn).contains(note));
    assert!(texts(&html::page(&results)).contains(note));
    let getty = summarise(&results, &churn)
        .into_iter()
        .find(|summary| summary.server == "getty");
    let failures = getty.expect("it is in the scenario").failures;
    assert_eq!(
        failures
            .iter()
            .map(|failure| failure.round)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let page = html::page(&sample_results());
    let document = parsed(&page);
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe", "object", "image", "use"].contains(&name),
            "{name}"
        );
        for attribute in node.attributes() {
            let name = attribute.name();
            assert!(
                !["src", "srcset", "data", "action"].contains(&name),
                "{name}"
            );
            assert!(
                name != "href" || attribute.value().starts_with('#'),
                "{}",
                attribute.value()
            );
            assert!(!name.starts_with("on"), "{name}");
        }
    }
    for outside in ["http:", "https:", "@import", "url(//", "NaN", "inf"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let ids: Vec<_> = document
        .descendants()
        .filter_map(|node| node.attribute("id"))
        .collect();
    for link in document
        .descendants()
        .filter_map(|node| node.attribute("href"))
    {
        assert!(ids.contains(&&link[1..]), "{link} leads nowhere");
    }
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "an id is given twice");
}

#[test]
fn every_chart_has_a_description() {
    let page = html::page(&sample_results());
    let document = parsed(&page);
    let charts = || {
        document
            .descendants()
            .filter(|node| node.attribute("role") == Some("img"))
    };
    assert!(charts().count() > 20);
    for chart in charts() {
        let title = chart.children().find(|child| child.has_tag_name("title"));
        let title = title.and_then(|title| title.text()).unwrap_or_default();
        assert!(title.contains("ringwheel"), "{title}");
    }
}

#[test]
fn nothing_is_drawn_outside_of_a_chart_and_no_label_covers_another() {
    let page = html::page(&sample_results());
    let document = parsed(&page);
    for chart in document
        .descendants()
        .filter(|node| node.attribute("role") == Some("img"))
    {
        let numbers: Vec<f64> = chart
            .attribute("viewBox")
            .unwrap()
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect();
        let mut labels = Vec::new();
        for text in chart.children().filter(|child| child.has_tag_name("text")) {
            let number = |name| text.attribute(name).unwrap().parse::<f64>().unwrap();
            // The average width of a sans-serif font's characters, approximately.
            let width =
                text.text().unwrap().trim().chars().count() as f64 * number("font-size") * 0.56;
            let left = match text.attribute("text-anchor") {
                Some("end") => number("x") - width,
                Some("middle") => number("x") - width / 2.0,
                _ => number("x"),
            };
            let (top, bottom) = (number("y") - 11.0, number("y") + 11.0);
            let said = text.text().unwrap().trim();
            assert!(
                left >= -4.0 && left + width <= numbers[2] + 4.0,
                "{said} is cut off: {left} {width}"
            );
            assert!(
                top >= -4.0 && bottom <= numbers[3] + 4.0,
                "{said} is cut off: {top}"
            );
            labels.push((left, left + width, top, bottom, said));
        }
        for (index, one) in labels.iter().enumerate() {
            for other in &labels[index + 1..] {
                let apart =
                    one.1 <= other.0 || other.1 <= one.0 || one.3 <= other.2 || other.3 <= one.2;
                assert!(apart, "{} covers {}", one.4, other.4);
            }
        }
    }
}

#[test]
fn hostile_text_is_text() {
    let mut results = sample_results();
    for scenario in &mut results.scenarios {
        scenario.title = HOSTILE.into();
        scenario.id = format!("{HOSTILE}{}", scenario.id);
        scenario.servers[4].name = HOSTILE.into();
    }
    for record in &mut results.records {
        record.scenario = format!("{HOSTILE}{}", record.scenario);
        if record.server == "tokio" {
            record.server = HOSTILE.into();
        }
        if let Found::Failure(message) = &mut record.found {
            *message = HOSTILE.into();
        }
    }
    let circumstances = &mut results.circumstances;
    circumstances.command = HOSTILE.into();
    circumstances.date = HOSTILE.into();
    circumstances.machine.cpu = HOSTILE.into();
    circumstances.machine.kernel = HOSTILE.into();
    circumstances.contestants[0].version = Some(HOSTILE.into());
    circumstances.contestants[0].skipped = Some(HOSTILE.into());
    let page = html::page(&results);
    assert!(!page.contains("<script"));
    assert!(texts(&page).contains("\"><script>alert('1 & 2')</script>"));
    for scenario in &results.scenarios {
        let table = terminal::table(&results, scenario);
        assert!(!table.contains(|character: char| character.is_control() && character != '\n'));
    }
}

#[test]
fn an_incomplete_campaign_is_marked_as_such() {
    let whole = sample_results();
    for made in [0, 1, 2, 5, 17, 60, 200] {
        let mut results = whole.clone();
        results.records.truncate(made);
        let said = texts(&html::page(&results));
        assert!(said.contains("Incomplete"), "{made} of all");
        for scenario in &results.scenarios {
            let table = terminal::table(&results, scenario);
            let begun = results
                .records
                .iter()
                .any(|record| record.scenario == scenario.id);
            assert!(begun || table.contains("Not measured yet"), "{table}");
        }
    }
    let nothing = Results {
        scenarios: Vec::new(),
        records: Vec::new(),
        ..whole.clone()
    };
    assert!(texts(&html::page(&nothing)).contains("Nothing was to be measured"));
    assert!(!texts(&html::page(&whole)).contains("Incomplete"));
}

#[test]
fn results_without_sense_do_not_panic() {
    let mut results = sample_results();
    let values = [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e300, 1e-300];
    for (index, record) in results.records.iter_mut().enumerate() {
        if let Found::Load(sample) = &mut record.found {
            let value = values[index % values.len()];
            (sample.cpu, sample.rate, sample.latency.curve) = (value, value, [value; 9]);
        }
    }
    parsed(&html::page(&results));
    for scenario in &results.scenarios {
        terminal::table(&results, scenario);
    }
}

#[test]
fn tables_fit_a_terminal() {
    let results = sample_results();
    for scenario in &results.scenarios {
        let table = terminal::table(&results, scenario);
        for line in table.lines().filter(|line| !line.ends_with('.')) {
            assert!(
                line.chars().count() <= 120,
                "{} columns:\n{table}",
                line.chars().count()
            );
        }
    }
}

#[test]
fn a_broadcast_tells_deliveries_per_second_of_cpu_and_whether_memory_grows() {
    let mut results = sample_results();
    let broadcast = scenario_of(&results, Section::Broadcast);
    let (first, second) = (&broadcast.servers[0].name, &broadcast.servers[1].name);
    for round in 0..broadcast.rounds {
        set(&mut results, &broadcast, first, round, 4.0, 0.0);
    }
    let table = terminal::table(&results, &broadcast);
    let row = |name: &str| {
        let mut lines = table.lines();
        lines
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(table.contains("per CPU s"), "{table}");
    assert!(row(first).contains(&grouped(250_000.0)), "{table}");
    assert!(row(first).contains("10 → 25 → 40, grows"), "{table}");
    assert!(row(second).contains("10 → 14 → 14, flat"), "{table}");
    // Other scenarios have no such columns.
    let echo = terminal::table(&results, &scenario_of(&results, Section::Echo));
    assert!(
        !echo.contains("per CPU s") && !echo.contains("over time"),
        "{echo}"
    );
}
