//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::load::{Framing, IdleLoad, Until};
use crate::measure::{Mode, Workload};

/// Measures echo servers: puts load on one, or compares several in interleaved rounds.
#[derive(Debug, Parser)]
#[command(name = "ringwheel-harness", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put load on a server that is running
    #[command(subcommand)]
    Load(Load),
    /// Start servers in turn, put the same load on each, and compare
    Compare(Compare),
    /// Count the system calls of servers per message, or per short connection, by strace
    Syscalls(Syscalls),
    /// List the peers that come with the harness
    Peers,
}

/// Which load to put on a running server.
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
}

/// Where the server is, and how to answer.
#[derive(Debug, Args)]
pub struct Target {
    /// Address of the server
    #[arg(long, default_value = "127.0.0.1:1833")]
    pub addr: SocketAddr,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// How long a load runs.
#[derive(Debug, Args)]
pub struct Length {
    /// Seconds that are measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before, that are not
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

/// Not negative, and at most a day.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// What the messages are.
#[derive(Debug, Args)]
pub struct Messages {
    /// Connections held open (churn: short ones under way at a time)
    #[arg(long, short, default_value_t = 100)]
    connections: usize,
    /// Payload bytes per message
    #[arg(long, short, default_value_t = 64)]
    size: usize,
    /// Put a big-endian u32 length in front of each payload
    #[arg(long)]
    framed: bool,
    /// Do not compare the bytes that come back
    #[arg(long)]
    no_verify: bool,
}

fn framing(framed: bool) -> Framing {
    if framed {
        Framing::LengthPrefixed
    } else {
        Framing::Raw
    }
}

impl Messages {
    fn workload(&self, mode: Mode, warm_up: Duration, until: Until) -> Workload {
        Workload {
            mode,
            connections: self.connections,
            size: self.size,
            framing: framing(self.framed),
            verify: !self.no_verify,
            warm_up,
            until,
        }
    }
}

/// `load echo`
#[derive(Debug, Args)]
pub struct LoadEcho {
    /// Where to.
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
    /// Where to.
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
    /// Where to.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    length: Length,
    /// Connections under way at a time
    #[arg(long, short, default_value_t = 50)]
    concurrency: usize,
    /// Put a big-endian u32 length in front of the message
    #[arg(long)]
    framed: bool,
}

/// `load idle`
#[derive(Debug, Args)]
pub struct LoadIdle {
    /// Where to.
    #[command(flatten)]
    pub target: Target,
    /// Connections to hold
    #[arg(long, short, default_value_t = 10_000)]
    connections: usize,
    /// Let each connection exchange one message, too
    #[arg(long)]
    exchange: bool,
    /// Put a big-endian u32 length in front of that message
    #[arg(long)]
    framed: bool,
    /// Process number of the server
    #[arg(long)]
    pid: u32,
    /// Seconds for which the server's memory must be still before it is read
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
            framed: self.framed,
            no_verify: false,
        };
        messages.workload(Mode::Churn, self.length.warm_up(), self.length.until())
    }
}

impl LoadIdle {
    /// The load that the options describe.
    pub fn load(&self) -> IdleLoad {
        IdleLoad {
            address: self.target.addr,
            connections: self.connections,
            exchange: self.exchange,
            framing: framing(self.framed),
            pid: self.pid,
            settle: seconds(self.settle),
        }
    }
}

/// Which load servers are compared under.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeName {
    /// Ping-pong.
    #[value(alias = "ping-pong")]
    Echo,
    /// Fixed rate.
    Open,
    /// Short connections.
    Churn,
}

impl ModeName {
    fn mode(self, in_flight: usize, rate: u64) -> Mode {
        match self {
            Self::Echo => Mode::Echo { in_flight },
            Self::Open => Mode::Open { rate },
            Self::Churn => Mode::Churn,
        }
    }
}

/// `compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// The load
    #[arg(long, value_enum, default_value = "echo")]
    mode: ModeName,
    #[command(flatten)]
    messages: Messages,
    #[command(flatten)]
    length: Length,
    /// Messages in flight per connection (echo)
    #[arg(long, short = 'k', default_value_t = 1)]
    in_flight: usize,
    /// Messages per second over all connections (open)
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Rounds in which each server is measured once
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How often a disturbed measurement is repeated
    #[arg(long, default_value_t = 3)]
    pub retries: usize,
    /// Seconds for which a quiet machine is waited for before each measurement
    #[arg(long, default_value_t = 5.0)]
    patience: f64,
    /// Priority of server and load; -20, where it is permitted, lets a busy machine disturb little
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub nice: i32,
    /// A server: name=command with {addr} where its address belongs, or the name of a peer; once for each
    #[arg(long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
    /// The server that the others are compared with, given in the same way
    #[arg(long, default_value = "peer-mio")]
    pub floor: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write the JSON to this file, too
    #[arg(long, value_name = "FILE")]
    pub json_file: Option<PathBuf>,
}

impl Compare {
    /// How long a quiet machine is waited for before each measurement.
    pub fn patience(&self) -> Duration {
        seconds(self.patience)
    }

    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let mode = self.mode.mode(self.in_flight, self.rate);
        self.messages
            .workload(mode, self.length.warm_up(), self.length.until())
    }
}

/// `syscalls`
#[derive(Debug, Args)]
pub struct Syscalls {
    /// The load
    #[arg(long, value_enum, default_value = "echo")]
    mode: ModeName,
    #[command(flatten)]
    messages: Messages,
    /// Messages in flight per connection (echo)
    #[arg(long, short = 'k', default_value_t = 1)]
    in_flight: usize,
    /// Messages per second over all connections (open)
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Messages, or short connections, to trace
    #[arg(long, default_value_t = 20_000)]
    operations: u64,
    /// A server: name=command with {addr} where its address belongs, or the name of a peer; once for each
    #[arg(long = "server", value_name = "SERVER", required = true)]
    pub servers: Vec<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl Syscalls {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let mode = self.mode.mode(self.in_flight, self.rate);
        self.messages.workload(
            mode,
            crate::trace::WARM_UP,
            Until::Operations(self.operations),
        )
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
