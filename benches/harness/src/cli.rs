//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::campaign::Care;
use crate::load::{Framing, IdleLoad, Until};
use crate::measure::{Mode, Workload};
use crate::peers::ServerOptions;
use crate::plans;

/// Measures ringwheel and its peers side by side, or puts load on any server.
#[derive(Debug, Parser)]
#[command(name = "ringwheel-harness", version)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare ringwheel with the floors and the Rust peers, in three minutes
    Quick(Campaign),
    /// Compare ringwheel with every peer in every mode, in up to an hour; resumes an interrupted run
    Full(Campaign),
    /// Start servers in turn, put one load on each, and compare
    Compare(Compare),
    /// Put load on a server that is running
    #[command(subcommand)]
    Load(Load),
    /// Count the system calls of servers per message, or per short connection
    Syscalls(Count),
    /// Count the instructions that servers execute in user mode per message, by callgrind
    Instructions(Count),
    /// Make the HTML report of a results.json again
    Report(Report),
    /// List the peers that come with the harness
    Peers(Peers),
    /// Put a mixed load with faults on ringwheel for minutes or hours, and check that no resource is leaked
    Soak(Soak),
    /// The server process that `soak` starts
    #[command(hide = true)]
    SoakServer,
}

/// `peers`
#[derive(Debug, Args)]
pub struct Peers {
    /// Build everything that can be built, and print versions and missing tools
    #[arg(long)]
    pub build: bool,
}

/// `soak`
#[derive(Debug, Args)]
pub struct Soak {
    /// Length of the soak; at most a day
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl Soak {
    /// Length of the soak.
    pub fn length(&self) -> Duration {
        seconds(self.minutes * 60.0)
    }
}

/// `quick` and `full`
#[derive(Debug, Args)]
pub struct Campaign {
    /// Folder for report.html, results.json and the journal [default: target/harness/quick or .../full]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Start over, even if a journal of the same campaign could be resumed
    #[arg(long)]
    pub fresh: bool,
    /// Only these peers, besides ringwheel and the floors
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub peers: Vec<String>,
    /// Only scenarios whose id contains one of these
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    pub only: Vec<String>,
    /// Rounds in which each server is measured once (scaling sections: at most 3)
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Print the plan without measuring
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    surroundings: Surroundings,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

impl Campaign {
    /// The treatment of disturbances by other users of the machine.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }
}

/// The treatment of disturbances by other users of the machine.
#[derive(Debug, Args)]
pub struct Surroundings {
    /// Most repetitions of a disturbed measurement
    #[arg(long, default_value_t = 3)]
    retries: usize,
    /// Seconds to wait for a quiet machine before each measurement
    #[arg(long, default_value_t = 5.0)]
    patience: f64,
    /// Priority of server and load; -20, if permitted, keeps most other programs from disturbing the measurement
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub nice: i32,
}

impl Surroundings {
    /// Converts to a campaign's settings; waiting and repeating take at most `budget` in total.
    pub fn care(&self, budget: Duration) -> Care {
        Care {
            retries: self.retries,
            patience: seconds(self.patience),
            budget,
        }
    }
}

/// `report`
#[derive(Debug, Args)]
pub struct Report {
    /// The results.json of a campaign
    pub results: PathBuf,
    /// File to write the HTML to
    #[arg(long, default_value = "report.html")]
    pub html: PathBuf,
}

/// The load to put on a running server.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Ping-pong: each connection sends the next message for each answer
    Echo(LoadEcho),
    /// Messages at a fixed rate, latency from when each should have been sent
    Open(LoadOpen),
    /// Connect, echo one message of 64 B, close; again and again
    Churn(LoadChurn),
    /// Hold idle connections and read the server's memory
    Idle(LoadIdle),
    /// Publish WebSocket messages at a fixed rate to a server that sends each to all connections
    Broadcast(LoadBroadcast),
    /// Ping-pong beside clients that write and never read
    SlowReaders(LoadSlowReaders),
}

/// The server's address, and the format of the output.
#[derive(Debug, Args)]
pub struct Target {
    /// Address of the server
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// The length of a load.
#[derive(Debug, Args)]
pub struct Length {
    /// Seconds of the measured window
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of warm-up before the window
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
}

impl Length {
    fn until(&self) -> Until {
        Until::Elapsed(seconds(self.seconds))
    }

