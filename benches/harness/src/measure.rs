//! One measurement: a fresh server, one load, and the counters at both ends of the window.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::certificates::Key;
use crate::disturbance::{Counters, Disturbance};
use crate::load::{
    self, BroadcastLoad, ChurnLoad, EchoLoad, Framing, Handshakes, LoadError, LoadReport, Observer,
    OpenLoad, SlowReadersLoad, Traffic, Trust, Until, thread_cpu_time,
};
use crate::machine::{self, Cpus};
use crate::peers::ServerSpec;
use crate::proc_fs::Memory;
use crate::process::{self, CpuTime, ServerProcess};
use crate::stats::Latency;

/// The kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Ping-pong with this many messages in flight per connection.
    Echo {
        /// Messages in flight per connection.
        in_flight: usize,
    },
    /// Messages at a fixed rate.
    Open {
        /// Messages per second over all connections.
        rate: u64,
    },
    /// Short connections.
    Churn,
    /// Short connections with TLS.
    Handshakes {
        /// True if the clients resume sessions by tickets, false if every handshake is full.
        resumed: bool,
    },
    /// WebSocket messages at a fixed rate, each sent to all connections.
    Broadcast {
        /// Messages published per second.
        rate: u64,
        /// Number of connections that do not read.
        #[serde(default)]
        stalled: usize,
    },
    /// Ping-pong beside clients that do not read.
    SlowReaders {
        /// Messages in flight per healthy connection.
        in_flight: usize,
        /// Clients that write and do not read.
        slow: usize,
    },
}

/// The load for the measurement of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The kind of load.
    pub mode: Mode,
    /// Connections held, or short ones at the same time.
    pub connections: usize,
    /// Payload bytes per message (fixed at 64 for churn).
    pub size: usize,
    /// The framing of messages.
    pub framing: Framing,
    /// True if every received byte is compared.
    pub verify: bool,
    /// The certificate that TLS clients trust; `None` without TLS.
    #[serde(default)]
    pub tls: Option<Trust>,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// The end of the window.
    pub until: Until,
}

impl Workload {
    /// Runs the load on the calling thread.
    ///
    /// # Errors
    /// The first failure ends the run.
    pub fn run(
        &self,
        address: SocketAddr,
        observer: &mut dyn Observer,
    ) -> Result<LoadReport, LoadError> {
        let (warm_up, until, framing) = (self.warm_up, self.until, self.framing);
        let connections = self.connections;
        let traffic = Traffic {
            address,
            connections,
            size: self.size,
            framing,
            verify: self.verify,
            tls: self.tls.clone(),
        };
        match self.mode {
            Mode::Echo { in_flight } => load::echo(
                &EchoLoad {
                    traffic,
                    in_flight,
                    warm_up,
                    until,
                },
                observer,
            ),
            Mode::Open { rate } => load::open(
                &OpenLoad {
                    traffic,
                    rate,
                    warm_up,
                    until,
                },
                observer,
            ),
            Mode::Churn | Mode::Handshakes { .. } => load::churn(
                &ChurnLoad {
                    address,
                    concurrency: connections,
                    framing,
                    handshakes: self.handshakes()?,
                    warm_up,
                    until,
                },
                observer,
            ),
            Mode::Broadcast { rate, stalled } => load::broadcast(
                &BroadcastLoad {
                    address,
                    subscribers: connections,
                    stalled,
                    size: self.size,
                    rate,
                    verify: self.verify,
                    tls: self.tls.clone(),
                    warm_up,
                    until,
                },
                observer,
            ),
            Mode::SlowReaders { in_flight, slow } => load::slow_readers(
                &SlowReadersLoad {
                    traffic,
                    in_flight,
                    slow,
                    warm_up,
                    until,
                },
                observer,
            ),
        }
    }

