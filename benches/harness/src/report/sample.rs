//! Made-up results of every section, for the tests of the reports and for previews.

use std::time::Duration;

use crate::disturbance::Disturbance;
use crate::instructions::Instructions;
use crate::load::{Framing, IdleReport, Until};
use crate::machine::{Cpus, Machine};
use crate::measure::{Mode, Sample, Workload};
use crate::peers::Contestant;
use crate::peers::ServerSpec;
use crate::proc_fs::{KernelMemory, Memory};
use crate::results::{Circumstances, Found, Record, Results};
use crate::scenario::{Hold, Scenario, Section, Task};
use crate::stats::Latency;
use crate::trace::{Trace, Tracer};

/// Made-up name, language and relative cost of each server.
const TCP: [(&str, &str, f64); 14] = [
    ("mio", "Rust", 1.0),
    ("ringwheel", "Rust", 1.05),
    ("epoll", "Rust", 0.97),
    ("io-uring", "Rust", 0.81),
    ("tokio", "Rust", 1.31),
    ("tokio-mt", "Rust", 1.74),
    ("monoio", "Rust", 1.03),
    ("gev", "Go", 1.42),
    ("gnet", "Go", 1.38),
    ("nbio", "Go", 1.61),
    ("getty", "Go", 2.45),
    ("go-net", "Go", 2.02),
    ("libuv", "C", 1.22),
    ("libevent", "C", 1.36),
];
const WEBSOCKET: [(&str, &str, f64); 9] = [
    ("epoll-websocket", "Rust", 1.0),
    ("ringwheel", "Rust", 1.12),
    ("tokio-tungstenite", "Rust", 1.93),
    ("fastwebsockets", "Rust", 1.47),
    ("gws", "Go", 1.9),
    ("nbio-websocket", "Go", 2.3),
    ("gorilla", "Go", 3.1),
    ("gev-websocket", "Go", 2.2),
    ("ws", "JavaScript", 14.0),
];
const ROUNDS: usize = 3;

/// A campaign of all sections, with a server that fails, disturbed rounds, and a peer that takes no part.
pub(super) fn sample_results() -> Results {
    let scenarios = scenarios();
    let records = scenarios
        .iter()
        .flat_map(|scenario| (0..scenario.rounds).map(move |round| (scenario, round)))
        .flat_map(|(scenario, round)| {
            scenario.servers.iter().map(move |server| Record {
                scenario: scenario.id.clone(),
                server: server.name.clone(),
                round,
                found: found(scenario, &server.name, round),
            })
        })
        .collect();
    Results {
        circumstances: circumstances(),
        scenarios,
        records,
    }
}

fn circumstances() -> Circumstances {
    let servers = TCP
        .iter()
        .chain(WEBSOCKET.iter().filter(|(name, ..)| *name != "ringwheel"));
    let mut contestants: Vec<Contestant> = servers
        .map(|(name, language, _)| Contestant {
            name: (*name).to_owned(),
            about: format!("made up: what {name} is, in a few words"),
            language: (*language).to_owned(),
            version: (!name.starts_with("epoll")).then(|| "1.2.3".to_owned()),
            skipped: None,
            program: None,
        })
        .collect();
    contestants.push(Contestant {
        name: "netty".into(),
        about: "made up: one that takes no part".into(),
        language: "Java".into(),
        version: None,
        skipped: Some("no java on this machine".into()),
        program: None,
    });
    Circumstances {
        date: "2026-11-21".into(),
        command: "ringwheel-harness campaign --rounds 3 --seconds 4 --nice -20 --html report.html"
            .into(),
        machine: Machine {
            cpu: "Synthetic CPU @ 2.50GHz".into(),
            cpus: 2,
            kernel: "6.12.0".into(),
        },
        cpus: Cpus {
            server: Some(0),
            load: Some(1),
        },
        contestants,
    }
}

fn scenario(section: Section, title: &str, scale: Option<u64>, task: Task) -> Scenario {
    let of_websocket = matches!(section, Section::WebSocket | Section::Broadcast);
    let names = if of_websocket {
        &WEBSOCKET[..]
    } else {
        &TCP[..]
    };
    let servers = names.iter().filter(|(_, language, _)| {
        section != Section::Instructions || *language == "Rust" || *language == "C"
    });
    let servers: Vec<ServerSpec> = servers
        .map(|(name, ..)| ServerSpec {
            name: (*name).to_owned(),
            command: format!("./{name} --addr {{addr}}"),
        })
        .collect();
    let slug = title.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
    Scenario {
        id: format!("{section:?}-{slug}").to_lowercase(),
        section,
        title: title.to_owned(),
        scale,
        task,
        floor: Some(servers[0].name.clone()),
        servers,
        rounds: ROUNDS,
        spread: section == Section::Workers,
    }
}

