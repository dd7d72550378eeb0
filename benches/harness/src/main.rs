//! The command line of the harness. Exit code 1 means that a load, a server or the machine failed, 2 a wrong option.

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use clap::Parser;
use ringwheel_harness::cli::{Cli, Command, Compare, Load, Syscalls, Target};
use ringwheel_harness::load;
use ringwheel_harness::machine::{self, Cpus};
use ringwheel_harness::measure::{Mode, Workload};
use ringwheel_harness::peers::{PEERS, ServerSpec};
use ringwheel_harness::report::{self, LoadSummary};
use ringwheel_harness::round::{self, Plan};
use ringwheel_harness::trace;
use serde::Serialize;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Load(load) => run_load(&load),
        Command::Compare(options) => compare(&options),
        Command::Syscalls(options) => syscalls(&options),
        Command::Peers => list_peers(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_load(load: &Load) -> Outcome {
    match load {
        Load::Echo(options) => print_load(&options.target, &options.workload()),
        Load::Open(options) => print_load(&options.target, &options.workload()),
        Load::Churn(options) => print_load(&options.target, &options.workload()),
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
    let closed_loop = !matches!(workload.mode, Mode::Open { .. });
    print!("{}", summary.text(workload.operation(), closed_loop));
    Ok(())
}

fn compare(options: &Compare) -> Outcome {
    let floor = ServerSpec::parse(&options.floor)?;
    let mut servers = vec![floor.clone()];
    for server in &options.servers {
        let server = ServerSpec::parse(server)?;
        if servers.iter().any(|other| other.name == server.name) {
            return Err(format!("two servers are called {}", server.name).into());
        }
        servers.push(server);
    }
    let plan = Plan {
        workload: options.workload(),
        servers,
        floor: Some(floor.name),
        rounds: options.rounds.max(1),
        retries: options.retries,
        patience: options.patience(),
    };
    let rounds = plan.rounds;
    if options.nice != 0 {
        machine::set_nice(options.nice)?;
    }
    let run = round::run(plan, Cpus::choose()?, |sample| {
        eprintln!("{}", report::progress_line(sample, rounds))
    })?;
    if let Some(file) = &options.json_file {
        fs::write(file, serde_json::to_string_pretty(&Results::of(&run))?)?;
    }
    if options.json {
        return print_json(&Results::of(&run));
    }
    print!("\n{}", report::table(&run));
    Ok(())
}

/// What a comparison writes as JSON: all samples, and what they sum up to.
#[derive(Serialize)]
struct Results<'a> {
    #[serde(flatten)]
    run: &'a round::Run,
    summary: Vec<report::Summary>,
}

impl<'a> Results<'a> {
    fn of(run: &'a round::Run) -> Self {
        Self {
            run,
            summary: report::summarise(run),
        }
    }
}

fn syscalls(options: &Syscalls) -> Outcome {
    let servers = options
        .servers
        .iter()
        .map(|server| ServerSpec::parse(server))
        .collect::<Result<Vec<_>, _>>()?;
    let (workload, cpus) = (options.workload(), Cpus::choose()?);
    let mut traces = Vec::new();
    for server in &servers {
        let trace = trace::trace(server, &workload, cpus)?;
        if !options.json {
            println!("{trace}");
        }
        traces.push(trace);
    }
    if options.json {
        print_json(&traces)
    } else {
        Ok(())
    }
}

fn list_peers() -> Outcome {
    for peer in PEERS {
        println!("{:<12} {}", peer.name, peer.about);
    }
    Ok(())
}

fn print_json(value: &impl Serialize) -> Outcome {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