    /// The TLS of short connections. The modes with and without TLS have different names, because the figures mean
    /// different things.
    fn handshakes(&self) -> Result<Option<Handshakes>, LoadError> {
        match (self.mode, &self.tls) {
            (Mode::Handshakes { resumed }, Some(trust)) => Ok(Some(Handshakes {
                trust: trust.clone(),
                resumed,
            })),
            (Mode::Handshakes { .. }, None) => {
                Err(LoadError::Options("handshakes need --tls".into()))
            }
            (_, Some(_)) => Err(LoadError::Options(
                "churn goes without TLS; the mode with TLS is handshakes".into(),
            )),
            (_, None) => Ok(None),
        }
    }

    /// True if the server's memory is read while the window is open, because some clients do not read.
    pub fn watches_memory(&self) -> bool {
        matches!(self.mode, Mode::Broadcast { stalled: 1.., .. })
    }

    /// The name of one operation.
    pub fn operation(&self) -> &'static str {
        match self.mode {
            Mode::Churn | Mode::Handshakes { .. } => "connection",
            Mode::Broadcast { .. } => "delivery",
            Mode::Echo { .. } | Mode::Open { .. } | Mode::SlowReaders { .. } => "message",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, size, framing) = (self.connections, self.size, self.framing);
        match self.mode {
            Mode::Echo { in_flight } => write!(
                f,
                "echo, {connections} connections, {size} B {framing}, {in_flight} in flight"
            ),
            Mode::Open { rate } => write!(
                f,
                "open loop at {rate}/s, {connections} connections, {size} B {framing}"
            ),
            Mode::Churn => write!(
                f,
                "churn, {connections} connections at a time, one {framing} echo of 64 B each"
            ),
            Mode::Handshakes { resumed } => {
                let kind = if resumed { "resumed" } else { "full" };
                write!(
                    f,
                    "{kind} handshakes, {connections} connections at a time, one {framing} echo of 64 B each"
                )
            }
            Mode::Broadcast { rate, stalled } => {
                write!(f, "broadcast at {rate}/s, {connections} subscribers")?;
                if stalled > 0 {
                    write!(f, " of which {stalled} do not read")?;
                }
                write!(f, ", {size} B {framing}")
            }
            Mode::SlowReaders { in_flight, slow } => write!(
                f,
                "echo beside {slow} slow readers, {connections} connections, {size} B {framing}, {in_flight} in flight"
            ),
        }?;
        match &self.tls {
            None => Ok(()),
            Some(Trust::Own(Key::Ecdsa)) => f.write_str(", TLS"),
            Some(Trust::Own(Key::Rsa)) => f.write_str(", TLS with RSA"),
            Some(Trust::File(path)) => write!(f, ", TLS with {}", path.display()),
        }
    }
}

/// The results of one measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The server's name.
    pub server: String,
    /// The round, from 0.
    pub round: usize,
    /// Completed operations.
    pub operations: u64,
    /// Operations per second.
    pub rate: f64,
    /// Server CPU time per operation in microseconds, exact.
    pub cpu: f64,
    /// The part of it in user mode, estimated by sampling.
    pub cpu_user: f64,
    /// The part of it in the kernel, estimated by sampling.
    pub cpu_system: f64,
    /// The server's share of one CPU.
    pub server_share: f64,
    /// The generator's share of one CPU.
    pub load_share: f64,
    /// Latency of the operations.
    pub latency: Latency,
    /// The server's memory when the window closed.
    pub memory: Memory,
    /// The server's resident bytes while the window was open: at its beginning, after each tenth, and at its end. Empty
    /// unless the workload [watches](Workload::watches_memory) memory.
    #[serde(default)]
    pub resident_over_time: Vec<u64>,
    /// The CPU time that others used.
    pub disturbance: Disturbance,
}

/// The failure of a measurement, and its server.
#[derive(Debug)]
pub struct MeasureError {
    /// The server's name.
    pub server: String,
    /// The failure.
    pub cause: Cause,
}

/// The failure of a measurement.
#[derive(Debug)]
pub enum Cause {
    /// The server did not start, or the machine's counters could not be read.
    System(io::Error),
    /// The load failed.
    Load(LoadError),
}