    fn warm_up(&self) -> Duration {
        seconds(self.warmup)
    }
}

/// Parses a number of seconds: not negative, and at most a day.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// The messages of a load.
#[derive(Debug, Args)]
pub struct Messages {
    /// Connections held open (churn: short connections at the same time)
    #[arg(long, short, default_value_t = 100)]
    connections: usize,
    /// Payload bytes per message
    #[arg(long, short, default_value_t = 64)]
    size: usize,
    #[command(flatten)]
    wire: Wire,
    /// Do not compare the bytes received with the bytes sent
    #[arg(long)]
    no_verify: bool,
}

/// The framing of messages.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wire {
    /// The bytes around each payload
    #[arg(long, value_enum, default_value_t)]
    framing: Framing,
}

impl Messages {
    fn workload(&self, mode: Mode, warm_up: Duration, until: Until) -> Workload {
        Workload {
            mode,
            connections: self.connections,
            size: self.size,
            framing: self.wire.framing,
            verify: !self.no_verify,
            warm_up,
            until,
        }
    }
}

/// `load echo`
#[derive(Debug, Args)]
pub struct LoadEcho {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    messages: Messages,
    #[command(flatten)]
    length: Length,
    /// Messages in flight per connection
    #[arg(long, short = 'k', default_value_t = 1)]
    in_flight: usize,
}

/// `load open`
#[derive(Debug, Args)]
pub struct LoadOpen {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    messages: Messages,
    #[command(flatten)]
    length: Length,
    /// Messages per second over all connections
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
}

/// `load churn`
#[derive(Debug, Args)]
pub struct LoadChurn {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    length: Length,
    /// Short connections at the same time
    #[arg(long, short, default_value_t = 50)]
    concurrency: usize,
    #[command(flatten)]
    wire: Wire,
}

/// `load broadcast`
#[derive(Debug, Args)]
pub struct LoadBroadcast {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    length: Length,
    /// Connections that receive
    #[arg(long, short, default_value_t = 100)]
    connections: usize,
    /// Payload bytes per message
    #[arg(long, short, default_value_t = 64)]
    size: usize,
    /// Messages published per second
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// Number of connections that do not read
    #[arg(long, default_value_t = 0)]
    stalled: usize,
}

/// `load slow-readers`
#[derive(Debug, Args)]
pub struct LoadSlowReaders {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    messages: Messages,
    #[command(flatten)]
    length: Length,
    /// Messages in flight per connection that reads
    #[arg(long, short = 'k', default_value_t = 1)]
    in_flight: usize,
    /// Further connections that do not read
    #[arg(long, default_value_t = 10)]
    slow: usize,
}

/// `load idle`
#[derive(Debug, Args)]
pub struct LoadIdle {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    /// Connections to hold
    #[arg(long, short, default_value_t = 10_000)]
    connections: usize,
    /// Also exchange one message on each connection
    #[arg(long)]
    exchange: bool,
    #[command(flatten)]
    wire: Wire,
    /// Process number of the server
    #[arg(long)]
    pid: u32,
    /// Seconds for which the server's memory must not change before it is read
    #[arg(long, default_value_t = 2.0)]
    settle: f64,
}

impl LoadEcho {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let mode = Mode::Echo {
            in_flight: self.in_flight,
        };
        self.messages
            .workload(mode, self.length.warm_up(), self.length.until())
    }
}

impl LoadOpen {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        self.messages.workload(
            Mode::Open { rate: self.rate },
            self.length.warm_up(),
            self.length.until(),
        )
    }
}

impl LoadChurn {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let messages = Messages {
            connections: self.concurrency,
            size: 64,
            wire: self.wire,
            no_verify: false,
        };
        messages.workload(Mode::Churn, self.length.warm_up(), self.length.until())
    }
}

impl LoadBroadcast {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let messages = Messages {
            connections: self.connections,
            size: self.size,
            wire: Wire {
                framing: Framing::WebSocket,
            },
            no_verify: false,
        };
        let mode = Mode::Broadcast {
            rate: self.rate,
            stalled: self.stalled,
        };
        messages.workload(mode, self.length.warm_up(), self.length.until())
    }
}

impl LoadSlowReaders {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let mode = Mode::SlowReaders {
            in_flight: self.in_flight,
            slow: self.slow,
        };
        self.messages
            .workload(mode, self.length.warm_up(), self.length.until())
    }
}

