//! A campaign as one HTML page without external files: for phones and desktops, in light and dark mode.
//!
//! The markup is also well-formed XML.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts::{NARROW, WIDE, css_colours};
use super::notes::{failures, notes, remarks};
use super::plots::{Hues, bar_plots, latency_plot, scaling_plots};
use super::summary::{OURS, Standing, Summary, load_sets_the_rate, summarise};
use super::table::{Room, Table};
use super::terminal::task;
use super::verdict::{Measure, Outcome, Verdict};
use super::wording::{NONE, printable, times};
use crate::results::{Circumstances, Found, Results};
use crate::scenario::{Scenario, Section};

/// Void elements in XML form, which the templates do not write by themselves.
const HEAD: &str = "<meta charset=\"utf-8\"/>\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>";

type Measured<'a> = Vec<(&'a Scenario, Vec<Summary>)>;

/// The whole page.
pub fn page(results: &Results) -> String {
    let measured: Measured<'_> = results
        .scenarios
        .iter()
        .map(|scenario| (scenario, summarise(results, scenario)))
        .collect();
    let hues = Hues::of(results);
    let sections: Vec<(Section, Measured<'_>)> = Section::ALL
        .into_iter()
        .map(|section| {
            let of_it = measured
                .iter()
                .filter(|(scenario, _)| scenario.section == section);
            (section, of_it.cloned().collect::<Vec<_>>())
        })
        .filter(|(_, measured)| !measured.is_empty())
        .collect();
    let date = printable(&results.circumstances.date);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (PreEscaped(HEAD))
                title { "ringwheel benchmarks, " (date) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (hatches())
                header {
                    h1 { "ringwheel benchmarks" }
                    (circumstances(&results.circumstances))
                    (progress(results))
                }
                main {
                    (verdicts(&sections))
                    @if !sections.is_empty() { (contents(&sections)) (legend()) }
                    @for (section, measured) in &sections { (section_part(*section, measured, &hues)) }
                    (contestants(&results.circumstances))
                }
            }
        }
    }
    .into_string()
}

fn circumstances(circumstances: &Circumstances) -> Markup {
    let machine = &circumstances.machine;
    let cpu = |cpu: Option<usize>| cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
    html! {
        dl {
            dt { "Date" } dd { (printable(&circumstances.date)) }
            dt { "Machine" }
            dd {
                (printable(&machine.cpu)) ", " (machine.cpus) " CPUs, Linux " (printable(&machine.kernel))
                "; server on CPU " (cpu(circumstances.cpus.server))
                ", load on CPU " (cpu(circumstances.cpus.load))
            }
            dt { "Command" } dd { code { (printable(&circumstances.command)) } }
        }
    }
}

/// A note about a campaign that has not ended: how much is measured.
fn progress(results: &Results) -> Markup {
    let planned: usize = results
        .scenarios
        .iter()
        .map(|scenario| scenario.rounds * scenario.servers.len())
        .sum();
    let failed = results
        .records
        .iter()
        .filter(|record| matches!(record.found, Found::Failure(_)));
    let (made, failed) = (results.records.len(), failed.count());
    html! {
        @if planned == 0 {
            p.note { "Nothing was to be measured." }
        } @else if made == 0 {
            p.note { "Incomplete: nothing has been measured yet, of " (planned) " measurements." }
        } @else if made < planned {
            p.note { "Incomplete: " (made) " of " (planned) " measurements have been made." }
        }
        @if failed > 0 {
            p.note { (failed) " of " (made) " measurements failed; see the notes below the figures." }
        }
    }
}

/// One comparison in the table of verdicts.
struct Comparison<'a> {
    scenario: &'a Scenario,
    measure: Measure,
    verdict: Verdict,
}

fn comparisons<'a>(measured: &'a Measured<'_>) -> Vec<Comparison<'a>> {
    let mut comparisons = Vec::new();
    for (scenario, summaries) in measured {
        let fixed_rate = load_sets_the_rate(&scenario.task);
        let measures = [Measure::Cost, Measure::P99];
        for measure in measures.into_iter().take(1 + usize::from(fixed_rate)) {
            comparisons.extend(Verdict::of(summaries, measure).map(|verdict| Comparison {
                scenario,
                measure,
                verdict,
            }));
        }
    }
    comparisons
}