impl fmt::Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::System(error) => write!(f, "{}: {error}", self.server),
            Cause::Load(error) => write!(f, "{}: {error}", self.server),
        }
    }
}

impl std::error::Error for MeasureError {}

/// Starts a fresh server on its CPU, puts the load on it from the load's CPU, and kills it.
///
/// # Errors
/// Fails when the server does not start, or the load fails.
pub fn measure(
    spec: &ServerSpec,
    workload: &Workload,
    cpus: Cpus,
    round: usize,
) -> Result<Sample, MeasureError> {
    let fail = |cause| MeasureError {
        server: spec.name.clone(),
        cause,
    };
    let server = ServerProcess::start(&spec.command, cpus.server)
        .map_err(|error| fail(Cause::System(error)))?;
    let mut meter = Meter {
        pid: server.pid(),
        cpus,
        watch: workload.watches_memory(),
        resident: Vec::new(),
        opened: None,
        closed: None,
    };
    let address = server.address();
    let report = machine::with_affinity(cpus.load, || workload.run(address, &mut meter))
        .map_err(|error| fail(Cause::System(error)))?
        .map_err(|error| fail(Cause::Load(error)))?;
    let memory = process::memory(server.pid()).map_err(|error| fail(Cause::System(error)))?;
    let (Some(opened), Some(closed)) = (meter.opened, meter.closed) else {
        unreachable!("a load that succeeds has opened and closed its window");
    };
    Ok(Sample {
        resident_over_time: meter.resident,
        ..sample(spec, round, &report, &opened, &closed, memory)
    })
}

fn sample(
    spec: &ServerSpec,
    round: usize,
    report: &LoadReport,
    opened: &Reading,
    closed: &Reading,
    memory: Memory,
) -> Sample {
    let running = closed.server.scheduled.running - opened.server.scheduled.running;
    let own = running + (closed.load - opened.load);
    let user = closed.server.ticks.user - opened.server.ticks.user;
    let system = closed.server.ticks.system - opened.server.ticks.system;
    let user_part = user as f64 / (user + system).max(1) as f64;
    let cpu = running.as_secs_f64() * 1e6 / report.operations.max(1) as f64;
    Sample {
        server: spec.name.clone(),
        round,
        operations: report.operations,
        rate: report.rate(),
        cpu,
        cpu_user: cpu * user_part,
        cpu_system: cpu * (1.0 - user_part),
        server_share: running.as_secs_f64() / report.elapsed.as_secs_f64(),
        load_share: report.load_share(),
        latency: Latency::of(&report.latency),
        memory,
        resident_over_time: Vec::new(),
        disturbance: opened.machine.disturbance(&closed.machine, own),
    }
}

/// All counters at one moment.
struct Reading {
    machine: Counters,
    server: CpuTime,
    load: Duration,
}

/// Reads the counters when the window opens and closes.
struct Meter {
    pid: u32,
    cpus: Cpus,
    /// True if memory is read, too.
    watch: bool,
    resident: Vec<u64>,
    opened: Option<Reading>,
    closed: Option<Reading>,
}

impl Meter {
    fn read(&self) -> io::Result<Reading> {
        Ok(Reading {
            machine: Counters::read(self.cpus)?,
            load: thread_cpu_time(),
            server: process::cpu_time(self.pid)?,
        })
    }

    fn look_at_memory(&mut self) -> io::Result<()> {
        if self.watch {
            self.resident.push(process::memory(self.pid)?.resident);
        }
        Ok(())
    }
}

impl Observer for Meter {
    fn window_opens(&mut self) -> io::Result<()> {
        self.look_at_memory()?;
        self.opened = Some(self.read()?);
        Ok(())
    }

    fn window_goes_on(&mut self) -> io::Result<()> {
        self.look_at_memory()
    }

    fn window_closes(&mut self) -> io::Result<()> {
        self.closed = Some(self.read()?);
        self.look_at_memory()
    }
}
