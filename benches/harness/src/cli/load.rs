//! The options that describe a load, and the subcommands of `load`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::certificates::Key;
use crate::load::{Framing, IdleLoad, Trust, Until};
use crate::measure::{Mode, Workload};
use crate::peers::ServerOptions;

/// The load to put on a running server.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Ping-pong: each connection sends the next message for each answer
    Echo(LoadEcho),
    /// Messages at a fixed rate, latency from when each should have been sent
    Open(LoadOpen),
    /// Connect, echo one message of 64 B, close; again and again
    Churn(LoadChurn),
    /// Connect, do a TLS handshake, echo one message of 64 B, close; again and again
    Handshakes(LoadHandshakes),
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
pub(super) struct Length {
    /// Seconds of the measured window
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of warm-up before the window
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
}

impl Length {
    pub(super) fn until(&self) -> Until {
        Until::Elapsed(seconds(self.seconds))
    }

    pub(super) fn warm_up(&self) -> Duration {
        seconds(self.warmup)
    }
}

/// Parses a number of seconds: not negative, and at most a day.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// The messages of a load.
#[derive(Debug, Args)]
pub(super) struct Messages {
    /// Connections held open (churn: short connections at the same time)
    #[arg(long, short, default_value_t = 100)]
    connections: usize,
    /// Payload bytes per message
    #[arg(long, short, default_value_t = 64)]
    size: usize,
    #[command(flatten)]
    wire: Wire,
    #[command(flatten)]
    tls: TlsChoice,
    /// Do not compare the bytes received with the bytes sent
    #[arg(long)]
    no_verify: bool,
}

/// The framing of messages.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Wire {
    /// The bytes around each payload
    #[arg(long, value_enum, default_value_t)]
    framing: Framing,
}

/// The TLS of the clients.
#[derive(Clone, Debug, Args)]
pub(super) struct TlsChoice {
    /// Speak TLS 1.3 with servers that have a certificate with this key
    #[arg(long, value_enum, value_name = "KEY", num_args = 0..=1, require_equals = true, default_missing_value = "ecdsa")]
    tls: Option<Key>,
    /// Trust the certificate in this PEM file, instead of the one that the harness makes
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_cert: Option<PathBuf>,
}

impl TlsChoice {
    const NONE: Self = Self {
        tls: None,
        tls_cert: None,
    };

    /// The same, but with TLS even if it is not asked for.
    fn always(&self) -> Self {
        Self {
            tls: Some(self.tls.unwrap_or(Key::Ecdsa)),
            ..self.clone()
        }
    }

    /// The certificate that the clients trust.
    fn trust(&self) -> Option<Trust> {
        let key = self.tls?;
        let file = self.tls_cert.clone().map(Trust::File);
        Some(file.unwrap_or(Trust::Own(key)))
    }
}

impl Messages {
    fn workload(&self, mode: Mode, warm_up: Duration, until: Until) -> Workload {
        Workload {
            mode,
            connections: self.connections,
            size: self.size,
            framing: self.wire.framing,
            verify: !self.no_verify,
            tls: self.tls.trust(),
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

/// `load handshakes`
#[derive(Debug, Args)]
pub struct LoadHandshakes {
    /// The server and the output.
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    length: Length,
    /// Short connections at the same time
    #[arg(long, short, default_value_t = 50)]
    concurrency: usize,
    /// Resume sessions by tickets, instead of full handshakes
    #[arg(long)]
    resumed: bool,
    #[command(flatten)]
    tls: TlsChoice,
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
    #[command(flatten)]
    tls: TlsChoice,
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
    #[command(flatten)]
    tls: TlsChoice,
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
            tls: TlsChoice::NONE,
            no_verify: false,
        };
        messages.workload(Mode::Churn, self.length.warm_up(), self.length.until())
    }
}

impl LoadHandshakes {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        let messages = Messages {
            connections: self.concurrency,
            size: 64,
            wire: Wire {
                framing: Framing::Raw,
            },
            tls: self.tls.always(),
            no_verify: false,
        };
        let mode = Mode::Handshakes {
            resumed: self.resumed,
        };
        messages.workload(mode, self.length.warm_up(), self.length.until())
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
            tls: self.tls.clone(),
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
            tls: self.tls.trust(),
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
    /// Short connections with TLS.
    Handshakes,
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
    /// Resume sessions by tickets (handshakes)
    #[arg(long)]
    resumed: bool,
}

impl LoadChoice {
    pub(super) fn workload(&self, warm_up: Duration, until: Until) -> Workload {
        let in_flight = self.in_flight;
        let mode = match self.mode {
            ModeName::Echo => Mode::Echo { in_flight },
            ModeName::Open => Mode::Open {
                rate: self.rate.unwrap_or(50_000),
            },
            ModeName::Churn => Mode::Churn,
            ModeName::Handshakes => Mode::Handshakes {
                resumed: self.resumed,
            },
            ModeName::Broadcast => Mode::Broadcast {
                rate: self.rate.unwrap_or(500),
                stalled: self.stalled,
            },
            ModeName::SlowReaders => Mode::SlowReaders {
                in_flight,
                slow: self.slow,
            },
        };
        Workload {
            tls: self.tls().trust(),
            ..self.messages.workload(mode, warm_up, until)
        }
    }

    /// The TLS of the clients, which handshakes always have.
    fn tls(&self) -> TlsChoice {
        match self.mode {
            ModeName::Handshakes => self.messages.tls.always(),
            _ => self.messages.tls.clone(),
        }
    }

    /// The options that a peer named on the command line is started with.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            broadcast: matches!(self.mode, ModeName::Broadcast),
            tls: self.tls().tls,
            ..ServerOptions::framed(self.messages.wire.framing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lengths_are_clamped() {
        assert_eq!(seconds(-1.0), Duration::ZERO);
        assert_eq!(seconds(f64::INFINITY), Duration::from_secs(86_400));
    }
}
