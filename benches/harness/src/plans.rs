//! The scenarios of the two campaigns: `quick` takes three minutes, and `full` up to an hour.

use std::time::Duration;

use crate::certificates::Key;
use crate::load::{Framing, Trust, Until};
use crate::measure::{Mode, Workload};
use crate::peers::{Peer, Prepared, ServerOptions, ServerSpec};
use crate::scenario::{Hold, Scenario, Section, Task};

/// The server that the TCP servers are compared with.
pub const TCP_FLOOR: &str = "mio";
/// The server that the WebSocket servers are compared with.
pub const WEBSOCKET_FLOOR: &str = "epoll-websocket";
/// The server that the servers with TLS are compared with.
pub const TLS_FLOOR: &str = "mio-tls-unbuffered";

/// Connections in most scenarios.
const CONNECTIONS: usize = 100;
/// Payload of most messages, in bytes.
const SIZE: usize = 64;
/// Connections in scenarios with messages up to a mebibyte, so that the socket buffers do not fill a small machine.
const LARGE_CONNECTIONS: usize = 10;
/// Connections held to measure their memory.
const HELD: usize = 10_000;
/// WebSocket connections held to measure their memory. They fit below a hard limit of 20,000 descriptors, which is
/// common.
const HELD_WEBSOCKETS: usize = 15_000;
/// Size in bytes of the documents that are sent deflated.
const DOCUMENT: usize = 1024;
/// The large broadcast: payload, subscribers, messages per second.
const LARGE_BROADCAST: (usize, usize, u64) = (128, 5_000, 10);
/// The broadcast in which one subscriber in ten does not read: payload, subscribers, messages per second.
const STALLED_BROADCAST: (usize, usize, u64) = (1024, 1_000, 50);
/// By the end of this warm-up the kernel's buffers for the subscribers that do not read are full ...
const STALLED_WARM_UP: Duration = Duration::from_secs(3);
/// ... and within this window a server that keeps everything grows visibly.
const STALLED_WINDOW: Duration = Duration::from_secs(6);

/// The server that the others with `options` are compared with. There is none for WebSocket messages that are deflated or
/// go over TLS, because no floor supports them.
pub fn floor(options: &ServerOptions) -> Option<&'static str> {
    match (options.framing, options.tls) {
        (Framing::Raw, Some(_)) => Some(TLS_FLOOR),
        (Framing::Raw | Framing::LengthPrefixed | Framing::Lines, None) => Some(TCP_FLOOR),
        (Framing::WebSocket, None) => Some(WEBSOCKET_FLOOR),
        _ => None,
    }
}

/// The servers in the scaling sections: the floor, and one of each kind.
const SCALED: &[&str] = &[
    "ringwheel",
    "mio",
    "tokio",
    "monoio",
    "gnet",
    "go-net",
    "libuv",
];

/// The peers of the quick campaign: those that a Rust toolchain alone can build.
pub const QUICK: &[&str] = &["ringwheel", "mio", "epoll", "io-uring", "tokio", "monoio"];

/// The length of each measurement.
#[derive(Clone, Copy, Debug)]
struct Pace {
    warm_up: Duration,
    window: Duration,
    rounds: usize,
}

/// The scenarios that show the most.
pub fn quick(prepared: &[Prepared], rounds: usize) -> Vec<Scenario> {
    let pace = Pace {
        warm_up: Duration::from_millis(150),
        window: Duration::from_millis(400),
        rounds,
    };
    let planner = Planner { prepared, pace };
    with_servers(vec![
        planner.echo(Framing::Raw, SIZE, 1),
        planner.echo(Framing::Raw, SIZE, 16),
        planner.echo(Framing::LengthPrefixed, SIZE, 16),
        planner.open(Framing::Raw, 50_000),
        planner.memory(Framing::Raw, 2_000, None),
    ])
}

