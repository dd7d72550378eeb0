//! The command line of the harness. Exit code 1 means that a load, a server or the machine failed, 2 a wrong option.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ringwheel_harness::campaign::{self, Care};
use ringwheel_harness::certificates::Key;
use ringwheel_harness::cli::{
    Campaign, Cli, Command, Compare, Count, Load, Peers, Report, Soak, Target,
};
use ringwheel_harness::instructions;
use ringwheel_harness::journal::Journal;
use ringwheel_harness::load;
use ringwheel_harness::machine::{self, Cpus, Machine};
use ringwheel_harness::measure::{MeasureError, Mode, Workload};
use ringwheel_harness::peers::{self, PEERS, Peer, Prepared, ServerOptions, ServerSpec};
use ringwheel_harness::peers::{Contestant, resolve};
use ringwheel_harness::plans;
use ringwheel_harness::progress::Progress;
use ringwheel_harness::report::{self, LoadSummary};
use ringwheel_harness::results::{Circumstances, Found, Results};
use ringwheel_harness::scenario::{Scenario, Section, Task};
use ringwheel_harness::soak;
use ringwheel_harness::trace;
use serde::Serialize;

type Outcome = Result<(), Box<dyn Error>>;

/// Time that `quick` may spend on waiting for a quiet machine and on repeating disturbed measurements.
const QUICK_BUDGET: Duration = Duration::from_secs(20);
/// The same for `full`.
const FULL_BUDGET: Duration = Duration::from_secs(10 * 60);

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Quick(options) => quick(&options),
        Command::Full(options) => full(&options),
        Command::Compare(options) => compare(&options),
        Command::Load(load) => run_load(&load),
        Command::Syscalls(options) => syscalls(&options),
        Command::Instructions(options) => instructions(&options),
        Command::Report(options) => write_report(&options),
        Command::Peers(options) => list_peers(&options),
        Command::Soak(options) => run_soak(&options),
        Command::SoakServer => soak::serve().map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn quick(options: &Campaign) -> Outcome {
    let peers = chosen(options, |peer| plans::QUICK.contains(&peer.name))?;
    run_campaign(options, "quick", &peers, plans::quick, QUICK_BUDGET)
}

fn full(options: &Campaign) -> Outcome {
    let peers = chosen(options, |_| true)?;
    run_campaign(options, "full", &peers, plans::full, FULL_BUDGET)
}

/// The requested peers, besides ringwheel and the floors; by default all peers of the campaign.
fn chosen(
    options: &Campaign,
    belongs: impl Fn(&Peer) -> bool,
) -> Result<Vec<&'static Peer>, Box<dyn Error>> {
    for name in &options.peers {
        if peers::find(name).is_none() {
            return Err(format!("no peer is called '{name}'; see: ringwheel-harness peers").into());
        }
    }
    let wished = |peer: &Peer| {
        peer.is_floor
            || peer.name == report::OURS
            || options.peers.iter().any(|name| name == peer.name)
    };
    Ok(PEERS
        .iter()
        .filter(|peer| {
            if options.peers.is_empty() {
                belongs(peer)
            } else {
                wished(peer)
            }
        })
        .collect())
}

fn run_campaign(
    options: &Campaign,
    name: &str,
    peers: &[&'static Peer],
    plan: fn(&[Prepared], usize) -> Vec<Scenario>,
    budget: Duration,
) -> Outcome {
    let prepared = prepare(peers);
    let mut scenarios = plan(&prepared, options.rounds.into());
    if !options.only.is_empty() {
        scenarios.retain(|scenario| {
            options
                .only
                .iter()
                .any(|part| scenario.id.contains(part.as_str()))
        });
    }
    if let Err(problem) = Key::Rsa.files() {
        leave_out_rsa(&mut scenarios, &problem);
    }
    if options.list {
        list_scenarios(&scenarios);
        return Ok(());
    }
    if scenarios.is_empty() {
        return Err("no scenario is left to measure".into());
    }
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None => peers::target_folder()?.join("harness").join(name),
    };
    fs::create_dir_all(&folder)?;
    let path = folder.join("journal.jsonl");
    if options.fresh && path.exists() {
        fs::remove_file(&path)?;
    }
    let cpus = Cpus::choose()?;
    let circumstances = circumstances(name, cpus, &prepared);
    let mut journal = Journal::open(&path, circumstances, scenarios)
        .map_err(|error| format!("{}: {error}; --fresh starts over", path.display()))?;
    let care = options.surroundings().care(budget);
    measure(&mut journal, cpus, care, options.surroundings().nice)?;
    let results = journal.into_results();
    write_results(&folder, &results)?;
    if options.json {
        print_json(&Summed::of(&results))?;
    } else {
        print_tables(&results);
    }
    eprintln!("report: {}", folder.join("report.html").display());
    complaints(&results, &prepared)
}