pub(super) fn workload(mode: Mode, connections: usize, size: usize, framing: Framing) -> Workload {
    Workload {
        mode,
        connections,
        size,
        framing,
        verify: true,
        tls: None,
        warm_up: Duration::from_secs(1),
        until: Until::Elapsed(Duration::from_secs(4)),
    }
}

fn scenarios() -> Vec<Scenario> {
    let echo = |in_flight| Mode::Echo { in_flight };
    let load =
        |mode, connections, size, framing| Task::Load(workload(mode, connections, size, framing));
    let (raw, prefixed, socket) = (Framing::Raw, Framing::LengthPrefixed, Framing::WebSocket);
    let mut all = vec![
        scenario(
            Section::Echo,
            "64 B, 1 in flight",
            None,
            load(echo(1), 100, 64, raw),
        ),
        scenario(
            Section::Echo,
            "64 B, 32 in flight",
            None,
            load(echo(32), 100, 64, raw),
        ),
        scenario(
            Section::Echo,
            "16 KiB, 1 in flight",
            None,
            load(echo(1), 100, 16_384, raw),
        ),
        scenario(
            Section::Framed,
            "64 B, 1 in flight",
            None,
            load(echo(1), 100, 64, prefixed),
        ),
        scenario(
            Section::Framed,
            "64 B, 32 in flight",
            None,
            load(echo(32), 100, 64, prefixed),
        ),
        scenario(
            Section::Open,
            "20 000/s",
            None,
            load(Mode::Open { rate: 20_000 }, 100, 64, raw),
        ),
        scenario(
            Section::WebSocket,
            "64 B, 1 in flight",
            None,
            load(echo(1), 100, 64, socket),
        ),
        scenario(
            Section::Broadcast,
            "20/s to 500",
            None,
            load(
                Mode::Broadcast {
                    rate: 20,
                    stalled: 50,
                },
                500,
                64,
                socket,
            ),
        ),
        scenario(
            Section::Churn,
            "one echo each",
            None,
            load(Mode::Churn, 32, 64, raw),
        ),
        scenario(
            Section::SlowReaders,
            "beside 50 slow readers",
            None,
            load(
                Mode::SlowReaders {
                    in_flight: 1,
                    slow: 50,
                },
                100,
                64,
                raw,
            ),
        ),
        scenario(
            Section::Memory,
            "5000 idle connections",
            None,
            Task::Hold(Hold {
                connections: 5000,
                framing: raw,
                tls: None,
            }),
        ),
        scenario(
            Section::Instructions,
            "64 B, 1 in flight",
            None,
            Task::Instructions(workload(echo(1), 10, 64, raw)),
        ),
        scenario(
            Section::Syscalls,
            "64 B, 1 in flight",
            None,
            Task::Syscalls(workload(echo(1), 10, 64, raw)),
        ),
    ];
    for connections in [10, 100, 1000, 10_000] {
        let title = format!("{connections} connections");
        let task = load(echo(1), connections, 64, raw);
        all.push(scenario(
            Section::Connections,
            &title,
            Some(connections as u64),
            task,
        ));
    }
    for size in [64, 1024, 16_384, 262_144] {
        let title = format!("{size} B");
        all.push(scenario(
            Section::Sizes,
            &title,
            Some(size as u64),
            load(echo(1), 50, size, raw),
        ));
    }
    for workers in [1, 2] {
        let title = format!("{workers} workers");
        all.push(scenario(
            Section::Workers,
            &title,
            Some(workers),
            load(echo(1), 50, 64, raw),
        ));
    }
    for timers in [0, 1000, 100_000] {
        let title = format!("{timers} timers");
        let task = load(Mode::Open { rate: 5000 }, 50, 64, raw);
        all.push(scenario(Section::Timers, &title, Some(timers), task));
    }
    all
}

/// Resident bytes of a server that keeps output that is not read, as the floor does here, or drops it.
fn course(server: &str, tenth: u64) -> u64 {
    let keeps = server == WEBSOCKET[0].0;
    let kept = if keeps { 3 * tenth } else { tenth.min(4) };
    (10 + kept) << 20
}

/// A number between 0 and 1, the same in each run.
fn noise(scenario: &str, server: &str, round: usize) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in scenario.bytes().chain(server.bytes()).chain([round as u8]) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    ((hash ^ (hash >> 29)) % 1000) as f64 / 1000.0
}