/// All scenarios.
pub fn full(prepared: &[Prepared], rounds: usize) -> Vec<Scenario> {
    let pace = Pace {
        warm_up: Duration::from_millis(300),
        window: Duration::from_millis(800),
        rounds,
    };
    let planner = Planner { prepared, pace };
    let mut scenarios = planner.echoes();
    scenarios.extend([
        planner.open(Framing::Raw, 50_000),
        planner.open(Framing::LengthPrefixed, 50_000),
        planner.websocket(Framing::WebSocket, SIZE, 1),
        planner.websocket(Framing::WebSocket, SIZE, 16),
        planner.websocket(Framing::WebSocket, 16 * 1024, 1),
        planner.websocket(Framing::WebSocketDeflate, DOCUMENT, 1),
        planner.tls_echo(Framing::Raw, SIZE, 1),
        planner.tls_echo(Framing::Raw, SIZE, 16),
        planner.tls_echo(Framing::Raw, 16 * 1024, 1),
        planner.tls_echo(Framing::WebSocket, SIZE, 1),
        planner.tls_echo(Framing::WebSocket, SIZE, 16),
        planner.broadcast((SIZE, CONNECTIONS, 500), None),
        planner.broadcast((SIZE, CONNECTIONS, 500), Some(Key::Ecdsa)),
        planner.broadcast(LARGE_BROADCAST, None),
        planner.stalled_broadcast(),
        planner.slow_readers(),
        planner.memory(Framing::Raw, HELD, None),
        planner.memory(Framing::Raw, HELD, Some(Key::Ecdsa)),
        planner.memory(Framing::WebSocket, HELD_WEBSOCKETS, None),
        planner.memory(Framing::WebSocketDeflate, HELD_WEBSOCKETS, None),
    ]);
    scenarios.extend(planner.counts());
    scenarios.extend(planner.scaling());
    // Short connections come last: their remains in the kernel would disturb measurements of memory for a minute.
    scenarios.extend([
        planner.churn(),
        planner.handshakes(Key::Ecdsa, false),
        planner.handshakes(Key::Rsa, false),
        planner.handshakes(Key::Ecdsa, true),
    ]);
    with_servers(scenarios)
}

/// Keeps scenarios with at least one server, and their floor only if it takes part.
fn with_servers(mut scenarios: Vec<Scenario>) -> Vec<Scenario> {
    scenarios.retain(|scenario| !scenario.servers.is_empty());
    for scenario in &mut scenarios {
        let mut servers = scenario.servers.iter().map(|server| server.name.as_str());
        let floor = servers.find(|name| [TCP_FLOOR, WEBSOCKET_FLOOR, TLS_FLOOR].contains(name));
        scenario.floor = floor.map(str::to_owned);
    }
    scenarios
}

struct Planner<'a> {
    prepared: &'a [Prepared],
    pace: Pace,
}