/// Removes the scenarios with an RSA key, which could not be made, and says so.
fn leave_out_rsa(scenarios: &mut Vec<Scenario>, problem: &io::Error) {
    scenarios.retain(|scenario| {
        let rsa = matches!(&scenario.task, Task::Load(workload)
            if workload.tls == Some(load::Trust::Own(Key::Rsa)));
        if rsa {
            eprintln!("{} is left out: {problem}", scenario.id);
        }
        !rsa
    });
}

fn measure(journal: &mut Journal, cpus: Cpus, care: Care, nice: i32) -> Outcome {
    if nice != 0 {
        machine::set_nice(nice)?;
    }
    let mut progress = Progress::new(journal.results());
    let outcome = campaign::run(journal, cpus, care, &mut |event| progress.show(&event));
    progress.finish();
    Ok(outcome?)
}

fn circumstances(command: &str, cpus: Cpus, prepared: &[Prepared]) -> Circumstances {
    Circumstances {
        date: machine::today(),
        command: command.to_owned(),
        machine: Machine::describe(),
        cpus,
        contestants: prepared.iter().map(Prepared::contestant).collect(),
    }
}

fn write_results(folder: &Path, results: &Results) -> Outcome {
    fs::write(
        folder.join("results.json"),
        serde_json::to_string(&Summed::of(results))?,
    )?;
    fs::write(folder.join("report.html"), report::html::page(results))?;
    Ok(())
}

fn print_tables(results: &Results) {
    for scenario in &results.scenarios {
        println!("{}", report::terminal::table(results, scenario));
    }
}

/// Fails if a server has failed, or could not be built although its toolchain is there: the result is incomplete.
fn complaints(results: &Results, prepared: &[Prepared]) -> Outcome {
    let mut problems = failures(prepared);
    for record in &results.records {
        if let Found::Failure(problem) = &record.found {
            problems.push(format!("{}: {problem}", record.scenario));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n       ").into())
    }
}

fn list_scenarios(scenarios: &[Scenario]) {
    for scenario in scenarios {
        let servers: Vec<&str> = scenario
            .servers
            .iter()
            .map(|server| server.name.as_str())
            .collect();
        println!(
            "{:<28} {:>3} rounds of {}",
            scenario.id,
            scenario.rounds,
            servers.join(", ")
        );
    }
}

fn compare(options: &Compare) -> Outcome {
    let (contestants, servers) =
        contestants(options.contestants(), &options.load.server_options())?;
    if servers.is_empty() {
        return Err("no --server is given".into());
    }
    let workload = options.workload();
    let scenario = Scenario {
        id: "compare".to_owned(),
        section: section(&workload),
        title: workload.to_string(),
        scale: None,
        task: Task::Load(workload),
        floor: servers.first().map(|server| server.name.clone()),
        servers,
        rounds: options.rounds.max(1),
        spread: false,
    };
    let cpus = Cpus::choose()?;
    let circumstances = Circumstances {
        contestants,
        ..circumstances("compare", cpus, &[])
    };
    let mut journal = Journal::in_memory(circumstances, vec![scenario]);
    let care = options.surroundings().care(Duration::MAX);
    measure(&mut journal, cpus, care, options.surroundings().nice)?;
    let results = journal.into_results();
    if let Some(file) = &options.html {
        fs::write(file, report::html::page(&results))?;
    }
    if options.json {
        print_json(&Summed::of(&results))?;
    } else {
        print_tables(&results);
    }
    complaints(&results, &[])
}

fn section(workload: &Workload) -> Section {
    match (workload.mode, workload.framing) {
        (Mode::Open { .. }, _) => Section::Open,
        (Mode::Churn, _) => Section::Churn,
        (Mode::Handshakes { .. }, _) => Section::Handshakes,
        (Mode::Broadcast { .. }, _) => Section::Broadcast,
        (Mode::SlowReaders { .. }, _) => Section::SlowReaders,
        (Mode::Echo { .. }, _) if workload.tls.is_some() => Section::Tls,
        (Mode::Echo { .. }, load::Framing::Raw) => Section::Echo,
        (Mode::Echo { .. }, framing) if framing.is_websocket() => Section::WebSocket,
        (Mode::Echo { .. }, _) => Section::Framed,
    }
}

/// Parses servers given as `name=command` or as the name of a peer; no name may occur twice.
fn contestants<'a>(
    given: impl Iterator<Item = &'a str>,
    options: &ServerOptions,
) -> Result<(Vec<Contestant>, Vec<ServerSpec>), Box<dyn Error>> {
    let (mut contestants, mut servers) = (Vec::new(), Vec::<ServerSpec>::new());
    for text in given {
        let (contestant, server) = resolve(text, options)?;
        if servers.iter().any(|other| other.name == server.name) {
            return Err(format!("two servers are called {}", server.name).into());
        }
        contestants.push(contestant);
        servers.push(server);
    }
    Ok((contestants, servers))
}

/// A campaign's JSON output: all records, and their summaries.
#[derive(Serialize)]
struct Summed<'a> {
    #[serde(flatten)]
    results: &'a Results,
    summaries: Vec<ScenarioSummary<'a>>,
}