fn verdicts(sections: &[(Section, Measured<'_>)]) -> Markup {
    let compared: Vec<(Section, Vec<Comparison<'_>>)> = sections
        .iter()
        .map(|(section, measured)| (*section, comparisons(measured)))
        .filter(|(_, comparisons)| !comparisons.is_empty())
        .collect();
    let count = |outcome| {
        let all = compared.iter().flat_map(|(_, comparisons)| comparisons);
        all.filter(|comparison| comparison.verdict.outcome == Some(outcome))
            .count()
    };
    html! {
        section #verdict {
            h2 { "Where " (OURS) " stands" }
            @if compared.is_empty() {
                p { "There is nothing of " (OURS) " to compare yet." }
            } @else {
                p {
                    "Against the best of the other frameworks, which differs from row to row: "
                    span.ahead { "ahead in " (count(Outcome::Ahead)) } ", level in " (count(Outcome::Level)) ", "
                    span.behind { "behind in " (count(Outcome::Behind)) } ". "
                    "Figures beside a name are its cost over ours. Ahead and behind mean in every round; where rounds disagree, or it is less than 1 %, it is level. "
                    "The floor is a bare loop that does less than any framework; below 1× we need less."
                }
                div.card.scroll {
                    table.verdicts {
                        thead { tr {
                            th { "Less is better" } th { "÷ floor" } th { "Best other" } th { "We are" }
                        } }
                        @for (section, comparisons) in &compared {
                            tbody {
                                tr.section { th colspan="4" {
                                    a href={ "#" (anchor(*section)) } { (section.title()) }
                                } }
                                @for comparison in comparisons { (verdict_row(comparison)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn verdict_row(comparison: &Comparison<'_>) -> Markup {
    let Comparison {
        scenario,
        measure,
        verdict,
    } = comparison;
    html! {
        tr {
            td {
                (printable(&scenario.title))
                @if *measure == Measure::P99 { ", p99 latency" }
            }
            td { @match verdict.to_floor { Some(ratio) => (times(ratio.median)), None => (NONE) } }
            td {
                @match &verdict.best {
                    Some((name, ratio)) => { (printable(name)) " " b { (times(ratio.median)) } },
                    None => (NONE),
                }
            }
            td {
                @match verdict.outcome {
                    Some(Outcome::Ahead) => span.ahead { "ahead" },
                    Some(Outcome::Level) => "level",
                    Some(Outcome::Behind) => { span.behind { "behind" } (also_ahead(verdict)) },
                    None => (NONE),
                }
            }
        }
    }
}

/// The frameworks that need less than ringwheel, after the best one.
fn also_ahead(verdict: &Verdict) -> Markup {
    let others = verdict.ahead_of_us.iter().skip(1);
    html! {
        @for (name, ratio) in others { ", " (printable(name)) " " b { (times(ratio.median)) } }
    }
}

/// The name of a section in links.
fn anchor(section: Section) -> String {
    format!("{section:?}").to_lowercase()
}

fn contents(sections: &[(Section, Measured<'_>)]) -> Markup {
    html! {
        nav aria-label="Sections" {
            @for (section, _) in sections {
                a href={ "#" (anchor(*section)) } { (section.title()) }
            }
            a href="#contestants" { "Versions" }
        }
    }
}

/// The legend of a chart.
fn legend() -> Markup {
    let swatch = |standing| {
        let [first, second] = css_colours(standing);
        html! {
            svg viewBox="0 0 44 12" aria-hidden="true" {
                rect width="24" height="12" fill=(first) {}
                rect x="24" width="20" height="12" fill=(second) {}
            }
        }
    };
    html! {
        ul.legend aria-label="Legend" {
            li { (swatch(Standing::Ours)) (OURS) }
            li { (swatch(Standing::Framework)) "other frameworks" }
            li { (swatch(Standing::Floor)) "floors: bare loops" }
            li { "dark part: user mode, light part: kernel" }
            li { "bar: median, whisker: smallest to largest of the rounds" }
            li { "grey upright: the floor that the ratios are to" }
        }
    }
}

/// The fill patterns that the stylesheet uses instead of the floors' colours.
fn hatches() -> Markup {
    let pattern = |id, colour: &str| {
        html! {
            pattern id=(id) width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                rect width="8" height="8" style={ "fill:" (colour) ";fill-opacity:.35" } {}
                rect width="4" height="8" style={ "fill:" (colour) } {}
            }
        }
    };
    let [first, second] = css_colours(Standing::Floor);
    html! {
        svg width="0" height="0" style="position:absolute;width:0;height:0" aria-hidden="true" {
            defs { (pattern("floor-first", &first)) (pattern("floor-second", &second)) }
        }
    }
}

fn section_part(section: Section, measured: &Measured<'_>, hues: &Hues) -> Markup {
    let (scaled, single): (Measured<'_>, Measured<'_>) = measured
        .iter()
        .cloned()
        .partition(|(scenario, _)| scenario.scale.is_some());
    html! {
        section id=(anchor(section)) {
            h2 { (section.title()) }
            p.dim { (section.explanation()) }
            div.cards {
                @if !scaled.is_empty() { (scaling(&scaled, hues)) }
                @for (scenario, summaries) in &single { (card(scenario, summaries, hues)) }
            }
        }
    }
}

fn scaling(measured: &Measured<'_>, hues: &Hues) -> Markup {
    let plots = scaling_plots(measured, hues);
    html! {
        article.whole {
            @if plots.is_empty() { p { "Nothing has been measured yet." } }
            div.pair {
                @for (caption, lines) in plots {
                    figure {
                        figcaption { (caption) }
                        div.narrow { (PreEscaped(lines.clone().svg(NARROW))) }
                        div.wide { (PreEscaped(lines.svg(WIDE))) }
                    }
                }
            }
            @for (scenario, summaries) in measured {
                @for failure in failures(summaries) {
                    p.note { (printable(&scenario.title)) ": " (failure) }
                }
                (details(&printable(&scenario.title), scenario, summaries, &remarks(scenario, summaries)))
            }
        }
    }
}

fn card(scenario: &Scenario, summaries: &[Summary], hues: &Hues) -> Markup {
    let bars = bar_plots(scenario, summaries);
    html! {
        article id=(printable(&scenario.id)) {
            h3 { (printable(&scenario.title)) }
            p { (task(&scenario.task)) }
            @if bars.is_empty() { p { "Nothing has been measured yet." } }
            div.charts {
                @for plot in bars {
                    figure { figcaption { (plot.caption) } (PreEscaped(plot.bars.svg())) }
                }
                @if let Some(lines) = latency_plot(scenario, summaries, hues) {
                    figure {
                        figcaption { "Latency that so many percent of the messages kept" }
                        (PreEscaped(lines.svg(NARROW)))
                    }
                }
            }
            @for note in notes(scenario, summaries) { p.note { (note) } }
            (details("All figures", scenario, summaries, &[]))
        }
    }
}

fn details(title: &str, scenario: &Scenario, summaries: &[Summary], remarks: &[String]) -> Markup {
    let table = Table::of(scenario, summaries, Room::Page);
    html! {
        details {
            summary { (title) }
            @for remark in remarks { p.note { (remark) } }
            div.scroll {
                table {
                    thead { tr { @for name in &table.header { th { (name) } } } }
                    tbody {
                        @for (row, summary) in table.rows.iter().zip(summaries) {
                            tr class=[(summary.standing == Standing::Ours).then_some("ours")] {
                                @for cell in row { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn contestants(circumstances: &Circumstances) -> Markup {
    html! {
        section #contestants {
            h2 { "Versions" }
            @if circumstances.contestants.is_empty() { p { "No servers are named." } }
            div.card.scroll {
                table.words {
                    thead { tr { th { "Server" } th { "Version" } th { "Language" } th { "What it is" } } }
                    tbody {
                        @for contestant in &circumstances.contestants {
                            tr class=[(contestant.name == OURS).then_some("ours")] {
                                td { (printable(&contestant.name)) }
                                td { (contestant.version.as_deref().map_or(NONE.to_owned(), printable)) }
                                td { (printable(&contestant.language)) }
                                td {
                                    (printable(&contestant.about))
                                    @if let Some(why) = &contestant.skipped {
                                        " " span.behind { "Took no part: " (printable(why)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