impl LoadIdle {
    /// The load that the options describe.
    pub fn load(&self) -> IdleLoad {
        IdleLoad {
            address: self.target.addr,
            connections: self.connections,
            exchange: self.exchange,
            framing: self.wire.framing,
            pid: self.pid,
            settle: seconds(self.settle),
        }
    }
}

/// The load for a comparison of servers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeName {
    /// Ping-pong.
    #[value(alias = "ping-pong")]
    Echo,
    /// Fixed rate.
    Open,
    /// Short connections.
    Churn,
    /// WebSocket broadcast.
    Broadcast,
    /// Ping-pong beside slow readers.
    SlowReaders,
}

/// The load that is put on several servers.
#[derive(Debug, Args)]
pub struct LoadChoice {
    /// The load
    #[arg(long, value_enum, default_value = "echo")]
    mode: ModeName,
    #[command(flatten)]
    messages: Messages,
    /// Messages in flight per connection (echo, slow-readers)
    #[arg(long, short = 'k', default_value_t = 1)]
    in_flight: usize,
    /// Messages per second over all connections (open: 50,000; broadcast: 500)
    #[arg(long)]
    rate: Option<u64>,
    /// Connections that do not read (slow-readers)
    #[arg(long, default_value_t = 10)]
    slow: usize,
    /// Number of connections that do not read (broadcast)
    #[arg(long, default_value_t = 0)]
    stalled: usize,
}

impl LoadChoice {
    fn workload(&self, warm_up: Duration, until: Until) -> Workload {
        let in_flight = self.in_flight;
        let mode = match self.mode {
            ModeName::Echo => Mode::Echo { in_flight },
            ModeName::Open => Mode::Open {
                rate: self.rate.unwrap_or(50_000),
            },
            ModeName::Churn => Mode::Churn,
            ModeName::Broadcast => Mode::Broadcast {
                rate: self.rate.unwrap_or(500),
                stalled: self.stalled,
            },
            ModeName::SlowReaders => Mode::SlowReaders {
                in_flight,
                slow: self.slow,
            },
        };
        self.messages.workload(mode, warm_up, until)
    }

    /// The options that a peer named on the command line is started with.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            broadcast: matches!(self.mode, ModeName::Broadcast),
            ..ServerOptions::framed(self.messages.wire.framing)
        }
    }
}

/// `compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// The load.
    #[command(flatten)]
    pub load: LoadChoice,
    #[command(flatten)]
    length: Length,
    /// Rounds in which each server is measured once
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    #[command(flatten)]
    surroundings: Surroundings,
    /// A server: name=command with {addr} in place of its address, or the name of a peer; may be repeated
    #[arg(long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
    /// The server that the others are compared with, given in the same way [default: mio; for WebSocket
    /// epoll-websocket; for deflated WebSocket the first server]
    #[arg(long)]
    floor: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write the HTML report to this file, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Compare {
    /// The treatment of disturbances by other users of the machine.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The servers, beginning with the one that the others are compared with.
    pub fn contestants(&self) -> impl Iterator<Item = &str> {
        let floor = match &self.floor {
            Some(floor) => Some(floor.as_str()),
            None => plans::floor(self.load.messages.wire.framing),
        };
        floor
            .into_iter()
            .chain(self.servers.iter().map(String::as_str))
    }

    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        self.load
            .workload(self.length.warm_up(), self.length.until())
    }
}

/// `syscalls` and `instructions`
#[derive(Debug, Args)]
pub struct Count {
    /// The load.
    #[command(flatten)]
    pub load: LoadChoice,
    /// Messages, or short connections, in the counted window
    #[arg(long, default_value_t = 20_000)]
    operations: u64,
    /// A server: name=command with {addr} in place of its address, or the name of a peer; may be repeated
    #[arg(long = "server", value_name = "SERVER", required = true)]
    pub servers: Vec<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl Count {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        self.load
            .workload(crate::trace::WARM_UP, Until::Operations(self.operations))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_one_another() {
        Cli::command().debug_assert();
    }

    #[test]
    fn odd_lengths_are_clamped() {
        assert_eq!(seconds(-1.0), Duration::ZERO);
        assert_eq!(seconds(f64::INFINITY), Duration::from_secs(86_400));
    }
}