#[derive(Serialize)]
struct ScenarioSummary<'a> {
    scenario: &'a str,
    servers: Vec<report::Summary>,
}

impl<'a> Summed<'a> {
    fn of(results: &'a Results) -> Self {
        let summaries = results
            .scenarios
            .iter()
            .map(|scenario| ScenarioSummary {
                scenario: &scenario.id,
                servers: report::summarise(results, scenario),
            })
            .collect();
        Self { results, summaries }
    }
}

fn run_load(load: &Load) -> Outcome {
    match load {
        Load::Echo(options) => print_load(&options.target, &options.workload()),
        Load::Open(options) => print_load(&options.target, &options.workload()),
        Load::Churn(options) => print_load(&options.target, &options.workload()),
        Load::Handshakes(options) => print_load(&options.target, &options.workload()),
        Load::Broadcast(options) => print_load(&options.target, &options.workload()),
        Load::SlowReaders(options) => print_load(&options.target, &options.workload()),
        Load::Idle(options) => {
            let report = load::idle(&options.load())?;
            if options.target.json {
                return print_json(&report);
            }
            print!("{}", report::idle_text(&report));
            Ok(())
        }
    }
}

fn print_load(target: &Target, workload: &Workload) -> Outcome {
    let summary = LoadSummary::from(&workload.run(target.addr, &mut ())?);
    if target.json {
        return print_json(&summary);
    }
    let closed_loop = !matches!(workload.mode, Mode::Open { .. } | Mode::Broadcast { .. });
    print!("{}", summary.text(workload.operation(), closed_loop));
    Ok(())
}

fn syscalls(options: &Count) -> Outcome {
    count(options, trace::trace, |trace| format!("{trace}"))
}

fn instructions(options: &Count) -> Outcome {
    count(options, instructions::count, |counted| {
        format!(
            "{}: {:.1} user instructions each, over {} operations",
            counted.server,
            counted.per_operation(),
            counted.operations
        )
    })
}

/// Counts something for each server in turn.
fn count<T: Serialize>(
    options: &Count,
    count: impl Fn(&ServerSpec, &Workload, Cpus) -> Result<T, MeasureError>,
    text: impl Fn(&T) -> String,
) -> Outcome {
    let (_, servers) = contestants(
        options.servers.iter().map(String::as_str),
        &options.load.server_options(),
    )?;
    let (workload, cpus) = (options.workload(), Cpus::choose()?);
    let mut counted = Vec::new();
    for server in &servers {
        let found = count(server, &workload, cpus)?;
        if !options.json {
            println!("{}", text(&found));
        }
        counted.push(found);
    }
    if options.json {
        print_json(&counted)
    } else {
        Ok(())
    }
}

/// Reads a campaign's results and makes its page again.
fn write_report(options: &Report) -> Outcome {
    let named = |path: &PathBuf| format!("{}", path.display());
    let text = fs::read_to_string(&options.results)
        .map_err(|error| format!("{}: {error}", named(&options.results)))?;
    let results: Results = serde_json::from_str(&text)
        .map_err(|error| format!("{}: {error}", named(&options.results)))?;
    fs::write(&options.html, report::html::page(&results))
        .map_err(|error| format!("{}: {error}", named(&options.html)))?;
    Ok(())
}

fn list_peers(options: &Peers) -> Outcome {
    if !options.build {
        for peer in PEERS {
            println!("{:<17} {:<11} {}", peer.name, peer.language, peer.about);
        }
        return Ok(());
    }
    let peers: Vec<_> = PEERS.iter().collect();
    let prepared = prepare(&peers);
    for prepared in &prepared {
        let (name, language) = (prepared.peer.name, prepared.peer.language);
        let version = prepared.version.as_deref().unwrap_or("-");
        let state = prepared.skipped().unwrap_or("ready");
        println!("{name:<17} {version:<32} {language:<11} {state}");
    }
    match failures(&prepared).as_slice() {
        [] => Ok(()),
        failures => Err(failures.join("\n").into()),
    }
}

fn prepare(peers: &[&'static Peer]) -> Vec<Prepared> {
    peers::prepare(peers, &mut |line| eprintln!("{line}"))
}

/// The peers that could not be built although their tools are there.
fn failures(prepared: &[Prepared]) -> Vec<String> {
    let mut failures: Vec<_> = prepared.iter().filter_map(Prepared::failed).collect();
    // All peers of one toolchain fail together.
    failures.dedup();
    failures
}

fn run_soak(options: &Soak) -> Outcome {
    let verdict = soak::run(options.length(), &mut |reading| eprintln!("{reading}"))?;
    if options.json {
        print_json(&verdict)?;
    } else {
        print!("{verdict}");
    }
    match verdict.complaints.len() {
        0 => Ok(()),
        count => Err(format!("the soak has {count} complaints").into()),
    }
}

fn print_json(value: &impl Serialize) -> Outcome {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