impl Planner<'_> {
    fn echoes(&self) -> Vec<Scenario> {
        use Framing::{LengthPrefixed, Lines, Raw};
        [
            (Raw, SIZE, 1),
            (Raw, SIZE, 16),
            (Raw, 1024, 1),
            (Raw, 16 * 1024, 1),
            (LengthPrefixed, SIZE, 1),
            (LengthPrefixed, SIZE, 16),
            (LengthPrefixed, 1024, 1),
            (LengthPrefixed, 16 * 1024, 1),
            (Lines, SIZE, 1),
            (Lines, SIZE, 16),
        ]
        .map(|(framing, size, in_flight)| self.echo(framing, size, in_flight))
        .into()
    }

    fn echo(&self, framing: Framing, size: usize, in_flight: usize) -> Scenario {
        let section = match framing {
            Framing::Raw => Section::Echo,
            Framing::LengthPrefixed | Framing::Lines => Section::Framed,
            Framing::WebSocket | Framing::WebSocketDeflate => Section::WebSocket,
        };
        let mut scenario = self.scenario(
            format!("echo-{framing}-{size}-{in_flight}"),
            section,
            echo_title(framing, size, in_flight),
            Task::Load(self.workload(Mode::Echo { in_flight }, CONNECTIONS, size, framing)),
        );
        scenario.servers = self.servers(framing, |_| true);
        scenario
    }

    fn open(&self, framing: Framing, rate: u64) -> Scenario {
        let mut scenario = self.scenario(
            format!("open-{framing}-{rate}"),
            Section::Open,
            format!("{SIZE} B {framing}, {rate} messages/s"),
            Task::Load(self.workload(Mode::Open { rate }, CONNECTIONS, SIZE, framing)),
        );
        scenario.servers = self.servers(framing, |_| true);
        scenario
    }

    fn websocket(&self, framing: Framing, size: usize, in_flight: usize) -> Scenario {
        let mut scenario = self.echo(framing, size, in_flight);
        scenario.id = format!("{framing}-{size}-{in_flight}").to_lowercase();
        scenario
    }

    /// An echo over TLS: `tls-echo-64-1`, or `wss-echo-64-1` for WebSocket.
    fn tls_echo(&self, framing: Framing, size: usize, in_flight: usize) -> Scenario {
        let key = Key::Ecdsa;
        let workload = self.workload(Mode::Echo { in_flight }, CONNECTIONS, size, framing);
        let scheme = scheme(framing);
        let mut scenario = self.scenario(
            format!("{scheme}-echo-{size}-{in_flight}"),
            Section::Tls,
            echo_title(framing, size, in_flight),
            Task::Load(Workload {
                tls: Some(Trust::Own(key)),
                ..workload
            }),
        );
        scenario.servers = self.servers_with(&encrypted(framing, Some(key)), |_| true);
        scenario
    }

    fn handshakes(&self, key: Key, resumed: bool) -> Scenario {
        let concurrency = 50;
        let (name, title) = match (key, resumed) {
            (Key::Ecdsa, false) => ("ecdsa", "full, ECDSA P-256"),
            (Key::Rsa, false) => ("rsa", "full, RSA-2048"),
            (_, true) => ("resumed", "resumed by tickets"),
        };
        let mode = Mode::Handshakes { resumed };
        let workload = self.workload(mode, concurrency, SIZE, Framing::Raw);
        let mut scenario = self.scenario(
            format!("handshakes-{name}-{concurrency}"),
            Section::Handshakes,
            format!("{title}, {concurrency} at a time"),
            Task::Load(Workload {
                tls: Some(Trust::Own(key)),
                ..workload
            }),
        );
        scenario.servers = self.servers_with(&encrypted(Framing::Raw, Some(key)), |_| true);
        scenario
    }

    fn broadcast(
        &self,
        (size, subscribers, rate): (usize, usize, u64),
        tls: Option<Key>,
    ) -> Scenario {
        let mode = Mode::Broadcast { rate, stalled: 0 };
        let (scheme, over) = match tls {
            Some(_) => ("wss-", " over TLS"),
            None => ("", ""),
        };
        let mut scenario = self.scenario(
            format!("{scheme}broadcast-{size}-{subscribers}"),
            Section::Broadcast,
            format!("{size} B to {subscribers} subscribers{over}, {rate} messages/s"),
            Task::Load(Workload {
                tls: tls.map(Trust::Own),
                ..self.workload(mode, subscribers, size, Framing::WebSocket)
            }),
        );
        let options = ServerOptions {
            broadcast: true,
            ..encrypted(Framing::WebSocket, tls)
        };
        scenario.servers = self.servers_with(&options, |_| true);
        scenario
    }

    fn stalled_broadcast(&self) -> Scenario {
        let (size, subscribers, rate) = STALLED_BROADCAST;
        let stalled = subscribers / 10;
        let mode = Mode::Broadcast { rate, stalled };
        let mut scenario = self.broadcast(STALLED_BROADCAST, None);
        scenario.id = format!("broadcast-stalled-{size}-{subscribers}");
        scenario.title = format!("{}, {stalled} do not read", scenario.title);
        scenario.task = Task::Load(Workload {
            warm_up: STALLED_WARM_UP,
            until: Until::Elapsed(STALLED_WINDOW),
            ..self.workload(mode, subscribers, size, Framing::WebSocket)
        });
        scenario.rounds = 1;
        scenario
    }

    fn churn(&self) -> Scenario {
        let concurrency = 50;
        let mut scenario = self.scenario(
            format!("churn-{concurrency}"),
            Section::Churn,
            format!("{concurrency} at a time"),
            Task::Load(self.workload(Mode::Churn, concurrency, SIZE, Framing::Raw)),
        );
        scenario.servers = self.servers(Framing::Raw, |_| true);
        scenario
    }

    fn slow_readers(&self) -> Scenario {
        let slow = 10;
        let mode = Mode::SlowReaders { in_flight: 1, slow };
        let mut scenario = self.scenario(
            format!("slow-readers-{slow}"),
            Section::SlowReaders,
            format!("{CONNECTIONS} healthy connections, {slow} that do not read"),
            Task::Load(self.workload(mode, CONNECTIONS, SIZE, Framing::Raw)),
        );
        scenario.servers = self.servers(Framing::Raw, |_| true);
        scenario
    }

    fn memory(&self, framing: Framing, connections: usize, tls: Option<Key>) -> Scenario {
        let (name, over) = match tls {
            Some(_) => (scheme(framing).to_owned(), " over TLS"),
            None => (framing.to_string(), ""),
        };
        let mut scenario = self.scenario(
            format!("memory-{name}-{connections}"),
            Section::Memory,
            format!("{connections} {framing} connections{over}"),
            Task::Hold(Hold {
                connections,
                framing,
                tls,
            }),
        );
        scenario.servers = self.servers_with(&encrypted(framing, tls), |_| true);
        scenario.rounds = 1;
        scenario
    }

    /// The scenarios that count instead of measuring time; each runs once.
    fn counts(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for (framing, in_flight) in [
            (Framing::Raw, 1),
            (Framing::Raw, 16),
            (Framing::LengthPrefixed, 16),
        ] {
            let workload = Workload {
                until: Until::Operations(20_000),
                ..self.workload(Mode::Echo { in_flight }, CONNECTIONS, SIZE, framing)
            };
            let title = echo_title(framing, SIZE, in_flight);
            let id = format!("{framing}-{SIZE}-{in_flight}");
            let mut instructions = self.scenario(
                format!("instructions-{id}"),
                Section::Instructions,
                title.clone(),
                Task::Instructions(workload.clone()),
            );
            instructions.servers = self.servers(framing, |peer| peer.under_callgrind());
            let mut syscalls = self.scenario(
                format!("syscalls-{id}"),
                Section::Syscalls,
                title,
                Task::Syscalls(workload),
            );
            syscalls.servers = self.servers(framing, |_| true);
            scenarios.extend([instructions, syscalls]);
        }
        scenarios.sort_by_key(|scenario| scenario.section);
        for scenario in &mut scenarios {
            scenario.rounds = 1;
        }
        scenarios
    }

    fn scaling(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for connections in [1, 10, 100, 1_000, 10_000] {
            let mode = Mode::Echo { in_flight: 1 };
            let workload = self.workload(mode, connections, SIZE, Framing::Raw);
            let servers = self.servers(Framing::Raw, is_scaled);
            scenarios.push(self.point(Section::Connections, connections, workload, servers));
        }
        for size in [16, 256, 4 << 10, 64 << 10, 1 << 20] {
            let mode = Mode::Echo { in_flight: 1 };
            let workload = self.workload(mode, LARGE_CONNECTIONS, size, Framing::Raw);
            let servers = self.servers(Framing::Raw, is_scaled);
            scenarios.push(self.point(Section::Sizes, size, workload, servers));
        }
        for workers in [1, 2] {
            let mode = Mode::Echo { in_flight: 16 };
            let workload = self.workload(mode, CONNECTIONS, SIZE, Framing::Raw);
            let options = ServerOptions {
                workers,
                ..ServerOptions::framed(Framing::Raw)
            };
            let servers = self.servers_with(&options, |peer| peer.many_workers);
            let mut scenario = self.point(Section::Workers, workers, workload, servers);
            scenario.spread = true;
            scenarios.push(scenario);
        }
        for timers in [1_000, 10_000, 100_000, 1_000_000] {
            let mode = Mode::Open { rate: 20_000 };
            let workload = self.workload(mode, CONNECTIONS, SIZE, Framing::Raw);
            let options = ServerOptions {
                timers,
                ..ServerOptions::framed(Framing::Raw)
            };
            let servers = self.servers_with(&options, |peer| peer.timers);
            scenarios.push(self.point(Section::Timers, timers, workload, servers));
        }
        scenarios
    }

    /// One point on the axis of a scaling section.
    fn point(
        &self,
        section: Section,
        scale: usize,
        workload: Workload,
        servers: Vec<ServerSpec>,
    ) -> Scenario {
        let (name, unit) = match section {
            Section::Connections => ("connections", "connections"),
            Section::Sizes => ("sizes", "B"),
            Section::Workers => ("workers", "workers"),
            _ => ("timers", "timers"),
        };
        let mut scenario = self.scenario(
            format!("{name}-{scale}"),
            section,
            format!("{scale} {unit}"),
            Task::Load(workload),
        );
        scenario.scale = Some(scale as u64);
        scenario.rounds = self.pace.rounds.min(3);
        scenario.servers = servers;
        scenario
    }

    /// A scenario without servers yet, with the campaign's measuring times.
    fn scenario(&self, id: String, section: Section, title: String, task: Task) -> Scenario {
        let id = id.to_lowercase();
        Scenario {
            id,
            section,
            title,
            scale: None,
            task,
            servers: Vec::new(),
            floor: None,
            rounds: self.pace.rounds,
            spread: false,
        }
    }

    fn workload(&self, mode: Mode, connections: usize, size: usize, framing: Framing) -> Workload {
        Workload {
            mode,
            connections,
            size,
            framing,
            verify: true,
            tls: None,
            warm_up: self.pace.warm_up,
            until: Until::Elapsed(self.pace.window),
        }
    }

    fn servers(&self, framing: Framing, takes_part: impl Fn(&Peer) -> bool) -> Vec<ServerSpec> {
        self.servers_with(&ServerOptions::framed(framing), takes_part)
    }

    /// The prepared peers that support the options and take part.
    fn servers_with(
        &self,
        options: &ServerOptions,
        takes_part: impl Fn(&Peer) -> bool,
    ) -> Vec<ServerSpec> {
        self.prepared
            .iter()
            .filter(|prepared| takes_part(prepared.peer))
            .filter_map(|prepared| prepared.server(options))
            .collect()
    }
}

/// The default options with this framing, and with TLS if there is a key.
fn encrypted(framing: Framing, tls: Option<Key>) -> ServerOptions {
    ServerOptions {
        tls,
        ..ServerOptions::framed(framing)
    }
}

/// The name of a framing over TLS.
fn scheme(framing: Framing) -> &'static str {
    match framing.is_websocket() {
        true => "wss",
        false => "tls",
    }
}

fn is_scaled(peer: &Peer) -> bool {
    SCALED.contains(&peer.name)
}

fn echo_title(framing: Framing, size: usize, in_flight: usize) -> String {
    let size = if size >= 1024 && size % 1024 == 0 {
        format!("{} KiB", size / 1024)
    } else {
        format!("{size} B")
    };
    format!("{size} {framing}, {in_flight} in flight")
}

#[cfg(test)]
mod tests;