fn found(scenario: &Scenario, server: &str, round: usize) -> Found {
    if scenario.section == Section::Churn && server == "getty" {
        return Found::Failure("connection 31: no answer within 5 s".into());
    }
    let mut names = TCP.iter().chain(&WEBSOCKET);
    let dear = names
        .find(|(name, ..)| *name == server)
        .map_or(1.0, |(_, _, dear)| *dear);
    let dear = dear * (1.0 + 0.2 * (noise(&scenario.id, server, 9) - 0.5));
    let dear = dear * (1.0 + 0.06 * (noise(&scenario.id, server, round) - 0.5));
    match &scenario.task {
        Task::Load(workload) => Found::Load(sample(scenario, workload, server, round, dear)),
        Task::Hold(hold) => Found::Memory(idle_report(hold, dear)),
        Task::Instructions(_) => Found::Instructions(Instructions {
            server: server.to_owned(),
            operations: 20_000,
            instructions: (dear * dear * 310.0 * 20_000.0) as u64,
        }),
        Task::Syscalls(_) => Found::Syscalls(Trace {
            server: server.to_owned(),
            tracer: if server == "libuv" {
                Tracer::Strace
            } else {
                Tracer::Perf
            },
            operations: 20_000,
            calls: vec![
                ("recvfrom".into(), 20_000 + (dear * 6000.0) as u64),
                ("sendto".into(), 20_000),
                ("epoll_wait".into(), (dear * 1700.0) as u64),
            ],
        }),
    }
}

fn idle_report(hold: &Hold, dear: f64) -> IdleReport {
    let connections = hold.connections as f64;
    let before = 4_000_000;
    let user = |bytes: f64| Memory {
        resident: before + (bytes * connections) as u64,
        anonymous: before / 2 + (bytes * 0.9 * connections) as u64,
    };
    let kernel = |bytes: f64| KernelMemory {
        slab: 90_000_000 + (bytes * connections) as u64,
        sockets: 8192,
    };
    let user_bytes = 300.0 * (dear - 0.7).max(0.05) * dear.powi(4);
    IdleReport {
        connections: hold.connections,
        before: Memory {
            resident: before,
            anonymous: before / 2,
        },
        connected: user(user_bytes * 0.8),
        exchanged: Some(user(user_bytes)),
        before_kernel: kernel(0.0),
        connected_kernel: kernel(5100.0),
        exchanged_kernel: Some(kernel(5100.0 + 40.0 * dear)),
    }
}

fn sample(
    scenario: &Scenario,
    workload: &Workload,
    server: &str,
    round: usize,
    dear: f64,
) -> Sample {
    let (in_flight, rate) = match workload.mode {
        Mode::Echo { in_flight } | Mode::SlowReaders { in_flight, .. } => (in_flight as f64, None),
        Mode::Open { rate } => (1.0, Some(rate as f64)),
        Mode::Broadcast { rate, .. } => (1.0, Some(rate as f64 * workload.connections as f64)),
        Mode::Churn | Mode::Handshakes { .. } => (0.1, None),
    };
    let timers = if scenario.section == Section::Timers {
        scenario.scale.unwrap_or(0)
    } else {
        0
    };
    let size = workload.size as f64;
    let cpu = dear * (0.2 + 3.0 / in_flight.sqrt() + size / 4000.0)
        + timers as f64 / 60_000.0 * (dear - 0.9).max(0.02);
    let crowded = 1.0 + (workload.connections as f64).log10() * 0.05;
    let cpu = cpu * crowded;
    let user = 0.12 + 0.1 * dear.min(5.0);
    let rate = rate.unwrap_or(1e6 / (cpu + 2.2));
    let p50 = if workload.mode == Mode::Churn {
        400.0
    } else {
        cpu * 4.0 + 20.0
    };
    let curve = [
        0.7,
        0.85,
        1.0,
        1.15,
        1.4,
        2.2 * dear,
        5.0 * dear,
        14.0 * dear,
        30.0 * dear,
    ]
    .map(|factor| factor * p50);
    let disturbed = round == 1 && noise(&scenario.id, server, 77) > 0.93;
    Sample {
        server: server.to_owned(),
        round,
        operations: (rate * 4.0) as u64,
        rate,
        cpu,
        cpu_user: cpu * user,
        cpu_system: cpu * (1.0 - user),
        server_share: (cpu * rate / 1e6).min(1.0),
        load_share: (2.2 * rate / 1e6 * 2.4).min(0.99),
        latency: Latency {
            p50: curve[2],
            p90: curve[4],
            p99: curve[5],
            p999: curve[6],
            max: curve[8],
            curve,
        },
        memory: Memory {
            resident: 4_000_000 + (dear * 1.5e6) as u64,
            anonymous: 1_000_000 + (dear * 1.3e6) as u64,
        },
        resident_over_time: if workload.watches_memory() {
            (0..=10).map(|tenth| course(server, tenth)).collect()
        } else {
            Vec::new()
        },
        disturbance: Disturbance {
            steal: if disturbed { 0.08 } else { 0.001 },
            foreign: 0.01,
        },
    }
}
